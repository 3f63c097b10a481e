"""EM's statistical error in every cell of the sweeps against √(Kd log n/(nπ_min)), and its exponent along each axis.

(a) One mark a cell: the median of its data sets; the line is the calibrated bound at separation 4. (b) Exponents with
their bootstrap intervals, beside the exponents of the bound.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style
from theory_checks import rates
from theory_checks.confirmation import FRESH, exponent
from theory_checks.test_theorem_f1_rate import cells, constants, found, measured

MARKS = {
    "calibration": ("calibration", style.BLACK, "o"),
    "n": ("n", style.BLUE, "o"),
    "d": ("d", style.VERMILLION, "s"),
    "K": ("K", style.GREEN, "^"),
    FRESH[3.0]: ("π_min, R = 3", style.PURPLE, "v"),
    FRESH[4.0]: ("π_min, R = 4", style.SKY, "P"),
    FRESH[8.0]: ("π_min, R = 8", style.ORANGE, "D"),
    "factorial": ("factorial, R = 4, 6", style.GREY, "x"),
}
"""Sweep -> how it is shown."""
CLAIMED = [
    ("n", "n", -0.5),
    ("d", "d", 0.5),
    ("K", "K", 0.5),
    *((sweep, f"1/π_min, R = {separation:g}", 0.5) for separation, sweep in FRESH.items()),
]


def draw_cells(axes: Axes) -> None:
    """(a) median errors against the rate."""
    reach: list[float] = []
    for sweep, (label, colour, mark) in MARKS.items():
        parts = [cell for cell in cells(sweep) if sweep != "calibration" or cell[0]["separation"] == 4.0]
        x = [rates.shape(c[0]["d"], c[0]["K"], c[0]["n"], c[0]["min_weight"]) for c in parts]
        y = [np.median(cell["statistical"]) for cell in parts]
        hollow = "none" if sweep == "calibration" else "full"
        axes.plot(x, y, mark, color=colour, label=label, markersize=4, fillstyle=hollow, linestyle="")
        reach += x
    held = constants()[4.0]
    line = np.array([min(reach), max(reach)])
    axes.plot(line, held.c / (1 - held.beta) * line, color=style.VERMILLION, label="calibrated bound, R = 4")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="√(K d log(n/δ)/(n π_min))",
        ylabel="statistical error D, median",
        ylim=(4e-4, 3),
    )
    axes.legend(loc="lower right", ncols=2, labelspacing=0.25, columnspacing=1)
    style.panel_title(axes, "a", "EM's fixed point against the truth")


def draw_exponents(axes: Axes) -> None:
    """(b) exponents and their intervals."""
    for place, (sweep, _, claimed) in enumerate(CLAIMED):
        shown = exponent(found().sweep(sweep)) if sweep in FRESH.values() else measured(sweep)
        axes.plot([shown.low, shown.high], [place, place], color=style.BLUE, linewidth=2.5, solid_capstyle="butt")
        axes.plot([shown.value], [place], "o", color=style.BLUE)
        axes.plot([claimed], [place], "|", color=style.VERMILLION, markersize=14, markeredgewidth=1.5)
        axes.text(-0.12, place, str(shown), ha="center", va="center", fontsize=7)
    axes.plot([], [], "o-", color=style.BLUE, label="measured, 95 % interval")
    axes.plot([], [], "|", color=style.VERMILLION, markersize=10, markeredgewidth=1.5, label="of the bound")
    axes.set(xlabel="exponent", xlim=(-0.75, 0.75), ylim=(len(CLAIMED) - 0.4, -1.4))
    axes.set_yticks(range(len(CLAIMED)), [label for _, label, _ in CLAIMED])
    axes.legend(loc="upper left", ncols=2, columnspacing=1)
    style.panel_title(axes, "b", "exponents, one axis at a time")


def small_print() -> str:
    """Grid, replications, seeds."""
    parts = {sweep: cells(sweep) for sweep in MARKS}
    seeds = ", ".join(f"{found().sweep(sweep)['seed'][0]}" for sweep in FRESH.values())
    counts = "; ".join(f"{sweep}: {len(group)} cells of {len(group[0])}" for sweep, group in parts.items())
    return (
        "Statistical error: D between the fixed point of EM on the samples and the true parameters, D = max over k of "
        f"‖μ̂ − μ*‖ and |π̂ − π*|/π*. Data sets: {counts}; seed 0, calibration 1, π_min {seeds}. "
        "n from 256 to 131072 (d = K = 2), d from 1 to 64 (K = 2, n = 4096), "
        "K from 2 to 16 (d = 4, n = 16384, π_min = 1/16), π_min from 1/4 to 1/64 "
        f"(d = K = 2, n = 16384); separation 4 unless said. δ = {rates.DELTA:g}; "
        f"intervals: {rates.RESAMPLES} bootstrap resamples."
    )


@style.styled
def figure() -> Figure:
    """The plateau against √(Kd log n/(nπ_min)), and measured exponents."""
    picture = style.new_figure(3.6)
    left, right = picture.subplots(1, 2, width_ratios=(1.1, 1))
    draw_cells(left)
    draw_exponents(right)
    style.caption(picture, small_print())
    return picture
