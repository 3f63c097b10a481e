"""Floating point: how far the transformer of Theorem G.8 is from the exact iteration."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from math import inf
from pathlib import Path

import numpy as np
import torch
from flint import arb

from constructions import tensor_power_bounds as bounds
from constructions.number_system import Balls
from constructions.tensor_power_transformer import (
    ATTENTION_ONLY,
    OVERWRITING,
    THEOREM,
    Form,
    TensorPowerTransformer,
    encode,
    read_out,
)
from theory_checks import kept
from theory_checks import tensor_instances as instances
from theory_checks import tensor_subjects as subjects
from theory_checks.enclosures import decided, enclose
from theory_checks.ledger import Verdict, statement
from theory_checks.search import searched
from theory_checks.tensor_instances import PowerTask
from theory_checks.tensor_steps import BELOW
from theory_checks.tensor_subjects import built

STEPS = 3
KEPT = Path(__file__).parent / "counterexamples" / "tensor_shrinking.json"


def rounded_to(dtype: torch.dtype, task: PowerTask) -> PowerTask:
    """The task as the dtype holds it."""
    tensor, start = (torch.tensor(a).to(dtype).double().numpy() for a in (task.tensor, task.start))
    return PowerTask(f"{task.name} {str(dtype).removeprefix('torch.')}", tensor, start)


def judge(
    model: TensorPowerTransformer,
    task: PowerTask,
    exact: list[list[Fraction]],
    claimed: Form,
    scale: float = 1.0,
    unit: torch.dtype | None = None,
) -> Iterator[Verdict]:
    """After every step, the coordinate that uses most of its bound, against the oracle's rationals."""
    dim = len(task.tensor)
    reach = [np.nextafter(abs(instances.rounded(vector)), inf) for vector in exact]
    limits = bounds.iteration_errors(task.tensor, reach, claimed, model.max_dim, unit or model.dtype)
    tokens = torch.tensor(encode(model, task.tensor, task.start)).to(model.dtype)
    layers = list(model.transformer.trace(tokens))[model.form.layers_per_step - 1 :: model.form.layers_per_step]
    for step, (h, vector, limit) in enumerate(zip(layers, exact[1:], limits[1:], strict=True), start=1):
        found = instances.fractions(read_out(model, h.double().numpy(), dim))
        off = [abs(f - v) for f, v in zip(found, vector, strict=True)]
        errors = np.array([float(error) for error in off])
        trivial = float(np.linalg.norm(instances.rounded(vector))) or inf
        worst = int(np.argmax(errors / np.maximum(limit, np.finfo(float).tiny)))
        vacuous = float(np.linalg.norm(limit)) >= trivial
        name = f"{task.name} {model.form.name} step {step}"
        if vacuous:
            yield Verdict("vacuous", name)
        else:
            yield from decided(partial(_enclosed, off[worst], scale, float(limit[worst]), name))


def _enclosed(error: Fraction, scale: float, limit: float, name: str) -> Iterator[Verdict]:
    yield enclose(Balls().number(error), scale * arb(limit) * BELOW, name)


def judge_kept(
    found: kept.Instance, scale: float = 1.0, form: Form = THEOREM, dtype: torch.dtype = torch.float32
) -> Iterator[Verdict]:
    """Two iterations under float32's bound; another form or format is judged by the same."""
    model = built(3, 2, form, dtype)
    task = rounded_to(dtype, PowerTask("the worst kept", found["tensor"], found["start"]))
    return judge(model, task, instances.exact_trajectory(task, 2), THEOREM, scale, torch.float32)


@statement(
    "tensor-rounding",
    source="Theorem G.8 and Remark G.1 in floating point",
    text="ours",
    evidence="certified",
    paper=("Theorem G.8", "Remark G.1"),
    rounding=True,
)
def tensor_rounding(
    rng: np.random.Generator,
    *,
    form: Form | None = None,
    narrow: torch.dtype | None = None,
    scale: float = 1.0,
) -> Iterator[Verdict]:
    """e⁺ = |T|(e, |v| + e_s) + |T|(|v|, e_s) + γ_{3d_0+4}|T|(|v| + e, |v| + e_s) + γ_1(|v| + e) bounds the rounding
    error of each coordinate, e_s = e + γ_{d_0+1}(|v| + e): three formats against rationals, three iterations, on drawn,
    searched and kept tensors.

    Remark G.1's form has its own counts, and so has the form that clears `vec` before writing it (no last term).
    """
    model_of = (form or THEOREM, narrow or torch.float32)
    yield from kept.replay(lambda found: judge_kept(found, scale, *model_of), "tensor-rounding")
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        for task in instances.floats(rng):
            task = rounded_to(narrow or dtype, task)
            exact = instances.exact_trajectory(task, STEPS)
            for one in (THEOREM, ATTENTION_ONLY, OVERWRITING):
                for max_dim in sorted({len(task.tensor), 13} if dtype == torch.float64 else {13}):
                    model = built(max_dim, STEPS, form or one, narrow or dtype)
                    yield from judge(model, task, exact, one, scale, dtype)

    def one_more(task: PowerTask) -> Iterator[Verdict]:
        return judge_kept({"tensor": task.tensor, "start": task.start}, scale, *model_of)

    yield from searched(instances.adversarial(), one_more, rng, 60)


tensor_rounding.control("bfloat16 arithmetic under every other bound", narrow=torch.bfloat16)
tensor_rounding.control("the bound lowered by 90 %", scale=0.1)
tensor_rounding.control("d0 + 1 in place of d0", form=subjects.broken(THEOREM, "d0 + 1 in place of d0"))
tensor_rounding.control("vec not cleared", form=subjects.broken(THEOREM, "vec not cleared"))
tensor_rounding.control("below the worst kept", scale=kept.just_below("tensor-rounding"))
test_rounding, test_rounding_controls = tensor_rounding.tests()


@statement(
    "tensor-rounding-relative",
    source="Theorem G.8 in floating point, when the iteration shrinks",
    text="ours",
    evidence="certified",
    claim="refuted",
    paper=("Theorem G.8",),
)
def tensor_rounding_relative(
    rng: np.random.Generator, *, form: Form = THEOREM, scale: float = 1.0
) -> Iterator[Verdict]:
    """FALSE: the bound of `tensor-rounding` without its last term, relative to |T|(|v|,|v|) alone, for Theorem G.8's
    arrangement. The even layer's MLP makes vec + (new − vec): when T(I,v,v) is far smaller than v its digits are lost.
    """
    kept = json.loads(KEPT.read_text())
    task = PowerTask("d=1, T=1, v=1e-9", np.array(kept["tensor"]), np.array(kept["start"]))
    exact = instances.exact_trajectory(task, kept["steps"])
    yield from judge(built(1, kept["steps"], form), task, exact, OVERWRITING, scale)


tensor_rounding_relative.repair("vec cleared before it is written", form=OVERWRITING)
tensor_rounding_relative.control("the bound lowered to nothing", spoils="vec cleared before it is written", scale=1e-9)
test_relative, test_relative_controls = tensor_rounding_relative.tests()
