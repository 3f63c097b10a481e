"""An evaluation's row against its parts, computed one task at a time."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import numpy as np
import pytest
from tgmm_runs import smoke

from constructions.algorithms import metrics as single
from constructions.algorithms.em import em
from constructions.algorithms.sampling import Mixture
from constructions.errors import InputError
from tgmm import config as configs
from tgmm import evaluation
from tgmm.__main__ import main as tgmm_main
from tgmm.evaluation import COLUMNS, DESIGN, ORACLE, TRIVIAL, Cell, digest, measure
from tgmm.mixtures import Mixtures
from tgmm.options import EVALUATION
from tgmm.tasks import TaskSet
from tgmm.training import MODEL, begin, train
from theory_checks.sweeps.grid import load, parse
from theory_checks.sweeps.results import read

CELL = Cell("a", "em-kmeans++", 2, 3, 31, 0.0, 0.0, "unit", 5, 13)


def changed(cell: Cell, **values: object) -> Cell:
    return Cell(**{**{name: getattr(cell, name) for name in cell.__dataclass_fields__}, **values})


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The smoke model under the name "smoke"."""
    directory = tmp_path / "smoke"
    directory.mkdir()
    train(begin(configs.load(smoke(tmp_path, steps=6)), directory))
    monkeypatch.setattr(evaluation, "RUNS", tmp_path)
    monkeypatch.setattr(evaluation, "trained_models", lambda: ("smoke", "absent"))
    return directory / MODEL


def test_a_row_is_the_mean_over_tasks() -> None:
    (row,) = measure(CELL)
    assert row.keys() == COLUMNS.keys()
    tasks = TaskSet.drawn(CELL.distribution, 13, 5).tasks
    found = evaluation.METHODS["em-kmeans++"](tasks.samples, 3, np.random.default_rng([5, 1]))
    oracles = evaluation.from_truth(tasks.samples, tasks.truth, False)
    errors, likelihoods, distances, unmatched = [], [], [], []
    for index in range(13):
        truth, own, oracle = tasks.truth.one(index), found.one(index), oracles.one(index)
        errors.append(single.l2_error(single.align(own, truth), truth))
        distances.append(single.l2_error(single.align(own, oracle), oracle))
        unmatched.append(single.l2_error(own, oracle))
        likelihoods.append(single.average_log_likelihood(own, tasks.samples[index]))
    assert row["l2_error"] == pytest.approx(np.mean(errors), rel=1e-12, abs=0)
    assert row["l2_error_median"] == pytest.approx(np.median(errors), rel=1e-12, abs=0)
    assert row["oracle_distance"] == pytest.approx(np.mean(distances), rel=1e-12, abs=0)
    assert np.mean(unmatched) > 2 * np.mean(distances)  # else no matching would pass as well
    assert row["log_likelihood"] == pytest.approx(np.mean(likelihoods), rel=1e-12, abs=0)
    assert row["l2_error_low"] < row["l2_error"] < row["l2_error_high"]
    assert row["error_of_scales"] == row["excluded"] == row["checkpoint"] == 0
    assert row["estimation_seconds"] > 0


def test_the_oracle_starts_from_the_truth() -> None:
    (row,) = measure(changed(CELL, method=ORACLE, tasks=3))
    assert row["oracle_distance"] == 0
    tasks = TaskSet.drawn(CELL.distribution, 3, 5).tasks
    errors = []
    for index in range(3):
        truth = tasks.truth.one(index)
        own = Mixture(*em(tasks.samples[index], truth.weights, truth.means, 500))
        errors.append(single.l2_error(single.align(own, truth), truth))
    # EM stops when it moves by less than 1e-8, or after 500 steps: near a fixed point that is no difference here
    assert row["l2_error"] == pytest.approx(np.mean(errors), rel=1e-5, abs=0)
    (other,) = measure(CELL)
    assert other["oracle_distance"] > 0


@pytest.mark.parametrize("scales", ["unit", "diagonal"])
def test_the_ratio_is_to_em_from_normal_starts(scales: str) -> None:
    reference, other = (measure(changed(CELL, method=name, scales=scales))[0] for name in ("em-normal", "em-kmeans++"))
    assert reference["error_ratio"] == reference["error_ratio_low"] == reference["error_ratio_high"] == 1
    assert other["error_ratio"] == pytest.approx(other["l2_error"] / reference["l2_error"], rel=1e-12, abs=0)
    assert other["error_ratio_low"] < other["error_ratio"] < other["error_ratio_high"]


def test_a_failure_is_the_largest_error_of_the_median(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(samples: np.ndarray, components: int, rng: np.random.Generator) -> Mixtures:
        found = evaluation.sample_mean(samples, components, rng)
        found.means[:7] = np.nan
        return found

    monkeypatch.setitem(evaluation.METHODS, "em-kmeans++", fails)
    (row,) = measure(CELL)
    assert (row["l2_error_median"], row["excluded"]) == (np.inf, 7)
    assert np.isfinite(row["l2_error"])


def test_seconds_are_a_processor_s_not_a_clock_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for other programs is not its cost."""

    def waits(samples: np.ndarray, components: int, rng: np.random.Generator) -> Mixtures:
        time.sleep(0.5)
        return evaluation.sample_mean(samples, components, rng)

    monkeypatch.setitem(evaluation.METHODS, "em-kmeans++", waits)
    assert measure(CELL)[0]["estimation_seconds"] < 0.5


def test_the_trivial_estimate() -> None:
    """Every mean at the sample's: (1/K) Σ_k ‖x̄ − μ_k‖²/d + (1/K − π_k)²."""
    (row,) = measure(changed(CELL, method=TRIVIAL, K=2))
    tasks = TaskSet.drawn(changed(CELL, K=2).distribution, 13, 5).tasks
    off = tasks.samples.mean(axis=1, keepdims=True) - tasks.truth.means
    expected = (off**2).mean() + ((0.5 - tasks.truth.weights) ** 2).mean()
    assert row["l2_error"] == pytest.approx(expected, rel=1e-12, abs=0)


def test_methods_meet_the_same_tasks() -> None:
    rows = [measure(changed(CELL, method=method))[0] for method in ("em-normal", "em-samples")]
    truths = [row["log_likelihood"] - row["log_likelihood_gain"] for row in rows]
    assert truths[0] == pytest.approx(truths[1], rel=1e-12, abs=0)
    assert rows[0]["l2_error"] != rows[1]["l2_error"]


def test_distributions_that_depart() -> None:
    cell = changed(CELL, scales="diagonal", perturbation=0.7, separation=0.0, d=3, K=2, n=17)
    distribution = cell.distribution
    assert (distribution.dim, distribution.components, distribution.samples) == (3, (2,), (17, 17))
    assert distribution.anisotropic
    assert distribution.perturbation == 0.7
    assert changed(CELL, separation=1.5).distribution.separation == 1.5
    assert measure(cell)[0]["error_of_scales"] > 0


def test_a_trained_model(trained: Path) -> None:
    (row,) = measure(changed(CELL, method="smoke"))
    assert row["l2_error"] > 0
    assert row["checkpoint"] == digest(trained) == int(hashlib.sha256(trained.read_bytes()).hexdigest(), 16) >> 208
    with pytest.raises(InputError, match=r"model.safetensors' is for d = 2 and K in \[2, 3\], not for d = 2 and K = 5"):
        measure(changed(CELL, method="smoke", K=5))
    with pytest.raises(InputError, match=r"model.safetensors' is for d = 2 and K in \[2, 3\], not for d = 3 and K = 3"):
        measure(changed(CELL, method="smoke", d=3))
    with pytest.raises(InputError, match="the model 'absent' is not trained"):
        measure(changed(CELL, method="absent"))


GRID = """
[defaults]
d = 2
K = 3
n = 31
perturbation = 0
separation = 0
scales = "unit"
seed = 5
tasks = 13
[[sweep]]
name = "a"
method = ["em-kmeans++", "em-truth"]
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"em-truth"', '"em-lies"', "method is 'em-lies', did you mean 'em-samples'"),
        ('"unit"', '"diagonal"\n[[sweep]]\nname="b"\nmethod="spectral"', "method 'spectral' does not estimate scales"),
        ("n = 31", "n = 2", "K is 3 and n is 2; K must not be larger than n"),
        ("perturbation = 0", "perturbation = -1", "perturbation is -1; it must lie between 0 and 1e"),
        ("tasks = 13", "tasks = 1", "tasks is 1; it must lie between 2 and"),
    ],
)
def test_grids_that_will_not_do(old: str, new: str, message: str) -> None:
    text = GRID.replace(old, new)
    if "[[sweep]]" in new:  # the block that is refused comes last
        text = GRID.replace(old, '"diagonal"') + new.partition("\n")[2] + "\n"
    with pytest.raises(InputError, match=message):
        parse(text, "text", DESIGN)


def test_the_command_measures_what_is_missing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    grid, path = tmp_path / "grid.toml", tmp_path / "results.sqlite"
    grid.write_text(GRID)
    for told in ("holds 0; 2 to run", "holds 2; nothing to run"):
        assert tgmm_main(["evaluate", str(grid), "--results", str(path)]) == 0
        assert told in capfd.readouterr().out
    rows = read(path, DESIGN).rows
    assert rows["method"].tolist() == ["em-kmeans++", "em-truth"]
    (expected,) = measure(CELL)
    for name in COLUMNS:
        if name != "estimation_seconds":
            assert rows[name][0] == expected[name], name


def test_the_shipped_grid_is_valid() -> None:
    cells = load(EVALUATION.grid, DESIGN).cells
    assert len(cells) > 0
    assert {cell.tasks for cell in cells} == {1280}
