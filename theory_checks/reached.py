"""Where a stored supremum was reached, and how far its value there may be off on another processor.

The end of a climb depends on every rounding before it, by no factor that could be stated: what a climb finds is not
compared. But the value at a given θ is two averages, and those are known. With u = 2⁻⁵³, X the reach of samples and of
quadrature nodes, M that of the true means, M' that of the point's:

- the samples' average of w_k has a relative error of at most a, `rounding_error.allowance`'s for a log weight of exact
  EM, whatever the order of its sums;
- the quadrature's (K = 2, N nodes) of at most a' = 2γ_{4d+48}S + 2·32u + 3γ_{2N+80}: scores of size
  S = XM' + M'² + |log π| + 1, all about the first mean, are products of projections on one Householder vector (d
  products and some 16u each, twice), exponentials are within 32u, and three sums are over components and nodes;
- the data themselves are drawn alike up to a few units of the last place, four say: 4uXM' in a score, twice in w_k.

So w_k's average is off by e = a + a' + 8uXM' at most, that of w_k(X − μ_k*) by (X + M)(e + 8u), and the step's errors,
quotients by p_k ≥ p and by π_k*, by 3(X + M)(e + 8u)/p. Two processors: twice that.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np
import torch
from jaxtyping import Float

from constructions.algorithms import population_em
from constructions.algorithms.sampling import Mixture
from constructions.concentration_bounds import Region
from constructions.rounding_error import EXP_UNITS, allowance, gamma
from theory_checks import concentration

UNIT = 2.0**-53
OUTSIDE = 64
"""A climb's point is in the region up to so many units of (M + radius): it is normalised and scaled, in d ≤ 50."""


@dataclass(frozen=True, eq=False)
class Reached:
    """The target of an objective that was largest, and the parameters where."""

    target: int
    weights: Float[np.ndarray, " K"]
    means: Float[np.ndarray, "K d"]


def largest(found: concentration.Found, count: int) -> tuple[Reached, ...]:
    """Of each of the first so many data sets."""
    chosen = found.values[:count].argmax(axis=1)
    points = found.points
    return tuple(Reached(int(t), points.weights[r, t], points.means[r, t]) for r, t in enumerate(chosen))


def value(
    samples: Float[np.ndarray, "n d"], region: Region, objective: concentration.Objective, point: Reached
) -> float:
    """The objective's target at the point: the same operations as `concentration.suprema` ends with."""
    values = concentration.evaluate(samples[None], region.truth, objective, _alone(point), region.truth)[0]
    return float(values[0, 0, point.target])


def _alone(point: Reached) -> concentration.Points:
    return concentration.Points(point.weights[None, None], point.means[None, None])


def outside(region: Region, point: Reached) -> float:
    """How far a point is outside the region, as a share of what rounding allows: inside up to rounding if ≤ 1."""
    truth = region.truth
    far = float(np.linalg.norm(point.means - truth.means, axis=1).max()) - region.radius
    heavy = float(np.abs(point.weights / truth.weights - 1).max()) - region.slack
    size = float(np.linalg.norm(truth.means, axis=1).max()) + region.radius
    return max(far / size, heavy) / (OUTSIDE * UNIT)


def quadrature(truth: Mixture, means: Float[np.ndarray, "2 d"], lightest: float) -> tuple[float, float]:
    """The reach of its nodes about the first mean, and a': the relative error of its averages of w_k in float64.

    Raises
    ------
    ValueError
        If there are more than two components.
    """
    components, dim = means.shape
    if components != 2:
        raise ValueError(f"the allowance is for two components, not for {components}")
    node = float(np.linalg.norm(truth.means - means[0], axis=1).max()) + population_em.REACH
    shift = float(np.linalg.norm(means - means[0], axis=1).max())
    score = node * shift + shift**2 + abs(log(lightest)) + 1
    sums = gamma(2 * population_em.NODES + 80, UNIT)
    return node, 2 * gamma(4 * dim + 48, UNIT) * score + 2 * EXP_UNITS * UNIT + 3 * sums


def allowed(samples: Float[np.ndarray, "n d"], region: Region, quantity: str, point: Reached) -> float:
    """The most by which two measurements of the value at a point may differ, for a quantity of OBJECTIVES and K = 2.

    Errors as in `quadrature`.
    """
    truth = region.truth
    lightest = float(point.weights.min())
    sampled = allowance(None, samples, point.means, lightest, 0.0, torch.float64).log_weight  # no mean is read off it
    node, exact = quadrature(truth, point.means, lightest)
    reach = max(float(np.linalg.norm(samples, axis=1).max()), node + float(np.linalg.norm(point.means[0])))
    scale = 1.0 if quantity == "w" else reach + float(np.linalg.norm(truth.means, axis=1).max())
    if quantity == "step":
        both = concentration.exact_moments(samples[None], truth, _alone(point), truth)
        scale *= 3 / min(float(truth.weights.min()), *(float(moments.weights.min()) for moments in both))
    drawn = 8 * UNIT * reach * float(np.linalg.norm(point.means, axis=1).max())
    return 2 * scale * (sampled + exact + drawn + 8 * UNIT)
