"""What a line of metrics says, and that every part of a batch takes part."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tgmm_runs import smoke

from tgmm import checkpoints, training
from tgmm import config as configs
from tgmm.config import Config
from tgmm.estimation import estimate
from tgmm.loss import loss
from tgmm.metrics import align, l2_error
from tgmm.tasks import draw
from tgmm.training import METRICS, MODEL, TRAINING, VALIDATION, batch, begin, learning_rate, losses, train, validate


def anisotropic(folder: Path, **replaced: object) -> Config:
    config = configs.load(smoke(folder, **replaced))
    return replace(config, tasks=replace(config.tasks, anisotropic=True))


def test_a_line_is_the_mean_of_its_steps(tmp_path: Path) -> None:
    """Two whole windows and a rest: the last step has a line and a checkpoint, although log does not divide it."""
    config = configs.load(smoke(tmp_path, steps=8))
    train(begin(config, tmp_path))
    again = begin(config, tmp_path / "none")
    measured = [again.advance() for _ in range(8)]
    lines = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6, 8]
    for line, (first, last) in zip(lines, ((0, 3), (3, 6), (6, 8)), strict=True):
        for name in measured[0]:
            mean = sum(each[name] for each in measured[first:last]) / (last - first)
            assert line[name] == pytest.approx(mean, rel=1e-12, abs=0), name
        assert line["learning_rate"] == learning_rate(config.training, last - 1)
    assert checkpoints.read(tmp_path / TRAINING, training=True).step == checkpoints.read(tmp_path / MODEL).step == 8
    assert ["validation" in line for line in lines] == [False, True, True]
    assert lines[-1]["validation"] == validate(again)


def test_without_validation_nothing_is_validated(tmp_path: Path) -> None:
    train(begin(configs.load(smoke(tmp_path, steps=6, validation=0)), tmp_path))
    assert "validation" not in (tmp_path / METRICS).read_text()


def test_validation_is_the_error_on_tasks_of_its_own(tmp_path: Path) -> None:
    config = configs.load(smoke(tmp_path, seed=3))
    run = begin(config, tmp_path)
    found = validate(run)
    assert list(found) == ["2", "3"]
    for k in (2, 3):
        distribution = replace(config.tasks, components=(k,), samples=(17, 17))
        tasks = draw(distribution, 5, np.random.default_rng([3 + VALIDATION, k]))
        own = estimate(run.model, tasks.samples, k)
        assert found[str(k)] == l2_error(align(own, tasks.truth), tasks.truth).mean()
        assert not np.array_equal(align(own, tasks.truth).means, own.means)  # else no matching would pass as well


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("matching", ["assignment", "sorted"])
def test_loss_of_a_batch_against_tasks_one_by_one(matching: str, scaled: bool, tmp_path: Path) -> None:
    config = anisotropic(tmp_path, matching=f'"{matching}"')
    config = replace(config, tasks=replace(config.tasks, anisotropic=scaled))
    model, tasks = begin(config, tmp_path).model.double(), batch(config, 3)
    summed = np.zeros(3)
    for index in range(len(tasks)):
        k, n = int(tasks.components[index]), int(tasks.mask[index].sum())
        samples = torch.from_numpy(tasks.samples[index, :n])[None]
        ((_, found),) = model(samples, torch.ones(1, n, dtype=torch.bool), [k])
        truth = (tasks.truth.weights, tasks.truth.means, tasks.truth.scales)
        own = loss(found, *(torch.from_numpy(part[index : index + 1, :k]) for part in truth), matching)
        summed += [own.means.item(), own.weights.item(), own.scales.item()]
    whole = losses(model, tasks, config)
    assert [whole.means.item(), whole.weights.item(), whole.scales.item()] == pytest.approx(
        summed.tolist(),
        rel=1e-10,
        abs=0,  # float64: a millionfold of its rounding
    )
    assert (summed[2] > 0) == scaled


def test_the_seed_draws_the_model(tmp_path: Path) -> None:
    one, same, other = (begin(configs.load(smoke(tmp_path, seed=seed)), tmp_path).model for seed in (1, 1, 2))
    assert torch.equal(one.read_in.weight, same.read_in.weight)
    assert not torch.equal(one.read_in.weight, other.read_in.weight)


def test_seconds_are_those_of_all_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(training.time, "perf_counter", lambda: next(clock))
    run = begin(configs.load(smoke(tmp_path)), tmp_path)
    run.advance()
    run.advance()
    assert run.seconds == 2
    run.save()
    assert begin(run.config, tmp_path).seconds == 2


def test_every_checkpoint_has_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed as soon as the second checkpoint is written: what it measured is kept, also when the run has gone on."""
    save = training.Run.save

    class Killed(BaseException):
        pass

    def killed(run: training.Run) -> None:
        save(run)
        if run.step == 12:
            raise Killed

    monkeypatch.setattr(training.Run, "save", killed)
    config = configs.load(smoke(tmp_path))
    with pytest.raises(Killed):
        train(begin(config, tmp_path))
    monkeypatch.undo()
    train(begin(config, tmp_path))
    lines = [json.loads(line)["step"] for line in (tmp_path / METRICS).read_text().splitlines()]
    assert lines == list(range(3, 31, 3))


def test_reading_a_checkpoint_draws_no_number(tmp_path: Path) -> None:
    train(begin(configs.load(smoke(tmp_path, steps=6)), tmp_path))
    state = torch.get_rng_state()
    checkpoints.read(tmp_path / MODEL).model()
    assert torch.equal(torch.get_rng_state(), state)
