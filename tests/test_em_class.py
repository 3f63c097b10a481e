"""The class of tasks, and how a tolerance is split over the networks and A."""

from math import exp, inf, log, nan, tanh

import numpy as np
import pytest

from constructions import bounds, rounding_error
from constructions.em_class import Approximation, TaskClass, split_tolerance
from constructions.errors import InputError
from constructions.relu_networks import chord_error, lemma_f4_units

UNIT = 2.0**-53
CLASSES = [
    TaskClass(7, 11, 6.0, 0.02),
    TaskClass(1, 1, 0.5, 0.5),
    TaskClass(3, 5, 2.0, 0.3),
    TaskClass(13, 2, 17.0, 1e-4),
]


def test_errors_and_networks_follow_from_the_sizes():
    approximation = Approximation("paper", 9.0, 5.0, 31, 6.0, 13)
    assert approximation.chord_width == 14 / 31
    assert approximation.log_error == chord_error(14 / 31)
    assert approximation.square_error == (6 / 13) ** 2 / 4
    assert approximation.logit_error(7) == approximation.log_error + 7 * approximation.square_error / 2
    networks = approximation.networks()
    assert networks["log"].units == approximation.log_units == 32  # 31 chords and a constant
    assert networks["square"].units == 2 * 13
    assert (networks["log"].w <= 0).all()  # left-facing
    ends = np.exp([-9.0, 5.0, 6.0])  # exact at the ends, constant beyond the upper one
    np.testing.assert_allclose(networks["log"](ends), [-9, 5, 5], rtol=rounding_error.gamma(200, UNIT))
    np.testing.assert_allclose(networks["square"](np.array([6.0, -6.0])), 36, rtol=rounding_error.gamma(100, UNIT))
    assert Approximation("floor", 9.0, 0.0, 31, 6.0, 13).log_units == 31


@pytest.mark.parametrize("fraction", [0.9, 0.1, 0.003])
@pytest.mark.parametrize("task_class", CLASSES, ids=str)
def test_the_tolerance_is_kept_with_every_part_used(task_class, fraction):
    """The one-step bound at its worst over the class is at most ε, and no network is needlessly large."""
    b, d, low = task_class.radius, task_class.max_dim, task_class.min_weight
    tolerance = fraction * 2 * b
    floor, paper = (split_tolerance(task_class, tolerance, c) for c in ("floor", "paper"))
    for approximation in (floor, paper):
        logit_error = approximation.logit_error(d)
        assert logit_error == approximation.log_error + d * approximation.square_error / 2
        assert bounds.m_step(approximation, 2 * b, low, logit_error) <= tolerance
        assert approximation.radius == b
    for approximation, log_share, square_share in ((floor, 3, 3), (paper, 2, 2)):  # every part keeps to its own share
        assert b * approximation.log_error <= tolerance / log_share
        assert b * d * approximation.square_error / 4 <= tolerance / square_share * (1 + 8 * UNIT)
    assert floor.log_a == pytest.approx(log(6 * b / (tolerance * low)), rel=8 * UNIT, abs=0)
    assert (floor.log_high, paper.log_high) == (0, paper.log_a)
    assert paper.log_a >= 2 * b**2 + log(1 / low) + paper.logit_error(d)  # no responsibility below 1/A
    assert paper.segments + 1 == lemma_f4_units(paper.log_a, tolerance / (2 * b))  # the width of the lemma
    assert paper.chord_width == pytest.approx(2 * paper.log_a / paper.segments, rel=8 * UNIT, abs=0)
    if floor.segments > 10 and floor.pieces > 10:  # rounding up to whole chords costs little
        worst = 2 * b * (tanh(floor.logit_error(d) / 4) + tanh(floor.log_error / 4) + 1 / (1 + exp(floor.log_a) * low))
        assert worst > 0.6 * tolerance


@pytest.mark.parametrize("tolerance", [0.0, -1.0, 12.0, 100.0, nan, inf])
def test_a_tolerance_without_meaning_is_refused(tolerance):
    with pytest.raises(InputError, match=rf"tolerance is {tolerance}; it must lie in \[1.2e-11, 12\)"):
        split_tolerance(CLASSES[0], tolerance, "floor")


@pytest.mark.parametrize(
    ("numbers", "fault"),
    [
        ((0, 1, 1.0, 0.1), "dimension is 0"),
        ((1, 0, 1.0, 0.1), "components is 0"),
        ((1, 1, 0.0, 0.1), "radius is 0.0"),
        ((1, 1, inf, 0.1), "radius is inf"),
        ((1, 1, nan, 0.1), "radius is nan"),
        ((1, 1, 1.0, 0.0), "weight is 0.0"),
        ((1, 1, 1.0, 0.51), "weight is 0.51"),
        ((1, 1, 1.0, nan), "weight is nan"),
    ],
)
def test_a_class_without_meaning_is_refused(numbers, fault):
    with pytest.raises(InputError, match=fault):
        TaskClass(*numbers)
