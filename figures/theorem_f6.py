"""Theorem F.6 under its own assumption (A1): how large the paper's weights are, and how many bits they need.

(a) The paper's log A for an instance at every separation constant C, its means as they are (the first at 0) or centred;
what the floating-point formats hold; and `floor` for the same class and tolerance: log A, and log B_Θ of the built
weights. (b) The fewest bits at which balls decide that the first step obeys its bound, for both orientations of the log
network, against log₂ A.
"""

from __future__ import annotations

from functools import cache
from math import ceil, log, log2

import flint
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from constructions import em_transformer
from constructions.relu_networks import Orientation, log_network
from constructions.resources import measure
from figures import style
from theory_checks import a1_instances
from theory_checks.a1_instances import Case, instance
from theory_checks.test_theorem_f6 import judge, paper, scaled_log, step

SEED = 0
CONSTANTS = 2.0 ** np.arange(8)
"""C = 1, 2, 4, ..., 128."""
BISECTED = 2**14
"""Right-facing networks are bisected up to this log₂ A; beyond it, two precisions are tried, log₂ A and MARGIN more."""
MARGIN = 32
PLACES = {False: ("not centred", style.VERMILLION, "o"), True: ("centred", style.BLUE, "s")}
FORMATS = {torch.float16: "float16", torch.float32: "float32, bfloat16", torch.float64: "float64"}


def case(separation: float, centred: bool, drawn: int = 4, contested: int = 2) -> Case:
    """K = 2, d = 1, equal weights; δ = 2, which spares units and does not change the bits."""
    return Case(separation, 2, 1, True, centred, "F.6", drawn, contested, delta=2.0)


def log_a(separation: float, centred: bool) -> float:
    """The paper's log A for the instance."""
    _, sizes = a1_instances.paper(instance(case(separation, centred), SEED))
    return float(sizes.log_a)


@cache
def limit(dtype: torch.dtype, centred: bool) -> float:
    """The C from which log A exceeds the logarithm of the format's largest number; found by bisection."""
    low, high = 0.5, 256.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if log_a(middle, centred) <= log(torch.finfo(dtype).max) else (low, middle)
    return high


def spoilt(separation: float, centred: bool, dtype: torch.dtype) -> tuple[int, int, int]:
    """Infinite weights, zeros that should not be, and all knots and slopes of the log network built in a format."""
    _, sizes = a1_instances.paper(instance(case(separation, centred), SEED))
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        network = log_network(-sizes.log_a, sizes.log_a, sizes.segments)
        weights = torch.tensor(np.concatenate([network.b, network.a])).to(dtype)
    return int((~weights.isfinite()).sum()), int((weights == 0).sum()), len(weights)


def holds(at: Case, orientation: Orientation, bits: int) -> bool:
    """Whether all verdicts of the instance hold at that precision."""
    given = instance(at, SEED)
    with flint.ctx.workprec(bits):
        return all(v.outcome == "holds" for v in judge(given, lambda it: paper(it, orientation), {}))


@cache
def fewest_bits(separation: float, centred: bool, orientation: Orientation) -> int:
    """By bisection, between 4 and 128 bits facing left, within MARGIN of log₂ A facing right."""
    at, expected = case(separation, centred), ceil(log_a(separation, centred) / log(2))
    low, high = (4, 128) if orientation == "left" else (max(4, expected - MARGIN), expected + MARGIN)
    if long := expected > BISECTED and orientation == "right":
        low = expected
    if holds(at, orientation, low) or not holds(at, orientation, high):
        raise ArithmeticError(f"C = {separation:g}: the fewest bits do not lie between {low} and {high}")
    while high - low > 1 and not long:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(at, orientation, middle) else (middle, high)
    return high


@cache
def moved_without_contested() -> float:
    """log₁₀ of the most that log_w × 0.1 moves a mean at C = 128 if all samples are drawn ones."""
    given = instance(case(128, False, 12, 0), SEED)
    with flint.ctx.workprec(8192):
        errors = step(scaled_log(paper(given), 0.1), given).mean_errors
        return max(float(error.log().mid()) for error in errors) / log(10)


def draw_sizes(axes: Axes) -> None:
    """(a) log A against C."""
    dense = np.geomspace(1, 128, 57)
    for centred, (place, colour, marker) in PLACES.items():
        axes.loglog(dense, [log_a(c, centred) for c in dense], color=colour)
        axes.plot(CONSTANTS, [log_a(c, centred) for c in CONSTANTS], marker, color=colour, label=f"paper, {place}")
    for dtype, name in FORMATS.items():
        axes.axhline(log(torch.finfo(dtype).max), color=style.BLACK, linewidth=0.7, linestyle="--")
        axes.text(1, 1.08 * log(torch.finfo(dtype).max), name, va="bottom", fontsize=7)
    built = [a1_instances.floor(instance(case(c, False), SEED)) for c in CONSTANTS]
    norms = [measure(em_transformer.build(*sizes, 1).transformer).log_b_theta for sizes in built]
    axes.plot(CONSTANTS, [sizes.log_a for _, sizes in built], "^-", color=style.GREEN, label="floor, not centred")
    axes.plot(CONSTANTS, norms, "v:", color=style.GREEN, fillstyle="none", label="floor: log $B_\\Theta$")
    axes.set(xlabel="separation constant C", ylabel="log A", ylim=(2, 6e4))
    axes.legend(loc="upper left", borderaxespad=0)


def draw_bits(axes: Axes) -> None:
    """(b) fewest bits against C."""
    dense = np.geomspace(1, 128, 57)
    for centred, (place, colour, marker) in PLACES.items():
        axes.loglog(dense, [log_a(c, centred) / log(2) for c in dense], color=colour, linewidth=0.8, linestyle="--")
        for orientation, fill, width in (("right", "full", 1.2), ("left", "none", 0.8)):
            bits = [fewest_bits(c, centred, orientation) for c in CONSTANTS]
            label = f"{orientation}-facing, {place}"
            axes.plot(CONSTANTS, bits, marker, color=colour, fillstyle=fill, linewidth=width, label=label)
    axes.plot([], [], "--", color=style.BLACK, linewidth=0.8, label="$\\log_2 A$")
    axes.axhline(53, color=style.BLACK, linewidth=0.7, linestyle=":")
    axes.text(128, 57, "53 bits: float64", ha="right", va="bottom", fontsize=7)
    axes.set(xlabel="separation constant C", ylabel="fewest bits", ylim=(3, 1e5))
    axes.legend(loc="upper left", borderaxespad=0)


def small_print() -> str:
    """Instances, seeds, and the numbers that the marks are too coarse for."""
    ends = {dtype: " / ".join(f"{limit(dtype, centred):.1f}" for centred in PLACES) for dtype in FORMATS}
    overflow = "; ".join(f"{name} {ends[dtype]}" for dtype, name in FORMATS.items())
    infinite, zero, count = spoilt(128, False, torch.float64)
    lists = "; ".join(
        f"{orientation} {place}: {', '.join(str(fewest_bits(c, centred, orientation)) for c in CONSTANTS)}"
        for orientation in ("left", "right")
        for centred, (place, _, _) in PLACES.items()
    )
    return (
        f"K = 2, d = 1, equal weights, R_min = C√log 2, seed {SEED}: 4 drawn and 2 contested samples, the same noise "
        "for every C, starting means 0.9·R_min/16 off; δ = 2.\n"
        f"(a) C from which a format is exceeded, not centred / centred: {overflow}. In float64 at C = 128, "
        f"{infinite} of the log network's {count} knots and slopes are infinite and {zero} are 0. "
        f"log A there: {log_a(128, False):.0f}, centred {log_a(128, True):.0f}. "
        "Without contested samples, log_w × 0.1 moves no mean of 12 drawn samples by more than "
        f"$10^{{{moved_without_contested():.0f}}}$.\n"
        f"(b) Fewest bits by bisection, C = 1, 2, ..., 128: {lists}. For log₂ A > $2^{{{log2(BISECTED):g}}}$: not at "
        f"⌈log₂ A⌉ bits, but at {MARGIN} more, which are drawn."
    )


@style.styled
def figure() -> Figure:
    """Theorem F.6 under (A1): the size of the paper's weights and the bits that they need."""
    picture = style.new_figure(3.9)
    left, right = picture.subplots(1, 2)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(CONSTANTS, [f"{c:g}" for c in CONSTANTS])
    draw_sizes(left)
    style.panel_title(left, "a", "what the weights are")
    draw_bits(right)
    style.panel_title(right, "b", "what they need")
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(CONSTANTS, [f"{c:g}" for c in CONSTANTS])
        axes.minorticks_off()
    style.caption(picture, small_print())
    return picture
