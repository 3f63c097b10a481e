"""For what a row's evidence stands. That is no grade: an equality of nine drawn rationals is exact, for these nine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from theory_checks.ledger import Verdict

Coverage = Literal["all", "interval", "instances"]
COVERAGE: dict[Coverage, str] = {
    "all": "every value of the symbols of an identity or a closed form",
    "interval": "every point of an interval, or of a box of parameters",
    "instances": "what was drawn, searched for, listed or kept",
}
"""Widest first. Sizes and parameters that are neither symbols nor intervals are listed, whatever the coverage."""
WIDTHS = list(COVERAGE)


def covering(coverage: Coverage, verdicts: Iterable[Verdict]) -> Iterator[Verdict]:
    """The verdicts, each said to stand for every point of what it is about; without this it stands for an instance."""
    return (replace(v, coverage=coverage) for v in verdicts)


def narrowest(coverages: Iterable[Coverage]) -> Coverage:
    """The narrowest of them; instances, if there are none."""
    return max(coverages, key=WIDTHS.index, default="instances")


def covered(verdicts: Iterable[Verdict], drew: bool) -> Coverage:
    """The widest coverage that a row may claim: the narrowest of what holds.

    A check that `drew` random numbers, and one that replays kept instances, stands for instances.
    """
    holding = [v for v in verdicts if v.outcome == "holds"]
    if drew or any(v.kept for v in holding):
        return "instances"
    return narrowest(v.coverage for v in holding)
