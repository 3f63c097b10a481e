"""Expectation-maximisation in real balls: enclosures of what algorithms/em.py computes in floats."""

from __future__ import annotations

import flint
import numpy as np
from jaxtyping import Shaped

from constructions import interval_softmax
from constructions.balls import fill, matrix, product


def log_joint(
    samples: Shaped[np.ndarray, "N d"], log_weights: Shaped[np.ndarray, " K"], means: Shaped[np.ndarray, "K d"]
) -> Shaped[np.ndarray, "N K"]:
    """ℓ_ik = log π_k + ⟨x_i, μ_k⟩ − ½‖μ_k‖²."""
    offsets = log_weights - (means * means).sum(axis=1) / 2
    return product(matrix(samples), matrix(means).transpose()) + offsets


def responsibilities(
    samples: Shaped[np.ndarray, "N d"], log_weights: Shaped[np.ndarray, " K"], means: Shaped[np.ndarray, "K d"]
) -> Shaped[np.ndarray, "N K"]:
    """E-step: w_ik = softmax_k ℓ_ik."""
    return interval_softmax.softmax(log_joint(samples, log_weights, means), [1] * len(means))


def m_step(
    samples: Shaped[np.ndarray, "N d"], w: Shaped[np.ndarray, "N K"]
) -> tuple[Shaped[np.ndarray, " K"], Shaped[np.ndarray, "K d"]]:
    """M-step: log π_k⁺ = log mean_i w_ik and μ_k⁺ = Σ_i w_ik x_i / Σ_i w_ik."""
    totals = w.sum(axis=0)
    return logarithms(totals / len(samples)), product(matrix(w).transpose(), matrix(samples)) / totals[:, None]


def em_step(
    samples: Shaped[np.ndarray, "N d"], log_weights: Shaped[np.ndarray, " K"], means: Shaped[np.ndarray, "K d"]
) -> tuple[Shaped[np.ndarray, " K"], Shaped[np.ndarray, "K d"]]:
    """One E-step and one M-step, from and to log π."""
    return m_step(samples, responsibilities(samples, log_weights, means))


def logarithms(weights: Shaped[np.ndarray, " K"]) -> Shaped[np.ndarray, " K"]:
    """Entry by entry; −∞ for what is certainly not positive."""
    return fill((flint.arb.neg_inf() if weight <= 0 else weight.log() for weight in weights), weights.shape)
