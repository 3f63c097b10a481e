"""Softmax of balls: the corners of a box, classes of several scores, and scores of every size."""

import math

import flint
import numpy as np
import pytest

from constructions.balls import fill, to_balls
from constructions.interval_softmax import _shifted, softmax

arb = flint.arb


def shares(scores, copies):
    """The definition, at 400 bits."""
    with flint.ctx.workprec(400):
        terms = [m * arb(s).exp() for s, m in zip(scores, copies, strict=True)]
        return [term / sum(terms, arb(0)) for term in terms]


def test_thin_scores_in_several_rows(rng):
    scores, copies = 5 * rng.standard_normal((3, 7)), [1, 2, 1, 5, 3, 1, 11]
    with flint.ctx.workprec(90):
        found = softmax(to_balls(scores), copies)
    assert found.shape == (3, 7)
    for row, enclosures in zip(scores.tolist(), found, strict=True):
        for exact, enclosure in zip(shares(row, copies), enclosures, strict=True):
            assert enclosure.contains(exact.mid())
            assert float(enclosure.rad()) < 1e-24


def test_the_ends_are_the_values_at_the_corners():
    """Entry j is largest where its own score is high and all others are low, whatever their multiplicities."""
    low, high, copies = [-1.0, 2.0, 0.0], [1.0, 2.5, 5.0], [2, 3, 7]
    box = fill([arb(a).union(arb(b)) for a, b in zip(low, high, strict=True)], (1, 3))
    for j, enclosure in enumerate(softmax(box, copies)[0]):
        most = shares([high[k] if k == j else low[k] for k in range(3)], copies)[j]
        least = shares([low[k] if k == j else high[k] for k in range(3)], copies)[j]
        assert abs(enclosure.upper() - most) < 1e-7  # the ends of a union are known to 30 bits of its radius
        assert abs(enclosure.lower() - least) < 1e-7
        assert enclosure.contains(most.mid())
        assert enclosure.contains(least.mid())


def test_the_scores_of_a_class_may_differ_within_its_ball(rng):
    """Three scores of one ball and two of another, taken together: their shares sum to a number of the enclosure."""
    found = softmax(fill([arb(0.25, 1.5), arb(-0.5, 0.75)], (1, 2)), [3, 2])[0]
    for _ in range(29):
        away = rng.choice([-1.0, 1.0], 5) if rng.random() < 0.5 else rng.uniform(-1, 1, 5)
        exact = shares([*(0.25 + 1.5 * away[:3]), *(-0.5 + 0.75 * away[3:])], [1] * 5)
        for enclosure, total in zip(found, (sum(exact[:3], arb(0)), sum(exact[3:], arb(0))), strict=True):
            assert enclosure.contains(total.mid())


def test_one_class_has_all():
    assert softmax(fill([arb(-7, 3)], (1, 1)), [5])[0, 0] == 1


@pytest.mark.parametrize("gap", [1e3, 1e6, 1e9])
def test_shares_that_no_float_holds(gap):
    small, large = softmax(to_balls(np.array([[-gap / 2, gap / 2]])), [1, 1])[0]
    assert small > 0
    assert abs(small.log() / -gap - 1) < 1e-6
    assert large.upper() >= 1
    assert 1 - large < 1e-15


@pytest.mark.parametrize("lost", [arb("nan"), arb(0, math.inf)], ids=str)
def test_nothing_is_said_when_a_score_is_lost(lost):
    """A score that is unknown leaves all shares unknown: wherever it is, they are in the enclosures."""
    found = softmax(fill([lost, arb(0), arb(1)], (1, 3)), [1, 1, 1])[0]
    for score in (-(10.0**5), 0.5, 10.0**5):
        for enclosure, share in zip(found, shares([score, 0.0, 1.0], [1, 1, 1]), strict=True):
            assert not enclosure.is_finite() or enclosure.contains(share.mid())


@pytest.mark.parametrize("score", [arb.neg_inf(), arb(-1e300)], ids=["-inf", "-1e300"])
def test_a_score_below_all_others_leaves_them_their_shares(score):
    """Its own share is 0 as far as balls see; the others are those without it."""
    found = softmax(fill([score, arb(0), arb(1)], (1, 3)), [1, 1, 1])[0]
    assert found[0].contains(0)
    assert abs(found[0]) < 1e-300
    for enclosure, share in zip(found[1:], shares([0.0, 1.0], [1, 1]), strict=True):
        assert enclosure.overlaps(share)
        assert enclosure.rad() < 1e-12


def test_shifted_rows_are_the_same_rows(rng):
    """Scores of ordinary size, thin and wide: the same enclosures as without the shift, up to rounding."""
    copies = [3, 1, 2, 7]
    for width in (0.0, 1.5):
        for row in rng.standard_normal((7, 4)):
            balls = [arb(score, width) for score in row.tolist()]
            for plain, shifted in zip(softmax(fill(balls, (1, 4)), copies)[0], _shifted(balls, copies), strict=True):
                assert abs(plain.lower() - shifted.lower()) < 1e-9
                assert abs(plain.upper() - shifted.upper()) < 1e-9
            exact = shares(row.tolist(), copies)
            assert all(ball.contains(share.mid()) for ball, share in zip(_shifted(balls, copies), exact, strict=True))


def test_shifted_rows_of_scores_beyond_the_powers_of_a_ball():
    """Of those that tie for the largest score, 1 to 3, are all shares; e^s is no number of a ball."""
    huge = arb(2) ** 10**9
    assert not (huge.exp() > 0 and huge.exp().is_finite())
    for score in (huge, arb(0), -huge):
        for exact, found in zip((0, 0.25, 0.75), _shifted([score - huge, score, score], [5, 1, 3]), strict=True):
            assert found.contains(exact)
            assert found.rad() < 1e-15


def test_shifted_rows_of_which_nothing_is_known():
    """A share lies in [0, 1] whatever the scores; of a score far below two wide ones, it is as good as 0."""
    for lost in (arb("nan"), arb(0, math.inf), arb.pos_inf()):
        for found in _shifted([lost, arb(1)], [1, 1]):
            assert found.contains(0)
            assert found.contains(1)
            assert found.rad() < 0.51
    for size in (1e8, 1e300):
        *wide, below = _shifted([arb(0, size), arb(0, size), arb(-3 * size)], [1, 1, 1])
        for found in wide:
            assert found.contains(1e-9)
            assert found.contains(1 - 1e-9)
            assert found.rad() < 0.51
        assert 0 <= below.upper() < (1e-30 if size == 1e8 else 2.1)


def test_shifted_rows_of_which_one_end_is_unknown():
    """Two scores that may both be −10^300, far below the largest that one of them may be: either may have half."""
    for found in _shifted([arb(0, 1e300), arb(-1e300, 1e299)], [1, 1]):
        assert found.contains(0.5)
