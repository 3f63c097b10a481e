"""The demo run as a user runs it."""

import json
import struct
import subprocess
import sys

import numpy as np
import pytest

from constructions import em_command
from constructions.algorithms.em import log_em_step
from constructions.datasets import load_bundled
from constructions.outputs import EXPORTED
from constructions.rounding_error import gamma

KEYS = {
    "schema", "versions", "weights", "means", "reference", "errors", "bounds", "resources", "samples_used",
    "construction", "class", "execution", "dtype", "seed",
}  # fmt: skip


@pytest.fixture
def result(em_command):
    def run(*arguments):
        outcome = em_command("--json", "-", *arguments)
        assert outcome.code == 0
        return outcome.json

    return run


def statuses(content):
    return [step["status"] for step in content["bounds"]["steps"]]


def test_the_defaults_show_a_bound_that_holds_and_says_something(em_command):
    """6 layers on iris: d_0 > d, K_0 > K, three steps whose bounds hold below the diameter."""
    outcome = em_command("--layers", 6, "--json", "-")
    assert outcome.code == 0
    content = outcome.json
    assert content.keys() >= KEYS
    assert content["schema"] == 1
    assert {"python", "torch", "numpy"} <= content["versions"].keys()
    assert (content["construction"], content["dtype"], content["seed"]) == ("floor", "float64", 0)
    assert (content["samples_used"], content["samples_given"]) == (150, 150)
    assert content["class"]["max_dim"] > 4 == content["data"]["dim"]
    assert content["class"]["max_components"] > 3 == len(content["weights"])
    assert statuses(content) == ["holds"] * 3
    for errors, bound in zip(content["errors"]["steps"], content["bounds"]["steps"], strict=True):
        assert 0 < errors["mean"] <= bound["mean"] < content["bounds"]["diameter"]["value"] / 100
        assert 0 <= errors["log_weight"] <= bound["log_weight"] < 0.1
        assert errors["step"] == bound["step"]
    assert content["bounds"]["final"]["status"] == "undecided"
    assert (content["resources"]["layers"], content["resources"]["heads"]) == (6, 2)
    assert content["resources"]["width"] == 2 * 8 + 5 * 8 + 2
    assert content["resources"]["hidden_width"] == sum(content["resources"]["hidden_parts"].values())
    # The text goes to standard error when standard output is JSON.
    assert "EM step by step" in outcome.err
    assert outcome.err.count("holds") == 3


def test_the_text_says_what_the_json_says(em_command, tmp_path):
    path = tmp_path / "result.json"
    outcome = em_command("--layers", 4, "--components", 7, "--radius", 20, "--json", path)
    assert outcome.code == 0
    content = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert content["warnings"]
    assert outcome.err.splitlines() == [f"warning: {one}" for one in content["warnings"]]
    assert "samples used  147 of 150 (the last 3 dropped" in outcome.out
    assert content["samples_used"] == 147
    for value in (content["errors"]["steps"][1]["mean"], content["bounds"]["steps"][1]["mean"]):
        assert f"{value:.3e}" in outcome.out
    for weight in content["weights"] + content["reference"]["weights"]:
        assert f"pi {weight:.4f}" in outcome.out
    for row in content["resources"]["table"]:
        assert row["theorem"] in outcome.out


def test_reference_and_errors_are_what_they_say(result):
    content = result("--layers", 8, "--data", "wine", "--dim", 3, "--seed", 4)
    samples = load_bundled("wine", 3, 3, None, np.random.default_rng(4)).samples[:177]
    start = content["start"]
    log_weights, means = np.log(start["weights"]), np.array(start["means"])
    for _ in range(4):  # from a start that the float64 run holds exactly
        log_weights, means = log_em_step(samples, log_weights, means)
    weights = np.exp(log_weights)
    assert np.array_equal(content["reference"]["weights"], weights)
    assert np.array_equal(content["reference"]["means"], means)
    final, unit = content["errors"]["final"], 2.0**-53
    ours = np.array(content["means"])
    assert final["mean"] == pytest.approx(np.linalg.norm(ours - means, axis=1).max(), rel=gamma(20, unit), abs=0)
    assert final["weight"] == pytest.approx(np.abs(content["weights"] - weights).max(), rel=gamma(20, unit), abs=0)
    assert 0.8 < content["metrics"]["clustering_accuracy"]["transformer"] <= 1


def test_the_same_seed_gives_the_same_bytes(em_command, tmp_path):
    arguments = ["--layers", 2, "--data", "synthetic", "--samples", 97, "--dim", 3, "--dtype", "float32"]
    contents = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert em_command(*arguments, "--seed", seed, "--export", tmp_path / name).code == 0
        contents.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert set(contents[0]) == {*EXPORTED, "pooling.npy"}
    assert contents[0] == contents[1]
    same = {name for name in contents[0] if contents[0][name] == contents[2][name]}
    assert same == {"transformer.safetensors", "pooling.npy"}


def test_a_single_precision_run_holds(result):
    content = result("--layers", 6, "--dtype", "float32")
    assert statuses(content) == ["holds"] * 3
    assert content["bounds"]["steps"][0]["rounding"]["log_weight"] > 1e-6


def test_a_bfloat16_run_is_reported_vacuous(em_command):
    outcome = em_command("--layers", 4, "--dtype", "bfloat16", "--json", "-")
    assert outcome.code == 0
    assert statuses(outcome.json) == ["vacuous"] * 2
    assert outcome.json["bounds"]["steps"][0]["reason"] == "no finite rounding allowance in bfloat16 for N = 150"
    assert "vacuous: no finite rounding" in outcome.err


def test_a_run_that_breaks_the_smallest_weight_says_so(em_command, csv, tmp_path):
    init = tmp_path / "init.json"
    init.write_text(json.dumps({"weights": [0.5, 0.5], "means": [[0, 0], [9, 0]]}))
    outcome = em_command("--layers", 6, "--data", csv, "--init", init, "--json", "-")
    assert outcome.code == 0
    assert statuses(outcome.json)[1:] == ["not applicable"] * 2
    reason = outcome.json["bounds"]["steps"][1]["reason"]
    assert reason.startswith("a weight fell to")
    assert reason.endswith("below 0.01")
    assert outcome.err.count(f"not applicable: {reason}") == 2


def test_the_paper_construction_holds_on_a_small_class(result, csv):
    small = ["--radius", 3, "--tolerance", 1, "--max-dim", 3, "--max-components", 5]
    own = ["e-step", "m-step", "em-step-paper", "rounding"]
    for execution, rows in (("dense", own), ("structured", [*own, "execution-rounding"])):
        run = ["--layers", 4, "--construction", "paper", "--data", csv, "--components", 2, "--execution", execution]
        content = result(*run, *small)
        assert (content["construction"], content["execution"]) == ("paper", execution)
        assert statuses(content) == ["holds"] * 2
        assert content["bounds"]["rest_on"] == rows


@pytest.mark.parametrize(
    "arguments",
    [
        ["--data", "digits", "--samples", 211, "--components", 5],
        ["--data", "synthetic", "--dim", 1, "--components", 1, "--samples", 7],
        ["--data", "synthetic", "--separation", 0, "--samples", 3, "--components", 3],
        ["--data", "synthetic", "--dim", 13, "--radius", 20, "--tolerance", 1],
        ["--samples", 53, "--dim", 2],
        ["--min-weight", 0.5, "--components", 2],
    ],
    ids=lambda arguments: " ".join(map(str, arguments)),
)
def test_other_inputs(arguments, result):
    content = result("--layers", 2, *arguments)
    assert "refuted" not in statuses(content)
    assert np.isfinite(content["means"]).all()
    assert sum(content["weights"]) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("text", ["0.5\n-0.5\n1\n", "x\n0.5\n-0.5\n1\n", " 0.5 , 1\n 1 ,2\n 3, 4\n"])
def test_files_with_and_without_header(text, result, tmp_path):
    path = tmp_path / "data.csv"
    path.write_text(text)
    content = result("--layers", 2, "--data", path, "--components", 2)
    assert (content["samples_given"], content["samples_used"]) == (3, 2)


def test_components_may_come_from_the_initial_parameters(result, csv, tmp_path):
    init = tmp_path / "init.json"
    init.write_text(json.dumps({"weights": [0.2, 0.3, 0.5], "means": [[0, 0], [1, 1], [-1, 1]]}))
    content = result("--layers", 2, "--data", csv, "--init", init)
    assert content["start"] == {"weights": [0.2, 0.3, 0.5], "means": [[0, 0], [1, 1], [-1, 1]]}
    assert content["samples_used"] == 51


@pytest.mark.parametrize(("size", "limit"), [(1, 8), (4, 8), (7, 8), (8, 16), (13, 16), (16, 32)])
def test_the_class_is_larger_than_the_task(size, limit):
    assert em_command.default_limit(size) == limit


def test_a_figure_is_a_png(em_command, tmp_path):
    path = tmp_path / "steps.png"
    assert em_command("--layers", 4, "--figure", path).code == 0
    picture = path.read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", picture[16:24])
    assert 400 <= width <= 8000
    assert 300 <= height <= 8000
    assert 10_000 < len(picture) < 5_000_000


def test_help():
    done = subprocess.run(
        [sys.executable, "-m", "constructions.em_transformer", "--help"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    for option in ("--layers", "--data", "--construction", "--tolerance", "--export", "--json"):
        assert option in done.stdout
