"""The columns of `compare`'s table, failures counted, and how many tasks judge a probe."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import Command, in_process
from matplotlib.figure import Figure
from sweep_measures import GRID
from tgmm_runs import smoke

from constructions.errors import InputError
from figures import tgmm_real, tgmm_results
from tgmm import compare_command, evaluation, probe_command, real_command
from tgmm import config as configs
from tgmm.__main__ import main
from tgmm.baselines import Method
from tgmm.compare_command import SHOWN
from tgmm.densities import log_joint_density, log_likelihood
from tgmm.metrics import clustering_accuracy
from tgmm.mixtures import Mixtures
from tgmm.tasks import Tasks
from tgmm.training import MODEL, begin, train
from theory_checks.sweeps import grid as grids


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    return in_process(main, capfd)


def fails_once(samples: np.ndarray, k: int, rng: np.random.Generator) -> Mixtures:
    """Means at the first samples; of the second task none."""
    means = samples[:, :k].copy()
    means[1] = np.nan
    return Mixtures.isotropic(np.full((len(samples), k), 1 / k), means)


def test_columns_stand_under_their_titles(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a method that fails on one task: the others' means, the interval of the first, and the failure."""
    monkeypatch.setitem(compare_command.METHODS, "em-normal", Method("fails once", fails_once))
    path = tmp_path / "t.safetensors"
    command("tasks", "--out", path, "--components", 3, "--samples", 17, "--count", 5)
    given = ("compare", "--tasks", path, "--methods", "em-normal")
    ((row),) = command(*given, "--json", "-").json
    assert row["failed"] == 1
    header, line = command(*given).out.splitlines()
    titles = [*SHOWN.values(), "95 % of l2-error", "s", "failed of 5"]
    assert re.split(r"\s{2,}", header)[1:] == titles
    values = re.split(r"\s{2,}", line)[1:]
    low, high = row["metrics"]["l2_error"][1:]
    assert values[: len(SHOWN)] == [f"{row['metrics'][name][0]:.4f}" for name in SHOWN]
    assert values[len(SHOWN)] == f"[{low:.4f}, {high:.4f}]"
    assert values[-1] == "1"


def test_half_as_many_tasks_judge(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(begin(configs.load(smoke(tmp_path, steps=6)), tmp_path))
    seen: list[tuple[str, Tasks]] = []
    monkeypatch.setattr(probe_command, "observe_model", lambda model, tasks, rng: seen.append(("model", tasks)))
    monkeypatch.setattr(probe_command, "observe_construction", lambda tasks, steps, rng: seen.append(("built", tasks)))
    monkeypatch.setattr(probe_command, "probes", lambda fitted, judged, rng: [])
    assert command("probe", "--checkpoint", tmp_path / MODEL, "--tasks", 11).code == 0
    assert [(name, len(tasks)) for name, tasks in seen] == [("model", 11), ("model", 5), ("built", 11), ("built", 5)]
    assert not np.isin(seen[0][1].truth.means, seen[1][1].truth.means).any()


def test_failures_on_real_data_are_left_out(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_command, "CASES", (("iris", 3, 2),))
    monkeypatch.setattr(real_command, "METHODS", {"fails": Method("fails once", fails_once)})
    monkeypatch.setattr(real_command, "trained", lambda name: tmp_path)
    monkeypatch.setattr(real_command, "method_of_checkpoint", lambda path, dim, k: Method("fails once", fails_once))
    (_, row) = command("real", "--subsets", 7, "--json", "-").json["rows"]
    samples, labels = real_command.subsets("iris", 3, 2, 7, np.random.default_rng(0))
    joint = log_joint_density(fails_once(samples, 3, np.random.default_rng(0)), samples)
    kept = np.arange(7) != 1
    accuracy = clustering_accuracy(labels, joint.argmax(axis=2), 3)[kept].mean()
    assert row["failed"] == 1
    assert row["accuracy"][0] == pytest.approx(accuracy, rel=1e-12, abs=0)
    assert row["log_likelihood"][0] == pytest.approx(log_likelihood(joint)[kept].mean(), rel=1e-12, abs=0)
    told = command("real", "--subsets", 7).out.splitlines()
    assert told[2].split() == ["fails", f"{accuracy:.4f}*"]
    assert told[3] == "* without the subsets that a method fails on: d2 on 1 of iris, d=2; fails on 1 of iris, d=2"
    assert tgmm_real.failures({"rows": [row]}) == " Left out where a method fails: TGMM on 1 (iris, K = 3, d = 2)."
    assert tgmm_real.failures({"rows": [row | {"failed": 0}]}) == ""


def test_the_small_print_tells_of_failures() -> None:
    """The spectral method has no decomposition of some tasks whose means are close."""
    rows = tgmm_results.rows("separation-d8")
    most = rows[rows["method"] == "spectral"]["excluded"].max()
    assert most > 0
    assert tgmm_results.small_print(rows).endswith(f"are left out: of spectral up to {most} a point.")
    assert "left out" not in tgmm_results.small_print(rows[rows["method"] != "spectral"])


def test_a_grid_may_have_as_many_cells_as_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grids, "MOST_CELLS", 5)  # those of the text: 3 and 2 x 2, without one
    text = GRID.replace("d = [1, 5]\n", "d = 1\n")
    assert len(grids.parse(text, "text").cells) == 5
    monkeypatch.setattr(grids, "MOST_CELLS", 4)
    with pytest.raises(InputError, match="5 cells; it may have at most 4"):
        grids.parse(text, "text")


def test_a_figure_refuses_what_is_not_of_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tgmm_results.rows("rq1-d2")
    with pytest.raises(InputError, match="the sweep 'rq1-d2' has no results of 'spectral'"):
        tgmm_results.draw(Figure().subplots(), rows, "spectral", "K")
    monkeypatch.setattr(evaluation, "digest", lambda path: 7)
    with pytest.raises(InputError, match="the results of 'd2' are of another checkpoint"):
        tgmm_results.rows("rq1-d2")
