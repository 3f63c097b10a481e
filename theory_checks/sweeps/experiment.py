"""What a sweep measures in one cell: the EM transformer on drawn mixtures, and its three errors apart.

All data sets of a cell are drawn, fitted and run through the transformer together, as many at a time as memory allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, isnan, log, sqrt

import numpy as np
import torch
from jaxtyping import Bool, Float

from constructions import bounds, executor, rounding_error
from constructions.algorithms.em import em_step
from constructions.algorithms.sampling import Mixture, random_mixture, sample
from constructions.dtypes import DTYPES
from constructions.em_class import Construction, TaskClass, split_tolerance
from constructions.em_run import copies_spread, precondition
from constructions.em_transformer import EmTransformer, build, encode, pool, read_subspaces
from constructions.execution_plan import plan
from theory_checks.sweeps.grid import Cell

Weights = Float[np.ndarray, "R K"]
Means = Float[np.ndarray, "R K d"]

COLUMNS: dict[str, type] = {
    "initial": float,  # D(start, truth)
    "total": float,  # D(transformer after L steps, truth)
    "statistical": float,  # D(fixed point of EM on the samples, truth)
    "optimisation": float,  # D(L exact EM steps, fixed point)
    "approximation": float,  # D(transformer after L steps, L exact EM steps)
    "step_error": float,  # of a mean in one step, where error/bound is largest; NaN: it is not a number, or judged is 0
    "step_bound": float,  # ... and its bound of section 5, with its rounding allowance; NaN: no step applies
    "diameter": float,  # of the samples: a bound from there on is vacuous
    "judged": int,  # steps to which the bound applies
    "violations": int,  # steps in which a component's mean is off by more than its bound, or by no number
    "em_rate": float,  # ratio of the last two changes on EM's way to its fixed point; NaN: it needed fewer than two
    "em_steps": int,  # exact EM steps until nothing changes
    "em_change": float,  # D of the last of them: above FIXED, EM has not converged
}
"""The measured columns. D(θ̂, θ) = max_k max(‖μ̂_k − μ_k‖, |π̂_k − π_k|/π_k*), indices matched by the start."""

FIXED, LONGEST = 1e-13, 3000
"""D of a step that counts as none; EM steps after which no fixed point is reported."""
NUMBERS = 2**24
"""Numbers held at a time in the tokens of a chunk of replications."""
ESCAPE = 1e-12
"""Probability, at most, that a data set leaves the class that its transformer is built for."""


@dataclass(frozen=True, eq=False)
class Tasks:
    """Replications of a cell: true and initial parameters, and samples."""

    truth: tuple[Mixture, ...]
    start: tuple[Mixture, ...]
    samples: Float[np.ndarray, "R N d"]


def measure(cell: Cell) -> list[dict[str, float | int]]:
    """One row for every replication, in order."""
    em = transformer(cell)
    together = max(1, NUMBERS // (cell.n * em.stream.width))
    rows: list[dict[str, float | int]] = []
    for first in range(0, cell.replications, together):
        rows.extend(_measure(cell, em, draw(cell, range(first, min(first + together, cell.replications)))))
    return rows


def imbalance(cell: Cell) -> float:
    """ρ_π = π_max/π_min."""
    return 1.0 if cell.K == 1 else (1 - cell.min_weight) / (cell.K - 1) / cell.min_weight


def separation_constant(cell: Cell) -> float:
    """The C of (A1): R_min = C √log(ρ_π K); infinite for one component."""
    return inf if cell.K == 1 else cell.separation / sqrt(log(imbalance(cell) * cell.K))


def draw(cell: Cell, replications: range) -> Tasks:
    """Means on a rotated grid, one light component; starts within (A1): means off by 0.9 R_min/16, weights by ≤ 25 %.

    A replication's draw depends on the cell's seed, d, K, n, separation and weights alone, so that cells which differ
    otherwise see the same data.
    """
    truth, start, samples = [], [], []
    kept = cell.n // cell.K * cell.K
    for replication in replications:
        rng = np.random.default_rng(cell.stream(replication))
        means = random_mixture(cell.d, cell.K, cell.separation, rng).means
        weights = np.full(cell.K, (1 - cell.min_weight) / max(1, cell.K - 1))
        weights[0] = cell.min_weight
        off = rng.standard_normal(means.shape)
        off *= 0.9 * cell.separation / 16 / np.linalg.norm(off, axis=1, keepdims=True)
        guess = weights * (1 + rng.uniform(-0.25, 0.25, cell.K))
        truth.append(Mixture(weights, means))
        start.append(Mixture(guess / guess.sum(), means + off))
        samples.append(sample(truth[-1], cell.n, rng)[0][:kept])
    return Tasks(tuple(truth), tuple(start), np.stack(samples))


def transformer(cell: Cell) -> EmTransformer:
    """One Θ for the cell, from what is known before any sample: d, K, n, the size of the grid of means, ½ min π*.

    B = max ‖μ*‖ + √d (1+t) with n·e^{−dt²/2} = ESCAPE (Lemma F.6).
    """
    largest = random_mixture(cell.d, cell.K, cell.separation, np.random.default_rng(0)).means
    excess = sqrt(2 * log(cell.n / ESCAPE) / cell.d)
    radius = float(np.linalg.norm(largest, axis=1).max()) * 1.001 + sqrt(cell.d) * (1 + excess)
    task_class = TaskClass(cell.d, cell.K, radius, cell.min_weight / 2)
    construction: Construction = "floor" if cell.construction == "floor" else "paper"
    return build(task_class, split_tolerance(task_class, cell.tolerance, construction), cell.L, DTYPES[cell.dtype])


def distance(weights: Weights, means: Means, other_weights: Weights, other_means: Means, true: Weights) -> np.ndarray:
    """D = max_k max(‖μ_k − μ_k'‖, |π_k − π_k'|/π_k*), shape (R,)."""
    moved = np.linalg.norm(means - other_means, axis=-1)
    return np.maximum(moved, np.abs(weights - other_weights) / true).max(axis=-1)


def _stacked(mixtures: tuple[Mixture, ...] | list[Mixture]) -> tuple[Weights, Means]:
    return np.stack([m.weights for m in mixtures]), np.stack([m.means for m in mixtures])


def _measure(cell: Cell, em: EmTransformer, tasks: Tasks) -> Iterator[dict[str, float | int]]:
    tokens = torch.from_numpy(
        np.stack([encode(em, x, start) for x, start in zip(tasks.samples, tasks.start, strict=True)])
    ).to(em.dtype)
    x = tokens[..., em.stream["x"]].double().numpy()  # as the format holds them
    true_weights, true_means = _stacked(tasks.truth)
    exact = start = _stacked(tasks.start)
    for _ in range(cell.L):
        exact = em_step(x, *exact)
    fixed, rate, steps, change = fixed_point(x, *start, true_weights)
    judged = Judged(em, x, tasks.start)
    for done, stream in enumerate(executor.streams(em.transformer, tokens, plan(em.transformer, tokens)), start=1):
        if done % 2 == 0:
            parts = (stream.tokens(where).double().numpy() for where in read_subspaces(em, cell.d, cell.K))
            judged.step(done // 2, list(zip(*parts, strict=True)))
    found = _stacked(judged.entering)
    columns = {
        "initial": distance(*start, true_weights, true_means, true_weights),
        "total": distance(*found, true_weights, true_means, true_weights),
        "statistical": distance(*fixed, true_weights, true_means, true_weights),
        "optimisation": distance(*exact, *fixed, true_weights),
        "approximation": distance(*found, *exact, true_weights),
        "step_error": judged.error,
        "step_bound": judged.bound,
        "diameter": judged.diameters,
        "judged": judged.count,
        "violations": judged.violations,
        "em_rate": rate,
        "em_steps": steps,
        "em_change": change,
    }
    for replication in range(len(x)):
        yield {name: kind(columns[name][replication]) for name, kind in COLUMNS.items()}


class Judged:
    """Every step of every replication against section 5's bound, from the parameters that entered it."""

    def __init__(self, em: EmTransformer, x: Float[np.ndarray, "R N d"], start: tuple[Mixture, ...]) -> None:
        self.em, self.x = em, x
        self.entering = list(start)
        self.diameters = np.array([bounds.diameter(one)[0] for one in x])
        self.error, self.bound = np.full(len(x), np.nan), np.full(len(x), np.nan)
        self.count, self.violations = np.zeros(len(x), dtype=int), np.zeros(len(x), dtype=int)
        self.spread = [(0.0, 0.0)] * len(x)
        self.stopped = [False] * len(x)

    def step(self, number: int, parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
        """Judge EM step `number`; `parts` are the subspaces component, mu and pi of each data set's stream."""
        exact_weights, exact_means = em_step(self.x, *_stacked(self.entering))
        logit_error = 0.0 if number == 1 else self.em.approximation.logit_error(self.x.shape[-1])
        for r, part in enumerate(parts):
            entering, estimate = self.entering[r], pool(*part)
            errors = np.linalg.norm(estimate.means - exact_means[r], axis=1)
            self.stopped[r] |= bool(precondition(self.em, entering, number))
            left = estimate.weights.min() < self.em.task_class.min_weight
            if not (self.stopped[r] or left):
                smallest = float(min(entering.weights.min(), exact_weights[r].min()))
                self._compare(r, errors, estimate, entering, logit_error, smallest)
            self.entering[r], self.spread[r] = estimate, copies_spread(part[1], part[2], estimate)

    def _compare(
        self,
        r: int,
        errors: Float[np.ndarray, " K"],
        estimate: Mixture,
        entering: Mixture,
        logit_error: float,
        smallest: float,
    ) -> None:
        x, sizes, diameter = self.x[r], self.em.approximation, float(self.diameters[r])
        rounding = sum(
            rounding_error.allowance(a, x, entering.means, smallest, diameter, dtype, self.spread[r]).mean
            for a, dtype in ((sizes, self.em.dtype), (None, torch.float64))
        )
        limits = np.array([bounds.m_step(sizes, diameter, float(w), logit_error) for w in estimate.weights]) + rounding
        worst = int((errors / limits).argmax())  # what is not a number comes first, and stays
        error, limit = float(errors[worst]), float(limits[worst])
        if self.count[r] == 0 or error * self.bound[r] > self.error[r] * limit or isnan(error / limit):
            self.error[r], self.bound[r] = error, limit
        self.count[r] += 1
        self.violations[r] += int(not (errors <= limits).all())


def fixed_point(
    x: Float[np.ndarray, "R N d"], weights: Weights, means: Means, true: Weights
) -> tuple[tuple[Weights, Means], Float[np.ndarray, " R"], np.ndarray, Float[np.ndarray, " R"]]:
    """EM until a step's D is at most FIXED: the point, the ratio of the last two changes, steps, the last change.

    The ratio is taken between changes above 1e3·FIXED, where rounding does not count.
    """
    weights, means = weights.copy(), means.copy()
    rate, change = np.full(len(x), np.nan), np.full(len(x), np.inf)
    steps = np.zeros(len(x), dtype=int)
    moving: Bool[np.ndarray, " R"] = np.ones(len(x), dtype=bool)
    while moving.any() and steps.max() < LONGEST:
        which = np.flatnonzero(moving)
        after = em_step(x[which] if len(which) < len(x) else x, weights[which], means[which])
        moved = distance(*after, weights[which], means[which], true[which])
        large = (moved > 1e3 * FIXED) & np.isfinite(change[which])
        rate[which[large]] = (moved / change[which])[large]
        weights[which], means[which] = after
        change[which] = moved
        steps[which] += 1
        moving[which] = moved > FIXED
    return (weights, means), rate, steps, change
