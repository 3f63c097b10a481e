"""Expectation-maximisation for mixtures of N(μ_k, diag(σ_k²)): EM for the anisotropic model (equation 25).

Weights are carried as log π, which does not underflow where π does: a component far from all samples keeps the
parameters that exact arithmetic gives it, and none becomes NaN on finite samples.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.special import log_softmax, logsumexp

Samples = Float[np.ndarray, "*batch N d"]
LogWeights = Float[np.ndarray, "*batch K"]
Means = Float[np.ndarray, "*batch K d"]
Scales = Float[np.ndarray, "*batch K d"]
LogResponsibilities = Float[np.ndarray, "*batch N K"]

LEAST_SCALE = 0.1
"""Floor of every σ_ka, in the data's unit, unless told.

Without one the likelihood has no maximum: it tends to infinity as a component shrinks to one sample. The scales of
equation 25's tasks are at least softplus(−1) = 0.313.
"""


def log_joint(
    samples: Samples, log_weights: LogWeights, means: Means, scales: Scales
) -> Float[np.ndarray, "*batch N K"]:
    """ℓ_ik = log π_k φ(x_i; μ_k, diag(σ_k²)) = log π_k − ½ Σ_a [log 2π + log σ_ka² + (x_ia − μ_ka)²/σ_ka²].

    The squares are expanded, so that nothing larger than N×K and N×d is held; this costs an absolute error of eps times
    Σ_a (x_ia² + μ_ka²)/σ_ka². In memory k comes before i: sums over the few components are then the fast ones.
    """
    precisions = scales**-2.0
    constant = log_weights - np.log(scales).sum(-1) - 0.5 * (means**2 * precisions).sum(-1)
    transposed = np.swapaxes(samples, -1, -2)
    by_sample = (means * precisions) @ transposed - 0.5 * precisions @ transposed**2
    return np.swapaxes(by_sample + (constant - 0.5 * samples.shape[-1] * np.log(2 * np.pi))[..., None], -1, -2)


def log_responsibilities(
    samples: Samples, log_weights: LogWeights, means: Means, scales: Scales
) -> LogResponsibilities:
    """E-step: log w_ik = log softmax_k ℓ_ik."""
    return log_softmax(log_joint(samples, log_weights, means, scales), axis=-1)


def log_m_step(
    samples: Samples, log_w: LogResponsibilities, least_scale: float = LEAST_SCALE
) -> tuple[LogWeights, Means, Scales]:
    """M-step: log π_k⁺, π_k⁺ = mean_i w_ik, μ_k⁺ = Σ_i s_ik x_i, (σ_ka²)⁺ = max(Σ_i s_ik (x_ia − μ_ka⁺)², least²).

    s_ik = w_ik/Σ_i w_ik. As a function of one σ², the expected log-likelihood −½ Σ_i w_ik (log σ² + v/σ²), where v is
    the weighted variance, rises up to v and falls beyond, so that max(v, least²) maximises it above the floor: the
    likelihood never decreases, as it may when a constant is added to v.
    """
    largest = log_w.max(axis=-2, keepdims=True)  # of component k: divides out of the shares, so that none underflows
    w = np.swapaxes(np.exp(log_w - largest), -1, -2)
    total = w.sum(axis=-1)
    means = w @ samples / total[..., None]
    variances = w @ samples**2 / total[..., None] - means**2
    log_weights = np.log(total) + largest[..., 0, :] - np.log(samples.shape[-2])
    return log_weights, means, np.sqrt(np.maximum(variances, least_scale**2))


def log_em_step(
    samples: Samples, log_weights: LogWeights, means: Means, scales: Scales, least_scale: float = LEAST_SCALE
) -> tuple[LogWeights, Means, Scales]:
    """One E-step and one M-step, from and to log π."""
    return log_m_step(samples, log_responsibilities(samples, log_weights, means, scales), least_scale)


def average_log_likelihood(
    samples: Samples, log_weights: LogWeights, means: Means, scales: Scales
) -> Float[np.ndarray, "*batch"]:
    """(1/N) Σ_i log Σ_k π_k φ(x_i; μ_k, diag(σ_k²)), for every data set of the batch."""
    return np.asarray(logsumexp(log_joint(samples, log_weights, means, scales), axis=-1).mean(axis=-1))
