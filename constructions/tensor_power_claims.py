"""What an exported tensor-power run claims (proofs_notes/export.md)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from constructions.balls import fill
from constructions.number_system import Rationals
from constructions.outputs import Claimed
from constructions.strict_json import LARGEST_DIGITS
from constructions.tensor_power_run import PowerRun, StepReport, magnitude
from constructions.weights import Array

EXACT_FORMS = ("relu", "overwriting", "attention-only")


def claimed(result: PowerRun) -> Claimed:
    """The vector against the reference within the run's bound, and exactly where it is; `output.npy`; what stays."""
    final, model = result.steps[-1], result.model
    layout, form = model.stream.layout, model.form
    stay = [name for name in layout if name in ("slice", "one", "basis", "sign")]
    vector = list(range(*layout[form.result]))
    entries = [
        {
            "name": f"{', '.join(stay)} stay",
            "coordinates": [place for name in stay for place in range(*layout[name])],
            "reference": "output.npy",
            "norm": "absolute",
            "bound": 0.0,
            "why": "no head and no MLP writes them",
        }
    ]
    if final.status == "not applicable" or not np.isfinite(final.bound):
        return entries, {}
    entries += _vector_claims(result, final, vector[: len(result.start)])
    whole = form.normalisation is None  # else the bound is for the first token's copy
    entries.append(
        {
            "name": f"output: {form.result}",
            **({} if whole else {"tokens": [0]}),
            "coordinates": vector,
            "reference": "output.npy" if whole else result.output[:1, vector].tolist(),
            "norm": "euclidean",
            "bound": 2 * final.bound,
            "why": "two evaluations, each within the bound of the reference",
        }
    )
    if not form.attention_only:
        cleared = [name for name in layout if name not in (*stay, form.result)]
        size = max(1.0, float(np.abs(result.tokens).max()), *(magnitude(step.reference) for step in result.steps))
        entries.append(
            {
                "name": f"{', '.join(cleared)} cleared",
                "coordinates": [place for name in cleared for place in range(*layout[name])],
                "reference": "output.npy",
                "norm": "absolute",
                "bound": size * torch.finfo(model.dtype).eps / 2,
                "why": "MLPs clear exactly: 0; claimed is one unit roundoff of the largest number",
            }
        )
    return entries, {}


def _vector_claims(result: PowerRun, final: StepReport, coordinates: list[int]) -> list[dict[str, Any]]:
    shared = {"tokens": [0], "coordinates": coordinates, "norm": "euclidean"}
    entries = [
        {
            "name": f"vector, iteration {final.step}",
            **shared,
            "reference": [final.reference.tolist()],
            "bound": final.bound,
            "trivial": magnitude(final.reference),
            "why": "the reference iteration in float64; rows tensor-rounding, remark-g2, remark-g3",
        }
    ]
    exact = exact_vector(result)
    if exact is not None:
        entries.append(
            {
                "name": f"vector, iteration {final.step}, exactly",
                **shared,
                "reference": [[str(value) for value in exact]],
                "bound": 0.0,
                "rounding": final.bound,
                "why": "the same iteration in rationals; rows theorem-g8, remark-g1; in float64: tensor-rounding",
            }
        )
    return entries


def exact_vector(result: PowerRun) -> Array | None:
    """The iteration in rationals from the floats held; None for a form that is not exact, or where it grows too long.

    v ← T(I,v,v) doubles the digits of v, so they are counted after every step.
    """
    if result.model.form.name not in EXACT_FORMS:
        return None
    numbers = Rationals()
    tensor, vector = (
        fill(map(numbers.number, array.ravel().tolist()), array.shape) for array in (result.tensor, result.start)
    )
    for _ in result.steps:
        vector = tensor @ vector @ vector  # over m, then over j
        if max(entry.height_bits() for entry in vector) > LARGEST_DIGITS * 3:  # log2(10) > 3
            return None
    return np.asarray(vector)
