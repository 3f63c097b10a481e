"""`python -m tgmm table` prints what is stored; `python -m tgmm real` measures what its cases say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Command, in_process
from tgmm_runs import GRID, smoke

from constructions.datasets import load_bundled
from tgmm import config as configs
from tgmm import evaluation, real_command
from tgmm.__main__ import COMMANDS, main
from tgmm.__main__ import main as tgmm_main
from tgmm.baselines import METHODS
from tgmm.densities import log_joint_density
from tgmm.evaluation import DESIGN
from tgmm.metrics import clustering_accuracy
from tgmm.names import SUBSET
from tgmm.real_command import CASES, subsets
from tgmm.table_command import _rounded
from tgmm.training import MODEL, begin, train
from theory_checks.sweeps.results import read

SWEEPS = """
[[sweep]]
name = "a"
K = [2, 3]
method = ["em-pruning", "em-samples"]
[[sweep]]
name = "b"
K = [2, 3]
method = "em-pruning"
n = 17
"""


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    return in_process(main, capfd)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    (tmp_path / "grid.toml").write_text(GRID + SWEEPS)
    path = tmp_path / "results.sqlite"
    assert tgmm_main(["evaluate", str(tmp_path / "grid.toml"), "--results", str(path)]) == 0
    return path


def test_the_table_is_what_is_stored(command: Command, stored: Path) -> None:
    rows = read(stored, DESIGN).sweep("a")
    said = command("table", "a", "--results", stored)
    lines = said.out.splitlines()
    assert lines[0] == "| l2_error | K = 2 | K = 3 |"
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["`em-pruning`", "`em-samples`"]
    for line, method in zip(lines[2:], ("em-pruning", "em-samples"), strict=True):
        for cell, k in zip(line.split("|")[2:4], (2, 3), strict=True):
            (row,) = rows[(rows["method"] == method) & (rows["K"] == k)]
            shown = f"{row['l2_error']:#.3g} [{row['l2_error_low']:#.3g}, {row['l2_error_high']:#.3g}]"
            assert cell.strip() == shown
    other = command("table", "a", "b", "--results", stored, "--metric", "clustering_accuracy", "--along", "n")
    other.assert_refused("has 2 results at n = 13: the sweeps differ in more than n")
    command("table", "a", "b", "--results", stored).assert_refused("'em-pruning' has 2 results at K = 2")


def test_a_table_of_some_rows(command: Command, stored: Path) -> None:
    """Both sweeps have K = 2 and 3: with one K there is one row at every n. A metric without interval stands alone."""
    rows = read(stored, DESIGN).rows
    said = command("table", "a", "b", "--results", stored, "--along", "n", "--where", "K=3", "--metric", "excluded")
    assert said.out.splitlines()[0] == "| excluded | n = 13 | n = 17 |"
    assert said.out.splitlines()[2] == "| `em-pruning` | 0 | 0 |"
    timed = command("table", "b", "--results", stored, "--where", "n=17", "K=2", "--metric", "estimation_seconds")
    (row,) = rows[(rows["sweep"] == "b") & (rows["K"] == 2)]
    assert timed.out.splitlines()[2] == f"| `em-pruning` | {row['estimation_seconds']:#.3g} |"


def test_numbers_of_three_digits_end_without_a_point() -> None:
    """Their ordinary spelling is a sentence's end."""
    shown = {251.7: "252", 25.17: "25.2", 0.02517: "0.0252", 0.025: "0.0250", 2.517e6: "2.52e+06", 3: "3"}
    assert [_rounded(number) for number in shown] == list(shown.values())


@pytest.mark.parametrize("name", COMMANDS)
def test_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main([name, "--help"])
    said = capsys.readouterr().out
    assert said.startswith(f"usage: python -m tgmm {name} ")
    assert "%%" not in said


def test_tables_that_will_not_do(command: Command, stored: Path, tmp_path: Path) -> None:
    command("table", "c", "--results", stored).assert_refused("the results hold no sweep 'c'; they hold a, b")
    command("table", "a", "--metric", "beauty").assert_refused("--metric is 'beauty'; it must be one of l2_error")
    command("table", "a", "--along", "d").assert_refused("there is no 'd'")
    for given, told in (("K=5", "there are K=2, K=3"), ("K", "'' is no number"), ("q=1", "with a KEY of K, n")):
        command("table", "a", "--results", stored, "--where", given).assert_refused(told)
    command("table", "a", "--results", tmp_path / "absent").assert_refused("there is no results file")


@pytest.mark.parametrize(("name", "classes", "dim"), CASES)
def test_subsets_are_samples_of_the_first_classes(name: str, classes: int, dim: int) -> None:
    rng = np.random.default_rng(3)
    samples, labels = subsets(name, classes, dim, 5, rng)
    assert samples.shape == (5, SUBSET, dim)
    assert set(labels.ravel().tolist()) == set(range(classes))
    whole = load_bundled(name, classes, dim, None, rng, classes=classes)
    rows = {tuple(row) for row in whole.samples.tolist()}
    for one in samples:
        drawn = {tuple(row) for row in one.tolist()}
        assert drawn <= rows
        assert len(drawn) >= SUBSET - 2  # no sample twice; a few samples of iris are equal
    assert not np.array_equal(samples[0], samples[1])


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is trained for a moment in the place of d2; one case and two quick methods."""
    directory = tmp_path / "d2"
    directory.mkdir()
    train(begin(configs.load(smoke(tmp_path, steps=6)), directory))
    monkeypatch.setattr(evaluation, "SHIPPED", tmp_path / "none")
    monkeypatch.setattr(evaluation, "RUNS", tmp_path)
    monkeypatch.setattr(real_command, "CASES", (("iris", 3, 2),))
    quick = {name: METHODS[name] for name in ("em-pruning", "spectral")}
    monkeypatch.setattr(real_command, "METHODS", quick)
    assert (directory / MODEL).exists()


def test_real_data(command: Command, trained: None, tmp_path: Path) -> None:
    content = command("real", "--subsets", 11, "--json", "-").json
    assert [(row["method"], row["failed"]) for row in content["rows"]] == [("d2", 0), ("em-pruning", 0)]
    samples, labels = subsets("iris", 3, 2, 11, np.random.default_rng(0))
    found = METHODS["em-pruning"](samples, 3, np.random.default_rng([0, 1]))
    accuracy = clustering_accuracy(labels, log_joint_density(found, samples).argmax(axis=2), 3)
    assert content["rows"][1]["accuracy"][0] == pytest.approx(accuracy.mean(), rel=1e-12, abs=0)
    said = command("real", "--subsets", 11, "--json", tmp_path / "r.json")
    assert f"{accuracy.mean():.4f}" in said.out
    assert (tmp_path / "r.json").exists()


def test_real_data_that_will_not_do(command: Command) -> None:
    command("real", "--subsets", 1).assert_refused("--subsets is 1; it must lie between 2 and 10000")
    command("real", "--seed", -1).assert_refused("--seed is -1")
