"""Theorem F.2: one step of population EM from anywhere under (A1); and with which constant it holds for K = 2."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import flint
import numpy as np

from constructions import population_bounds
from theory_checks.coverage import covering
from theory_checks.enclosures import decided, enclose
from theory_checks.ledger import Verdict, compare, statement
from theory_checks.population_instances import (
    Objective,
    Region,
    assumption_a1,
    certified_distances,
    climb,
    mixture,
    one_step_radius,
)

Ball = flint.arb
Bound = Callable[[Ball, Ball], Ball]
Cases = tuple[tuple[tuple[float, ...], int], ...]

CASES: Cases = (((1, 1), 1), ((1, 3), 2), ((1, 100), 3), ((1, 1, 1), 2), ((1, 1, 4), 2), ((1, 4, 4), 3))
"""Weights up to their sum, and d. Two means, or three in an equilateral triangle."""
MORE: Cases = (((1, 1), 2), ((1, 10), 1), ((1, 10**4), 2), ((1, 1, 1), 1), ((1, 2, 3), 5), ((1, 20, 20), 2))
CONSTANTS = (4.0, 16.0, 128.0)
BITS = 64
COARSE, FINE = 41, 129
"""Nodes a dimension while a worst point is looked for (K > 2: two dimensions), and when it is judged."""
FAR = 24.0
"""Up to this R boxes are certified, from there on a bound that decreases."""


def worst(
    region: Region, objective: Objective, rng: np.random.Generator, judge: Callable[[Ball, Ball], Ball], bound: float
) -> Iterator[Verdict]:
    """The worst point found against `bound`: K = 2 in balls, `judge` made of (D, D⁺); else by quadrature, whose error
    is taken to be what doubling the nodes changes.
    """
    two = len(region.truth.weights) == 2
    _, at = climb(region, objective, rng, *((FINE, 24, 50) if two else (COARSE, 8, 30)))
    name = f"{region.name} (worst found)"
    if two:
        yield from decided(
            lambda: [enclose(judge(*certified_distances(region.truth, at)), Ball(bound), name)], bits=BITS
        )
        return
    fine, finer = (float(objective(region, at.weights[None], at.means[None], n)[0]) for n in (FINE, 2 * FINE - 1))
    yield compare(finer + abs(finer - fine), bound, name)


def instances(full: bool, constants: tuple[float, ...]) -> Iterator[tuple[float, tuple[float, ...], int, str]]:
    """C, the weights up to their sum, d, and a name."""
    for shares, dim in CASES + (MORE if full else ()):
        for constant in (*constants, *((6.0, 8.0, 64.0) if full else ())):
            listed = ":".join(f"{share:g}" for share in shares)
            yield constant, shares, dim, f"C={constant:g} weights {listed} d={dim}"


@statement(
    "theorem-f2",
    source="Theorem F.2 (Kwon & Caramanis 2020, Theorem 1), K = 2, 3",
    text="recovered",
    evidence="sampled",
    paper=("Theorem F.2",),
)
def theorem_f2(
    rng: np.random.Generator,
    *,
    full: bool = False,
    constants: tuple[float, ...] = CONSTANTS,
    bound: float = 0.5,
    widened: float = 1.0,
) -> Iterator[Verdict]:
    """Under (A1), C ≥ 4, one population-EM step gives ‖μ_k⁺ − μ_k*‖ ≤ ½ and |π_k⁺ − π_k*| ≤ π_k*/2 for each k.

    For C = 4, 16, 128 and listed weights and d the worst point of the region is looked for; at the one found, the
    inequality is certified for K = 2.
    """
    for constant, shares, dim, name in instances(full, constants):
        inner = assumption_a1(mixture(constant, shares, dim), name)
        region = Region(name, inner.truth, widened * inner.radius, inner.share)
        yield from worst(region, one_step_radius, rng, lambda before, after: after, bound)


theorem_f2.control("C lowered to 1", constants=(1.0,))
theorem_f2.control("means 3/8 R_min off", constants=(4.0,), widened=6.0)
theorem_f2.control("1/20 in place of 1/2", constants=(4.0,), bound=0.05)
test_theorem_f2, test_theorem_f2_controls = theorem_f2.tests()


def covered(bound: Bound, target: Callable[[Ball], Ball], constant: float, limit: int = 20) -> Iterator[Verdict]:
    """Judge bound(R, ℓ) ≤ target(R) for every R from C√log 2 to FAR and every ℓ from log 2 to (R/C)², in boxes.

    They are halved while undecided, `limit` times at most; where the middle of one disproves it, it is refuted.
    """
    log_2, squared = Ball(2).log(), Ball(constant) * Ball(constant)
    least = float((Ball(constant) * log_2.sqrt()).mid()) * (1 - 1e-12)

    def sides(box: tuple[float, float, float, float]) -> tuple[Ball, Ball]:
        separation, share = Ball(box[0]).union(Ball(box[1])), Ball(box[2]).union(Ball(box[3]))
        return separation, log_2 + share * (separation * separation / squared - log_2)

    boxes = [(least, FAR, 0.0, 1.0, limit)]
    while boxes:
        low, high, start, stop, left = boxes.pop()
        name = f"C={constant:g} R in [{low:.5g}, {high:.5g}], l in [{start:g}, {stop:g}] of its range"
        separation, log_ratio = sides((low, high, start, stop))
        verdict = enclose(bound(separation, log_ratio), target(separation), name, trivial=Ball.pos_inf())
        middle, centre = sides(((low + high) / 2,) * 2 + ((start + stop) / 2,) * 2)
        if verdict.outcome == "holds":
            yield verdict
        elif bound(middle, centre) > target(middle):
            yield enclose(bound(middle, centre), target(middle), f"the middle of {name}")
            return
        elif left == 0:
            yield Verdict("undecided", name)
        elif (high - low) / low > 0.3 * low * (stop - start):
            half = (low + high) / 2
            boxes += [(half, high, start, stop, left - 1), (low, half, start, stop, left - 1)]
        else:
            half = (start + stop) / 2
            boxes += [(low, high, half, stop, left - 1), (low, high, start, half, left - 1)]


def literature(end: Bound) -> Iterator[Verdict]:
    """D⁺ where C = 64."""
    constant = Ball(64)
    yield enclose(end(constant * Ball(2).log().sqrt(), constant), Ball(10) ** -100, "C=64, all R")


@statement(
    "theorem-f2-two",
    source="Theorem F.2 for two components, with its constant",
    text="ours",
    evidence="certified",
    coverage="interval",
    paper=("Theorem F.2",),
)
def theorem_f2_two(
    rng: np.random.Generator,
    *,
    constant: float = 6.0,
    bound: Bound = population_bounds.first_step,
    end: Bound = population_bounds.first_step_tail,
) -> Iterator[Verdict]:
    """K = 2: under (A1) with C = 6, one population-EM step gives ‖μ_k⁺ − μ_k*‖ ≤ ½ and |π_k⁺ − π_k*| ≤ π_k*/2 in every
    dimension, for all weights and from every point of the region; with C = 64 both are below 10⁻¹⁰⁰.

    Both are at most b(R, log 2ρ_π), which is proved on paper (population-bounds compares). b ≤ ½ is enclosed for every
    R and ρ_π that (A1) allows.
    """
    half = Ball(1) / 2

    def beyond() -> list[Verdict]:
        return [enclose(end(Ball(FAR), Ball(constant)), half, f"all R >= {FAR:g}")]

    yield from covering("interval", decided(lambda: covered(bound, lambda separation: half, constant), BITS, BITS))
    yield from covering("interval", decided(beyond, BITS))
    yield from covering("interval", decided(partial(literature, end), BITS))


theorem_f2_two.control("C = 5.5", constant=5.5)
theorem_f2_two.control("C = 64 at R = 24", end=lambda r, c: population_bounds.first_step_tail(Ball(FAR), c))
test_theorem_f2_two, test_theorem_f2_two_controls = theorem_f2_two.tests()
