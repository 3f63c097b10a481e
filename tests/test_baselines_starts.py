"""Starts against the distributions that define them; each chi-square test has false-alarm probability 1e-7."""

from itertools import combinations, permutations

import numpy as np
import pytest
from scipy.stats import chi2

from tgmm.baselines import starts
from tgmm.baselines.starts import distinct_samples, farthest_first, kmeans_plus_plus, standard_normal

FALSE_ALARM = 1e-7
POINTS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 3.0], [-1.0, 2.5]])


def indices(means):
    """Which of POINTS every mean is, (B, K)."""
    same = (means[:, :, None] == POINTS).all(axis=-1)
    assert (same.sum(axis=-1) == 1).all()
    return same.argmax(axis=-1)


def require_distribution(drawn, probabilities):
    """Pearson's statistic of tuples against their exact probabilities."""
    count = dict.fromkeys(probabilities, 0)
    for cell in map(tuple, drawn.tolist()):
        count[cell] += 1  # a tuple of probability 0 is a KeyError
    observed, expected = np.array(list(count.values())), len(drawn) * np.array(list(probabilities.values()))
    assert expected.sum() == pytest.approx(len(drawn), rel=1e-12, abs=0)
    assert expected.min() >= 20
    statistic = ((observed - expected) ** 2 / expected).sum()
    assert statistic <= chi2.isf(FALSE_ALARM, len(probabilities) - 1)


def tiled(count):
    return np.broadcast_to(POINTS, (count, *POINTS.shape))


def test_kmeans_plus_plus_has_the_probabilities_of_d2_seeding(rng):
    """All ordered triples of five points."""
    squared = ((POINTS[:, None] - POINTS) ** 2).sum(axis=-1)
    probabilities = {}
    for triple in permutations(range(5), 3):
        probability = 1 / 5
        for chosen in (1, 2):
            nearest = squared[:, triple[:chosen]].min(axis=1)
            probability *= nearest[triple[chosen]] / nearest.sum()
        probabilities[triple] = probability
    require_distribution(indices(kmeans_plus_plus(tiled(40_000), 3, rng)), probabilities)


def test_distinct_samples_are_distinct_and_every_set_is_equally_likely(rng):
    drawn = indices(distinct_samples(tiled(5_000), 3, rng))
    assert all(len(set(row)) == 3 for row in drawn.tolist())
    sets = dict.fromkeys(combinations(range(5), 3), 1 / 10)
    require_distribution(np.sort(drawn, axis=1), sets)
    require_distribution(drawn[:, :1], {(index,): 1 / 5 for index in range(5)})


def test_standard_normal_means_are_standard(rng):
    means = standard_normal(np.full((1009, 7, 3), 50.0), 5, rng)
    assert means.shape == (1009, 5, 3)
    size = means.size
    assert abs(means.mean()) <= 5.4 / np.sqrt(size)  # P(|z| > 5.4) < 1e-7
    assert abs((means**2).mean() - 1) <= 5.8 * np.sqrt(2 / size)  # of chi-square, whose tail is a little heavier
    assert len(np.unique(means)) == size


@pytest.mark.parametrize("draw", [distinct_samples, kmeans_plus_plus])
def test_every_task_has_its_own_samples(draw, rng):
    samples = rng.standard_normal((11, 7, 3)) + 100 * np.arange(11)[:, None, None]
    means = draw(samples, 5, rng)
    assert means.shape == (11, 5, 3)
    for task in range(11):
        assert {tuple(mean) for mean in means[task]} <= {tuple(x) for x in samples[task]}


def test_a_sample_equal_to_a_centre_is_no_further_centre_while_others_are_left(rng):
    samples = np.zeros((101, 7, 2))
    samples[:, 3] = [1.0, 2.0]
    two = kmeans_plus_plus(samples, 2, rng)
    assert (two.sum(axis=(1, 2)) == 3).all()
    assert (two[:, 0] == two[:, 1]).all(axis=1).sum() == 0
    three = kmeans_plus_plus(samples, 3, rng)  # more than there are distinct samples
    assert (three[:, :2].sum(axis=(1, 2)) == 3).all()
    assert {0.0, 1.0} == set(three[:, 2, 0])


def test_farthest_first_against_loops(rng):
    """Three of seven centres are allowed in some tasks, none in others: four are chosen."""
    centres, allowed = rng.standard_normal((53, 7, 3)), rng.random((53, 7)) < 0.6
    allowed[0], allowed[1], allowed[2] = False, np.arange(7) < 3, np.arange(7) == 5
    chosen = farthest_first(centres, allowed, 4, rng)
    assert chosen.shape == (53, 4)
    for points, may, found in zip(centres, allowed, chosen.tolist(), strict=True):
        assert may[found[0]] or not may.any()
        kept = found[:1]
        while len(kept) < 4:
            rest = [index for index in range(7) if index not in kept]
            preferred = [index for index in rest if may[index]] or rest
            kept.append(max(preferred, key=lambda i: min(np.linalg.norm(points[i] - points[j]) for j in kept)))
        assert found == kept


def test_the_first_centre_is_any_of_the_allowed(rng):
    allowed = np.tile(np.array([True, False, True, True, False]), (3_000, 1))
    first = farthest_first(tiled(3_000), allowed, 1, rng)
    require_distribution(first, {(index,): 1 / 3 for index in (0, 2, 3)})


def test_a_uniform_number_of_0_meets_no_sample_without_mass():
    class Zeros(np.random.Generator):
        def random(self, size=None):
            return np.zeros(size)

    masses = np.array([[0.0, 0.0, 1.0, 2.0], [3.0, 0.0, 0.0, 0.0]])
    assert starts._by_inversion(masses, Zeros(np.random.PCG64(0))).tolist() == [2, 0]
