"""Theorem F.1 with every constant explicit: under (A1), from n samples, one Θ of `floor`, any number of steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import expm1, inf, log, sqrt

import flint
import numpy as np

from constructions import bounds, concentration_bounds, population_bounds
from constructions.algorithms.sampling import Mixture, random_mixture, sample
from constructions.compiler import Head, Layer
from constructions.concentration_bounds import Region
from constructions.em_class import Approximation, TaskClass, split_tolerance
from constructions.em_run import run
from constructions.em_transformer import E_STEP, M_STEP, build
from theory_checks.ledger import Verdict, compare, statement

DELTA = 1e-10
"""Failure probability of each of the bounds that are joined."""
REGIONS = 6
"""Regions of the recursion, at most, beside that of (A1); from the last on every step stays in it."""
ROUNDING = 1e-6
"""What floating point may add to a step; checked against the allowance of every step."""
HALF = 0.5
STEPS = 3


@dataclass(frozen=True)
class Case:
    """A mixture under (A1) with constant C = `separation`, its lightest weight, n, and the tolerance of Θ."""

    separation: float
    d: int
    K: int
    n: int
    min_weight: float
    tolerance: float = 0.05

    @property
    def kept(self) -> int:
        """K⌊n/K⌋."""
        return self.n // self.K * self.K

    @property
    def name(self) -> str:
        """All of it."""
        return (
            f"C={self.separation:g} d={self.d} K={self.K} n={self.n} pi_min={self.min_weight:g} eps={self.tolerance:g}"
        )


CASES = (
    Case(64, 2, 2, 4001, 0.5),
    Case(64, 5, 3, 16381, 0.1),
    Case(16, 3, 2, 4001, 0.3),
    Case(16, 2, 5, 16381, 0.2),
    Case(8, 1, 2, 16381, 0.5),
    Case(8, 3, 3, 16381, 0.2),
    Case(4, 2, 2, 16381, 0.5),
)
MORE = (Case(128, 7, 4, 65521, 0.05), Case(8, 11, 2, 65521, 0.5), Case(16, 2, 3, 131071, 0.02))


def mixture(case: Case, rng: np.random.Generator) -> Mixture:
    """Means on a rotated grid, R_min = C√log(ρ_π K), one light component."""
    weights = np.full(case.K, (1 - case.min_weight) / (case.K - 1))
    weights[0] = case.min_weight
    apart = case.separation * sqrt(log(weights.max() / weights.min() * case.K)) * (1 + 1e-12)
    return Mixture(weights, random_mixture(case.d, case.K, apart, rng).means)


def smallest_distance(truth: Mixture) -> float:
    """R_min."""
    return min(
        float(np.linalg.norm(one - other)) for k, one in enumerate(truth.means) for other in truth.means[k + 1 :]
    )


def task_class(case: Case, truth: Mixture) -> TaskClass:
    """B = max ‖μ*‖ + √d(1+t), n e^{−dt²/2} = DELTA (Lemma F.6), and half the lightest weight."""
    excess = sqrt(2 * log(case.n / DELTA) / case.d)
    radius = float(np.linalg.norm(truth.means, axis=1).max()) + max(
        sqrt(case.d) * (1 + excess), smallest_distance(truth) / 16
    )
    return TaskClass(case.d, case.K, radius, truth.weights.min() / 2)


def transformer_step(approximation: Approximation, dim: int, rho: float, weight: float, first: bool) -> float:
    """D of the transformer's step, if EM's own from the same parameters has D ≤ ρ: any data set of the class.

    ρ + max(2B[tanh(U/4) + tanh(g/4) + 1/(1 + A e^c e^{−U}(1 − ρ)π_min)], (e^U − 1)(1 + ρ)), U = 0 in the first step.
    ROUNDING is added to the mean's part and, for the weights, to U, which bounds their logarithms.
    """
    u = 0.0 if first else approximation.logit_error(dim)
    if not rho < 1:
        return inf
    left = np.exp(-u - ROUNDING) * (1 - rho) * weight
    means = bounds.m_step(approximation, 2 * approximation.radius, left, u)
    return float(rho + max(means + ROUNDING, expm1(u + ROUNDING) * (1 + rho)))


def em_radius(truth: Mixture, radius: float, slack: float, count: int) -> float:
    """Bound of D after one EM step on n samples, from every θ with ‖μ_k − μ_k*‖ ≤ radius, |π_k − π_k*| ≤ slack·π_k*.

    With probability ≥ 1 − 2 DELTA. For two components the certified bounds of population EM serve as well.
    """
    region = Region(truth, radius, slack)
    bound = concentration_bounds.one_step_radius(region, count, DELTA)
    if len(truth.weights) > 2:
        return bound
    apart, ratio = flint.arb(smallest_distance(truth)), flint.arb(float(truth.weights.max() / truth.weights.min()))
    if radius == slack:
        population = population_bounds.contraction(apart, (2 * ratio).log(), flint.arb(radius)) * radius
    else:  # the region of (A1)
        population = population_bounds.first_step(apart, (2 * ratio).log())
    joined = float(population.upper()) + concentration_bounds.uniform_step_deviation(region, count, DELTA)
    return min(bound, joined) if joined == joined else bound


def radii(case: Case, truth: Mixture, approximation: Approximation) -> list[float]:
    """r_0, ..., r_T with D ≤ r_t after t ≤ T steps and D ≤ r_T after more, with probability ≥ 1 − (2T + 3)DELTA.

    r_0 is infinite: the start is where (A1) allows it; so may be what follows, up to the first region that the next
    step does not leave. Only [inf] if no such region is found.
    """
    reach = smallest_distance(truth) / 16
    first = em_radius(truth, reach, HALF, case.kept)
    lightest = float(truth.weights.min())
    found = [inf, transformer_step(approximation, case.d, first, lightest, first=True)]
    while len(found) <= REGIONS and found[-1] < HALF:
        radius = found[-1]
        rho = em_radius(truth, radius, radius, case.kept)
        rho = min(rho, first) if radius <= reach else rho  # the region lies in that of (A1)
        after = transformer_step(approximation, case.d, rho, lightest, first=False)
        if after > radius:
            found.append(1.01 * after)  # a little room, so that the next step stays in it
        elif after > 0.999 * radius:
            return found
        else:
            found.append(after)
    return found if len(found) > REGIONS and found[-1] <= found[-2] < HALF else [inf]


def starts(truth: Mixture, rng: np.random.Generator) -> Iterator[Mixture]:
    """As far as (A1) allows: means off towards a neighbour, and anywhere; weights off by a half."""
    reach = (1 - 1e-9) * smallest_distance(truth) / 16
    for off in (np.roll(truth.means, 1, axis=0) - truth.means, rng.standard_normal(truth.means.shape)):
        signs = rng.permutation(np.arange(len(truth.weights)) % 2 * 2.0 - 1)
        signs -= signs @ truth.weights  # so that the weights still sum to 1
        weights = truth.weights * (1 + 0.999 * HALF * signs / np.abs(signs).max())
        yield Mixture(weights, truth.means + reach * off / np.linalg.norm(off, axis=1, keepdims=True))


def distance(estimate: Mixture, truth: Mixture) -> float:
    """D."""
    means = np.linalg.norm(estimate.means - truth.means, axis=1)
    return float(np.maximum(means, np.abs(estimate.weights / truth.weights - 1)).max())


@statement(
    "theorem-f1-explicit",
    source="Theorem F.1 with explicit constants, parametrisation `floor`",
    text="ours",
    evidence="sampled",
    depends_on=("em-step-floor", "lemma-f6", "population-bounds", "theorem-f4-explicit"),
    paper=("Theorem F.1", "Theorem F.6", "Theorem F.7"),
)
def theorem_f1_explicit(
    rng: np.random.Generator,
    *,
    full: bool = False,
    cases: Sequence[Case] = CASES,
    layers: Sequence[Layer] = (E_STEP, M_STEP),
    scale: float = 1.0,
    widened: float = 1.0,
) -> Iterator[Verdict]:
    """Under (A1) with probability ≥ 1 − 1.5e-9 the transformer has D ≤ r_t after t steps and D ≤ r_T after more, which
    is proved for every start that (A1) allows; r_t follows from the true parameters, n and ε alone.

    r_{t+1} = ρ + max(2B[tanh(U/4) + tanh(g/4) + 1/(1 + A e^{c−U}(1 − ρ)π_min)], (e^U − 1)(1 + ρ)), ρ the uniform bound
    for EM on n samples over the region D ≤ r_t (theorem-f4-explicit). Checked from two starts on the region's edge,
    three steps, for listed mixtures.
    """
    for case in (*cases, *(MORE if full else ())):
        truth = mixture(case, rng)
        limits = task_class(case, truth)
        approximation = split_tolerance(limits, case.tolerance, "floor")
        bound = radii(case, truth, approximation)
        if len(bound) == 1:
            yield Verdict("vacuous", f"{case.name}: no region that a step does not leave")
            continue
        em = build(limits, approximation, STEPS, layers=layers)
        for start in starts(truth, rng):
            moved = Mixture(start.weights, truth.means + widened * (start.means - truth.means))
            samples, _ = sample(truth, case.kept, rng)
            for step in run(em, samples, moved).steps:
                last = min(step.step, len(bound) - 1)
                rounded = max(step.rounding.mean, step.rounding.log_weight) > ROUNDING
                error, excuse = distance(step.estimate, truth), "rounding" if rounded else ""
                yield compare(error, scale * bound[last], f"{case.name} step {step.step}", trivial=HALF, excuse=excuse)


theorem_f1_explicit.control("bound divided by 20", cases=CASES[:1], scale=0.05)
theorem_f1_explicit.control("starts ten times as far as (A1) allows", cases=CASES[:1], widened=10.0)
SOFTMAX_OF_W = replace(M_STEP, heads=[Head(score=[("component", "w")], move=[("x", "mu")]), *M_STEP.heads[1:]])
theorem_f1_explicit.control("softmax of w for log w", cases=CASES[:1], layers=(E_STEP, SOFTMAX_OF_W))
test_theorem_f1_explicit, test_theorem_f1_explicit_controls = theorem_f1_explicit.tests()
