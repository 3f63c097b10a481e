"""A floating-point run of the tensor-power transformer, judged against exact iterates in balls."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import flint

from constructions.algorithms.ball_tensor_power import contract
from constructions.balls import norm, to_balls
from constructions.tensor_power_run import PowerRun, run
from constructions.tensor_power_transformer import TensorPowerTransformer
from theory_checks.enclosures import decided, enclose
from theory_checks.kept import Instance
from theory_checks.ledger import Verdict

BELOW = 1 - 2.0**-40
"""Bounds that are evaluated in floats are lowered by more than they can be off."""


def judge_kept(model: TensorPowerTransformer, found: Instance, scale: float) -> Iterator[Verdict]:
    """A run from the tensor and the start that are kept."""
    made = run(model, found["tensor"], found["start"], execution="dense")
    return decided(partial(judge_float_run, made, scale, "the worst kept"))


def judge_float_run(run: PowerRun, scale: float, name: str) -> Iterator[Verdict]:
    """‖vector − exact iterate‖ ≤ bound after every step; `scale` lowers the part of the bound that is no rounding.

    The iterates are divided by their norms if the model's are. A bound is trivial from the iterate's norm on, which
    the zero vector would meet.
    """
    tensor, exact = to_balls(run.tensor), to_balls(run.start)
    normalised = run.model.form.normalisation
    for step in run.steps:
        exact = contract(tensor, exact, exact)
        if normalised is not None:
            exact = exact / norm(exact[None])[0]
        approximation = max(normalised.norm_errors(len(exact))) if normalised is not None else step.bound
        bound = (scale * approximation + max(0.0, step.bound - approximation)) * BELOW
        excuse = step.reason if step.status == "not applicable" else ""
        error, size = norm((to_balls(step.vector) - exact)[None])[0], norm(exact[None])[0]
        limit = flint.arb.pos_inf() if step.status == "vacuous" else flint.arb(bound)
        yield enclose(error, limit, f"{name} step {step.step}", trivial=size, excuse=excuse)
