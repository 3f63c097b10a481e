"""The training runs of the warm start: where the weights begin, the tasks, Algorithm 2."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from constructions.em_class import TaskClass, split_tolerance
from constructions.em_transformer import EmTransformer, build
from constructions.errors import InputError
from constructions.transformer import Transformer
from tgmm.config import TrainingConfig
from tgmm.loss import loss
from tgmm.trainable_em import balance, randomise, run, tokens, trainable
from tgmm.training import learning_rate
from tgmm.warm_start_measures import Started, agreement, errors, estimates, movements

TASK_CLASS, TOLERANCE, EM_STEPS = TaskClass(max_dim=2, max_components=4, radius=14.0, min_weight=0.01), 1.0, 4
"""8 layers. B = 14 holds means of [−5, 5]² with noise, also once they are shifted by σ_p = 1."""
TRAINED, SAMPLES, BATCH = (2, 3), (24, 48), 32
"""K, n and the tasks of a batch; K and n are the same within it."""
TRAINING, VALIDATION, TEST, INITIAL, OTHER_STARTS, NOISE = range(6)
"""Streams of random numbers of a seed."""
REPORTS = 8
"""Validations of a run, not counting the one before it."""


@dataclass(frozen=True)
class Arm:
    """Where the weights begin, whether the pairs of layers share theirs, and the learning rates that are tried."""

    begin: Literal["literal", "balanced", "random"]
    tied: bool
    rates: tuple[float, ...]
    scale: float = 1.0  # of random weights

    def model(self, em: EmTransformer, seed: int) -> Transformer:
        """The transformer before training."""
        model = trainable(em.transformer, self.tied)
        if self.begin == "balanced":
            balance(model)
        elif self.begin == "random":
            randomise(model, self.scale, np.random.SeedSequence([seed, INITIAL]).generate_state(1).item())
        return model


ARMS = {
    "warm": Arm("literal", False, (1e-8, 1e-7, 1e-6, 1e-5)),
    "warm, balanced": Arm("balanced", False, (1e-5, 1e-4, 1e-3)),
    "warm, balanced, tied": Arm("balanced", True, (1e-4, 1e-3)),
    "scratch": Arm("random", False, (1e-3, 3e-3, 1e-2)),
    "scratch, small": Arm("random", False, (3e-3,), scale=0.3),
    "scratch, tied": Arm("random", True, (1e-3, 3e-3)),
}


@dataclass(frozen=True)
class Budget:
    """Optimiser steps of every run, tasks of every validation and test, seed."""

    steps: int
    tasks: int
    seed: int

    def __post_init__(self) -> None:
        for name, least, most in (("steps", 1, 10**6), ("tasks", 2, 10**5), ("seed", 0, 2**31 - 1)):
            if not least <= getattr(self, name) <= most:
                raise InputError(f"--{name} is {getattr(self, name)}; it must lie between {least} and {most}")

    def stream(self, *key: int) -> np.random.Generator:
        """A generator for one purpose."""
        return np.random.default_rng([self.seed, *key])


def construction() -> EmTransformer:
    """The hand-written weights, in float64: entries of the log network reach A, float32 loses what a step adds."""
    return build(TASK_CLASS, split_tolerance(TASK_CLASS, TOLERANCE, "floor"), EM_STEPS)


def train(
    em: EmTransformer, model: Transformer, rate: float, budget: Budget, report: Callable[[int], None]
) -> int | None:
    """Algorithm 2 with AdamW, in place; the step with the first gradient that is not finite ends it and is returned.

    Every run sees the same tasks and starts in the same order. `report(step)` comes after every eighth of the steps.
    """
    setting = TrainingConfig(steps=budget.steps, batch=BATCH, learning_rate=rate, warmup=budget.steps // 10)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=setting.weight_decay)
    every = max(1, budget.steps // REPORTS)
    for step in range(budget.steps):
        rng = budget.stream(TRAINING, step)
        k, n = int(rng.choice(TRAINED)), int(rng.integers(*SAMPLES, endpoint=True))
        tasks = Started.drawn(k, n, BATCH, rng)
        weights, means, scales = map(torch.from_numpy, (tasks.truth.weights, tasks.truth.means, tasks.truth.scales))
        found = run(em, model, tokens(em, tasks.samples, tasks.start), k)[-1]
        optimiser.zero_grad()
        loss(found, weights, means, scales, setting.matching).total.mean().backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), setting.clip)
        if not bool(norm.isfinite()):
            return step + 1
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(setting, step)
        optimiser.step()
        if (step + 1) % every == 0 or step + 1 == budget.steps:
            report(step + 1)
    return None


def follow(
    em: EmTransformer, arm: Arm, rate: float, budget: Budget, tests: dict[int, Started], tick: Callable[[], None]
) -> tuple[Transformer, dict[str, Any]]:
    """A run with its history: ℓ2-error and deviation from EM for every K, and how far the weights have moved."""
    begin = arm.model(em, budget.seed)
    model = deepcopy(begin)
    history: list[dict[str, Any]] = []

    def report(step: int) -> None:
        moved = [each.relative for each in movements(begin, model).values() if each.relative is not None]
        line: dict[str, Any] = {"step": step, "moved": float(np.median(moved)), "error": {}, "ratio": {}}
        for k, tasks in tests.items():
            after_each = estimates(em, model, tasks)
            line["error"][str(k)] = float(errors(after_each[-1], tasks).mean())
            line["ratio"][str(k)] = agreement(tasks, after_each).ratio
        history.append(line)
        tick()

    report(0)
    diverged = train(em, model, rate, budget, report)
    return model, {"rate": rate, "diverged": diverged, "history": history}


def score(line: dict[str, Any]) -> float:
    """What chooses among learning rates: the mean of the ℓ2-errors over K."""
    return float(np.mean(list(line["error"].values())))
