"""Floats, rationals, balls and expressions through one interface."""

from fractions import Fraction

import flint
import numpy as np
import pytest
import sympy

from constructions.number_system import FLOAT64, Balls, Float64, NumberSystem, Rationals, Symbols

SYSTEMS = [FLOAT64, Rationals(), Balls(), Symbols()]
IDS = [type(system).__name__ for system in SYSTEMS]


@pytest.mark.parametrize("numbers", SYSTEMS, ids=IDS)
def test_every_system_offers_the_same_operations(numbers):
    assert isinstance(numbers, NumberSystem)
    zeros = numbers.zeros((3, 5))
    assert zeros.shape == (3, 5)
    assert all(zero == 0 for zero in zeros.ravel())
    half, two = numbers.number(Fraction(1, 2)), numbers.number(2)
    assert half * two + two / two - two == numbers.number(0)
    zeros[1, 2] = half
    assert zeros[1, 2] == half
    assert zeros[2, 1] == 0


def test_floats_are_rounded_to_nearest():
    assert isinstance(FLOAT64, Float64)
    assert FLOAT64.number(Fraction(1, 3)) == 1 / 3
    assert FLOAT64.number(2**53 + 1) == 2.0**53
    assert FLOAT64.zeros((2,)).dtype == np.float64
    values = np.array([[-1.0, 0.0, 709.0]])
    assert np.array_equal(FLOAT64.exp(values), np.exp(values))
    assert FLOAT64.expm1(1e-20) == 1e-20  # e^x - 1 computed naively is 0


@pytest.mark.parametrize("value", [0, -7, 0.1, -1e-300, Fraction(-2, 3), Fraction(10**40, 3), 2**200])
def test_rationals_are_exact(value):
    number = Rationals().number(value)
    assert isinstance(number, flint.fmpq)
    assert Fraction(int(number.p), int(number.q)) == Fraction(value)


def test_rationals_refuse_what_is_irrational():
    with pytest.raises(TypeError, match="not rational"):
        Rationals().exp(Rationals().zeros((2,)))
    with pytest.raises(TypeError, match="not rational"):
        Rationals().expm1(Rationals().number(1))


@pytest.mark.parametrize("bits", [53, 128])
def test_balls_enclose(bits):
    with flint.ctx.workprec(bits):
        third = Balls().number(Fraction(1, 3))
        assert third.contains(flint.fmpq(1, 3))
        assert 0 < float(third.rad()) < 2.0 ** (1 - bits)
        for exact in (0.1, -7, 2.0**-1000):
            ball = Balls().number(exact)
            assert ball.is_exact()
            assert ball.contains(flint.arb(exact))
        values = np.array([[Balls().number(v) for v in (0, 1, -2)], [Balls().number(v) for v in (3, 800, -800)]])
        exponentials = Balls().exp(values)
        assert exponentials.shape == values.shape
        assert exponentials[0, 0] == 1
        # e is in the ball, and the balls of e^x and e^-x are consistent; 800 is beyond the range of a float.
        assert exponentials[0, 1].overlaps(flint.arb.const_e())
        assert (exponentials[1, 1] * exponentials[1, 2]).contains(1)
        assert float(exponentials[1, 1].rad() / exponentials[1, 1].mid()) < 800 * 2.0 ** (2 - bits)
        tiny = Balls().expm1(Balls().number(2.0**-300))
        assert float(tiny.rad() / tiny.mid()) < 2.0 ** (2 - bits)


@pytest.mark.parametrize("numbers", SYSTEMS, ids=IDS)
def test_relu_in_every_system(numbers):
    values = np.array([[numbers.number(x) for x in row] for row in ((-3, 0, 7), (Fraction(-1, 4), 0.25, 11))])
    before, got = values.copy(), numbers.relu(values)
    assert got.shape == (2, 3)
    assert got.dtype == values.dtype
    expected = [[0, 0, 7], [0, Fraction(1, 4), 11]]
    assert all(got[place] == numbers.number(expected[place[0]][place[1]]) for place in np.ndindex(2, 3))
    assert np.array_equal(values, before)


def test_relu_of_a_ball_across_zero():
    """[-1, 3] becomes an enclosure of [0, 3]."""
    (got,) = Balls().relu(np.array([flint.arb(1, 2)], dtype=object))
    assert got.contains(flint.arb(0))
    assert got.contains(flint.arb(3))
    assert not got.contains(flint.arb(-1.5))


def test_symbols_are_exact():
    assert Symbols().number(Fraction(-2, 3)) == sympy.Rational(-2, 3)
    assert Symbols().number(0.1) == sympy.Rational(*(0.1).as_integer_ratio())
    assert isinstance(Symbols().number(0.5), sympy.Rational)
    assert Symbols().zeros((2, 3)).dtype == object


def test_symbolic_functions():
    """relu(x) - relu(-x) = x for all real x: |x| and |-x| are written alike, however x is."""
    x, y, z = sympy.symbols("x y z", real=True)
    plus = np.array([x * (y - z), x], dtype=object)
    minus = np.array([x * z - x * y, -x], dtype=object)
    for first, second in zip(Symbols().relu(plus), Symbols().relu(minus), strict=True):
        assert len(first.atoms(sympy.Abs) | second.atoms(sympy.Abs)) == 1
    difference = Symbols().relu(plus) - Symbols().relu(minus)
    assert [sympy.expand(entry) for entry in difference] == [x * y - x * z, x]
    (relu,) = Symbols().relu(np.array([x], dtype=object))
    assert [relu.subs(x, value) for value in (-5, 0, 3)] == [0, 0, 3]
    assert list(Symbols().exp(np.array([x, sympy.Integer(0)], dtype=object))) == [sympy.exp(x), 1]
    assert Symbols().expm1(x) == sympy.exp(x) - 1
