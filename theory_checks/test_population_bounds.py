"""The bounds of a population-EM step with two components, against steps from the worst points found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import flint
import numpy as np

from constructions import population_bounds
from theory_checks.enclosures import decided, enclose
from theory_checks.ledger import Verdict, statement
from theory_checks.population_instances import (
    Objective,
    Region,
    assumption_a1,
    certified_distances,
    climb,
    contraction_rate,
    mixture,
    one_step_radius,
)

Ball = flint.arb
Bound = Callable[[Ball, Ball], Ball]
BITS = 64
SEARCH = (129, 24, 50)
"""Nodes, starts and rounds of the search for a worst point."""


def contraction(radius: float, separation: Ball, log_ratio: Ball) -> Ball:
    """The bound of D⁺/D where D ≤ a = `radius`."""
    return population_bounds.contraction(separation, log_ratio, Ball(radius))


@statement(
    "population-bounds",
    source="Theorems F.2, F.3 for two components: the bounds of one step",
    text="ours",
    evidence="certified",
    paper=("Theorem F.2", "Theorem F.3"),
    note="theorem_f2",
)
def population_bounds_row(
    rng: np.random.Generator,
    *,
    first_step: Bound = population_bounds.first_step,
    contraction: Callable[[float, Ball, Ball], Ball] = contraction,
) -> Iterator[Verdict]:
    """K = 2: D⁺ is at most b(R, log 2ρ_π) after a step from (A1)'s region, and at most b(R, log 2ρ_π, a)·D where D ≤ a.

    Proved for every dimension, all weights and all points of the regions. Here for five R and ρ_π, d = 2 and a = 0.5,
    0.9 the worst point of the region is looked for, and at the one found both sides are enclosed.
    """
    yield from compared(rng, first_step, one_step_radius, lambda before, after: after, None)
    for radius in (0.5, 0.9):
        bound = partial(contraction, radius)
        yield from compared(rng, bound, contraction_rate, lambda before, after: after / before, radius)


def compared(
    rng: np.random.Generator,
    bound: Bound,
    objective: Objective,
    judge: Callable[[Ball, Ball], Ball],
    radius: float | None,
) -> Iterator[Verdict]:
    """`judge`, made of (D, D⁺), against the bound at the worst points found: of (A1)'s region, or of D ≤ `radius`."""
    for constant, ratio in ((6.0, 1.0), (9.0, 1.0), (12.0, 1.0), (7.0, 3.0), (4.0, 1000.0)):
        truth = mixture(constant, (ratio, 1), 2)
        inner = assumption_a1(truth, f"C={constant:g} rho={ratio:g} {'(A1)' if radius is None else f'a={radius:g}'}")
        region = inner if radius is None else Region(inner.name, truth, radius, radius)
        _, at = climb(region, objective, rng, *SEARCH)
        apart, log_ratio = float(truth.means[1, 0]), Ball(2 * ratio)

        def verdicts() -> list[Verdict]:
            allowed = bound(Ball(apart), log_ratio.log())  # noqa: B023 - used at once
            excuse = "the bound's precondition" if allowed.is_nan() else ""
            distances = certified_distances(region.truth, at)  # noqa: B023
            return [enclose(judge(*distances), allowed, region.name, excuse=excuse)]  # noqa: B023

        yield from decided(verdicts, bits=BITS)


population_bounds_row.control(
    "a tenth of the first step's bound", first_step=lambda r, ell: population_bounds.first_step(r, ell) / 10
)
population_bounds_row.control(
    "equal weights taken for all", first_step=lambda r, ell: population_bounds.first_step(r, Ball(2).log())
)
population_bounds_row.control(
    "a hundredth of the contraction's bound", contraction=lambda a, r, ell: contraction(a, r, ell) / 100
)
test_population_bounds, test_population_bounds_controls = population_bounds_row.tests()
