"""A run of the EM transformer, compared at every step with the exact EM step from the same parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float

from constructions import bounds, rounding_error
from constructions.algorithms.em import em_step, log_em_step
from constructions.algorithms.metrics import log_weight_error
from constructions.algorithms.sampling import Mixture
from constructions.compressed_stream import Stream
from constructions.em_transformer import EmTransformer, encode, pool, read_subspaces
from constructions.execution_plan import Execution, Plan, plan
from constructions.executor import streams
from constructions.kept_streams import keeps

Status = Literal["holds", "refuted", "not applicable", "vacuous"]


@dataclass(frozen=True)
class StepReport:
    """One EM step (two layers): the transformer's result against the exact step from the same parameters.

    Errors and bounds of a mean are Euclidean norms in the data's unit, one for each component; those of a weight
    are differences of logarithms, the largest over k. A bound includes its rounding allowance, given apart as well.
    """

    step: int
    estimate: Mixture
    exact: Mixture  # exact EM step from the parameters that entered this step
    reference: Mixture  # exact EM steps from the start
    mean_errors: Float[np.ndarray, " K"]
    mean_bounds: Float[np.ndarray, " K"]
    log_weight_error: float
    log_weight_bound: float
    rounding: rounding_error.Allowance
    status: Status
    reason: str  # why a step is not applicable, refuted or vacuous, or is the last that applies; else empty

    @property
    def mean_error(self) -> float:
        """max_k ‖μ̂_k − μ_k⁺‖."""
        return float(self.mean_errors.max())

    @property
    def mean_bound(self) -> float:
        """The largest of the components' bounds."""
        return float(self.mean_bounds.max())


@dataclass(frozen=True)
class EmRun:
    """All steps, with the samples as the dtype holds them and their diameter."""

    em: EmTransformer
    samples: Float[np.ndarray, "N d"]
    start: Mixture
    steps: tuple[StepReport, ...]
    diameter: float
    diameter_kind: str
    tokens: Float[np.ndarray, "N D"]  # encoded input, as the dtype holds it
    entering: dict[int, Stream]  # before every EM step after the first, as far as they are kept
    last: Stream  # after the last layer
    plan: Plan | None  # how it was executed; None: literally

    @property
    def output(self) -> Float[np.ndarray, "N D"]:
        """The dense stream after the last layer."""
        return self.last.tokens().double().numpy()


def run(
    em: EmTransformer,
    samples: Float[np.ndarray, "N d"],
    start: Mixture,
    progress: Callable[[int, int], None] = lambda done, of: None,
    encode: Callable[[EmTransformer, np.ndarray, Mixture], np.ndarray] = encode,
    execution: Execution = "structured",
) -> EmRun:
    """Evaluate all layers and judge every EM step against section 5's bound.

    `progress(done, of)` is called after each layer; `encode` is exchanged only to break it in a check. Raises
    InputError like encode.
    """
    tokens = torch.tensor(encode(em, samples, start)).to(em.dtype)
    held = tokens.double().numpy()
    dim, components = samples.shape[1], len(start.weights)
    x = held[:, em.stream["x"]][:, :dim]
    entering = Mixture(start.weights, held[:components, em.stream["mu"]][:, :dim])
    diameter, kind = bounds.diameter(x)
    log_weights, means = np.log(entering.weights), entering.means  # of exact EM from the start
    reports, stopped, spread = [], "", (0.0, 0.0)
    made = plan(em.transformer, tokens) if execution == "structured" else None
    last, between = Stream.dense(tokens), {}
    for done, last in enumerate(streams(em.transformer, tokens, made), start=1):
        progress(done, len(em.transformer.schedule))
        if done % 2:
            continue
        component, mu, pi = (last.tokens(where).double().numpy() for where in read_subspaces(em, dim, components))
        estimate = pool(component, mu, pi)
        log_weights, means = log_em_step(x, log_weights, means)
        reference = Mixture(np.exp(log_weights), means)
        stopped = stopped or precondition(em, entering, done // 2)
        report = judge_step(em, x, entering, estimate, reference, done // 2, diameter, stopped, spread)
        reports.append(report)
        entering, spread = estimate, copies_spread(mu, pi, estimate)
        step, final = done // 2 + 1, len(em.transformer.schedule) // 2
        if keeps(step, final, held.size):
            between[step] = last
    return EmRun(em, x, start, tuple(reports), diameter, kind, held, between, last, made)


def copies_spread(mu: Float[np.ndarray, "N d"], pi: Float[np.ndarray, "N K"], estimate: Mixture) -> tuple[float, float]:
    """max_i ‖mu_i − μ̂_r(i)‖ and max_ik |log pi_ik − log π̂_k|: equal rows of a product may be rounded differently."""
    off = mu - estimate.means[np.arange(len(mu)) % len(estimate.means)]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.log(pi) - np.log(estimate.weights)
    return float(np.linalg.norm(off, axis=1).max()), float(np.abs(ratios).max())


def precondition(em: EmTransformer, entering: Mixture, step: int) -> str:
    """Why the bound does not apply to a step that starts from `entering`; empty if it does.

    The first step of the floor construction needs nothing: its logits are exact. All others need the weights
    that enter to be at least π_min and every |μ_a| ≤ B.
    """
    if step == 1 and em.approximation.construction == "floor":
        return ""
    if not (np.isfinite(entering.weights).all() and np.isfinite(entering.means).all()):
        return "the parameters are not finite"
    if entering.weights.min() < em.task_class.min_weight:
        return broken_weight(em, entering)
    largest = float(np.abs(entering.means).max())
    if largest > em.approximation.radius:
        return f"a mean has a coordinate of size {largest:.4g}, above {em.approximation.radius:g}"
    return ""


def broken_weight(em: EmTransformer, mixture: Mixture) -> str:
    """The sentence for a weight below the class's smallest."""
    return f"a weight fell to {mixture.weights.min():.2g}, below {em.task_class.min_weight:g}"


def judge_step(
    em: EmTransformer,
    x: Float[np.ndarray, "N d"],
    entering: Mixture,
    estimate: Mixture,
    reference: Mixture,
    step: int,
    diameter: float,
    stopped: str,
    spread: tuple[float, float],
) -> StepReport:
    """Errors of one step beside their bounds; `stopped` says why the bounds do not apply, if so."""
    exact = Mixture(*em_step(x, entering.weights, entering.means))
    logit_error = 0.0 if step == 1 else em.approximation.logit_error(x.shape[1])
    smallest = float(min(entering.weights.min(), exact.weights.min()))
    allowances = [
        rounding_error.allowance(approximation, x, entering.means, smallest, diameter, dtype, spread)
        for approximation, dtype in ((em.approximation, em.dtype), (None, torch.float64))
    ]
    rounding = rounding_error.Allowance(
        sum(allowance.mean for allowance in allowances), sum(allowance.log_weight for allowance in allowances)
    )
    mean_errors = np.linalg.norm(estimate.means - exact.means, axis=1)
    mean_bounds = np.array(
        [bounds.m_step(em.approximation, diameter, float(weight), logit_error) for weight in estimate.weights]
    )
    weight_error, weight_bound = log_weight_error(estimate, exact), logit_error + rounding.log_weight
    mean_bounds += rounding.mean
    status: Status = "holds"
    reason = stopped
    if stopped:
        status = "not applicable"
    elif not (np.isfinite(estimate.weights).all() and np.isfinite(estimate.means).all()):
        status, reason = "refuted", "the estimate is not finite"
    elif weight_error > weight_bound:
        status, reason = "refuted", "the error of a log weight exceeds its bound"
    elif not np.isfinite(rounding.mean):
        format_name = str(em.dtype).removeprefix("torch.")
        status, reason = "vacuous", f"no finite rounding allowance in {format_name} for N = {len(x)}"
    elif not mean_bounds.max() < diameter:
        status, reason = "vacuous", "the bound reaches the diameter of the data"
    elif not (mean_errors <= mean_bounds).all():
        status, reason = "refuted", "the error of a mean exceeds its bound"
    elif estimate.weights.min() < em.task_class.min_weight:
        reason = f"{broken_weight(em, estimate)}: later steps are not applicable"
    return StepReport(
        step,
        estimate,
        exact,
        reference,
        mean_errors,
        mean_bounds,
        weight_error,
        weight_bound,
        rounding,
        status,
        reason,
    )
