"""One rule for what is measured on random data: it holds, is refuted, or is undecided.

| measured | holds | refuted: has probability FALSE_ALARM = 1e-9 at most where the statement is true |
|---|---|---|
| m errors, each ≤ bound with probability ≥ 1 − δ | misses ≤ δm | P(Binomial(m, δ) ≥ misses) < FALSE_ALARM |
| an exponent, at most or near a value | its 95 % interval is, to a margin | it is beyond by more than its `margin` |
| a mean, at most a bound | with its allowance added | with its allowance taken off it is still above |

All else is undecided, and so is the row; a number that is not one refutes. The probabilities of exponents and means are
those of normal means. Slack is that of the largest error, be it a miss.
"""

from __future__ import annotations

from math import inf, isfinite, isnan

import numpy as np
from jaxtyping import Float
from scipy.stats import binom

from theory_checks.ledger import Outcome, Verdict
from theory_checks.rates import DELTA, FALSE_ALARM, Estimate

MARGIN = 0.05
"""Up to which an exponent, or a relative rate, is claimed."""


def cell(errors: Float[np.ndarray, " replications"], bound: float, label: str, trivial: float = inf) -> Verdict:
    """Judge P(error ≤ bound) ≥ 1 − DELTA by replications; from `trivial` on the bound says nothing."""
    if np.isnan(errors).any():
        return Verdict("refuted", f"{label}: {int(np.isnan(errors).sum())} of {len(errors)} errors are not numbers")
    if isnan(bound):
        return Verdict("undecided", f"{label}: the bound is not a number")
    if bound >= trivial:
        return Verdict("vacuous", label)
    misses, largest = int((errors > bound).sum()), float(errors.max())
    slack = 1 - largest / bound if bound > 0 and isfinite(largest) else None
    shown = f"{label}: misses {misses} of {len(errors)}, the largest error {largest:.4g}, bound {bound:.4g}"
    return Verdict(missed(misses, len(errors)), shown, slack)


def missed(misses: int, replications: int) -> Outcome:
    """What so many misses say of a failure probability of at most DELTA."""
    if misses <= DELTA * replications:
        return "holds"
    return "refuted" if binom.sf(misses - 1, replications, DELTA) < FALSE_ALARM else "undecided"


def at_most(found: Estimate, limit: float, label: str, margin: float = MARGIN) -> Verdict:
    """Judge that an exponent is at most the limit: with its interval's upper end within the margin it is."""
    if not isfinite(found.value):
        return _no_number(label)
    outcome: Outcome = "refuted" if found.least > limit else "holds" if found.high <= limit + margin else "undecided"
    return Verdict(outcome, f"{label} {found}, at most {limit:.3f}")


def near(found: Estimate, value: float, label: str, margin: float = MARGIN) -> Verdict:
    """Judge that an exponent lies within the margin of a value."""
    if not isfinite(found.value):
        return _no_number(label)
    inside = value - margin <= found.low and found.high <= value + margin
    outside = found.least > value + margin or found.most < value - margin
    outcome: Outcome = "holds" if inside else "refuted" if outside else "undecided"
    return Verdict(outcome, f"{label} {found}, {value:g} to {margin:g}")


def enclosed(least: float, most: float, bound: float, label: str) -> Verdict:
    """Judge that an expectation is at most the bound: it lies outside [least, most] with probability FALSE_ALARM."""
    if isnan(least + most + bound):
        return _no_number(label)
    outcome: Outcome = "holds" if most <= bound else "refuted" if least > bound else "undecided"
    slack = 1 - most / bound if bound > 0 and isfinite(most) else None
    return Verdict(outcome, f"{label}: between {least:.6g} and {most:.6g}, bound {bound:.6g}", slack)


def _no_number(label: str) -> Verdict:
    return Verdict("refuted", f"{label}: not a number")
