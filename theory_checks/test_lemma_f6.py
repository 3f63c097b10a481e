"""Lemma F.6: how far a standard Gaussian vector reaches; and two sharper bounds for the same probability."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import flint
import numpy as np
import sympy

from constructions import bounds
from constructions.number_system import Scalar
from theory_checks import kept
from theory_checks.enclosures import decided, enclose, equal
from theory_checks.identities import identity
from theory_checks.ledger import Verdict, require, statement

Tail = Callable[[Scalar, Scalar], Scalar]


def grid() -> Iterator[tuple[int, float]]:
    """Dimensions d, and t: fixed ones from 1e-3 to 10, and multiples of the deviation's own scale 1/√d."""
    for dim in (1, 2, 3, 5, 10, 31, 100, 1000, 10**4, 10**6, 10**8):
        for excess in (1e-3, 0.03, 0.7, 10.0, *(c / dim**0.5 for c in (0.3, 0.6, 0.9, 1.1, 1.3, 1.6, 2.0, 2.4, 4.0))):
            yield dim, excess


def probability(dim: flint.arb, excess: flint.arb) -> flint.arb:
    """P(‖β‖² ≥ d(1+t)²) = Q(d/2, d(1+t)²/2), Q the regularised upper incomplete gamma function."""
    return (dim * (1 + excess) * (1 + excess) / 2).gamma_upper(dim / 2, regularized=True)


def enclosed(bound: Tail, least_dim: int = 1) -> Iterator[Verdict]:
    """Judge the probability ≤ bound on the grid."""
    for dim, excess in grid():
        yield from tail(dim, excess, bound, least_dim)


def tail(dim: float, excess: float, bound: Tail, least_dim: int = 1) -> Iterator[Verdict]:
    """Judge the probability ≤ bound at one d, t.

    A bound that is not below P(‖β‖² ≥ d), the probability at t = 0, says less than that it falls with t: vacuous.
    """

    def judge() -> Iterator[Verdict]:
        d, t = flint.arb(dim), flint.arb(excess)
        excuse = "" if dim >= least_dim else f"d < {least_dim}"
        yield enclose(probability(d, t), bound(d, t), f"d={dim:.10g} t={excess:.4g}", probability(d, 0 * t), excuse)

    return decided(judge)


def replayed(row: str, bound: Tail, least_dim: int = 1) -> Iterator[Verdict]:
    """Judge it at the worst d, t kept."""
    return kept.replay(lambda found: tail(float(found["d"][0]), float(found["t"][0]), bound, least_dim), row)


def just_below(row: str, bound: Tail) -> Tail:
    """The bound lowered just under the worst kept."""
    return lambda d, t: kept.just_below(row) * bound(d, t)


def closed_forms() -> Iterator[Verdict]:
    """The probability is erfc((1+t)/√2) for d = 1 and e^{−(1+t)²} for d = 2."""
    for excess in (1e-3, 1.0, 10.0):
        reach = 1 + flint.arb(excess)
        one, two = (probability(flint.arb(dim), flint.arb(excess)) for dim in (1, 2))
        yield equal(one / (reach / flint.arb(2).sqrt()).erfc(), flint.arb(1), f"d=1 t={excess}: erfc((1+t)/sqrt 2)")
        yield equal(two / (-reach * reach).exp(), flint.arb(1), f"d=2 t={excess}: exp(-(1+t)^2)")


D, T = sympy.symbols("d t", positive=True)
RATE = T**2 / 2 + T - sympy.log(1 + T)


@statement(
    "lemma-f6-sharp",
    source="Lemma F.6 with Chernoff's exponent",
    text="ours",
    evidence="certified",
    paper=("Lemma F.6",),
)
def lemma_f6_sharp(
    rng: np.random.Generator,
    *,
    bound: Tail = bounds.norm_tail_sharp,
    optimum: sympy.Expr = 1 / (1 + T) ** 2,
) -> Iterator[Verdict]:
    """β ~ N(0, I_d): P(‖β‖² ≥ d(1+t)²) ≤ exp(−d(t²/2 + t − log(1+t))) for t ≥ 0; twice F.6's exponent as t → 0.

    Chernoff's proof is checked as identities in d and t; the probability is enclosed on a grid of d and t, and at the
    worst kept.
    """
    yield from replayed("lemma-f6-sharp", bound)
    g, s = sympy.Symbol("g", real=True), sympy.Symbol("s", positive=True)  # s = 1 − 2λ
    weighted = sympy.exp(sympy.expand((1 - s) / 2 * g**2 - g**2 / 2)) / sympy.sqrt(2 * sympy.pi)
    moment = sympy.integrate(weighted, (g, -sympy.oo, sympy.oo))
    yield identity(moment - 1 / sympy.sqrt(s), "E exp(λg^2) = (1 - 2λ)^(-1/2)")
    exponent = -(1 - s) / 2 * D * (1 + T) ** 2 - D / 2 * sympy.log(s)  # log of e^{−λd(1+t)²}·(E e^{λg²})^d
    yield identity(exponent.diff(s).subs(s, optimum), "stationary at 1 - 2λ = (1 + t)^-2, in (0, 1]")
    yield require(bool(exponent.diff(s, 2).is_positive), "convex")
    yield identity(exponent.subs(s, optimum) + D * RATE, "the minimum is -d(t^2/2 + t - log(1+t))")
    doubled = [(RATE - T**2).diff(T, order).subs(T, 0) == 0 for order in range(3)]
    yield require(all(doubled), "t^2/2 + t - log(1+t) is t^2 to second order, twice t^2/2")
    yield from decided(closed_forms)
    yield from enclosed(bound)


lemma_f6_sharp.control("1 % more in the exponent", bound=lambda d, t: bounds.norm_tail_sharp(101 * d / 100, t))
lemma_f6_sharp.control("the limit t^2 for all t", bound=lambda d, t: (-d * t * t).exp())
lemma_f6_sharp.control("a tenth of the bound", bound=lambda d, t: bounds.norm_tail_sharp(d, t) / 10)
lemma_f6_sharp.control("another exponential parameter", optimum=1 / (1 + T))
lemma_f6_sharp.control("just under the worst kept", bound=just_below("lemma-f6-sharp", bounds.norm_tail_sharp))
test_lemma_f6_sharp, test_lemma_f6_sharp_controls = lemma_f6_sharp.tests()


@statement(
    "lemma-f6",
    source="Lemma F.6 (Bai et al. 2023, A.1)",
    text="recovered",
    evidence="certified",
    depends_on=("lemma-f6-sharp",),
    paper=("Lemma F.6",),
)
def lemma_f6(rng: np.random.Generator, *, bound: Tail = bounds.norm_tail) -> Iterator[Verdict]:
    """β ~ N(0, I_d): P(‖β‖² ≥ d(1+t)²) ≤ exp(−dt²/2) for t ≥ 0.

    It follows from the sharper form, t ≥ log(1+t), an identity of derivatives; the probability is enclosed on a grid of
    d and t, and at the worst kept.
    """
    yield from replayed("lemma-f6", bound)
    gap = RATE - T**2 / 2
    yield require(gap.subs(T, 0) == 0, "t - log(1+t) is 0 at 0")
    yield identity(gap.diff(T) - T / (1 + T), "and has the derivative t/(1+t) >= 0")
    yield from enclosed(bound)


lemma_f6.control("the exponent dt^2", bound=lambda d, t: bounds.norm_tail(2 * d, t))
lemma_f6.control("a fiftieth of the bound", bound=lambda d, t: bounds.norm_tail(d, t) / 50)
lemma_f6.control("just under the worst kept", bound=just_below("lemma-f6", bounds.norm_tail))
test_lemma_f6, test_lemma_f6_controls = lemma_f6.tests()


@statement(
    "lemma-f6-prefactor",
    source="Lemma F.6 with Chernoff's exponent and the factor before it",
    text="ours",
    evidence="certified",
    paper=("Lemma F.6",),
)
def lemma_f6_prefactor(
    rng: np.random.Generator,
    *,
    bound: Tail = bounds.norm_tail_prefactor,
    least_dim: int = 2,
    ratio: Callable[[sympy.Expr, sympy.Expr], sympy.Expr] = lambda a, x: x / (x - a + 1),
) -> Iterator[Verdict]:
    """For d ≥ 2 and t ≥ 0, P(‖β‖² ≥ d(1+t)²) ≤ exp(−d(t²/2 + t − log(1+t)))·(√(2d)/5)/(1 + dt(1+t/2)).

    The steps of the proof are checked as identities in d and t; the probability is enclosed on a grid of d and t, and
    at the worst kept.
    """
    yield from replayed("lemma-f6-prefactor", bound, least_dim)
    y, z, s, c = sympy.symbols("y z s c", positive=True)
    slope = z - sympy.log(1 + z)
    yield require(slope.subs(z, 0) == 0, "z - log(1+z) is 0 at 0")
    yield identity(slope.diff(z) - z / (1 + z), "and increases: 1 + z <= e^z")
    a, x = D / 2, D * (1 + T) ** 2 / 2  # ∫_0^∞ (1 + y/x)^{a−1} e^{−y} dy ≤ ∫_0^∞ e^{−(1−(a−1)/x)y} dy
    integral = sympy.integrate(sympy.exp(-c * y), (y, 0, sympy.oo)).subs(c, 1 - (a - 1) / x)
    yield identity(integral - ratio(a, x), "the integral after it is x/(x - a + 1)")
    # Stirling: log Γ(a) − log(√(2π) a^{a−1/2} e^{−a}) falls by (a + ½)log(1 + 1/a) − 1 ≥ 0 from a to a + 1, to 0.
    series = sympy.log((1 + s) / (1 - s)) - 2 * s
    yield require(series.subs(s, 0) == 0, "log((1+s)/(1-s)) - 2s is 0 at 0")
    yield identity(series.diff(s) - 2 * s**2 / (1 - s**2), "and increases for s < 1")
    at = 1 / (2 * z + 1)
    yield identity((1 + at) / (1 - at) - 1 - 1 / z, "at s = 1/(2a+1) it is log(1 + 1/a) - 1/(a + 1/2)")
    stirling = sympy.log(2 * sympy.pi) / 2 + (a - sympy.Rational(1, 2)) * sympy.log(a) - a
    logarithm = a * sympy.log(x) - x - sympy.log(x - a + 1) - stirling
    claimed = -D * RATE + sympy.log(D / (4 * sympy.pi)) / 2 - sympy.log(1 + D * T * (1 + T / 2))
    yield identity(sympy.expand(logarithm - claimed), "x^a e^-x/((x-a+1)Γ(a)), Γ by Stirling, in d and t")
    yield require(bool(8 * sympy.pi > 25), "sqrt(d/(4 pi)) <= sqrt(2d)/5")
    yield from enclosed(bound, least_dim)


lemma_f6_prefactor.control("1 % below the bound", bound=lambda d, t: 99 * bounds.norm_tail_prefactor(d, t) / 100)
lemma_f6_prefactor.control("one dimension admitted", least_dim=1)
lemma_f6_prefactor.control("x - a in place of x - a + 1", ratio=lambda a, x: x / (x - a))
lemma_f6_prefactor.control(
    "just under the worst kept", bound=just_below("lemma-f6-prefactor", bounds.norm_tail_prefactor)
)
test_lemma_f6_prefactor, test_lemma_f6_prefactor_controls = lemma_f6_prefactor.tests()
