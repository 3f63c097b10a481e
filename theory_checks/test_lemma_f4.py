"""Lemma F.4, its sharp form, and Remark F.6: a ReLU network for the logarithm, judged for every x of an interval."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from math import ceil

import numpy as np
import sympy
from flint import arb

from constructions.number_system import Balls, NumberSystem, Scalar, Symbols
from constructions.relu_networks import Orientation, ReluNetwork, chord_error, chord_slope, log_network, log_segments
from theory_checks.coverage import covering
from theory_checks.enclosures import decided, enclose, equal
from theory_checks.identities import identity
from theory_checks.ledger import Verdict, require, statement
from theory_checks.segments import (
    Pieces,
    below_log,
    exp_above,
    larger,
    lines,
    non_decreasing,
    pieces,
)

LogNetwork = Callable[[Scalar, Scalar, int, Orientation, NumberSystem], ReluNetwork]
BOTH: tuple[Orientation, ...] = ("left", "right")
BALLS = Balls()
INTERVALS = ((-0.25, 0.25), (-4.0, 0.0), (-9.0, 0.0), (-3.0, 3.0), (-14.0, 0.0), (-50.0, 50.0), (-2000.0, 0.0))
MOST_CHORDS: dict[Orientation, int] = {"left": 5_000, "right": 1_500}
LIMIT = 2**14
"""Precision to stop at: right-facing terms of size A·high cancel, at log₂(A·high) bits: 5771 for A = e^2000."""


@statement(
    "lemma-f4",
    source="Lemma F.4 (Mei 2024, Lemma 9)",
    text="recovered",
    evidence="certified",
    coverage="interval",
    paper=("Lemma F.4",),
)
def lemma_f4(
    rng: np.random.Generator, *, network: LogNetwork = log_network, rounded: Orientation = "left", full: bool = False
) -> Iterator[Verdict]:
    """For A > 1, δ > 0, M = ⌈2 log A/δ⌉ + 1 units with |a_j| ≤ 2A, |w_j| ≤ 1, |b_j| ≤ A, |log_δ − log| ≤ δ on [1/A, A].

    log_δ is non-decreasing there. Every x of [1/A, A], for listed A from e^½ to e^2000 and δ from 4 to 0.01, both
    orientations, up to 5000 chords facing left and 1500 facing right (15 000 in full); error and monotonicity also with
    the left-facing weights rounded to float64, A up to e^700.
    """
    for log_a in (0.5, 2.0, 7.0, 14.0, 50.0, 700.0, 2000.0):
        for delta in (4.0, 1.0, 0.3, 0.1, 0.03, 0.01):
            n = ceil(2 * Fraction(log_a) / Fraction(delta))
            for side in BOTH:
                if n <= (15_000 if full else MOST_CHORDS[side]):
                    stated = partial(_as_stated, network, log_a, delta, n, side)
                    yield from covering("interval", decided(stated, limit=LIMIT))
            if log_a <= 700 and n <= (15_000 if full else MOST_CHORDS[rounded]):
                f = log_network(-log_a, log_a, n, rounded)
                close = partial(_close, f, log_a, delta, f"{_name(log_a, delta, rounded)} float64")
                yield from covering("interval", decided(close))


def _as_stated(network: LogNetwork, log_a: float, delta: float, n: int, side: Orientation) -> Iterator[Verdict]:
    f, a, name = network(arb(-log_a), arb(log_a), n, side, BALLS), arb(log_a).exp(), _name(log_a, delta, side)
    yield require(f.units == n + 1, f"{name}: {f.units} units, {n + 1} allowed")
    yield enclose(larger.reduce(abs(f.a)), 2 * a, f"{name} |a|")
    yield enclose(larger.reduce(abs(f.w)), arb(1), f"{name} |w|")
    b = larger.reduce(abs(f.b))
    # The largest knot facing left is A itself, by `lemma-f4-chord`; balls alone cannot tell.
    yield equal(b, a, f"{name} |b| = A") if side == "left" else enclose(b, a, f"{name} |b|")
    yield from _close(f, log_a, delta, name)


def _close(f: ReluNetwork, log_a: float, delta: float, name: str) -> Iterator[Verdict]:
    p = pieces(lines(f), arb(-log_a).exp(), arb(log_a).exp())
    yield enclose(p.largest(abs(below_log(p))), arb(delta), f"{name} error")
    yield non_decreasing(p, f"{name} monotone")


def _name(log_a: float, delta: float, side: Orientation) -> str:
    return f"A=e^{log_a:g} delta={delta} {side}"


def _broken(change: Callable[[ReluNetwork], ReluNetwork]) -> LogNetwork:
    return lambda low, high, n, side, numbers: change(log_network(low, high, n, side, numbers))


def _moved_knot(f: ReluNetwork) -> ReluNetwork:
    """The middle knot moved by 1 %; its unit keeps its weight."""
    b = f.b.copy()
    b[len(b) // 2] *= 1.01
    return replace(f, b=b)


def _fewer(low: Scalar, high: Scalar, n: int, side: Orientation, numbers: NumberSystem) -> ReluNetwork:
    return log_network(low, high, max(1, n // 10), side, numbers)


lemma_f4.control("log network scaled by 0.1", network=_broken(lambda f: replace(f, a=0.1 * f.a)))
lemma_f4.control("the constant forgotten", network=_broken(lambda f: ReluNetwork(f.w[:-1], f.b[:-1], f.a[:-1])))
lemma_f4.control("a tenth of the chords", network=_fewer)
lemma_f4.control("orientation mirrored in the data", network=_broken(lambda f: replace(f, w=-f.w)))
lemma_f4.control("right-facing weights rounded to float64", rounded="right")
test_lemma_f4, test_lemma_f4_controls = lemma_f4.tests()


@statement(
    "lemma-f4-chord",
    source="chord error g(r), section 3",
    text="ours",
    evidence="exact",
    coverage="all",
    paper=("Lemma F.4",),
)
def lemma_f4_chord(
    rng: np.random.Generator,
    *,
    error: Callable[[sympy.Expr], sympy.Expr] = lambda r: (
        sympy.log((sympy.exp(r) - 1) / r) - 1 + r / (sympy.exp(r) - 1)
    ),
    network: LogNetwork = log_network,
) -> Iterator[Verdict]:
    """On [t, e^r t] log x minus its chord is concave and largest at x = t(e^r − 1)/r, where it is g(r), for every t and
    r.

    The slope falls by r/t at a knot t and a chord rises by r, so that n chords meet log at every knot: for n up to 4
    also of the matrices, whatever the first knot and r.
    """
    r, t, x, start = sympy.symbols("r t x start", positive=True)
    chord = sympy.log(t) + r * (x - t) / (t * (sympy.exp(r) - 1))
    gap = sympy.log(x) - chord
    top = t * (sympy.exp(r) - 1) / r
    yield identity(gap.diff(x).subs(x, top), "the derivative vanishes at x = t(e^r-1)/r")
    yield identity(gap.diff(x, 2) + 1 / x**2, "the second derivative is -1/x^2 < 0")
    yield identity(gap.subs(x, top) - error(r), "the value there is g(r), whatever t")
    slope = chord.diff(x)
    before = slope.subs(t, t * sympy.exp(-r))
    yield identity(before - slope - r / t, "the slope falls by r/t at a knot t")
    yield identity(r / (t * (1 - sympy.exp(-r))) - before, "the last slope, by its right end")
    yield identity(slope * (t * sympy.exp(r) - t) - r, "a chord rises by r")
    for n in range(1, 5):
        for side in BOTH:
            f = network(start, start + n * r, n, side, Symbols())
            knots = [sympy.exp(start + i * r) for i in range(n + 1)]
            own = knots[1:] if side == "left" else knots[:-1]
            yield identity(sum(abs(abs(b) - t) for b, t in zip(f.b, own, strict=False)), f"the knots n={n} {side}")
            for i, knot in enumerate(knots):
                active = [*(range(i, n) if side == "left" else range(i)), n]
                value = sum(f.a[j] * (f.w[j] * knot + f.b[j]) for j in active)
                yield identity(value - start - i * r, f"the value is log t_{i} at the knot t_{i}, n={n} {side}")


lemma_f4_chord.control("the constant 1 forgotten", error=lambda r: sympy.log((sympy.exp(r) - 1) / r))
lemma_f4_chord.control("r^2/8 instead of g", error=lambda r: r**2 / 8)
lemma_f4_chord.control("a knot moved by 1 %", network=_broken(_moved_knot))
test_lemma_f4_chord, test_lemma_f4_chord_controls = lemma_f4_chord.tests()


@statement(
    "lemma-f4-sharp",
    source="sharp form of Lemma F.4, section 3",
    text="ours",
    evidence="certified",
    coverage="interval",
    depends_on=("lemma-f4-chord", "chord-error"),
    paper=("Lemma F.4",),
)
def lemma_f4_sharp(
    rng: np.random.Generator,
    *,
    network: LogNetwork = log_network,
    segments: Callable[[float, float], int] = log_segments,
    error: Callable[[Scalar], Scalar] = chord_error,
    full: bool = False,
) -> Iterator[Verdict]:
    """N = ⌈log(high/low)/√(8ε)⌉ chords, r = log(high/low)/n: 0 ≤ log − log_δ ≤ g(r) ≤ r²/8 ≤ ε on [low, high].

    g(r) is attained on every chord, and left- and right-facing networks are one function there. Every x of seven
    intervals from [e^−¼, e^¼] to [e^−2000, 1], listed ε, up to 1200 chords (10 000 in full).
    """
    for low, high in (
        (-0.25, 0.25),
        (-4.0, 0.0),
        (-9.0, 0.0),
        (-3.0, 3.0),
        (-14.0, 0.0),
        (-50.0, 50.0),
        (-2000.0, 0.0),
    ):
        for epsilon in (0.5, 0.1, 1e-2, 1e-3, 1e-4):
            n = segments(high - low, epsilon)
            if n <= (10_000 if full else 1_200):
                sharp = partial(_sharp, network, error, low, high, n, epsilon)
                yield from covering("interval", decided(sharp, limit=LIMIT))


def _sharp(
    network: LogNetwork, error: Callable[[Scalar], Scalar], low: float, high: float, n: int, epsilon: float
) -> Iterator[Verdict]:
    r, name = arb(high - low) / n, f"[e^{low:g}, e^{high:g}] eps={epsilon}"
    yield enclose(r * r / 8, arb(epsilon), f"{name} r^2/8 <= eps")
    found: dict[Orientation, Pieces] = {}
    for side in BOTH:
        p = pieces(lines(network(arb(low), arb(high), n, side, BALLS)), arb(low).exp(), arb(high).exp())
        gaps, found[side] = below_log(p), p
        tops = np.append(larger.reduce(gaps[:, p.sure]), p.largest(gaps))
        yield enclose(tops[-1], arb(epsilon), f"{name} {side} at most eps")
        yield equal(larger.reduce(abs(tops - error(r))), arb(0), f"{name} {side} at most g, attained on every chord")
        yield equal(p.least(gaps), arb(0), f"{name} {side} never above log, on it at knots")
    yield _one_function(found["left"], found["right"], f"{name} left = right")


def _one_function(left: Pieces, right: Pieces, name: str) -> Verdict:
    """Judge that two functions have the same pieces, and the same values at the ends of each."""
    if left.sure.sum() != right.sure.sum():
        return Verdict("undecided", f"{name}: {left.sure.sum()} and {right.sure.sum()} pieces")
    (x, u), (y, v) = (
        (np.append(p.left[p.sure], p.right[p.sure]), np.append(p.at(p.left)[p.sure], p.at(p.right)[p.sure]))
        for p in (left, right)
    )
    return equal(larger.reduce(np.append(abs(x / y - 1), abs(u - v))), arb(0), name)


lemma_f4_sharp.control("a knot moved by 1 %", network=_broken(_moved_knot))
lemma_f4_sharp.control("log network scaled by 0.1", network=_broken(lambda f: replace(f, a=0.1 * f.a)))
lemma_f4_sharp.control("1 % below g", error=lambda r: 0.99 * chord_error(r))
lemma_f4_sharp.control("a tenth fewer chords", segments=lambda span, eps: max(1, int(0.9 * log_segments(span, eps))))
test_lemma_f4_sharp, test_lemma_f4_sharp_controls = lemma_f4_sharp.tests()


@statement(
    "remark-f6",
    source="Remark F.6: the network outside its interval, section 5",
    text="ours",
    evidence="certified",
    coverage="interval",
    depends_on=("lemma-f4-sharp",),
    paper=("Remark F.6",),
    note="remark_f6",
    figure="lemma_f4",
)
def remark_f6(
    rng: np.random.Generator,
    *,
    network: LogNetwork = log_network,
    floor: Callable[[Scalar], Scalar] = lambda c: (-c).exp(),
) -> Iterator[Verdict]:
    """Left-facing on [1/A, high]: for x < 1/A, log_δ(x) ≥ log x and 0 ≤ exp(log_δ(x)) − x ≤ e^{−c}/A, most at x = 0.

    log_δ(0) = −log A − c lies in [−log A − 1, −log A], c = r/(e^r − 1); right of `high` the network is constant. Every
    x of [0, 1/A], for listed A from e^½ to e^2000.
    """
    for log_a in (0.5, 5.0, 14.0, 70.0, 700.0, 2000.0):
        for high in (0.0, log_a):
            for n in (1, 7, 83, ceil(2 * (log_a + high))):
                outside = partial(_outside, network, floor, log_a, high, n)
                yield from covering("interval", decided(outside, limit=LIMIT))


def _outside(
    network: LogNetwork, floor: Callable[[Scalar], Scalar], log_a: float, log_high: float, n: int
) -> Iterator[Verdict]:
    a, high, name = arb(log_a), arb(log_high), f"A=e^{log_a:g} high=e^{log_high:g} n={n}"
    c, f = chord_slope((high + a) / n), lines(network(-a, high, n, "left", BALLS))
    p = pieces(f, arb(0), (-a).exp())
    excess = a.exp() * exp_above(p)  # A(b(x) − x), b = exp∘log_δ; its derivative, A times slope·b(x) − 1, is negative:
    yield enclose(p.largest(p.slopes * BALLS.exp(p.at(p.right))), arb(1), f"{name} decreasing")
    yield equal(p.least(excess), arb(0), f"{name} above log")
    yield equal(p.largest(excess), floor(c), f"{name} floor, attained at 0")
    yield enclose(p.largest(excess), arb(1), f"{name} floor below 1/A")
    yield enclose(abs(f.slopes[-1]), arb(0), f"{name} constant beyond")


def _right(low: Scalar, high: Scalar, n: int, side: Orientation, numbers: NumberSystem) -> ReluNetwork:
    return log_network(low, high, n, "right", numbers)


remark_f6.control("1 % below the floor", floor=lambda c: 0.99 * (-c).exp())
remark_f6.control("right-facing network", network=_right)
remark_f6.control("a knot moved by 1 %", network=_broken(_moved_knot))
test_remark_f6, test_remark_f6_controls = remark_f6.tests()
