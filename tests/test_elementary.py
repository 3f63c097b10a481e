"""One formula in floats and in balls: the float is math's, and the ball encloses the function on all of it."""

import math

import flint
import pytest

from constructions import elementary

arb = flint.arb
DOMAIN = {
    "exp": (-30.0, 40.0),
    "expm1": (-30.0, 40.0),
    "log": (1e-9, 1e9),
    "log1p": (-0.999, 1e9),
    "sqrt": (0.0, 1e9),
    "sinh": (-30.0, 40.0),
    "tanh": (-3.0, 4.0),
}


@pytest.mark.parametrize("name", DOMAIN)
def test_floats_and_balls_agree_and_balls_enclose(name, rng):
    function, low, high = getattr(elementary, name), *DOMAIN[name]
    for x in rng.uniform(low, high, 17).tolist():
        assert function(x) == getattr(math, name)(x)
        thin = function(arb(x))
        with flint.ctx.workprec(300):
            exact = function(arb(x))
        assert thin.contains(exact.mid())
        assert abs(float(thin) - function(x)) <= 1e-14 * abs(function(x))
        ends = sorted(rng.uniform(low, high, 2).tolist())
        wide = function(arb(ends[0]).union(arb(ends[1])))
        assert all(wide.contains(function(arb(end))) for end in (*ends, sum(ends) / 2))  # all are increasing


@pytest.mark.parametrize("name", ["expm1", "log1p", "sinh", "tanh"])
def test_small_numbers_do_not_cancel(name):
    found = getattr(elementary, name)(arb(1e-30))
    assert abs(found / arb(1e-30) - 1) < arb(2) ** -50


def test_a_root_cuts_off_what_a_ball_holds_below_zero():
    root = elementary.sqrt(arb(0, 1e-20))
    assert root.is_finite()
    assert all(root.contains(arb(x)) for x in (0.0, 3e-11, 0.99e-10))
    assert root < 2e-10
    assert elementary.sqrt(arb(0)) == 0
    assert not elementary.sqrt(arb("nan")).is_finite()
    assert not elementary.sqrt(arb(0, math.inf)).is_finite()


def test_a_logarithm_of_what_may_be_zero_is_unknown():
    assert not elementary.log(arb(1, 1)).is_finite()
    assert not elementary.log1p(arb(0, 1)).is_finite()
