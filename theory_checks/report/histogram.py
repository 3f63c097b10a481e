"""How close the bounds come to the errors: the instances of a row, counted by error/bound = 1 − slack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import ceil, floor, log10

from theory_checks.ledger import TIGHT

PER_DECADE = 3
LOWEST, HIGHEST = -16, 16
"""Decades. 1 − slack is a float64 whose last digit is worth 1e-16, so errors of 0 are counted with those below."""
WIDTH, HEIGHT = 340, 132
LEFT, RIGHT, TOP, BOTTOM = 34, 8, 18, 34
LABELS = 7
"""At most so many powers of ten are written on the axis."""


def bins(slacks: Sequence[float]) -> Counter[int]:
    """Bin k counts 10^(k/3) ≤ error/bound < 10^((k+1)/3), from k = −48, which takes all below, to 47.

    An attained bound is in bin −1 and not in 0, so that the bins from 0 on are those that refute, and the three
    bins below 0 are those within 10 x of the error, as the ledger counts them.
    """
    counted: Counter[int] = Counter()
    for slack in slacks:
        ratio = min(1 - slack, 10.0**HIGHEST)
        k = floor(PER_DECADE * log10(ratio)) if ratio > 0 else PER_DECADE * LOWEST
        k = max(k, -PER_DECADE) if slack <= TIGHT else min(k, -PER_DECADE - 1)
        k = min(k, -1) if slack >= 0 else max(k, 0)
        counted[min(max(k, PER_DECADE * LOWEST), PER_DECADE * HIGHEST - 1)] += 1
    return counted


def described(slacks: Sequence[float]) -> str:
    """The histogram in words, for those who do not see it."""
    counted = bins(slacks)
    refuting = sum(n for k, n in counted.items() if k >= 0)
    tight = sum(n for k, n in counted.items() if -PER_DECADE <= k < 0)
    number = f"{len(slacks)} {'instance has' if len(slacks) == 1 else 'instances have'} a bound to be close to"
    below = len(slacks) - refuting - tight
    return f"{number}: {refuting} above it, {tight} within a factor of 10 below, {below} further below"


def svg(slacks: Sequence[float]) -> str:
    """An inline SVG in the colours of the page; empty where there is nothing to count."""
    if not slacks:
        return ""
    counted = bins(slacks)
    low = min(floor(min(counted) / PER_DECADE), -2)
    high = max(ceil((max(counted) + 1) / PER_DECADE), 0)
    largest = max(counted.values())

    def x(decade: float) -> float:
        return LEFT + (decade - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def box(start: float, end: float, height: float, kind: str, inner: str = "") -> str:
        top = HEIGHT - BOTTOM - height
        return (
            f'<rect class="{kind}" x="{x(start):.2f}" y="{top:.2f}" width="{x(end) - x(start):.2f}" '
            f'height="{height:.2f}">{inner}</rect>'
        )

    inside = HEIGHT - TOP - BOTTOM
    parts = [box(-1, 0, inside, "tight"), box(0, high, inside, "beyond") if high else ""]
    for k, number in sorted(counted.items()):
        start, end = k / PER_DECADE, (k + 1) / PER_DECADE
        span = f"{_power(start)} to {_power(end)}" if k > PER_DECADE * LOWEST else f"below {_power(end)}"
        told = f"<title>error/bound {span}: {number}</title>"
        parts.append(box(start, end, max(2.0, number / largest * inside), "refutes" if k >= 0 else "bar", told))
    floor_line = HEIGHT - BOTTOM
    parts.append(f'<path class="axis" d="M{LEFT} {floor_line}H{WIDTH - RIGHT}M{LEFT} {TOP}V{floor_line}"/>')
    parts.append(f'<path class="bound" d="M{x(0):.2f} {TOP - 4}V{floor_line}"/>')
    step = ceil((high - low) / LABELS)
    for decade in range(0, low - 1, -step):
        parts.append(_tick(x(decade), decade))
    for decade in range(step, high + 1, step):
        parts.append(_tick(x(decade), decade))
    parts.append(f'<text x="{LEFT - 4}" y="{TOP + 8}" text-anchor="end">{largest}</text>')
    parts.append(f'<text x="{LEFT - 4}" y="{floor_line}" text-anchor="end">0</text>')
    parts.append(f'<text x="{x(-0.5):.2f}" y="{TOP - 6}" text-anchor="middle">tight</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 3}" text-anchor="middle">error / bound</text>')
    return (
        f'<svg class="histogram" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{described(slacks)}">'
        f"{''.join(parts)}</svg>"
    )


def _tick(x: float, decade: int) -> str:
    power = f'<tspan class="power" dy="-4">{str(decade).replace("-", "−")}</tspan>'
    name = f"10{power}" if decade else "1"
    return f'<text x="{x:.2f}" y="{HEIGHT - BOTTOM + 13}" text-anchor="middle">{name}</text>'


def _power(exponent: float) -> str:
    return f"{10**exponent:.2g}"
