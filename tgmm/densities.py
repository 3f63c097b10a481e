"""How likely samples are under a batch of mixtures: B tasks of the same K and N at once, in numpy alone."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from tgmm.mixtures import Mixtures


def log_joint_density(mixtures: Mixtures, samples: Float[np.ndarray, "B N d"]) -> Float[np.ndarray, "B N K"]:
    """log(π_k φ(x_i; μ_k, diag σ_k²)): −inf for a component of weight 0, NaN for one of negative weight or scale."""
    joint = np.empty((*samples.shape[:2], mixtures.weights.shape[1]))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        constant = np.log(mixtures.weights) - np.log(mixtures.scales).sum(axis=2)
        for k in range(joint.shape[2]):  # differences, not the expanded squares of diagonal_em: any scale will do
            standard = (samples - mixtures.means[:, None, k]) / mixtures.scales[:, None, k]
            joint[..., k] = constant[:, None, k] - 0.5 * (standard**2).sum(axis=2)
    return joint - 0.5 * samples.shape[2] * np.log(2 * np.pi)


def log_density(joint: Float[np.ndarray, "B N K"]) -> Float[np.ndarray, "B N"]:
    """Log Σ_k π_k φ(x_i; μ_k, diag σ_k²), from `log_joint_density`: log-sum-exp over the components."""
    with np.errstate(invalid="ignore"):  # what is NaN stays NaN
        return np.asarray(np.logaddexp.reduce(joint, axis=2))


def log_likelihood(joint: Float[np.ndarray, "B N K"]) -> Float[np.ndarray, " B"]:
    """(1/N) Σ_i log Σ_k π_k φ(x_i; μ_k, diag σ_k²), from `log_joint_density`."""
    return np.asarray(log_density(joint).mean(axis=1))
