"""Statements that look right and are false: each is refuted by a kept instance and holds once mended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from math import log
from pathlib import Path

import numpy as np

from constructions import bounds
from constructions.algorithms.em import em_step, log_responsibilities
from constructions.algorithms.sampling import Mixture
from constructions.em_class import Approximation, TaskClass
from constructions.em_run import run
from constructions.em_transformer import build
from theory_checks.ledger import Verdict, compare, statement

KEPT = Path(__file__).parent / "counterexamples"
Choice = Callable[[Mixture, Mixture], np.ndarray]


def entering(before: Mixture, after: Mixture) -> np.ndarray:
    """The weights that go into the step."""
    return before.weights


@statement(
    "m-step-entering-weight",
    source="M-step bound with the weights that enter, section 5",
    text="ours",
    evidence="sampled",
    claim="refuted",
)
def m_step_entering_weight(
    rng: np.random.Generator, *, weights: Choice = entering, scale: float = 1.0
) -> Iterator[Verdict]:
    """FALSE: the M-step bound diam(X)[tanh(g/4) + 1/(1 + A e^c π_k)] with the weight π_k that enters the step.

    Only the new weight π̂_k bounds the floor's share: a component can lose almost all its weight in one step.
    """
    kept = json.loads((KEPT / "m_step_entering_weight.json").read_text())
    start = Mixture(np.array(kept["weights"]), np.array(kept["means"], dtype=float))
    approximation = Approximation("floor", kept["log_a"], 0.0, kept["segments"], 8.0, 64)
    em = build(TaskClass(2, 3, 8.0, 1e-9), approximation, 1)
    samples = np.array(kept["samples"], dtype=float)
    result = run(em, samples, start, execution="dense")
    step = result.steps[0]
    for k, weight in enumerate(weights(start, step.estimate)):
        bound = scale * bounds.m_step(approximation, result.diameter, float(weight), 0.0) + step.rounding.mean
        yield compare(
            float(step.mean_errors[k]),
            bound,
            f"19 zeros and a one: component {k}, new weight {step.estimate.weights[k]:.3g}",
        )


m_step_entering_weight.control("the bound lowered to nothing", scale=0.0)
m_step_entering_weight.repair("the new weight instead", weights=lambda before, after: after.weights)
test_entering, test_entering_controls = m_step_entering_weight.tests()


def from_start(radius: float, mean: float, weight: float) -> float:
    """½(B_X + B_μ)² + log(1/π_min⁽⁰⁾) with the initial parameters: enough for the first step."""
    return (radius + mean) ** 2 / 2 - log(weight)


@statement(
    "paper-floor-from-start",
    source="log A from the initial parameters, section 5 (Theorem F.7)",
    text="ours",
    evidence="sampled",
    claim="refuted",
)
def paper_floor_from_start(
    rng: np.random.Generator, *, log_a: Callable[[float, float, float], float] = from_start
) -> Iterator[Verdict]:
    """FALSE: log A = ½(B_X + ‖μ⁽⁰⁾‖)² + log(1/π_min⁽⁰⁾) keeps every responsibility of every later step above 1/A.

    Means move to the samples: log A must be chosen for means of norm B_X.
    """
    kept = json.loads((KEPT / "paper_floor_from_start.json").read_text())
    samples = np.array(kept["samples"], dtype=float)
    weights, means = np.array(kept["weights"]), np.array(kept["means"], dtype=float)
    radius, mean, weight = float(np.abs(samples).max()), float(np.abs(means).max()), float(weights.min())
    for step in range(1, kept["steps"] + 1):
        smallest = float(log_responsibilities(samples, weights, means).min())
        yield compare(-smallest, log_a(radius, mean, weight), f"step {step}: smallest responsibility e^{smallest:.2f}")
        weights, means = em_step(samples, weights, means)


paper_floor_from_start.control("log A lowered to log 2", log_a=lambda radius, mean, weight: log(2))
paper_floor_from_start.repair(
    "means of norm B_X, weights >= 0.1", log_a=lambda radius, mean, weight: from_start(radius, radius, 0.1)
)
test_from_start, test_from_start_controls = paper_floor_from_start.tests()
