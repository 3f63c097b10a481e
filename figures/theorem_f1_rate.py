"""The transformer's error against Theorem F.1's bound, along d, K, n, L, δ and ε, with constants fixed beforehand.

Every panel varies one of them. Points are the errors of single data sets, the line through them their median; the bound
has constants calibrated on other data (open circles in the panel of n: the calibration cells). Shaded: the slack.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style
from theory_checks import calibration, rates
from theory_checks.rates import Constants
from theory_checks.test_theorem_f1_rate import Cells, cells, constants, separation_constant

PANELS = (("n", "samples n"), ("d", "dimension d"), ("K", "components K"), ("L", "EM steps L"), ("tolerance", "ε"))


def bound(row: np.void, held: Constants, delta: float = rates.DELTA) -> float:
    """Theorem F.1's right-hand side for the cell of a row."""
    rate = rates.shape(row["d"], row["K"], row["n"], row["min_weight"], delta)
    return held.bound(rate, float(row["L"]), float(row["tolerance"]))


def draw(axes: Axes, parts: Cells, axis: str, held: Constants) -> None:
    """Errors and bound along one axis."""
    x = np.array([float(cell[0][axis]) for cell in parts])
    limits = np.array([bound(cell[0], held) for cell in parts])
    middle = np.array([np.median(cell["total"]) for cell in parts])
    axes.fill_between(x, middle, limits, color=style.SLACK, linewidth=0)
    for value, cell in zip(x, parts, strict=True):
        axes.plot(np.full(len(cell), value), cell["total"], ".", color=style.BLUE, markersize=1.5, alpha=0.5)
    axes.plot(x, middle, color=style.BLUE, label="error, its median")
    axes.plot(x, limits, color=style.VERMILLION, label="bound")
    axes.set(xscale="log", yscale="log")


def draw_delta(axes: Axes, held: Constants) -> None:
    """The (1 − δ)-quantile of the error over the replications, against the bound for δ."""
    (cell,) = cells("delta")
    deltas = np.geomspace(10 / len(cell), 0.5, 40)
    errors = np.quantile(cell["total"], 1 - deltas)
    limits = np.array([bound(cell[0], held, delta) for delta in deltas])
    axes.fill_between(deltas, errors, limits, color=style.SLACK, linewidth=0)
    axes.plot(deltas, errors, color=style.BLUE)
    axes.plot(deltas, limits, color=style.VERMILLION)
    axes.set(xscale="log", yscale="log", xlabel="δ", ylabel="error D")
    style.panel_title(axes, "f", f"δ, {len(cell)} data sets")


def along(axis: str, separation: float = 4.0) -> Cells:
    """The cells of a sweep at one separation."""
    return [cell for cell in cells(axis) if cell[0]["separation"] == separation]


def small_print() -> str:
    """What was drawn how often, with which seeds."""
    held = constants()[4.0]
    calibrated = sum(len(cell) for cell in along(calibration.SWEEP))
    sizes = {name: len(along(name)[0]) for name, _ in PANELS}
    return (
        "D = max over k of ‖μ̂ − μ*‖ and |π̂ − π*|/π*, of the transformer `floor` in float64. Separation 4, for "
        f"which β and c are: C is {separation_constant(cells('n')[0]):.2g} for two equal weights, which is not large. "
        "Unless on the axis: d = 2, K = 2 equal, n = 4096, L = 8, ε = 0.05; (c): d = 4, n = 16384, π_min = 1/16, "
        "L = 16; (d): n = 16384; (f): n = 1024. Data sets a point: "
        + ", ".join(f"{name} {size}" for name, size in sizes.items())
        + f"; seed 0. Bound β^L + (c√(Kd log(n/δ)/(nπ_min)) + ε)/(1 − β), δ = {rates.DELTA:g}, β = {held.beta:.3f}, "
        f"c = {held.c:.3f}, calibrated on {calibrated} other data sets (seed 1, open circles); recovered: aβ^L after "
        "L + 1 steps, here β^L after L. "
        "Where it exceeds 1, the radius of the region, it says nothing."
    )


@style.styled
def figure() -> Figure:
    """Error against Theorem F.1's bound, in each of n, d, K, L, δ, ε."""
    picture = style.new_figure(4.9)
    axes = picture.subplots(2, 3).ravel()
    held = constants()[4.0]
    for panel, (name, label), letter in zip(axes, PANELS, "abcde", strict=False):
        draw(panel, along(name), name, held)
        panel.set(xlabel=label, ylabel="error D")
        panel.axhline(1, color=style.GREY, linewidth=0.7, linestyle=":")
        style.panel_title(panel, letter, name if name != "tolerance" else "ε, the tolerance of a step")
    style.plain_ticks(axes[1].xaxis, [1, 2, 4, 8, 16, 32, 64])
    style.plain_ticks(axes[2].xaxis, [2, 3, 4, 6, 8, 12, 16])
    style.plain_ticks(axes[3].xaxis, [1, 2, 3, 4, 6, 8, 12, 16, 24])
    for cell in along(calibration.SWEEP):
        axes[0].plot(cell[0]["n"], np.median(cell["total"]), "o", color=style.BLACK, fillstyle="none", markersize=5)
    axes[0].legend(loc="lower left")
    draw_delta(axes[5], held)
    style.caption(picture, small_print())
    return picture
