"""Statements that look right and are false: disproved by an enclosure on a kept instance; mended, they hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import flint
import numpy as np

from constructions import bounds, em_enclosure
from constructions.algorithms import ball_em
from constructions.algorithms.sampling import Mixture
from constructions.balls import ZERO, largest, to_balls
from constructions.elementary import log
from constructions.em_class import Approximation, TaskClass
from constructions.em_enclosure import Parameters, enclose_diameter
from constructions.em_transformer import build
from theory_checks.enclosures import decided, enclose
from theory_checks.ledger import Verdict, statement

KEPT = Path(__file__).parent / "counterexamples"
Choice = Callable[[Parameters, Parameters], np.ndarray]


def read(name: str) -> dict[str, Any]:
    """A kept instance."""
    content: dict[str, Any] = json.loads((KEPT / f"{name}.json").read_text())
    return content


def mixture(kept: dict[str, Any]) -> Mixture:
    """The parameters that it starts from."""
    return Mixture(np.array(kept["weights"]), np.array(kept["means"], dtype=float))


def entering(before: Parameters, after: Parameters) -> np.ndarray:
    """The weights that go into the step."""
    return before.weights


@statement(
    "m-step-entering-weight",
    source="M-step bound with the weights that enter, section 5",
    text="ours",
    evidence="certified",
    claim="refuted",
    note="m_step",
)
def m_step_entering_weight(
    rng: np.random.Generator, *, weights: Choice = entering, scale: float = 1.0
) -> Iterator[Verdict]:
    """FALSE: the M-step bound diam(X)[tanh(g/4) + 1/(1 + A e^c π_k)] with the weight π_k that enters the step.

    Only the new weight π̂_k bounds the floor's share: a component can lose almost all its weight in one step.
    """
    kept = read("m_step_entering_weight")
    approximation = Approximation("floor", kept["log_a"], 0.0, kept["segments"], 8.0, 64)
    em = em_enclosure.from_floats(build(TaskClass(2, 3, 8.0, 1e-9), approximation, 1))
    samples, start = np.array(kept["samples"], dtype=float), mixture(kept)

    def judge() -> Iterator[Verdict]:
        (step,) = em_enclosure.run(em, samples, start)
        diameter, chosen = enclose_diameter(samples), weights(em_enclosure.parameters(start), step.estimate)
        for k, weight in enumerate(chosen):
            bound = scale * bounds.m_step(em.approximation, diameter, weight, ZERO)
            shown = f"19 zeros and a one: component {k}, new weight {float(step.estimate.weights[k]):.3g}"
            yield enclose(step.mean_errors[k], bound, shown)

    yield from decided(judge)


m_step_entering_weight.repair("the new weight instead", weights=lambda before, after: after.weights)
m_step_entering_weight.control("the bound lowered to nothing", spoils="the new weight instead", scale=0.0)
test_entering, test_entering_controls = m_step_entering_weight.tests()


def from_start(radius: flint.arb, mean: flint.arb, weight: flint.arb) -> flint.arb:
    """½(B_X + B_μ)² + log(1/π_min⁽⁰⁾) with the initial parameters: enough for the first step."""
    return (radius + mean) * (radius + mean) / 2 - log(weight)


@statement(
    "paper-floor-from-start",
    source="log A from the initial parameters, section 5 (Theorem F.7)",
    text="ours",
    evidence="certified",
    claim="refuted",
    note="em_step",
    paper=("Theorem F.7",),
)
def paper_floor_from_start(
    rng: np.random.Generator, *, log_a: Callable[[flint.arb, flint.arb, flint.arb], flint.arb] = from_start
) -> Iterator[Verdict]:
    """FALSE: log A = ½(B_X + ‖μ⁽⁰⁾‖)² + log(1/π_min⁽⁰⁾) keeps every responsibility of every later step above 1/A.

    Means move to the samples: log A must be chosen for means of norm B_X.
    """
    kept = read("paper_floor_from_start")
    yield from decided(partial(_smallest_responsibilities, kept, mixture(kept), log_a))


def _smallest_responsibilities(
    kept: dict[str, Any], start: Mixture, log_a: Callable[[flint.arb, flint.arb, flint.arb], flint.arb]
) -> Iterator[Verdict]:
    samples = np.array(kept["samples"], dtype=float)
    x, theta = to_balls(samples), em_enclosure.parameters(start)
    radius, mean = (float(np.abs(points).max()) for points in (samples, start.means))  # one-dimensional: norms
    claimed = log_a(flint.arb(radius), flint.arb(mean), flint.arb(float(start.weights.min())))
    for step in range(1, kept["steps"] + 1):
        w = ball_em.responsibilities(x, theta.log_weights, theta.means)
        smallest = largest(-log(share) for share in w.ravel())
        yield enclose(smallest, claimed, f"step {step}: smallest responsibility e^-{float(smallest):.2f}")
        theta = Parameters(*ball_em.m_step(x, w))


paper_floor_from_start.repair(
    "means of norm B_X, weights >= 0.1", log_a=lambda radius, mean, weight: from_start(radius, radius, flint.arb("0.1"))
)
paper_floor_from_start.control(
    "half of that log A",
    spoils="means of norm B_X, weights >= 0.1",
    log_a=lambda radius, mean, weight: from_start(radius, radius, flint.arb("0.1")) / 2,
)
test_from_start, test_from_start_controls = paper_floor_from_start.tests()
