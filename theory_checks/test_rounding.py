"""The rounding allowance that every floating-point check adds to its bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import numpy as np
import torch

from constructions import bounds, rounding_error
from constructions.em_transformer import encode, read_out
from theory_checks import instances, subjects
from theory_checks.ledger import Verdict, compare, statement
from theory_checks.subjects import SMALL_CLASS


@statement("rounding", source="rounding analysis (rounding_error.allowance)", text="ours", evidence="sampled")
def rounding(
    rng: np.random.Generator,
    *,
    narrow: torch.dtype = torch.float32,
    allowance: Callable[..., rounding_error.Allowance] = rounding_error.allowance,
) -> Iterator[Verdict]:
    """One EM step of the same weights on the same tokens differs between float32 and float64 by at most the allowance.

    The float32 weights and tokens are exact in float64, so the difference is rounding alone. Two steps, each from the
    float32 tokens: the second reads what the networks wrote.
    """
    em = subjects.sound(SMALL_CLASS, 0.5, "floor", 1, torch.float32)
    wide = deepcopy(em.transformer).double()
    arithmetic = deepcopy(em.transformer).to(narrow)
    for task in instances.grid(rng, SMALL_CLASS.radius, (1, 2, 3, 5), (2, 3, 5, 7), (0, 29, 101)):
        dim, k = task.samples.shape[1], len(task.start.weights)
        tokens, entering = torch.tensor(encode(em, task.samples, task.start)).to(narrow), task.start
        x = tokens.double().numpy()[:, :dim]
        diameter, _ = bounds.diameter(x)
        for step in (1, 2):  # the second step reads what the two networks wrote
            output = arithmetic(tokens)
            ours = read_out(em, output.double().numpy(), dim, k)
            exact = read_out(em, wide(tokens.double()).numpy(), dim, k)
            smallest = float(min(entering.weights.min(), exact.weights.min()))
            parts = [
                allowance(em.approximation, x, entering.means, smallest, diameter, dtype)
                for dtype in (torch.float32, torch.float64)
            ]
            name = f"{task.name} step {step}"
            error = float(np.linalg.norm(ours.means - exact.means, axis=1).max())
            yield compare(error, sum(part.mean for part in parts), f"{name} means", trivial=diameter)
            drift = float(np.abs(np.log(ours.weights) - np.log(exact.weights)).max())
            yield compare(drift, sum(part.log_weight for part in parts), f"{name} weights")
            tokens, entering = output, ours


def _in_float64(*arguments: Any) -> rounding_error.Allowance:
    """The allowance with the dtype, the last argument, replaced."""
    return rounding_error.allowance(*(*arguments[:-1], torch.float64))


rounding.control("bfloat16 arithmetic under float32's allowance", narrow=torch.bfloat16)
rounding.control("float64's allowance for float32", allowance=_in_float64)
test_rounding, test_rounding_controls = rounding.tests()
