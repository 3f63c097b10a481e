"""The rounding allowance that every floating-point run adds to its bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from typing import Any

import flint
import numpy as np
import torch

from constructions import ball_evaluation, bounds, em_enclosure, rounding_error
from constructions.balls import largest, norm, to_balls
from constructions.em_enclosure import BallEm
from constructions.em_transformer import EmTransformer, encode, read_out
from theory_checks import instances, kept, subjects
from theory_checks.enclosures import decided, enclose
from theory_checks.instances import Task
from theory_checks.ledger import Verdict, statement
from theory_checks.subjects import SMALL_CLASS

FORMATS = (torch.float64, torch.float32, torch.bfloat16)
BELOW = 1 - 2.0**-40  # the allowance is evaluated in floats: lowered by more than that can be off
Allowance = Callable[..., rounding_error.Allowance]


@statement(
    "rounding",
    source="rounding analysis (rounding_error.allowance)",
    text="ours",
    evidence="certified",
    depends_on=("ball-evaluation",),
    figure="precision_map",
    rounding=True,
)
def rounding(
    rng: np.random.Generator,
    *,
    arithmetic: torch.dtype | None = None,
    allowance: Allowance = rounding_error.allowance,
    full: bool = False,
) -> Iterator[Verdict]:
    """One EM step by torch, in float64, float32 or bfloat16, differs from the same weights on the same tokens in exact
    arithmetic, enclosed in balls, by at most the allowance. Weights and tokens of each format are exact in balls, so
    the difference is rounding alone.

    Two steps, each from the tokens of the format: the second reads what the networks wrote. A bound that is not finite
    is vacuous. Drawn and kept data sets.
    """
    grid = ((1, 2, 3, 5), (2, 3, 5, 7), (0, 29, 101)) if full else ((1, 5), (3, 7), (0, 29))
    yield from kept.replay_tasks(lambda task: judge_task(task, torch.float32, arithmetic, allowance), "rounding")
    for task in instances.grid(rng, SMALL_CLASS.radius, *grid):
        for dtype in FORMATS:
            yield from judge_task(task, dtype, arithmetic, allowance)


def judge_task(
    task: Task,
    dtype: torch.dtype,
    arithmetic: torch.dtype | None = None,
    allowance: Allowance = rounding_error.allowance,
) -> Iterator[Verdict]:
    """Two steps in one format."""
    em = subjects.sound(SMALL_CLASS, 0.5, "floor", 1, dtype)
    return _judge(em, subjects.in_balls("", SMALL_CLASS, 0.5, "floor", 1, dtype), task, arithmetic, allowance)


def lowered(factor: float) -> Allowance:
    """A part of the allowance."""

    def allowance(*arguments: Any) -> rounding_error.Allowance:
        whole = rounding_error.allowance(*arguments)
        return rounding_error.Allowance(factor * whole.mean, factor * whole.log_weight)

    return allowance


def _judge(
    em: EmTransformer, exact: BallEm, task: Task, arithmetic: torch.dtype | None, allowance: Allowance
) -> Iterator[Verdict]:
    """Two steps, each as the format makes it and as balls enclose it; `arithmetic` is another format to use instead."""
    dim, k = task.samples.shape[1], len(task.start.weights)
    held = arithmetic if arithmetic is not None else em.dtype
    forward = deepcopy(em.transformer).to(held)
    tokens, entering = torch.tensor(encode(em, task.samples, task.start)).to(em.dtype), task.start
    x = tokens.double().numpy()[:, :dim]
    diameter, _ = bounds.diameter(x)
    for step in (1, 2):
        output = forward(tokens.to(held)).to(em.dtype)
        ours = read_out(em, output.double().numpy(), dim, k)
        smallest = float(min(entering.weights.min(), ours.weights.min()))
        limit = allowance(em.approximation, x, entering.means, smallest, diameter, em.dtype)
        name = f"{task.name} {str(em.dtype).removeprefix('torch.')} step {step}"
        yield from decided(partial(_compare, exact, tokens, ours, limit, diameter, name))
        tokens, entering = output, ours


def _compare(
    em: BallEm, tokens: torch.Tensor, ours: Any, limit: rounding_error.Allowance, diameter: float, name: str
) -> Iterator[Verdict]:
    *_, h = ball_evaluation.trace(em.transformer, to_balls(tokens.double().numpy()))
    exact = em_enclosure.read_out(em, h, ours.means.shape[1], len(ours.weights))
    error = largest(norm(to_balls(ours.means) - exact.means))
    yield enclose(error, flint.arb(limit.mean * BELOW), f"{name} means", trivial=flint.arb(diameter))
    pairs = zip(to_balls(ours.weights), exact.log_weights, strict=True)
    drift = largest(abs(weight.log() - log_weight) for weight, log_weight in pairs)
    yield enclose(drift, flint.arb(limit.log_weight * BELOW), f"{name} weights", trivial=flint.arb.pos_inf())


def _of_float64(*arguments: Any) -> rounding_error.Allowance:
    """The allowance with the dtype, the last argument, replaced."""
    return rounding_error.allowance(*(*arguments[:-1], torch.float64))


rounding.control("bfloat16 arithmetic under each format's allowance", arithmetic=torch.bfloat16)
rounding.control("float64's allowance for every format", allowance=_of_float64)
rounding.control("below the worst kept", allowance=lowered(kept.just_below("rounding")))
test_rounding, test_rounding_controls = rounding.tests()
