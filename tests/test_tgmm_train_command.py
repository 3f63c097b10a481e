"""`python -m tgmm train`: what it prints, and how it ends; an evaluation's oracle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, in_process
from tgmm_runs import smoke

from constructions.algorithms.em import em_step
from tgmm import config as configs
from tgmm import evaluation, training
from tgmm.__main__ import main
from tgmm.baselines import METHODS
from tgmm.evaluation import Cell, from_truth, measure
from tgmm.metrics import align, l2_error
from tgmm.tasks import TaskSet
from tgmm.train_command import _Shown
from tgmm.training import CONFIG, METRICS, MODEL, TRAINING


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    return in_process(main, capfd)


def test_show_prints_the_config_and_trains_nothing(command: Command, tmp_path: Path) -> None:
    said = command("train", "--config", smoke(tmp_path), "--out", tmp_path / "run", "--show")
    assert (said.code, said.out) == (0, configs.load(tmp_path / "smoke.toml").toml())
    assert not (tmp_path / "run").exists()


def test_a_whole_run_is_told_and_left_alone(command: Command, tmp_path: Path) -> None:
    given = ("train", "--config", smoke(tmp_path, steps=6), "--out", tmp_path / "run")
    assert "trained       6 steps" in command(*given).out
    names = (TRAINING, MODEL, METRICS, CONFIG)
    before = {
        name: ((tmp_path / "run" / name).stat().st_mtime_ns, (tmp_path / "run" / name).read_bytes()) for name in names
    }
    said = command(*given)
    assert said.code == 0
    assert "holds the whole run: 6 steps in" in said.out
    assert "run           steps" not in said.out
    assert before == {
        name: ((tmp_path / "run" / name).stat().st_mtime_ns, (tmp_path / "run" / name).read_bytes()) for name in names
    }


def test_an_interruption_is_told(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    advance = training.Run.advance

    def interrupted(run: training.Run) -> dict[str, float]:
        if run.step == 7:
            raise KeyboardInterrupt
        return advance(run)

    monkeypatch.setattr(training.Run, "advance", interrupted)
    said = command("train", "--config", smoke(tmp_path), "--out", tmp_path / "run")
    assert said.code == 130
    assert "goes on from the last checkpoint" in said.err
    assert "trained" not in said.out


def test_threads_are_the_config_s(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    command("train", "--config", smoke(tmp_path, steps=6, threads=3), "--out", tmp_path / "run")
    assert asked == [3]


def test_a_line_tells_the_time_that_is_left(capfd: pytest.CaptureFixture[str]) -> None:
    _Shown(40)({"step": 10, "seconds": 7.0, "loss": 1.25, "validation": {"2": 0.5, "3": 0.75}})
    assert capfd.readouterr().out == (
        "step 10 of 40, loss 1.2500, about 21 s left, l2-error 0.5000 (K = 2), 0.7500 (K = 3)\n"
    )


CELL = Cell("a", "em-normal", 2, 3, 31, 0.0, 0.0, "unit", 5, 13)


def test_oracle_distance_is_the_matched_distance() -> None:
    drawn = TaskSet.drawn(CELL.distribution, 13, 5).tasks
    found = METHODS["em-normal"](drawn.samples, 3, np.random.default_rng([5, 1]))
    oracle = from_truth(drawn.samples, drawn.truth, False)
    expected = l2_error(align(found, oracle), oracle).mean()
    assert measure(CELL)[0]["oracle_distance"] == pytest.approx(expected, rel=1e-12, abs=0)
    assert expected < l2_error(found, oracle).mean()  # some task needs the matching


def test_the_oracle_s_first_step_is_from_the_true_weights_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation.em, "STEPS", 1)
    drawn = TaskSet.drawn(CELL.distribution, 3, 5).tasks
    found = from_truth(drawn.samples, drawn.truth, False)
    for index in range(3):
        weights, means = em_step(drawn.samples[index], drawn.truth.weights[index], drawn.truth.means[index])
        assert found.weights[index] == pytest.approx(weights, rel=1e-9, abs=0)
        assert found.means[index] == pytest.approx(means, rel=1e-9, abs=1e-12)
