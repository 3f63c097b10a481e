"""What an exported EM run claims (proofs_notes/export.md): for one step each, since no bound is proved for several."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np
import torch

from constructions.em_run import EmRun, StepReport
from constructions.em_transformer import read_subspaces
from constructions.outputs import Claimed


def claimed(result: EmRun) -> Claimed:
    """The first and the last EM step against the exact step, the last one against `output.npy`, and what stays.

    The parameters that enter the last step are in its first tokens, `before_last_step.npy`.
    """
    last = len(result.steps)
    first_tokens, last_tokens = "input.npy", "input.npy" if last == 1 else "before_last_step.npy"
    entries: list[dict[str, Any]] = []
    if last > 1:
        entries += step_claims(result, result.steps[0], first_tokens)
    entries += step_claims(result, result.steps[-1], last_tokens)
    entries += output_claims(result, result.steps[-1], last_tokens)
    entries.append(
        {
            "name": "samples, component and one stay",
            "coordinates": coordinates(result, "x", "one", "component"),
            "reference": "output.npy",
            "norm": "absolute",
            "bound": 0.0,
            "why": "no head and no MLP writes them",
        }
    )
    components, count = len(result.start.weights), len(result.samples)
    pooling = np.zeros((components, count))
    pooling[np.arange(count) % components, np.arange(count)] = components / count
    arrays = {"pooling.npy": pooling}
    if last > 1:
        arrays["before_last_step.npy"] = result.before.tokens().double().numpy()
    return entries, arrays


def step_claims(result: EmRun, report: StepReport, tokens: str) -> list[dict[str, Any]]:
    """Means and weights after one step within section 5's bound, with its rounding, of the exact EM step.

    |log π̂ − log π⁺| ≤ b gives |π̂ − π⁺| ≤ π⁺(e^b − 1). No claim where the bound does not apply or is not finite.
    """
    if report.status == "not applicable":
        return []
    _, mu, pi = read_subspaces(result.em, result.samples.shape[1], len(result.start.weights))
    with np.errstate(over="ignore"):
        weights = report.exact.weights * np.expm1(report.log_weight_bound)
    shared = {"input": tokens, "layers": [2 * report.step - 2, 2 * report.step]}
    means = {
        "name": f"step {report.step}: means",
        **shared,
        "tokens": "pooling.npy",
        "coordinates": list(range(mu.start, mu.stop)),
        "reference": report.exact.means.tolist(),
        "norm": "euclidean",
        "bound": report.mean_bounds.tolist(),
        "trivial": result.diameter,
        "why": "one exact EM step from the parameters in the tokens; rows em-step-floor, em-step-paper, rounding",
    }
    new_weights = {
        "name": f"step {report.step}: weights",
        **shared,
        "tokens": [0],
        "coordinates": list(range(pi.start, pi.stop)),
        "reference": [report.exact.weights.tolist()],
        "norm": "absolute",
        "bound": [weights.tolist()],
        "trivial": 1.0,
        "why": means["why"],
    }
    both = ((means, report.mean_bounds), (new_weights, weights))
    return [entry for entry, bound in both if np.isfinite(bound).all()]


def output_claims(result: EmRun, report: StepReport, tokens: str) -> list[dict[str, Any]]:
    """The last step's output: two evaluations from the same tokens, each within the rounding allowance (ρ_μ, ρ_π).

    mu: 2ρ_μ; pi: a factor e^{2ρ_π}; log_pi: (2 + r)·2ρ_π; sq_norm: its slope times 2ρ_μ, and 4ρ_π; w and log_w are
    cleared: 0, and one unit roundoff is claimed. Derived in proofs_notes/export.md.
    """
    mean, log_weight = 2 * report.rounding.mean, 2 * report.rounding.log_weight
    if report.status == "not applicable" or not (isfinite(mean) and isfinite(log_weight)):
        return []
    em, dim, components = result.em, result.samples.shape[1], len(result.start.weights)
    approximation = em.approximation
    norms = np.linalg.norm(report.estimate.means, axis=1).max() + mean
    reach = 2 * norms + dim**0.5 * approximation.radius / approximation.pieces
    unit = torch.finfo(em.dtype).eps / 2
    _, mu, pi = read_subspaces(em, dim, components)
    log_pi = em.stream["log_pi"].start
    claims = (
        ("mu", list(range(mu.start, mu.stop)), "euclidean", mean),
        ("pi", list(range(pi.start, pi.stop)), "absolute", float(report.estimate.weights.max() * np.expm1(log_weight))),
        ("log_pi", list(range(log_pi, log_pi + components)), "absolute", (2 + approximation.chord_width) * log_weight),
        ("sq_norm", coordinates(result, "sq_norm"), "absolute", float(reach * mean + 2 * log_weight)),
        ("w, log_w", coordinates(result, "w", "log_w"), "absolute", unit),
    )
    return [
        {
            "name": f"output: {name}",
            "input": tokens,
            "layers": [2 * report.step - 2, 2 * report.step],
            "coordinates": where,
            "reference": "output.npy",
            "norm": norm,
            "bound": bound,
            "why": "two evaluations of one step; rows export, rounding",
        }
        for name, where, norm, bound in claims
        if isfinite(bound)
    ]


def coordinates(result: EmRun, *names: str) -> list[int]:
    """Of whole subspaces, in their order."""
    return [place for name in names for place in range(*result.em.stream[name].indices(result.em.stream.width))]
