"""Look-ups of piecewise-linear functions in three float formats, within a derived bound."""

from dataclasses import replace
from fractions import Fraction
from math import nan

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from relu_units import NETWORKS, SEARCHED, Units, around, each_dtype, each_network, each_sign, exact, size, units_of

from constructions.lookup import LARGEST_CELLS, Lookup
from constructions.piecewise_linear import PiecewiseLinear, from_units


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
    # a value of some thousands rounds a product to a thousand units of what is allowed, at almost every small point
    small = torch.tensor(np.random.default_rng(0).uniform(-1e-2, 1e-2, 97)).to(dtype)
    x = torch.cat([probes(function, dtype), small])
    assert worst_error(Lookup(function, dtype), units, x) <= 1
    point = Fraction(3 * sign)
    from_there = replace(function, anchors=(point, point), values=(function(point), function(point)))
    assert from_there(Fraction(1, 7)) == function(Fraction(1, 7))
    assert worst_error(Lookup(from_there, dtype), units, x) > 1


@each_dtype
@each_sign
@pytest.mark.parametrize("name", ["random", "random both"])
def test_a_rounded_anchor_costs_nothing(name, sign, dtype):
    """The segment's value is that at the anchor which the format holds, rounded once, not at the exact one."""
    function = from_units(units_of(NETWORKS[name], sign, dtype))
    lookup = Lookup(function, dtype)
    held = lookup.anchors.double().tolist()
    assert any(Fraction(anchor) != exact for anchor, exact in zip(held, function.anchors, strict=True))
    lines = zip(held, function.anchors, function.values, function.slopes, strict=True)
    expected = [float(value + slope * (Fraction(anchor) - exact)) for anchor, exact, value, slope in lines]
    assert torch.equal(lookup.values, torch.tensor(expected, dtype=torch.float64).to(dtype))


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


@each_dtype
def test_the_least_normal_number_is_representable(dtype):
    least = torch.finfo(dtype).tiny
    assert Lookup(from_units([(1.0, -1.0, least)]), dtype).representable
    assert not Lookup(from_units([(1.0, -1.0, least / 2)]), dtype).representable


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
