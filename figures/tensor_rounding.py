"""Rounding of the ReLU form of Theorem G.8, which is exact in rational arithmetic.

(a), (b) The relative error of v after one iteration and after three, against d, by float format, with the proven
bound. A bound of 1 or more is vacuous: the zero vector would meet it. (c) One iteration from a shorter and shorter
start. T(I,v,v) shrinks with the square of ‖v‖; the MLP of the even layer replaces v by adding T(I,v,v) − v to it, a
number as large as v, whose roundings are as large as u‖v‖. Relative to ‖T(I,v,v)‖ they grow without limit, until the
result is lost. The bound contains the term. Evaluated without the detour, in the same format, T(I,v,v) loses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from constructions.algorithms.tensor_power import power_step
from constructions.dtypes import DTYPES
from constructions.tensor_power_command import default_max_dim
from constructions.tensor_power_run import PowerRun
from constructions.tensor_power_run import run as run_power
from constructions.tensor_power_transformer import TensorPowerTransformer, build
from constructions.tensors import random_start, random_tensor
from figures import style

DIMS = (1, 2, 3, 5, 7, 11, 13, 17, 23, 31)
ITERATIONS = (1, 3)
TENSORS = 3
COLOURS = {"float64": style.BLUE, "float32": style.VERMILLION, "bfloat16": style.GREEN}
MARKERS = {"float64": "o", "float32": "s", "bfloat16": "^"}
SHRINKING_DIM, SHRINKING_SEED = 5, 0
EXPONENTS = range(0, 61, 2)
"""The start's length is 2^-exponent in (c)."""


@dataclass(frozen=True)
class Cell:
    """Of one step over all tensors: the largest relative error, relative bound, and ratio; refuted steps."""

    error: float
    bound: float
    ratio: float
    refuted: int


def cells(dim: int, dtype: torch.dtype) -> list[Cell]:
    """The errors after each of ITERATIONS of one dimension and format."""
    model = build(default_max_dim(dim), max(ITERATIONS), dtype=dtype)
    runs: list[PowerRun] = []
    for seed in range(TENSORS):
        rng = np.random.default_rng(seed)
        runs.append(run_power(model, random_tensor(dim, rng), random_start(dim, rng), execution="dense"))
    found = []
    for iteration in ITERATIONS:
        steps = [run.steps[iteration - 1] for run in runs]
        sizes = [float(np.linalg.norm(step.reference)) for step in steps]
        errors = [step.difference / size for step, size in zip(steps, sizes, strict=True)]
        bounds = [step.bound / size for step, size in zip(steps, sizes, strict=True)]
        ratio = max(step.difference / step.bound for step in steps)
        found.append(Cell(max(errors), max(bounds), ratio, sum(step.status == "refuted" for step in steps)))
    return found


@dataclass(frozen=True)
class Shrinking:
    """One iteration from a start of some length: relative errors and bound."""

    transformer: float
    direct: float  # T(I,v,v) evaluated as a product of matrices in the same format
    bound: float


def shrinking(model: TensorPowerTransformer, exponent: int) -> Shrinking:
    """The same tensor and direction, the start 2^-exponent times as long: no digit of it changes."""
    rng = np.random.default_rng(SHRINKING_SEED)
    tensor, start = random_tensor(SHRINKING_DIM, rng), random_start(SHRINKING_DIM, rng)
    report = run_power(model, tensor, start * 2.0**-exponent, execution="dense")
    step, size = report.steps[0], float(np.linalg.norm(report.steps[0].reference))
    t, v = torch.tensor(report.tensor).to(model.dtype), torch.tensor(report.start).to(model.dtype)
    direct = ((t @ v) @ v).double().numpy()
    off = float(np.linalg.norm(direct - power_step(report.tensor, report.start)))
    return Shrinking(step.difference / size, off / size, step.bound / size)


def mark_vacuous(axes: Axes) -> None:
    """Shade what is above 1, where a bound says nothing."""
    low, high = axes.get_ylim()
    axes.axhspan(1, high, color=style.YELLOW, alpha=0.25, linewidth=0, zorder=0)
    axes.set_ylim(low, high)


def draw_dimensions(axes: Axes, column: int, found: dict[str, list[list[Cell]]]) -> None:
    """(a), (b): errors and bounds against d."""
    for name, rows in found.items():
        errors, bounds = ([getattr(row[column], side) for row in rows] for side in ("error", "bound"))
        axes.loglog(DIMS, bounds, "--", color=COLOURS[name], linewidth=0.9)
        axes.loglog(DIMS, errors, color=COLOURS[name], marker=MARKERS[name], markersize=3, label=name)
        unit = float(torch.finfo(DTYPES[name]).eps) / 2
        axes.plot([0.8], [unit], ">", color=COLOURS[name], markersize=4, clip_on=False)
    axes.set(xlabel="d", xlim=(0.8, 40), ylim=(1e-17, 1e11))
    axes.set_xticks([1, 2, 3, 5, 10, 20, 30], ["1", "2", "3", "5", "10", "20", "30"])
    axes.set_xticks([], minor=True)
    mark_vacuous(axes)


def draw_shrinking(axes: Axes) -> None:
    """(c): one iteration against the length of the start."""
    for name, dtype in DTYPES.items():
        model = build(default_max_dim(SHRINKING_DIM), 1, dtype=dtype)
        measured = [shrinking(model, exponent) for exponent in EXPONENTS]
        lengths = [2.0**-exponent for exponent in EXPONENTS]
        axes.loglog(lengths, [m.bound for m in measured], "--", color=COLOURS[name], linewidth=0.9)
        errors = [m.transformer for m in measured]
        axes.loglog(lengths, errors, color=COLOURS[name], marker=MARKERS[name], markersize=2.5, linewidth=0.8)
        axes.loglog(lengths, [m.direct for m in measured], color=COLOURS[name], linestyle=":", linewidth=1.0)
    axes.set(xlabel="‖v‖ before the iteration", ylim=(1e-17, 1e11), xlim=(3, 2.0 ** -max(EXPONENTS) / 3))
    mark_vacuous(axes)


def small_print(found: dict[str, list[list[Cell]]]) -> str:
    """Instances, samples, what was refuted."""
    refuted = sum(cell.refuted for rows in found.values() for row in rows for cell in row)
    count = sum(len(row) for rows in found.values() for row in rows) * TENSORS
    ratio = max(cell.ratio for rows in found.values() for row in rows for cell in row)
    return (
        f"(a), (b): d = {', '.join(map(str, DIMS))}, d₀ the next power of two, at least 8; random tensors and unit "
        f"starts of seeds 0 to {TENSORS - 1}: the largest of the {TENSORS} relative errors, and of the bounds; {count} "
        f"steps, {refuted} refuted, largest error/bound {style.number(ratio)}. The bounds step up with d₀. Small "
        "triangles on the axis: u. At d = 1 three iterations shrink v, as in (c). "
        f"(c): d = {SHRINKING_DIM}, seed {SHRINKING_SEED}, one start times 2⁻ᵏ: the same digits."
    )


@style.styled
def figure() -> Figure:
    """Rounding of Theorem G.8's transformer against d, and what a shrinking iteration loses."""
    found = {name: [cells(dim, dtype) for dim in DIMS] for name, dtype in DTYPES.items()}
    picture = style.new_figure(3.2)
    panels = picture.subplots(1, 3, sharey=True)
    for column, (axes, letter) in enumerate(zip(panels[:2], "ab", strict=True)):
        draw_dimensions(axes, column, found)
        many = "one iteration" if ITERATIONS[column] == 1 else f"{ITERATIONS[column]} iterations"
        style.panel_title(axes, letter, many)
    draw_shrinking(panels[2])
    style.panel_title(panels[2], "c", "one iteration of a short v")
    panels[0].set(ylabel="‖v̂ − v‖ / ‖v‖")
    panels[0].legend(loc="upper left", borderaxespad=0.2)
    for look, text in (("-", "transformer"), ("--", "bound"), (":", "T(I,v,v) by itself")):
        panels[2].plot([], [], look, color=style.BLACK, linewidth=0.9, label=text)
    panels[2].legend(loc="lower right", bbox_to_anchor=(1.0, 0.05), borderaxespad=0.2)
    options: dict[str, Any] = {"ha": "right", "va": "top", "fontsize": 7, "color": style.GREY}
    panels[0].text(0.98, 0.98, "vacuous", transform=panels[0].transAxes, **options)
    style.caption(picture, small_print(found))
    return picture
