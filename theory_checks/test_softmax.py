"""Lemma F.7, Corollary F.1 and P1: what a change of the logits does to a softmax."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import log

import numpy as np
from scipy.special import log_softmax, softmax

from constructions import bounds, rounding_error
from theory_checks.ledger import Verdict, compare, statement

UNIT = 2.0**-53


def logit_pairs(rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Random pairs at many scales, and the extremal family: opposite moves of the largest logit and the rest."""
    for size in (2, 3, 7, 101):
        for scale in (1e-3, 0.1, 1.0, 10.0):
            for repetition in range(20):
                u = 3 * rng.standard_normal(size)
                yield f"random n={size} scale={scale} #{repetition}", u, u + scale * rng.uniform(-1, 1, size)
    for size in (2, 5):
        for mass in (0.0, 5.0, 30.0):
            for step in (1e-3, 0.05, 0.3, 2.0):
                u = np.zeros(size)
                u[0] = mass
                yield f"extremal n={size} mass={mass} step={step}", u, u + step * np.r_[1, -np.ones(size - 1)]


def rounding(u: np.ndarray, v: np.ndarray) -> float:
    """Rounding of two log-softmaxes: a few units of their size, and γ_n for each sum."""
    size = max(np.abs(u).max(), np.abs(v).max()) + log(len(u)) + 1
    return float(2 * (8 * size + 2 * len(u) + 2 * rounding_error.EXP_UNITS) * UNIT)


@statement("lemma-f7", source="Lemma F.7 (Lin et al. 2024, Lemma 18)", text="recovered", evidence="sampled")
def lemma_f7(rng: np.random.Generator, *, bound: Callable[[float], float] = bounds.log_ratio) -> Iterator[Verdict]:
    """‖log softmax(u) − log softmax(v)‖_∞ ≤ 2‖u − v‖_∞ for all u, v in R^n."""
    for name, u, v in logit_pairs(rng):
        error = float(np.abs(log_softmax(u) - log_softmax(v)).max())
        yield compare(error, bound(float(np.abs(u - v).max())) + rounding(u, v), name)


lemma_f7.control("factor 1.99 instead of 2", bound=lambda difference: 1.99 * difference)
test_lemma_f7, test_lemma_f7_controls = lemma_f7.tests()


@statement("corollary-f1", source="Corollary F.1", text="recovered", evidence="sampled", depends_on=("lemma-f7",))
def corollary_f1(
    rng: np.random.Generator, *, bound: Callable[[float], float] = bounds.softmax_difference
) -> Iterator[Verdict]:
    """‖softmax(u) − softmax(v)‖_∞ ≤ exp(2‖u − v‖_∞) − 1 for all u, v in R^n."""
    for name, u, v in logit_pairs(rng):
        error = float(np.abs(softmax(u) - softmax(v)).max())
        yield compare(error, bound(float(np.abs(u - v).max())) + rounding(u, v), name, trivial=1.0)


# The largest change of one probability is ½·tanh-like near u = v: a quarter of the bound is attained.
corollary_f1.control("a fifth of the bound", bound=lambda difference: bounds.softmax_difference(difference) / 5)
test_corollary_f1, test_corollary_f1_controls = corollary_f1.tests()


@statement("p1", source="P1 (tilt)", text="ours", evidence="sampled")
def p1(rng: np.random.Generator, *, bound: Callable[[float], float] = bounds.tilt) -> Iterator[Verdict]:
    """If q ∝ p·exp(η) with η in [a, b] then TV(p, q) ≤ tanh((b − a)/4); two-point distributions attain it."""
    for size in (2, 3, 7, 101):
        for spread in (1e-3, 0.1, 1.0, 5.0, 40.0):
            for repetition in range(20):
                logits, eta = 2 * rng.standard_normal(size), spread * rng.uniform(0, 1, size)
                yield _tilted(f"random n={size} spread={spread} #{repetition}", logits, eta, bound)
    for spread in (1e-3, 0.1, 1.0, 5.0):
        yield _tilted(f"attained spread={spread}", np.array([-spread / 2, 0.0]), np.array([spread, 0.0]), bound)


def _tilted(name: str, logits: np.ndarray, eta: np.ndarray, bound: Callable[[float], float]) -> Verdict:
    error = 0.5 * float(np.abs(softmax(logits) - softmax(logits + eta)).sum())
    return compare(error, bound(float(np.ptp(eta))) + rounding(logits, logits + eta), name, trivial=1.0)


p1.control("1 % below the bound", bound=lambda spread: 0.99 * bounds.tilt(spread))
p1.control("half the range", bound=lambda spread: bounds.tilt(spread / 2))
test_p1, test_p1_controls = p1.tests()


@statement(
    "corollary-f1-sharp", source="Corollary F.1, sharpened by P1", text="ours", evidence="sampled", depends_on=("p1",)
)
def corollary_f1_sharp(
    rng: np.random.Generator, *, bound: Callable[[float], float] = bounds.softmax_variation
) -> Iterator[Verdict]:
    """TV(softmax(u), softmax(v)) ≤ tanh(‖u − v‖_∞/2), below 1 for all u, v; two-point distributions attain it."""
    for name, u, v in logit_pairs(rng):
        variation = 0.5 * float(np.abs(softmax(u) - softmax(v)).sum())
        yield compare(variation, bound(float(np.abs(u - v).max())) + rounding(u, v), name, trivial=1.0)
    for step in (1e-3, 0.05, 0.3, 2.0):
        u = np.array([-step, step]) / 2
        variation = 0.5 * float(np.abs(softmax(u) - softmax(-u)).sum())
        yield compare(variation, bound(step) + rounding(u, -u), f"attained step={step}", trivial=1.0)


corollary_f1_sharp.control("1 % below the bound", bound=lambda difference: 0.99 * bounds.softmax_variation(difference))
test_corollary_f1_sharp, test_corollary_f1_sharp_controls = corollary_f1_sharp.tests()


@statement("p2", source="P2 (floor)", text="ours", evidence="sampled")
def p2(rng: np.random.Generator, *, bound: Callable[[float, float], float] = bounds.floor) -> Iterator[Verdict]:
    """For a, b ≥ 0 with positive sums, TV(a/Σa, b/Σb) ≤ Σ_j|a_j − b_j| / max(Σa, Σb)."""
    for size in (2, 3, 7, 101):
        for scale in (1e-6, 1e-3, 0.1, 1.0):
            for repetition in range(20):
                a = rng.exponential(size=size) ** 3
                b = np.maximum(a + scale * rng.standard_normal(size), 0.0)
                yield _floored(f"random n={size} scale={scale} #{repetition}", a, b, bound)
    for added in (1e-6, 1e-3, 0.5, 3.0):
        yield _floored(f"attained added={added}", np.array([1.0, 0.0]), np.array([1.0, added]), bound)


def _floored(name: str, a: np.ndarray, b: np.ndarray, bound: Callable[[float, float], float]) -> Verdict:
    if not (a.sum() > 0 and b.sum() > 0):
        return compare(0.0, 0.0, name, excuse="a sum is zero")
    error = 0.5 * float(np.abs(a / a.sum() - b / b.sum()).sum())
    allowance = (2 * len(a) + 8) * UNIT
    return compare(
        error, bound(float(np.abs(a - b).sum()), float(max(a.sum(), b.sum()))) + allowance, name, trivial=1.0
    )


p2.control("1 % below the bound", bound=lambda difference, total: 0.99 * difference / total)
p2.control("the sum of both totals", bound=lambda difference, total: difference / (2 * total))
test_p2, test_p2_controls = p2.tests()
