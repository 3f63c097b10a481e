"""Runs that mislead while every row holds are warned of, and good ones are not."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import flint
import numpy as np
import pytest

from constructions.algorithms.sampling import Mixture
from constructions.datasets import Dataset
from constructions.run_warnings import (
    REST,
    at_rest,
    eigenvalue_noise,
    em_warnings,
    moved,
    spectral_warnings,
    vacuous_warning,
)

MEANS = np.array([[-4.0, 0.0], [4.0, 0.0], [0.0, 5.0]])
WEIGHTS = np.array([0.3, 0.3, 0.4])
GOOD = Mixture(WEIGHTS, MEANS)


@pytest.fixture
def samples(rng: np.random.Generator) -> np.ndarray:
    """101 of each of three means, unit noise."""
    return np.repeat(MEANS, 101, axis=0) + rng.standard_normal((303, 2))


def said(before: Mixture, after: Mixture, samples: np.ndarray) -> list[str]:
    return em_warnings(before, after, samples, 0.1, Dataset("x.csv", samples, None, None, "taken as it is"))


def test_how_far_a_step_moved() -> None:
    after = Mixture(WEIGHTS + np.array([0.02, -0.05, 0.03]), MEANS + np.array([[0, 0], [0.3, 0.4], [0.1, 0]]))
    assert moved(GOOD, after) == pytest.approx((0.5, 0.05), rel=1e-12, abs=0)


def test_em_at_rest_is_not_warned_of(samples: np.ndarray) -> None:
    assert said(Mixture(WEIGHTS, MEANS + 0.0006), GOOD, samples) == []


def test_em_that_still_moves(samples: np.ndarray) -> None:
    (one,) = said(Mixture(WEIGHTS, MEANS + np.array([[0, 0], [0, 0.0011], [0, 0]])), GOOD, samples)
    assert one.startswith("EM is not at rest: the last step moved a mean by 0.0011, more than 0.001, 1% of the toler")


def test_at_rest_is_within_the_tolerance_of_the_end() -> None:
    """Moves that shrink by REST a step, as slowly as the rule allows for, add up to the tolerance."""
    left = 0.1 * REST * (1 - REST) ** np.arange(1, 5000)
    assert 0.095 < left.sum() <= 0.1
    assert at_rest(0.1 * REST, 0.1)
    assert not at_rest(0.1 * REST * (1 + 1e-9), 0.1)
    assert not at_rest(float("nan"), 0.1)


def test_means_that_coincide(samples: np.ndarray) -> None:
    """Components 1 and 3 share the samples of one mean, within and beyond the tolerance."""
    kept = samples[:202]
    for gap, warned in ((0.09, True), (0.11, False)):
        double = Mixture(np.array([0.25, 0.5, 0.25]), np.array([MEANS[0], MEANS[1], MEANS[0] + [0, gap]]))
        found = [sentence for sentence in said(double, double, kept) if "coincide" in sentence]
        assert bool(found) == warned
        if warned:
            assert found[0].startswith("the means of components 1 and 3 coincide: they are 0.09 apart")


def test_noise_of_another_scale_names_the_option(samples: np.ndarray) -> None:
    small = Mixture(WEIGHTS, MEANS * 0.01)
    found = said(small, small, samples * 0.01)
    assert [sentence for sentence in found if "times the noise's that the model assumes" in sentence]
    assert all(sentence.endswith("--scale unit-noise scales the columns of a file") for sentence in found)


def spectral(weights: list[float], eigenvalues: list[float], variance: float, samples: np.ndarray) -> list[str]:
    mixture = Mixture(np.array(weights), MEANS[: len(weights)])
    data = Dataset("x.csv", samples, None, None, "taken as it is")
    return spectral_warnings(mixture, np.array(eigenvalues), variance, samples, data)


@pytest.mark.parametrize(
    ("weights", "eigenvalues", "variance", "start"),
    [
        ([0.4, 0.6], [30.0, 20.0], 1.0, None),
        ([1.01, 0.05], [30.0, 20.0], 1.0, "a weight is 1.01, above 1"),
        ([1 + 1e-12, 0.05], [30.0, 20.0], 1.0, None),
        ([0.4, 0.49], [30.0, 20.0], 1.0, "the weights sum to 0.89, far from 1"),
        ([0.6, 0.51], [30.0, 20.0], 1.0, "the weights sum to 1.11, far from 1"),
        ([0.4, 0.6], [30.0, 1e-3], 1.0, "eigenvalue 2 of M2 is 0.001, of the size of sampling noise"),
        ([0.4, 0.6], [30.0, 20.0], 0.0, "sigma^2 is 0: "),
    ],
    ids=["good", "weight", "rounding", "small sum", "large sum", "eigenvalue", "no noise"],
)
def test_spectral_runs(
    weights: list[float], eigenvalues: list[float], variance: float, start: str | None, samples: np.ndarray
) -> None:
    found = spectral(weights, eigenvalues, variance, samples)
    assert len(found) == (start is not None)
    assert start is None or found[0].startswith(start)


def test_the_noise_of_an_eigenvalue(rng: np.random.Generator) -> None:
    """997 samples in R^7: the covariance's eigenvalue furthest off 1 is off by that, within a factor 4."""
    samples = rng.standard_normal((997, 7))
    off = np.abs(np.linalg.eigvalsh(np.cov(samples.T)) - 1).max()
    assert eigenvalue_noise(samples) / 4 < off < 4 * eigenvalue_noise(samples)


def test_the_demos_say_so(em_command, spectral_command, tmp_path, rng) -> None:
    """Data of a scale at which EM puts both means into one point; a column twice, so that sigma^2 is 0."""
    small = tmp_path / "small.csv"
    np.savetxt(small, 0.05 * rng.standard_normal((101, 2)), delimiter=",")
    done = em_command("--layers", 10, "--data", small, "--components", 2)
    assert done.code == 0
    assert "refuted" not in done.out
    assert "warning: the means of components 1 and 2 coincide" in done.err
    assert "times the noise's that the model assumes" in done.err
    x = np.array([[4.0, 1.0], [-3.0, 5.0]])[rng.integers(2, size=503)] + rng.standard_normal((503, 2))
    np.save(tmp_path / "twice.npy", np.hstack([x, x[:, :1]]))
    quick = ("--restarts", 3, "--iterations", 3)
    done = spectral_command("--data", tmp_path / "twice.npy", "--components", 2, *quick, "--json", "-")
    assert any(sentence.startswith("sigma^2 is 0") for sentence in done.json["warnings"])
    assert all(f"warning: {sentence}" in done.err for sentence in done.json["warnings"])


def options(**changed: object) -> argparse.Namespace:
    return argparse.Namespace(**{"precision": None, "dtype": "float64"} | changed)


def test_bounds_that_say_nothing_name_the_option_that_helps(samples: np.ndarray) -> None:
    data = Dataset("x.csv", samples, None, None, "taken as it is")
    labelled = replace(data, labels=np.zeros(303, dtype=np.int64))
    for given, of, ends in (
        (options(), data, "--centre, or --scale unit-noise, leaves less to rounding"),
        (options(), labelled, "a smaller --tolerance makes them smaller"),
        (options(dtype="float32"), data, "float32 rounds too coarsely for them, and --dtype float64 may do"),
        (options(precision=64, dtype=None), labelled, "a smaller --tolerance makes them smaller"),
    ):
        (one,) = vacuous_warning(["vacuous", "vacuous"], 0.125, given, of)
        assert one == f"no bound says anything: each reaches the samples' diameter of 0.12; {ends}"
    assert vacuous_warning(["vacuous", "holds"], 0.125, options(), data) == []
    equal = "no bound says anything: all samples are equal"
    assert vacuous_warning(["vacuous"], 0.0, options(), data) == [equal]
    assert vacuous_warning(["vacuous"], 0.0, options(dtype="float32"), data) == [f"{equal}, as float32 holds them"]


def test_offset_data_of_little_spread_is_told_to_be_centred(em_command, tmp_path, rng) -> None:
    """A spread of 1e-5 about 5, in float32: vacuous, until it is centred."""
    np.save(tmp_path / "x.npy", 5 + 1e-5 * rng.standard_normal((11, 2)))
    run = ("--data", tmp_path / "x.npy", "--components", 2, "--layers", 2, "--json", "-")
    single = em_command(*run, "--dtype", "float32")
    assert single.json["bounds"]["steps"][0]["status"] == "vacuous"
    assert "float32 rounds too coarsely for them, and --dtype float64 may do" in single.json["warnings"][0]
    for more in (("--dtype", "float64"), ("--dtype", "float32", "--centre")):
        assert em_command(*run, *more).json["bounds"]["steps"][0]["status"] == "holds"


def test_the_default_run_is_at_rest_and_says_so(em_command) -> None:
    """20 steps on iris; the sixth moves no mean further than the tolerance, and yet EM has a way to go."""
    early, default = em_command("--layers", 12, "--tolerance", 0.11, "--json", "-"), em_command("--json", "-")
    assert 0.1 < early.json["last_step"]["mean"] < 0.11
    assert "warning: EM is not at rest: the last step moved a mean by 0.1, more than 0.0011" in early.err
    left = np.linalg.norm(np.array(early.json["means"]) - default.json["means"], axis=1)
    assert left.max() > 5 * 0.11
    assert default.json["last_step"]["mean"] < 0.001
    assert "at most: at rest\n" in default.err
    assert "not at rest" not in default.err
    assert "at most: at rest" not in early.err


def test_a_run_in_balls_warns_like_one_in_floats(em_command) -> None:
    """Early, with noise that is not unit, and at rest, without a word; how far the last step moved."""
    small = ("--samples", 29, "--components", 2, "--dim", 2, "--max-dim", 2, "--max-components", 2, "--tolerance", 0.5)
    for layers, starts in ((4, ["EM is not at rest", "around one of the estimated means"]), (32, [])):
        run = ("--layers", layers, *small, "--json", "-")
        floats, balls = em_command(*run), em_command(*run, "--precision", 128)
        said = floats.json["warnings"]
        assert [sentence.startswith(start) for sentence, start in zip(said, starts, strict=True)] == [True] * len(said)
        assert balls.json["warnings"] == said
        told = [line.removeprefix("warning: ") for line in balls.err.splitlines() if line.startswith("warning: ")]
        assert told == said
        for name, value in floats.json["last_step"].items():
            assert balls.json["last_step"][name]["mid"] == pytest.approx(value, rel=0, abs=1e-11)
        assert ("at most: at rest\n" in balls.err) == ("at most: at rest\n" in floats.err) == (not starts)


def test_a_ball_is_at_rest_only_if_it_certainly_is() -> None:
    assert at_rest(flint.arb(0.0004, 0.0005), 0.1)
    assert not at_rest(flint.arb(0.0004, 0.0007), 0.1)


def test_data_far_from_the_origin(em_command, tmp_path, rng) -> None:
    """Refused with --centre; with it, the means in the file's units are those of the data moved back."""
    x = np.repeat([[-3.0, 0.0], [3.0, 0.0]], 51, axis=0) + rng.standard_normal((102, 2))
    np.save(tmp_path / "near.npy", x - x.mean(axis=0))
    np.save(tmp_path / "far.npy", x + 1000)
    np.save(tmp_path / "wide.npy", 1000 * x)
    options = ("--layers", 4, "--components", 2)
    em_command(*options, "--data", tmp_path / "far.npy").assert_refused("outside the class's radius 10", "--centre")
    em_command(*options, "--data", tmp_path / "wide.npy").assert_refused("--scale unit-noise centres and scales")
    near, far = (
        em_command(*options, "--data", tmp_path / f"{name}.npy", "--centre", "--json", "-") for name in ("near", "far")
    )
    assert np.allclose(near.json["means"], far.json["means"], rtol=0, atol=1e-6)
    assert "in the file's units" in far.err
    assert em_command(*options, "--data", tmp_path / "wide.npy", "--scale", "unit-noise").code == 0


def test_a_prepared_file_is_told_in_its_own_units(em_command, tmp_path, rng) -> None:
    """The start is given and the estimate shown as the file has them: centred by hand, EM ends at the same means."""
    x = np.repeat([[1000.0, 7.0], [1006.0, 7.0]], 51, axis=0) + rng.standard_normal((102, 2))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "centred.npy", x - x.mean(axis=0))
    starts = {"x": np.array([[1000.5, 7.0], [1005.0, 7.5]])}
    starts["centred"] = starts["x"] - x.mean(axis=0)
    found = {}
    for name, means in starts.items():
        content = {"weights": [0.5, 0.5], "means": means.tolist()}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        options = (
            "--layers",
            2,
            "--init",
            tmp_path / f"{name}.json",
            "--data",
            tmp_path / f"{name}.npy",
            "--json",
            "-",
        )
        found[name] = em_command(*options, *(("--centre",) if name == "x" else ()))
    assert np.allclose(found["x"].json["means"], found["centred"].json["means"], rtol=0, atol=1e-6)
    shown = found["x"].err.split("in the file's units\n")[1].splitlines()[:2]
    restored = np.array(found["x"].json["means"]) + x.mean(axis=0)
    for line, mean in zip(shown, restored, strict=True):
        told = [float(word) for word in line.split("(")[1][:-1].split(", ")]
        assert np.abs(told - mean).max() <= 0.0005  # a thousandth of the noise
