"""Piecewise-linear functions made of ReLU units: exact segments."""

from fractions import Fraction
from itertools import pairwise

import flint
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relu_units import NETWORKS, around, each_network, each_sign, exact, fractions, units_of

from constructions.number_system import Balls, Rationals
from constructions.piecewise_linear import PiecewiseLinear, from_units
from constructions.relu_networks import (
    identity_network,
)


def parts(function: PiecewiseLinear) -> tuple[tuple[Fraction, ...], ...]:
    return function.breakpoints, function.anchors, function.values, function.slopes


@each_sign
@each_network
def test_the_function_is_the_sum_of_its_units(name, sign):
    units = units_of(NETWORKS[name], sign)
    function = from_units(units)
    assert function.breakpoints == tuple(sorted({-b / w for w, b, _ in fractions(units) if w}))
    assert not function.linear
    for x in around(function.breakpoints):
        assert function(x) == exact(units, x)


@each_network
def test_the_order_of_the_units_does_not_matter(name, rng):
    units = units_of(NETWORKS[name])
    shuffled = [units[i] for i in rng.permutation(len(units))]
    assert shuffled != units
    assert parts(from_units(shuffled)) == parts(from_units(units))
    assert parts(from_units(units[1:])) != parts(from_units(units))


def test_units_that_turn_at_the_same_point_make_one_breakpoint():
    function = from_units([(2, -6, 5), (-4, 12, 1), (1, -7, 3)])
    assert parts(function) == ((3, 7), (0, 3, 7), (12, 0, 40), (-4, 10, 13))


def test_a_breakpoint_whose_turns_cancel_is_none():
    """relu(2x − 6) − 2relu(3 − x) = 2x − 6."""
    cancelling = [(2, -6, 1), (-1, 3, -2)]
    function = from_units(cancelling)
    assert function.linear
    assert parts(function) == ((), (0,), (-6,), (2,))
    kept = from_units([*cancelling, (1, -5, 7)])
    assert parts(kept) == ((5,), (0, 5), (-6, 4), (2, 9))
    assert not from_units([(2, -6, 1), (-1, 3, -2 - 2**-50)]).linear


@pytest.mark.parametrize(
    ("units", "value"),
    [
        ([], 0),
        ([(0, 7, 3)], 21),
        ([(0, -7, 3)], 0),
        ([(0, 7, -3), (0, -5, 11), (0, 2, 13)], 5),
        ([(3, -2, 0), (-5, 1, 0)], 0),  # outputs of 0
        ([(0, Fraction(1, 3), 6)], 2),
    ],
)
def test_constants(units, value):
    function = from_units(units)
    assert function.linear
    assert parts(function) == ((), (0,), (value,), (0,))


def test_a_constant_unit_shifts_all_segments():
    units = [(1, -2, 3), (-1, -5, -7)]
    function, shifted = from_units(units), from_units([*units, (0, 11, -1), (0, -13, 1)])
    assert shifted.values == tuple(value - 11 for value in function.values)
    assert shifted.slopes == function.slopes == (7, 0, 3)


@pytest.mark.parametrize("scale", [1, -3, 0.1])
def test_the_identity_network_is_linear(scale):
    function = from_units(units_of(identity_network(scale)))
    assert function.linear
    assert parts(function) == ((), (0,), (0,), (Fraction(scale),))


def test_an_anchor_is_the_point_of_its_segment_nearest_to_0():
    both_signs = from_units([(1, 3, 1), (1, -5, 1), (1, -7, 1)])
    assert both_signs.anchors == (-3, 0, 5, 7)
    assert from_units([(1, 3, 1), (1, 2, 1)]).anchors == (-3, -2, 0)


small = st.integers(-3, 3).map(float)  # so that many breakpoints coincide and many turns cancel
thirds = st.integers(-5, 5).map(lambda number: Fraction(number, 3))


@settings(max_examples=53, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(small, thirds, small), max_size=7))
def test_any_units_make_the_sum_of_them(units):
    function = from_units(units)
    assert all(low < high for low, high in pairwise(function.breakpoints))
    for x in (Fraction(number, 6) for number in range(-41, 42, 3)):
        assert function(x) == exact(units, x)


@each_network
def test_evaluate_over_the_rationals_is_the_function(name):
    function, numbers = from_units(units_of(NETWORKS[name])), Rationals()
    points = around(function.breakpoints)
    found = function.evaluate(np.array([numbers.number(x) for x in points], dtype=object), numbers)
    assert list(found) == [numbers.number(function(x)) for x in points]


@each_network
def test_evaluate_in_balls_encloses_the_function(name):
    """Units and points are dyadic, and so are the values: 2048 bits hold them exactly."""
    units = units_of(NETWORKS[name])
    points = [Fraction(number, 8) for number in range(-101, 211, 13)]
    balls = Balls()
    found = from_units(units).evaluate(np.array([balls.number(x) for x in points], dtype=object), balls)
    assert any(ball.rad() > 0 for ball in found)
    assert all(ball.rad() < 2**-30 for ball in found)
    with flint.ctx.workprec(2048):
        for ball, x in zip(found, points, strict=True):
            value = balls.number(exact(units, x))
            assert value.is_exact()
            assert ball.contains(value)
