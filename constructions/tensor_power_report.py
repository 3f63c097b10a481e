"""A tensor-power run as text, as JSON and as the entry of a weights file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from fractions import Fraction
from math import exp
from typing import Any

import numpy as np

from constructions import resources
from constructions.execution_report import execution_rows
from constructions.outputs import finite, versions
from constructions.tensor_power_exact import LayerReport
from constructions.tensor_power_run import PowerRun, magnitude
from constructions.tensor_power_transformer import TensorPowerTransformer
from constructions.units import in_bytes

SCHEMA = 1
TITLES = {
    "relu": "relu (Theorem G.8)",
    "overwriting": "relu, vec cleared before it is written (ours)",
    "attention-only": "relu, attention only (Remark G.1)",
    "normalised": "relu, normalised (Remark G.2)",
    "softmax": "softmax (Remark G.3)",
}
RESTS_ON = {
    "relu": ["theorem-g8", "tensor-rounding"],
    "overwriting": ["tensor-rounding"],
    "attention-only": ["remark-g1", "tensor-rounding"],
    "normalised": ["remark-g2"],
    "softmax": ["remark-g3"],
}


def preamble(model: TensorPowerTransformer, dim: int, options: argparse.Namespace) -> str:
    """Task and construction: printed before the run."""
    form = model.form
    detail = ""
    if form.scale is not None:
        detail = f"; score scale s = {_power_of_two(form.scale)}, tokens in twins"
    if form.normalisation is not None:
        n = form.normalisation
        detail = f"; {n.low:g} <= |T(I,v,v)| <= {n.high:g}: {n.segments} chords of 1/sqrt, {n.pieces} of the square"
    size = sum(matrix.numel() * matrix.element_size() for matrix in model.transformer.parameters())
    return "\n".join(
        [
            f"task          tensor {options.tensor}, d = {dim}; start {options.start}; {model.steps} iterations",
            f"construction  {TITLES[form.name]}{detail}",
            f"size          d0 = {model.max_dim}: {model.max_dim * (2 if form.twins else 1)} tokens of width "
            f"{model.stream.width}, {in_bytes(size)} of {options.dtype} weights for every d <= d0",
        ]
    )


def tables(result: PowerRun, layers: Sequence[LayerReport] | None, content: dict[str, Any], execution: str) -> str:
    """Steps with bounds, exact equality, the vectors side by side, resources against the theorem."""
    lines = [
        execution,
        "",
        "iteration by iteration: the transformer's vector against the reference from the same start",
        "step          |v|   |difference|       <= bound   verdict",
    ]
    for step in result.steps:
        verdict = step.status + (f": {step.reason}" if step.reason else "")
        size = magnitude(step.reference)
        lines.append(f"{step.step:4d}  {size:11.4e}  {step.difference:13.3e}  {step.bound:13.3e}   {verdict}")
    if layers is not None:
        equal = sum(report.equal for report in layers)
        lines += ["", f"exact         in rational arithmetic {equal} of {len(layers)} layers equal the proof's stream"]
        lines.append(f"              vector == reference: {content['exact_equal']}")
    final = result.steps[-1]
    lines += ["", f"transformer   {_vector(final.vector)}", f"reference     {_vector(final.reference)}"]
    lines += [
        "",
        "resource            measured  formula                                   theorem G.8 (recovered, order only)",
    ]
    for row in content["resources"]["table"]:
        lines.append(f"{row['resource']:14s}  {row['measured']:>12}  {row['formula']:40s}  {row['theorem']}")
    return "\n".join(lines)


def as_json(result: PowerRun, layers: Sequence[LayerReport] | None, options: argparse.Namespace) -> dict[str, Any]:
    """The result with everything needed to reproduce it; infinite numbers are null."""
    final = result.steps[-1]
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "versions": versions(),
        "vector": [finite(value) for value in final.vector],
        "reference": [finite(value) for value in final.reference],
        "difference": finite(final.difference),
        "bound": finite(final.bound),
        "status": final.status,
        "steps": [
            {
                "step": step.step,
                "difference": finite(step.difference),
                "bound": finite(step.bound),
                "status": step.status,
                "reason": step.reason,
            }
            for step in result.steps
        ],
        "rest_on": RESTS_ON[result.model.form.name] + execution_rows(result.plan),
    }
    if layers is not None:
        content["exact_equal"] = all(report.equal for report in layers)
        content["exact"] = {
            "vector": [str(value) for value in layers[-1].vector],
            "reference": [str(value) for value in layers[-1].reference],
            "layers_equal": [report.equal for report in layers],
        }
    return {
        **content,
        "resources": _resources(result.model),
        "tensor": {"name": options.tensor, "dim": len(result.tensor)},
        "start": [finite(value) for value in result.start],
        "construction": construction_entry(result.model)["name"],
        "max_dim": result.model.max_dim,
        "layers": options.layers,
        "execution": options.execution,
        "dtype": options.dtype,
        "seed": options.seed,
    }


def construction_entry(model: TensorPowerTransformer) -> dict[str, Any]:
    """What a weights file says of itself: a function of d_0 and the form, never of tensor or start."""
    form = model.form
    return {
        "name": f"tensor_power_transformer/{form.name}",
        "max_dim": model.max_dim,
        "layers_per_step": form.layers_per_step,
        "arithmetic": str(model.dtype).removeprefix("torch."),
        "scale": None if form.scale is None else float(form.scale),
        "normalisation": None if form.normalisation is None else asdict(form.normalisation),
        "layout": {name: list(where) for name, where in model.stream.layout.items()},
        "hidden_layout": [
            {block.name: [block.start, block.stop] for block in blocks} for blocks in model.hidden_layout
        ],
        "read_out": {"vector": {"formula": "vector = h[0, vec][:d]", "token": 0, "value": "vec"}},
    }


def _resources(model: TensorPowerTransformer) -> dict[str, Any]:
    measured = resources.measure(model.transformer)
    d0, form = model.max_dim, model.form
    heads = {"attention-only": (2 * d0 + 1, "2 d0 + 1"), "softmax": (d0, "d0")}.get(form.name, (2 * d0, "2 d0"))
    width = d0**2 + (2 if form.attention_only else 3) * d0 + 2 + len(form.extra)
    added = f"d0^2 + {2 if form.attention_only else 3} d0 + {2 + len(form.extra)} = {width}"
    per_step = form.layers_per_step
    hidden = {"attention-only": "0", "overwriting": "4 d0", "normalised": "networks + 2 (d0 + 1)"}.get(
        form.name, f"6 d0 + 2 = {6 * d0 + 2}"
    )
    norm = {"attention-only": f"d0 = {d0}", "relu": f"d0 + 4 = {d0 + 4}"}.get(form.name, "")
    if form.scale is not None:
        norm = f"d0/s + 4 = {float(d0 / form.scale) + 4:g}"
    table = [
        ("layers", measured.layers, f"{per_step} L", "2 L"),
        ("heads M", measured.heads, f"{heads[1]} = {heads[0]}", "O(d0)"),
        ("width D", measured.width, added, "O(d0^2)"),
        ("hidden D'", measured.hidden_width, hidden, "O(d0)"),
        ("B_Theta", f"{exp(measured.log_b_theta):.6g}", norm, "O(d0)"),
    ]
    if form.name != "relu":  # the theorem does not speak of the other forms
        table = [(*row[:3], "") for row in table]
    columns = ("resource", "measured", "formula", "theorem")
    return {**asdict(measured), "table": [dict(zip(columns, row, strict=True)) for row in table]}


def _power_of_two(scale: Fraction) -> str:
    exponent = scale.numerator.bit_length() - scale.denominator.bit_length()
    return "1" if exponent == 0 else f"2^{exponent}"


def _vector(values: np.ndarray) -> str:
    shown = ", ".join(f"{value:.6g}" for value in values[:8])
    return f"({shown}{', …' if len(values) > 8 else ''})"
