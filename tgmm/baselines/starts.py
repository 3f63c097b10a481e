"""Initial means for many tasks at once: standard-normal, distinct samples, k-means++, and farthest-first centres."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

Samples = Float[np.ndarray, "B N d"]
Means = Float[np.ndarray, "B K d"]
Starts = Callable[[Float[np.ndarray, "B N d"], int, np.random.Generator], Float[np.ndarray, "B K d"]]


def standard_normal(samples: Samples, components: int, rng: np.random.Generator) -> Means:
    """μ_k ~ N(0, I), whatever the samples."""
    return rng.standard_normal((len(samples), components, samples.shape[2]))


def distinct_samples(samples: Samples, components: int, rng: np.random.Generator) -> Means:
    """K ≤ N of a task's samples, no one twice, every set of K equally likely."""
    order = np.argsort(rng.random(samples.shape[:2]), axis=1)
    return samples[np.arange(len(samples))[:, None], order[:, :components]]


def kmeans_plus_plus(samples: Samples, components: int, rng: np.random.Generator) -> Means:
    """D² seeding (Arthur and Vassilvitskii, *k-means++*, SODA 2007), one candidate a draw.

    The first centre is a uniform sample; each further one is x_i with probability D_i²/Σ_i D_i², D_i being the
    distance of x_i to the nearest centre so far; uniform once every sample is a centre.
    """
    tasks = np.arange(len(samples))
    chosen = rng.integers(samples.shape[1], size=len(samples))
    means, nearest = [samples[tasks, chosen]], np.full(samples.shape[:2], np.inf)
    for _ in range(components - 1):
        nearest = np.minimum(nearest, _squared_distances(samples, means[-1]))
        chosen = _by_inversion(nearest, rng)
        means.append(samples[tasks, chosen])
    return np.stack(means, axis=1)


def farthest_first(
    centres: Float[np.ndarray, "B L d"], allowed: Bool[np.ndarray, "B L"], components: int, rng: np.random.Generator
) -> Int[np.ndarray, "B K"]:
    """Indices of K centres: a random one of the allowed, then each time the one farthest from those chosen before.

    Where fewer than K are allowed, the farthest of the others follow; no centre is chosen twice (K ≤ L).
    """
    tasks = np.arange(len(centres))
    chosen = [np.argmax(rng.random(allowed.shape) + allowed, axis=1)]
    nearest, free = np.full(allowed.shape, np.inf), np.ones_like(allowed)
    for _ in range(components - 1):
        free[tasks, chosen[-1]] = False
        nearest = np.minimum(nearest, _squared_distances(centres, centres[tasks, chosen[-1]]))
        first = free & allowed
        candidates = np.where(first.any(axis=1, keepdims=True), first, free)
        chosen.append(np.argmax(np.where(candidates, nearest, -1.0), axis=1))
    return np.stack(chosen, axis=1)


def _squared_distances(points: Float[np.ndarray, "B N d"], centre: Float[np.ndarray, "B d"]) -> np.ndarray:
    return np.asarray(((points - centre[:, None]) ** 2).sum(axis=2))


def _by_inversion(masses: Float[np.ndarray, "B N"], rng: np.random.Generator) -> Int[np.ndarray, " B"]:
    """An index of each row with probability proportional to its mass; uniform where the row has none."""
    masses = np.where(masses.any(axis=1, keepdims=True), masses, 1.0)
    sums = np.cumsum(masses, axis=1)
    targets = sums[:, -1] * rng.random(len(masses))  # rounded below the total: no mass of 0 is met
    return np.asarray((sums <= targets[:, None]).sum(axis=1))
