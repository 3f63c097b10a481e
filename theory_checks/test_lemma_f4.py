"""Lemma F.4, its sharp form, and Remark F.6: a ReLU network for the logarithm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import exp, log

import numpy as np
import sympy

from constructions.relu_networks import (
    Orientation,
    ReluNetwork,
    chord_error,
    chord_slope,
    lemma_f4_units,
    log_network,
    log_segments,
)
from constructions.rounding_error import EXP_UNITS, gamma
from theory_checks.ledger import Verdict, compare, require, statement

UNIT = 2.0**-53
LogNetwork = Callable[[float, float, int, Orientation], ReluNetwork]
BOTH: tuple[Orientation, ...] = ("left", "right")


def rounding(network: ReluNetwork, x: np.ndarray, log_range: float) -> np.ndarray:
    """γ_{M+6}·Σ_j|a_j relu(w_j x + b_j)| and the knots' relative error, counted on the same sum."""
    magnitude = replace(network, a=np.abs(network.a))(x)
    return (gamma(network.units + 6, UNIT) + 8 * (log_range + EXP_UNITS) * UNIT) * (magnitude + 1)


def sample_points(log_low: float, log_high: float, segments: int, rng: np.random.Generator) -> np.ndarray:
    """Knots, the points of the largest chord error (x = t(e^r−1)/r), and 300 log-uniform points; sorted."""
    r = (log_high - log_low) / segments
    knots = log_low + r * np.arange(segments + 1)
    worst = knots[:-1] - log(chord_slope(r))
    inside = np.concatenate([knots, worst, rng.uniform(log_low, log_high, 300)])
    return np.exp(np.sort(np.clip(inside, log_low, log_high)))


def judged(excess: np.ndarray, allowance: np.ndarray, bound: float, scale: float, instance: str) -> Verdict:
    """Judge excess ≤ bound up to rounding; vacuous where rounding is as large as `scale`, the error sought."""
    if allowance.max() >= scale:
        return Verdict("vacuous", f"{instance}: rounding up to {allowance.max():.2g}")
    return compare(float((excess - allowance).max()), bound, instance)


@statement("lemma-f4", source="Lemma F.4 (Mei 2024, Lemma 9)", text="recovered", evidence="sampled")
def lemma_f4(rng: np.random.Generator, *, network: LogNetwork = log_network) -> Iterator[Verdict]:
    """For A > 1, δ > 0, M = ⌈2 log A/δ⌉ + 1 units with |a_j| ≤ 2A, |w_j| ≤ 1, |b_j| ≤ A, |log_δ − log| ≤ δ on [1/A, A].

    log_δ is non-decreasing there. Both orientations.
    """
    for log_a in (log(1.5), log(10.0), log(1e3), log(1e6)):
        for delta in (1.0, 0.3, 0.1, 0.03):
            units = lemma_f4_units(log_a, delta)
            for orientation in BOTH:
                f = network(-log_a, log_a, units - 1, orientation)
                name = f"A={exp(log_a):.4g} delta={delta} {orientation}"
                weights = 1 + 8 * (log_a + EXP_UNITS) * UNIT  # the knots e^(ir)/A are rounded
                yield require(f.units == units, f"{name}: {f.units} units, {units} allowed")
                yield require(bool(np.abs(f.a).max() <= 2 * exp(log_a) * weights), f"{name} |a|")
                yield require(bool(np.abs(f.w).max() <= 1), f"{name} |w|")
                yield require(bool(np.abs(f.b).max() <= exp(log_a) * weights), f"{name} |b|")
                x = sample_points(-log_a, log_a, units - 1, rng)
                allowance = rounding(f, x, log_a)
                yield judged(np.abs(f(x) - np.log(x)), allowance, delta, delta, f"{name} error")
                yield judged(-np.diff(f(x)), allowance[1:] + allowance[:-1], 0.0, delta, f"{name} monotone")


def _broken(change: Callable[[ReluNetwork], ReluNetwork]) -> LogNetwork:
    def network(low: float, high: float, segments: int, orientation: Orientation) -> ReluNetwork:
        return change(log_network(low, high, segments, orientation))

    return network


def _moved_knot(f: ReluNetwork) -> ReluNetwork:
    """The middle knot moved by 1 %; its unit keeps its weight."""
    b = f.b.copy()
    b[len(b) // 2] *= 1.01
    return replace(f, b=b)


lemma_f4.control("log network scaled by 0.1", network=_broken(lambda f: replace(f, a=0.1 * f.a)))
lemma_f4.control("the constant forgotten", network=_broken(lambda f: ReluNetwork(f.w[:-1], f.b[:-1], f.a[:-1])))
lemma_f4.control(
    "a tenth of the chords", network=lambda low, high, n, side: log_network(low, high, max(1, n // 10), side)
)
lemma_f4.control("orientation mirrored in the data", network=_broken(lambda f: replace(f, w=-f.w)))
test_lemma_f4, test_lemma_f4_controls = lemma_f4.tests()


@statement("lemma-f4-chord", source="chord error g(r), section 3", text="ours", evidence="exact")
def lemma_f4_chord(
    rng: np.random.Generator,
    *,
    error: Callable[[sympy.Expr], sympy.Expr] = lambda r: (
        sympy.log((sympy.exp(r) - 1) / r) - 1 + r / (sympy.exp(r) - 1)
    ),
) -> Iterator[Verdict]:
    """On [t, e^r t] log x minus its chord is concave and largest at x = t(e^r − 1)/r, where it is g(r), for every t."""
    r, t, x = sympy.symbols("r t x", positive=True)
    chord = sympy.log(t) + r * (x - t) / (t * (sympy.exp(r) - 1))
    gap = sympy.log(x) - chord
    top = t * (sympy.exp(r) - 1) / r
    yield require(sympy.simplify(gap.diff(x).subs(x, top)) == 0, "the derivative vanishes at x = t(e^r-1)/r")
    yield require(sympy.simplify(gap.diff(x, 2)) == -1 / x**2, "the second derivative is -1/x^2 < 0")
    difference = sympy.expand_log(gap.subs(x, top) - error(r), force=True)
    yield require(sympy.simplify(difference) == 0, "the value there is g(r), whatever t")


lemma_f4_chord.control("the constant 1 forgotten", error=lambda r: sympy.log((sympy.exp(r) - 1) / r))
lemma_f4_chord.control("r^2/8 instead of g", error=lambda r: r**2 / 8)
test_lemma_f4_chord, test_lemma_f4_chord_controls = lemma_f4_chord.tests()


@statement(
    "lemma-f4-sharp",
    source="sharp form of Lemma F.4, section 3",
    text="ours",
    evidence="sampled",
    depends_on=("lemma-f4-chord",),
)
def lemma_f4_sharp(
    rng: np.random.Generator,
    *,
    network: LogNetwork = log_network,
    segments: Callable[[float, float], int] = log_segments,
    error: Callable[[float], float] = chord_error,
) -> Iterator[Verdict]:
    """N = ⌈log(high/low)/√(8ε)⌉ chords, r = log(high/low)/n: 0 ≤ log − log_δ ≤ g(r) ≤ r²/8 ≤ ε on [low, high].

    g(r) is attained on every chord, and left- and right-facing networks are one function there.
    """
    for log_low, log_high in ((-log(50), 0.0), (-log(1e4), 0.0), (-log(20.0), log(20.0)), (-log(1e6), 0.0)):
        for epsilon in (0.1, 1e-2, 1e-3, 1e-4):
            n = segments(log_high - log_low, epsilon)
            r, x = (log_high - log_low) / n, sample_points(log_low, log_high, n, rng)
            values = {}
            for orientation in BOTH:
                f = network(log_low, log_high, n, orientation)
                allowance = rounding(f, x, -log_low)
                name = f"[{exp(log_low):.3g}, {exp(log_high):.3g}] eps={epsilon} {orientation}"
                gap = np.log(x) - f(x)
                values[orientation] = (f(x), allowance)
                yield judged(gap, allowance, error(r), error(r), f"{name} below log")
                yield judged(-gap, allowance, 0.0, error(r), f"{name} never above log")
                attained = np.log(worst := _worst(log_low, r, n)) - f(worst)
                yield judged(
                    error(r) - attained, rounding(f, worst, -log_low), 0.0, error(r), f"{name} attained on every chord"
                )
            yield require(error(r) <= r**2 / 8, f"{name} g <= r^2/8")
            yield require(r**2 / 8 <= epsilon * (1 + 8 * UNIT), f"{name} r^2/8 <= eps")
            (left, left_rounding), (right, right_rounding) = values["left"], values["right"]
            yield judged(np.abs(left - right), left_rounding + right_rounding, 0.0, error(r), f"{name} left = right")


def _worst(log_low: float, r: float, n: int) -> np.ndarray:
    return np.exp(log_low + r * np.arange(n) - log(chord_slope(r)))


lemma_f4_sharp.control("a knot moved by 1 %", network=_broken(_moved_knot))
lemma_f4_sharp.control("log network scaled by 0.1", network=_broken(lambda f: replace(f, a=0.1 * f.a)))
lemma_f4_sharp.control("1 % below g", error=lambda r: 0.99 * chord_error(r))
lemma_f4_sharp.control("a tenth fewer chords", segments=lambda span, eps: max(1, int(0.9 * log_segments(span, eps))))
test_lemma_f4_sharp, test_lemma_f4_sharp_controls = lemma_f4_sharp.tests()


@statement(
    "remark-f6",
    source="Remark F.6: the network outside its interval, section 5",
    text="ours",
    evidence="sampled",
    depends_on=("lemma-f4-sharp",),
)
def remark_f6(
    rng: np.random.Generator, *, network: LogNetwork = log_network, floor: Callable[[float], float] = lambda c: exp(-c)
) -> Iterator[Verdict]:
    """Left-facing on [1/A, high]: for x < 1/A, log_δ(x) ≥ log x and 0 ≤ exp(log_δ(x)) − x ≤ e^{−c}/A, most at x = 0.

    log_δ(0) = −log A − c lies in [−log A − 1, −log A], c = r/(e^r − 1); right of `high` the network is constant.
    """
    for log_a in (log(1.5), log(200.0), log(1e6), log(1e30), log(1e300)):
        for high in (0.0, log_a):
            for n in (1, 7, 83):
                f, r = network(-log_a, high, n, "left"), (high + log_a) / n
                c, name = chord_slope(r), f"A={exp(log_a):.3g} high={exp(high):.3g} n={n}"
                x = np.concatenate([[0.0], np.exp(-log_a - rng.exponential(3.0, 200))])
                allowance = rounding(f, x, 2 * log_a)
                lifted = np.exp(f(x) + log_a)  # A·b(x)
                scaled = x * exp(log_a)
                yield compare(float((scaled - lifted * (1 + 2 * allowance)).max()), 0.0, f"{name} above log")
                yield compare(float((lifted * (1 - 2 * allowance) - scaled).max()), floor(c), f"{name} floor")
                attained = lifted[0] * (1 + 2 * allowance[0])
                yield require(bool(floor(c) <= attained), f"{name} attained at 0")
                at_zero = abs(float(f(np.zeros(1))[0]) + log_a + c) - allowance[0]
                yield compare(float(at_zero), 0.0, f"{name} value at 0")
                beyond = f(np.exp(high) * np.array([1.0, 1.5, 1e3]))
                yield require(bool(np.ptp(beyond) <= 2 * allowance[0]), f"{name} constant beyond")


def _right(low: float, high: float, segments: int, orientation: Orientation) -> ReluNetwork:
    return log_network(low, high, segments, "right")


remark_f6.control("1 % below the floor", floor=lambda c: 0.99 * exp(-c))
remark_f6.control("right-facing network", network=_right)
remark_f6.control("a knot moved by 1 %", network=_broken(_moved_knot))
test_remark_f6, test_remark_f6_controls = remark_f6.tests()
