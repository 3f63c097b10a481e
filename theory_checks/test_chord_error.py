"""The chord error of the logarithm is at most r²/8, for every r > 0."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import ceil
from typing import Any

import numpy as np
import sympy
from flint import arb

from constructions.relu_networks import chord_error
from theory_checks.coverage import covering
from theory_checks.enclosures import decided, enclose
from theory_checks.identities import identity
from theory_checks.ledger import Verdict, statement
from theory_checks.segments import larger

Share = tuple[sympy.Expr, sympy.Expr]
SHARE: Share = (sympy.Rational(1, 6), sympy.Rational(1, 3))


@statement(
    "chord-error",
    source="g(r) ≤ r²/8, section 3",
    text="ours",
    evidence="certified",
    coverage="interval",
    note="lemma_f4",
)
def chord_error_bound(
    rng: np.random.Generator, *, bound: Callable[[Any], Any] = lambda r: r * r / 8, share: Share = SHARE
) -> Iterator[Verdict]:
    """g(r) = log((e^r − 1)/r) − 1 + r/(e^r − 1) ≤ r²/8 for every r > 0, and g(r) ≤ r for every r ≥ 1.

    With y = r/2, g = log(sinh y/y) + (y coth y − 1); the terms are at most y²/6 and y²/3, by the coefficients of the
    power series in y: identities for all r. Once more by enclosures: on every interval [r, 2r] from 1/8 to 64, with the
    least slack there.
    """
    r, y = sympy.symbols("r y", positive=True)
    k = sympy.symbols("k", integer=True, nonnegative=True)
    first, second = share
    g = sympy.log((sympy.exp(r) - 1) / r) - 1 + r / (sympy.exp(r) - 1)
    halves = sympy.log(sympy.sinh(y) / y) + y * sympy.coth(y) - 1
    split = (g.subs(r, 2 * y) - halves).rewrite(sympy.exp)
    yield identity(sympy.exp(split) - 1, "g(2y) = log(sinh y/y) + y coth y - 1")
    yield identity((first + second) * y**2 - bound(2 * y), "the two bounds sum to the bound")
    # sinh y/y = Σ y^2k/(2k+1)! and e^{s y²} = Σ s^k y^2k/k!: both start with 1, and the ratio of neighbours is smaller.
    ratio = sympy.gammasimp(first / (k + 1) * sympy.factorial(2 * k + 3) / sympy.factorial(2 * k + 1))
    yield _non_negative(ratio - 1, k, "sinh y/y <= exp(y^2/6), coefficient by coefficient")
    # y cosh y − sinh y = Σ 2k y^{2k+1}/(2k+1)! and s y² sinh y = Σ s·2k(2k+1) y^{2k+1}/(2k+1)!, both from k = 1 on.
    excess = sympy.factorial(2 * k + 3) * (
        second / sympy.factorial(2 * k + 1) - 1 / sympy.factorial(2 * k + 2) + 1 / sympy.factorial(2 * k + 3)
    )
    yield _non_negative(sympy.gammasimp(excess), k, "y cosh y - sinh y <= y^2/3 sinh y, coefficient by coefficient")
    rest = sympy.log(1 - sympy.exp(-r)) - sympy.log(r) + (r / (sympy.exp(r) - 1) - 1)
    yield identity(sympy.exp(g - r - rest) - 1, "g(r) - r is a sum of three terms that are <= 0 for r >= 1")
    for octave in range(-3, 6):
        yield from covering("interval", decided(partial(_octave, bound, 2.0**octave)))


def _non_negative(polynomial: sympy.Expr, k: sympy.Symbol, name: str) -> Verdict:
    """Judge polynomial(k) ≥ 0 for k = 0, 1, 2, …: by the signs of its coefficients, or refuted at a k up to 5."""
    if all(c >= 0 for c in sympy.Poly(sympy.expand(polynomial), k).all_coeffs()):
        return Verdict("holds", name, coverage="all")
    return Verdict("refuted" if any(polynomial.subs(k, i) < 0 for i in range(6)) else "undecided", name)


def _octave(bound: Callable[[Any], Any], low: float) -> Iterator[Verdict]:
    """Judge g(r)/bound(r) ≤ 1 on [low, 2·low], cut so finely that one part's g and the bound of the next are apart.

    g increases: z − log(1 + z) decreases on (−1, 0), and z = r/(e^r − 1) − 1 does so in r. So does the bound.
    """
    parts = ceil(300 / low**2) + 30
    ends = [low * (1 + arb(i) / parts) for i in range(parts + 1)]
    g, b = (np.array([function(r) for r in ends], dtype=object) for function in (chord_error, bound))
    attained, at_most = larger.reduce(g / b), larger.reduce(g[1:] / b[:-1])
    yield enclose(attained.union(at_most), arb(1), f"[{low:g}, {2 * low:g}]")


chord_error_bound.control("r^2/9", bound=lambda r: r * r / 9)
chord_error_bound.control("r^2/8 - r^4/500", bound=lambda r: r * r / 8 - r * r * r * r / 500)
chord_error_bound.control("y^2/7 for the first term", share=(sympy.Rational(1, 7), sympy.Rational(5, 14)))
chord_error_bound.control("y^2/4 for the second term", share=(sympy.Rational(1, 4), sympy.Rational(1, 4)))
test_chord_error, test_chord_error_controls = chord_error_bound.tests()
