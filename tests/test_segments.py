"""A network of one variable as lines, and the extremes of its distance from a function over an interval."""

from fractions import Fraction
from itertools import pairwise

import flint
import numpy as np
import pytest
import sympy
from flint import arb, fmpq
from relu_units import NETWORKS, each_network, exact, units_of

from constructions.number_system import Balls, Rationals
from constructions.relu_networks import ReluNetwork, log_network, square_network
from theory_checks import segments
from theory_checks.identities import identity
from theory_checks.segments import lines, non_decreasing, pieces

W, B, A = np.random.default_rng(29).standard_normal((3, 11))
RANDOM = ReluNetwork(np.where(np.arange(11) == 4, 0.0, W), B, A)  # both orientations, a constant
MIRRORED = ReluNetwork(-W, B, A)
INTERVAL = (0.125, 3.0)  # knots inside and outside


def rational(x: float | Fraction) -> fmpq:
    return Rationals().number(x)


def in_rationals(network: ReluNetwork) -> ReluNetwork:
    return ReluNetwork(*(np.array([rational(v) for v in part.tolist()]) for part in (network.w, network.b, network.a)))


def in_balls(values: np.ndarray) -> np.ndarray:
    return np.array([arb(v) for v in values.tolist()], dtype=object)


@each_network
def test_the_pieces_are_the_network(name):
    """In rationals at the ends and in the middle of every piece; in balls they overlap with that."""
    network = NETWORKS[name]
    low, high = rational(-7.0), rational(9.0)
    p, q = pieces(lines(in_rationals(network)), low, high), pieces(lines(network), arb(-7), arb(9))
    assert p.left[0] == low
    assert p.right[-1] == high
    assert all(before == after for before, after in zip(p.right[:-1], p.left[1:], strict=True))
    assert p.sure.all()
    assert q.sure.all()
    units = units_of(network)
    for points in (p.left, (p.left + p.right) / 2, p.right):
        expected = [exact(units, Fraction(int(x.p), int(x.q))) for x in points]
        assert list(p.at(points)) == [rational(y) for y in expected]
        at = q.at(np.array([arb(x) for x in points]))
        assert all(ball.overlaps(arb(rational(y))) for ball, y in zip(at, expected, strict=True))


def dense(network: ReluNetwork, distance: str) -> np.ndarray:
    x = np.linspace(*INTERVAL, 100_001)
    f = network(x)
    return {
        "below_log": np.log(x) - f,
        "times_root": f * np.sqrt(x),
        "above_square": f - x**2,
        "exp_above": np.exp(f) - x,
    }[distance]


@pytest.mark.parametrize("distance", ["below_log", "times_root", "above_square", "exp_above"])
@pytest.mark.parametrize("network", [RANDOM, MIRRORED, *NETWORKS.values()])
def test_extremes_are_those_of_a_dense_grid(distance, network):
    """The grid is inside, so its extremes are; between its points a function moves by at most its variation there."""
    p = pieces(lines(network), *map(arb, INTERVAL))
    values = getattr(segments, distance)(p)
    least, largest = float(p.least(values)), float(p.largest(values))
    grid = dense(network, distance)
    step = np.abs(np.diff(grid)).max() + 1e-12 * (1 + np.abs(grid).max())
    assert grid.min() - step <= least <= grid.min() + 1e-12 * (1 + abs(grid.min()))
    assert grid.max() - 1e-12 * (1 + abs(grid.max())) <= largest <= grid.max() + step


def test_extremes_on_one_line_by_hand():
    """F(x) = x on [1/2, 4]: log x − x is −1 at 1, least at 4; x^{3/2} and e^x − x increase; x − x² is 1/4 at 1/2."""
    p = pieces(lines(ReluNetwork(np.array([1.0, -1.0]), np.zeros(2), np.array([1.0, -1.0]))), arb(0.5), arb(4))
    gaps = segments.below_log(p)
    assert p.largest(gaps) == -1
    assert p.least(gaps).overlaps(arb(4).log() - 4)
    assert p.largest(segments.times_root(p)).overlaps(arb(8))
    assert p.largest(segments.above_square(p)) == 0.25
    assert p.least(segments.exp_above(p)).overlaps(arb(0.5).exp() - 0.5)


@pytest.mark.parametrize("slope", [-2.0, 0.0])
def test_slopes_that_are_not_positive(slope):
    network = ReluNetwork(np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([slope, -3.0]))  # −3 + slope·x, x ≥ 0
    p = pieces(lines(network), arb(0.5), arb(2))
    assert p.largest(segments.below_log(p)).overlaps(arb(2).log() + 3 - 2 * slope)
    assert p.least(segments.exp_above(p)).overlaps(arb(2 * slope - 3).exp() - 2)
    assert p.largest(segments.exp_above(p)).overlaps(arb(slope / 2 - 3).exp() - 0.5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_an_interval_that_ends_at_knots(side):
    """The balls of a knot and of the end overlap: a piece may be empty, and decides nothing alone."""
    network = log_network(arb(-3), arb(2), 7, side, Balls())
    p = pieces(lines(network), arb(-3).exp(), arb(2).exp())
    assert p.sure.sum() == 7
    assert len(p.sure) == 8
    assert non_decreasing(p, "").outcome == "holds"
    gaps = segments.below_log(p)
    assert p.least(gaps).overlaps(arb(0))
    assert p.least(gaps).rad() < 1e-10
    falling = ReluNetwork(network.w, network.b, -network.a)
    assert non_decreasing(pieces(lines(falling), arb(-3).exp(), arb(2).exp()), "").outcome == "refuted"


def test_a_piece_that_may_be_empty_neither_holds_nor_refutes():
    end = arb(1, 2.0**-40)
    tent = lines(ReluNetwork(np.array([arb(1), arb(1)]), np.array([arb(0), -end]), np.array([arb(1), arb(-3)])))
    assert non_decreasing(pieces(tent, arb(0), arb(1)), "").outcome == "undecided"
    assert non_decreasing(pieces(tent, arb(0), arb(0.5)), "").outcome == "holds"
    assert non_decreasing(pieces(tent, arb(0), arb(2)), "").outcome == "refuted"
    p = pieces(tent, arb(0), arb(1))
    assert p.largest(p.slopes).contains(arb(1))
    assert p.least(p.slopes).contains(arb(1))  # it may be the only one
    assert p.least(p.slopes).contains(arb(-2))


def knots_at(*knots: arb) -> ReluNetwork:
    """Σ relu(x − t)."""
    ones = in_balls(np.ones(len(knots)))
    return ReluNetwork(ones, -np.array(knots, dtype=object), ones)


@pytest.mark.parametrize(
    ("knots", "between"),
    [
        ((arb(1, 0.1), arb(1.05, 0.1), arb(2)), (1.0, 1.05)),
        ((arb(1, 1.5), arb(1.1), arb(2)), (1.2, 1.9)),  # the first may be the last
        ((arb(1), arb(1.2), arb(2, 1.1)), (1.05, 1.15)),  # the last may be the first
    ],
)
def test_knots_out_of_order_are_undecided(knots, between):
    f = lines(knots_at(*knots))
    for low, high in ((0, 3), between):
        p = pieces(f, arb(low), arb(high))
        assert p.largest(p.at(p.right)).is_nan()
        assert non_decreasing(p, "").outcome == "undecided"
    assert not p.sure.any()
    for low, high, value in ((-2, -1, 0), (4, 5, 15 - sum(t.mid() for t in knots))):  # beyond all of them
        p = pieces(f, arb(low), arb(high))
        assert p.largest(p.at(p.right)).contains(value)


def test_knots_that_are_the_same_number_are_in_order():
    p = pieces(lines(knots_at(arb(1), arb(1), arb(2))), arb(0), arb(3))
    assert list(p.slopes) == [0, 2, 3]
    assert p.largest(p.at(p.right)) == 5


@pytest.mark.parametrize(
    ("knots", "low", "high"),
    [((arb(1, 0.01), arb(1.05, 0.55)), 0, 0.9), ((arb(1, 0.55), arb(1.05, 0.01)), 1.2, 1.6)],
)
def test_an_interval_that_one_of_two_disordered_knots_may_reach(knots, low, high):
    p = pieces(lines(knots_at(*knots)), arb(low), arb(high))
    assert p.largest(p.at(p.right)).is_nan()


def test_without_knots():
    constant = ReluNetwork(np.zeros(2), np.array([2.0, -1.0]), np.array([3.0, 5.0]))
    p = pieces(lines(constant), arb(1), arb(2))
    assert (list(p.slopes), list(p.offsets), list(p.left), list(p.right)) == ([0], [6], [1], [2])


def test_a_weight_of_unknown_sign_is_refused():
    with pytest.raises(ValueError, match="sign of a weight"):
        lines(ReluNetwork(*(np.array([ball], dtype=object) for ball in (arb(0, 1), arb(1), arb(1)))))


def test_beyond_the_exponents_of_floats():
    network = log_network(arb(-2000), arb(2000), 4001, "left", Balls())
    p = pieces(lines(network), arb(-2000).exp(), arb(2000).exp())
    assert p.largest(segments.below_log(p)) < arb(1) / 8
    assert all(low < high for low, high in pairwise(p.left))


def test_the_square_in_rationals_is_decided_exactly():
    network = square_network(fmpq(5, 3), 7, Rationals())
    p = pieces(lines(network), fmpq(-5, 3), fmpq(5, 3))
    values = segments.above_square(p)
    assert (p.least(values), p.largest(values)) == (0, fmpq(5, 21) ** 2 / 4)
    assert non_decreasing(p, "").outcome == "refuted"
    assert non_decreasing(pieces(lines(network), fmpq(0), fmpq(5, 3)), "").outcome == "holds"


def test_identities():
    x, y = sympy.symbols("x y", positive=True)
    assert identity((x + y) ** 2 - x**2 - 2 * x * y - y**2, "").outcome == "holds"
    assert identity(sympy.sqrt(x * x) - x, "").outcome == "holds"  # x > 0
    assert identity(x - y, "").outcome == "refuted"
    assert identity(x * sympy.Rational(1, 10**30), "").outcome == "undecided"


def test_precision_narrows_the_extremes():
    def width(bits: int) -> arb:
        with flint.ctx.workprec(bits):
            p = pieces(lines(log_network(arb(-9), arb(9), 13, "right", Balls())), arb(-9).exp(), arb(9).exp())
            return p.largest(segments.below_log(p)).rad()

    assert width(256) < width(128) < 1e-20
