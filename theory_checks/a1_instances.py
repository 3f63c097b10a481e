"""Data under assumption (A1) of Theorems F.6 and F.7, with contested samples, and the parametrisations made for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise, product
from math import expm1, inf, log, nextafter
from typing import Literal

import flint
import numpy as np
from jaxtyping import Float

from constructions import bounds
from constructions.algorithms import ball_em
from constructions.algorithms.sampling import Mixture, sample
from constructions.balls import largest, norm, to_balls
from constructions.em_class import Approximation, TaskClass, split_tolerance
from constructions.em_enclosure import parameters
from constructions.relu_networks import chord_error, lemma_f4_units, square_pieces

Theorem = Literal["F.6", "F.7"]
SHARES = {(2, True): (1, 1), (2, False): (1, 3), (3, True): (1, 1, 1), (3, False): (1, 1, 2)}
"""(K, equal weights) -> true weights up to their sum."""
CONTESTED = 0.01, 0.99
"""A sample with two responsibilities between these is contested."""
PRECISION = 128
"""Bits at which the instance's own numbers are enclosed, whatever the precision of its transformer."""
LEADS = tuple(log(expm1(log_w)) for log_w in (1.25, 1.75))
"""By how much the logits of a contested sample differ: its smaller log w is in the middle between multiples of ½.

If log 1 = 0 is a knot, log w is as far from its chord as it can be, and the other way round; and these are leads at
which a score × 1.5 moves w most.
"""


@dataclass(frozen=True)
class Case:
    """What an instance is made of: with a seed it determines the instance, in every row and figure.

    `theorem`: the region of the entering parameters, (A1)'s for F.6, the contraction region of Theorem F.4 for F.7.
    """

    separation: float  # C
    components: int
    dim: int
    equal: bool
    centred: bool
    theorem: Theorem = "F.6"
    drawn: int = 12
    contested: int = 12
    delta: float = 0.5  # Lemma F.4's δ of the paper's log networks: chords no longer than δ, error g ≤ δ²/8

    @property
    def name(self) -> str:
        """All of it, for reading."""
        weights, place = "equal" if self.equal else "unequal", "centred" if self.centred else "not centred"
        count = f"N={self.drawn}+{self.contested} delta={self.delta:g}"
        return f"{self.theorem} C={self.separation:g} K={self.components} d={self.dim} {weights} {place} {count}"


@dataclass(frozen=True, eq=False)
class Instance:
    """A mixture with the weights shares/Σ shares and the means μ*; samples; entering parameters `start`."""

    case: Case
    shares: tuple[int, ...]
    means: Float[np.ndarray, "K d"]
    samples: Float[np.ndarray, "N d"]  # the drawn ones, then the contested ones
    start: Mixture

    @property
    def least_weight(self) -> float:
        """½ min π*: no weight that enters is smaller."""
        return min(self.shares) / sum(self.shares) / 2


def instance(case: Case, seed: int) -> Instance:
    """R_min = C√log(ρ_π K); two or three means on a line from 0, or a triangle, as they are or centred.

    The entering means are off by 0.9 of what the theorem allows, the weights by 25 % and a normalisation. The same seed
    draws the same noise for every C. The contested samples lie on the segments between entering means, all on the side
    of the second, so that what a wrong score or logarithm does to them adds up.
    """
    rng = np.random.default_rng([seed, case.components, case.dim, case.equal, case.centred])
    shares = SHARES[case.components, case.equal]
    true = np.array(shares) / sum(shares)
    apart = case.separation * np.sqrt(np.log(max(shares) / min(shares) * len(shares))) * (1 + 1e-9)  # rounding apart
    means = apart * _unit_means(case.components, case.dim)
    if case.centred:
        means = means - means.mean(axis=0)
    drawn, _ = sample(Mixture(true, means), case.drawn, rng)
    off = rng.standard_normal(means.shape)
    off *= 0.9 * (apart / 16 if case.theorem == "F.6" else 0.5) / np.linalg.norm(off, axis=1, keepdims=True)
    weights = true * (1 + rng.uniform(-0.25, 0.25, len(true)))
    weights = np.round(256 * weights / weights.sum()) / 256
    weights[-1] = 1 - weights[:-1].sum()  # exactly
    start = Mixture(weights, means + off)
    return Instance(case, shares, means, np.concatenate([drawn, _between(start, case.contested)]), start)


def _unit_means(components: int, dim: int) -> Float[np.ndarray, "K d"]:
    if components == 3 and dim == 2:
        return np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
    return np.arange(components)[:, None] * np.eye(1, dim)


def _between(start: Mixture, count: int) -> Float[np.ndarray, "count d"]:
    """Points (μ_a + μ_b)/2 + sΔ/‖Δ‖² with Δ = μ_b − μ_a, for neighbours a, b: logit_b − logit_a = log(π_b/π_a) + s."""
    pairs, points = list(pairwise(range(len(start.weights)))), []
    for place in range(count):
        (a, b), lead = pairs[place % len(pairs)], LEADS[place // len(pairs) % len(LEADS)]
        gap = start.means[b] - start.means[a]
        along = lead - np.log(start.weights[b] / start.weights[a])
        points.append((start.means[a] + start.means[b]) / 2 + along * gap / (gap @ gap))
    return np.array(points).reshape(count, start.means.shape[1])


@flint.ctx.workprec(PRECISION)
def outside(given: Instance) -> str:
    """What is not certainly met: the theorem's conditions, and that a sample is contested. Empty if all is."""
    true, shares = to_balls(given.means), given.shares
    apart = [norm(true[i] - true[j]).item() for i, j in combinations(range(len(true)), 2)]
    least = flint.arb(given.case.separation) * (flint.arb(max(shares)) / min(shares) * len(shares)).log().sqrt()
    if not all(distance >= least for distance in apart):
        return "two means are too close"
    allowed = [flint.arb(0.5)] if given.case.theorem == "F.7" else [distance / 16 for distance in apart]
    if not all(off <= limit for off in norm(to_balls(given.start.means) - true) for limit in allowed):
        return "an entering mean is too far from the true one"
    pairs = zip(given.start.weights.tolist(), shares, strict=True)
    if not all(abs(flint.arb(weight) * sum(shares) / share - 1) <= 0.5 for weight, share in pairs):
        return "an entering weight is too far from the true one"
    return "" if contested(given) else "no sample is contested"


def contested(given: Instance) -> list[int]:
    """The samples of which two responsibilities under the entering parameters certainly lie within CONTESTED."""
    low, high = CONTESTED
    return [
        i for i, row in enumerate(responsibilities(given)) if sum(bool(low < w) and bool(w < high) for w in row) > 1
    ]


def responsibilities(given: Instance) -> np.ndarray:
    """Enclosures of the exact w_ik under the entering parameters."""
    entering = parameters(given.start)
    return ball_em.responsibilities(to_balls(given.samples), entering.log_weights, entering.means)


@flint.ctx.workprec(PRECISION)
def paper(given: Instance) -> tuple[TaskClass, Approximation]:
    """`paper`: log A = ½(B_X + B_μ)² + log(2/min π*) + U, rounded up, so that no responsibility is below 1/A.

    B_X = max‖x_i‖. F.6: B_μ = max‖μ_k⁽⁰⁾‖. F.7: B_μ = max(B_X, max‖μ_k*‖ + ½), good for every point of the region and
    for every average of the samples. U ≤ δ²/8 + dδ_sq/2 with δ_sq = (δ/8)²; log networks of Lemma F.4's width for δ.
    """
    case, square_error = given.case, (given.case.delta / 8) ** 2
    samples, entering, true = (
        largest(iter(norm(to_balls(x)))) for x in (given.samples, given.start.means, given.means)
    )
    means = entering if case.theorem == "F.6" else samples.max(true + 0.5)
    logit_error = flint.arb(case.delta) ** 2 / 8 + flint.arb(square_error) * case.dim / 2
    log_a = _above((samples + means) ** 2 / 2 - flint.arb(given.least_weight).log() + logit_error)
    radius = _above(samples.max(means) * 1.01)  # some room, so that a few bits tell the means from the class's end
    chords = lemma_f4_units(log_a, case.delta) - 1
    sizes = Approximation("paper", log_a, log_a, chords, radius, square_pieces(radius, square_error))
    return TaskClass(case.dim, case.components, radius, given.least_weight), sizes


def floor(given: Instance) -> tuple[TaskClass, Approximation]:
    """`floor` for the same class, with the tolerance 2B·tanh(g/4) that `paper`'s first step has for δ."""
    task_class, _ = paper(given)
    return task_class, split_tolerance(
        task_class, 2 * task_class.radius * bounds.tilt(chord_error(given.case.delta)), "floor"
    )


def _above(ball: flint.arb) -> float:
    """A float that is no smaller: rounding to a float loses at most one."""
    return nextafter(float(ball.upper()), inf)


THEOREMS: tuple[Theorem, ...] = "F.6", "F.7"
FORMS: tuple[tuple[int, int, bool, bool], ...] = tuple(product((2, 3), (1, 2), (True, False), (True, False)))
"""K, d, equal weights, centred."""
LARGE = (2, 1, True, False), (2, 2, True, True), (3, 2, True, True)
"""The forms for large C: the number of units grows like C²."""


def cases(full: bool) -> Iterator[Case]:
    """C = 1 and 8 in all forms, 64 and 128 in one; `full`: all C, also 128 centred, with K = 3, and for F.7."""
    for separation, form, theorem in product((1, 2, 4, 8, 16) if full else (1, 8), FORMS, THEOREMS):
        yield Case(separation, *form, theorem)
    for separation, form, theorem in product((32, 64), LARGE, THEOREMS) if full else [(64, LARGE[2], THEOREMS[0])]:
        yield Case(separation, *form, theorem, 6, 6)
    yield Case(128, *LARGE[0], "F.6", 6, 6)
    if full:
        yield Case(128, *LARGE[0], "F.7", 6, 6)
        yield Case(128, *LARGE[1], "F.6", 6, 6)
        yield Case(128, *LARGE[2], "F.6", 6, 6)
