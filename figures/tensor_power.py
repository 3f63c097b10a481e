"""A run of the tensor-power transformer, step by step: difference, bound and what lies between, and the vector's way.

On the left, for every iteration v ← T(I,v,v), the difference between the transformer's vector and the reference's,
both from the same start, its bound, and the slack between them; beside them ‖v‖, which is what the zero vector would
be off by: a bound that reaches it says nothing (vacuous). On the right the coordinates of v/‖v‖, transformer over
reference, and, where the direction settles down, what it tends to. Unnormalised, ‖v‖ is roughly squared each time, so
a v that is at all shorter than the fixed point's length soon leaves the numbers that a float can hold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from constructions.algorithms.tensor_power import normalised_power_iteration
from constructions.tensor_power_command import default_max_dim
from constructions.tensor_power_report import TITLES
from constructions.tensor_power_run import PowerRun
from constructions.tensor_power_run import run as run_power
from constructions.tensor_power_transformer import build
from constructions.tensors import orthogonal_tensor, random_start, random_tensor
from figures import style
from figures.em_step import EXACT_LOOK, SHADES, draw_edges, log_limits, placed

DIM, STEPS, CONVERGING_STEPS, SEED = 5, 3, 7, 0

SETTLING_STEPS, SETTLED = 60, 1e-9
"""The limit of the direction is shown if, after so many further exact steps, a step moves it by no more than this."""
NORM_LOOK = (style.GREY, 1.0)
"""Colour and width of ‖v‖."""


@dataclass(frozen=True)
class Series:
    """What is drawn of every step, t = 1..L."""

    difference: Float[np.ndarray, " steps"]
    bound: Float[np.ndarray, " steps"]
    size: Float[np.ndarray, " steps"]  # ‖v‖ of the reference


def series(run: PowerRun) -> Series:
    """Differences, bounds and lengths along the run."""
    return Series(
        np.array([step.difference for step in run.steps]),
        np.array([step.bound for step in run.steps]),
        np.array([float(np.linalg.norm(step.reference)) for step in run.steps]),
    )


def widened(limits: tuple[float, float]) -> tuple[float, float]:
    """A twentieth more at either end of a logarithmic axis, so that no mark is cut."""
    low, high = np.log10(limits)
    margin = (high - low) / 20
    return float(10 ** max(low - margin, -305)), float(10 ** min(high + margin, 305))


def draw_differences(axes: Axes, run: PowerRun) -> None:
    """Bars of slack where the bound holds, differences and ‖v‖; all other steps are shaded."""
    drawn, statuses = series(run), [step.status for step in run.steps]
    steps = np.arange(1, len(statuses) + 1)
    limits = widened(log_limits(drawn.difference, drawn.bound, drawn.size))
    difference, bound, size = (placed(a, limits) for a in (drawn.difference, drawn.bound, drawn.size))
    claimed = np.array([status != "not applicable" for status in statuses])
    held = np.array([status == "holds" for status in statuses])
    axes.set_yscale("log")
    axes.set(xlim=(0.4, len(steps) + 0.6), ylim=limits)
    for step, status in zip(steps, statuses, strict=True):
        if status in SHADES:
            axes.axvspan(step - 0.5, step + 0.5, color=SHADES[status][0], alpha=0.35, linewidth=0)
    axes.bar(steps[held], (bound - difference)[held], 0.8, bottom=difference[held], color=style.SLACK)
    axes.hlines(bound[claimed], steps[claimed] - 0.4, steps[claimed] + 0.4, color=style.BLACK, linewidth=1.4)
    colour, width = NORM_LOOK
    axes.plot(steps, size, "D:", color=colour, linewidth=width, markersize=3.5, fillstyle="none")
    axes.plot(steps, difference, "o", color=style.BLUE)
    draw_edges(axes, steps, drawn.size, colour)
    draw_edges(axes, steps, drawn.difference, style.BLUE)
    draw_edges(axes, steps[claimed], drawn.bound[claimed], style.BLACK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="x", visible=False)
    axes.set(xlabel="iteration", ylabel="Euclidean norm")


def directions(vectors: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """v/‖v‖ for every vector; NaN, which is not drawn, for 0 and for what is not finite."""
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    usable = np.isfinite(largest) & (largest > 0)
    scaled = np.where(usable, vectors, np.nan) / np.where(usable, largest, 1.0)
    return scaled / np.linalg.norm(scaled, axis=1, keepdims=True)


def limit_direction(run: PowerRun) -> Float[np.ndarray, " d"] | None:
    """Where the exact direction tends to from the start; None if it does not settle down, or becomes 0."""
    unit = directions(run.start[None])
    if not np.isfinite(unit).all():
        return None
    before = normalised_power_iteration(run.tensor, unit[0], len(run.steps) + SETTLING_STEPS)
    after = normalised_power_iteration(run.tensor, before, 1)
    settled = after.any() and float(np.linalg.norm(after - before)) <= SETTLED
    return after if settled else None


def draw_ways(axes: Axes, run: PowerRun) -> None:
    """Every coordinate of the direction, transformer over reference; its limit at the right edge."""
    steps = np.arange(len(run.steps) + 1)
    ours, exact = (
        directions(np.array([run.start, *(getattr(step, side) for step in run.steps)]))
        for side in ("vector", "reference")
    )
    limit, dim = limit_direction(run), len(run.start)
    thin = min(1.0, (8 / dim) ** 0.5)
    for a in range(dim):
        colour = style.CYCLE[a % len(style.CYCLE)]
        for way, (shade, line, marker) in ((exact, EXACT_LOOK), (ours, (colour, 1.1, 3.0))):
            axes.plot(steps, way[:, a], "o-", color=shade, linewidth=line * thin, markersize=marker * thin, mew=0)
        if limit is not None:
            axes.plot(len(steps) - 0.6, limit[a], "<", color=colour, markersize=4 * max(thin, 0.6), clip_on=False)
    drawn = np.abs(np.concatenate([ours, exact]))
    if np.isnan(exact).all():
        axes.text(0.5, 0.5, "v is 0: it has no direction", transform=axes.transAxes, ha="center", va="center")
    reach = 1.08 * (float(np.nanmax(drawn)) if np.isfinite(drawn).any() else 1.0)
    axes.set(xlim=(-0.04 * len(steps), len(steps) - 0.6), ylim=(-reach, reach))
    axes.set(xlabel="iteration (0: start)", ylabel="$v_a\\,/\\,\\|v\\|$")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def legend(runs: list[PowerRun]) -> list[Line2D | Patch]:
    """What the marks mean, as far as they occur in these runs."""
    colour, width = NORM_LOOK
    shade, line, marker = EXACT_LOOK
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=style.BLACK, label="bound"),
        Patch(color=style.SLACK, label="slack"),
        Line2D([], [], color=style.BLUE, marker="o", linestyle="", label="transformer − reference"),
        Line2D([], [], color=colour, linewidth=width, marker="D", fillstyle="none", linestyle=":", label="‖v‖"),
        Line2D([], [], marker="o", color=style.BLUE, linewidth=1.1, markersize=3, label="coordinate: transformer"),
        Line2D(
            [], [], marker="o", color=shade, linewidth=line, markersize=marker, label="coordinate: reference, below it"
        ),
    ]
    if any(limit_direction(run) is not None for run in runs):
        handles.append(Line2D([], [], marker="<", linestyle="", color=style.BLUE, label="limit of the direction"))
    drawn = [series(run) for run in runs]
    values = np.concatenate([a for s in drawn for a in (s.difference, s.bound, s.size)])
    for sign, occurs, meaning in (("v", (values == 0).any(), "0"), ("^", not np.isfinite(values).all(), "not finite")):
        if occurs:
            handles.append(Line2D([], [], color=style.BLACK, marker=sign, linestyle="", label=meaning))
    occurring = {step.status for run in runs for step in run.steps}
    return handles + [
        Patch(color=tint, alpha=0.35, label=label) for status, (tint, label) in SHADES.items() if status in occurring
    ]


def draw_row(row: SubFigure, run: PowerRun, letters: str, name: str) -> None:
    """One run: differences on the left, the direction's coordinates on the right."""
    left, right = row.subplots(1, 2)
    draw_differences(left, run)
    draw_ways(right, run)
    last = run.steps[-1]
    shown = (
        f"{style.number(last.difference, 2)} ≤ {style.number(last.bound, 2)}" if last.status == "holds" else last.status
    )
    style.panel_title(left, letters[0], f"{name}; at last: {shown}")
    style.panel_title(right, letters[1], f"direction of v, {len(run.start)} coordinate{'s' * (len(run.start) > 1)}")


def description(run: PowerRun, layers: str = "") -> str:
    """The form, its sizes (`layers` in place of its own), and the first step whose bound is not simply met."""
    form, model = run.model.form, run.model
    detail = ""
    if form.scale is not None:
        detail = f", score scale $2^{{{1 - form.scale.denominator.bit_length()}}}$"
    if form.normalisation is not None:
        low, high, segments = form.normalisation.low, form.normalisation.high, form.normalisation.segments
        detail = f", {low:g} ≤ ‖T(I,v,v)‖ ≤ {high:g}, {segments} chords of 1/√·"
    layers = layers or str(len(model.transformer.schedule))
    reason = next((f" Iteration {s.step}, {s.status}: {s.reason}." for s in run.steps if s.reason), "")
    dtype = str(model.dtype).removeprefix("torch.")
    return (
        f"{TITLES[form.name]}{detail}: d = {len(run.start)}, d₀ = {model.max_dim}, {len(run.tokens)} tokens of width "
        f"{model.stream.width}, {layers} layers, {dtype}.{reason}"
    )


@style.styled
def draw(runs: list[PowerRun], names: list[str], small_print: str) -> Figure:
    """A row of panels for every run, named in the title of its first."""
    picture = style.new_figure(1.0 + 2.2 * len(runs))
    rows = picture.subfigures(len(runs), 1, squeeze=False)[:, 0]
    for number, (row, run, name) in enumerate(zip(rows, runs, names, strict=True)):
        draw_row(row, run, "abcdefgh"[2 * number : 2 * number + 2], name)
    handles = legend(runs)
    picture.legend(handles=handles, loc="outside upper left", ncols=(len(handles) + 1) // 2, columnspacing=1.4)
    style.caption(picture, small_print)
    return picture


def png(run: PowerRun) -> bytes:
    """The run's picture as PNG."""
    return style.png(draw([run], ["difference and bound"], description(run)))


def figure() -> Figure:
    """Tensor power iterations by transformer: difference and bound, a random and an orthogonal tensor."""
    runs = []
    for make, steps in ((random_tensor, STEPS), (orthogonal_tensor, CONVERGING_STEPS)):
        rng = np.random.default_rng(SEED)
        tensor = make(DIM, rng)
        model = build(default_max_dim(DIM), steps)
        runs.append(run_power(model, tensor, random_start(DIM, rng), execution="dense"))
    names = ["random tensor", "orthogonal tensor"]
    layers = " and ".join(str(len(run.model.transformer.schedule)) for run in runs)
    text = (
        f"Seed {SEED}, one tensor and one random unit start each. (a), (b): independent N(0, 1/d) entries. (c), (d): "
        f"Σ_k λ_k q_k⊗q_k⊗q_k, λ_k in [1, 2]: the direction tends to one of the orthonormal q_k. Unnormalised, ‖v‖ is "
        f"about squared in every step, and with it what rounding has added. {description(runs[0], layers)}"
    )
    return draw(runs, names, text)
