"""`python -m tgmm estimate`: a user's file in, an estimate out; what the model was not trained on is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Command, in_process
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.cluster import KMeans
from tgmm_runs import smoke

from constructions.algorithms.metrics import average_log_likelihood
from constructions.algorithms.sampling import Mixture
from tgmm import checkpoints
from tgmm import config as configs
from tgmm.__main__ import main
from tgmm.estimate_command import REACH
from tgmm.estimation import estimate
from tgmm.training import MODEL, begin, train


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    return in_process(lambda arguments: main(["estimate", *arguments]), capfd)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of d = 2, K in {2, 3}, trained on 11 to 17 samples for a moment."""
    directory = tmp_path_factory.mktemp("trained")
    train(begin(configs.load(smoke(directory, steps=6)), directory))
    return directory / MODEL


@pytest.fixture
def data(tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "data.csv"
    np.savetxt(path, rng.standard_normal((13, 2)) + np.array([1.0, -2.0]), delimiter=",", fmt="%.17g")
    return path


def test_the_estimate_is_the_model_s(command: Command, checkpoint: Path, data: Path, tmp_path: Path) -> None:
    said = command("--data", data, "--components", 3, "--checkpoint", checkpoint, "--json", "-")
    assert said.code == 0
    content = said.json
    samples = np.loadtxt(data, delimiter=",")
    found = estimate(checkpoints.read(checkpoint).model(), samples[None], 3)
    order = np.argsort(-found.weights[0])
    assert content["weights"] == found.weights[0][order].tolist()
    assert content["means"] == found.means[0][order].tolist()
    assert content["weights"] == sorted(content["weights"], reverse=True)
    assert sum(content["weights"]) == pytest.approx(1, rel=16 * 2.0**-24, abs=0)  # a softmax of three in float32
    mixture = Mixture(np.array(content["weights"]), np.array(content["means"]))
    assert content["average_log_likelihood"] == pytest.approx(
        average_log_likelihood(mixture, samples), rel=1e-12, abs=0
    )
    assert content["samples"] == 13
    assert content["checkpoint"]["steps"] == 6
    assert "scales" not in content
    told = command("--data", data, "--components", 3, "--checkpoint", checkpoint, "--json", tmp_path / "e.json")
    assert json.loads((tmp_path / "e.json").read_text()) == content
    assert told.out.count("\npi ") == 3
    assert f"likelihood    {content['average_log_likelihood']:.4f}" in told.out


def test_the_order_of_the_rows_does_not_matter(checkpoint: Path, data: Path) -> None:
    """Sums in another order, in float64: the estimate, which is the command's, moves by less than a millionfold of its
    rounding, and by more when one sample is left out.
    """
    model, samples = checkpoints.read(checkpoint).model().double(), np.loadtxt(data, delimiter=",")
    one, turned, fewer = (estimate(model, x[None], 2).means for x in (samples, samples[::-1].copy(), samples[1:]))
    assert np.abs(turned - one).max() <= 1e-10
    assert np.abs(fewer - one).max() > 1e-6


def test_scales_are_told(command: Command, data: Path, tmp_path: Path) -> None:
    path = smoke(tmp_path, steps=6)
    path.write_text(path.read_text().replace("dim = 2", "dim = 2\nanisotropic = true"))
    train(begin(configs.load(path), tmp_path))
    said = command("--data", data, "--components", 2, "--checkpoint", tmp_path / MODEL)
    assert said.out.count("  sigma (") == 2
    content = command("--data", data, "--components", 2, "--checkpoint", tmp_path / MODEL, "--json", "-").json
    assert np.array(content["scales"]).shape == (2, 2)
    assert (np.array(content["scales"]) > 0).all()


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (lambda x: x[:10], "there are 10 samples; the model was trained on 11 to 17"),
        (lambda x: np.concatenate([x, x[:5]]), "there are 18 samples; the model was trained on 11 to 17"),
        (
            lambda x: x + np.array([0, 9.0 + REACH]),
            "in size; means were trained within ±5, so that samples lie within ±10",
        ),
        (lambda x: 40 * x, "times the noise's that the model assumes"),
    ],
    ids=["few", "many", "far", "noise"],
)
def test_samples_outside_the_training_range_are_warned_of(
    command: Command, checkpoint: Path, data: Path, change: object, warning: str
) -> None:
    np.savetxt(data, change(np.loadtxt(data, delimiter=",")), delimiter=",", fmt="%.17g")  # type: ignore[operator]
    said = command("--data", data, "--components", 2, "--checkpoint", checkpoint, "--json", "-")
    assert said.code == 0
    assert warning in said.err
    assert [line.removeprefix("warning: ") for line in said.err.splitlines()] == said.json["warnings"]


def test_samples_within_the_training_range_are_not_warned_of(command: Command, checkpoint: Path, data: Path) -> None:
    """All of the range's warnings; an untrained model's noise may look strange."""
    said = command("--data", data, "--components", 2, "--checkpoint", checkpoint)
    assert "trained on 11" not in said.err
    assert "in size" not in said.err


def test_rows_and_columns_are_chosen(command: Command, checkpoint: Path, data: Path, tmp_path: Path) -> None:
    """A label, a missing number and a first row of numbers that is a header: the estimate of what is left."""
    run = ("--components", 2, "--checkpoint", checkpoint, "--json", "-")
    plain = command("--data", data, *run).json
    rows = data.read_text().splitlines()
    table = [f"kind {number},{row}" for number, row in enumerate(rows)]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["species,a,b", *table[:5], "kind x,,3", *table[5:]]))
    command("--data", path, *run).assert_refused("column 1 ('species')", "--columns a,b")
    command("--data", path, "--columns", "a,b", *run).assert_refused("line 7, column 2 ('a')", "--drop-missing")
    found = command("--data", path, "--columns", "a,b", "--drop-missing", *run).json
    assert found["data"].pop("preparation") == "taken as it is; 1 row with a missing number left out"
    assert (found["samples"], found["means"], found["weights"]) == (13, plain["means"], plain["weights"])
    turned = command("--data", path, "--columns", "b,a", "--drop-missing", *run).json
    assert turned["means"] != found["means"]
    path.write_text("\n".join(["7,9", *rows]))
    assert command("--data", path, *run).json["samples"] == 14
    assert command("--data", path, "--header", *run).json["means"] == plain["means"]


def test_a_prepared_file_is_estimated_in_its_own_units(
    command: Command, checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    """Centred or scaled by hand, the model says the same; the density is that of the mixture told, in the file."""
    run = ("--components", 2, "--checkpoint", checkpoint, "--json", "-")
    x = np.loadtxt(data, delimiter=",") * np.array([100.0, 0.01]) + np.array([5000.0, -3.0])
    given, by_hand = tmp_path / "given.npy", tmp_path / "by_hand.npy"
    np.save(given, x)
    labels = KMeans(2, n_init=10, random_state=0).fit(x / x.std(axis=0)).labels_
    inner = x - np.stack([x[labels == k].mean(axis=0) for k in range(2)])[labels]
    for option, unit in ((["--centre"], np.ones(2)), (["--scale", "unit-noise"], np.sqrt((inner**2).mean(axis=0)))):
        np.save(by_hand, (x - x.mean(axis=0)) / unit)
        found, plain = command("--data", given, *option, *run).json, command("--data", by_hand, *run).json
        assert found["weights"] == pytest.approx(plain["weights"], rel=0, abs=1e-5)  # float32
        told = np.array(found["means"])
        assert np.abs((told - x.mean(axis=0)) / unit - plain["means"]).max() < 1e-4
        assert np.allclose(found["scales"], np.tile(unit, (2, 1)), rtol=1e-9, atol=0)
        density = logsumexp(norm.logpdf(x[:, None], told, unit).sum(axis=2) + np.log(found["weights"]), axis=1)
        assert found["average_log_likelihood"] == pytest.approx(density.mean(), rel=1e-6, abs=0)
        assert not any("--scale" in sentence for sentence in found["warnings"])


def test_what_will_not_do_is_refused(command: Command, checkpoint: Path, data: Path, tmp_path: Path) -> None:
    given = {"--data": data, "--components": 2, "--checkpoint": checkpoint}

    def refused(*fragments: str, **changed: object) -> None:
        options = given | {f"--{name}": value for name, value in changed.items()}
        command(*(part for pair in options.items() for part in pair)).assert_refused(*fragments)

    refused("--components is 5", "estimates 2, 3", components=5)
    refused("invalid int value", components="two")
    np.savetxt(tmp_path / "wide.csv", np.zeros((13, 3)), delimiter=",")
    refused("the samples have dimension 3", "is for dimension 2", data=tmp_path / "wide.csv")
    np.savetxt(tmp_path / "one.csv", np.zeros((1, 2)), delimiter=",")
    refused("there are 2 components but only 1 samples", data=tmp_path / "one.csv")
    refused("there is no file", data=tmp_path / "absent.csv")
    (tmp_path / "words.csv").write_text("a,b\nc,d\n")
    refused("line 2, column 1 ('a'): 'c' is no number", data=tmp_path / "words.csv")
    (tmp_path / "cut.safetensors").write_bytes(checkpoint.read_bytes()[:1000])
    refused("cut.safetensors", "is damaged or no checkpoint", checkpoint=tmp_path / "cut.safetensors")
    refused("does not exist", checkpoint=tmp_path / "absent.safetensors")
    refused("there is no directory", json=tmp_path / "absent" / "e.json")
    np.savetxt(tmp_path / "d7.csv", np.zeros((13, 7)), delimiter=",")
    command("--data", tmp_path / "d7.csv", "--components", 2).assert_refused("the samples have dimension 7", "shipped")
    command("--components", 2).assert_refused("--data")
    assert sorted(path.name for path in tmp_path.glob("*.json")) == []


def test_commands_that_do_not_exist_are_refused(capfd: pytest.CaptureFixture[str]) -> None:
    run = in_process(main, capfd)
    run("guess").assert_refused("there is no 'guess'")
    run().assert_refused("COMMAND")
