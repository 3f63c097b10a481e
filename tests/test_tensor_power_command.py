"""The tensor-power demo run as a user runs it, and what it writes, evaluated from the files alone."""

import json
import struct
from itertools import product

import numpy as np
import pytest

from constructions import tensor_power_command, tensor_power_demo
from constructions.algorithms.tensor_power import normalised_power_iteration, power_iteration, power_step
from constructions.outputs import EXPORTED
from constructions.rounding_error import gamma
from constructions.tensors import orthogonal_tensor, random_start, random_tensor

KEYS = {
    "schema", "versions", "vector", "reference", "difference", "bound", "status", "steps", "rest_on", "resources",
    "tensor", "start", "construction", "max_dim", "layers", "execution", "dtype", "seed",
}  # fmt: skip
UNIT = 2.0**-53
NORMALISE = ["--normalise", 0.3, 4, "--tensor", "orthogonal"]
ALL_FORMS = {
    "relu": [],
    "attention-only": ["--attention-only"],
    "softmax": ["--attention", "softmax"],
    "normalised": NORMALISE,
}


@pytest.fixture
def result(tensor_command):
    def run(*arguments):
        outcome = tensor_command("--json", "-", *arguments)
        assert outcome.code == 0
        return outcome.json

    return run


@pytest.fixture
def files(tmp_path, rng):
    """T and v of R³ in .npy files: floats without symmetry, and the same as strings of decimals."""
    tensor, start = np.round(rng.standard_normal((3, 3, 3)), 2), np.array([0.3, -0.7, 0.4])
    for name, array in (("tensor", tensor), ("start", start)):
        np.save(tmp_path / f"{name}.npy", array)
        np.save(tmp_path / f"{name}-text.npy", array.astype(str))
    return tmp_path


@pytest.mark.parametrize(("name", "arguments"), ALL_FORMS.items(), ids=ALL_FORMS)
def test_the_defaults_show_bounds_that_hold(name, arguments, tensor_command):
    """d = 5, d_0 = 8; the text goes to standard error when standard output is JSON."""
    outcome = tensor_command("--layers", 12, "--json", "-", *arguments)
    assert outcome.code == 0
    content = outcome.json
    steps = 3 if name == "normalised" else 6
    assert content.keys() == KEYS
    assert content["schema"] == 1
    assert content["construction"] == f"tensor_power_transformer/{name}"
    assert (content["max_dim"], content["layers"], content["dtype"], content["seed"]) == (8, 12, "float64", 0)
    assert content["tensor"] == {"name": "orthogonal" if name == "normalised" else "random", "dim": 5}
    assert len(content["vector"]) == len(content["reference"]) == len(content["start"]) == 5
    assert [step["step"] for step in content["steps"]] == list(range(1, steps + 1))
    assert [(step["status"], step["reason"]) for step in content["steps"]] == [("holds", "")] * steps
    for step in content["steps"]:
        assert step.keys() == {"step", "difference", "bound", "status", "reason"}
    last = content["steps"][-1]
    assert (content["difference"], content["bound"], content["status"]) == (
        last["difference"], last["bound"], last["status"],
    )  # fmt: skip
    assert 0 < content["difference"] <= content["bound"] < np.linalg.norm(content["reference"]) / 100
    off = np.subtract(content["vector"], content["reference"])
    assert content["difference"] == pytest.approx(np.linalg.norm(off), rel=gamma(20, UNIT), abs=0)
    assert "iteration by iteration" in outcome.err
    assert outcome.err.count("holds") == steps


def test_reference_and_start_are_what_they_say(result, files):
    """The seed draws the tensor first, then the start; files are taken as they are."""
    for draw, name in ((random_tensor, "random"), (orthogonal_tensor, "orthogonal")):
        content = result("--layers", 6, "--dim", 7, "--tensor", name, "--seed", 11)
        rng = np.random.default_rng(11)
        tensor = draw(7, rng)
        start = random_start(7, rng)
        assert content["start"] == start.tolist()
        assert content["reference"] == power_iteration(tensor, start, 3).tolist()
    tensor, start = (np.load(files / f"{name}.npy") for name in ("tensor", "start"))
    paths = ["--tensor", files / "tensor.npy", "--start", files / "start.npy"]
    content = result("--layers", 4, *paths)
    assert content["start"] == start.tolist()
    assert content["reference"] == power_iteration(tensor, start, 2).tolist()
    assert content["tensor"] == {"name": str(files / "tensor.npy"), "dim": 3}
    assert content["max_dim"] == 8
    text = result("--layers", 4, "--tensor", files / "tensor-text.npy", "--start", files / "start-text.npy")
    assert text["vector"] == content["vector"]
    normal = result("--layers", 8, "--max-dim", 3, *paths, "--normalise", 0.1, 5)
    assert normal["reference"] == normalised_power_iteration(tensor, start, 2).tolist()
    single = result("--layers", 2, *paths, "--dtype", "float32")
    held = [array.astype(np.float32).astype(float) for array in (tensor, start)]
    assert single["start"] == held[1].tolist()
    assert single["reference"] == power_step(*held).tolist()


def test_a_start_is_drawn_for_the_tensor_of_a_file(result, files):
    content = result("--layers", 2, "--tensor", files / "tensor.npy", "--seed", 3)
    assert content["start"] == random_start(3, np.random.default_rng(3)).tolist()
    integers = np.arange(-13, 14).reshape(3, 3, 3)
    np.save(files / "integers.npy", integers)
    content = result("--layers", 2, "--tensor", files / "integers.npy", "--start", files / "start.npy")
    assert content["reference"] == power_step(integers.astype(float), np.array(content["start"])).tolist()


@pytest.mark.parametrize("form", ["relu", "attention-only"])
def test_exact_equality(form, result, tensor_command, files):
    """In fractions of the decimals that the file prints; 0.3 is 3/10."""
    arguments = [
        "--layers",
        4,
        "--max-dim",
        5,
        "--tensor",
        files / "tensor.npy",
        "--start",
        files / "start.npy",
        "--exact",
    ]
    content = result(*arguments, *ALL_FORMS[form])
    assert content.keys() == KEYS | {"exact_equal", "exact"}
    assert content["exact_equal"] is True
    assert content["exact"]["layers_equal"] == [True] * 4
    tensor, vector = tensor_power_demo.as_rationals(np.load(files / "tensor.npy")), [3, -7, 4]
    vector = [tensor_power_demo.as_rationals(np.array([x / 10]))[0] for x in vector]
    for _ in range(2):
        vector = [
            sum(tensor[a, j, m] * vector[j] * vector[m] for j, m in product(range(3), repeat=2)) for a in range(3)
        ]
    assert content["exact"]["reference"] == content["exact"]["vector"] == [str(x) for x in vector]
    assert [float(x) for x in vector] == pytest.approx(content["vector"], rel=1e-9, abs=0)
    outcome = tensor_command(*arguments, *ALL_FORMS[form])
    assert "in rational arithmetic 4 of 4 layers equal the proof's stream" in outcome.out
    assert "vector == reference: True" in outcome.out


def test_without_exact_nothing_is_claimed(result, tensor_command):
    assert "exact_equal" not in result("--layers", 2, "--max-dim", 5)
    assert "exact" not in tensor_command("--layers", 2, "--max-dim", 5).out.replace("exactly", "")


def test_a_difference_is_reported_and_not_equal(tensor_command, monkeypatch):
    """One wrong entry of the last layer's reference."""
    compare = tensor_power_demo.compare_layers

    def wrong(*arguments):
        for report in compare(*arguments):
            if report.layer == 4:
                report.expected[0, 0] += 1
            yield report

    monkeypatch.setattr(tensor_power_demo, "compare_layers", wrong)
    outcome = tensor_command("--layers", 4, "--max-dim", 5, "--exact", "--json", "-")
    assert outcome.json["exact_equal"] is False
    assert outcome.json["exact"]["layers_equal"] == [True, True, True, False]
    assert "in rational arithmetic 3 of 4 layers" in outcome.err


@pytest.mark.parametrize(("name", "arguments"), ALL_FORMS.items(), ids=ALL_FORMS)
def test_the_text_says_what_the_json_says(name, arguments, tensor_command, tmp_path):
    path = tmp_path / "result.json"
    outcome = tensor_command("--layers", 8, "--dim", 3, "--max-dim", 5, *arguments, "--json", path)
    assert (outcome.code, outcome.err) == (0, "")
    content = json.loads(path.read_text(), parse_constant=pytest.fail)
    for step in content["steps"]:
        line = next(line for line in outcome.out.splitlines() if line.startswith(f"{step['step']:4d}  "))
        assert f"{step['difference']:.3e}" in line
        assert f"{step['bound']:.3e}" in line
        assert line.endswith(step["status"])
    for key in ("vector", "reference"):
        assert "(" + ", ".join(f"{value:.6g}" for value in content[key]) + ")" in outcome.out
    for row in content["resources"]["table"]:
        assert all(str(row[column]) in outcome.out for column in ("resource", "measured", "formula", "theorem"))
    assert f"d = 3; start random; {2 if name == 'normalised' else 4} iterations" in outcome.out
    assert f"{10 if name == 'softmax' else 5} tokens of width {content['resources']['width']}" in outcome.out


@pytest.mark.parametrize("name", ALL_FORMS)
def test_resources(name, result):
    """Measured from the matrices, beside formulas that give the same numbers, for d_0 = 5 of d = 3."""
    content = result("--layers", 4, "--dim", 3, "--max-dim", 5, *ALL_FORMS[name])["resources"]
    width = {"relu": 42, "attention-only": 37, "softmax": 43, "normalised": 44}[name]
    heads = {"relu": 10, "attention-only": 11, "softmax": 5, "normalised": 10}[name]
    assert (content["layers"], content["width"], content["heads"]) == (4, width, heads)
    assert content["stored_layers"] == (4 if name == "normalised" else 2)
    table = {row["resource"]: row for row in content["table"]}
    terms = {"relu": "3 d0 + 2", "attention-only": "2 d0 + 2", "softmax": "3 d0 + 3", "normalised": "3 d0 + 4"}[name]
    assert table["width D"]["formula"] == f"d0^2 + {terms} = {width}"
    terms = {"attention-only": "2 d0 + 1", "softmax": "d0"}.get(name, "2 d0")
    assert table["heads M"]["formula"] == f"{terms} = {heads}"
    assert table["layers"]["formula"] == ("4 L" if name == "normalised" else "2 L")
    assert [table[key]["measured"] for key in ("layers", "heads M", "width D")] == [4, heads, width]
    if name != "normalised":
        for key in ("hidden D'", "B_Theta"):
            value = float(table[key]["formula"].split("= ")[-1])
            assert float(table[key]["measured"]) == pytest.approx(value, rel=1e-5, abs=0)  # six digits are shown
    assert content["hidden_width"] == table["hidden D'"]["measured"]
    said = ["2 L", "O(d0)", "O(d0^2)", "O(d0)", "O(d0)"] if name == "relu" else [""] * 5
    assert [row["theorem"] for row in content["table"]] == said


def test_verdicts_other_than_holds_are_shown(tensor_command):
    outcome = tensor_command("--layers", 6, "--dtype", "bfloat16", "--json", "-")
    assert [step["status"] for step in outcome.json["steps"]] == ["holds", "vacuous", "vacuous"]
    assert outcome.err.count("vacuous: the zero vector would meet the bound") == 2
    outcome = tensor_command("--layers", 8, "--normalise", 5, 6, "--json", "-")
    content = outcome.json
    assert [step["status"] for step in content["steps"]] == ["not applicable"] * 2
    assert content["status"] == "not applicable"
    assert [content["bound"], *(step["bound"] for step in content["steps"])] == [None] * 3
    reason = content["steps"][1]["reason"]
    assert reason.startswith("in step 1 |T(I,v,v)| = 0.")
    assert outcome.err.count(f"not applicable: {reason}") == 2
    assert "5 <= |T(I,v,v)| <= 6" in outcome.err


def test_the_same_seed_gives_the_same_bytes(tensor_command, tmp_path):
    contents = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        arguments = ["--layers", 4, "--dim", 3, "--max-dim", 5, "--seed", seed, "--export", tmp_path / name]
        assert tensor_command(*arguments).code == 0
        contents.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert set(contents[0]) == {*EXPORTED, "before_step_2.npy"}
    assert contents[0] == contents[1]
    assert {name for name in contents[0] if contents[0][name] == contents[2][name]} == {"transformer.safetensors"}


@pytest.mark.parametrize("name", ALL_FORMS)
def test_the_weights_know_no_tensor(name, tensor_command, files):
    """Other tensors, dimensions and starts; one d_0, one file."""
    written = []
    runs = [
        ["--dim", 5],
        ["--dim", 2, "--seed", 7],
        ["--tensor", files / "tensor.npy", "--start", files / "start.npy"],
    ]
    form = [argument for argument in ALL_FORMS[name] if argument not in ("--tensor", "orthogonal")]
    for number, arguments in enumerate(runs):
        target = files / str(number)
        assert tensor_command("--layers", 4, "--max-dim", 7, *form, *arguments, "--export", target).code == 0
        written.append((target / "transformer.safetensors").read_bytes())
    assert len(set(written)) == 1
    assert tensor_command("--layers", 4, "--max-dim", 5, *form, "--export", files / "other").code == 0
    assert (files / "other" / "transformer.safetensors").read_bytes() != written[0]


@pytest.mark.parametrize(("dim", "limit"), [(1, 8), (5, 8), (8, 8), (9, 16), (13, 16), (17, 32)])
def test_the_weights_serve_more_than_the_task(dim, limit):
    assert tensor_power_command.default_max_dim(dim) == limit


@pytest.mark.parametrize(
    "arguments",
    [
        ["--dim", 1, "--max-dim", 1],
        ["--dim", 1, "--max-dim", 1, "--exact", "--attention-only"],
        ["--dim", 13, "--tensor", "orthogonal"],
        ["--dim", 11, "--max-dim", 11, "--attention", "softmax", "--dtype", "float32"],
        ["--dim", 2, "--max-dim", 3, "--normalise", 0.1, 10, "--dtype", "float32"],
        ["--dim", 5, "--max-dim", 7, "--normalise", 0.5, 2, "--dtype", "bfloat16"],
        ["--seed", 10**30],
    ],
    ids=lambda arguments: " ".join(map(str, arguments)),
)
def test_other_inputs(arguments, result):
    content = result("--layers", 4, *arguments)
    assert {step["status"] for step in content["steps"]} <= {"holds", "vacuous", "not applicable"}
    assert np.isfinite(content["vector"]).all()


def test_no_layer_is_too_many(result):
    """100 iterations of a shrinking vector end at 0, exactly as the reference does."""
    content = result("--layers", 200, "--dim", 2, "--max-dim", 2)
    assert content["vector"] == content["reference"] == [0, 0]


def test_help(capsys):
    with pytest.raises(SystemExit) as done:
        tensor_power_command.main(["--help"])
    assert done.value.code == 0
    out = capsys.readouterr().out
    options = [
        "--layers", "--dim", "--max-dim", "--tensor", "--start", "--attention", "--normalise", "--attention-only",
        "--exact", "--dtype", "--seed", "--export", "--json", "--figure",
    ]  # fmt: skip
    assert all(option in out for option in options)


@pytest.mark.parametrize("name", ["relu", "normalised"])
def test_a_figure_is_a_png(name, tensor_command, tmp_path):
    path = tmp_path / "steps.png"
    assert tensor_command("--layers", 8, *ALL_FORMS[name], "--figure", path).code == 0
    picture = path.read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", picture[16:24])
    assert 400 <= width <= 8000
    assert 300 <= height <= 8000
    assert 10_000 < len(picture) < 5_000_000
