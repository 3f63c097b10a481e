"""Every distribution of Algorithm 1, statistically: each comparison has a false-alarm probability of at most 1e-8.

No test makes as many as 100 of them, so each test's is below 1e-6; the seeds are fixed besides.
"""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import pdist

from constructions.errors import InputError
from constructions.rounding_error import gamma
from tgmm.tasks import MOST_PROPOSED, TaskDistribution, Tasks, draw

ALPHA = 1e-8
SIGMAS = float(stats.norm.isf(ALPHA / 2))
UNIT = 2.0**-53
EVERYTHING = TaskDistribution(
    dim=3, components=(2, 5, 7), samples=(11, 29), mean_range=4.0, max_cosine=0.7, weights=(0.1, 0.9), anisotropic=True
)


def assert_law(values: np.ndarray, law: object) -> None:
    """Kolmogorov-Smirnov, one or two samples."""
    found = stats.ks_2samp(values, law) if isinstance(law, np.ndarray) else stats.kstest(values, law.cdf)
    assert found.pvalue > ALPHA


def assert_uncorrelated(*columns: np.ndarray) -> None:
    """√n r is nearly standard normal for every pair."""
    for a, b in combinations(columns, 2):
        assert abs(np.corrcoef(a, b)[0, 1]) * np.sqrt(len(a)) < SIGMAS


def assert_standard(values: np.ndarray) -> None:
    """Standard normal: the sum of every column, and of its squares."""
    n = len(values)
    z = np.concatenate([values.mean(axis=0) * np.sqrt(n), ((values**2).mean(axis=0) - 1) * np.sqrt(n / 2)])
    assert np.abs(z).max() < SIGMAS


def largest_cosines(means: np.ndarray) -> np.ndarray:
    """Over all pairs of means of a task, one pair at a time."""
    pairs = combinations(range(means.shape[1]), 2)
    norm = np.linalg.norm
    return np.max(
        [(means[:, j] * means[:, k]).sum(1) / norm(means[:, j], axis=1) / norm(means[:, k], axis=1) for j, k in pairs],
        axis=0,
    )


@pytest.fixture(scope="module")
def many() -> Tasks:
    """4 001 tasks of unlike K, n and scales."""
    return draw(EVERYTHING, 4001, np.random.default_rng(17))


@pytest.fixture(scope="module")
def noise(many: Tasks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is left of every sample that is not padding, (x − μ)/σ of its own component; its task and its label."""
    task, _ = np.nonzero(many.mask)
    label = many.labels[many.mask]
    left = (many.samples[many.mask] - many.truth.means[task, label]) / many.truth.scales[task, label]
    return left, task, label


def test_components_and_sizes_are_uniform_and_independent(many):
    sizes = many.mask.sum(axis=1)
    table = np.array([[((many.components == k) & (sizes == n)).sum() for n in range(11, 30)] for k in (2, 5, 7)])
    assert table.sum() == 4001  # nothing outside
    assert stats.chisquare(table.sum(axis=1)).pvalue > ALPHA
    assert stats.chisquare(table.sum(axis=0)).pvalue > ALPHA
    assert stats.chi2_contingency(table).pvalue > ALPHA
    following = stats.contingency.crosstab(many.components[:-1], many.components[1:]).count
    assert stats.chi2_contingency(following).pvalue > ALPHA  # nor does a task say what the next one's K is


def test_a_single_mean_is_uniform_on_the_box():
    tasks = draw(
        TaskDistribution(dim=3, components=(1,), samples=(1, 1), mean_range=7.0), 2003, np.random.default_rng(1)
    )
    for coordinate in tasks.truth.means[:, 0].T:
        assert_law(coordinate, stats.uniform(-7, 14))
    assert 6.95 < np.abs(tasks.truth.means).max() <= 7  # below 6.95 all 6 009 numbers with probability 2e-19
    assert_uncorrelated(*tasks.truth.means[:, 0].T)
    assert (tasks.truth.weights == 1).all()


def test_means_are_those_of_a_plain_rejection_loop():
    """At a cosine limit of 0.2 in the plane, where drawing only one mean again would change the angles.

    μ_1 and μ_2 would then be at an angle that is uniform, up to the box's corners, from arccos 0.2 = 78.5° on, while
    the third's freedom favours small ones: at 120° the distribution functions are 0.41 and 0.56. Of 6 007 and 2 003
    tasks a distance above 0.081 has probability 1e-8.
    """
    limited = TaskDistribution(dim=2, components=(3,), samples=(1, 1), max_cosine=0.2)
    means = draw(limited, 6007, np.random.default_rng(2)).truth.means
    rng, accepted = np.random.default_rng(3), []
    while len(accepted) < 2003:
        proposed = rng.uniform(-5, 5, size=(3, 2))
        unit = proposed / np.sqrt((proposed**2).sum(axis=1, keepdims=True))
        if (unit @ unit.T - 2 * np.eye(3)).max() <= 0.2:
            accepted.append(proposed)
    plain = np.array(accepted)
    for k in range(3):
        for a in range(2):
            assert_law(means[:, k, a], plain[:, k, a])
    for j, k in combinations(range(3), 2):
        assert_law(*(largest_cosines(m[:, [j, k]]) for m in (means, plain)))
        assert_law(*(np.linalg.norm(m[:, j] - m[:, k], axis=1) for m in (means, plain)))


def test_no_pair_of_means_is_more_alike_than_allowed(many):
    for k in (2, 5, 7):
        cosines = largest_cosines(many.truth.means[many.components == k, :k])
        assert cosines.max() <= 0.7 + gamma(20, UNIT)
        assert cosines.max() > 0.65  # the limit is used: of over 1 000 tasks none between is far less likely than 1e-8


def test_a_limit_of_one_rejects_nothing():
    """K = 2 in dimension 1: the cosine is 1 in half of the draws."""
    free = TaskDistribution(dim=1, components=(2,), samples=(1, 1), max_cosine=1.0)
    same = (draw(free, 1009, np.random.default_rng(5)).truth.means.prod(axis=1) > 0).sum()
    assert stats.binomtest(int(same), 1009).pvalue > ALPHA
    opposite = draw(replace(free, max_cosine=-1.0), 101, np.random.default_rng(5)).truth.means
    assert (opposite.prod(axis=1) < 0).all()


def test_weights_are_uniform_then_normalised():
    """Two of a task have a ratio of at most 0.9/0.1, and come close to it."""
    plain = TaskDistribution(dim=1, components=(2, 3), samples=(1, 1), max_cosine=1.0, weights=(0.1, 0.9))
    tasks = draw(plain, 40_009, np.random.default_rng(41))
    for k in (2, 3):
        own = tasks.truth.weights[tasks.components == k, :k]
        assert np.abs(own.sum(axis=1) - 1).max() <= gamma(k, UNIT)
        uniform = np.random.default_rng(k).uniform(0.1, 0.9, size=own.shape)
        uniform /= uniform.sum(axis=1)[:, None]
        for component in range(k):
            assert_law(own[:, component], uniform[:, component])
        ratios = own[:, 0] / own[:, 1]
        assert_law(ratios, uniform[:, 0] / uniform[:, 1])
        assert 1 / 9 <= ratios.min() * (1 + 4 * UNIT) < 1 / 7
        assert 7 < ratios.max() * (1 - 4 * UNIT) <= 9


def test_scales_are_softplus_of_a_uniform_number_for_every_component_and_coordinate(many):
    u = np.log(np.expm1(many.truth.scales[many.components == 7])).reshape(-1, 21)
    for column in u.T:
        assert_law(column, stats.uniform(-1, 2))
    assert 0.995 < u.max() <= 1 + 1e-12  # of 20 000 numbers one is outside with probability 1 - 1e-20
    assert -1 - 1e-12 <= u.min() < -0.995
    for column in range(1, 21):
        assert_uncorrelated(u[:, 0], u[:, column])
    assert (draw(replace(EVERYTHING, anisotropic=False), 13, np.random.default_rng(1)).truth.scales == 1).all()


def test_a_perturbation_is_normal_and_comes_after_the_cosines():
    """Means from a box of 1e-6: what is seen is the perturbation, whose cosines nothing limits."""
    shifted = TaskDistribution(
        dim=2, components=(2, 3), samples=(1, 1), mean_range=1e-6, max_cosine=0.1, perturbation=1.7
    )
    tasks = draw(shifted, 3001, np.random.default_rng(7))
    three = tasks.truth.means[tasks.components == 3].reshape(-1, 6)
    for column in three.T:
        assert_law(column, stats.norm(scale=1.7))
    assert_standard(three / 1.7)
    assert_uncorrelated(*three.T)
    alike = tasks.truth.means[tasks.components == 2, :2]
    above = int((largest_cosines(alike) > 0.1).sum())
    assert stats.binomtest(above, len(alike), np.arccos(0.1) / np.pi).pvalue > ALPHA
    assert not tasks.truth.means[tasks.components == 2, 2].any()


def test_a_perturbation_of_accepted_means_adds_its_variance():
    plain = TaskDistribution(dim=2, components=(1,), samples=(1, 1), mean_range=3.0)
    moved = draw(replace(plain, perturbation=2.0), 20_011, np.random.default_rng(11)).truth.means.ravel()
    expected = np.random.default_rng(12).uniform(-3, 3, 40_009) + np.random.default_rng(13).normal(0, 2, 40_009)
    assert_law(moved, expected)


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_separation_is_the_least_distance(dim):
    apart = TaskDistribution(dim=dim, components=(2, 7), samples=(3, 5), separation=1.3)
    tasks = draw(apart, 11, np.random.default_rng(19))
    for means, k in zip(tasks.truth.means, tasks.components.tolist(), strict=True):
        # as in test_sampling.py
        assert pdist(means[:k]).min() == pytest.approx(1.3, rel=16 * k * gamma(4 * dim + k, UNIT), abs=0)
    if dim > 1:
        directions = [means[1] - means[0] for means in tasks.truth.means]
        assert len(np.unique(np.round(directions, 6), axis=0)) == 11  # every grid is rotated by itself


def test_labels_have_the_probabilities_of_the_weights(many):
    """Each component's total over all tasks, and Pearson's statistic of every task: about normal, over 4 001 tasks."""
    sizes, weights, k = many.mask.sum(axis=1)[:, None], many.truth.weights, many.components
    counts = np.array([(many.labels == component).sum(axis=1) for component in range(7)]).T
    z = (counts - sizes * weights).sum(axis=0) / np.sqrt((sizes * weights * (1 - weights)).sum(axis=0))
    assert np.abs(z).max() < SIGMAS
    present = np.arange(7) < k[:, None]
    assert not counts[~present].any()
    expected = np.where(present, sizes * weights, 1.0)
    pearson = np.where(present, (counts - expected) ** 2 / expected, 0.0).sum(axis=1)
    inverses = np.where(present, 1 / np.where(present, weights, 1.0), 0.0).sum(axis=1)
    variance = 2 * (k - 1) + (inverses - k**2 - 2 * k + 2) / sizes[:, 0]
    assert abs((pearson - (k - 1)).sum()) / np.sqrt(variance.sum()) < SIGMAS


def test_the_order_of_the_samples_says_nothing(many):
    """At 11 samples, which every task has: each has the component 0 as often, and neighbours are independent."""
    first = (many.labels[:, :11] == 0) - many.truth.weights[:, :1]
    spread = (many.truth.weights[:, :1] * (1 - many.truth.weights[:, :1])).sum()
    assert np.abs(first.sum(axis=0)).max() / np.sqrt(spread) < SIGMAS
    assert_uncorrelated(*first.T)


def test_samples_are_their_mean_plus_scaled_standard_noise(noise):
    left, task, label = noise
    assert_law(left.ravel(), stats.norm())
    for component in range(7):
        assert_standard(left[label == component])
    assert_uncorrelated(*left.T)
    following = task[1:] == task[:-1]
    assert_uncorrelated(left[1:][following].ravel(), left[:-1][following].ravel())


def test_padding(many):
    assert (many.mask == np.sort(many.mask, axis=1)[:, ::-1]).all()  # in front what is real
    assert not many.samples[~many.mask].any()
    assert (many.labels[~many.mask] == -1).all()
    assert (many.labels[many.mask] >= 0).all()
    absent = np.arange(7) >= many.components[:, None]
    assert not many.truth.weights[absent].any()
    assert not many.truth.means[absent].any()
    assert (many.truth.scales[absent] == 1).all()
    assert (many.truth.weights[~absent] > 0).all()
    assert many.truth.means[~absent].all()


def test_a_part_and_those_of_equal_k(many):
    assert len(many[3:16]) == 13
    alike = dict(many.alike())
    assert list(alike) == [2, 5, 7]
    assert np.array_equal(np.sort(np.concatenate(list(alike.values()))), np.arange(4001))
    part = many[alike[5]]
    assert (part.components == 5).all()
    assert np.array_equal(part.truth.means, many.truth.means[alike[5]])
    assert np.array_equal(part.labels, many.labels[alike[5]])


def test_no_tasks_at_all():
    for distribution in (EVERYTHING, replace(EVERYTHING, separation=2.0)):
        assert draw(distribution, 0, np.random.default_rng(1)).samples.shape == (0, 29, 3)


@pytest.mark.parametrize(("dim", "components", "cosine"), [(1, 3, 0.8), (2, 5, 0.3)])
def test_more_means_than_directions(dim, components, cosine):
    """Three means in dimension 1 have a pair of equal sign; five in the plane one within 72°, cos 72° = 0.309."""
    impossible = TaskDistribution(dim=dim, components=(components,), max_cosine=cosine)
    with pytest.raises(InputError) as caught:
        draw(impossible, 3, np.random.default_rng(1))
    message = str(caught.value)
    assert message.startswith(f"components is {components} and dim is {dim}: of 1")
    assert f"max_cosine = {cosine:g}" in message
    assert "\n" not in message


def test_rare_means_are_found_within_bounded_memory():
    """Six means in the plane with cosines of at most 0.8: of all draws a share (1 − 6·arccos(0.8)/2π)⁵ = 0.0085."""
    crowded = TaskDistribution(dim=2, components=(6,), samples=(1, 1))
    tracemalloc.start()
    means = draw(crowded, 2003, np.random.default_rng(31)).truth.means
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert largest_cosines(means).max() <= 0.8 + gamma(20, UNIT)
    assert peak < 4 * 8 * MOST_PROPOSED
