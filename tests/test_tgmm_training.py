"""Algorithm 2: what a step does, and that a run that is killed goes on to the same numbers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from math import cos, pi
from pathlib import Path

import numpy as np
import pytest
import torch
from tgmm_runs import smoke

from constructions import files
from constructions.errors import InputError
from tgmm import checkpoints, training
from tgmm import config as configs
from tgmm.__main__ import main
from tgmm.config import TrainingConfig
from tgmm.training import METRICS, MODEL, TRAINING, batch, begin, learning_rate, losses, train


def metrics(directory: Path) -> list[dict[str, object]]:
    """What was measured, but for the time."""
    lines = [json.loads(line) for line in (directory / METRICS).read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def tensors(path: Path) -> dict[str, list[float]]:
    return {name: tensor.flatten().tolist() for name, tensor in checkpoints.read(path).tensors.items()}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from beginning to end."""
    directory = tmp_path_factory.mktemp("uninterrupted")
    train(begin(configs.load(smoke(directory)), directory))
    return directory


KILLED = """
import os, signal, sys
from tgmm import training
from tgmm.__main__ import main
advance = training.Run.advance
def killed(run):
    if run.step == 10:
        os.kill(os.getpid(), signal.SIGKILL)
    return advance(run)
training.Run.advance = killed
main(sys.argv[1:])
"""


def test_a_killed_run_resumes_to_the_same_numbers(
    uninterrupted: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The command in a process of its own, which is killed four steps after its first checkpoint; then given again."""
    config, directory = smoke(tmp_path), tmp_path / "run"
    arguments = ["train", "--config", str(config), "--out", str(directory)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], stdout=subprocess.DEVNULL, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert checkpoints.read(directory / TRAINING, training=True).step == 6
    assert [line["step"] for line in metrics(directory)] == [3, 6, 9]
    with (directory / METRICS).open("a") as file:  # as if killed while it wrote the next line
        file.write('{"step": ')
    capfd.readouterr()
    assert main(arguments) == 0
    assert "steps 7 to 30" in capfd.readouterr().out
    assert metrics(directory) == metrics(uninterrupted)
    assert tensors(directory / TRAINING) == tensors(uninterrupted / TRAINING)
    assert (directory / "config.toml").read_text() == configs.load(config).toml()


def test_what_a_run_leaves(uninterrupted: Path) -> None:
    lines = metrics(uninterrupted)
    assert [line["step"] for line in lines] == list(range(3, 31, 3))
    assert [line["step"] for line in lines if "validation" in line] == [6, 12, 18, 24, 30]
    for line in lines:
        parts = [line[f"{name}_loss"] for name in ("means", "weights", "scales")]
        assert sum(parts) == pytest.approx(line["loss"], rel=4 * 2.0**-24, abs=0)  # two sums and a quotient in float32
        assert line["scales_loss"] == 0.0
    whole, model = checkpoints.read(uninterrupted / TRAINING, training=True), checkpoints.read(uninterrupted / MODEL)
    assert whole.step == model.step == 30
    assert {
        name: tensor for name, tensor in whole.tensors.items() if name.startswith("model.")
    }.keys() == model.tensors.keys()
    assert len(whole.tensors) == 3 * len(model.tensors)


def test_a_whole_run_is_not_run_again(uninterrupted: Path) -> None:
    before = (uninterrupted / TRAINING).read_bytes()
    run = begin(configs.load(uninterrupted / "smoke.toml"), uninterrupted)
    assert run.done
    train(run)
    assert (uninterrupted / TRAINING).read_bytes() == before


def test_a_run_goes_on_under_its_own_config_only(uninterrupted: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds a run with width = 14 in \[model\], and the config says 18"):
        begin(configs.load(smoke(tmp_path, width=18)), uninterrupted)
    assert begin(configs.load(smoke(tmp_path, threads=2)), uninterrupted).done


def test_the_first_step_is_adamw_on_the_mean_loss_of_its_batch(tmp_path: Path) -> None:
    """AdamW's first update is −rate·(g/(|g| + eps) + decay·θ), whatever the size of g."""
    config = configs.load(smoke(tmp_path, weight_decay=0.3, clip=1e9))
    run = begin(config, tmp_path)
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    (losses(run.model, batch(config, 0), config).total.sum() / 7).backward()
    gradient = {name: p.grad.clone() for name, p in run.model.named_parameters() if p.grad is not None}
    run.advance()
    rate = learning_rate(config.training, 0)
    for name, p in run.model.named_parameters():
        g = gradient[name]
        expected = before[name] - rate * (g / (g.abs() + 1e-8) + 0.3 * before[name])
        # an entry moves by at most about the rate: float32 roundings of θ and of the quotient
        slack = 4 * 2.0**-24 * (before[name].abs().max().item() + 4 * rate)
        assert (p.detach() - expected).abs().max().item() <= slack, name


def test_gradients_are_clipped_to_their_norm(tmp_path: Path) -> None:
    """AdamW's first moment after a step is (1 − β₁)·gradient: its norm shows the clipping, by clip/(norm + 1e-6)."""
    run = begin(configs.load(smoke(tmp_path, clip=0.013)), tmp_path)
    run.model.double()
    norm = run.advance()["gradient_norm"]
    assert norm > 0.013
    moments = torch.cat([run.optimiser.state[p]["exp_avg"].flatten() for p in run.model.parameters()])
    assert moments.norm().item() == pytest.approx(0.1 * 0.013 * norm / (norm + 1e-6), rel=1e-10, abs=0)


def test_batches_depend_on_seed_and_step_alone(tmp_path: Path) -> None:
    config, other = configs.load(smoke(tmp_path)), configs.load(smoke(tmp_path, seed=1))
    assert np.array_equal(batch(config, 5).samples, batch(config, 5).samples)
    assert not np.array_equal(batch(config, 5).samples, batch(config, 6).samples)
    assert not np.array_equal(batch(config, 5).samples, batch(other, 5).samples)


def test_learning_rate_rises_linearly_and_falls_as_a_cosine() -> None:
    config = TrainingConfig(steps=107, warmup=7, learning_rate=0.3)
    assert [learning_rate(config, step) for step in range(7)] == pytest.approx(
        [0.3 * (step + 1) / 7 for step in range(7)], rel=1e-12, abs=0
    )
    assert [learning_rate(config, step) for step in (7, 32, 57, 106)] == pytest.approx(
        [0.3 * (1 + cos(pi * share)) / 2 for share in (0, 0.25, 0.5, 0.99)], rel=1e-12, abs=0
    )
    assert learning_rate(TrainingConfig(steps=3, warmup=3), 2) == 2e-3


def test_divergence_is_told(tmp_path: Path) -> None:
    run = begin(configs.load(smoke(tmp_path)), tmp_path)
    with torch.no_grad():
        run.model.read_in.weight[0, 0] = torch.inf
    with pytest.raises(InputError, match=r"the loss is nan .* in step 1: training has diverged at learning_rate 0.002"):
        run.advance()


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills up while the second checkpoint is written; then there is room again, and the run goes on."""
    run = begin(configs.load(smoke(tmp_path)), tmp_path)
    saves: list[int] = []

    written = files._beside

    def full(place: Path, content: bytes) -> str:
        if len(saves) == 1:
            raise OSError(28, "No space left on device", str(place))
        return written(place, content)

    save = training.Run.save

    def counted(self: training.Run) -> None:
        save(self)
        saves.append(self.step)

    monkeypatch.setattr(files, "_beside", full)
    monkeypatch.setattr(training.Run, "save", counted)
    with pytest.raises(InputError, match="No space left on device"):
        train(run)
    monkeypatch.undo()
    assert saves == [6]
    assert checkpoints.read(tmp_path / TRAINING, training=True).step == checkpoints.read(tmp_path / MODEL).step == 6
    again = begin(configs.load(tmp_path / "smoke.toml"), tmp_path)
    assert again.step == 6
    train(again)
    assert metrics(tmp_path)[-1]["step"] == 30
