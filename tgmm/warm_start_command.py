"""A warm start: the EM construction's weights trained further, beside the same shapes trained from random numbers.

`python -m tgmm warm_start --out figures/warm_start.json` writes what figures/warm_start.py draws.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, replace
from math import isfinite
from typing import Any

import numpy as np
import torch

from constructions.command_line import Progress, require_writable, write_all
from constructions.em_transformer import EmTransformer
from constructions.errors import InputError
from constructions.resources import measure
from constructions.transformer import Transformer
from tgmm import bootstrap
from tgmm.mixtures import Mixtures
from tgmm.trainable_em import named_matrices, trainable
from tgmm.warm_start_measures import (
    Started,
    agreement,
    errors,
    estimates,
    exact_step,
    farthest,
    likelihood,
    movements,
    spread,
)
from tgmm.warm_start_training import (
    ARMS,
    BATCH,
    EM_STEPS,
    NOISE,
    OTHER_STARTS,
    REPORTS,
    SAMPLES,
    TASK_CLASS,
    TEST,
    TOLERANCE,
    TRAINED,
    VALIDATION,
    Budget,
    construction,
    follow,
    score,
)

PASSES = 3
"""How often in a row the layers are run in the end: EM goes on."""
SETTINGS = {
    "K = 2": (2, 48, 0.0),
    "K = 3": (3, 48, 0.0),
    "K = 3, n = 24": (3, 24, 0.0),
    "K = 3, n = 129": (3, 129, 0.0),
    "K = 3, σ_p = 1": (3, 48, 1.0),
    "K = 4": (4, 48, 0.0),
}
"""Tests: K, n, and the scale of the shift."""
IN_TRAINING = ("K = 2", "K = 3")
"""Those drawn like the training tasks, with the largest n."""


def examine(em: EmTransformer, before: Transformer, model: Transformer, budget: Budget) -> dict[str, Any]:
    """All that is said of a transformer after its training, on test tasks."""
    result: dict[str, Any] = {
        "log_b_theta": [bound(before), bound(model)],
        "movement": {name: asdict(each) for name, each in movements(before, model).items()},
    }
    result |= {part: {} for part in ("tests", "agreement", "spread", "passes", "shaken")}
    repeated = Transformer(model.stored_layers, model.schedule * PASSES)
    other = shaken(before, model, budget)
    for name, drawn in drawings(budget):
        tasks = Started.drawn(*drawn)
        after_each = estimates(em, repeated if name in IN_TRAINING else model, tasks)
        found = after_each[EM_STEPS - 1]
        result["tests"][name] = summary(found, tasks)
        if name in IN_TRAINING:
            again = tasks.restarted(budget.stream(OTHER_STARTS, drawn[0]))
            noisy = estimates(em, other, tasks)
            parts = vars(agreement(tasks, after_each[:EM_STEPS]))
            result["agreement"][name] = {part: values.tolist() for part, values in parts.items()}
            result["spread"][name] = spread(found, estimates(em, model, again)[-1])
            result["passes"][name] = [
                float(errors(each, tasks).mean()) for each in after_each[EM_STEPS - 1 :: EM_STEPS]
            ]
            result["shaken"][name] = {
                "error": float(errors(noisy[-1], tasks).mean()),
                "ratio": agreement(tasks, noisy).ratio,
            }
    return result


def drawings(budget: Budget) -> Iterator[tuple[str, tuple[int, int, int, np.random.Generator, float]]]:
    """How the test tasks are drawn."""
    for index, (name, (k, n, shift)) in enumerate(SETTINGS.items()):
        yield name, (k, n, budget.tasks, budget.stream(TEST, index), shift)


def summary(found: Mixtures, tasks: Started) -> dict[str, Any]:
    """Mean ℓ2-error with its 95 % interval, its median, the average log-likelihood, and how far from EM's fixed point.

    `next_step` is the distance that an exact EM step from the estimate would still move a mean.
    """
    each = errors(found, tasks)
    interval = bootstrap.mean(each)
    return {
        "error": [interval.value, interval.low, interval.high],
        "median": float(np.median(each)),
        "log_likelihood": likelihood(found, tasks),
        "next_step": farthest(exact_step(tasks.samples, found).means, found.means),
    }


@torch.no_grad()
def bound(model: Transformer) -> float:
    """Log B_Θ (Definition 8)."""
    return measure(model).log_b_theta


@torch.no_grad()
def shaken(before: Transformer, model: Transformer, budget: Budget) -> Transformer:
    """The control: every matrix moved as far as training moved it, by the same entries in random order and sign."""
    other, rng = deepcopy(before), budget.stream(NOISE)
    for (_, old), (_, new) in zip(named_matrices(other), named_matrices(model), strict=True):
        change = rng.permutation((new - old).numpy().ravel()) * rng.choice([-1.0, 1.0], size=old.numel())
        old += torch.from_numpy(change.reshape(tuple(old.shape)))
    return other


def references(em: EmTransformer, budget: Budget) -> dict[str, Any]:
    """The construction as it stands, exact EM, and the start itself, on the same test tasks."""
    result: dict[str, Any] = {name: {"tests": {}, "spread": {}} for name in ("start", "EM", "EM converged")}
    for name, drawn in drawings(budget):
        tasks = Started.drawn(*drawn)
        again = tasks.restarted(budget.stream(OTHER_STARTS, drawn[0]))
        for method, steps in (("start", 0), ("EM", EM_STEPS), ("EM converged", None)):
            found = tasks.exact_em(steps)
            result[method]["tests"][name] = summary(found, tasks)
            if name in IN_TRAINING:
                result[method]["spread"][name] = spread(found, again.exact_em(steps))
    model = trainable(em.transformer, tied=False)
    return {"construction": examine(em, model, model, budget), **result}


def experiment(names: Sequence[str], budget: Budget, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """Everything, for these arms.

    Raises
    ------
    InputError
        If an arm diverges at every learning rate.
    """
    em = construction()
    rng = budget.stream(VALIDATION)
    validation = {k: Started.drawn(k, SAMPLES[1], -(-budget.tasks // 2), rng) for k in TRAINED}
    runs_of = {name: ARMS[name] for name in names}
    reports = sum(len(arm.rates) for arm in runs_of.values()) * (REPORTS + 1)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress(min(done, reports), reports)

    stored = {}
    for name, arm in runs_of.items():
        runs = [follow(em, arm, rate, budget, validation, tick) for rate in arm.rates]
        finished = [pair for pair in runs if not pair[1]["diverged"] and isfinite(score(pair[1]["history"][-1]))]
        if not finished:
            raise InputError(f"the arm {name!r} diverged at every learning rate, {arm.rates}; use fewer --steps")
        model, chosen = min(finished, key=lambda pair: score(pair[1]["history"][-1]))
        stored[name] = {
            **asdict(replace(arm, rates=())),
            "rate": chosen["rate"],
            "runs": [each for _, each in runs],
            **examine(em, arm.model(em, budget.seed), model, budget),
        }
    return {
        "setting": {
            **asdict(budget),
            "class": asdict(TASK_CLASS),
            "tolerance": TOLERANCE,
            "em_steps": EM_STEPS,
            "trained": TRAINED,
            "samples": SAMPLES,
            "batch": BATCH,
            "hidden": [len(layer.mlp.w1) for layer in em.transformer.stored_layers if layer.mlp is not None],
            "width": em.stream.width,
        },
        "references": references(em, budget),
        "arms": stored,
    }


def report(stored: dict[str, Any]) -> str:
    """The table of the note."""
    lines = []
    methods = {**stored["references"], **stored["arms"]}
    for name, method in methods.items():
        lines.append(name + (f": learning rate {method['rate']:g}" if "rate" in method else ""))
        for test, each in method["tests"].items():
            value, low, high = each["error"]
            lines.append(
                f"  {test:16s} error {value:.4f} [{low:.4f}, {high:.4f}], median {each['median']:.4f}, "
                f"log-likelihood {each['log_likelihood']:.4f}, next step {each['next_step']:.4f}"
                + (f", between two starts {method['spread'][test]:.4f}" if test in method["spread"] else "")
            )
        if "agreement" in method:
            lines += _mechanism(method)
    return "\n".join(lines)


def _mechanism(method: dict[str, Any]) -> Iterator[str]:
    """Movement and agreement with EM of one transformer."""
    for run_ in method.get("runs", ()):
        first, last = run_["history"][0], run_["history"][-1]
        ended = f"diverged in step {run_['diverged']}" if run_["diverged"] else f"{score(last):.4f}"
        ratios = ", ".join(f"{ratio:.3f} (K = {k})" for k, ratio in last["ratio"].items())
        yield (
            f"  rate {run_['rate']:g}: validation {score(first):.4f} -> {ended}, deviation from EM {ratios}, "
            f"median movement {last['moved']:.3g}"
        )
    for test, parts in method["agreement"].items():
        for part, values in parts.items():
            yield f"  {test} {part:11s}" + "".join(f" {value:.4f}" for value in values)
        passes = " ".join(f"{value:.4f}" for value in method["passes"][test])
        control = method["shaken"][test]
        yield f"  {test} error after 1 to {PASSES} passes {passes}"
        yield f"  {test} moved as far at random: error {control['error']:.4f}, deviation from EM {control['ratio']:.3f}"
    before, after = method["log_b_theta"]
    yield f"  log B_Theta {before:.3f} -> {after:.3f}"
    outside = [each["outside"] for each in method["movement"].values() if each["outside"] is not None]
    if outside:
        yield f"  share of a matrix's movement where it was 0, median {np.median(outside):.3f}"
    for kind in ("Q", "K", "V", "O", "W1", "W2"):
        moved = [each for name, each in method["movement"].items() if name.split(".")[-1] == kind]
        relative = " ".join("-" if each["relative"] is None else f"{each['relative']:.3g}" for each in moved)
        yield f"  {kind:2s} moved, in order of the layers: {relative}"


def run(options: argparse.Namespace) -> int:
    """Run the experiment and write its results; 0 on success."""
    budget = Budget(options.steps, options.tasks, options.seed)
    require_writable(options.out)
    torch.set_num_threads(1)
    with Progress("part") as progress:
        stored = experiment(list(dict.fromkeys(options.arms)), budget, progress)
    write_all({options.out: (json.dumps(stored, indent=1, ensure_ascii=False) + "\n").encode()})
    print(report(stored))
    print(f"written       {options.out}")
    return 0
