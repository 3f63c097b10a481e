"""Suprema over a region of parameters of what a sample average is off, found by projected gradient ascent.

Torch climbs; the values are then computed anew from the E-step and from population EM, which share no code with it.
A supremum that is found is a lower bound on the true one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi, sqrt

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from constructions.algorithms.em import log_responsibilities
from constructions.algorithms.population_em import population_step
from constructions.algorithms.sampling import Mixture, sample
from constructions.concentration_bounds import Region

REACH, SPACING = 8.0, {1: 0.1, 2: 0.4}
"""The climb's quadrature: standard deviations, and distance between nodes in so many dimensions."""
FIRST_STEP, LAST_STEP = 0.6, 0.02
"""Of the region's radius: lengths of the ascent's first and last step."""
BLOCK = 2**21
"""At most so many responsibilities are held at once, in blocks of data sets (never less than one data set's)."""

Array = Float[np.ndarray, "..."]


@dataclass(frozen=True, eq=False)
class Moments:
    """p_k = E w_k and V_k = E w_k(X − μ_k*) under some law of X, for many θ: shapes (*batch, K) and (*batch, K, d)."""

    weights: Tensor
    sums: Tensor

    @property
    def means(self) -> Tensor:
        """V_k/p_k, which is μ_k⁺ − μ_k*."""
        return self.sums / self.weights[..., None]


Objective = Callable[[Moments, Moments, Mixture, Tensor], Tensor]
"""(empirical, population, truth, D of θ) -> (*batch, targets); every target is climbed from its own starts."""


def signed_weights(empirical: Moments, population: Moments, truth: Mixture, distance: Tensor) -> Tensor:
    """±(mean w_k − E w_k), k = 1..K with one sign, then with the other."""
    off = empirical.weights - population.weights
    return torch.cat([off, -off], dim=-1)


def moment_norms(empirical: Moments, population: Moments, truth: Mixture, distance: Tensor) -> Tensor:
    """‖mean w_k(X − μ_k*) − E w_k(X − μ_k*)‖, k = 1..K."""
    return (empirical.sums - population.sums).norm(dim=-1)


def step_errors(empirical: Moments, population: Moments, truth: Mixture, distance: Tensor) -> Tensor:
    """|π̂_k⁺ − π_k⁺|/π_k* with both signs, and ‖μ̂_k⁺ − μ_k⁺‖: how far an EM step is from population EM's."""
    off = signed_weights(empirical, population, truth, distance) / torch.tensor(np.tile(truth.weights, 2))
    return torch.cat([off, (empirical.means - population.means).norm(dim=-1)], dim=-1)


def truth_errors(empirical: Moments, population: Moments, truth: Mixture, distance: Tensor) -> Tensor:
    """|π̂_k⁺ − π_k*|/π_k* with both signs, and ‖μ̂_k⁺ − μ_k*‖: how far an EM step ends from the truth."""
    off = empirical.weights / torch.tensor(truth.weights) - 1
    return torch.cat([off, -off, empirical.means.norm(dim=-1)], dim=-1)


@dataclass(frozen=True, eq=False)
class Points:
    """Parameters for every data set of a batch: weights (R, B, K), means (R, B, K, d)."""

    weights: Float[np.ndarray, "R B K"]
    means: Float[np.ndarray, "R B K d"]


def draw(truth: Mixture, sets: int, count: int, rng: np.random.Generator) -> Float[np.ndarray, "R n d"]:
    """So many data sets of n samples."""
    return sample(truth, sets * count, rng)[0].reshape(sets, count, -1)


def climb(
    samples: Float[np.ndarray, "R n d"],
    region: Region,
    objective: Objective,
    rng: np.random.Generator,
    starts: int = 4,
    steps: int = 24,
) -> Points:
    """For every data set and every target of the objective, the best θ on `starts` paths, one of them from θ*.

    Each step is normalised (the component whose mean has the largest gradient moves by the step's length times the
    region's radius; the weights likewise) and projected on the region: means on their balls, weights on the box, not
    normalised, since responsibilities depend on ratios only.
    """
    sets = len(samples)
    probe = Moments(torch.ones(1, 1, len(region.truth.weights)), torch.ones(1, 1, *region.truth.means.shape))
    targets = objective(probe, probe, region.truth, torch.ones(1, 1)).shape[-1]
    shape = (starts, targets, *region.truth.means.shape)
    offsets, tilts = rng.standard_normal(shape), rng.uniform(-1, 1, shape[:-1])
    offsets[0], tilts[0] = 0, 0
    size = max(1, BLOCK // (samples.shape[1] * int(np.prod(shape[:3]))))
    found = [_climb(samples[at : at + size], region, objective, tilts, offsets, steps) for at in range(0, sets, size)]
    return Points(np.concatenate([f.weights for f in found]), np.concatenate([f.means for f in found]))


def _climb(samples: Array, region: Region, objective: Objective, tilts: Array, offsets: Array, steps: int) -> Points:
    sets, (starts, targets, components, dim) = len(samples), offsets.shape
    x, truth = torch.tensor(samples), region.truth
    u = _into_ball(torch.tensor(offsets)).reshape(1, -1, components, dim).repeat(sets, 1, 1, 1)
    v = torch.tensor(tilts).reshape(1, -1, components).repeat(sets, 1, 1)
    own = torch.arange(starts * targets) % targets
    best = torch.full((sets, starts * targets), -torch.inf, dtype=torch.float64)
    kept_u, kept_v = u, v
    true_weights, true_means = torch.tensor(truth.weights), torch.tensor(truth.means)
    for length in [*np.geomspace(FIRST_STEP, LAST_STEP, steps), 0.0]:
        u, v = u.detach().requires_grad_(), v.detach().requires_grad_()
        log_weights = (true_weights * (1 + region.slack * v)).log()
        means = true_means + region.radius * u
        expected = population_moments(truth, log_weights, means)
        values = objective(sample_moments(x, truth, log_weights, means), expected, truth, _distance(region, v, u))
        own_values = values.gather(-1, own.expand(sets, -1)[..., None])[..., 0]
        better = ~(own_values.detach() <= best) & ~best.isnan()  # what is not a number is kept
        best = torch.where(better, own_values.detach(), best)
        kept_u = torch.where(better[..., None, None], u.detach(), kept_u)
        kept_v = torch.where(better[..., None], v.detach(), kept_v)
        if length:
            up_u, up_v = torch.autograd.grad(own_values.sum(), (u, v))
            largest_u = up_u.norm(dim=-1).amax(dim=-1)[..., None, None].clamp_min(1e-300)
            largest_v = up_v.abs().amax(dim=-1)[..., None].clamp_min(1e-300)
            u, v = _into_ball(u + length * up_u / largest_u), (v + length * up_v / largest_v).clamp(-1, 1)
    winner = best.reshape(sets, starts, targets).argmax(dim=1) * targets + torch.arange(targets)
    at = torch.arange(sets)[:, None]
    weights = truth.weights * (1 + region.slack * kept_v[at, winner].numpy())
    return Points(weights, truth.means + region.radius * kept_u[at, winner].numpy())


def _distance(region: Region, tilts: Tensor, offsets: Tensor) -> Tensor:
    """D = max_k max(‖μ_k − μ_k*‖, |π_k − π_k*|/π_k*) of π* (1 + slack·tilts), μ* + radius·offsets."""
    return torch.maximum(region.radius * offsets.norm(dim=-1), region.slack * tilts.abs()).amax(dim=-1)


def _into_ball(u: Tensor) -> Tensor:
    return u / u.norm(dim=-1, keepdim=True).clamp_min(1)


def sample_moments(
    x: Tensor, truth: Mixture, log_weights: Tensor, means: Tensor, masses: Tensor | None = None
) -> Moments:
    """Moments under samples (R, n, d), or points (1, n, d) with masses (n), at log π (R, B, K) and μ (R, B, K, d)."""
    sets, batch, components, dim = means.shape
    inner = means.reshape(sets, batch * components, dim) @ x.mT
    fixed = log_weights - (means**2).sum(-1) / 2
    w = torch.softmax(inner.reshape(sets, batch, components, -1) + fixed[..., None], dim=2)
    w = w / x.shape[1] if masses is None else w * masses
    weights = w.sum(-1)
    sums = (w.reshape(sets, batch * components, -1) @ x).reshape(means.shape)
    return Moments(weights, sums - weights[..., None] * torch.tensor(truth.means))


def population_moments(truth: Mixture, log_weights: Tensor, means: Tensor) -> Moments:
    """Moments under the mixture: K = 2 on a line, d ≤ 2 on a grid, by the trapezoid rule.

    Raises
    ------
    ValueError
        If K > 2 and d > 2.
    """
    if len(truth.weights) == 2:
        return _on_the_line(truth, log_weights, means)
    if truth.means.shape[1] > 2:
        raise ValueError(f"the quadrature is for K = 2 or d <= 2, not for K = {len(truth.weights)}, d > 2")
    nodes, masses = (torch.tensor(part) for part in _grid(truth))
    return sample_moments(nodes.expand(len(means), -1, -1), truth, log_weights, means, masses)


def _grid(truth: Mixture) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
    """Nodes over all of the mixture's reach, and the mixture's density there times the cell's volume."""
    dim = truth.means.shape[1]
    step = SPACING[dim]
    axes = [
        np.arange(low - REACH, high + REACH, step)
        for low, high in zip(truth.means.min(0), truth.means.max(0), strict=True)
    ]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, dim)
    squares = ((nodes[:, None] - truth.means) ** 2).sum(-1)
    return nodes, (step / sqrt(2 * pi)) ** dim * np.exp(-squares / 2) @ truth.weights


def _on_the_line(truth: Mixture, log_weights: Tensor, means: Tensor) -> Moments:
    """K = 2: under component j, ℓ_1 − ℓ_2 = b + ⟨μ_j*, a⟩ + ‖a‖g with a = μ_1 − μ_2 and g standard normal."""
    g = torch.arange(-REACH, REACH, SPACING[1], dtype=torch.float64)
    masses = SPACING[1] / sqrt(2 * pi) * torch.exp(-g * g / 2)
    true_weights, true_means = torch.tensor(truth.weights), torch.tensor(truth.means)
    a = means[..., 0, :] - means[..., 1, :]
    size = a.norm(dim=-1, keepdim=True)
    fixed = log_weights - (means**2).sum(-1) / 2
    centres = (fixed[..., 0] - fixed[..., 1])[..., None] + a @ true_means.T  # R B j
    u = centres[..., None] + size[..., None] * g  # R B j g
    w = torch.sigmoid(torch.stack([u, -u], dim=-3))  # R B k j g
    shares = (w * masses).sum(-1) * true_weights  # R B k j
    along = ((w * masses * g).sum(-1) * true_weights).sum(-1)  # R B k
    weights = shares.sum(-1)
    sums = shares @ true_means - weights[..., None] * true_means + along[..., None] * (a / size)[..., None, :]
    return Moments(weights, sums)


def exact_moments(
    samples: Float[np.ndarray, "R n d"], truth: Mixture, points: Points, law: Mixture
) -> tuple[Moments, Moments]:
    """Empirical and population moments at the points, from the E-step and from population EM; X has the law `law`."""
    new, new_means = population_step(law, points.weights, points.means)
    population = Moments(torch.tensor(new), torch.tensor(new[..., None] * (new_means - truth.means)))
    weights, sums = np.empty(points.weights.shape), np.empty(points.means.shape)
    for x, pi_k, mu_k, new_weights, new_sums in zip(samples, points.weights, points.means, weights, sums, strict=True):
        w = np.exp(log_responsibilities(np.broadcast_to(x, (len(pi_k), *x.shape)), pi_k, mu_k))  # B n K
        new_weights[:] = w.mean(axis=1)
        new_sums[:] = np.swapaxes(w, 1, 2) @ x / len(x) - new_weights[..., None] * truth.means
    return Moments(torch.tensor(weights), torch.tensor(sums)), population


def evaluate(
    samples: Float[np.ndarray, "R n d"], truth: Mixture, objective: Objective, points: Points, law: Mixture
) -> tuple[Float[np.ndarray, "R B targets"], Moments]:
    """All targets at all points, by `exact_moments`; population EM's moments there."""
    empirical, population = exact_moments(samples, truth, points, law)
    off = np.linalg.norm(points.means - truth.means, axis=-1), np.abs(points.weights / truth.weights - 1)
    distance = torch.tensor(np.maximum(*off).max(axis=-1))
    return objective(empirical, population, truth, distance).numpy(), population


@dataclass(frozen=True, eq=False)
class Found:
    """The largest value of every target for every data set; the points; population EM's moments there."""

    values: Float[np.ndarray, "R targets"]
    points: Points
    population: Moments


def suprema(
    samples: Float[np.ndarray, "R n d"],
    region: Region,
    objective: Objective,
    rng: np.random.Generator,
    starts: int = 2,
    steps: int = 14,
    law: Mixture | None = None,
) -> Found:
    """Climb every target for every data set, and compute its value anew; X has the true law unless told."""
    points = climb(samples, region, objective, rng, starts, steps)
    values, population = evaluate(samples, region.truth, objective, points, law or region.truth)
    own = np.arange(values.shape[-1])
    return Found(values[:, own, own], points, population)
