"""How far an estimate is from a mixture, and how well it explains data."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from constructions.algorithms.em import log_joint
from constructions.algorithms.sampling import Mixture


def align(estimate: Mixture, truth: Mixture) -> Mixture:
    """The estimate with its components permuted to minimise Σ_k ‖μ̂_k − μ_k‖² (linear assignment)."""
    _, order = linear_sum_assignment(cdist(truth.means, estimate.means, "sqeuclidean"))
    return Mixture(estimate.weights[order], estimate.means[order])


def mean_error(estimate: Mixture, truth: Mixture) -> float:
    """max_k ‖μ̂_k − μ_k‖ with matched indices."""
    return float(np.linalg.norm(estimate.means - truth.means, axis=1).max())


def weight_error(estimate: Mixture, truth: Mixture) -> float:
    """max_k |π̂_k − π_k| with matched indices."""
    return float(np.abs(estimate.weights - truth.weights).max())


def log_weight_error(estimate: Mixture, truth: Mixture) -> float:
    """max_k |log π̂_k − log π_k| with matched indices; infinite when a weight is not positive."""
    if not ((estimate.weights > 0).all() and (truth.weights > 0).all()):
        return float("inf")
    return float(np.abs(np.log(estimate.weights) - np.log(truth.weights)).max())


def l2_error(estimate: Mixture, truth: Mixture) -> float:
    """The paper's ℓ2-error (1/K) Σ_k (‖μ̂_k − μ_k‖²/d + (π̂_k − π_k)²) with matched indices."""
    squares = ((estimate.means - truth.means) ** 2).mean(axis=1)
    return float((squares + (estimate.weights - truth.weights) ** 2).mean())


def average_log_likelihood(mixture: Mixture, samples: Float[np.ndarray, "N d"]) -> float:
    """(1/N) Σ_i log Σ_k π_k φ(x_i; μ_k, I_d): log-sum-exp over the components."""
    dim = samples.shape[1]
    per_sample = logsumexp(log_joint(samples, np.log(mixture.weights), mixture.means), axis=1)
    return float((per_sample - 0.5 * (samples**2).sum(axis=1)).mean() - 0.5 * dim * np.log(2 * np.pi))


def clustering_accuracy(labels: Int[np.ndarray, " N"], predicted: Int[np.ndarray, " N"]) -> float:
    """Largest share of equal labels over all one-to-one matchings of clusters to classes."""
    classes = int(max(labels.max(), predicted.max())) + 1
    table = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(table, (labels, predicted), 1)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / len(labels))
