"""How far a batch of estimates is from the true mixtures, and how well they explain the samples (sections 3.1, H.2).

Every function takes B tasks of the same K and N at once and gives one number a task. An estimate that has a NaN keeps
the order of its components, and its numbers are NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.special import entr, rel_entr

from constructions.errors import InputError
from tgmm.densities import log_joint_density, log_likelihood
from tgmm.mixtures import Mixtures
from tgmm.tasks import Tasks

PerTask = Float[np.ndarray, " B"]


def align(estimate: Mixtures, truth: Mixtures) -> Mixtures:
    """The estimates with their components permuted to minimise Σ_k ‖μ̂_k − μ_k‖², the matching of section 3.1."""
    with np.errstate(over="ignore", invalid="ignore"):
        costs = [((estimate.means - mean[:, None]) ** 2).sum(axis=2) for mean in np.swapaxes(truth.means, 0, 1)]
    order = assign(np.stack(costs, axis=1))
    task = np.arange(len(truth))[:, None]
    return Mixtures(estimate.weights[task, order], estimate.means[task, order], estimate.scales[task, order])


def assign(costs: Float[np.ndarray, "B K K"]) -> Int[np.ndarray, "B K"]:
    """The permutation of least Σ_j cost[j, order[j]] for each task; the identity where a cost is not finite."""
    order = np.tile(np.arange(costs.shape[2]), (len(costs), 1))
    for task in np.flatnonzero(np.isfinite(costs).all(axis=(1, 2))):
        order[task] = linear_sum_assignment(costs[task])[1]
    return order


def error_of_means(estimate: Mixtures, truth: Mixtures) -> PerTask:
    """(1/K) Σ_k ‖μ̂_k − μ_k‖²/d with matched indices."""
    return _mean_square(estimate.means - truth.means)


def error_of_weights(estimate: Mixtures, truth: Mixtures) -> PerTask:
    """(1/K) Σ_k (π̂_k − π_k)² with matched indices."""
    return _mean_square(estimate.weights - truth.weights)


def error_of_scales(estimate: Mixtures, truth: Mixtures) -> PerTask:
    """(1/K) Σ_k ‖σ̂_k − σ_k‖²/d with matched indices; 0 where both are isotropic."""
    return _mean_square(estimate.scales - truth.scales)


def _mean_square(difference: Float[np.ndarray, "B K *d"]) -> PerTask:
    """The average of the squares, over all axes but the first."""
    with np.errstate(over="ignore"):
        return np.asarray((difference**2).mean(axis=tuple(range(1, difference.ndim))))


def l2_error(estimate: Mixtures, truth: Mixtures) -> PerTask:
    """The paper's ℓ2-error (1/K) Σ_k (‖μ̂_k − μ_k‖²/d + (π̂_k − π_k)² + ‖σ̂_k − σ_k‖²/d) with matched indices.

    The last term is appendix H.1's for anisotropic tasks. It is 0 where truth and estimate are both isotropic, and the
    rest is section 3.1's; an isotropic estimate of an anisotropic task pays for its scales of 1.
    """
    return error_of_means(estimate, truth) + error_of_weights(estimate, truth) + error_of_scales(estimate, truth)


def weight_divergence(estimate: Mixtures, truth: Mixtures) -> PerTask:
    """Σ_k π_k log(π_k/π̂_k) in nats, matched: the cross-entropy above its least value, which it takes at π̂ = π.

    Infinite when a weight π̂_k is not positive.
    """
    return np.asarray(rel_entr(truth.weights, estimate.weights).sum(axis=1))


def weight_cross_entropy(estimate: Mixtures, truth: Mixtures) -> PerTask:
    """−Σ_k π_k log π̂_k in nats, matched: the loss of the weights in equation 2. Its least value is π's entropy."""
    return weight_divergence(estimate, truth) + entr(truth.weights).sum(axis=1)


def clustering_accuracy(labels: Int[np.ndarray, "B N"], predicted: Int[np.ndarray, "B N"], components: int) -> PerTask:
    """Largest share of equal labels over all one-to-one matchings of the K clusters to the K classes, 0 … K − 1."""
    batch, count = labels.shape
    task = np.arange(batch)[:, None]
    cell = (task * components + labels) * components + predicted
    shape = (batch, components, components)
    confusion = np.bincount(cell.ravel(), minlength=batch * components**2).reshape(shape)
    matched = np.take_along_axis(confusion, assign(-confusion.astype(float))[..., None], axis=2)
    return np.asarray(matched.sum(axis=(1, 2)) / count)


@dataclass(frozen=True)
class Scores:
    """One number a task of every metric, each (B,). The three errors add up to `l2_error`."""

    l2_error: PerTask
    error_of_means: PerTask
    error_of_weights: PerTask
    error_of_scales: PerTask
    weight_cross_entropy: PerTask
    weight_divergence: PerTask
    log_likelihood: PerTask
    true_log_likelihood: PerTask
    clustering_accuracy: PerTask

    def __len__(self) -> int:
        return len(self.l2_error)

    @property
    def log_likelihood_gain(self) -> PerTask:
        """The estimate's log-likelihood less the truth's: positive where the samples prefer the estimate."""
        return self.log_likelihood - self.true_log_likelihood


def score(estimate: Mixtures, tasks: Tasks) -> Scores:
    """Every metric of every task; components are matched here, whatever their order.

    The predicted label of a sample is the component of the largest posterior probability under the estimate, and its
    accuracy has a matching of its own, as `clustering_accuracy` says. A NaN in an estimate makes all its scores NaN.

    Raises
    ------
    InputError
        If the tasks differ in K or have padded samples, or the estimate's shape is not (B, K, d).
    """
    shared = np.unique(tasks.components)
    if len(shared) != 1:
        raise InputError(f"components of the tasks are {shared.tolist()}; scores need one number, shared by all")
    if not tasks.mask.all():
        sizes = tasks.mask.sum(axis=1)
        raise InputError(
            f"samples of the tasks are {sizes.min()} to {sizes.max()}; scores need all {tasks.mask.shape[1]}"
        )
    k = int(shared[0])
    wanted = (len(tasks), k, tasks.samples.shape[2])
    if estimate.means.shape != wanted:
        raise InputError(f"the estimate's means have the shape {estimate.means.shape}; the tasks need {wanted}")
    truth = Mixtures(tasks.truth.weights[:, :k], tasks.truth.means[:, :k], tasks.truth.scales[:, :k])
    matched = align(_all_or_nothing(estimate), truth)
    joint = log_joint_density(matched, tasks.samples)
    accuracy = clustering_accuracy(tasks.labels, joint.argmax(axis=2), k)
    return Scores(
        l2_error=l2_error(matched, truth),
        error_of_means=error_of_means(matched, truth),
        error_of_weights=error_of_weights(matched, truth),
        error_of_scales=error_of_scales(matched, truth),
        weight_cross_entropy=weight_cross_entropy(matched, truth),
        weight_divergence=weight_divergence(matched, truth),
        log_likelihood=log_likelihood(joint),
        true_log_likelihood=log_likelihood(log_joint_density(truth, tasks.samples)),
        clustering_accuracy=np.where(np.isnan(joint).any(axis=(1, 2)), np.nan, accuracy),
    )


def _all_or_nothing(estimate: Mixtures) -> Mixtures:
    """NaN everywhere in an estimate that has one: without all means there is no matching."""
    means, weights, scales = estimate.means, estimate.weights, estimate.scales
    lost = np.isnan(weights).any(axis=1) | np.isnan(means).any(axis=(1, 2)) | np.isnan(scales).any(axis=(1, 2))
    return Mixtures(
        np.where(lost[:, None], np.nan, weights),
        np.where(lost[:, None, None], np.nan, means),
        np.where(lost[:, None, None], np.nan, scales),
    )
