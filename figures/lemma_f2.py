"""Lemmas F.2 and F.3: how far averages over a sample are off, uniformly over (A1)'s region, and what bounds them.

From figures/lemma_f2.json (`python -m theory_checks.uniform_deviations`): nothing is measured here. (a), (b) Against n:
w_k and w_k(X − μ_k*). (c) Against d, (d) against K. (e) An EM step's error against the smallest weight. Calibration
cells give the constant of the recovered bound, which is drawn through the held-out ones. Shaded: the explicit bound's
slack.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from constructions.concentration_bounds import (
    Region,
    moment_deviation,
    responsibility_deviation,
    uniform_step_deviation,
)
from figures import style
from theory_checks import rates, uniform_deviations
from theory_checks.uniform_deviations import SLACK, Cell, Measured, Results

Axis = Callable[[Cell], float]

DELTA = 1e-2
"""Failure probability of the explicit bounds that are drawn."""
COORDINATES: dict[str, Axis] = {
    "n": lambda cell: cell.count,
    "d": lambda cell: cell.dim,
    "K": lambda cell: cell.components,
}
AXES = {"d": "dimension d", "K": "components K"}
LOOKS = {"w": (style.BLUE, "o", "$w_k$"), "moment": (style.VERMILLION, "s", "$w_k(X-\\mu_k^*)$")}
BOUNDS = {"w": responsibility_deviation, "moment": moment_deviation}


def explicit(cell: Cell) -> float:
    """The explicit bound, largest over the components."""
    if cell.quantity == "step":
        return uniform_step_deviation(cell.region, cell.count, DELTA / 2)
    bound: Callable[[Region, int, float], np.ndarray] = BOUNDS[cell.quantity]
    return float(bound(cell.region, cell.count, DELTA).max())


def draw_values(axes: Axes, measured: Sequence[Measured], axis: Axis, colour: str, marker: str, held_out: bool) -> None:
    """Every replication, and their median; hollow where the constant was calibrated."""
    for m in measured:
        axes.plot([axis(m.cell)] * len(m.values), m.values, ".", color=colour, alpha=0.25, markersize=2.5, mew=0)
    medians = [float(np.median(m.values)) for m in measured]
    x = [axis(m.cell) for m in measured]
    axes.plot(x, medians, marker, color=colour, fillstyle="full" if held_out else "none")


def draw_bounds(axes: Axes, measured: Sequence[Measured], axis: Axis, constant: float, colour: str) -> None:
    """The recovered bound with its calibrated constant, the explicit one, and the space below it."""
    x, bounds = [axis(m.cell) for m in measured], [explicit(m.cell) for m in measured]
    axes.fill_between(x, [float(m.values.max()) for m in measured], bounds, color=style.SLACK, linewidth=0)
    axes.plot(x, bounds, color=style.BLACK)
    axes.plot(x, [constant * m.cell.rate for m in measured], "--", color=colour)


def draw_n(axes: Axes, results: Results, quantity: str) -> None:
    """Against n at K = 2, d = 2."""
    colour, marker, _ = LOOKS[quantity]
    first = [m for m in results.part("calibration", quantity) if m.cell.dim == 2]
    held = results.part("n", quantity)
    draw_bounds(axes, [*first, *held], lambda cell: cell.count, results.constants[quantity], colour)
    draw_values(axes, first, lambda cell: cell.count, colour, marker, False)
    draw_values(axes, held, lambda cell: cell.count, colour, marker, True)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set(xlabel="samples n", ylabel="largest deviation found")


def draw_axis(axes: Axes, results: Results, part: str, axis: Axis, quantities: Sequence[str]) -> None:
    """Against d or K."""
    for quantity in quantities:
        colour, marker, label = LOOKS[quantity]
        held = results.part(part, quantity)
        x = [axis(m.cell) for m in held]
        axes.plot(x, [explicit(m.cell) for m in held], color=colour, linewidth=0.8)
        axes.plot(x, [results.constants[quantity] * m.cell.rate for m in held], "--", color=colour)
        draw_values(axes, held, axis, colour, marker, True)
        axes.plot([], [], marker, color=colour, label=label)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(x, [f"{value:g}" for value in x])
    axes.minorticks_off()
    axes.set(xlabel=AXES[part], ylim=(7e-4, 3))


def draw_weight(axes: Axes, results: Results) -> None:
    """An EM step's error against π_min."""
    held = results.part("weight", "step")
    draw_bounds(axes, held, lambda cell: cell.least, results.constants["step"], style.GREEN)
    draw_values(axes, held, lambda cell: cell.least, style.GREEN, "^", True)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks([m.cell.least for m in held], [f"{m.cell.least:g}" for m in held])
    axes.minorticks_off()
    axes.set(xlabel="smallest weight $\\pi_{\\min}$")


def slope(results: Results, part: str, quantity: str, axis: Axis) -> str:
    """The measured exponent with its confidence interval."""
    measured = results.part(part, quantity)
    return str(rates.exponent(np.array([axis(m.cell) for m in measured], dtype=float), [m.values for m in measured]))


def small_print(results: Results) -> str:
    """Grid, replications, seed, exponents."""
    replications = len(results.measured[0].values)
    slopes = {
        quantity: ", ".join(f"{part} {slope(results, part, quantity, axis)}" for part, axis in COORDINATES.items())
        for quantity in LOOKS
    }
    return (
        f"Suprema over θ with ‖μ_k − μ_k*‖ ≤ R_min/16, |π_k − π_k*| ≤ {SLACK:g}π_k*, and over k, found by gradient "
        f"ascent; {replications} replications a cell (dots; marks: medians), seed {results.seed}. Dashed: "
        "c√(Kd log n/n), in (e) c√(Kd log n/(nπ_min)), c the largest ratio of the calibration cells (hollow: K = 2, "
        f"d ≤ 2, n ≤ 1024; for (e) π_min = 0.4, n ≤ 2048). Solid: the explicit bound at δ = {DELTA:g}; shaded: from "
        "the largest value to it.\n"
        "(a), (b) K = 2, d = 2, equal weights. (c) K = 2, equal weights, n = 2048. (d) d = 1, one weight 1/16, the "
        "others equal, n = 2048. R_min = 4 in all of them. (e) D(M_n(θ), M(θ)): K = 2, d = 2, n = 8192, R_min = 8.\n"
        f"Exponents with 95 % intervals: w_k: {slopes['w']}. w_k(X − μ_k*): {slopes['moment']}. EM step: π_min "
        f"{slope(results, 'weight', 'step', lambda cell: cell.least)}."
    )


@style.styled
def figure() -> Figure:
    """Lemmas F.2 and F.3: uniform deviations, the recovered bounds calibrated, and explicit bounds."""
    results = uniform_deviations.read()
    picture = style.new_figure(5.6)
    panels = picture.subplot_mosaic("aaabbb;ccddee")
    for letter, (quantity, (colour, marker, label)) in zip("ab", LOOKS.items(), strict=True):
        axes = panels[letter]
        draw_n(axes, results, quantity)
        axes.plot([], [], color=style.BLACK, label="explicit bound")
        axes.plot([], [], "--", color=colour, label="recovered, calibrated")
        axes.plot([], [], marker, color=colour, fillstyle="none", label="calibration cells")
        axes.plot([], [], marker, color=colour, label="held-out cells")
        axes.legend(loc="lower left")
        style.panel_title(axes, letter, f"average of {label}")
    for letter, part in zip("cd", AXES, strict=True):
        draw_axis(panels[letter], results, part, COORDINATES[part], tuple(LOOKS))
        style.panel_title(panels[letter], letter, f"against {part}")
    panels["c"].set_ylabel("largest deviation found")
    panels["d"].legend(loc="upper left", borderaxespad=0)
    draw_weight(panels["e"], results)
    style.panel_title(panels["e"], "e", "one EM step")
    style.caption(picture, small_print(results))
    return picture
