"""`python -m constructions.spectral_transformer`."""

from __future__ import annotations

import json
from itertools import permutations

import numpy as np
import pytest

from constructions.algorithms.sampling import sample, simplex_mixture

QUICK = ("--restarts", 7, "--iterations", 4)


def test_wine_by_default(spectral_command):
    done = spectral_command(*QUICK, "--json", "-")
    assert done.code == 0
    assert len(done.json["components"]) == 3
    assert {row["status"] for row in done.json["components"]} == {"holds"}
    assert done.json["clustering_accuracy"] > 0.9  # k-means: 0.95; chance: 0.4
    assert np.shape(done.json["means"]) == np.shape(done.json["reference"]["means"]) == (3, 13)
    assert len(done.json["eigenvalues"]) == 13
    assert "wine: 178 samples, d = 13, K = 3; not centred" in done.err


def test_the_table(spectral_command):
    lines = spectral_command("--data", "synthetic", "--samples", 2003, *QUICK).out.splitlines()
    rows = [line for line in lines if line.endswith("holds")]
    assert [int(row.split()[0]) for row in rows] == [1, 2, 3]
    assert any(line.startswith("largest error of a mean against the truth") for line in lines)


def test_synthetic_options_and_the_seed(spectral_command):
    options = ("--data", "synthetic", "--dim", 7, "--components", 2, "--samples", 1009, *QUICK, "--json", "-")
    first, again, other = (spectral_command(*options, "--seed", seed).json for seed in (5, 5, 6))
    assert np.shape(first["means"]) == (2, 7)
    assert first == again
    assert first["means"] != other["means"]


def test_the_error_against_the_truth_is_of_matched_components(spectral_command):
    """Whatever order the components are found in: this one is not the truth's."""
    truth = simplex_mixture(7, 3, 4.0, np.random.default_rng(5))
    options = ("--data", "synthetic", "--dim", 7, "--samples", 2003, "--seed", 5)
    found = spectral_command(*options, *QUICK, "--json", "-").json
    errors = {
        order: np.linalg.norm(np.array(found["means"])[list(order)] - truth.means, axis=1).max()
        for order in permutations(range(3))
    }
    assert errors[0, 1, 2] > 2 * min(errors.values())
    assert found["mean_error_against_truth"] == pytest.approx(min(errors.values()), rel=1e-12, abs=0)


def test_a_file(spectral_command, tmp_path):
    rng = np.random.default_rng(7)
    truth = simplex_mixture(3, 2, 6.0, rng)
    np.save(tmp_path / "x.npy", sample(truth, 5003, rng)[0])
    target = tmp_path / "result.json"
    done = spectral_command("--data", tmp_path / "x.npy", "--components", 2, *QUICK, "--json", target)
    assert done.code == 0
    found = json.loads(target.read_text())
    assert found["data"]["dim"] == 3
    assert "clustering_accuracy" not in found
    assert found["sum_of_weights"] == pytest.approx(sum(found["weights"]), rel=1e-15, abs=0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--seed", -1), "--seed is -1"),
        (("--components", 0), "--components is 0"),
        (("--components", 33), "--components is 33"),
        (("--data", "iris", "--components", 5), "5 components in dimension 4"),
        (("--data", "digits", "--dim", 7), "10 components in dimension 7"),
        (("--data", "synthetic", "--dim", 2), "--dim is 2"),
        (("--data", "synthetic", "--samples", 2), "--samples is 2"),
        (("--data", "nothing.npy", "--components", 2), "there is no file"),
        (("--data", "nothing.npy"), "--components is missing"),
        (("--data", "nothing.npy", "--components", 2, "--dim", 3), "does not apply to a file"),
        (("--restarts", 0), "--restarts is 0"),
        (("--iterations", 0), "--iterations is 0"),
        (("--iterations", 1001), "between 1 and 1000"),
        (("--json", "missing/result.json"), "there is no directory"),
    ],
)
def test_bad_input(options, words, spectral_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = spectral_command(*options)
    done.assert_refused(words)
    assert not list(tmp_path.iterdir())


def test_centred_data_is_refused(spectral_command, tmp_path):
    rng = np.random.default_rng(11)
    x = sample(simplex_mixture(5, 3, 6.0, rng), 1009, rng)[0]
    np.save(tmp_path / "x.npy", x - x.mean(axis=0))
    done = spectral_command("--data", tmp_path / "x.npy", "--components", 3)
    done.assert_refused("must not be centred")
