"""What a user's odd input and an interrupted run come to."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from conftest import Command, in_process
from tgmm_runs import smoke

from tgmm import checkpoints
from tgmm import config as configs
from tgmm.__main__ import main
from tgmm.checkpoints import KEY
from tgmm.evaluation import CONFIGS, Cell, trained
from tgmm.training import METRICS, MODEL, TRAINING, begin, train


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    return in_process(main, capfd)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("saves", [1, 5])
def test_a_run_killed_between_its_two_files_has_a_model_of_its_last_step(
    saves: int, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file of the checkpoint is in its place and the other is not; the same command then ends with both."""
    replace, moved = os.replace, []

    def killed(source: str, to: str) -> None:
        if str(to).endswith(".safetensors"):
            moved.append(to)
            if len(moved) == 2 * saves:
                raise Killed
        replace(source, to)

    config, run = smoke(tmp_path), tmp_path / "run"
    run.mkdir()
    monkeypatch.setattr("constructions.files.os.replace", killed)
    with pytest.raises(Killed):
        train(begin(configs.load(config), run))
    monkeypatch.undo()
    assert command("train", "--config", config, "--out", run).code == 0
    assert checkpoints.read(run / MODEL).step == checkpoints.read(run / TRAINING, training=True).step == 30


@pytest.mark.parametrize(
    "torn", ['{"step": 12, "validation": {"2": 1.5}', '{"step": 12}', "{}", '"}', "\ufffd}", "[1]\n", '{"a": {}}\n']
)
def test_a_torn_line_of_metrics_is_dropped(torn: str, tmp_path: Path) -> None:
    config = configs.load(smoke(tmp_path))
    train(begin(configs.load(smoke(tmp_path, steps=6)), tmp_path))
    before = (tmp_path / METRICS).read_text()
    run = begin(configs.load(smoke(tmp_path, steps=6)), tmp_path)
    run.config = config
    (tmp_path / METRICS).write_bytes(before.encode() + torn.encode("utf-16" if "\ufffd" in torn else "utf-8"))
    train(run)
    lines = (tmp_path / METRICS).read_text().splitlines()
    assert lines[:2] == before.splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(3, 31, 3))


def test_numbers_beyond_float64_are_refused(tmp_path: Path, command: Command) -> None:
    path = smoke(tmp_path, learning_rate="1" + "0" * 400)
    command("train", "--config", path, "--out", tmp_path / "run").assert_refused("smoke.toml", "learning_rate is 1000")


def test_places_that_will_not_do_are_refused(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    config = smoke(tmp_path)
    for name in (METRICS, MODEL, "config.toml"):
        (tmp_path / name).mkdir()
        command("train", "--config", config, "--out", tmp_path).assert_refused(name, "it is a directory")
        (tmp_path / name).rmdir()
    assert not (tmp_path / TRAINING).exists()
    (tmp_path / "runs").write_text("a file")
    monkeypatch.chdir(tmp_path)
    command("train", "--config", config).assert_refused("runs")


@pytest.mark.parametrize("size", [1e39, 1e160])
def test_samples_that_leave_float32_are_refused(size: float, tmp_path: Path, command: Command) -> None:
    train(begin(configs.load(smoke(tmp_path, steps=6)), tmp_path))
    np.save(tmp_path / "data.npy", size * np.ones((13, 2)))
    given = ("--data", tmp_path / "data.npy", "--components", 2, "--checkpoint", tmp_path / MODEL)
    command("estimate", *given, "--json", tmp_path / "e.json").assert_refused("estimate is not finite")
    assert not (tmp_path / "e.json").exists()


@pytest.mark.parametrize(
    ("entry", "tensors", "told"),
    [
        ({"config": None}, {}, "does not describe its model"),
        ({"step": float("inf")}, {}, "does not describe its model"),
        ({"step": -3}, {}, "does not describe its model: step is -3"),
        ({"seconds": -0.5}, {}, "does not describe its model: step is 6 and seconds -0.5"),
        ({}, {"model.more": torch.zeros(2)}, "holds the tensor 'model.more'"),
        ({}, {"model.read_in.bias": torch.zeros(14, dtype=torch.float16)}, "torch.float32 is needed"),
    ],
    ids=["config", "step", "negative", "seconds", "more", "dtype"],
)
def test_odd_checkpoints_are_refused(
    entry: dict[str, object], tensors: dict[str, torch.Tensor], told: str, tmp_path: Path, command: Command
) -> None:
    train(begin(configs.load(smoke(tmp_path, steps=6)), tmp_path))
    with safetensors.safe_open(tmp_path / MODEL, "pt") as file:
        said = json.loads(file.metadata()[KEY]) | entry
    held = checkpoints.read(tmp_path / MODEL).tensors | tensors
    safetensors.torch.save_file(held, tmp_path / "odd.safetensors", {KEY: json.dumps(said)})
    np.save(tmp_path / "data.npy", np.ones((13, 2)))
    given = ("--data", tmp_path / "data.npy", "--components", 2, "--checkpoint", tmp_path / "odd.safetensors")
    command("estimate", *given).assert_refused("odd.safetensors", told)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("you tried to allocate 2**60 bytes")])
def test_a_model_that_cannot_be_built(
    error: Exception, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(begin(configs.load(smoke(tmp_path, steps=6)), tmp_path))
    np.save(tmp_path / "data.npy", np.ones((13, 2)))

    def too_large(_: object) -> NoReturn:
        raise error

    monkeypatch.setattr(configs, "build", too_large)
    given = ("--data", tmp_path / "data.npy", "--components", 2, "--checkpoint", tmp_path / MODEL)
    command("estimate", *given).assert_refused("model.safetensors' describes a model that cannot be built")


def test_the_hint_names_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match="--config ") as refused:
        trained("base-d8")
    named = str(refused.value).split("--config ")[1].split("`")[0]
    assert CONFIGS.parent.parent / named == CONFIGS / "base-d8.toml"


def test_cells_that_differ_are_told_apart() -> None:
    cell = Cell("a", "em-normal", 2, 3, 31, 0.0, 0.0, "unit", 5, 13)
    others = [
        Cell("a", "em-normal", 2, 3, 31, 0.5, 0.0, "unit", 5, 13),
        Cell("a", "em-normal", 2, 3, 31, 0.0, 0.5, "unit", 5, 13),
        Cell("a", "em-normal", 2, 3, 31, 0.0, 0.0, "diagonal", 5, 13),
        Cell("a", "em-normal", 2, 3, 31, 0.0, 0.0, "unit", 6, 13),
    ]
    assert len({str(each) for each in (cell, *others)}) == 5
