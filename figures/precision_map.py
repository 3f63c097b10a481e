"""Where number formats carry the EM transformer: two constructions, two orientations, seven formats.

A cell is two EM steps in one format: the largest error of a mean over diam(X), against the exact value of the same
construction, with weights built in balls. Its sign says how the error compares with what the construction's own
theorem allows: below it, above it, no better than a guess; or that the format cannot hold the weights.
"""

from __future__ import annotations

from math import log10

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from figures import style
from theory_checks.precision_map import Cell, measure
from theory_checks.precision_settings import (
    CONSTRUCTIONS,
    FORMATS,
    MIN_WEIGHT,
    ORIENTATIONS,
    SEEDS,
    SEPARATIONS,
    TOLERANCE,
    Setting,
    Status,
)

LOWEST = 1e-18
"""Errors below it, of 113 bits, have its colour."""
MARKERS: dict[Status, str] = {"realisable": "", "degraded": "o", "failed": "x", "overflow": ""}
HATCH = "//////"
DARK = 1e-9
"""Errors above it have a colour on which signs are drawn in white."""
PLACES = {True: "c", False: "n"}


def draw_panel(axes: Axes, cells: list[Cell], norm: Normalize) -> None:
    """One construction and format: centred above, not centred below; separations from left to right."""
    errors = np.full((len(PLACES), len(SEPARATIONS)), np.nan)
    for cell in cells:
        row, column = list(PLACES).index(cell.setting.centred), SEPARATIONS.index(int(cell.setting.separation))
        if cell.measured == "overflow":
            corner = (column - 0.5, row - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, facecolor="white", edgecolor=style.GREY, hatch=HATCH, linewidth=0))
            continue
        errors[row, column] = log10(min(max(cell.error, LOWEST), 1.0))
        colour = "white" if cell.error > DARK else style.BLACK
        axes.plot(
            column, row, MARKERS[cell.measured], color=colour, markersize=4, fillstyle="none", markeredgewidth=0.9
        )
        if cell.measured != cell.predicted:
            axes.plot(column + 0.34, row - 0.3, "^", color=style.ORANGE, markersize=3, markeredgewidth=0)
    axes.imshow(errors, norm=norm, cmap="cividis_r", aspect="auto")
    axes.set_xticks(range(len(SEPARATIONS)), [str(r) for r in SEPARATIONS])
    axes.set_yticks(range(len(PLACES)), PLACES.values())
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(True)


def small_print(cells: list[Cell]) -> str:
    """Instances, seeds, counts, and log A."""
    one, sizes = cells[0].setting, {cell.setting: cell.log_a for cell in cells}
    lists = "; ".join(
        f"{'centred' if centred else 'not centred'} "
        + ", ".join(f"{sizes[Setting(r, 'paper', 'left', centred)]:.0f}" for r in SEPARATIONS)
        for centred in PLACES
    )
    floor = sizes[Setting(SEPARATIONS[0], "floor", "left", True)]
    surprises = [cell for cell in cells if cell.measured != cell.predicted]
    better = sum(cell.ratios[0] < cell.ratios[1] for cell in surprises)
    names = " and ".join(sorted({cell.name for cell in surprises}))
    return (
        f"R is the distance of the means; K = {one.components}, d = {one.dim}, equal weights, N = {one.drawn} drawn + "
        f"{one.contested} contested samples; the worst of two steps and of seeds {SEEDS[0]} to {SEEDS[-1]}. Classes: B "
        f"is the data's radius, π_min = {MIN_WEIGHT:g}, tolerance {TOLERANCE:g}·B. c: centred, n: not centred (a mean "
        f"at 0). log A of paper, R = {', '.join(map(str, SEPARATIONS))}: {lists}; of floor {floor:.1f} at every R.\n"
        "Rows of bits are balls: their exponents have no limit, and their error is that of the farthest point. The "
        f"exact value has 192 + 2 log₂ A bits. Colour ends at {style.number(LOWEST)}. Hatched: weights that become "
        f"infinite or 0. Triangles: {len(surprises)} cells, in {names or 'none'}, not as predicted; {better} of them "
        "better than predicted."
    )


@style.styled
def figure() -> Figure:
    """Where number formats carry the EM transformer: error by format, separation, construction, orientation."""
    cells = measure()
    picture = style.new_figure(6.2)
    columns = [(c, o) for c in CONSTRUCTIONS for o in ORIENTATIONS]
    panels = picture.subplots(len(FORMATS), len(columns), sharex=True, sharey=True)
    norm = Normalize(log10(LOWEST), 0)
    for row, name in zip(panels, FORMATS, strict=True):
        for axes, column in zip(row, columns, strict=True):
            chosen = [c for c in cells if c.name == name and (c.setting.construction, c.setting.orientation) == column]
            draw_panel(axes, chosen, norm)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=6)
    for i, (axes, (construction, orientation)) in enumerate(zip(panels[0], columns, strict=True)):
        style.panel_title(axes, "abcd"[i], f"{construction}, {orientation}-facing")
    for axes in panels[-1]:
        axes.set_xlabel("R (noise: σ = 1)")
    bar = picture.colorbar(panels[0, 0].images[0], ax=panels, fraction=0.03, pad=0.01, aspect=40)
    bar.set_ticks(range(-18, 1, 3), labels=[f"$10^{{{k}}}$" if k else "1" for k in range(-18, 1, 3)])
    bar.set_label("largest ‖μ̂ − exact‖ / diam(X)")
    signs: list[Artist] = [
        Patch(facecolor="#8A8678", label="realisable: within the proven bound"),
        *axes.plot([], [], "o", color=style.BLACK, fillstyle="none", label="degraded: above it"),
        *axes.plot([], [], "x", color=style.BLACK, label="failed: no better than a guess"),
        Patch(facecolor="white", edgecolor=style.GREY, hatch=HATCH, linewidth=0.4, label="overflow"),
        *axes.plot([], [], "^", color=style.ORANGE, label="not as predicted"),
    ]
    picture.legend(handles=signs, loc="outside upper center", ncols=len(signs), handletextpad=0.4, columnspacing=1.2)
    style.caption(picture, small_print(cells))
    return picture
