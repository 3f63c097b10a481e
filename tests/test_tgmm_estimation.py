"""Batches of estimates, the read-in's columns, warnings, tables, probes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, in_process
from tgmm_runs import smoke

from constructions.noise_check import strange_noise
from tgmm import checkpoints, evaluation
from tgmm import config as configs
from tgmm.__main__ import main
from tgmm.baselines import ANISOTROPIC_METHODS
from tgmm.estimation import BATCH, estimate
from tgmm.evaluation import ORACLE, Cell, measure
from tgmm.mixtures import Mixtures
from tgmm.probe_command import _table as probe_table
from tgmm.probing import STEPS, TARGETS
from tgmm.table_command import table
from tgmm.tasks import TaskSet
from tgmm.training import MODEL, begin, train


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    return in_process(main, capfd)


@pytest.mark.parametrize("anisotropic", [False, True])
def test_every_task_is_estimated_in_its_place(anisotropic: bool, tmp_path: Path, rng: np.random.Generator) -> None:
    """Two whole batches and a rest, against one task at a time."""
    config = configs.load(smoke(tmp_path))
    model = configs.build(replace(config, tasks=replace(config.tasks, anisotropic=anisotropic))).double()
    samples = rng.standard_normal((2 * BATCH + 3, 11, 2))
    found = estimate(model, samples, 3)
    assert len(found) == len(samples)
    for index in (0, 1, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH - 1, 2 * BATCH, 2 * BATCH + 2):
        ((_, alone),) = model(torch.from_numpy(samples[index : index + 1]), torch.ones(1, 11, dtype=torch.bool), [3])
        assert found.weights[index] == pytest.approx(alone.log_weights[0].exp().detach().numpy(), rel=1e-10, abs=0)
        assert found.means[index] == pytest.approx(alone.means[0].detach().numpy(), rel=1e-9, abs=1e-12)
        scales = np.ones((3, 2)) if alone.scales is None else alone.scales[0].detach().numpy()
        assert found.scales[index] == pytest.approx(scales, rel=1e-10, abs=0)
    assert (found.scales != 1).all() == anisotropic


def test_the_read_in_s_first_columns_are_the_sample_s(tmp_path: Path) -> None:
    """Checkpoints hold them in this order."""
    model = configs.build(configs.load(smoke(tmp_path))).double()
    samples = torch.randn(1, 5, 2, dtype=torch.float64)
    weight, bias = model.read_in.weight, model.read_in.bias
    expected = samples[0] @ weight[:, :2].mT + weight[:, 2:] @ model.embedding[1] + bias
    torch.testing.assert_close(model.embed(samples, [1])[0], expected, rtol=1e-12, atol=1e-14)


def test_scales_are_in_the_order_of_the_weights(command: Command, tmp_path: Path, rng: np.random.Generator) -> None:
    path = smoke(tmp_path, steps=6)
    path.write_text(path.read_text().replace("dim = 2", "dim = 2\nanisotropic = true"))
    train(begin(configs.load(path), tmp_path))
    np.save(tmp_path / "data.npy", rng.standard_normal((13, 2)))
    for k in (2, 3):
        given = ("--data", tmp_path / "data.npy", "--components", k, "--checkpoint", tmp_path / MODEL)
        content = command("estimate", *given, "--json", "-").json
        found = estimate(checkpoints.read(tmp_path / MODEL).model(), np.load(tmp_path / "data.npy")[None], k)
        of = {weight: place for place, weight in enumerate(found.weights[0].tolist())}
        for part, own in (("means", found.means), ("scales", found.scales)):
            assert content[part] == [own[0][of[weight]].tolist() for weight in content["weights"]]
    # K = 2 or 3 has to be out of order, else no order would pass as well
    assert any(
        (
            np.diff(
                estimate(checkpoints.read(tmp_path / MODEL).model(), np.load(tmp_path / "data.npy")[None], k).weights
            )
            > 0
        ).any()
        for k in (2, 3)
    )


def test_as_many_samples_as_components_will_do(command: Command, tmp_path: Path) -> None:
    train(begin(configs.load(smoke(tmp_path, steps=6)), tmp_path))
    np.save(tmp_path / "data.npy", np.eye(2))
    given = ("--data", tmp_path / "data.npy", "--components", 2, "--checkpoint", tmp_path / MODEL)
    assert command("estimate", *given).code == 0


@pytest.mark.parametrize(
    ("noise", "scale", "strange"),
    [(1.0, 1.0, False), (1.0, 3.0, True), (3.0, 3.0, False), (0.3, 1.0, True), (3.0, 1.0, True)],
)
def test_noise_is_strange_beside_the_scales(
    noise: float, scale: float, strange: bool, rng: np.random.Generator
) -> None:
    """The mean of about 3500 squares of N(0, 1), or of all 7000: within 0.15 of 1, by six standard deviations."""
    means = np.array([[[-40.0, 0, 0], [40, 0, 0]]])
    found = Mixtures(np.array([[0.5, 0.5]]), means, np.full((1, 2, 3), scale))
    labels = rng.integers(2, size=7000)
    samples = means[0][labels] + noise * rng.standard_normal((7000, 3))
    (told,) = strange_noise(samples, found.means[0], np.eye(2)[labels], found.scales[0]) or ("",)
    assert bool(told) == strange
    if strange:
        assert float(told.split(" is ")[1].split(" ")[0]) == pytest.approx((noise / scale) ** 2, rel=0.15, abs=0)


def test_diagonal_scales_are_estimated_by_methods_and_oracle() -> None:
    cell = Cell("a", "em-kmeans++", 3, 2, 31, 0.0, 0.0, "diagonal", 5, 3)
    drawn = TaskSet.drawn(cell.distribution, 3, 5).tasks
    found = ANISOTROPIC_METHODS["em-kmeans++"](drawn.samples, 2, np.random.default_rng([5, 1]))
    oracle = evaluation.from_truth(drawn.samples, drawn.truth, True)
    assert (oracle.scales != 1).all()
    assert (abs(oracle.scales - drawn.truth.scales) > 1e-6).all()  # where EM starts
    assert measure(cell)[0]["log_likelihood"] == evaluation.score(found, drawn).log_likelihood.mean()
    assert measure(replace(cell, method=ORACLE))[0]["error_of_scales"] == pytest.approx(
        evaluation.score(oracle, drawn).error_of_scales.mean(), rel=1e-12, abs=0
    )


def test_failed_tasks_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails_once(samples: np.ndarray, k: int, rng: np.random.Generator) -> Mixtures:
        means = np.zeros((len(samples), k, samples.shape[2]))
        means[1] = np.nan
        return Mixtures.isotropic(np.full((len(samples), k), 1 / k), means)

    monkeypatch.setitem(evaluation.METHODS, "em-normal", fails_once)
    (row,) = measure(Cell("a", "em-normal", 2, 3, 31, 0.0, 0.0, "unit", 5, 7))
    assert row["excluded"] == 1
    assert np.isfinite(row["l2_error"])
    assert np.isfinite(row["l2_error_median"])


def test_a_shipped_model_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr(evaluation, "RUNS", tmp_path / "runs")
    for path in (tmp_path / "runs" / "d2" / MODEL, tmp_path / "shipped" / "d2.safetensors"):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
        assert evaluation.trained("d2") == path


def test_a_table_names_failures_and_gaps() -> None:
    kinds = [("method", "U9"), ("K", "i8"), ("m", "f8"), ("m_low", "f8"), ("m_high", "f8"), ("excluded", "i8")]
    rows = np.array([("b", 3, 1.5, 1.25, 1.75, 0), ("a", 2, 2.5, 2.25, 3.0, 4)], dtype=kinds)
    assert table(rows, "m", "K").splitlines()[2:] == [
        "| `b` | – | 1.50 [1.25, 1.75] |",
        "| `a` | 2.50 [2.25, 3.00] (4 failed) | – |",
    ]


def test_a_probe_s_table_shows_the_largest_control() -> None:
    entries = [
        {
            "target": target,
            "layer": layer,
            "step": step,
            "r2": [layer + step / 100, 0, 0],
            "shuffled": [step / 1000, 0, 0],
        }
        for target in TARGETS
        for layer in (0, 1)
        for step in STEPS
    ]
    lines = probe_table("trained", TARGETS[0], entries).splitlines()
    assert lines[0] == f"trained: R² for the {TARGETS[0]} of EM step"
    for layer, line in enumerate(lines[2:]):
        number, *values, control = line.split()
        assert int(number) == layer
        assert [float(value) for value in values] == [
            pytest.approx(layer + step / 100, rel=1e-9, abs=0) for step in STEPS
        ]
        assert float(control) == max(STEPS) / 1000
