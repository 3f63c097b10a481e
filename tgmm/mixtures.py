"""A batch of mixtures Σ_k π_k N(μ_k, diag(σ_k²)), true or estimated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from constructions.algorithms.sampling import Mixture


@dataclass(frozen=True)
class Mixtures:
    """B mixtures of K components: weights (B, K), means (B, K, d), scales (B, K, d), which are 1 where isotropic."""

    weights: Float[np.ndarray, "B K"]
    means: Float[np.ndarray, "B K d"]
    scales: Float[np.ndarray, "B K d"]

    @classmethod
    def isotropic(cls, weights: Float[np.ndarray, "B K"], means: Float[np.ndarray, "B K d"]) -> Mixtures:
        """All scales 1 (equation 1)."""
        return cls(weights, means, np.ones_like(means))

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, index: slice | np.ndarray) -> Mixtures:
        return Mixtures(self.weights[index], self.means[index], self.scales[index])

    def one(self, index: int) -> Mixture:
        """A single one of them, without its scales."""
        return Mixture(self.weights[index], self.means[index])
