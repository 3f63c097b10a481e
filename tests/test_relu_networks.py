"""Lemmas F.4 and F.5, and 1/√x for Remark G.2: sizes, weights and errors of the chord networks."""

from fractions import Fraction
from itertools import pairwise
from math import ceil, exp, log, sqrt

import flint
import mpmath
import numpy as np
import pytest

from constructions.number_system import Balls, Rationals
from constructions.relu_networks import (
    ReluNetwork,
    chord_error,
    chord_slope,
    identity_network,
    inverse_sqrt_error,
    inverse_sqrt_network,
    lemma_f4_units,
    log_network,
    log_segments,
    square_network,
    square_pieces,
)
from constructions.rounding_error import gamma

UNIT = 2.0**-53
ORIENTATIONS = ["left", "right"]


def weight_error(span: float) -> float:
    """Relative error of a weight of a log network in float64, with logarithms of size at most `span`.

    The logarithm of a knot has three roundings (r, its multiple, the sum), each at most span·u, which exp turns
    into relative errors; exp itself, r, expm1, the product and the quotient add at most 2u each.
    """
    return (4 * span + 10) * UNIT


def evaluation_error(network: ReluNetwork, x: np.ndarray, span: float) -> np.ndarray:
    """|computed − exact| ≤ (γ_{M+3} + weight error) Σ_j |a_j| (|w_j x| + |b_j|), twice: a_j and b_j are both off."""
    inner = np.abs(np.multiply.outer(x, network.w)) + np.abs(network.b)
    return (gamma(network.units + 3, UNIT) + 2 * weight_error(span)) * (inner @ np.abs(network.a))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("delta", [0.7, 0.1, 0.013])
@pytest.mark.parametrize("a", [1.5, 1e3, 1e30])
def test_lemma_f4_units_and_weights(a, delta, orientation):
    units = lemma_f4_units(log(a), delta)
    network = log_network(-log(a), log(a), units - 1, orientation)
    assert units == ceil(2 * log(a) / delta) + 1 == network.units
    assert network.w.shape == network.b.shape == network.a.shape == (units,)
    slack = 1 + weight_error(log(a))
    assert np.abs(network.a).max() <= a * slack  # half of the lemma's 2A
    assert np.abs(network.w).max() <= 1
    assert np.abs(network.b).max() <= a * slack
    assert network.w[-1] == 0  # the constant ∓log A
    assert network.b[-1] == 1
    assert network.a[-1] == (log(a) if orientation == "left" else -log(a))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_constant_of_zero_needs_no_unit(orientation):
    low, high = (-3.0, 0.0) if orientation == "left" else (0.0, 3.0)
    assert log_network(low, high, 7, orientation).units == 7
    assert log_network(low, high + 1, 7, "left").units == 8


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize(("a", "segments"), [(2.0, 1), (50.0, 7), (1000.0, 139)])
def test_the_chord_error_is_g_on_every_segment(a, segments, orientation):
    """0 at the knots, g(r) where the slope of log is the chord's, in between elsewhere; never decreasing."""
    span = log(a)
    r = 2 * span / segments
    network = log_network(-span, span, segments, orientation)
    knots = np.exp(-span + r * np.arange(segments + 1))
    worst = knots[:-1] / chord_slope(r)
    for x, expected in ((knots, 0.0), (worst, chord_error(r))):
        # The knots of this test are off by weight_error too; log has derivative 1/x there.
        allowed = evaluation_error(network, x, span) + 4 * weight_error(span)
        assert (np.abs(np.log(x) - network(x) - expected) <= allowed).all()
    inside = np.exp(np.linspace(-span, span, 1009))
    allowed = evaluation_error(network, inside, span) + 4 * weight_error(span)
    gap = np.log(inside) - network(inside)
    assert (gap >= -allowed).all()
    assert (gap <= chord_error(r) + allowed).all()
    assert all(later - earlier >= -allowed.max() for earlier, later in pairwise(network(inside)))


@pytest.mark.parametrize(("a", "segments"), [(2.0, 3), (1000.0, 139)])
def test_the_two_orientations_differ_only_outside(a, segments):
    span, r = log(a), 2 * log(a) / segments
    left, right = (log_network(-span, span, segments, orientation) for orientation in ("left", "right"))
    x = np.exp(np.linspace(-span, span, 503))
    allowed = evaluation_error(left, x, span) + evaluation_error(right, x, span)
    assert (np.abs(left(x) - right(x)) <= allowed).all()
    # left: constant right of A, the first chord continued to -log A - c(r) at 0
    assert np.array_equal(left(np.array([a * (1 + 1e-9), 10 * a])), [span, span])
    below = np.array([0.0, 0.3, 0.9]) / a
    expected = -span - chord_slope(r) + chord_slope(r) * a * below
    assert (np.abs(left(below) - expected) <= 2 * evaluation_error(left, below, span)).all()
    assert -span - 1 < left(np.zeros(1))[0] < -span
    # right: constant left of 1/A, the last chord continued
    assert np.array_equal(right(np.array([0.0, 0.9 / a])), [-span, -span])
    beyond = np.array([2.0, 3.0]) * a
    expected = span + chord_slope(r) * np.exp(r) * (beyond / a - 1)
    assert (np.abs(right(beyond) - expected) <= 2 * evaluation_error(right, beyond, span)).all()


def test_left_is_backward_stable_and_right_is_not():
    """A = 1e30, r = 0.1: left keeps g(r) = 1.25e-3, right loses everything to cancellation."""
    span = log(1e30)
    segments = ceil(2 * span / 0.1)
    r = 2 * span / segments
    x = np.exp(np.linspace(-span, span, 2003))
    left, right = (log_network(-span, span, segments, orientation) for orientation in ORIENTATIONS)
    # All terms of `left` have one sign, so its allowance has the size of its value.
    rounding = (gamma(segments + 4, UNIT) + 2 * weight_error(span)) * (4 * span + 1) + 4 * weight_error(span)
    assert rounding < 1e-9
    assert np.array_equal(log_network(-span, span, segments).a, left.a)  # the default
    assert np.abs(left(x) - np.log(x)).max() <= chord_error(r) + rounding
    assert np.abs(right(x) - np.log(x)).max() > 1e10


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize(("low", "high"), [(-11.0, 0.0), (-7.0, 7.0), (-650.0, 650.0)])
def test_float_weights_are_near_the_exact_ones(low, high, orientation):
    floats = log_network(low, high, 97, orientation)
    with flint.ctx.workprec(2048):  # the knots' balls must be far narrower than float64
        balls = log_network(Balls().number(low), Balls().number(high), 97, orientation, Balls())
        for name in ("w", "b", "a"):
            for value, ball in zip(getattr(floats, name).tolist(), getattr(balls, name), strict=True):
                assert abs(flint.arb(value) - ball) <= abs(ball) * weight_error(max(-low, high))


@pytest.mark.parametrize("r", [1e-6, 1e-3, 0.1, 0.9, 1.1, 5.0])
def test_chord_error_against_high_precision(r):
    """c − 1 carries an error of about 4u·c, f(z) = z − log(1+z) has f' = z/c there, and log1p adds 2u|log c|."""
    with mpmath.workdps(60):
        c = mpmath.mpf(r) / mpmath.expm1(mpmath.mpf(r))
        exact = mpmath.log(1 / c) - 1 + c
        c, z = float(c), float(1 - c)
        allowed = 2 * UNIT * (4 * z + z * z / c + 2 * abs(log(c)) + 2 * r + float(exact))
        assert abs(chord_slope(r) - c) <= 8 * UNIT * c
        assert abs(chord_error(r) - exact) <= allowed
    assert 0 < chord_error(r) <= r * r / 8 + allowed
    assert allowed < 1e-2 * chord_error(r)


@pytest.mark.parametrize("log_range", [0.3, 11.0, 650.0])
@pytest.mark.parametrize("error", [0.3, 1e-3, 1e-6])
def test_log_segments_is_the_fewest_that_r_squared_over_8_allows(log_range, error):
    segments = log_segments(log_range, error)
    assert chord_error(log_range / segments) <= (log_range / segments) ** 2 / 8 <= error
    assert segments == 1 or (log_range / (segments - 1)) ** 2 / 8 > error


@pytest.mark.parametrize("radius", [0.3, 11.0, 101.0])
@pytest.mark.parametrize("error", [3.0, 1e-3, 1e-5])
def test_square_pieces_is_the_fewest(radius, error):
    pieces = square_pieces(radius, error)
    assert (radius / pieces) ** 2 / 4 <= error * (1 + 4 * UNIT)
    assert pieces == 1 or (radius / (pieces - 1)) ** 2 / 4 > error * (1 - 4 * UNIT)


def test_the_square_network_exactly():
    """Dyadic radius, pieces and points: float64 commits no rounding, so every statement is an equality."""
    radius, pieces = 6.0, 8
    h = radius / pieces
    network = square_network(radius, pieces)
    assert network.units == 2 * pieces
    assert np.abs(network.a).max() == 2 * h <= 2 * radius
    assert np.abs(network.w).max() == 1
    assert np.abs(network.b).max() == radius - h
    x = np.arange(-radius * 64, radius * 64 + 1) / 64
    gap = network(x) - x**2
    assert gap.min() == 0
    assert gap.max() == h * h / 4
    offset = np.abs(x) % h
    assert np.array_equal(gap, offset * (h - offset))  # the chord over a piece, in closed form
    assert np.array_equal(network(x), network(-x))
    assert (network.a > 0).all()  # no cancellation


def test_the_square_network_over_the_rationals():
    network = square_network(Rationals().number(Fraction(5, 3)), 7, Rationals())
    h = flint.fmpq(5, 21)
    assert list(network.a) == ([h] + [2 * h] * 6) * 2
    assert list(network.b) == [-j * h for j in range(7)] * 2
    assert list(network.w) == [flint.fmpq(1)] * 7 + [flint.fmpq(-1)] * 7


@pytest.mark.parametrize("scale", [1, -1, -0.5, 3])
def test_the_identity_network_is_exact(scale):
    x = np.array([-1e300, -0.1, 0.0, 1 / 3, 7.0])
    assert np.array_equal(identity_network(scale)(x), scale * x)
    assert identity_network(scale).units == 2


def test_a_network_is_evaluated_at_any_shape():
    x = np.linspace(-1, 1, 6).reshape(2, 3)
    network = square_network(exp(1), 5)
    assert network(x).shape == (2, 3)
    assert network(x)[1, 2] == network(np.array(1.0))


def inverse_sqrt_weight_error(span: float) -> float:
    """Relative error of a weight or knot of the network for 1/√x, |log t_i| ≤ span.

    The logarithm of a knot has three roundings of at most span·u, in a weight multiplied by 3/2 and rounded once more:
    (3/2)·4·span·u; exp, q, expm1, the products and the quotient add at most 2u each.
    """
    return (6 * span + 20) * UNIT


@pytest.mark.parametrize(("low", "high", "segments"), [(-2.0, 3.0, 1), (-5.0, 7.0, 11), (-0.5, 0.25, 101)])
def test_the_chords_of_the_inverse_root(low, high, segments):
    """1/√x at the knots; κ(r) above it where x/t = (1 + q + q²)/3; in between elsewhere, never increasing.

    All terms are non-negative, so a sum of n + 1 of them is right to γ_{n+3} and the error of its weights; a knot that
    is off by a relative η adds w·η·t to a term a(t − x), at most (q + 1)·η/√x in all: slope·t is below 1/√t.
    """
    network = inverse_sqrt_network(low, high, segments)
    r = (high - low) / segments
    assert network.units == segments + 1
    assert (network.a > 0).all()
    assert (np.diff(network.b[:-1]) > 0).all()
    assert (network.w[-1], network.b[-1]) == (0, 1)
    assert (network.w[:-1] == -1).all()
    error = inverse_sqrt_weight_error(max(-low, high))
    allowed = gamma(segments + 4, UNIT) + (2 * exp(r / 2) + 4) * error
    knots, q = np.exp(low + r * np.arange(segments + 1)), exp(r / 2)
    worst = knots[:-1] * (1 + q + q * q) / 3
    for x, expected in ((knots, 0.0), (worst, inverse_sqrt_error(r))):
        assert np.abs(np.sqrt(x) * network(x) - 1 - expected).max() <= allowed
    inside = np.exp(np.linspace(low, high, 1009))
    gap = np.sqrt(inside) * network(inside) - 1
    assert gap.min() >= -allowed
    assert gap.max() <= inverse_sqrt_error(r) + allowed
    assert np.diff(network(inside)).max() <= allowed * network(inside).max()
    # constant right of `high`; the first chord continued to 0: t^{-1/2}(1 + 1/(q(q + 1)))
    assert network(np.array([exp(high) * 1.5]))[0] == pytest.approx(exp(-high / 2), rel=allowed, abs=0)
    assert network(np.array([3 * exp(high)]))[0] == network(np.array([99 * exp(high)]))[0]
    assert network(np.zeros(1))[0] == pytest.approx(exp(-low / 2) * (1 + 1 / (q * (q + 1))), rel=allowed, abs=0)


@pytest.mark.parametrize(("low", "high"), [(-11.0, 0.0), (-7.0, 7.0), (-400.0, 400.0)])
def test_float_weights_of_the_inverse_root_are_near_the_exact_ones(low, high):
    floats = inverse_sqrt_network(low, high, 97)
    with flint.ctx.workprec(2048):
        exact = inverse_sqrt_network(Balls().number(low), Balls().number(high), 97, Balls())
        for name in ("w", "b", "a"):
            for value, ball in zip(getattr(floats, name).tolist(), getattr(exact, name), strict=True):
                assert abs(flint.arb(value) - ball) <= abs(ball) * inverse_sqrt_weight_error(max(-low, high))


@pytest.mark.parametrize("r", [1e-7, 1e-3, 0.1, 1.0, 5.0])
def test_inverse_sqrt_error_against_high_precision(r):
    """The largest √x·chord(x) − 1 on [1, e^r], from the chord itself; sinh, squares, log1p and expm1 add 2u each."""
    with mpmath.workdps(60):
        q = mpmath.exp(mpmath.mpf(r) / 2)
        worst = (1 + q + q * q) / 3
        kappa = mpmath.sqrt(worst) * (1 - (worst - 1) / (q * (q + 1))) - 1
        closed = ((1 + 2 * mpmath.cosh(mpmath.mpf(r) / 2)) / 3) ** mpmath.mpf("1.5") / mpmath.cosh(
            mpmath.mpf(r) / 4
        ) - 1
        assert abs(kappa - closed) < mpmath.mpf(10) ** -50
        for x in (worst * mpmath.mpf("1.01"), worst / mpmath.mpf("1.01")):  # a maximum
            assert mpmath.sqrt(x) * (1 - (x - 1) / (q * (q + 1))) - 1 < kappa
        assert float(kappa) == pytest.approx(inverse_sqrt_error(r), rel=40 * UNIT * (1 + r), abs=0)
        assert kappa <= 3 * mpmath.mpf(r) ** 2 / 32 * mpmath.exp(mpmath.mpf(r) ** 2 / 24)


def test_one_chord_of_the_inverse_root_by_hand():
    """From 1 to 4 (q = 2): 1/2 + (4 − x)/6, a third above 1/√x at the most, √(7/3)·(1/2 + 5/18) − 1 = κ."""
    network = inverse_sqrt_network(0.0, log(4), 1)
    allowed = 3 * inverse_sqrt_weight_error(log(4))
    assert network(np.array([1.0, 2.5, 4.0])) == pytest.approx([1, 0.75, 0.5], rel=allowed, abs=0)
    assert inverse_sqrt_error(log(4)) == pytest.approx(sqrt(7 / 3) * (7 / 9) - 1, rel=100 * UNIT, abs=0)
