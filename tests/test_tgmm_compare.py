"""`python -m tgmm tasks` and `compare`: the same frozen tasks for every method."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Command, in_process
from tgmm_runs import smoke

from constructions.errors import InputError
from tgmm import bootstrap, compare_command, tasks
from tgmm import config as configs
from tgmm.__main__ import main
from tgmm.baselines import ANISOTROPIC_METHODS, METHODS, Method
from tgmm.compare_command import applicable
from tgmm.metrics import score
from tgmm.mixtures import Mixtures
from tgmm.training import MODEL, begin, train

DRAWN = ("--dim", 3, "--components", 2, "--samples", 23, "--count", 7, "--seed", 5)


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    return in_process(main, capfd)


@pytest.fixture
def frozen(command: Command, tmp_path: Path) -> Path:
    path = tmp_path / "tasks.safetensors"
    assert command("tasks", "--out", path, *DRAWN).code == 0
    return path


def test_tasks_are_those_of_the_options(command: Command, frozen: Path, tmp_path: Path) -> None:
    found = tasks.read(frozen)
    assert found.tasks.samples.shape == (7, 23, 3)
    assert found.seed == 5
    assert np.array_equal(found.tasks.samples, tasks.TaskSet.drawn(found.distribution, 7, 5).tasks.samples)
    command("tasks", "--out", tmp_path / "again.safetensors", *DRAWN)
    assert (tmp_path / "again.safetensors").read_bytes() == frozen.read_bytes()
    other = ("--components", 2, 5, "--samples", 11, 13, "--anisotropic", "--perturbation", 0.5, "--separation", 2)
    command("tasks", "--out", tmp_path / "other.safetensors", *other, "--count", 3)
    distribution = tasks.read(tmp_path / "other.safetensors").distribution
    assert distribution == tasks.TaskDistribution(
        components=(2, 5), samples=(11, 13), anisotropic=True, perturbation=0.5, separation=2.0
    )


def test_a_row_is_the_method_s_score(command: Command, frozen: Path, tmp_path: Path) -> None:
    said = command("compare", "--tasks", frozen, "--methods", "em-samples", "em-pruning", "--json", "-", "--seed", 3)
    rows = {row["method"]: row for row in said.json}
    assert list(rows) == ["em-samples", "em-pruning"]
    held = tasks.read(frozen).tasks
    for name, row in rows.items():
        scores = score(METHODS[name](held.samples, 2, np.random.default_rng([3, 1])), held)
        expected = bootstrap.mean(scores.l2_error)
        assert row["metrics"]["l2_error"] == [expected.value, expected.low, expected.high]
        assert row["failed"] == 0
    told = command("compare", "--tasks", frozen, "--methods", "em-pruning", "--seed", 3, "--json", tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text())[0]["metrics"] == rows["em-pruning"]["metrics"]
    assert f"{rows['em-pruning']['metrics']['l2_error'][0]:.4f}" in told.out


def test_a_method_that_cannot_estimate_stops_no_other(
    command: Command, frozen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*_: object) -> Mixtures:
        raise InputError("the weights are too large")

    monkeypatch.setitem(compare_command.METHODS, "em-samples", Method("refuses", refusing))
    given = ("compare", "--tasks", frozen, "--json", "-", "--methods", "em-samples")
    said = command(*given, "em-pruning")
    assert said.code == 0
    assert [row["method"] for row in said.json] == ["em-pruning"]
    assert said.err == "em-samples cannot estimate these tasks: the weights are too large\n"
    alone = command(*given)
    assert (alone.code, alone.out) == (2, "")
    assert alone.err.endswith("\nerror: none of 1 methods can estimate these tasks\n")


def test_methods_that_apply() -> None:
    def names(components: int, **given: object) -> set[str]:
        return set(applicable(tasks.TaskDistribution(**given), components))

    assert names(2, dim=3) == names(3, dim=3) == set(METHODS)
    assert names(3, dim=2) == set(METHODS) - {"spectral"}
    assert names(2, dim=3, anisotropic=True) == set(ANISOTROPIC_METHODS)


def test_a_checkpoint_beside_them(command: Command, tmp_path: Path) -> None:
    train(begin(configs.load(smoke(tmp_path, steps=6)), tmp_path))
    path = tmp_path / "t.safetensors"
    command("tasks", "--out", path, "--components", 3, "--samples", 17, "--count", 5)
    arguments = ("compare", "--tasks", path, "--methods", "em-pruning", "--checkpoint", tmp_path / MODEL)
    assert [row["method"] for row in command(*arguments, "--json", "-").json] == [str(tmp_path / MODEL), "em-pruning"]
    command("tasks", "--out", path, "--components", 5, "--samples", 17, "--count", 5)
    command(*arguments).assert_refused("is for d = 2 and K in [2, 3], not for d = 2 and K = 5")


def test_what_will_not_do_is_refused(command: Command, frozen: Path, tmp_path: Path) -> None:
    out = ("tasks", "--out", tmp_path / "new.safetensors")
    command(*out, "--seed", -1).assert_refused("--seed is -1")
    command(*out, "--samples", 1, 2, 3).assert_refused("--samples has 3 numbers; it takes one or two")
    command(*out, "--samples", 9, 3).assert_refused("samples is (9, 3); it must be 1 <= least <= most")
    command(*out, "--count", 0).assert_refused("--count is 0; it must lie between 1 and")
    command(*out, "--dim", 0).assert_refused("dim is 0")
    command(*out, "--dim", 1).assert_refused("components is 3 and dim is 1")
    command(*out, "--dim", 4096, "--samples", 2**17).assert_refused("holds 536870912 numbers; a file holds at most")
    command("tasks", "--out", tmp_path / "new.npz").assert_refused("it must end in .safetensors")
    command("tasks", "--out", tmp_path / "no" / "t.safetensors").assert_refused("there is no directory")
    assert not (tmp_path / "new.safetensors").exists()
    compare = ("compare", "--tasks", frozen)
    command(*compare, "--methods", "guess").assert_refused("there is no method 'guess' for these tasks; there are em-")
    command(*compare, "--seed", -1).assert_refused("--seed is -1")
    command(*compare, "--json", tmp_path / "no" / "r.json").assert_refused("there is no directory")
    command("compare", "--tasks", tmp_path / "absent").assert_refused("there is no file")
    mixed = tmp_path / "mixed.safetensors"
    command("tasks", "--out", mixed, "--components", 2, 3, "--count", 7)
    command("compare", "--tasks", mixed, "--methods", "em-pruning").assert_refused("all need the same K")
    command("tasks", "--out", mixed, "--components", 3, "--samples", 5, 11)
    command("compare", "--tasks", mixed, "--methods", "em-pruning").assert_refused("all need the same number")
