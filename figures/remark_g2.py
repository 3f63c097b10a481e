"""Remark G.2: normalisation by a transformer, how well it works on a known range, and why it cannot work without one.

(a), (b) v ← T(I,v,v)·ρ(‖T(I,v,v)‖²) with a chord network ρ for 1/√· on a known range of ‖T(I,v,v)‖; the squared norm
from a network of squares (a) or from the attention score ⟨new, new⟩ (b). The error against the exact normalised
iteration stays where it is, t after t: a step multiplies v by a number and so cannot turn it, and in exact arithmetic
only the last norm is wrong. The directions, crosses at the bottom, differ by rounding. (c) One step on ±T: T(I,v,v) has
length t and opposite signs, so the exact results ±u are 2 apart whatever t. A transformer is a continuous function
of T, so its two results come together as t → 0: one of them is off by at least 1. A wider range moves the place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from constructions.algorithms.tensor_power import normalised, power_step
from constructions.normalisation import normalisation
from constructions.tensor_power_command import default_max_dim
from constructions.tensor_power_run import PowerRun
from constructions.tensor_power_run import run as run_power
from constructions.tensor_power_transformer import build, encode, normalised_form, read_out
from constructions.tensors import random_start, random_tensor
from figures import style

DIM, SEED, ITERATIONS = 5, 0, 20
LOW, HIGH = 0.25, 2.0
ERRORS = {"network": (1e-1, 1e-3, 1e-5), "attention": (1e-1, 1e-3, 1e-5, 1e-7)}
"""The relative errors of a norm that the transformers are built for."""
COLOURS = dict(zip(ERRORS["attention"], (style.BLUE, style.VERMILLION, style.GREEN, style.PURPLE), strict=True))
SQUARES: tuple[Literal["network", "attention"], ...] = ("network", "attention")

LOWS = {1e-1: style.BLUE, 1e-3: style.VERMILLION, 1e-6: style.GREEN, 1e-9: style.PURPLE}
"""c of the range [c, HIGH] in (c) -> colour."""
SIZES = np.geomspace(1e-12, HIGH, 600)


@dataclass(frozen=True)
class Instance:
    """A tensor and a start."""

    tensor: Float[np.ndarray, "d d d"]
    start: Float[np.ndarray, " d"]


def instance() -> Instance:
    """One random tensor and start for all panels."""
    rng = np.random.default_rng(SEED)
    return Instance(random_tensor(DIM, rng), random_start(DIM, rng))


def iterate(given: Instance, error: float, squares: Literal["network", "attention"]) -> PowerRun:
    """All iterations of one transformer."""
    range_ = normalisation(LOW, HIGH, default_max_dim(DIM), error, squares)
    model = build(default_max_dim(DIM), ITERATIONS, normalised_form(range_))
    return run_power(model, given.tensor, given.start, execution="dense")


def turned(run: PowerRun) -> list[float]:
    """‖v̂/‖v̂‖ − u‖ after every iteration."""
    return [float(np.linalg.norm(normalised(step.vector) - step.reference)) for step in run.steps]


def draw_iterations(axes: Axes, runs: dict[float, PowerRun]) -> None:
    """(a), (b): error, bound and error of the direction against t."""
    steps = np.arange(1, ITERATIONS + 1)
    for error, run in runs.items():
        colour = COLOURS[error]
        bounds = np.array([step.bound for step in run.steps])
        axes.semilogy(steps, bounds, "--", color=colour, linewidth=0.9)
        axes.semilogy(steps, [step.difference for step in run.steps], "o", color=colour, markersize=2.5)
        axes.semilogy(steps, turned(run), "x", color=colour, markersize=2.5, markeredgewidth=0.6)
        assert run.model.form.normalisation is not None
        segments = run.model.form.normalisation.segments
        axes.text(1, bounds[0] * 1.5, f"{segments} chords", color=colour, fontsize=6.5, va="bottom")
    axes.set(xlabel="iteration t", xlim=(0, ITERATIONS + 1), ylim=(2e-17, 3))
    axes.set_xticks(range(0, ITERATIONS + 1, 5))


def worst_of_both(low: float, given: Instance) -> Float[np.ndarray, " t"]:
    """max(‖f(tS) − u‖, ‖f(−tS) + u‖) for every t, f one step of the transformer for [low, HIGH]; ‖S(I,v,v)‖ = 1."""
    max_dim = default_max_dim(DIM)
    model = build(max_dim, 1, normalised_form(normalisation(low, HIGH, max_dim, squares="attention")))
    start = normalised(given.start)
    new = power_step(given.tensor, start)
    unit = given.tensor / np.linalg.norm(new)
    signed = np.outer((1, -1), SIZES).ravel()
    tokens = np.array([encode(model, t * unit, start) for t in signed])
    vectors = read_out(model, model.transformer(torch.tensor(tokens)).numpy(), DIM)
    off = np.linalg.norm(vectors - np.sign(signed)[:, None] * normalised(new), axis=1)
    return np.asarray(off.reshape(2, -1).max(axis=0))


def draw_impossible(axes: Axes, given: Instance) -> dict[float, float]:
    """(c): the worse of the two errors, the largest from HIGH down to t; the error at the smallest t for each c."""
    ends = {}
    for low, colour in LOWS.items():
        off = worst_of_both(low, given)
        ends[low] = float(off[0])
        so_far = np.maximum.accumulate(off[::-1])[::-1]
        axes.loglog(SIZES, so_far, color=colour, label=f"c = {style.number(low)}")
        axes.vlines(low, float(so_far[-1]), 3, color=colour, linestyle=":", linewidth=0.7)
    axes.axhline(1, color=style.BLACK, linewidth=0.7)
    promised = normalisation(min(LOWS), HIGH, default_max_dim(DIM), squares="attention").norm_errors(DIM)
    axes.axhline(max(promised), color=style.BLACK, linestyle="--", linewidth=0.7)
    axes.set(xlabel="t = ‖T(I,v,v)‖", xlim=(HIGH * 3, SIZES[0]), ylim=(4e-6, 3))
    axes.legend(loc="lower left", borderaxespad=0.2)
    return ends


def small_print(runs: list[PowerRun], ends: dict[float, float]) -> str:
    """Instance, what was judged, where the lines of (c) end."""
    steps = [step for run in runs for step in run.steps]
    holding = sum(step.status == "holds" for step in steps)
    ratio = max(step.difference / step.bound for step in steps)
    lowest = min(ends.values())
    return (
        f"Random tensor and start, seed {SEED}, d = {DIM}, d₀ = {default_max_dim(DIM)}, float64, 4 layers a step. "
        f"(a), (b): {LOW:g} ≤ ‖T(I,v,v)‖ ≤ {HIGH:g}, {ITERATIONS} iterations; {holding} of {len(steps)} steps hold, "
        f"largest error/bound {ratio:.4f}. Where the bound rises, rounding is what it counts. (c): {len(SIZES)} values "
        f"of t; the weights, with squares by attention, are made for c ≤ t ≤ {HIGH:g}, c dotted; dashed: the error "
        f"they promise there; at t = {style.number(SIZES[0])} no error is below {lowest:.4f}."
    )


@style.styled
def figure() -> Figure:
    """Remark G.2: normalised iterations do not accumulate errors, and need a known range."""
    given = instance()
    picture = style.new_figure(3.4)
    panels = picture.subplots(1, 3)
    runs = []
    for axes, letter, squares in zip(panels[:2], "ab", SQUARES, strict=True):
        made = {error: iterate(given, error, squares) for error in ERRORS[squares]}
        draw_iterations(axes, made)
        style.panel_title(axes, letter, f"squares by {'a ' * (squares == 'network')}{squares}")
        runs += list(made.values())
    panels[0].set(ylabel="‖v̂ − u‖")
    for look, text in (("--", "bound"), ("o", "error"), ("x", "error of the direction")):
        panels[0].plot([], [], look, color=style.BLACK, linewidth=0.9, markersize=2.5, label=text)
    panels[0].legend(loc="center right", bbox_to_anchor=(1.0, 0.33), borderaxespad=0.2)
    ends = draw_impossible(panels[2], given)
    panels[2].set(ylabel="error on ±T, the largest down to t")
    style.panel_title(panels[2], "c", "no weights serve all T")
    style.caption(picture, small_print(runs, ends))
    return picture
