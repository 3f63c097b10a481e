"""Theorems F.2 and F.3: where one population-EM step lands, and how fast it contracts, over separation and imbalance.

For every separation constant C and imbalance ρ_π, the worst point found of the region of the theorem: (left) the
largest D⁺ = max_k max(‖μ_k⁺ − μ_k*‖, |π_k⁺ − π_k*|/π_k*) under (A1), which F.2 says is ½ at most; (right) the largest
D⁺/D over D ≤ ½, which F.3 says is below 1. Drawn from figures/theorem_f2.json
(`python -m theory_checks.phase_diagram`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from figures import style
from theory_checks.phase_diagram import COMPONENTS, LEVELS, read

LOWEST = -6
"""Decimal logarithms below it have its colour."""
SHOWN = {"radius": "largest D⁺ under (A1)", "rate 0.5": "largest D⁺/D over D ≤ ½"}
LITERATURE = (64, 128)
PROVED = {(2, "radius"): 6, (2, "rate 0.5"): 9}
"""Constants with which rows theorem-f2-two and theorem-f3-two prove the theorems for every ρ_π and dimension."""
DASHED, DOTTED = "--", ":"


def draw(axes: Axes, stored: dict[str, Any], components: int, quantity: str, norm: Normalize) -> None:
    """One quantity for one K: colour, and the line from which on the theorem holds."""
    cells = [cell for cell in stored["cells"] if (cell["K"], cell["quantity"]) == (components, quantity)]
    ratios, constants = [cell["ratio"] for cell in cells], stored["constants"]
    values = np.log10(np.maximum([cell["worst"] for cell in cells], 10.0 ** (LOWEST - 1)))
    axes.pcolormesh(constants, ratios, values, norm=norm, cmap="cividis", shading="nearest", rasterized=True)
    from_on = [cell["holds_from"] or constants[0] for cell in cells]
    axes.plot(from_on, ratios, "o-", color=style.VERMILLION, markersize=3, clip_on=False, zorder=5)
    for constant in LITERATURE:
        axes.axvline(constant, color="white", linewidth=0.8, linestyle=DASHED)
        axes.text(constant, ratios[-1], f"{constant} ", color="white", ha="right", va="top", fontsize=6.5)
    if (components, quantity) in PROVED:
        axes.axvline(PROVED[components, quantity], color="white", linewidth=0.9, linestyle=DOTTED)
        text = f" proved: C = {PROVED[components, quantity]}"
        axes.text(PROVED[components, quantity], ratios[-1], text, color="white", va="top", fontsize=6.5)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(2.0 ** np.arange(8), [f"{2**i}" for i in range(8)])
    axes.set_yticks([1, 10, 100, 1000, 10000], ["1", "10", "100", "1000", "$10^4$"])
    axes.minorticks_off()
    axes.grid(False)
    axes.set(ylabel=f"$\\rho_\\pi$ (K = {components})", ylim=(ratios[0] / 10**0.25, ratios[-1] * 10**0.25))


def small_print(stored: dict[str, Any]) -> str:
    """Grid, search, seeds, and the thresholds that the line is too coarse for."""
    lines = []
    for quantity, level in LEVELS.items():
        what = "F.2" if quantity == "radius" else f"F.3, a = {quantity.split()[1]}"
        for components in COMPONENTS:
            chosen = [c for c in stored["cells"] if (c["K"], c["quantity"]) == (components, quantity)]
            texts = ["≤ 1" if c["holds_from"] is None else f"{c['holds_from']:.2f}" for c in chosen]
            lines.append(f"{what} (level {level:g}), K = {components}: {', '.join(texts)}.")
    search = "; ".join(
        f"K = {k}: {s['starts']} starts, {s['rounds']} rounds, {s['nodes']} nodes a dimension"
        for k, s in stored["search"].items()
    )
    ratios = [c["ratio"] for c in stored["cells"] if (c["K"], c["quantity"]) == (2, "radius")]
    span = f"from {ratios[0]:g} to {ratios[-1]:g}"
    return (
        f"d = {stored['d']}, means C√log(ρK) apart (K = 3: a triangle), one component ρ times lighter than the "
        f"others; {len(stored['constants'])} values of C, {len(ratios)} of ρ {span}. Largest value by random local "
        f"search: {search}; seed {stored['seed']}. Vermillion: the C from which on the theorem holds at the worst "
        "points found; dotted: the C with which it is proved for K = 2, every ρ and d; dashed: C = 64 and 128.\n"
        f"C from which on it holds, for ρ {span}: " + " ".join(lines)
    )


@style.styled
def figure() -> Figure:
    """Theorems F.2 and F.3: the separation from which population EM obeys them, and how fast it then contracts."""
    stored = read()
    picture = style.new_figure(4.9)
    panels = picture.subplots(len(COMPONENTS), len(SHOWN), sharex=True, sharey=True)
    norm = Normalize(LOWEST, 0.5, clip=True)
    for row, components in enumerate(COMPONENTS):
        for column, (quantity, text) in enumerate(SHOWN.items()):
            draw(panels[row, column], stored, components, quantity, norm)
            style.panel_title(panels[row, column], "abcd"[2 * row + column], f"{text}, K = {components}")
    for axes in panels[-1]:
        axes.set_xlabel("separation constant C")
    bar = picture.colorbar(ScalarMappable(norm, "cividis"), ax=panels, shrink=0.8, extend="min", pad=0.01)
    bar.set_label("decimal logarithm of the largest value found")
    style.caption(picture, small_print(stored))
    return picture
