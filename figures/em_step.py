"""A run of the EM transformer, step by step: errors, bounds and what lies between, and the means on their way.

(a) At every EM step (two layers) the error of the means against one exact step from the same parameters, its bound,
and the slack between them; and the drift from an exact EM that started together with the transformer, for which
there is no bound yet. (b) The same for the logarithms of the weights. (c) The samples in their first two principal
coordinates, and the way of the means, transformer over exact EM; one-dimensional samples lie in a strip, and the
means move upwards, a unit a step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from constructions.algorithms.metrics import log_weight_error, mean_error
from constructions.datasets import load_bundled, load_start
from constructions.em_class import TaskClass, split_tolerance
from constructions.em_run import EmRun, Status
from constructions.em_run import run as run_em
from constructions.em_transformer import build
from figures import style

DATA, COMPONENTS, STEPS, SEED = "iris", 3, 8, 0
TASK_CLASS, TOLERANCE = TaskClass(max_dim=8, max_components=8, radius=10.0, min_weight=0.01), 0.1

SHOWN_SAMPLES = 3000
"""More samples than these are thinned evenly; the small print says so."""
EXACT_LOOK = (style.BLACK, 2.4, 4.6)
"""Colour, width and size of the line and dots of exact EM, which show as a rim where the transformer agrees."""
SHADES: dict[Status, tuple[str, str]] = {
    "refuted": (style.VERMILLION, "refuted"),
    "not applicable": ("#BBBBBB", "not applicable"),
    "vacuous": (style.YELLOW, "vacuous"),
}
"""How the steps whose bound is not simply met are shaded, and called."""


@dataclass(frozen=True)
class Series:
    """One kind of error along the run."""

    name: str
    error: Float[np.ndarray, " steps"]
    bound: Float[np.ndarray, " steps"]
    drift: Float[np.ndarray, " steps"]
    unit: str


def series(run: EmRun) -> tuple[Series, Series]:
    """Errors, bounds and drifts of the means and of the log weights."""
    steps = run.steps
    means = Series(
        "means",
        np.array([s.mean_error for s in steps]),
        np.array([s.mean_bound for s in steps]),
        np.array([mean_error(s.estimate, s.reference) for s in steps]),
        "error of a mean",
    )
    weights = Series(
        "log weights",
        np.array([s.log_weight_error for s in steps]),
        np.array([s.log_weight_bound for s in steps]),
        np.array([log_weight_error(s.estimate, s.reference) for s in steps]),
        "error of a log weight",
    )
    return means, weights


def log_limits(*arrays: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Limits of a logarithmic axis around all positive finite values, three decades at least; 1e-3 to 1 for none."""
    values = np.concatenate(arrays)
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return 1e-3, 1.0
    low, high = np.log10([values.min(), values.max()])
    margin = max(0.5, (3 - (high - low)) / 2)
    return float(10 ** max(low - margin, -300)), float(10 ** min(high + margin, 300))


def placed(values: Float[np.ndarray, " n"], limits: tuple[float, float]) -> Float[np.ndarray, " n"]:
    """Zeros on the lower edge of a logarithmic axis, what is infinite or not a number on the upper edge."""
    return np.clip(np.nan_to_num(values, nan=np.inf, posinf=np.inf), *limits)


def draw_edges(axes: Axes, steps: Int[np.ndarray, " n"], values: Float[np.ndarray, " n"], colour: str) -> None:
    """Triangles where a value is 0 (lower edge) or not finite (upper edge)."""
    low, high = axes.get_ylim()
    for marker, where, edge in (("v", values == 0, low), ("^", ~np.isfinite(values), high)):
        if where.any():
            axes.plot(steps[where], np.full(where.sum(), edge), marker, color=colour, markersize=6, clip_on=False)


def draw_series(axes: Axes, kind: Series, statuses: tuple[Status, ...]) -> None:
    """Bars of slack where the bound holds, errors and drift; all other steps are shaded."""
    steps = np.arange(1, len(kind.error) + 1)
    limits = log_limits(kind.error, kind.bound, kind.drift)
    error, bound, drift = (placed(values, limits) for values in (kind.error, kind.bound, kind.drift))
    claimed = np.array([status != "not applicable" for status in statuses])
    axes.set_yscale("log")
    axes.set(xlim=(0.4, len(steps) + 0.6), ylim=limits)
    for step, status in zip(steps, statuses, strict=True):
        if status in SHADES:
            axes.axvspan(step - 0.5, step + 0.5, color=SHADES[status][0], alpha=0.35, linewidth=0)
    held = np.array([status == "holds" for status in statuses])
    axes.bar(steps[held], (bound - error)[held], 0.8, bottom=error[held], color=style.SLACK)
    axes.hlines(bound[claimed], steps[claimed] - 0.4, steps[claimed] + 0.4, color=style.BLACK, linewidth=1.4)
    axes.plot(steps, drift, "D:", color=style.ORANGE, markersize=4.5, fillstyle="none", linewidth=0.8)
    axes.plot(steps, error, "o", color=style.BLUE)
    draw_edges(axes, steps, kind.drift, style.ORANGE)
    draw_edges(axes, steps, kind.error, style.BLUE)
    draw_edges(axes, steps[claimed], kind.bound[claimed], style.BLACK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="x", visible=False)
    axes.set(xlabel="EM step", ylabel=kind.unit)


def error_legend(run: EmRun) -> list[Line2D | Patch]:
    """What the marks of the two error panels mean, as far as they occur."""
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=style.BLACK, label="bound for one step"),
        Patch(color=style.SLACK, label="slack"),
        Line2D([], [], color=style.BLUE, marker="o", linestyle="", label="error of one step"),
        Line2D(
            [],
            [],
            color=style.ORANGE,
            marker="D",
            fillstyle="none",
            linestyle=":",
            label="drift from exact EM: no bound yet",
        ),
    ]
    values = np.concatenate([a for kind in series(run) for a in (kind.error, kind.bound, kind.drift)])
    for marker, occurs, meaning in (
        ("v", (values == 0).any(), "0"),
        ("^", not np.isfinite(values).all(), "not finite"),
    ):
        if occurs:
            handles.append(Line2D([], [], color=style.BLACK, marker=marker, linestyle="", label=meaning))
    occurring = {step.status for step in run.steps}
    return handles + [
        Patch(color=colour, alpha=0.35, label=label)
        for status, (colour, label) in SHADES.items()
        if status in occurring
    ]


def principal_axes(samples: Float[np.ndarray, "N d"]) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d axes"]]:
    """The samples' mean and their first two principal directions, each with a fixed sign; if d = 1, 0 and 1."""
    if samples.shape[1] == 1:
        return np.zeros(1), np.ones((1, 1))
    centre = samples.mean(axis=0)
    _, vectors = np.linalg.eigh((samples - centre).T @ (samples - centre))
    directions = vectors[:, ::-1][:, :2]
    largest = np.abs(directions).argmax(axis=0)
    return centre, directions * np.sign(directions[largest, np.arange(directions.shape[1])])


def thinned(samples: Float[np.ndarray, "N d"]) -> Float[np.ndarray, "n d"]:
    """At most SHOWN_SAMPLES samples, evenly spaced."""
    if len(samples) <= SHOWN_SAMPLES:
        return samples
    return samples[np.linspace(0, len(samples) - 1, SHOWN_SAMPLES).astype(int)]


def finite(points: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """The points, those with a coordinate that is not finite replaced by NaN, which is not drawn."""
    return np.where(np.isfinite(points).all(axis=1, keepdims=True), points, np.nan)


def draw_plane(axes: Axes, run: EmRun) -> None:
    """Samples and ways of the means in the plane of the first two principal axes; in one dimension, over a strip."""
    centre, directions = principal_axes(run.samples)
    shown = (thinned(run.samples) - centre) @ directions
    ways = [[run.start, *(getattr(s, side) for s in run.steps)] for side in ("reference", "estimate")]
    exact, ours = (np.array([(finite(mixture.means) - centre) @ directions for mixture in way]) for way in ways)
    if directions.shape[1] == 1:
        golden = np.arange(len(shown)) * (np.sqrt(5) - 1) / 2 % 1  # spreads the strip evenly, without a seed
        shown = np.column_stack([shown[:, 0], -1.2 + 0.9 * golden])
        height = np.broadcast_to(np.arange(len(run.steps) + 1.0)[:, None], ours.shape[:2])
        exact, ours = (np.dstack([way[:, :, 0], height]) for way in (exact, ours))
        axes.set(xlabel="x", ylabel="EM step (samples below 0)")
        axes.set_yticks(range(0, len(run.steps) + 1, len(run.steps) // 8 + 1))
    else:
        axes.set(xlabel="first principal axis of the samples", ylabel="second principal axis")
        axes.set_aspect("equal", adjustable="datalim")
    axes.plot(*shown.T, ".", color="#AAAAAA", markersize=3, markeredgewidth=0)
    for k in range(ours.shape[1]):
        colour = style.CYCLE[k % len(style.CYCLE)]
        for way, (shade, line, marker) in ((exact, EXACT_LOOK), (ours, (colour, 1.1, 3.0))):
            axes.plot(*way[:, k].T, color=shade, linewidth=line, solid_capstyle="round")
            axes.plot(*way[1:, k].T, "o", color=shade, markersize=marker, markeredgewidth=0)
        axes.plot(*ours[0, k], "o", color=colour, markersize=6, markerfacecolor="white")


def plane_legend() -> list[Line2D]:
    """What the marks of the samples' panel mean."""
    return [
        Line2D([], [], linestyle="", marker=".", color="#AAAAAA", label="sample"),
        Line2D([], [], linestyle="", marker="o", color=style.BLUE, fillstyle="none", markersize=6, label="start"),
        Line2D([], [], marker="o", color=style.BLUE, linewidth=1.1, markersize=3, label="transformer"),
        Line2D(
            [],
            [],
            marker="o",
            color=EXACT_LOOK[0],
            linewidth=EXACT_LOOK[1],
            markersize=EXACT_LOOK[2],
            label="exact EM,\nbelow it",
        ),
    ]


def small_print(run: EmRun, instance: str) -> str:
    """The instance, and everything that decides the numbers."""
    limits, approximation = run.em.task_class, run.em.approximation
    used, dim = run.samples.shape
    lines = (
        f"{instance}N = {used} samples, d = {dim}, K = {len(run.start.weights)}, EM steps: {len(run.steps)}, "
        f"layers: {2 * len(run.steps)}. Class: d ≤ {limits.max_dim}, K ≤ {limits.max_components}, ‖x‖ ≤ "
        f"{limits.radius:g}, π̂ ≥ {limits.min_weight:g}. {approximation.construction.capitalize()} construction, log "
        f"A = {approximation.log_a:.1f}, {approximation.segments} chords of log, {approximation.pieces} of the square, "
        f"{str(run.em.dtype).removeprefix('torch.')}; diam(X) = {run.diameter:.3g} ({run.diameter_kind})."
    )
    if used > SHOWN_SAMPLES:
        lines += f" {SHOWN_SAMPLES} of the samples are shown."
    first_reason = next((f"Step {s.step}, {s.status}: {s.reason}." for s in run.steps if s.reason), "")
    return f"{lines} {first_reason}"


@style.styled
def draw(run: EmRun, instance: str = "") -> Figure:
    """The run's errors, bounds and ways of the means; `instance` says in the small print what was run."""
    picture = style.new_figure(5.0)
    rows = picture.add_gridspec(2, 1, height_ratios=(1, 1.15))
    upper, lower = (picture.add_subfigure(rows[row]) for row in range(2))
    plane, key = lower.subplots(1, 2, width_ratios=(4, 1))
    kinds = series(run)
    statuses = tuple(step.status for step in run.steps)
    for axes, letter, kind in zip(upper.subplots(1, 2), "ab", kinds, strict=True):
        draw_series(axes, kind, statuses)
        style.panel_title(axes, letter, f"{kind.name}, step by step")
    draw_plane(plane, run)
    apart = style.number(float(kinds[0].drift.max()), 2)
    style.panel_title(plane, "c", f"the way of the means; largest distance between the two: {apart}")
    upper.legend(handles=error_legend(run), loc="outside upper left", ncols=4, columnspacing=1.4)
    key.axis("off")
    key.legend(handles=plane_legend(), loc="upper left", borderaxespad=0)
    style.caption(picture, small_print(run, instance))
    return picture


def png(run: EmRun) -> bytes:
    """The run's picture as PNG."""
    return style.png(draw(run))


def figure() -> Figure:
    """Errors, bounds and slack along a run on iris, and the means on their way."""
    rng = np.random.default_rng(SEED)
    data = load_bundled(DATA, COMPONENTS, None, None, rng)
    start = load_start("kmeans++", COMPONENTS, data.samples, rng)
    em = build(TASK_CLASS, split_tolerance(TASK_CLASS, TOLERANCE, "floor"), STEPS)
    instance = f"{DATA.capitalize()}, {data.preparation}; start: k-means++ with seed {SEED}; tolerance {TOLERANCE:g}. "
    return draw(run_em(em, data.samples, start, execution="dense"), instance)
