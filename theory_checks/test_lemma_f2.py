"""Lemmas F.2 and F.3: averages of w_k and of w_k(X − μ_k*) over a sample, uniformly over (A1)'s region."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from constructions.algorithms.sampling import Mixture
from constructions.concentration_bounds import Region, moment_deviation, responsibility_deviation
from theory_checks import concentration, rate_verdicts, rates, reached, uniform_deviations
from theory_checks.ledger import Verdict, compare, require, statement
from theory_checks.uniform_deviations import OBJECTIVES, Cell, Measured, Results, calibrate

Bound = Callable[[Region, int, float], Float[np.ndarray, " K"]]
Law = Callable[[Mixture], Mixture]
Rate = Callable[[Cell], float]

DELTA = 1e-8
"""Failure probability of each explicit bound on each data set."""
SETS = 3
CASES = (
    (2, 1, 1024, 2.0, 0.5),
    (2, 1, 1024, 4.0, 0.5),
    (2, 5, 4096, 4.0, 0.5),
    (2, 2, 2048, 8.0, 0.1),
    (3, 2, 2048, 6.0, 1 / 3),
    (5, 1, 2048, 4.0, 1 / 5),
)
"""(K, d, n, R_min, π_min)."""


def same_law(truth: Mixture) -> Mixture:
    """The expectation is that of the samples' law."""
    return truth


def reversed_weights(truth: Mixture) -> Mixture:
    """A wrong expectation: the components' weights in the opposite order."""
    return Mixture(truth.weights[::-1].copy(), truth.means)


def wider(truth: Mixture) -> Mixture:
    """Another: the means 1.25 times as far apart."""
    return Mixture(truth.weights, 1.25 * truth.means)


def explicit(rng: np.random.Generator, quantity: str, bound: Bound, law: Law) -> Iterator[Verdict]:
    """Judge the largest deviation found over the region, of the component nearest to its bound, by the explicit bound.

    From |w_k| ≤ 1 alone, the deviation of w_k is 1 at most, and ‖E w_k(X − μ_k*)‖ is √d + R_max at most.
    """
    for components, dim, count, separation, least in CASES:
        cell = Cell("drawn", quantity, components, dim, count, separation, least)
        region = cell.region
        samples = concentration.draw(region.truth, SETS, count, rng)
        found = concentration.suprema(samples, region, OBJECTIVES[quantity], rng, law=law(region.truth)).values
        by_component = found.reshape(SETS, -1, components).max(axis=1)
        bounds = bound(region, count, DELTA)
        trivial = 1.0 if quantity == "w" else float(np.sqrt(dim) + region.distances.max())
        for number, values in enumerate(by_component):
            k = int(np.argmax(values / bounds))
            yield compare(float(values[k]), float(bounds[k]), f"{cell.name} set {number} k={k + 1}", trivial)


def slope(cells: list[Cell], axis: Callable[[Cell], float], rate: Rate) -> float:
    """Least-squares slope of the log of the rate against that of the axis."""
    return float(np.polyfit(np.log([axis(c) for c in cells]), np.log([rate(c) for c in cells]), 1)[0])


AXES: dict[str, Callable[[Cell], float]] = {
    "n": lambda cell: cell.count,
    "d": lambda cell: cell.dim,
    "K": lambda cell: cell.components,
}


def held_out(measured: Measured, bound: float) -> Verdict:
    """Whether the values of a held-out cell are within the bound."""
    return rate_verdicts.cell(measured.values, bound, f"held-out {measured.cell.name}")


def recovered(
    rng: np.random.Generator, quantity: str, results: Results, rate: Rate, loosened: float
) -> Iterator[Verdict]:
    """Judge the shape: the constant of the calibration cells bounds the values of every held-out cell.

    And in n, d and K the measured exponent is at most the rate's own exponent on the same cells. Some values of one
    calibration cell are evaluated anew, at the points that the file holds.
    """
    first = results.part("calibration", quantity)
    yield reproduced(first[int(rng.integers(len(first)))], results.seed)
    constant = loosened * calibrate(first, rate)
    for name, axis in AXES.items():
        part = results.part(name, quantity)
        cells = [m.cell for m in part]
        measured = rates.exponent(np.array([axis(c) for c in cells], dtype=float), [m.values for m in part])
        yield rate_verdicts.at_most(measured, slope(cells, axis, rate), f"{quantity}: exponent of {name}")
    for part_name in (*AXES, "K and d"):
        for m in results.part(part_name, quantity):
            yield held_out(m, constant * rate(m.cell))


def reproduced(stored: Measured, seed: int) -> Verdict:
    """The cell's data are drawn anew; its kept points are in the region, and have the values that the file holds."""
    cell, name = stored.cell, f"{stored.cell.name} evaluated anew"
    if not stored.points:
        return Verdict("refuted", f"{name}: the file holds no points of it")
    samples, _ = uniform_deviations.draw(cell, seed, len(stored.values))
    for number, (point, value, x) in enumerate(zip(stored.points, stored.values, samples, strict=False)):
        if not reached.outside(cell.region, point) <= 1:
            return Verdict("refuted", f"{name}: the point of replication {number} is outside the region")
        again = reached.value(x, cell.region, OBJECTIVES[cell.quantity], point)
        limit = reached.allowed(x, cell.region, cell.quantity, point)
        if not abs(again - value) <= limit:
            told = f"measured {again!r}, stored {float(value)!r}, allowed difference {limit:.3g}"
            return Verdict("refuted", f"{name}: replication {number} {told}")
    return require(True, name)


def kd_rate(cell: Cell) -> float:
    """√(K d log(n)/n)."""
    return cell.rate


def faster_rate(cell: Cell) -> float:
    """√(K d log n)/n, which is false."""
    return cell.rate / float(np.sqrt(cell.count))


def dimensionless_rate(cell: Cell) -> float:
    """√(K log(n)/n), which is false where the dimension matters."""
    return cell.rate / float(np.sqrt(cell.dim))


def other_seed(results: Results) -> Results:
    """The same values, said to come from another seed."""
    return replace(results, seed=results.seed + 1)


@statement(
    "lemma-f2-explicit",
    source="Lemma F.2 with explicit constants",
    text="ours",
    evidence="sampled",
    depends_on=("lemma-f6",),
    paper=("Lemma F.2", "Remark F.5"),
)
def lemma_f2_explicit(
    rng: np.random.Generator, *, bound: Bound = responsibility_deviation, law: Law = same_law
) -> Iterator[Verdict]:
    """With probability ≥ 1 − δ, |(1/n)Σ_i w_k(X_i; θ) − E w_k(X; θ)| ≤ min over s, ε of (Ψ_k(s) + t/n)/s + 2εA.

    For all θ with ‖μ_k − μ_k*‖ ≤ r, |π_k − π_k*| ≤ aπ_k*, and explicit Ψ, t, A. Checked at δ = 1e-8 on 18 data sets,
    so that a true bound is called refuted with probability 2e-7 at most; the supremum is found by gradient ascent.
    """
    yield from explicit(rng, "w", bound, law)


lemma_f2_explicit.control("a fortieth of the bound", bound=lambda *at: responsibility_deviation(*at) / 40)
lemma_f2_explicit.control(
    "n^2 samples in the bound", bound=lambda r, n, delta: responsibility_deviation(r, n * n, delta)
)
lemma_f2_explicit.control("the expectation under another mixture", law=reversed_weights)
test_lemma_f2_explicit, test_lemma_f2_explicit_controls = lemma_f2_explicit.tests()


@statement(
    "lemma-f3-explicit",
    source="Lemma F.3 with explicit constants",
    text="ours",
    evidence="sampled",
    depends_on=("lemma-f6",),
    paper=("Lemma F.3", "Remark F.5"),
)
def lemma_f3_explicit(
    rng: np.random.Generator, *, bound: Bound = moment_deviation, law: Law = same_law
) -> Iterator[Verdict]:
    """With probability ≥ 1 − δ, ‖(1/n)Σ_i w_k(X_i; θ)(X_i − μ_k*) − E w_k(X; θ)(X − μ_k*)‖ ≤ an explicit bound.

    For all θ of the region; as for w_k, along 5^d directions, with (8/7)(Ψ_k(s) + t/n)/s + 2εA². Checked in the same
    way.
    """
    yield from explicit(rng, "moment", bound, law)


lemma_f3_explicit.control("a fortieth of the bound", bound=lambda *at: moment_deviation(*at) / 40)
lemma_f3_explicit.control("n^2 samples in the bound", bound=lambda r, n, delta: moment_deviation(r, n * n, delta))
lemma_f3_explicit.control("the expectation under another mixture", law=wider)
test_lemma_f3_explicit, test_lemma_f3_explicit_controls = lemma_f3_explicit.tests()


@statement(
    "lemma-f2",
    source="Lemma F.2",
    text="recovered",
    evidence="rate",
    paper=("Lemma F.2",),
)
def lemma_f2(
    rng: np.random.Generator,
    *,
    rate: Rate = kd_rate,
    loosened: float = 1.0,
    stored: Callable[[Results], Results] = lambda results: results,
) -> Iterator[Verdict]:
    """sup_θ |(1/n)Σ_i w_k(X_i; θ) − E w_k(X; θ)| ≤ c√(K d log(n)/n) over (A1)'s region; c is that of small n, d ≤ 2."""
    yield from recovered(rng, "w", stored(uniform_deviations.read()), rate, loosened)


lemma_f2.control("the rate 1/n", rate=faster_rate)
lemma_f2.control("a fifth of the calibrated constant", loosened=0.2)
lemma_f2.control("values that another seed gave", stored=other_seed)
test_lemma_f2, test_lemma_f2_controls = lemma_f2.tests()


@statement(
    "lemma-f3",
    source="Lemma F.3",
    text="recovered",
    evidence="rate",
    paper=("Lemma F.3",),
)
def lemma_f3(
    rng: np.random.Generator,
    *,
    rate: Rate = kd_rate,
    loosened: float = 1.0,
    stored: Callable[[Results], Results] = lambda results: results,
) -> Iterator[Verdict]:
    """sup_θ ‖(1/n)Σ_i w_k(X_i; θ)(X_i − μ_k*) − E w_k(X; θ)(X − μ_k*)‖ ≤ c√(K d log(n)/n) over (A1)'s region."""
    yield from recovered(rng, "moment", stored(uniform_deviations.read()), rate, loosened)


lemma_f3.control("the rate 1/n", rate=faster_rate)
lemma_f3.control("no growth with d", rate=dimensionless_rate)
lemma_f3.control("a fifth of the calibrated constant", loosened=0.2)
lemma_f3.control("values that another seed gave", stored=other_seed)
test_lemma_f3, test_lemma_f3_controls = lemma_f3.tests()
