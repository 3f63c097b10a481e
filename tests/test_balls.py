"""Arrays of balls: exact conversions, enclosing products and norms, and rows that are equal as balls."""

import math

import flint
import numpy as np
import pytest

from constructions.balls import (
    ZERO,
    codes,
    equal_rows,
    fill,
    largest_radius,
    matrix,
    midpoints,
    norm,
    product,
    to_balls,
)

arb = flint.arb


def test_floats_become_exact_balls():
    values = np.array([[0.1, -1e300, 5e-324], [0.1, -0.0, 2.0**-60]])
    with flint.ctx.workprec(20):
        balls = to_balls(values)
    assert balls.shape == (2, 3)
    assert all(ball.is_exact() for ball in balls.ravel())
    assert np.array_equal(midpoints(balls), values)
    assert balls[0, 0] is balls[1, 0]


def test_floats_that_are_not_numbers_are_enclosed_too():
    found = to_balls(np.array([math.nan, math.inf, -math.inf, math.nan]))
    assert [str(ball) for ball in found[[0, 3]]] == ["nan", "nan"]
    assert found[1] > 1e308
    assert found[2] < -1e308


def test_an_array_is_filled_row_by_row_and_entirely():
    filled = fill(iter(range(6)), (2, 3))
    assert filled.dtype == object
    assert filled.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert fill([], (0, 3)).shape == (0, 3)
    for wrong in (1, 5, 7):
        with pytest.raises(ValueError, match="reshape"):
            fill(range(wrong), (2, 3))


def test_products_enclose(rng):
    left, right = rng.standard_normal((5, 7)), rng.standard_normal((7, 3))
    with flint.ctx.workprec(40):
        found = product(matrix(to_balls(left)), matrix(to_balls(right) + arb(0, 1e-3)))
    assert found.shape == (5, 3)
    for share in (-1.0, 0.3, 1.0):
        exact = to_balls(left) @ (to_balls(right) + share * arb(1e-3))
        assert all(wide.contains(thin.mid()) for wide, thin in zip(found.ravel(), exact.ravel(), strict=True))
    assert largest_radius(found) < 7e-3 * np.abs(left).max()


def test_a_product_over_nothing_is_zero():
    nothing = product(flint.arb_mat(2, 0, []), flint.arb_mat(0, 3, []))
    assert nothing.shape == (2, 3)
    assert all(value.is_zero() for value in nothing.ravel())


def test_norms():
    vectors = fill([arb(3), arb(-4), ZERO, arb(0, 1e-30), arb(2, 1), arb(0, 1)], (3, 2))
    five, small, wide = norm(vectors)
    assert five == 5
    assert small.is_finite()
    assert small.contains(arb(1e-30))
    assert small < 2e-30
    assert all(wide.contains(arb(value)) for value in (1.0, 3.0, 10**0.5 - 1e-9))
    assert norm(fill([arb("nan"), arb(1)], (1, 2)))[0].is_nan()


def test_midpoints_and_radii():
    balls = fill([arb(1, 0.25), arb(-2, 0.5), arb(3)], (1, 3))
    assert midpoints(balls).tolist() == [[1.0, -2.0, 3.0]]
    assert largest_radius(balls) == pytest.approx(0.5, rel=1e-8)
    assert largest_radius(balls[:, 2:]) == 0
    assert largest_radius(balls[:, :0]) == 0


def test_rows_are_equal_when_midpoints_and_radii_are():
    one, same, wider, moved = arb(1, 0.25), arb(1, 0.25), arb(1, 0.5), arb(1.5, 0.25)
    rows = fill([one, moved, same, moved, wider, moved, one, one, same, moved, one, same], (6, 2))
    first, label = equal_rows(codes(rows))
    assert first.tolist() == [0, 2, 3]
    assert label.tolist() == [0, 0, 1, 2, 0, 2]
    for row, found in zip(rows, rows[first][label], strict=True):
        assert all(a.mid() == b.mid() and a.rad() == b.rad() for a, b in zip(row, found, strict=True))


def test_what_is_not_finite_is_equal_to_itself_alone():
    lost = arb("nan")
    first, label = equal_rows(codes(fill([lost, lost, arb("nan"), arb(0, math.inf), arb(0, math.inf)], (5, 1))))
    assert label.tolist() == [0, 0, 1, 2, 3]
    assert first.tolist() == [0, 2, 3, 4]


def test_rows_of_nothing_are_equal():
    first, label = equal_rows(codes(np.empty((3, 0), dtype=object)))
    assert (first.tolist(), label.tolist()) == ([0], [0, 0, 0])
