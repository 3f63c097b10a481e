"""The rounding allowance: how it grows, what it counts, when it is infinite."""

from math import inf

import numpy as np
import pytest
import torch

from constructions import rounding_error
from constructions.em_class import Approximation

UNIT = 2.0**-53


def test_gamma():
    assert rounding_error.gamma(1, UNIT) == UNIT / (1 - UNIT)
    assert rounding_error.gamma(100, UNIT) == pytest.approx(100 * UNIT, rel=200 * UNIT, abs=0)
    assert rounding_error.gamma(64, 2.0**-8) == 1 / 3  # bfloat16
    assert rounding_error.gamma(256, 2.0**-8) == rounding_error.gamma(1e6, 2.0**-8) == inf


def test_rounding_grows_with_the_unit_and_may_be_infinite(rng):
    approximation = Approximation("floor", 9.0, 0.0, 31, 5.0, 13)
    samples, means = rng.standard_normal((23, 3)), rng.standard_normal((5, 3))
    double, single, half = (
        rounding_error.allowance(approximation, samples, means, 0.1, 6.0, dtype)
        for dtype in (torch.float64, torch.float32, torch.bfloat16)
    )
    for name in ("mean", "log_weight"):
        values = [getattr(allowance, name) for allowance in (double, single, half)]
        assert 0 < values[0] < 1e-10
        assert values[0] * 2**28 < values[1] < values[0] * 2**30  # units 2^-53 and 2^-24
        assert values[2] > 1
    many = np.tile(samples, (41, 1))
    assert rounding_error.allowance(approximation, many, means, 0.1, 6.0, torch.bfloat16).mean == inf
    assert rounding_error.allowance(None, samples, means, 0.1, 6.0, torch.float64).mean < double.mean


def test_rounding_counts_copies_that_differ_and_weights_that_underflow(rng):
    approximation = Approximation("floor", 9.0, 0.0, 31, 5.0, 13)
    samples, means = rng.standard_normal((23, 3)), rng.standard_normal((5, 3))

    def allowance(weight: float = 0.1, spread: tuple[float, float] = (0.0, 0.0)) -> rounding_error.Allowance:
        return rounding_error.allowance(approximation, samples, means, weight, 6.0, torch.float64, spread)

    x, m = (np.linalg.norm(points, axis=1).max() for points in (samples, means))
    for spread, least in (((1e-3, 0.0), (x + m) * 1e-3), ((0.0, 1e-3), 1e-3)):
        # An error of the scores moves a log weight by twice as much.
        assert 2 * least <= allowance(spread=spread).log_weight - allowance().log_weight <= 4 * least
    assert allowance(1e-300).log_weight > 1e-8 > allowance(1e-290).log_weight  # N·tiny/π
    assert allowance(0.0).mean == allowance(0.0).log_weight == inf


def test_the_paper_construction_pays_for_responsibilities_below_its_floor(rng):
    """A quarter of what a log responsibility may be off, times the diameter, on top of what `floor` is allowed."""
    samples, means = rng.standard_normal((23, 3)), rng.standard_normal((5, 3))
    floor, paper = (
        rounding_error.allowance(Approximation(name, 9.0, 0.0, 31, 5.0, 13), samples, means, 0.1, 6.0, torch.float64)
        for name in ("floor", "paper")
    )
    eta = floor.log_weight - 2 * rounding_error.gamma(2 * 23 + 80, 2.0**-53)
    assert paper.log_weight == floor.log_weight
    assert paper.mean - floor.mean == pytest.approx(6.0 * eta / 4, rel=1e-6, abs=0)
