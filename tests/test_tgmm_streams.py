"""Which random numbers an experiment draws for what, and its optimiser's learning rates, recorded as it runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import combinations
from math import cos, pi
from pathlib import Path

import numpy as np
import pytest
import torch
from tgmm_runs import smoke

from tgmm import config as configs
from tgmm import evaluation, warm_start_command, warm_start_training
from tgmm.evaluation import Cell, measure
from tgmm.tasks import held_out
from tgmm.training import begin, train
from tgmm.warm_start_training import ARMS, Budget

Made = list[tuple[str, int]]


def state(rng: np.random.Generator) -> int:
    """Where a generator stands: two that begin alike draw the same numbers."""
    return int(rng.bit_generator.state["state"]["state"])


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    """Every generator that is made in a test: the function that asks for it, and where it begins."""
    found: Made = []
    default_rng = np.random.default_rng

    def recorded(seed: object = None) -> np.random.Generator:
        rng, frame = default_rng(seed), sys._getframe(1)
        while frame.f_code.co_name == "stream" or not frame.f_globals["__name__"].startswith(("tgmm.", "test_")):
            assert frame.f_back is not None  # a wrapper that checks shapes, or Budget.stream, which is asked in turn
            frame = frame.f_back
        found.append((frame.f_code.co_name, state(rng)))
        return rng

    monkeypatch.setattr(np.random, "default_rng", recorded)
    return found


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rate of every step that AdamW makes in a test."""
    found: list[float] = []
    step = torch.optim.AdamW.step

    def recorded(self: torch.optim.AdamW, closure: Callable[[], float] | None = None) -> object:
        (rate,) = {group["lr"] for group in self.param_groups}
        found.append(rate)
        return step(self, closure)

    monkeypatch.setattr(torch.optim.AdamW, "step", recorded)
    return found


def by(made: Made, *makers: str) -> list[int]:
    """Where the generators of these functions begin, in the order in which they were made."""
    return [begin for maker, begin in made if maker in makers]


def schedule(rate: float, warmup: int, steps: int) -> list[float]:
    """Linear up to the warm-up's last step, then half a cosine."""
    rising = [rate * (step + 1) / warmup for step in range(warmup)]
    return rising + [rate * (1 + cos(pi * step / (steps - warmup))) / 2 for step in range(steps - warmup)]


def test_a_run_s_batches_are_all_fresh_and_none_is_validated_on(tmp_path: Path, made: Made, rates: list[float]) -> None:
    config = configs.load(smoke(tmp_path, steps=12, seed=3))
    train(begin(config, tmp_path))
    batches, validated = by(made, "batch"), by(made, "validate")
    assert len(batches) == len(set(batches)) == 12
    assert len(validated) == 4  # K = 2 and 3, after steps 6 and 12
    assert validated[:2] == validated[2:]
    assert len(set(validated)) == 2
    assert not set(batches) & set(validated)
    assert state(held_out(3)) not in {*batches, *validated}
    assert rates == pytest.approx(schedule(2e-3, 4, 12), rel=1e-12, abs=0)


@pytest.mark.parametrize("seed", [0, 1, 7, 2**32 - 1, 2**32, 2**63 - 1])
def test_no_training_step_draws_what_is_tested_on(seed: int) -> None:
    """Keys as they are written; a generator takes 0 for what a key does not have, so that [s] is [s, 0]."""
    assert state(np.random.default_rng([seed])) == state(np.random.default_rng([seed, 0]))
    steps = {state(np.random.default_rng([seed, step])) for step in range(1000)}
    validated = {state(np.random.default_rng([seed + 2**32, k])) for k in range(1, 65)}
    methods = state(evaluation._generator(seed))
    assert len(steps) == 1000
    assert len(validated) == 64
    assert not steps & validated
    assert state(held_out(seed)) not in steps | validated | {methods}


def test_methods_draw_other_numbers_than_their_tasks(made: Made) -> None:
    evaluation._drawn.cache_clear()
    measure(Cell("a", "em-kmeans++", 2, 3, 31, 0.0, 0.0, "unit", 41, 2))
    assert by(made, "held_out") == [state(held_out(41))]
    assert len(set(by(made, "_generator"))) == 1
    assert not set(by(made, "_generator")) & set(by(made, "held_out"))


def test_the_warm_start_s_streams_are_disjoint(made: Made, rates: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two arms of one learning rate each: 11 steps, of which the first warms up."""
    steps = 11
    arms = {"scratch, tied": 3e-3, "warm, balanced, tied": 1e-4}
    for name, rate in arms.items():
        monkeypatch.setitem(ARMS, name, warm_start_training.Arm(ARMS[name].begin, True, (rate,)))
    settings = {"K = 2": (2, 6, 0.0), "K = 3": (3, 6, 0.0), "K = 4": (4, 8, 0.0)}
    monkeypatch.setattr(warm_start_command, "SETTINGS", settings)
    monkeypatch.setattr(warm_start_training, "BATCH", 3)
    monkeypatch.setattr(warm_start_training, "SAMPLES", (6, 9))
    for module in (warm_start_command, warm_start_training):
        monkeypatch.setattr(module, "EM_STEPS", 2)
    warm_start_command.experiment(list(arms), Budget(steps, 2, 3), lambda done, total: None)

    trained = by(made, "train")
    assert len(set(trained[:steps])) == steps  # no step draws what another has drawn
    assert trained == trained[:steps] * len(arms)  # and every run sees the same
    validated, tested = by(made, "experiment"), by(made, "drawings")
    assert len(validated) == 1
    assert len(set(tested)) == len(settings)  # the same test tasks for every arm and reference
    assert len(tested) == len(settings) * (len(arms) + 2)
    restarted, shaken = by(made, "examine", "references"), by(made, "shaken")
    assert len(set(restarted)) == 2 + 1  # K = 2, 3 in training, and K = 4 among the references
    assert len(set(shaken)) == 1
    groups = [set(each) for each in (trained, validated, tested, restarted, shaken)]
    assert all(not one & other for one, other in combinations(groups, 2))

    expected = [rate for top in arms.values() for rate in schedule(top, 1, steps)]
    assert rates == pytest.approx(expected, rel=1e-12, abs=0)


def test_no_two_streams_of_the_warm_start_have_one_name() -> None:
    names = ("TRAINING", "VALIDATION", "TEST", "INITIAL", "OTHER_STARTS", "NOISE")
    assert sorted(getattr(warm_start_training, name) for name in names) == list(range(6))
