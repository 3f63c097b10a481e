"""Lemma F.1: a sample average of W(X, θ), uniformly over a product of balls; with constants, and its shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import log, sqrt

import numpy as np
from jaxtyping import Float

from constructions.concentration_bounds import Region, lemma_f1_deviation
from theory_checks import concentration, uniform_deviations
from theory_checks.ledger import Verdict, compare, statement
from theory_checks.test_lemma_f2 import Rate, dimensionless_rate, faster_rate, held_out, kd_rate, recovered
from theory_checks.uniform_deviations import Cell, calibrate

Bound = Callable[[Float[np.ndarray, " m"], int, float, float, int, float], float]
DELTA = 1e-8
SETS = 3
GAUSSIAN_NORM = sqrt(8 / 3)
"""ψ₂-norm of a standard Gaussian variable: E e^{g²/R²} = (1 − 2/R²)^{−1/2} = 2."""
BOUNDED_NORM = 1 / sqrt(log(2))
"""ψ₂-norm of the constant 1."""
LINEAR = ((2, 3, 1024), (5, 2, 4096), (11, 31, 4096), (16, 128, 65536))
"""(K, d, n)."""
MIXTURES = ((2, 1, 4096, 4.0, 0.5), (2, 3, 4096, 3.0, 0.3), (3, 2, 4096, 4.0, 1 / 3))
"""(K, d, n, R_min, π_min); the weights are the true ones."""


def linear_suprema(components: int, dim: int, count: int, sets: int, rng: np.random.Generator) -> list[float]:
    """Σ_k ‖block k of (1/n)ΣX_i‖ = sup of (1/n)Σ_i ⟨X_i, θ⟩ over K unit balls; X_i ~ N(0, I_Kd), the average N(0, I/n).

    Here nothing has to be found.
    """
    averages = rng.standard_normal((sets, components, dim)) / sqrt(count)
    return np.linalg.norm(averages, axis=-1).sum(axis=1).tolist()


def moments(region: Region) -> tuple[float, float]:
    """ψ₂-norm and Lipschitz constant of ⟨u, w_k(X − μ_k*)⟩, u in the unit ball being one more parameter.

    |·| ≤ |g| + R_max; and with A = √d + R_max, L = A + ½(A + r)A.
    """
    reach = sqrt(region.truth.means.shape[1]) + float(region.distances.max())
    norm = GAUSSIAN_NORM + BOUNDED_NORM * float(region.distances.max())
    return norm, reach + (reach + region.radius) * reach / 2


@statement(
    "lemma-f1-explicit",
    source="Lemma F.1 with explicit constants",
    text="ours",
    evidence="sampled",
    paper=("Lemma F.1",),
)
def lemma_f1_explicit(rng: np.random.Generator, *, bound: Bound = lemma_f1_deviation) -> Iterator[Verdict]:
    """Lemma F.1 with sup_θ |(1/n)Σ_i W(X_i, θ) − E W| ≤ R(√(4κ(Σ_k d log(1 + 2r_k/ε) + log(4/δ))/n) + 1/√n).

    ε = δR/(3L√n), κ = ½ + 2 log 2. Three families W at δ = 1e-8 on 30 data sets (false alarm 3e-7 at most): ⟨X, θ⟩,
    whose supremum is known; w_k and ⟨u, w_k(X − μ_k*)⟩ with the means as parameters, by gradient ascent.
    """
    for components, dim, count in LINEAR:
        norm, lipschitz = sqrt(components) * GAUSSIAN_NORM, components * sqrt(dim)
        limit = bound(np.ones(components), dim, norm, lipschitz, count, DELTA)
        for number, value in enumerate(linear_suprema(components, dim, count, SETS, rng)):
            name = f"linear K={components} d={dim} n={count} set {number}"
            yield compare(value, limit, name, trivial=components * sqrt(dim))
    for components, dim, count, separation, least in MIXTURES:
        truth = uniform_deviations.mixture(components, dim, separation, least)
        region, name = Region(truth, separation / 16, 0.0), f"K={components} d={dim} n={count} R_min={separation:g}"
        samples = concentration.draw(truth, SETS, count, rng)
        reach = sqrt(dim) + float(region.distances.max())
        norm, lipschitz = moments(region)
        radii = np.full(components, region.radius)
        limits = (
            bound(radii, dim, BOUNDED_NORM, (reach + region.radius) / 2, count, DELTA),
            bound(np.append(radii, 1.0), dim, norm, lipschitz, count, DELTA),
        )
        families = (("w", concentration.signed_weights, 1.0), ("moment", concentration.moment_norms, reach))
        for (family, objective, trivial), limit in zip(families, limits, strict=True):
            found = concentration.suprema(samples, region, objective, rng).values.max(axis=1)
            for number, value in enumerate(found):
                yield compare(float(value), limit, f"{family}: {name} set {number}", trivial)


lemma_f1_explicit.control("a fortieth of the bound", bound=lambda *at: lemma_f1_deviation(*at) / 40)
lemma_f1_explicit.control(
    "a net of one ball on a line",
    bound=lambda radii, _dim, norm, lipschitz, n, delta: lemma_f1_deviation(radii[:1], 1, norm, lipschitz, n, delta),
)
lemma_f1_explicit.control(
    "n^2 samples in the bound",
    bound=lambda radii, dim, norm, lipschitz, n, delta: lemma_f1_deviation(radii, dim, norm, lipschitz, n**2, delta),
)
test_lemma_f1_explicit, test_lemma_f1_explicit_controls = lemma_f1_explicit.tests()


def linear(rng: np.random.Generator, rate: Rate, loosened: float) -> Iterator[Verdict]:
    """Judge sup/R of ⟨X, θ⟩: the constant of small n, K, d bounds the rest; and √(Kd/n)/2 is exceeded.

    Σ_k ‖mean_k‖ is √K-Lipschitz in averages of variance 1/n, and its mean is at least K√((d − 1)/n): at K = 16, d = 128
    it is below ½R√(Kd/n) = 0.817 K√(d/n) with probability e^{−Kd(0.996 − 0.817)²/2} < 1e-14 at most.
    """

    def judged(components: int, dim: int, count: int) -> tuple[Cell, Float[np.ndarray, " sets"]]:
        cell = Cell("linear", "linear", components, dim, count, 0.0, 1 / components)
        values = linear_suprema(components, dim, count, 40, rng)
        return cell, np.array(values) / (sqrt(components) * GAUSSIAN_NORM)

    first = [uniform_deviations.Measured(*judged(k, d, n)) for k in (1, 2) for d in (1, 2) for n in (256, 1024)]
    constant = loosened * calibrate(first, rate)
    for components, dim, count in ((2, 2, 2**14), (2, 2, 2**17), (2, 64, 4096), (16, 1, 4096), (8, 8, 2**14)):
        cell, values = judged(components, dim, count)
        yield held_out(uniform_deviations.Measured(cell, values), constant * rate(cell))
    cell, values = judged(16, 128, 2**14)
    least = float(values.min()) * sqrt(cell.count / (cell.components * cell.dim))
    yield Verdict("holds" if least >= loosened / 2 else "refuted", f"{cell.name}: at least {least:.3f} R sqrt(Kd/n)")


@statement(
    "lemma-f1",
    source="Lemma F.1 (Segol & Nadler 2021, Lemma B.2)",
    text="recovered",
    evidence="rate",
    depends_on=("lemma-f1-explicit",),
    paper=("Lemma F.1",),
    figure="lemma_f2",
)
def lemma_f1(rng: np.random.Generator, *, rate: Rate = kd_rate, loosened: float = 1.0) -> Iterator[Verdict]:
    """W(X, θ) of ψ₂-norm ≤ R and E sup|W(X, θ) − W(X, θ′)| ≤ Lε: sup_θ |average − E W| ≤ R√(cKd log(1 + CnLr/δ)/n).

    With probability ≥ 1 − δ, θ in K balls of radii ≤ r in R^d. The universal constants are unknown; for three families
    the shape √(K d log(n)/n) holds on held-out cells, and for W = ⟨X, θ⟩ the factor √(Kd/n) is attained.
    """
    yield from linear(rng, rate, loosened)
    results = uniform_deviations.read()
    for quantity in ("w", "moment"):
        yield from recovered(rng, quantity, results, rate, loosened)


lemma_f1.control("the rate 1/n", rate=faster_rate)
lemma_f1.control("no growth with d", rate=dimensionless_rate)
lemma_f1.control("a fifth of the calibrated constants", loosened=0.2)
test_lemma_f1, test_lemma_f1_controls = lemma_f1.tests()
