"""What the EM transformer costs, against K and d: layers, heads, width, hidden units, size of the weights.

Counted from the class of tasks alone. Prior work's O(KL) layers (He et al. 2025b) are cited, not checked: the line KL
has slope 1 and no constant.
"""

from __future__ import annotations

from math import log

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from constructions import bounds
from constructions.em_class import Construction, TaskClass, split_tolerance
from constructions.em_transformer import predict_size, residual_stream
from figures import style

STEPS, TOLERANCE, MIN_WEIGHT, RADIUS = 10, 0.1, 0.01, 10.0
SIZES = np.array([1, 2, 4, 8, 16, 32, 64])
CONSTRUCTIONS: tuple[tuple[Construction, str], ...] = (("floor", style.BLUE), ("paper", style.VERMILLION))


def task_class(dim: int, components: int) -> TaskClass:
    """The class with these limits."""
    return TaskClass(dim, components, RADIUS, MIN_WEIGHT)


def hidden(dim: int, components: int, construction: Construction) -> int:
    """D′, the larger of the two MLPs."""
    limits = task_class(dim, components)
    size = predict_size(limits, split_tolerance(limits, TOLERANCE, construction), torch.float64)
    return max(size.e_step_units, size.m_step_units)


def draw_layers(axes: Axes) -> None:
    """(a) layers and heads against K."""
    axes.plot(SIZES, np.full(len(SIZES), 2 * STEPS), "o-", color=style.BLUE, label=f"layers, 2L, L = {STEPS}")
    axes.plot(SIZES, SIZES * STEPS, "--", color=style.GREY, label="KL: prior work's order")
    axes.plot(SIZES, np.full(len(SIZES), 2), "s-", color=style.GREEN, label="heads M")
    axes.set(xscale="log", yscale="log", xlabel="components K", ylabel="layers, heads")
    axes.legend(loc="upper left")
    style.panel_title(axes, "a", "layers and heads")


def draw_width(axes: Axes) -> None:
    """(b) width D against K and d."""
    for label, sizes, colour, mark in (
        ("against d, K = 8", [(int(s), 8) for s in SIZES], style.BLUE, "o-"),
        ("against K, d = 8", [(8, int(s)) for s in SIZES], style.PURPLE, "^-"),
    ):
        axes.plot(SIZES, [residual_stream(*size).width for size in sizes], mark, color=colour, label=label)
    axes.set(xscale="log", yscale="log", xlabel="d or K", ylabel="width D")
    axes.legend(loc="upper left")
    style.panel_title(axes, "b", "residual stream, 2d + 5K + 2")


def draw_hidden(axes: Axes) -> None:
    """(c) hidden units against d and K."""
    for construction, colour in CONSTRUCTIONS:
        by_dim = [hidden(int(s), 8, construction) for s in SIZES]
        by_components = [hidden(8, int(s), construction) for s in SIZES]
        axes.plot(SIZES, by_dim, "o-", color=colour, label=f"{construction}, against d")
        axes.plot(SIZES, by_components, "^--", color=colour, label=f"{construction}, against K")
    axes.set(xscale="log", yscale="log", xlabel="d or K", ylabel="hidden units D′", ylim=(None, 1e9))
    axes.legend(loc="upper left", ncols=2, columnspacing=1)
    style.panel_title(axes, "c", "MLPs")


def draw_weights(axes: Axes) -> None:
    """(d) log B_Θ against the radius, d and K."""
    radii = np.geomspace(1, 100, 25)
    for construction, colour in CONSTRUCTIONS:
        values = []
        for radius in radii.tolist():
            limits = TaskClass(8, 8, radius, MIN_WEIGHT)
            sizes = split_tolerance(limits, min(TOLERANCE, radius), construction)
            values.append(bounds.log_b_theta(limits, sizes))
        axes.plot(radii, values, color=colour, label=construction)
    axes.axhline(log(torch.finfo(torch.float64).max), color=style.GREY, linestyle=":", linewidth=0.9)
    axes.text(1, 800, "float64", fontsize=7, color=style.GREY, va="bottom")
    axes.set(xscale="log", yscale="log", xlabel="radius B of the class", ylabel="bound of log B_Θ")
    axes.legend(loc="upper left", bbox_to_anchor=(0, 0.9))
    style.panel_title(axes, "d", "size of the weights")


@style.styled
def figure() -> Figure:
    """Resources against K and d, with the line of O(KL) layers."""
    picture = style.new_figure(4.6)
    axes = picture.subplots(2, 2).ravel()
    for draw, panel in zip((draw_layers, draw_width, draw_hidden, draw_weights), axes, strict=True):
        draw(panel)
    for panel in axes[:3]:
        style.plain_ticks(panel.xaxis, SIZES.tolist())
    style.caption(
        picture,
        f"Classes with radius B = {RADIUS:g}, smallest weight {MIN_WEIGHT:g}, tolerance {TOLERANCE:g} a step; counted, "
        "nothing is sampled. One Θ serves every d and K up to the class's. Prior work's order O(KL) is cited (He et "
        "al. 2025b), its constant is not known here.",
    )
    return picture
