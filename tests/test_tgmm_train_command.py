"""`python -m tgmm train`: what it prints, and how it ends; an evaluation's oracle."""

from __future__ import annotations

import sys
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
from tgmm.config import TrainingConfig
from tgmm.evaluation import Cell, from_truth, measure
from tgmm.metrics import align, l2_error
from tgmm.names import CONFIG, METRICS, MODEL, TRAINING
from tgmm.tasks import TaskSet
from tgmm.train_command import _alone, _Shown


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
    shown = _Shown(TrainingConfig(steps=40, log=5, warmup=0, checkpoint=10))
    shown({"step": 5, "seconds": 3.5, "loss": 1.5})  # nothing is kept of it, and there is no terminal
    shown({"step": 10, "seconds": 7.0, "loss": 1.25, "validation": {"2": 0.5, "3": 0.75}})
    assert capfd.readouterr().out == (
        "step 10 of 40, loss 1.2500, about 21 s left, l2-error 0.5000 (K = 2), 0.7500 (K = 3)\n"
    )


def test_a_terminal_shows_every_line_in_place(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines with a checkpoint stay; whatever comes next, after the end or an error, has a line of its own."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with _Shown(TrainingConfig(steps=7, log=1, warmup=0, checkpoint=5, validation=0)) as shown:
        for step in (5, 6):
            shown({"step": step, "seconds": float(step), "loss": 1.0})
    assert capfd.readouterr().out == (
        "\rstep 5 of 7, loss 1.0000, about 2 s left\x1b[K\n\rstep 6 of 7, loss 1.0000, about 1 s left\x1b[K\n"
    )
    with _Shown(TrainingConfig(steps=7, log=1, warmup=0, checkpoint=5, validation=0)) as shown:
        shown({"step": 7, "seconds": 7.0, "loss": 1.0})
    assert capfd.readouterr().out.endswith("about 0 s left\x1b[K\n")


def test_a_model_that_was_removed_is_written_again(command: Command, tmp_path: Path) -> None:
    given = ("train", "--config", smoke(tmp_path, steps=6), "--out", tmp_path / "run")
    command(*given)
    model = (tmp_path / "run" / MODEL).read_bytes()
    (tmp_path / "run" / MODEL).unlink()
    assert "holds the whole run" in command(*given).out
    assert (tmp_path / "run" / MODEL).read_bytes() == model


def test_a_model_is_not_replaced_by_that_of_another_run(command: Command, tmp_path: Path) -> None:
    """Also where what a run needs to go on is gone."""
    command("train", "--config", smoke(tmp_path, steps=6), "--out", tmp_path / "run")
    (tmp_path / "run" / TRAINING).unlink()
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    said = command("train", "--config", smoke(tmp_path, steps=6, seed=3), "--out", tmp_path / "run")
    said.assert_refused("holds a run with seed = 0 in [training], and the config says 3")
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_one_process_trains_in_a_directory(command: Command, tmp_path: Path) -> None:
    given = ("train", "--config", smoke(tmp_path, steps=6), "--out", tmp_path / "run")
    (tmp_path / "run").mkdir()
    with _alone(tmp_path / "run"):
        command(*given).assert_refused("in which another process is training")
    assert [path.name for path in (tmp_path / "run").iterdir()] == []
    (tmp_path / "run" / f".{TRAINING}.x").write_bytes(b"of a process that was killed")
    assert command(*given).code == 0
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted((CONFIG, METRICS, MODEL, TRAINING))


@pytest.mark.parametrize("name", ["x" * 300, "/proc/x"])
def test_a_directory_that_cannot_be(command: Command, tmp_path: Path, name: str) -> None:
    command("train", "--config", smoke(tmp_path, steps=6), "--out", tmp_path / name).assert_refused("cannot be")


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
