"""The batched metrics against the single-task functions, scikit-learn, and numbers by hand."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import permutations

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import entropy, multivariate_normal
from sklearn.mixture import GaussianMixture

from constructions.algorithms import metrics as single
from constructions.errors import InputError
from constructions.rounding_error import gamma
from tgmm import metrics
from tgmm.metrics import Scores, score
from tgmm.mixtures import Mixtures
from tgmm.tasks import TaskDistribution, Tasks, draw

UNIT = 2.0**-53
TASKS = TaskDistribution(dim=3, components=(5, 7), samples=(23, 23), mean_range=2.0, max_cosine=1.0, anisotropic=True)


@pytest.fixture
def tasks(rng) -> Tasks:
    """11 tasks of K = 5, padded to 7, whose components overlap."""
    drawn = draw(TASKS, 37, rng)
    return drawn[np.flatnonzero(drawn.components == 5)[:11]]


@pytest.fixture
def truth(tasks) -> Mixtures:
    return Mixtures(tasks.truth.weights[:, :5], tasks.truth.means[:, :5], tasks.truth.scales[:, :5])


@pytest.fixture
def estimate(truth, rng) -> Mixtures:
    """As far from the truth as its means from each other, and in another order."""
    order = rng.permuted(np.tile(np.arange(5), (11, 1)), axis=1)
    task = np.arange(11)[:, None]
    means = truth.means + 1.5 * rng.standard_normal(truth.means.shape)
    scales = truth.scales * rng.uniform(0.7, 1.4, size=truth.scales.shape)
    return Mixtures(rng.dirichlet(np.full(5, 3.0), size=11), means[task, order], scales[task, order])


def changed(mixtures: Mixtures, task: int, **numbers: float) -> Mixtures:
    """With the last number of a task's weights, means or scales replaced."""
    arrays = {name: getattr(mixtures, name).copy() for name in numbers}
    for name, number in numbers.items():
        arrays[name][task].flat[-1] = number
    return replace(mixtures, **arrays)


def test_align_is_the_best_of_all_permutations(estimate, truth):
    aligned = metrics.align(estimate, truth)
    for b in range(11):
        costs = {order: ((estimate.means[b, order] - truth.means[b]) ** 2).sum() for order in permutations(range(5))}
        best = list(min(costs, key=costs.__getitem__))
        for name in ("weights", "means", "scales"):
            assert np.array_equal(getattr(aligned, name)[b], getattr(estimate, name)[b, best])
        assert np.array_equal(aligned.means[b], single.align(estimate.one(b), truth.one(b)).means)
    assert (aligned.means != estimate.means).any(axis=(1, 2)).all()  # no task is in order by itself


def test_align_undoes_a_permutation_of_many_components(rng):
    truth = Mixtures.isotropic(rng.dirichlet(np.ones(13), size=3), rng.standard_normal((3, 13, 2)))
    order = rng.permuted(np.tile(np.arange(13), (3, 1)), axis=1)
    task = np.arange(3)[:, None]
    aligned = metrics.align(Mixtures.isotropic(truth.weights[task, order], truth.means[task, order]), truth)
    assert np.array_equal(aligned.means, truth.means)
    assert np.array_equal(aligned.weights, truth.weights)


def test_errors_are_those_of_single_tasks(estimate, truth):
    aligned = metrics.align(estimate, truth)
    isotropic = replace(aligned, scales=np.ones((11, 5, 3))), replace(truth, scales=np.ones((11, 5, 3)))
    expected = [single.l2_error(aligned.one(b), truth.one(b)) for b in range(11)]
    assert metrics.l2_error(*isotropic) == pytest.approx(expected, rel=gamma(40, UNIT), abs=0)
    assert not metrics.error_of_scales(*isotropic).any()
    of_scales = metrics.l2_error(aligned, truth) - expected
    assert of_scales == pytest.approx(metrics.error_of_scales(aligned, truth), rel=1e-12, abs=0)


def test_errors_by_hand():
    """K = 2, d = 3; the cross-entropy's least value is the entropy of the true weights."""
    truth = Mixtures.isotropic(np.array([[0.25, 0.75]]), np.array([[[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]]))
    scales = np.array([[[1.0, 3.0, 1.0], [1.0, 1.0, 0.0]]])
    estimate = Mixtures(np.array([[0.5, 0.5]]), np.array([[[3.0, 4.0, 0.0], [1.0, 1.0, 3.0]]]), scales)
    expected = {
        metrics.error_of_means: (25 / 3 + 4 / 3) / 2,
        metrics.error_of_weights: 0.0625,
        metrics.error_of_scales: (4 / 3 + 1 / 3) / 2,
        metrics.l2_error: (25 / 3 + 4 / 3) / 2 + 0.0625 + (4 / 3 + 1 / 3) / 2,
        metrics.weight_cross_entropy: np.log(2),
        metrics.weight_divergence: np.log(2) - entropy([0.25, 0.75]),
    }
    for metric, number in expected.items():
        assert metric(estimate, truth).tolist() == pytest.approx([number], rel=16 * UNIT, abs=0)
    assert metrics.weight_divergence(truth, truth).tolist() == [0.0]
    for weight in (0.0, -0.1):
        lost = replace(truth, weights=np.array([[weight, 1.0]]))
        assert metrics.weight_divergence(lost, truth).tolist() == [np.inf]
        assert metrics.weight_cross_entropy(lost, truth).tolist() == [np.inf]


def test_likelihood_is_scikit_learns(estimate, tasks):
    """Summed over the samples instead of the components it is another number."""
    joint = metrics.log_joint_density(estimate, tasks.samples)
    found = metrics.log_likelihood(joint)
    for b in range(11):
        model = GaussianMixture(5, covariance_type="diag")
        model.weights_, model.means_, model.covariances_ = (
            estimate.weights[b],
            estimate.means[b],
            estimate.scales[b] ** 2,
        )
        model.precisions_cholesky_ = 1 / estimate.scales[b]
        model.precisions_ = model.precisions_cholesky_**2
        # It expands the squares: roundings of numbers of size (‖x/σ‖ + ‖μ/σ‖)².
        size = (np.linalg.norm(tasks.samples[b], axis=1).max() + np.linalg.norm(estimate.means[b], axis=1).max()) ** 2
        size /= estimate.scales[b].min() ** 2
        assert found[b] == pytest.approx(model.score(tasks.samples[b]), rel=0, abs=gamma(60, UNIT) * size)
        wrong_axis = logsumexp(joint[b], axis=0).mean()
        assert abs(wrong_axis - model.score(tasks.samples[b])) > 0.1


def test_isotropic_likelihood_is_that_of_single_tasks(estimate, tasks):
    isotropic = Mixtures.isotropic(estimate.weights, estimate.means)
    found = metrics.log_likelihood(metrics.log_joint_density(isotropic, tasks.samples))
    expected = [single.average_log_likelihood(isotropic.one(b), tasks.samples[b]) for b in range(11)]
    size = (np.abs(tasks.samples).max() + np.abs(isotropic.means).max()) ** 2 * 3
    assert found == pytest.approx(expected, rel=0, abs=gamma(60, UNIT) * size)


def test_joint_density_of_every_sample_and_component(estimate, tasks):
    joint = metrics.log_joint_density(estimate, tasks.samples)
    assert joint.shape == (11, 23, 5)
    for b, i, k in ((0, 0, 0), (10, 22, 4), (7, 3, 2)):
        density = multivariate_normal(estimate.means[b, k], np.diag(estimate.scales[b, k] ** 2))
        expected = np.log(estimate.weights[b, k]) + density.logpdf(tasks.samples[b, i])
        assert joint[b, i, k] == pytest.approx(expected, rel=1e-13, abs=0)


def test_a_tiny_scale_loses_no_digits():
    """A component of scale 1e-9 at a sample, as EM on diagonal covariances finds it: (x − μ)²/σ² = 1/4 exactly."""
    sample, scale = 5.0, 2.0**-30
    narrow = Mixtures(np.array([[1.0]]), np.array([[[sample + scale / 2]]]), np.array([[[scale]]]))
    joint = metrics.log_joint_density(narrow, np.array([[[sample]]]))
    assert joint.item() == pytest.approx(30 * np.log(2) - 0.125 - 0.5 * np.log(2 * np.pi), rel=4 * UNIT, abs=0)


def test_accuracy_is_that_of_single_tasks(rng):
    labels = rng.integers(0, 5, size=(11, 23))
    predicted = np.where(
        rng.random((11, 23)) < 0.5, (labels + np.arange(11)[:, None]) % 5, rng.integers(0, 4, (11, 23))
    )
    expected = [single.clustering_accuracy(labels[b], predicted[b]) for b in range(11)]
    assert metrics.clustering_accuracy(labels, predicted, 5).tolist() == expected
    assert len(set(expected)) > 3
    assert metrics.clustering_accuracy(labels, (labels + 3) % 5, 5).tolist() == [1.0] * 11


def test_score_is_every_metric_of_the_matched_estimate(estimate, tasks, truth):
    found = score(estimate, tasks)
    assert len(found) == 11
    aligned = metrics.align(estimate, truth)
    for name in ("l2_error", "error_of_means", "error_of_weights", "error_of_scales"):
        assert np.array_equal(getattr(found, name), getattr(metrics, name)(aligned, truth))
    for name in ("weight_cross_entropy", "weight_divergence"):
        assert np.array_equal(getattr(found, name), getattr(metrics, name)(aligned, truth))
    joint, true_joint = (metrics.log_joint_density(m, tasks.samples) for m in (estimate, truth))
    assert found.log_likelihood == pytest.approx(logsumexp(joint, axis=2).mean(axis=1), rel=1e-13, abs=0)
    assert found.true_log_likelihood == pytest.approx(logsumexp(true_joint, axis=2).mean(axis=1), rel=1e-13, abs=0)
    assert np.array_equal(found.log_likelihood_gain, found.log_likelihood - found.true_log_likelihood)
    accuracy = [single.clustering_accuracy(tasks.labels[b], joint[b].argmax(axis=1)) for b in range(11)]
    assert found.clustering_accuracy.tolist() == accuracy


def test_the_order_of_an_estimates_components_does_not_matter(estimate, tasks):
    order = [3, 0, 4, 1, 2]
    shuffled = Mixtures(estimate.weights[:, order], estimate.means[:, order], estimate.scales[:, order])
    first, second = score(estimate, tasks), score(shuffled, tasks)
    for field in fields(Scores):
        assert np.array_equal(getattr(first, field.name), getattr(second, field.name)), field.name


def test_the_truth_is_without_error(tasks, truth):
    found = score(truth, tasks)
    assert not found.l2_error.any()
    assert not found.weight_divergence.any()
    assert not found.log_likelihood_gain.any()


@pytest.mark.parametrize("name", ["weights", "means", "scales"])
def test_a_nan_costs_its_own_task_only(estimate, tasks, truth, name):
    whole, found = score(estimate, tasks), score(changed(estimate, 4, **{name: np.nan}), tasks)
    others = np.arange(11) != 4
    for field in fields(Scores):
        numbers, expected = getattr(found, field.name), getattr(whole, field.name)
        assert np.array_equal(numbers[others], expected[others])
        assert np.isnan(numbers[4]) == (field.name != "true_log_likelihood")
    lost = changed(estimate, 4, means=np.nan)
    assert np.array_equal(metrics.align(lost, truth).means[4], lost.means[4], equal_nan=True)


def test_a_diverged_or_impossible_estimate(estimate, tasks):
    for far in (np.inf, 1e200):
        found = score(changed(estimate, 4, means=far), tasks)
        assert found.l2_error[4] == np.inf
        assert np.isfinite(found.log_likelihood[4])
    for impossible in ({"weights": -0.1}, {"scales": -1.0}):
        found = score(changed(estimate, 4, **impossible), tasks)
        assert np.isnan(found.log_likelihood[4])
        assert np.isnan(found.clustering_accuracy[4])
        assert np.isfinite(found.l2_error).all()
    empty = score(changed(estimate, 4, weights=0.0), tasks)
    assert np.isfinite(empty.log_likelihood).all()
    assert empty.weight_cross_entropy[4] == np.inf


def test_tasks_that_are_not_alike_are_refused(estimate, tasks, rng):
    with pytest.raises(InputError, match=r"^components of the tasks are \[5, 7\]; scores need one number"):
        score(estimate, replace(tasks, components=np.where(np.arange(11) == 3, 7, 5)))
    mask = tasks.mask.copy()
    mask[2, 19:] = False
    with pytest.raises(InputError, match=r"^samples of the tasks are 19 to 23; scores need all 23"):
        score(estimate, replace(tasks, mask=mask))
    with pytest.raises(InputError, match=r"shape \(7, 5, 3\); the tasks need \(11, 5, 3\)"):
        score(estimate[:7], tasks)
    four = Mixtures(estimate.weights[:, 1:], estimate.means[:, 1:], estimate.scales[:, 1:])
    with pytest.raises(InputError, match=r"shape \(11, 4, 3\)"):
        score(four, tasks)
    with pytest.raises(InputError, match=r"components of the tasks are \[\]"):
        score(estimate[:0], tasks[:0])
