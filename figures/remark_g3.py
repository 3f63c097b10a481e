"""Remark G.3: the tensor-power transformer with softmax attention, its error against the score scale s.

Softmax does not see a shift of all scores, so every token has a twin of opposite sign: the odd layer makes tanh(s·v)/s
of v, head j of the even one sinh(s·v_j·v_m)/s of the product v_j·v_m. Both are right to a relative O(s²); the weights'
rounding, divided by s, grows as s shrinks. (a) After one step and (b) after three, the relative error by float
format, with the proven bound; where the two effects balance, `best_scale`. In (a) the bound in exact arithmetic, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from constructions.dtypes import DTYPES
from constructions.tensor_power_bounds import best_scale, contraction, softmax_factor
from constructions.tensor_power_command import default_max_dim
from constructions.tensor_power_run import run as run_power
from constructions.tensor_power_transformer import build, softmax_form
from constructions.tensors import random_start, random_tensor
from figures import style

DIM, TENSORS, STEPS = 5, 4, (1, 3)
EXPONENTS = range(0, 25)
"""s = 2^-exponent."""
SCALES = np.array([2.0**-exponent for exponent in EXPONENTS])
LOOKS = {"float64": (style.BLUE, "o"), "float32": (style.VERMILLION, "s")}
"""Format -> colour and marker."""


@dataclass(frozen=True)
class Measurement:
    """At one scale after one of STEPS: the largest relative error, bound, and error/bound over the tensors."""

    error: float
    bound: float
    ratio: float


@dataclass(frozen=True)
class Instance:
    """A tensor and a start."""

    tensor: Float[np.ndarray, "d d d"]
    start: Float[np.ndarray, " d"]


def instances() -> list[Instance]:
    """One for each seed."""
    rngs = [np.random.default_rng(seed) for seed in range(TENSORS)]
    return [Instance(random_tensor(DIM, rng), random_start(DIM, rng)) for rng in rngs]


def measure(exponent: int, dtype: torch.dtype, given: list[Instance]) -> list[Measurement]:
    """For each of STEPS."""
    model = build(default_max_dim(DIM), max(STEPS), softmax_form(Fraction(1, 2**exponent)), dtype)
    runs = [run_power(model, case.tensor, case.start, execution="dense") for case in given]
    found = []
    for count in STEPS:
        steps = [run.steps[count - 1] for run in runs]
        sizes = [float(np.linalg.norm(step.reference)) for step in steps]
        errors = [step.difference / size for step, size in zip(steps, sizes, strict=True)]
        bounds = [step.bound / size for step, size in zip(steps, sizes, strict=True)]
        found.append(Measurement(max(errors), max(bounds), max(np.array(errors) / np.array(bounds))))
    return found


def exact_bound(scale: float, given: list[Instance]) -> float:
    """The largest relative φ·‖|T|(|v|,|v|)‖: one step without rounding."""
    return max(
        softmax_factor(scale, float(np.abs(case.start).max()))
        * float(np.linalg.norm(contraction(np.abs(case.tensor), np.abs(case.start), np.abs(case.start))))
        / float(np.linalg.norm(contraction(case.tensor, case.start, case.start)))
        for case in given
    )


def slope(axes: Axes, exponent: int, points: tuple[int, int], error: float, text: str) -> None:
    """A guide of the given slope between two of SCALES, below an error at the first."""
    ends = SCALES[list(points)]
    values = error / 30 * (ends / ends[0]) ** exponent
    axes.loglog(ends, values, color=style.GREY, linewidth=0.7, linestyle="-.")
    axes.text(
        np.sqrt(ends.prod()), np.sqrt(values.prod()) / 5, text, color=style.GREY, fontsize=7, va="top", ha="center"
    )


def draw(axes: Axes, column: int, found: dict[str, list[list[Measurement]]]) -> None:
    """Errors and bounds after one of STEPS against s."""
    for name, rows in found.items():
        colour, marker = LOOKS[name]
        error = np.array([row[column].error for row in rows])
        bound = np.array([row[column].bound for row in rows])
        axes.loglog(SCALES, bound, "--", color=colour, linewidth=0.9)
        axes.loglog(SCALES, error, color=colour, marker=marker, markersize=2.5, linewidth=0.8, label=name)
        best = float(best_scale(default_max_dim(DIM), DTYPES[name]))
        axes.vlines(best, 1e-17, 1, color=colour, linestyle=":", linewidth=0.8)
        exponent = f"$2^{{{round(np.log2(best))}}}$"
        axes.text(best, 2e-17, f" best: {exponent}", color=colour, fontsize=7, ha="left", va="bottom")
    axes.set(xlabel="score scale s", xlim=(2, SCALES[-1] / 2), ylim=(1e-17, 1e7))
    axes.axhspan(1, 1e7, color=style.YELLOW, alpha=0.25, linewidth=0, zorder=0)


def small_print(found: dict[str, list[list[Measurement]]]) -> str:
    """Instances, and what stood out."""
    ratio = max(m.ratio for rows in found.values() for row in rows for m in row)
    max_dim = default_max_dim(DIM)
    at_best = []
    for name, rows in found.items():
        errors = [row[0].error for row in rows]
        m = rows[int(np.argmin(np.abs(SCALES - float(best_scale(max_dim, DTYPES[name])))))][0]
        error, bound, least = (style.number(value, 2) for value in (m.error, m.bound, min(errors)))
        at_best.append(f"{name} {error} ≤ {bound} (least error at any scale {least})")
    return (
        f"Random tensors and unit starts, seeds 0 to {TENSORS - 1}, d = {DIM}, d₀ = {max_dim}, {2 * max_dim} tokens in "
        f"twins. The largest of {TENSORS} relative errors, and of the bounds; largest error/bound {ratio:.2f}. After "
        f"one step, at the best scale: {'; '.join(at_best)}. The bound in exact arithmetic has one factor for all "
        "coordinates, and so can lie a little above the one with rounding. Above 1 (yellow) a bound is vacuous."
    )


@style.styled
def figure() -> Figure:
    """Remark G.3: error and bound of the softmax form against its score scale."""
    given = instances()
    found = {name: [measure(exponent, DTYPES[name], given) for exponent in EXPONENTS] for name in LOOKS}
    picture = style.new_figure(3.6)
    panels = picture.subplots(1, 2, sharey=True)
    for column, (axes, letter) in enumerate(zip(panels, "ab", strict=True)):
        draw(axes, column, found)
        style.panel_title(axes, letter, "one step" if STEPS[column] == 1 else f"{STEPS[column]} steps")
    slope(panels[0], 2, (4, 12), found["float64"][4][0].error, "∝ s²")
    slope(panels[0], -1, (18, 24), found["float64"][18][0].error, "∝ 1/s")
    exact = [exact_bound(scale, given) for scale in SCALES]
    panels[0].loglog(SCALES, exact, color=style.BLACK, linewidth=0.9, label="bound in exact arithmetic")
    panels[0].plot([], [], "--", color=style.GREY, linewidth=0.9, label="bound with rounding")
    panels[0].set(ylabel="‖v̂ − v‖ / ‖v‖")
    panels[0].legend(loc="upper left", ncols=2, borderaxespad=0.2)
    style.caption(picture, small_print(found))
    return picture
