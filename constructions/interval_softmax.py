"""Softmax of balls, by its monotone corners."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import accumulate

import flint
import numpy as np
from jaxtyping import Shaped

from constructions.balls import ONE, ZERO


def softmax(scores: Shaped[np.ndarray, "q k"], multiplicities: Sequence[int]) -> Shaped[np.ndarray, "q k"]:
    """Enclosures of m_j e^{s_j} / Σ_l m_l e^{s_l} in every row, however wide the scores s are.

    The share of class j grows with its own score and falls with every other, so its extremes over a box of scores are
    attained at the corners (U_j, L_l for l ≠ j) and (L_j, U_l). The m_j scores of a class may differ within its ball:
    the same corners bound the sum of their shares. What the others add is summed without j, not by subtracting j.
    """
    result = np.empty(scores.shape, dtype=object)
    for i, row in enumerate(scores):
        low = [m * score.lower().exp() for m, score in zip(multiplicities, row, strict=True)]
        high = [m * score.upper().exp() for m, score in zip(multiplicities, row, strict=True)]
        if not all(term.is_finite() and term > ZERO for term in (*low, *high)):  # exponents beyond those of a ball
            result[i] = _shifted(row.tolist(), multiplicities)
            continue
        others_low, others_high = _sums_without_one(low), _sums_without_one(high)
        for j in range(len(row)):
            least = ONE / (ONE + others_high[j] / low[j])
            most = ONE / (ONE + others_low[j] / high[j])
            result[i, j] = least.lower().union(most.upper())
    return result


def _shifted(row: Sequence[flint.arb], multiplicities: Sequence[int]) -> list[flint.arb]:
    """The same row with e^{s − c}, c its largest end: no power overflows, and one that underflows is a ball around 0.

    Where that is not enough, a share lies in [0, 1], as all shares do.
    """
    largest = reduce(flint.arb.max, (score.upper() for score in row))
    low, high = (
        [m * (end - largest).exp() for m, end in zip(multiplicities, ends, strict=True)]
        for ends in ([score.lower() for score in row], [score.upper() for score in row])
    )
    shares = []
    for j, (others_low, others_high) in enumerate(zip(_sums_without_one(low), _sums_without_one(high), strict=True)):
        ends = (low[j] / (low[j] + others_high)).lower(), (high[j] / (high[j] + others_low)).upper()
        least, most = (end if end.is_finite() else share for end, share in zip(ends, (ZERO, ONE), strict=True))
        shares.append(least.union(most))
    return shares


def _sums_without_one(terms: Sequence[flint.arb]) -> list[flint.arb]:
    """Σ_{l≠j} terms_l for every j: sums from the left and from the right."""
    before = list(accumulate(terms, initial=ZERO))
    after = list(accumulate(reversed(terms), initial=ZERO))[::-1]
    return [left + right for left, right in zip(before[:-1], after[1:], strict=True)]
