"""Expectation-maximisation for mixtures of N(μ_k, I_d) (Algorithm B.1)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.special import log_softmax

Samples = Float[np.ndarray, "*batch N d"]
Weights = Float[np.ndarray, "*batch K"]
Means = Float[np.ndarray, "*batch K d"]


def log_joint(samples: Samples, log_weights: Weights, means: Means) -> Float[np.ndarray, "*batch N K"]:
    """ℓ_ik = log π_k + ⟨x_i, μ_k⟩ − ½‖μ_k‖²: log π_k φ(x_i; μ_k, I) up to what does not depend on k.

    In memory k comes before i: sums over the few components are then the fast ones.
    """
    inner = means @ np.swapaxes(samples, -1, -2)
    return np.swapaxes(inner + (log_weights - 0.5 * (means**2).sum(-1))[..., None], -1, -2)


def log_responsibilities(samples: Samples, weights: Weights, means: Means) -> Float[np.ndarray, "*batch N K"]:
    """E-step: log w_ik = log softmax_k ℓ_ik; −inf for a component of weight 0 (NaN if all are)."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return log_softmax(log_joint(samples, np.log(weights), means), axis=-1)


def m_step(samples: Samples, log_w: Float[np.ndarray, "*batch N K"]) -> tuple[Weights, Means]:
    """π_k⁺ = mean_i w_ik and μ_k⁺ = Σ_i w_ik x_i / Σ_i w_ik.

    From log w, so that a component whose responsibilities all underflow still has the mean that exact
    arithmetic gives it. A component of weight 0 has no mean: it comes out as NaN.
    """
    log_weights, means = log_m_step(samples, log_w)
    return np.exp(log_weights), means


def log_m_step(samples: Samples, log_w: Float[np.ndarray, "*batch N K"]) -> tuple[Weights, Means]:
    """The same with log π_k⁺, which may be too small for the format's π_k⁺."""
    largest = log_w.max(axis=-2, keepdims=True)  # of component k: divides out of the mean, so that no sum underflows
    largest = np.where(np.isneginf(largest), 0.0, largest)
    with np.errstate(invalid="ignore", divide="ignore"):
        w = np.swapaxes(np.exp(log_w - largest), -1, -2)
        total = w.sum(axis=-1)
        log_weights = np.log(total) + largest[..., 0, :] - np.log(samples.shape[-2])
        return log_weights, w @ samples / total[..., None]


def em_step(samples: Samples, weights: Weights, means: Means) -> tuple[Weights, Means]:
    """One E-step and one M-step."""
    return m_step(samples, log_responsibilities(samples, weights, means))


def log_em_step(samples: Samples, log_weights: Weights, means: Means) -> tuple[Weights, Means]:
    """One E-step and one M-step from and to log π."""
    return log_m_step(samples, log_softmax(log_joint(samples, log_weights, means), axis=-1))


def em(samples: Samples, weights: Weights, means: Means, steps: int) -> tuple[Weights, Means]:
    """`steps` EM steps from the given parameters."""
    for _ in range(steps):
        weights, means = em_step(samples, weights, means)
    return weights, means
