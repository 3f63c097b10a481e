"""Verdicts from enclosures: an inequality of two balls is proved, disproved, or undecided at their precision."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import flint

from theory_checks.ledger import Verdict

BITS, LIMIT = 128, 2048
"""Precision at which a check starts, and up to which it is doubled while an instance is undecided."""


def enclose(
    error: flint.arb, bound: flint.arb, instance: str, trivial: flint.arb | None = None, excuse: str = ""
) -> Verdict:
    """Judge error ≤ bound: it holds or is refuted only if all numbers of the two balls agree on it.

    `trivial`: a bound that is not certainly below it says nothing; without it, one that is infinite. `excuse`: why the
    bound does not apply. The slack is that of the midpoints.
    """
    if excuse:
        return Verdict("not applicable", f"{instance}: {excuse}")
    limit = flint.arb.pos_inf() if trivial is None else trivial
    if not bound < limit:
        return Verdict("vacuous" if bound >= limit else "undecided", instance)
    shown = f"{instance}: error {shortly(error)}, bound {shortly(bound)}"
    slack = float(1 - error.mid() / bound.mid()) if bound > 0 and error.is_finite() else None
    return Verdict("holds" if error <= bound else "refuted" if error > bound else "undecided", shown, slack)


def equal(one: flint.arb, other: flint.arb, instance: str) -> Verdict:
    """Judge one = other to half of the precision's digits: refuted if the balls are apart, undecided if they are wide.

    What holds is |one − other| ≤ 2^(−bits/2)·max(1, |other|); equality itself needs rationals or symbols.
    """
    difference = abs(one - other)
    small = flint.arb(2) ** (-flint.ctx.prec // 2) * abs(other).max(flint.arb(1))
    if not one.overlaps(other):
        return Verdict("refuted", f"{instance}: {shortly(one)} is not {shortly(other)}")
    return Verdict("holds" if difference <= small else "undecided", instance)


def decided(judge: Callable[[], Iterable[Verdict]], bits: int = BITS, limit: int = LIMIT) -> Iterator[Verdict]:
    """The verdicts of `judge` in balls of `bits` bits, doubled up to `limit` while one is undecided.

    It builds its balls anew at every precision. What is undecided at the limit stays so: it never holds by default.
    """
    while True:
        with flint.ctx.workprec(bits):
            verdicts = list(judge())
        if 2 * bits > limit or all(v.outcome != "undecided" for v in verdicts):
            break
        bits *= 2
    for v in verdicts:
        name = f"{v.instance}: undecided at {bits} bits" if v.outcome == "undecided" else v.instance
        yield replace(v, instance=name, bits=bits)


def shortly(ball: flint.arb) -> str:
    """Its midpoint in six digits, for reading only."""
    return str(ball.mid().str(6, radius=False)) if ball.is_finite() else str(ball)
