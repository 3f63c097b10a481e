"""One style for every figure: fonts, colours, captions, and pictures as bytes that are the same every time."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from math import isfinite

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

# The eight colours of Okabe & Ito, which remain distinct in all common kinds of colour blindness.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILLION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY, SLACK = "#666666", "#DCE9F3"
CYCLE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, YELLOW)

FULL_WIDTH = 7.0
"""Inches: the width of a page's text; every figure is drawn at the size at which it is read."""

SETTINGS = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#EBEBEB",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "hatch.linewidth": 0.4,
    "savefig.dpi": 220,
    "svg.hashsalt": "figures",  # else the identifiers in an SVG are drawn at random
}

styled = matplotlib.style.context(["default", SETTINGS])
"""Decorator: the function draws, or saves, in this style, whatever the user's settings, which stay as they are."""


def new_figure(height: float, width: float = FULL_WIDTH) -> Figure:
    """An empty figure, in inches, that belongs to no window and no global list of figures."""
    return Figure(figsize=(width, height), layout="constrained")


def caption(figure: Figure, text: str) -> None:
    """Small print at the bottom: instance, seeds, number of samples. One line of `text` is one paragraph."""
    characters = int(figure.get_figwidth() * 20)
    lines = [line for paragraph in text.splitlines() for line in textwrap.wrap(paragraph, characters)]
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=6.5, color=GREY, linespacing=1.3)


def panel_title(axes: Axes, letter: str, text: str) -> None:
    """(a) and what the panel shows, left-aligned."""
    axes.set_title(f"({letter}) {text}", loc="left")


def plain_ticks(axis: Axis, values: Sequence[float]) -> None:
    """Ticks at these values of a logarithmic axis, written out."""
    axis.set_ticks(values, [f"{value:g}" for value in values])
    axis.set_ticks([], minor=True)


def number(value: float, digits: int = 1) -> str:
    """A number as one writes it: 0.05, 10⁶, 3×10⁻⁷; in words if it is infinite or none."""
    if not isfinite(value):
        return "not finite"
    if value == 0 or 1e-3 <= abs(value) < 1e3:
        return f"{float(f'{value:.{digits}g}'):g}"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    power = f"10^{{{int(exponent)}}}"
    return f"${power}$" if float(mantissa) == 1 else f"${mantissa}{{\\times}}{power}$"


@styled
def png(figure: Figure) -> bytes:
    """The figure as PNG, without date or version."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


@styled
def svg(figure: Figure) -> bytes:
    """The figure as SVG, without date or version; letters are outlines, so no font is needed to read it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
