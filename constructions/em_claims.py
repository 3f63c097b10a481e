"""What an exported EM run claims (proofs_notes/export.md): of every step alone, as no bound is proved for several."""

from __future__ import annotations

from math import inf, isfinite
from typing import Any

import numpy as np
import torch

from constructions.em_run import EmRun, StepReport
from constructions.em_transformer import EmTransformer, read_subspaces
from constructions.outputs import Claimed


def claimed(result: EmRun) -> Claimed:
    """Every EM step against the exact step and against the tokens that came out of it, and what stays.

    The parameters that enter step s are in its first tokens, `before_step_s.npy`; the last step's output is
    `output.npy`. Steps whose tokens the run did not keep are left out, of several thousand steps.
    """
    last = len(result.steps)
    arrays = {f"before_step_{step}.npy": stream.tokens().double().numpy() for step, stream in result.entering.items()}
    names = {1: "input.npy", last + 1: "output.npy"} | {step: f"before_step_{step}.npy" for step in result.entering}
    entries: list[dict[str, Any]] = []
    for report in result.steps:
        tokens, after = names.get(report.step), names.get(report.step + 1)
        if tokens is not None:
            entries += step_claims(result, report, tokens)
        if tokens is not None and after is not None:
            entries += output_claims(result, report, tokens, after)
        if after is not None:
            entries.append(
                {
                    "name": f"{after.removesuffix('.npy')}: samples, component and one stay",
                    "layers": [0, 2 * report.step],
                    "coordinates": coordinates(result, "x", "one", "component"),
                    "reference": after,
                    "norm": "absolute",
                    "bound": 0.0,
                    "why": "no head and no MLP writes them",
                }
            )
    components, count = len(result.start.weights), len(result.samples)
    pooling = np.zeros((components, count))
    pooling[np.arange(count) % components, np.arange(count)] = components / count
    return entries, {"pooling.npy": pooling} | arrays


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


def output_claims(result: EmRun, report: StepReport, tokens: str, after: str) -> list[dict[str, Any]]:
    """What came out of a step: two evaluations from the same tokens, each within the rounding allowance (ρ_μ, ρ_π).

    mu: 2ρ_μ; pi: a factor e^{2ρ_π}; log_pi: (2 + r)·2ρ_π; sq_norm: its slope times 2ρ_μ, and 4ρ_π; w and log_w are
    cleared: 0, and one unit roundoff is claimed; log_pi of unused components: `unused_rounding`, twice. The unused
    coordinates of mu and pi are 0 in both. Derived in proofs_notes/export.md.
    """
    mean, log_weight = 2 * report.rounding.mean, 2 * report.rounding.log_weight
    if report.status == "not applicable" or not (isfinite(mean) and isfinite(log_weight)):
        return []
    em, dim, components = result.em, result.samples.shape[1], len(result.start.weights)
    approximation = em.approximation
    norms = np.linalg.norm(report.estimate.means, axis=1).max() + mean
    reach = 2 * norms + dim**0.5 * approximation.radius / approximation.pieces
    unit = torch.finfo(em.dtype).eps / 2
    log_pi = coordinates(result, "log_pi")
    claims = (
        ("mu", coordinates(result, "mu"), "euclidean", mean),
        ("pi", coordinates(result, "pi"), "absolute", float(report.estimate.weights.max() * np.expm1(log_weight))),
        ("log_pi", log_pi[:components], "absolute", (2 + approximation.chord_width) * log_weight),
        ("log_pi, unused", log_pi[components:], "absolute", 2 * unused_rounding(em, components)),
        ("sq_norm", coordinates(result, "sq_norm"), "absolute", float(reach * mean + 2 * log_weight)),
        ("w, log_w", coordinates(result, "w", "log_w"), "absolute", unit),
    )
    return [
        {
            "name": f"{after.removesuffix('.npy')}: {name}",
            "input": tokens,
            "layers": [2 * report.step - 2, 2 * report.step],
            "coordinates": where,
            "reference": after,
            "norm": norm,
            "bound": bound,
            "why": "two evaluations of one step; rows export, rounding",
        }
        for name, where, norm, bound in claims
        if where and isfinite(bound)
    ]


def unused_rounding(em: EmTransformer, components: int) -> float:
    """γ_n Σ_j |W2_cj|·relu(W1_j,one), n the number of units and 2: of log_pi_c where pi_c = 0, for the worst unused c.

    There w, pi are 0 and `one` is 1, so every hidden unit of c's log network is the product of two numbers, one of
    them 1, without rounding; its output is one sum of n − 2 products, added to a cleared coordinate. γ_n = nu/(1 − nu).
    """
    mlp = em.transformer.stored_layers[1].mlp
    if mlp is None or components == em.task_class.max_components:
        return 0.0
    w1, w2 = (matrix.detach().double().numpy() for matrix in (mlp.w1, mlp.w2))
    constants = np.maximum(w1[:, em.stream["one"].start], 0)
    size = float((np.abs(w2[em.stream["log_pi"]][components:]) @ constants).max())
    small = (len(w1) + 2) * torch.finfo(em.dtype).eps / 2
    return size * small / (1 - small) if small < 1 else inf


def coordinates(result: EmRun, *names: str) -> list[int]:
    """Of whole subspaces, in their order."""
    return [place for name in names for place in range(*result.em.stream[name].indices(result.em.stream.width))]
