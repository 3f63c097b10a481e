"""The regions of Theorems F.2 and F.3 around a mixture, and the point of a region where population EM does worst."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import flint
import numpy as np
from jaxtyping import Float

from constructions.algorithms import ball_population_em
from constructions.algorithms.population_em import population_error
from constructions.algorithms.sampling import Mixture
from constructions.balls import largest, norm, to_balls

Weights = Float[np.ndarray, "batch K"]
Means = Float[np.ndarray, "batch K d"]
Objective = Callable[["Region", Weights, Means, int], Float[np.ndarray, " batch"]]


@dataclass(frozen=True, eq=False)
class Region:
    """Parameters with ‖μ_k − μ_k*‖ ≤ radius and |π_k − π_k*| ≤ share·π_k*, Σπ_k = 1."""

    name: str
    truth: Mixture
    radius: float
    share: float


def mixture(separation: float, shares: tuple[float, ...], dim: int) -> Mixture:
    """Weights shares/Σ shares; means C√log(ρ_π K) apart, on a line or three in an equilateral triangle."""
    components, weights = len(shares), np.array(shares) / sum(shares)
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])[:components]
    if dim == 1 or components > 3:
        corners = np.arange(components)[:, None] * np.eye(1, 2)
    unit = np.zeros((components, dim))
    unit[:, : min(dim, 2)] = corners[:, : min(dim, 2)]
    return Mixture(weights, separation * np.sqrt(np.log(max(shares) / min(shares) * components)) * unit)


def assumption_a1(truth: Mixture, name: str) -> Region:
    """(A1): ‖μ_k − μ_k*‖ ≤ R_min/16, |π_k − π_k*| ≤ π_k*/2."""
    apart = np.linalg.norm(truth.means[:, None] - truth.means, axis=-1)
    return Region(name, truth, float(apart[~np.eye(len(apart), dtype=bool)].min()) / 16, 0.5)


def contraction_region(truth: Mixture, name: str, radius: float) -> Region:
    """D ≤ a of Theorem F.3, a = `radius` < 1."""
    return Region(name, truth, radius, radius)


def distance(truth: Mixture, off_weights: Weights, off_means: Means) -> Float[np.ndarray, " batch"]:
    """D = max_k max(‖μ_k − μ_k*‖, |π_k − π_k*|/π_k*) of parameters that are off by the given amounts."""
    return np.maximum(np.linalg.norm(off_means, axis=-1), np.abs(off_weights) / truth.weights).max(axis=-1)


def one_step_radius(region: Region, weights: Weights, means: Means, nodes: int) -> Float[np.ndarray, " batch"]:
    """D⁺ after one step of population EM; Theorem F.2 says that it is ½ at most."""
    return distance(region.truth, *population_error(region.truth, weights, means, nodes))


def contraction_rate(region: Region, weights: Weights, means: Means, nodes: int) -> Float[np.ndarray, " batch"]:
    """D⁺/D; Theorem F.3 says that it is β < 1 at most."""
    before = distance(region.truth, weights - region.truth.weights, means - region.truth.means)
    return one_step_radius(region, weights, means, nodes) / before


def place(region: Region, tilts: Weights, offsets: Means) -> tuple[Weights, Means]:
    """The region's point nearest in kind: offsets cut to the ball, tilts η with Σπ_k*η_k = 0 scaled into the cube.

    π_k = π_k*(1 + η_k), so the weights sum to 1. Every point of the region is its own image, at radius = share = 1.
    """
    tilts = tilts - (tilts @ region.truth.weights)[:, None]
    tilts = tilts / np.maximum(1, np.abs(tilts).max(axis=-1, keepdims=True))
    offsets = offsets / np.maximum(1, np.linalg.norm(offsets, axis=-1, keepdims=True))
    return region.truth.weights * (1 + region.share * tilts), region.truth.means + region.radius * offsets


def climb(
    region: Region, objective: Objective, rng: np.random.Generator, nodes: int, starts: int = 48, rounds: int = 80
) -> tuple[float, Mixture]:
    """The largest objective found, and where: `starts` random points, each moved to the better of itself and a
    Gaussian step away, `rounds` times, the steps shrinking from the region's size to 1/1000 of it.

    Most points start on the region's edge, some as near to the true parameters as 1/50 of its size.
    """
    shape = region.truth.means.shape
    near = np.geomspace(0.02, 4, starts)
    at = [rng.standard_normal((starts, *rest)) * near.reshape(-1, *[1] * len(rest)) for rest in (shape[:1], shape)]
    best = objective(region, *place(region, *at), nodes)
    for scale in np.geomspace(1, 1e-3, rounds):
        moved = [values + scale * rng.standard_normal(values.shape) for values in at]
        found = objective(region, *place(region, *moved), nodes)
        better = ~(found <= best) & ~np.isnan(best)  # what is not a number is kept
        at = [np.where(better.reshape(-1, *[1] * (old.ndim - 1)), new, old) for new, old in zip(moved, at, strict=True)]
        best = np.where(better, found, best)
    weights, means = (values[int(np.argmax(best))] for values in place(region, *at))
    return float(best.max()), Mixture(weights, means)


def certified_distances(truth: Mixture, at: Mixture) -> tuple[flint.arb, flint.arb]:
    """Enclosures of D and of D⁺ after one step, K = 2, from and for the very floats given."""
    true = to_balls(truth.weights), to_balls(truth.means)
    entering = to_balls(at.weights), to_balls(at.means)
    errors = ball_population_em.population_error(*true, *entering)
    before = entering[0] - true[0], entering[1] - true[1]
    found = [largest([*norm(means), *(abs(weights) / true[0])]) for weights, means in (before, errors)]
    return found[0], found[1]
