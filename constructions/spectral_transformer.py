"""Algorithm B.2 with its power iterations done by the transformer (Remark G.2), beside the reference iteration.

Run `python -m constructions.spectral_transformer --help` for the demo.
"""

from __future__ import annotations

if __name__ == "__main__":  # before what --help does not need is loaded
    from constructions.process import start

    start("constructions.spectral_command")

from dataclasses import dataclass, field
from math import inf
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float

from constructions import executor
from constructions.algorithms.spectral import Estimate, spectral
from constructions.algorithms.tensor_power import (
    ITERATIONS,
    RESTARTS,
    PowerIteration,
    normalised,
    normalised_power_iteration,
    power_step,
)
from constructions.direction_bound import DirectionBound, normalised_step
from constructions.execution_plan import plan
from constructions.normalisation import normalisation
from constructions.rounding_error import gamma
from constructions.tensor_power_bounds import REFERENCE_UNIT
from constructions.tensor_power_run import copies_spread
from constructions.tensor_power_transformer import build, encode, normalised_form, read_out, with_steps

LOW, HIGH = 1e-6, 1e3
"""Range of ‖T(I,v,v)‖ of the whitened tensor that the weights serve.

T has eigenvalues 1/√π_k, so 1/√K ≤ ‖T(I,v,v)‖ ≤ 1/√π_min for a unit v before deflation; after it a random start may be
small in what is left. Squares come from attention: Lemma F.5's network would need more than 10¹⁰ chords.
"""


@dataclass(frozen=True)
class Call:
    """One call of a power iteration: tensor, starts, steps and results; how far copies of a vector differed."""

    tensor: Float[np.ndarray, "d d d"]
    starts: Float[np.ndarray, "R d"]
    steps: int
    results: Float[np.ndarray, "R d"]
    spread: float = 0.0


class TransformerIteration:
    """A PowerIteration by the normalised transformer: one Θ for every tensor of dimension at most d_0.

    All starts run as one batch. `calls` keeps what was asked and answered.
    """

    def __init__(self, max_dim: int, low: float = LOW, high: float = HIGH) -> None:
        self.range = normalisation(low, high, max_dim, squares="attention")
        self.model = build(max_dim, 1, normalised_form(self.range))
        self.calls: list[Call] = []

    def __call__(
        self, tensor: Float[np.ndarray, "d d d"], starts: Float[np.ndarray, "R d"], steps: int
    ) -> Float[np.ndarray, "R d"]:
        """What becomes of R unit vectors in `steps` steps of four layers."""
        model = with_steps(self.model, steps)
        tokens = torch.tensor(encode(model, tensor, starts)).to(model.dtype)
        h, spread = tokens.numpy(), 0.0
        for layer, stream in enumerate(executor.trace(plan(model.transformer, tokens), tokens), start=1):
            if layer % model.form.layers_per_step == 0:
                h = stream.tokens().numpy()
                spread = max(spread, *(copies_spread(model, one) for one in h))
        results = read_out(model, h, len(tensor))
        self.calls.append(Call(tensor, starts, steps, results, spread))
        return results


class RecordedIteration:
    """The reference PowerIteration, which keeps its calls."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def __call__(
        self, tensor: Float[np.ndarray, "d d d"], starts: Float[np.ndarray, "R d"], steps: int
    ) -> Float[np.ndarray, "R d"]:
        """The float64 iteration."""
        results = normalised_power_iteration(tensor, starts, steps)
        self.calls.append(Call(tensor, starts, steps, results))
        return results


@dataclass(frozen=True)
class Component:
    """One component: how far the transformer's estimate is from the reference's, and the proven tolerance."""

    mean_error: float
    mean_tolerance: float
    weight_error: float  # relative
    weight_tolerance: float
    reason: str = ""  # why nothing is claimed; else empty

    @property
    def status(self) -> Literal["holds", "refuted", "not applicable", "vacuous"]:
        """Whether both errors are within their tolerances; not applicable if the range was left."""
        if "leaves the range" in self.reason:
            return "not applicable"
        if not (np.isfinite(self.mean_tolerance) and self.weight_tolerance < 1):
            return "vacuous"
        within = self.mean_error <= self.mean_tolerance and self.weight_error <= self.weight_tolerance
        return "holds" if within else "refuted"


@dataclass(frozen=True)
class SpectralRun:
    """Both estimates, and their comparison component by component."""

    transformer: Estimate
    reference: Estimate
    components: tuple[Component, ...]
    iterate: TransformerIteration = field(repr=False)


def run(
    samples: Float[np.ndarray, "N d"],
    components: int,
    seed: int = 0,
    restarts: int = RESTARTS,
    iterations: int = ITERATIONS,
    iterate: TransformerIteration | None = None,
) -> SpectralRun:
    """Algorithm B.2 twice on the same samples and starts; raises InputError as `spectral` does."""
    iterate = TransformerIteration(max(8, components)) if iterate is None else iterate
    recorded = RecordedIteration()

    def estimate(by: PowerIteration) -> Estimate:
        return spectral(samples, components, np.random.default_rng(seed), restarts, iterations, by)

    reference, ours = estimate(recorded), estimate(iterate)
    compared = compare(ours, reference, iterate, recorded.calls)
    return SpectralRun(ours, reference, compared, iterate)


def compare(
    ours: Estimate, reference: Estimate, iterate: TransformerIteration, calls: list[Call]
) -> tuple[Component, ...]:
    """Errors and tolerances, component by component (proofs_notes/spectral.md).

    δ bounds the directions' distance after both calls of component k (`normalised_step` along the reference's
    trajectory, from the chosen restart), ζ the Frobenius norm of the deflated tensors' difference. Then
    |Δλ| ≤ ‖T‖_F((1+δ)³ − 1) + ζ(1+δ)³, ζ⁺ = ζ + |Δλ|(1+δ)³ + λ((1+δ)³ − 1); with B = U S^{1/2} and μ = λBθ,
    ‖Δμ‖ ≤ ‖B‖(|Δλ| + (λ + |Δλ|)δ); with π = 1/λ², |Δπ|/π ≤ |Δλ|(2λ − |Δλ|)/(λ − |Δλ|)². Roundings are added.
    """
    found, perturbation = [], 0.0
    largest = float(np.sqrt(max(reference.eigenvalues[0], 0.0)))
    for k, value in enumerate(map(float, reference.eigenpairs.values)):
        first, second = calls[2 * k : 2 * k + 2]
        bound, reason = _chosen(iterate, first, second, iterate.calls[2 * k : 2 * k + 2], perturbation)
        delta = bound.direction if not reason else inf
        size = float(np.linalg.norm(first.tensor))
        rounding = gamma(4 * len(first.tensor) ** 3 + 40, REFERENCE_UNIT) * (size + value)
        cube = (1 + delta) ** 3 - 1 if delta < 1 else inf
        off = size * cube + perturbation * (1 + cube) + rounding
        perturbation += off * (1 + cube) + value * cube + rounding
        means = [estimate.mixture.means[k] for estimate in (ours, reference)]
        weights = [float(estimate.mixture.weights[k]) for estimate in (ours, reference)]
        unit = gamma(4 * len(reference.eigenvalues) ** 2 + 40, REFERENCE_UNIT)
        found.append(
            Component(
                float(np.linalg.norm(means[0] - means[1])),
                largest * (off + (value + off) * (delta + unit)),
                abs(weights[0] - weights[1]) / weights[1],
                off * (2 * value - off) / (value - off) ** 2 + unit if off < value else inf,
                reason,
            )
        )
    return tuple(found)


def _chosen(
    iterate: TransformerIteration, first: Call, second: Call, ours: list[Call], perturbation: float
) -> tuple[DirectionBound, str]:
    """The bound along the trajectory of the restart that the reference chose, through both calls.

    Should the transformer have gone on from another restart, or from rounding's other end of the same direction, then
    its distance from that restart is measured and added.
    """
    chosen = int(np.nanargmin(np.linalg.norm(_units(first.results) - second.starts[0], axis=1)))
    bound = DirectionBound(0.0, 1.0, 1.0)
    for call, start, theirs in ((first, first.starts[chosen], ours[0]), (second, second.starts[0], ours[1])):
        unit = start
        for _ in range(call.steps):
            bound = normalised_step(
                bound,
                call.tensor,
                unit,
                theirs.spread,
                iterate.range,
                iterate.model.max_dim,
                iterate.model.dtype,
                perturbation,
            )
            if bound.excuse:
                return bound, bound.excuse
            unit = normalised(power_step(call.tensor, unit))
        rounding = gamma(len(unit) + 5, REFERENCE_UNIT)  # the host normalises: length 1 again
        moved = 0.0
        if theirs is ours[0]:
            moved = float(np.linalg.norm(_units(theirs.results)[chosen] - ours[1].starts[0]))
        bound = DirectionBound(bound.direction + moved + 2 * rounding, 1 - rounding, 1 + rounding)
    return bound, "" if bound.direction < 1 else "the bound on rounding is vacuous, or another direction was found"


def _units(results: Float[np.ndarray, "R d"]) -> Float[np.ndarray, "R d"]:
    """Directions; NaN for what has none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return results / np.linalg.norm(results, axis=1, keepdims=True)
