"""Explicit bounds, uniform in θ, for sample averages of w_k and w_k(X − μ_k*), and for an EM step.

Statements and proofs: proofs_notes/lemma_f1.md, lemma_f2.md, theorem_f4.md. Every bound holds with probability at
least 1 − δ over n independent samples of the true mixture, for all θ of the region at once. The free parameters of a
proof (Chernoff's s, the net's width ε) are chosen on a grid: whatever the choice, the bound holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import log, sqrt

import numpy as np
from jaxtyping import Float

from constructions.algorithms.sampling import Mixture
from constructions.errors import InputError

TILTS = np.geomspace(1e-5, 30, 300)
"""Chernoff's s."""
WIDTHS = np.geomspace(1e-9, 1, 73)
"""ε, the net's width in the differences of means."""
SUB_GAUSSIAN = 0.5 + 2 * log(2)
"""log E e^{s(W − EW)} ≤ (½ + 2 log 2)(sR)² for a W of ψ₂-norm R (lemma_f1.md)."""

Generating = Callable[[Float[np.ndarray, " s"]], Float[np.ndarray, " s"]]
PerComponent = Float[np.ndarray, " K"]


@dataclass(frozen=True)
class Region:
    """All θ with ‖μ_k − μ_k*‖ ≤ radius and |π_k − π_k*| ≤ slack·π_k*, normalised or not; K ≥ 2, 0 ≤ slack < 1.

    Raises
    ------
    InputError
        If there are fewer than two components, or radius or slack is out of range.
    """

    truth: Mixture
    radius: float
    slack: float

    def __post_init__(self) -> None:
        if len(self.truth.weights) < 2:
            raise InputError(f"the mixture has {len(self.truth.weights)} component; responsibilities need two")
        if not self.radius >= 0:
            raise InputError(f"the region's radius is {self.radius:g}; it must not be negative")
        if not 0 <= self.slack < 1:
            raise InputError(f"the region's slack of weights is {self.slack:g}; it must lie in [0, 1)")

    @cached_property
    def distances(self) -> Float[np.ndarray, "K K"]:
        """R_jk = ‖μ_j* − μ_k*‖."""
        means = self.truth.means
        return np.linalg.norm(means[:, None] - means[None], axis=-1)

    @cached_property
    def odds(self) -> float:
        """κ = (1 + slack)/(1 − slack): by what factor a ratio of weights can be off."""
        return (1 + self.slack) / (1 - self.slack)

    @cached_property
    def overlaps(self) -> Float[np.ndarray, "K K"]:
        """c_jk = √(κ π_j* π_k*)·e^{−(s² − 4r²)/8}, s = max(R_jk − 2r, 0), and c_kk = 0: π_j* E_j[w_k] ≤ c_jk."""
        nearest = np.maximum(self.distances - 2 * self.radius, 0)
        geometric = np.sqrt(self.odds * np.outer(self.truth.weights, self.truth.weights))
        with np.errstate(over="ignore"):  # infinite for radii from 75 on: every bound made of it is then infinite
            overlaps: np.ndarray = geometric * np.exp((4 * self.radius**2 - nearest**2) / 8)
        np.fill_diagonal(overlaps, 0.0)
        return overlaps

    @cached_property
    def offsets(self) -> Float[np.ndarray, "K K"]:
        """h_jk = R_jk/2 + r: where, under the tilted law, X is centred at most, seen from μ_k*."""
        return self.distances / 2 + self.radius

    def log_net(self, width: Float[np.ndarray, " e"], reach: float) -> Float[np.ndarray, " e"]:
        """Log of Π_{j>1} (1 + 4r/ε)^d (1 + 2β_j/(εA)), β_j = log κ + r(R_1j + 2r), A = `reach`: points of an ε-net."""
        dim = self.truth.means.shape[1]
        offsets = log(self.odds) + self.radius * (self.distances[0, 1:] + 2 * self.radius)
        balls = (len(self.truth.weights) - 1) * dim * np.log1p(4 * self.radius / width)
        return balls + np.log1p(2 * offsets / (width[:, None] * reach)).sum(axis=1)

    def reach(self, count: int, delta: float) -> float:
        """A = √d(1 + s) + R_max with s = √(2 log(2/δ)/(nd)): P(mean_i ‖z_i‖² > d(1+s)²) ≤ δ/2 (Lemma F.6, nd for d)."""
        _require(count, delta)
        dim = self.truth.means.shape[1]
        return sqrt(dim) + sqrt(2 * log(2 / delta) / count) + float(self.distances.max())


def chernoff(
    generating: Generating, log_events: float | Float[np.ndarray, " e"], count: int
) -> float | Float[np.ndarray, " e"]:
    """min_s (Ψ(s) + t/n)/s, t = `log_events`: P(mean of n exceeds it) ≤ e^{−t}, if log E e^{s(Y − EY)} ≤ Ψ(s)."""
    values = (generating(TILTS) + np.asarray(log_events)[..., None] / count) / TILTS
    least: np.ndarray = values.min(axis=-1)
    return least if least.ndim else float(least)


def bounded_generating(mean: float, spread: float) -> Generating:
    """min(m(e^s − 1 − s), (s·b)²/8), b = `spread`: for |Y| ≤ 1 in an interval of length b with E|Y| ≤ m = `mean`."""
    return lambda s: np.minimum(mean * (np.expm1(s) - s), (s * spread) ** 2 / 8)


def gaussian_generating(
    shares: Float[np.ndarray, " m"], offsets: Float[np.ndarray, " m"], share: float = 0.0
) -> Generating:
    """share·(e^{s²/2} − 1) + Σ_j c_j(e^{s²/2 + s h_j} − 1 − s h_j)."""

    def generating(s: Float[np.ndarray, " s"]) -> Float[np.ndarray, " s"]:
        with np.errstate(over="ignore", invalid="ignore"):  # an s at which the sum is infinite, or 0·∞, is of no use
            terms = shares[:, None] * (np.expm1(s**2 / 2 + np.outer(offsets, s)) - np.outer(offsets, s))
            return np.nan_to_num(share * np.expm1(s**2 / 2) + terms.sum(axis=0), nan=np.inf, posinf=np.inf)

    return generating


def responsibility_deviation(region: Region, count: int, delta: float) -> PerComponent:
    """sup_θ |(1/n)Σ_i w_k(X_i; θ) − E w_k(X; θ)|: the lesser of the direct and the split bound (lemma_f2.md).

    Both are Chernoff's bound on an ε-net of the region plus 2εA. Direct: of w_k itself, E w_k ≤ π_k* + Σ_j c_jk. Split:
    of 1{y = k}, which is no matter of θ and needs no net, and of w_k − 1{y = k}, E|·| ≤ 2Σ_j c_jk.
    """
    weights, overlap = region.truth.weights, region.overlaps.sum(axis=0)
    reach = region.reach(count, delta)
    net, rest = region.log_net(WIDTHS, reach), 2 * WIDTHS * reach
    events = log(2 * len(weights))
    bounds = []
    for weight, q in zip(weights, overlap, strict=True):
        direct = chernoff(bounded_generating(weight + q, 1.0), events + net + log(2 / delta), count) + rest
        labels = chernoff(bounded_generating(weight, 1.0), events + log(4 / delta), count)
        split = chernoff(bounded_generating(2 * q, 2.0), events + net + log(4 / delta), count) + rest
        bounds.append(min(np.min(direct), labels + np.min(split)))
    return np.array(bounds)


def moment_deviation(region: Region, count: int, delta: float) -> PerComponent:
    """sup_θ ‖(1/n)Σ_i w_k(X_i; θ)(X_i − μ_k*) − E w_k(X; θ)(X − μ_k*)‖: the lesser of the direct and the split bound.

    As for w_k, along the 5^d directions of a ½-net of the sphere, which loses 8/7, plus 2εA² (lemma_f2.md).
    """
    weights, dim = region.truth.weights, region.truth.means.shape[1]
    reach = region.reach(count, delta)
    net, rest = region.log_net(WIDTHS, reach), 2 * WIDTHS * reach**2
    events = log(len(weights)) + dim * log(5)
    bounds = []
    for k, weight in enumerate(weights):
        shares, offsets = region.overlaps[:, k], region.offsets[:, k]
        direct = chernoff(gaussian_generating(shares, offsets, weight), events + net + log(2 / delta), count)
        labels = chernoff(gaussian_generating(shares[:0], offsets[:0], weight), events + log(4 / delta), count)
        split = chernoff(gaussian_generating(2 * shares, offsets), events + net + log(4 / delta), count)
        bounds.append(min(np.min(8 / 7 * direct + rest), 8 / 7 * labels + np.min(8 / 7 * split + rest)))
    return np.array(bounds)


def population_offsets(region: Region) -> tuple[PerComponent, PerComponent]:
    """q_k = Σ_j c_jk ≥ |E w_k − π_k*| and v_k = 2Σ_j c_jk√(1 + h_jk²) ≥ ‖E w_k(X − μ_k*)‖, for all θ of the region."""
    return region.overlaps.sum(axis=0), 2 * (region.overlaps * np.sqrt(1 + region.offsets**2)).sum(axis=0)


def step_deviation(
    truth_weights: PerComponent,
    deviations: tuple[PerComponent, PerComponent],
    new_weights: Float[np.ndarray, "*batch K"],
    new_offsets: Float[np.ndarray, "*batch K"],
) -> Float[np.ndarray, "*batch K"]:
    """max(ε_k/π_k*, (η_k + ‖μ_k⁺ − μ_k*‖ε_k)/(π_k⁺ − ε_k)): how far EM's step on the sample is from population EM's.

    `deviations` (ε, η) bound those of w_k and of w_k(X − μ_k*); π⁺ and ‖μ⁺ − μ*‖ are population EM's, or bounds on
    them from below and above. Infinite where π_k⁺ ≤ ε_k.
    """
    first, second = deviations
    left = np.maximum(new_weights - first, 0)
    with np.errstate(divide="ignore"):
        means = (second + new_offsets * first) / left
    return np.maximum(first / truth_weights, means)


def uniform_step_deviation(region: Region, count: int, delta: float) -> float:
    """The same for all θ of the region and all k at once, with probability ≥ 1 − 2δ, from the explicit offsets."""
    off_weights, off_sums = population_offsets(region)
    least = np.maximum(region.truth.weights - off_weights, 0)
    with np.errstate(divide="ignore", over="ignore"):
        offsets = off_sums / least
    deviations = responsibility_deviation(region, count, delta), moment_deviation(region, count, delta)
    return float(step_deviation(region.truth.weights, deviations, least, offsets).max())


def one_step_radius(region: Region, count: int, delta: float) -> float:
    """Bound on D after one EM step on n samples from any θ of the region, with probability ≥ 1 − 2δ.

    max_k max((q_k + ε_k)/π_k*, (v_k + η_k)/(π_k* − q_k − ε_k)), infinite where the last denominator is not positive.
    """
    off_weights, off_sums = population_offsets(region)
    first = off_weights + responsibility_deviation(region, count, delta)
    left = np.maximum(region.truth.weights - first, 0)
    with np.errstate(divide="ignore"):
        means = (off_sums + moment_deviation(region, count, delta)) / left
    return float(np.maximum(first / region.truth.weights, means).max())


def samples_needed(
    bound: Callable[[Region, int, float], float], region: Region, limit: float, delta: float, largest: int
) -> int | None:
    """The least n, by bisection, at which a bound that falls with n is `limit` at most; None if no n ≤ largest is."""
    if bound(region, largest, delta) > limit:
        return None
    low, high = 0, largest
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if bound(region, middle, delta) <= limit else (middle, high)
    return high


def lemma_f1_deviation(
    radii: Float[np.ndarray, " m"], dim: int, norm: float, lipschitz: float, count: int, delta: float
) -> float:
    """Lemma F.1 with constants: R(√(4κ(Σ_k d log(1 + 2r_k/ε) + log(4/δ))/n) + 1/√n), ε = δR/(3L√n), κ = ½ + 2 log 2.

    Bounds sup_θ |(1/n)Σ_i W(X_i, θ) − E W(X, θ)| over a product of balls of radii r_k in R^d, with probability
    ≥ 1 − δ, if the ψ₂-norm of W(X, θ) is at most R = `norm` and E sup |W(X, θ) − W(X, θ′)| ≤ Lε over all pairs with
    max_k ‖θ_k − θ_k′‖ ≤ ε, for every ε.
    """
    _require(count, delta)
    width = delta * norm / (3 * lipschitz * sqrt(count))
    net = dim * float(np.log1p(2 * radii / width).sum())
    return norm * (sqrt(4 * SUB_GAUSSIAN * (net + log(4 / delta)) / count) + 1 / sqrt(count))


def _require(count: int, delta: float) -> None:
    """InputError unless n ≥ 1 and 0 < δ < 1."""
    if count < 1:
        raise InputError(f"there are {count} samples; at least one is needed")
    if not 0 < delta < 1:
        raise InputError(f"the failure probability is {delta:g}; it must lie in (0, 1)")
