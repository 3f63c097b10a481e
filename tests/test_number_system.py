"""Floats, rationals and balls through one interface."""

from fractions import Fraction

import flint
import numpy as np
import pytest

from constructions.number_system import FLOAT64, Balls, Float64, NumberSystem, Rationals

SYSTEMS = [FLOAT64, Rationals(), Balls()]
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
