"""Results and tasks that will not do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Command, in_process
from tgmm_runs import GRID, smoke

from tgmm import config as configs
from tgmm import evaluation, training
from tgmm.__main__ import main
from tgmm.baselines import Method
from tgmm.training import MODEL, begin, train

SWEEPS = """
[[sweep]]
name = "a"
method = "base-d2"
[[sweep]]
name = "b"
d = 3
method = "em-pruning"
"""


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    return in_process(main, capfd)


def test_results_of_an_older_or_a_half_trained_model_are_refused(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "RUNS", tmp_path)
    (tmp_path / "grid.toml").write_text(GRID + SWEEPS)
    results = ("--results", tmp_path / "r.sqlite")
    directory = tmp_path / "base-d2"
    directory.mkdir()
    run = begin(configs.load(smoke(tmp_path)), directory)
    for _ in range(6):
        run.advance()
    run.save()
    said = command("evaluate", tmp_path / "grid.toml", *results)
    assert said.code == 1
    assert "is not trained to the end: step 6 of 30" in said.err
    train(run)
    assert command("evaluate", tmp_path / "grid.toml", *results).code == 0
    assert command("table", "a", *results).code == 0
    command("table", "a", "b", *results).assert_refused("the sweeps have d = 2, 3; a table is of one")
    for name in (training.TRAINING, MODEL):
        (directory / name).unlink()
    train(begin(configs.load(smoke(tmp_path, seed=3)), directory))
    command("table", "a", *results).assert_refused("the results of 'base-d2' are of another checkpoint")
    again = command("evaluate", tmp_path / "grid.toml", *results)
    assert "2 cells, of which" in again.out
    assert "holds 1; 1 to run" in again.out
    assert command("table", "a", *results).code == 0


def test_json_has_no_nan(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    command("tasks", "--out", path, "--count", 1, "--samples", 17)
    said = command("compare", "--tasks", path, "--methods", "em-pruning", "--json", "-")
    (row,) = json.loads(said.out, parse_constant=lambda word: pytest.fail(word))
    value, low, high = row["metrics"]["l2_error"]
    assert value > 0
    assert low is high is None


def test_methods_are_not_run_on_tasks_that_cannot_be_scored(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "tgmm.compare_command.METHODS", {"em-normal": Method("never", lambda *given: pytest.fail("it is run"))}
    )
    path = tmp_path / "t.safetensors"
    for given, same in (
        (("--components", 2, 3), "the same K"),
        (("--components", 3, "--samples", 5, 11), "the same number"),
    ):
        command("tasks", "--out", path, "--count", 7, *given)
        command("compare", "--tasks", path, "--methods", "em-normal").assert_refused(f"all need {same}")


def test_probes_need_several_components_and_unit_scales(command: Command, tmp_path: Path) -> None:
    for tasks, k in (("components = [1]", 1), ("components = [5]\nsamples = [3, 3]", 5), ("anisotropic = true", 2)):
        path = smoke(tmp_path, steps=6)
        kept = [
            line
            for line in path.read_text().splitlines()
            if line.split(" =")[0] not in tasks.replace("\n", " =").split(" =")
        ]
        path.write_text("\n".join(kept).replace("[tasks]", f"[tasks]\n{tasks}"))
        directory = tmp_path / str(k)
        directory.mkdir()
        train(begin(configs.load(path), directory))
        command("probe", "--checkpoint", directory / MODEL, "--components", k).assert_refused(
            f"--components is {k}, of"
        )


def test_probes_are_on_the_model_s_own_tasks(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    path = smoke(tmp_path, steps=6)
    path.write_text(path.read_text().replace("[tasks]", "[tasks]\nmean_range = 0.01"))
    train(begin(configs.load(path), tmp_path))
    monkeypatch.setattr("tgmm.probe_command.observe_model", lambda m, t, rng: seen.append(np.abs(t.truth.means).max()))
    monkeypatch.setattr("tgmm.probe_command.observe_construction", lambda t, steps, rng: None)
    monkeypatch.setattr("tgmm.probe_command.probes", lambda fitted, judged, rng: [])
    command("probe", "--checkpoint", tmp_path / MODEL, "--tasks", 11)
    assert len(seen) == 2
    assert max(seen) <= 0.01
