"""Runs of the tensor-power transformer, in floating point and in balls, judged against exact iterates in balls."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import flint
import numpy as np

from constructions import evaluation
from constructions.algorithms.ball_tensor_power import contract
from constructions.balls import norm, to_balls
from constructions.number_system import Balls
from constructions.tensor_power_run import PowerRun, run
from constructions.tensor_power_transformer import TensorPowerTransformer, encode, read_out
from theory_checks.enclosures import decided, enclose
from theory_checks.kept import Instance
from theory_checks.ledger import Verdict

BELOW = 1 - 2.0**-40
"""Bounds that are evaluated in floats are lowered by more than they can be off."""


def judge_kept(model: TensorPowerTransformer, found: Instance, scale: float) -> Iterator[Verdict]:
    """A run from the tensor and the start that are kept."""
    made = run(model, found["tensor"], found["start"], execution="dense")
    return decided(partial(judge_float_run, made, scale, "the worst kept"))


def judge_kept_exactly(model: TensorPowerTransformer, found: Instance, scale: float) -> Iterator[Verdict]:
    """The same in exact arithmetic, which the bound covers as well: rounding, another on every processor, has no part.

    How close a kept instance comes is then the same everywhere, and just below it the bound is refuted everywhere.
    """
    made = run(model, found["tensor"], found["start"], execution="dense")
    return decided(lambda: judge_float_run(made, scale, "the worst kept", vectors_in_balls(made)))


def vectors_in_balls(run: PowerRun) -> list[np.ndarray]:
    """What is read out after every step, when the run's weights and tokens are evaluated in balls."""
    numbers, model = Balls(), run.model
    weights = evaluation.exact_weights(model.transformer, numbers)
    tokens = encode(model, to_balls(run.tensor), to_balls(run.start), numbers)
    streams = list(evaluation.trace(weights, tokens, numbers))
    per_step = model.form.layers_per_step
    return [read_out(model, stream, len(run.start)) for stream in streams[per_step - 1 :: per_step]]


def judge_float_run(
    run: PowerRun, scale: float, name: str, vectors: list[np.ndarray] | None = None
) -> Iterator[Verdict]:
    """‖vector − exact iterate‖ ≤ bound after every step; `scale` lowers the part of the bound that is no rounding.

    The vectors are those of the run, or others that its bounds cover, in balls. The iterates are divided by their norms
    if the model's are. A bound is trivial from the iterate's norm on, which the zero vector would meet.
    """
    tensor, exact = to_balls(run.tensor), to_balls(run.start)
    normalised = run.model.form.normalisation
    found = [to_balls(step.vector) for step in run.steps] if vectors is None else vectors
    for step, vector in zip(run.steps, found, strict=True):
        exact = contract(tensor, exact, exact)
        if normalised is not None:
            exact = exact / norm(exact[None])[0]
        approximation = max(normalised.norm_errors(len(exact))) if normalised is not None else step.bound
        bound = (scale * approximation + max(0.0, step.bound - approximation)) * BELOW
        excuse = step.reason if step.status == "not applicable" else ""
        error, size = norm((vector - exact)[None])[0], norm(exact[None])[0]
        limit = flint.arb.pos_inf() if step.status == "vacuous" else flint.arb(bound)
        yield enclose(error, limit, f"{name} step {step.step}", trivial=size, excuse=excuse)
