import flint
import numpy as np
import pytest

from constructions.ball_curve import BallCurve, relu_ball
from constructions.balls import to_balls


def literal(w, b, a, x):
    hidden = [relu_ball(slope * x + offset) for slope, offset in zip(w, b, strict=True)]
    return [sum((weight * unit for weight, unit in zip(row, hidden, strict=True)), flint.arb(0)) for row in a]


@pytest.mark.parametrize("width", [0.0, 1e-12, 0.3, 7.0])
@pytest.mark.parametrize("seed", range(5))
def test_encloses_every_number_of_the_ball_like_the_units_one_by_one(width, seed):
    rng = np.random.default_rng(seed)
    units, targets = 37, 3
    w = rng.choice([-2.0, -1.0, 0.0, 0.5, 1.0], size=units)
    b, a = rng.integers(-5, 6, units) / 4, rng.standard_normal((targets, units))
    curve = BallCurve(to_balls(w).tolist(), to_balls(b).tolist(), to_balls(a))
    centres = np.append(rng.uniform(-3, 3, 11), b[:2])  # some at breakpoints
    found = curve([flint.arb(float(c), width) for c in centres])
    for centre, enclosures in zip(centres, found, strict=True):
        for inside in np.append(rng.uniform(-width, width, 5), [-width, 0.0, width]):
            point = flint.arb(float(centre)) + flint.arb(float(inside))
            exact = literal(to_balls(w), to_balls(b), to_balls(a), point)
            assert all(wide.overlaps(thin) for wide, thin in zip(enclosures, exact, strict=True))
        if width <= 1e-12:
            assert max(float(ball.rad()) for ball in enclosures) < 1e3 * units * max(width, 1e-14)


def test_values_at_and_between_breakpoints():
    w, b, a = [flint.arb(1)] * 3, [flint.arb(-k) for k in range(3)], to_balls(np.array([[1.0, 2.0, -4.0]]))
    curve = BallCurve(w, b, a)
    assert [float(v[0].mid()) for v in curve([flint.arb(k) / 2 for k in range(7)])] == [0, 0.5, 1, 2.5, 4, 3.5, 3]


def test_breakpoints_that_are_balls_are_decided_only_when_certain():
    w, b = [flint.arb(1), flint.arb(1)], [flint.arb(0, 0.25), flint.arb(-1, 0.25)]
    curve = BallCurve(w, b, to_balls(np.array([[1.0, -1.0]])))
    (value,) = curve([flint.arb(1)])[0]
    for first in (-0.25, 0.25):
        for second in (-1.25, -0.75):
            exact = max(1 + first, 0) - max(1 + second, 0)
            assert value.contains(flint.arb(exact))


def test_a_unit_with_an_unknown_breakpoint_is_never_left_out():
    """A weight that may be 0 without being 0, on either side of 0 and of a breakpoint of another unit."""
    w, b = [flint.arb(0, 0.5), flint.arb(1), flint.arb(-2)], [flint.arb(0.25), flint.arb(0), flint.arb(0)]
    curve = BallCurve(w, b, to_balls(np.ones((1, 3))))
    for x in (-3.0, -0.5, 0.0, 0.5, 3.0):
        (value,) = curve([flint.arb(x)])[0]
        known = max(x, 0) + max(-2 * x, 0)
        for slope in (-0.5, 0.0, 0.5):
            assert value.contains(flint.arb(known + max(slope * x + 0.25, 0)))
        assert float(value.rad()) <= 0.51 * abs(x) + 1e-9


@pytest.mark.parametrize("lost", [flint.arb("nan"), flint.arb(0, np.inf)], ids=["nan", "line"])
def test_nothing_is_known_where_a_breakpoint_is_lost(lost):
    curve = BallCurve([flint.arb(1)] * 3, [flint.arb(-1), lost, flint.arb(1)], to_balls(np.ones((1, 3))))
    for x in (-9.0, 0.0, 9.0):
        assert not curve([flint.arb(x)])[0, 0].is_finite()
