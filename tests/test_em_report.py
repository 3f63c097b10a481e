"""A run as text and as JSON; that both say what the run says is checked in test_em_command.py."""

import argparse
import json
from dataclasses import replace

import numpy as np
import pytest

from constructions import em_report, outputs
from constructions.algorithms.sampling import Mixture
from constructions.datasets import Dataset
from constructions.em_run import run

OPTIONS = argparse.Namespace(tolerance=0.5, layers=2, dtype="float64", seed=0, execution="structured")


@pytest.fixture
def data(task) -> Dataset:
    return Dataset("test", task[0], np.arange(23) % 5, task[1], "none")


def test_what_is_not_finite_is_null(small_em, task, data):
    """A component whose parameters are lost: strict JSON, no likelihood of what is no mixture, and still a text."""
    result = run(small_em, *task)
    weights, means = (array.copy() for array in (result.steps[0].estimate.weights, result.steps[0].estimate.means))
    weights[2], means[2, 1] = np.nan, np.inf
    step = replace(result.steps[0], estimate=Mixture(weights, means), log_weight_bound=np.inf)
    content = em_report.as_json(replace(result, steps=(step,)), data, OPTIONS)
    text = json.dumps(content, allow_nan=False)
    assert json.loads(text) == content
    assert content["weights"] == [*weights[:2], None, *weights[3:]]
    assert content["means"][2] == [means[2, 0], None, means[2, 2]]
    assert content["bounds"]["steps"][0]["log_weight"] is None
    assert content["bounds"]["steps"][0]["mean"] == step.mean_bound
    assert content["errors"]["final"]["mean"] is None
    assert list(content["metrics"]["average_log_likelihood"]) == ["reference"]
    assert "nan" in em_report.tables(replace(result, steps=(step,)), data, content, "run")


def test_metrics_against_the_truth_are_aligned(small_em, task, data):
    """The truth with its components in another order is as far away."""
    result = run(small_em, *task)
    shuffled = Mixture(data.truth.weights[::-1].copy(), data.truth.means[::-1].copy())
    errors = [
        em_report.as_json(result, replace(data, truth=truth), OPTIONS)["metrics"]["l2_error_against_truth"]
        for truth in (data.truth, shuffled)
    ]
    assert errors[0]["transformer"] == pytest.approx(errors[1]["transformer"], rel=1e-12, abs=0)
    assert errors[0]["reference"] == pytest.approx(errors[1]["reference"], rel=1e-12, abs=0)


def test_long_vectors_are_cut_in_the_text_only(small_em, rng):
    samples = rng.standard_normal((11, 7))
    start = Mixture(np.array([1.0]), samples[:1])
    result = run(small_em, samples, start)
    content = em_report.as_json(result, Dataset("test", samples, None, None, "none"), OPTIONS)
    assert len(content["means"][0]) == 7
    assert "…" in em_report.tables(result, Dataset("test", samples, None, None, "none"), content, "run")
    assert content["metrics"].keys() == {"average_log_likelihood"}


def test_npy_bytes(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    (tmp_path / "a.npy").write_bytes(outputs.npy(array))
    again = np.load(tmp_path / "a.npy")
    assert again.dtype == np.float32
    assert np.array_equal(again, array)
