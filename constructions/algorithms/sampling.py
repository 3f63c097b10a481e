"""Mixtures of N(μ_k, I_d) and samples from them; every draw takes a numpy Generator."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Mixture:
    """θ = {(π_k, μ_k)}: weights of shape (K,), means of shape (K, d)."""

    weights: Float[np.ndarray, " K"]
    means: Float[np.ndarray, "K d"]


def random_mixture(dim: int, components: int, separation: float, rng: np.random.Generator) -> Mixture:
    """Means on a randomly rotated grid of spacing `separation`, weights uniform on [0.2, 0.8], normalised.

    The smallest distance between two means is exactly `separation`, in every dimension and for every K.
    """
    axes = min(dim, 3)
    reach = int(np.ceil(components ** (1 / axes))) // 2 + 1
    grid = np.array(sorted(product(range(-reach, reach + 1), repeat=axes), key=lambda p: sum(c * c for c in p)))
    means = np.zeros((components, dim))
    means[:, :axes] = grid[:components] * separation
    means -= means.mean(axis=0)
    rotation, _ = np.linalg.qr(rng.standard_normal((dim, dim)))
    weights = rng.uniform(0.2, 0.8, size=components)
    return Mixture(weights / weights.sum(), means @ rotation)


def simplex_mixture(dim: int, components: int, separation: float, rng: np.random.Generator) -> Mixture:
    """Means (separation/√2)·q_k with orthonormal q_k: independent, all `separation` apart; K ≤ d. Weights as above."""
    directions, _ = np.linalg.qr(rng.standard_normal((dim, components)))
    weights = rng.uniform(0.2, 0.8, size=components)
    return Mixture(weights / weights.sum(), directions.T * (separation / np.sqrt(2)))


def sample(
    mixture: Mixture, samples: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "N d"], Int[np.ndarray, " N"]]:
    """Draw N points and the components they came from."""
    labels = rng.choice(len(mixture.weights), size=samples, p=mixture.weights)
    return mixture.means[labels] + rng.standard_normal((samples, mixture.means.shape[1])), labels
