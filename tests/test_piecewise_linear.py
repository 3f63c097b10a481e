"""Piecewise-linear functions made of ReLU units: exact segments, and look-ups in three float formats."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from math import nan

import flint
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from constructions.number_system import Balls, Rationals
from constructions.piecewise_linear import LARGEST_CELLS, Lookup, PiecewiseLinear, Unit, from_units
from constructions.relu_networks import (
    ReluNetwork,
    identity_network,
    inverse_sqrt_network,
    log_network,
    square_network,
)

W, B, A = np.random.default_rng(23).standard_normal((3, 5))
NETWORKS = {
    "log left": log_network(-2.0, 3.0, 13, "left"),
    "log right": log_network(-2.0, 3.0, 17, "right"),
    "inverse sqrt": inverse_sqrt_network(-3.0, 2.0, 11),
    "random": ReluNetwork(W, -np.abs(B) * np.sign(W), A),
    "square": square_network(5.0, 7),
    "random both": ReluNetwork(W, B, A),
}
SEARCHED = ("square", "random both")  # breakpoints of both signs
DTYPES = [torch.float64, torch.float32, torch.bfloat16]
Units = list[tuple[float, float, float]]

each_network = pytest.mark.parametrize("name", NETWORKS)
each_sign = pytest.mark.parametrize("sign", [1, -1])
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def units_of(network: ReluNetwork, sign: int = 1, dtype: torch.dtype = torch.float64) -> Units:
    """The units in floats of a format, of f(x) or of f(−x)."""
    w, b, a = (torch.from_numpy(part).to(dtype).tolist() for part in (sign * network.w, network.b, network.a))
    return list(zip(w, b, a, strict=True))


def fractions(units: Iterable[Unit]) -> list[tuple[Fraction, Fraction, Fraction]]:
    return [(Fraction(w), Fraction(b), Fraction(a)) for w, b, a in units]


def exact(units: Iterable[Unit], x: Fraction) -> Fraction:
    """Σ a·relu(w·x + b)."""
    return sum((a * max(w * x + b, Fraction(0)) for w, b, a in fractions(units)), Fraction(0))


def size(units: Iterable[Unit], x: Fraction) -> Fraction:
    """Σ |a|(|w·x| + |b|)."""
    return sum((abs(a) * (abs(w * x) + abs(b)) for w, b, a in fractions(units)), Fraction(0))


def around(points: Sequence[Fraction]) -> list[Fraction]:
    """Points, between them, to either side of all of them, and 0."""
    between = [(low + high) / 2 for low, high in pairwise(points)]
    return [Fraction(0), *points, *between, *(edge + side for edge in points[:1] + points[-1:] for side in (-1, 1))]


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


def worst_error(lookup: Lookup, units: Units, x: torch.Tensor) -> Fraction:
    """|lookup(x) − f(x)| over what is allowed, 5u·Σ|a|(|w·x| + |b|), at the worst of the points.

    A value and a product below the normal numbers may each be off by half the least positive number as well.
    """
    format_ = torch.finfo(x.dtype)
    u, least = Fraction(format_.eps) / 2, Fraction(format_.smallest_normal) * Fraction(format_.eps)
    worst = Fraction(0)
    for point, found in zip(x.tolist(), lookup(x).tolist(), strict=True):
        scale = size(units, Fraction(point))
        assert scale < format_.max  # no unit overflows
        error = abs(Fraction(found) - exact(units, Fraction(point)))
        worst = max(worst, error / (5 * u * scale + least))
    return worst


def probes(function: PiecewiseLinear, dtype: torch.dtype) -> torch.Tensor:
    """At, just beside and between the breakpoints; zeros, huge, tiny and subnormal numbers of both signs."""
    near = torch.tensor([float(x) for x in around(function.breakpoints)], dtype=torch.float64).to(dtype)
    beside = [torch.nextafter(near, torch.full_like(near, end)) for end in (-torch.inf, torch.inf)]
    format_ = torch.finfo(dtype)
    least = format_.smallest_normal * format_.eps
    sizes = [0.0, least, 3 * least, format_.smallest_normal, 1e-30, 1e-3, 1e3, 1e30, format_.max / 2**17]
    extremes = torch.tensor([sign * number for number in sizes for sign in (1, -1)], dtype=torch.float64).to(dtype)
    return torch.cat([near, *beside, extremes])


@each_dtype
@each_sign
@each_network
def test_a_lookup_is_within_its_bound(name, sign, dtype):
    units = units_of(NETWORKS[name], sign, dtype)
    function = from_units(units)
    lookup = Lookup(function, dtype)
    assert lookup.representable
    assert (lookup.cells is None) == (name in SEARCHED)
    assert worst_error(lookup, units, probes(function, dtype)) <= 1


@each_dtype
@each_sign
@pytest.mark.parametrize("steep", [1e3, -3e4])
def test_nothing_larger_than_the_terms_at_a_point_is_added(steep, sign, dtype):
    """steep·x + relu(±x − 3): where |x| is small, the value at the breakpoint would be too large."""
    units = [(1.0, 0.0, steep), (-1.0, 0.0, -steep), (sign * 1.0, -3.0, 1.0)]
    units = [(w, b, torch.tensor(a).to(dtype).item()) for w, b, a in units]
    function = from_units(units)
    assert function.breakpoints == (3 * sign,)
    x = probes(function, dtype)
    assert worst_error(Lookup(function, dtype), units, x) <= 1
    point = Fraction(3 * sign)
    from_there = replace(function, anchors=(point, point), values=(function(point), function(point)))
    assert from_there(Fraction(1, 7)) == function(Fraction(1, 7))
    assert worst_error(Lookup(from_there, dtype), units, x) > 1


@each_sign
@pytest.mark.parametrize("name", ["log left", "square"])
def test_a_shifted_breakpoint_is_out_of_bounds(name, sign):
    units = units_of(NETWORKS[name], sign)
    function = from_units(units)
    points = list(function.breakpoints)
    x = torch.tensor([float(points[3] * Fraction(1009, 1000))], dtype=torch.float64)
    assert worst_error(Lookup(function, torch.float64), units, x) <= 1
    points[3] *= Fraction(101, 100)
    lookup = Lookup(replace(function, breakpoints=tuple(points)), torch.float64)
    assert (lookup.cells is None) == (name in SEARCHED)
    assert worst_error(lookup, units, x) > 1


@st.composite
def units_and_points(draw: st.DrawFn, digits: int) -> tuple[Units, list[float]]:
    """Numbers of up to `digits` bits: multiples of 2^(−11 − digits), so that no slope underflows. And any points."""
    numbers = st.builds(
        lambda mantissa, exponent: mantissa * 2.0 ** (exponent - digits),
        st.integers(1 - 2**digits, 2**digits - 1),
        st.integers(-11, 13),
    )
    one_sign = draw(st.booleans())
    units = draw(st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=7))
    if one_sign:
        units = [(w, -abs(b) if w > 0 else abs(b), a) for w, b, a in units]
    return units, draw(st.lists(st.floats(-(2.0**90), 2.0**90, width=32), min_size=1, max_size=5))


@pytest.mark.parametrize(("dtype", "digits"), [(torch.float64, 53), (torch.float32, 24), (torch.bfloat16, 8)], ids=str)
def test_any_lookup_is_within_its_bound(dtype, digits):
    searched = set()

    @settings(max_examples=31, deadline=None, derandomize=True, database=None)
    @given(units_and_points(digits))
    def check(drawn: tuple[Units, list[float]]) -> None:
        units, points = drawn
        function = from_units(units)
        lookup = Lookup(function, dtype)
        near = torch.tensor([float(x) for x in function.breakpoints], dtype=torch.float64).to(dtype)
        beside = torch.nextafter(near, torch.zeros_like(near))
        x = torch.cat([near, beside, torch.tensor(points).to(dtype)])
        assert worst_error(lookup, units, x) <= 1
        searched.add(lookup.cells is None)

    check()
    assert searched == {True, False}


@pytest.mark.parametrize(
    ("dtype", "points", "table"),
    [
        (torch.float32, (1.0, 1 + 2.0**-22), True),
        (torch.float64, (1.0, 1 + 2.0**-22), True),
        (torch.float64, (1.0, 1 + 2.0**-52), False),  # the same float32
        (torch.float64, (1.0, 1 + 2.0**-22, 2.0**30), False),  # too many cells
        (torch.bfloat16, (1.0, 1 + 2.0**-7, 2.0**30), True),
    ],
    ids=str,
)
@each_sign
def test_breakpoints_next_to_each_other(dtype, points, table, sign):
    units = [(sign * 1.0, -point, a) for point, a in zip(points, (3.0, -7.0, 11.0), strict=False)]
    function = from_units(units)
    lookup = Lookup(function, dtype)
    assert (lookup.cells is not None) == table
    assert worst_error(lookup, units, probes(function, dtype)) <= 1


@each_sign
def test_left_of_breakpoints_that_are_neighbouring_numbers(sign):
    """Both signs of a number that is left of them are in the first cell, not in that of a breakpoint."""
    units = [(sign * 1.0, -1.0, 3.0), (sign * 1.0, -(1 + 2.0**-23), -7.0)]
    lookup = Lookup(from_units(units), torch.float32)
    assert lookup.cells is not None
    assert lookup(sign * torch.tensor([-0.0, 0.0, -0.5, 0.5, -7.0, -1e30])).tolist() == [0] * 6
    assert worst_error(lookup, units, probes(from_units(units), torch.float32)) <= 1


@pytest.mark.parametrize("x", [[1e-60, -1e-60, 5e-324, 0.0], [1.1e-45, -1.1e-45, 1e-44, 1.0, -1.0]], ids=str)
def test_breakpoints_below_the_normal_numbers_of_float32_are_searched(x):
    """Where bits of float32 would tell them apart no more."""
    units = [(1.0, 0.0, 1.1e20), (-1.0, 0.0, -1.1e20), (1.0, -1.1e-45 * (1 + 2.0**-20), 1.0)]
    lookup = Lookup(from_units(units), torch.float64)
    assert lookup.representable
    assert lookup.cells is None
    assert worst_error(lookup, units, torch.tensor(x, dtype=torch.float64)) <= 1


@pytest.mark.parametrize(("bits", "octaves", "table"), [(10, 15, True), (10, 16, False), (13, 1, True), (13, 2, False)])
def test_a_table_has_a_moderate_number_of_cells(bits, octaves, table):
    """To tell 1 from 1 + 2^−bits, an octave has 2^bits cells."""
    function = from_units([(1.0, -point, 3.0) for point in (1.0, 1 + 2.0**-bits, 2.0**octaves)])
    cells = Lookup(function, torch.float64).cells
    assert (cells is not None) == table
    assert (octaves * 2**bits + 3 <= LARGEST_CELLS) == table
    assert cells is None or octaves * 2**bits < len(cells.t) <= LARGEST_CELLS


@each_dtype
@each_sign
@pytest.mark.parametrize("name", ["log left", "square"])
def test_nan_gives_nan(name, sign, dtype):
    found = Lookup(from_units(units_of(NETWORKS[name], sign)), dtype)(torch.tensor([nan, 1.0, -nan], dtype=dtype))
    assert found.isnan().tolist() == [True, False, True]


@pytest.mark.parametrize("units", [[(1.0, 3.0, 2.0), (-2.0, 1.0, 1.0)], [(1.0, 3.0, 2.0)], [(0.0, 7.0, 5.0)]])
def test_a_lookup_is_finite_unless_a_slope_leaves_the_format(units):
    assert Lookup(from_units(units), torch.float32).representable
    steep = [*units, (2.0**70, 1.0, 2.0**60)]  # a slope of about 1e39
    assert not Lookup(from_units(steep), torch.float32).representable
    assert not Lookup(from_units(steep), torch.bfloat16).representable
    assert Lookup(from_units(steep), torch.float64).representable


@pytest.mark.parametrize(
    ("unit", "dtype"),
    [
        ((2.0**-100, 2.0**100, 1.0), torch.float32),  # the breakpoint −2^200
        ((2.0**-100, -(2.0**100), 1.0), torch.float32),
        ((1e-200, 1e200, 1.0), torch.float64),  # −1e400
        ((1e-200, -1e200, 1.0), torch.float64),
        ((2.0**100, 2.0**-100, 1.0), torch.float32),  # −2^-200
        ((2.0**-100, 0.0, 2.0**-100), torch.float32),  # the slope 2^-200
    ],
    ids=str,
)
def test_a_number_that_the_format_rounds_to_0_or_infinity_is_not_representable(unit, dtype):
    assert not Lookup(from_units([unit]), dtype).representable
    assert not Lookup(from_units([(1.0, -1.0, 3.0), unit]), dtype).representable
    assert dtype == torch.float64 or Lookup(from_units([unit]), torch.float64).representable


@each_sign
@pytest.mark.parametrize("name", ["log left", "square"])
def test_points_of_any_shape_are_read_and_left_alone(name, sign, rng):
    lookup = Lookup(from_units(units_of(NETWORKS[name], sign)), torch.float64)
    x = torch.tensor(rng.standard_normal((3, 5, 7)) * 4)
    before, found = x.clone(), lookup(x)
    assert found.shape == (3, 5, 7)
    assert torch.equal(found, torch.stack([lookup(row) for row in x.view(15, 7)]).view(3, 5, 7))
    assert torch.equal(x, before)
    assert len(found.unique()) > 1


def test_a_table_is_read_at_points_of_any_layout(rng):
    lookup = Lookup(from_units(units_of(NETWORKS["log left"])), torch.float64)
    x = torch.tensor(rng.uniform(0, 23, size=(3, 5, 7)))
    assert lookup.cells is not None
    assert torch.equal(lookup(x.mT), lookup(x).mT)
    assert torch.equal(lookup(x[..., 2]), lookup(x)[..., 2])
    assert not torch.equal(lookup(x[..., 2]), lookup(x[..., 3]))


def test_a_search_is_made_at_points_of_any_layout(rng):
    """Without a warning of torch that it copies them."""
    lookup = Lookup(from_units(units_of(NETWORKS["square"])), torch.float64)
    x = torch.tensor(rng.uniform(-5, 5, size=(3, 5, 7)))
    assert lookup.cells is None
    assert not x.mT.is_contiguous()
    assert torch.equal(lookup(x.mT), lookup(x).mT)
    assert torch.equal(lookup(x[..., 2]), lookup(x)[..., 2])
