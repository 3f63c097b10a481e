"""Three errors apart: statistical (EM's fixed point against the truth), optimisation, approximation.

Optimisation: L exact EM steps against the fixed point. Approximation: the transformer against as many exact EM steps.
Lines are medians, bands reach from the smallest to the largest of the data sets.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style
from theory_checks.test_theorem_f1_rate import Cells, cells

ERRORS = {
    "statistical": ("statistical: fixed point − truth", style.BLUE, "-"),
    "optimisation": ("optimisation: L steps − fixed point", style.VERMILLION, "--"),
    "approximation": ("approximation: transformer − L steps", style.GREEN, "-."),
    "total": ("total: transformer − truth", style.BLACK, ":"),
}
FLOOR = 1e-13
"""Errors below are rounding."""


def draw(axes: Axes, parts: Cells, axis: str) -> None:
    """All errors along one axis."""
    x = np.array([float(cell[0][axis]) for cell in parts])
    for name, (label, colour, line) in ERRORS.items():
        values = [np.maximum(cell[name], FLOOR) for cell in parts]
        low, high = [v.min() for v in values], [v.max() for v in values]
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(x, [np.median(v) for v in values], line, color=colour, label=label)
    axes.set(yscale="log", ylabel="error D")


@style.styled
def figure() -> Figure:
    """Statistical, optimisation and approximation error, along L, n, ε and separation."""
    picture = style.new_figure(5.2)
    axes = picture.subplots(2, 2)
    steps = [cell for cell in cells("L") if cell[0]["separation"] == 4.0]
    panels = (("L", steps), ("n", cells("n")), ("tolerance", cells("tolerance")), ("separation", cells("separation")))
    labels = ("EM steps L", "samples n", "tolerance ε of a step", "separation R")
    for panel, (axis, parts), label, letter in zip(axes.ravel(), panels, labels, "abcd", strict=True):
        draw(panel, parts, axis)
        panel.set(xlabel=label, ylim=(FLOOR / 2, 5))
        if axis != "L":
            panel.set_xscale("log")
        style.panel_title(panel, letter, label)
    style.plain_ticks(axes[1, 1].xaxis, [2, 3, 4, 6, 8, 12, 16])
    axes[0, 0].legend(loc="lower left", labelspacing=0.25)
    sizes = ", ".join(f"{axis} {len(parts[0])}" for axis, parts in panels)
    style.caption(
        picture,
        "D = max over k of ‖μ − μ'‖ and |π − π'|/π*. d = K = 2, equal weights; unless on the axis n = 4096, L = 8, "
        f"ε = 0.05, separation 4; panel (a): n = 16384. Data sets a point: {sizes}; seed 0. "
        "Construction `floor`, float64.",
    )
    return picture
