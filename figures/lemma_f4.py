"""Lemma F.4: how well, and how cheaply, chords approximate the logarithm, and in which orientation to draw them.

(a) The error of the network on [1/A, A] at the width M = ⌈2 log A/δ⌉ + 1 that the lemma spends for δ, measured,
beside the lemma's bound δ and the sharp g(r) ≤ r²/8. (b) The units that an error ε costs: the lemma's
O(log A/ε), the sharp O(log A/√ε), and networks that were built and measured. (c) The two orientations in floating
point: right-facing units lose eps·A to cancellation, left-facing ones stay at g(r) whatever A.
"""

from __future__ import annotations

from math import ceil, log

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from constructions.relu_networks import (
    Orientation,
    ReluNetwork,
    chord_error,
    lemma_f4_units,
    log_network,
    log_segments,
)
from figures import style

RANGES = {10.0: (style.BLUE, "o"), 1e3: (style.VERMILLION, "s"), 1e6: (style.GREEN, "^")}
"""A -> colour and marker."""
DELTAS = np.geomspace(3e-3, 3, 13)
ERRORS = np.geomspace(1e-6, 1, 61)
BUILT_ERRORS = np.geomspace(1e-6, 1, 7)
CHORD_WIDTH = 0.1
EXPONENTS = range(1, 31)
"""A = 10^exponent in (c)."""
GRID = 4000
"""Points of the dense logarithmic grid, besides one point a chord."""
ORIENTATIONS: tuple[Orientation, ...] = ("right", "left")
Format = type[np.float32] | type[np.float64]
DTYPES: dict[str, Format] = {"float32": np.float32, "float64": np.float64}


def chord_maxima(log_low: float, log_high: float, segments: int) -> Float[np.ndarray, " n"]:
    """x* = 1/slope of every chord of log on [low, high]: where it is farthest from log."""
    knots = np.linspace(log_low, log_high, segments + 1)
    return np.exp(knots[:-1]) * np.expm1(np.diff(knots)) / np.diff(knots)


def measuring_points(log_low: float, log_high: float, segments: int) -> Float[np.ndarray, " points"]:
    """The maxima of all chords, and a dense logarithmic grid."""
    grid = np.exp(np.linspace(log_low, log_high, GRID))
    return np.append(grid, chord_maxima(log_low, log_high, segments))


def largest_error(network: ReluNetwork, points: Float[np.ndarray, " n"], dtype: Format) -> float:
    """The largest |network − log| over the points, the network held and evaluated in `dtype`, block by block."""
    w, b, a = (np.asarray(units, dtype) for units in (network.w, network.b, network.a))
    x = np.asarray(points, dtype)
    blocks = np.array_split(x, ceil(len(x) * len(a) / 2**21))
    values = np.concatenate([np.maximum(np.multiply.outer(block, w) + b, 0) @ a for block in blocks])
    return float(np.abs(values.astype(np.float64) - np.log(x.astype(np.float64))).max())


def measured(log_low: float, log_high: float, segments: int, orientation: Orientation, dtype: Format) -> float:
    """The error of the chord network of log on [low, high]."""
    network = log_network(log_low, log_high, segments, orientation)
    return largest_error(network, measuring_points(log_low, log_high, segments), dtype)


def draw_errors(axes: Axes) -> None:
    """(a) error against δ."""
    dense = np.geomspace(DELTAS[0], DELTAS[-1], 200)
    axes.loglog(dense, dense, color=style.BLACK)
    axes.fill_between(dense, dense**2 / 8, dense, color=style.SLACK, linewidth=0)
    axes.loglog(dense, dense**2 / 8, color=style.BLACK, linestyle="--", linewidth=0.9)
    axes.loglog(dense, [chord_error(delta) for delta in dense], color=style.BLACK, linewidth=0.9)
    for size, (a, (colour, marker)) in zip((8, 5, 2.5), RANGES.items(), strict=True):
        segments = [lemma_f4_units(log(a), delta) - 1 for delta in DELTAS]
        errors = [measured(-log(a), log(a), n, "left", np.float64) for n in segments]
        axes.loglog(
            DELTAS, errors, marker, color=colour, markersize=size, fillstyle="none", label=f"A = {style.number(a)}"
        )
    axes.text(0.03, 0.045, "lemma's bound $\\delta$", ha="center", va="bottom", rotation=28, rotation_mode="anchor")
    axes.text(0.0034, 5.5e-4, "$g(\\delta)\\leq\\delta^2/8$", ha="left", va="bottom")
    axes.legend(loc="lower right", title="measured", title_fontsize=7)
    axes.set(xlabel="$\\delta$", ylabel="largest |network − log| on [1/A, A]")
    style.panel_title(axes, "a", "error at the lemma's width")


def draw_units(axes: Axes) -> None:
    """(b) units against ε."""
    for a, (colour, marker) in RANGES.items():
        lemma = [lemma_f4_units(log(a), error) for error in ERRORS]
        sharp = [log_segments(2 * log(a), error) + 1 for error in ERRORS]
        axes.loglog(ERRORS, lemma, color=colour)
        axes.loglog(ERRORS, sharp, color=colour, linestyle="--", linewidth=0.9)
        built = [log_segments(2 * log(a), error) for error in BUILT_ERRORS]
        errors = [measured(-log(a), log(a), n, "left", np.float64) for n in built]
        axes.loglog(errors, [n + 1 for n in built], marker, color=colour, fillstyle="none")
    axes.plot([], [], color=style.BLACK, label="lemma, $O(\\log A\\,/\\,\\varepsilon)$")
    axes.plot([], [], "--", color=style.BLACK, linewidth=0.9, label="sharp, $O(\\log A\\,/\\sqrt{\\varepsilon})$")
    axes.plot([], [], "o", color=style.BLACK, fillstyle="none", label="built and measured")
    axes.legend(loc="upper right", borderaxespad=0)
    axes.set(xlabel="error $\\varepsilon$", ylabel="units M", ylim=(1, 1e9))
    style.panel_title(axes, "b", "what an error costs")


def draw_orientations(axes: Axes) -> None:
    """(c) error of both orientations against A."""
    ranges = np.array([10.0**exponent for exponent in EXPONENTS])
    segments = [ceil(log(a) / CHORD_WIDTH) for a in ranges]
    for (name, dtype), colour in zip(DTYPES.items(), (style.ORANGE, style.BLUE), strict=True):
        looks = {"right": ("o-", 0.8), "left": ("-", {"float32": 5.0, "float64": 1.5}[name])}
        for orientation in ORIENTATIONS:
            errors = [measured(-log(a), 0.0, n, orientation, dtype) for a, n in zip(ranges, segments, strict=True)]
            look, width = looks[orientation]
            label = f"{orientation}, {name}"
            axes.loglog(ranges, errors, look, color=colour, markersize=2.5, linewidth=width, label=label)
        rounding = np.finfo(dtype).eps * ranges
        shown = rounding > chord_error(CHORD_WIDTH)
        axes.loglog(ranges[shown], rounding[shown], color=style.BLACK, linewidth=0.7, linestyle=":")
    axes.plot([], [], color=style.BLACK, linewidth=0.7, linestyle=":", label="eps·A")
    axes.text(1e30, chord_error(CHORD_WIDTH) / 10, f"g(r), r = {CHORD_WIDTH:g}", ha="right", va="top")
    axes.set(xlabel="A", ylabel="largest |network − log| on [1/A, 1]", ylim=(1e-6, 1e28))
    axes.legend(loc="upper left", borderaxespad=0, labelspacing=0.3)
    style.panel_title(axes, "c", "right- and left-facing units")


def small_print() -> str:
    """Instances and points measured."""
    a = 1e6
    right, left = (
        measured(-log(a), log(a), ceil(2 * log(a) / CHORD_WIDTH), orientation, np.float32)
        for orientation in ORIENTATIONS
    )
    return (
        "No data and no seed: every point is a network built and evaluated at the maximum of each of its chords and on "
        f"{GRID} points spaced evenly in log x. (a), (b): left-facing, float64; M = ⌈2 log A/δ⌉ + 1 units against "
        "⌈2 log A/√(8ε)⌉ + 1. (c): the interval [1/A, 1] that responsibilities and weights live in; at x the "
        "right-facing terms have the size A·x, so on the whole of [1/A, A] they lose eps·A²: "
        f"{style.number(right)} for A = {style.number(a)} in float32, where left-facing units are off by "
        f"{style.number(left)}."
    )


@style.styled
def figure() -> Figure:
    """Lemma F.4: error, width and orientation of the network for log."""
    picture = style.new_figure(3.1)
    for axes, draw in zip(picture.subplots(1, 3), (draw_errors, draw_units, draw_orientations), strict=True):
        draw(axes)
    style.caption(picture, small_print())
    return picture
