"""What an exported tensor-power run claims (proofs_notes/export.md): of every step, from the start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from constructions import tensor_power_bounds as bounds
from constructions.balls import fill
from constructions.number_system import Rationals
from constructions.outputs import Claimed
from constructions.strict_json import LARGEST_DIGITS
from constructions.tensor_power_run import PowerRun, StepReport, magnitude, reached
from constructions.weights import Array

EXACT_FORMS = ("relu", "overwriting", "attention-only")


def claimed(result: PowerRun) -> Claimed:
    """After every step the vector against the reference, exactly where it is, and every coordinate of what came out.

    What enters step s is `before_step_s.npy`, what the last one leaves `output.npy`. Steps whose tokens the run did not
    keep are left out, of several hundred steps.
    """
    last = len(result.steps)
    arrays = {f"before_step_{step}.npy": stream.tokens().double().numpy() for step, stream in result.entering.items()}
    names = {last + 1: "output.npy"} | {step: f"before_step_{step}.npy" for step in result.entering}
    exact = dict(enumerate(exact_vectors(result), start=1))
    left_over = _left_over(result)
    entries: list[dict[str, Any]] = []
    for report in result.steps:
        after = names.get(report.step + 1)
        if after is not None:
            layers = [0, report.step * result.model.form.layers_per_step]
            entries += [
                {**entry, "layers": layers}
                for entry in (
                    *_vector_claims(result, report, exact.get(report.step)),
                    *_output_claims(result, report, after, left_over[report.step]),
                )
            ]
    return entries, arrays


def _vector_claims(result: PowerRun, report: StepReport, exact: Array | None) -> Iterator[dict[str, Any]]:
    """The first token's vector: within the run's bound of the reference, and equal to the exact one, if it is known."""
    if report.status == "not applicable" or not np.isfinite(report.bound):
        return
    start, _ = result.model.stream.layout[result.model.form.result]
    shared = {"tokens": [0], "coordinates": [start + i for i in range(len(result.start))], "norm": "euclidean"}
    yield {
        "name": f"vector, iteration {report.step}",
        **shared,
        "reference": [report.reference.tolist()],
        "bound": report.bound,
        "trivial": magnitude(report.reference),
        "why": "the reference iteration in float64; rows tensor-rounding, remark-g2, remark-g3",
    }
    if exact is not None:
        yield {
            "name": f"vector, iteration {report.step}, exactly",
            **shared,
            "reference": [[str(value) for value in exact]],
            "bound": 0.0,
            "rounding": report.bound,
            "why": "the same iteration in rationals; rows theorem-g8, remark-g1; in float64: tensor-rounding",
        }


def _output_claims(result: PowerRun, report: StepReport, after: str, left_over: Array) -> Iterator[dict[str, Any]]:
    """Two evaluations of every coordinate of every token, each within the run's bound of the reference or of 0.

    What stays: 0. The vector: 2β. What MLPs clear, exactly: 0, and one unit roundoff of the largest number is claimed.
    Without MLPs `scalar` keeps at most ℓ of tokens 1..d and 0 of the others: 2ℓ.
    """
    model = result.model
    layout, form = model.stream.layout, model.form
    stay = [name for name in layout if name in ("slice", "one", "basis", "sign")]
    cleared = [name for name in layout if name not in (*stay, form.result)]
    name = after.removesuffix(".npy")

    def claim(what: str, parts: list[str], norm: str, bound: Any, why: str) -> dict[str, Any]:
        places = [place for part in parts for place in range(*layout[part])]
        shared = {"coordinates": places, "reference": after, "norm": norm, "bound": bound, "why": why}
        return {"name": f"{name}: {what}", **shared}

    yield claim(f"{', '.join(stay)} stay", stay, "absolute", 0.0, "no head and no MLP writes them")
    if report.status == "not applicable" or not np.isfinite(report.bound):
        return
    why = "two evaluations, each within the bound of the reference"
    yield claim(form.result, [form.result], "euclidean", 2 * report.bound, why)
    if not form.attention_only:
        size = max(1.0, float(np.abs(result.tokens).max()), *(magnitude(step.reference) for step in result.steps))
        why = "MLPs clear exactly: 0; claimed is one unit roundoff of the largest number"
        unit = torch.finfo(model.dtype).eps / 2
        yield claim(f"{', '.join(cleared)} cleared", cleared, "absolute", size * unit, why)
    elif np.isfinite(left_over).all():
        each = np.pad(2 * left_over, (0, len(result.tokens) - len(left_over)))[:, None]
        why = "what the clearing head's rounding leaves, twice; row tensor-rounding"
        yield claim("what is left in scalar", cleared, "absolute", each.tolist(), why)


def _left_over(result: PowerRun) -> list[Array]:
    """ℓ of tokens 1..d after t = 0..L steps; 0 but for the attention-only form."""
    trajectory = [result.start, *(step.reference for step in result.steps)]
    if not result.model.form.attention_only:
        return [np.zeros(len(result.start))] * len(trajectory)
    _, reach = reached(result.tensor, trajectory)
    model = result.model
    return bounds.left_over_errors(result.tensor, reach, model.form, model.max_dim, model.dtype)


def exact_vectors(result: PowerRun) -> Iterator[Array]:
    """The iteration in rationals from the floats held, step by step; it ends where the numbers grow too long.

    v ← T(I,v,v) doubles the digits of v, so they are counted after every step. Nothing for a form that is not exact.
    """
    if result.model.form.name not in EXACT_FORMS:
        return
    numbers = Rationals()
    tensor, vector = (
        fill(map(numbers.number, array.ravel().tolist()), array.shape) for array in (result.tensor, result.start)
    )
    for _ in result.steps:
        vector = tensor @ vector @ vector  # over m, then over j
        if max(entry.height_bits() for entry in vector) > LARGEST_DIGITS * 3:  # log2(10) > 3
            return
        yield np.asarray(vector)
