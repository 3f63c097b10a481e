"""What a command leaves behind: checked before any work, written whole, strict JSON (npy: test_em_report.py)."""

import argparse
import hashlib
import json
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from constructions import outputs, weights_file
from constructions.dtypes import DTYPES
from constructions.errors import InputError
from constructions.tensor_power_transformer import build

NOTHING = {"layers": 4, "seed": 0, "figure": None, "json": None, "export": None, "force": False, "dtype": "float64"}
NOTHING |= {"execution": "structured", "plan": False, "precision": None}


def options(**given) -> argparse.Namespace:
    return argparse.Namespace(**NOTHING | given)


def test_every_command_has_the_same_options():
    parser = outputs.Parser()
    outputs.add_options(parser, "draw it")
    defaults = parser.parse_args([])
    execution = {"execution": "structured", "plan": False, "precision": None}
    assert vars(defaults) == {"dtype": None, "export": None, "json": None, "figure": None, "force": False} | execution
    given = parser.parse_args(
        ["--dtype", "bfloat16", "--export", "d", "--json", "-", "--figure", "f.png", "--plan", "--force"]
    )
    execution = {"execution": "structured", "plan": True, "precision": None, "force": True}
    assert vars(given) == {"dtype": "bfloat16", "export": Path("d"), "json": "-", "figure": Path("f.png")} | execution
    assert parser.parse_args(["--execution", "dense"]).execution == "dense"
    assert parser.parse_args(["--precision", "64"]).precision == 64
    assert "draw it" in parser.format_help()
    with pytest.raises(InputError, match="float16"):
        parser.parse_args(["--dtype", "float16"])
    assert list(DTYPES.items()) == [(name, getattr(torch, name)) for name in outputs.FLOATS]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layers": 10_001}, "--layers is 10001; it must be at most 10000"),
        ({"seed": -1}, "--seed is -1; it must not be negative"),
        ({"plan": True, "execution": "dense"}, "it does not go with --execution dense"),
        ({"dtype": None, "precision": 15}, "--precision is 15; it must lie between 16 and 65536 bits"),
        ({"dtype": None, "precision": 65537}, "--precision is 65537; it must lie between 16 and 65536 bits"),
        ({"precision": 64}, "--precision 64 and --dtype float64 do not go together"),
        ({"dtype": None, "precision": 64, "execution": "dense"}, "--precision 64 and --execution dense do not go"),
        ({"dtype": None, "precision": 64, "plan": True}, "--precision 64 and --plan do not go"),
        ({"dtype": None, "precision": 64, "figure": Path("DIR/f.png")}, "--precision 64 and --figure do not go"),
        ({"dtype": None, "precision": 64, "export": Path("DIR/new")}, "--precision 64 and --export do not go"),
        ({"figure": Path("DIR/f.pdf")}, r"--figure is .*f\.pdf'; it must end in \.png"),
        ({"figure": Path("DIR/f.png"), "json": "DIR/f.png"}, "they must differ"),
        ({"figure": Path("DIR/absent/f.png")}, "there is no directory"),
        ({"json": "DIR/absent/r.json"}, "there is no directory"),
        ({"json": "DIR"}, "is a directory"),
        ({"force": True}, "--force is about the directory of --export, which is missing"),
        ({"export": Path("DIR/file")}, "which is not a directory"),
        ({"export": Path("DIR/absent/export")}, "there is no directory"),
        ({"export": Path("DIR/taken")}, r"output\.npy' cannot be written: it is a directory"),
        ({"export": Path("DIR/claimed")}, r"pooling\.npy' cannot be written: it is a directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_what_will_not_do_is_refused_before_any_work(given, message, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "taken" / "output.npy").mkdir(parents=True)
    (tmp_path / "claimed" / "pooling.npy").mkdir(parents=True)
    texts = {key: x for key, x in given.items() if isinstance(x, str | Path)}
    placed = given | {key: type(x)(str(x).replace("DIR", str(tmp_path))) for key, x in texts.items()}
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=message):
        outputs.require(options(**placed), "em_transformer")
    assert sorted(tmp_path.rglob("*")) == before


def test_what_will_do(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "r.json").write_text("old")
    outputs.require(options(layers=10_000), "em_transformer")
    outputs.require(options(json="-", figure=tmp_path / "f.png", export=tmp_path / "new"), "em_transformer")
    outputs.require(
        options(json=str(tmp_path / "r.json"), figure=tmp_path / "f.png", export=tmp_path / "old"), "em_transformer"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old", "r.json"]


@pytest.mark.parametrize(
    ("given", "dtype"),
    [({}, "float64"), ({"dtype": "float32"}, "float32"), ({"precision": 16}, "16-bit ball")],
    ids=str,
)
def test_a_format_that_is_left_open_is_chosen(given, dtype):
    settled = options(**{"dtype": None} | given)
    outputs.require(settled, "em_transformer")
    assert settled.dtype == dtype


@pytest.mark.parametrize(("dtype", "stored"), [("float64", "f8"), ("float32", "f4"), ("bfloat16", "f4")])
def test_everything_that_was_asked_for_is_written(dtype, stored, tmp_path, capsys):
    model = build(3, 1, dtype=DTYPES[dtype])
    tokens, output = np.arange(12.0).reshape(3, 4) / 8, -np.arange(12.0).reshape(3, 4) / 4
    content = {"b": 0.1, "a": [None, "é"]}
    chosen = options(dtype=dtype, json=str(tmp_path / "r.json"), figure=tmp_path / "f.png", export=tmp_path / "new")
    claim, entry = {"name": "c", "reference": "pooling.npy", "bound": 0.1}, {"name": "x", "max_dim": 3}
    claimed = [claim], {"pooling.npy": -tokens}
    weights = partial(weights_file.serialise, model.transformer, entry)
    outputs.write(chosen, content, lambda: b"picture", weights, tokens, lambda: output, lambda: claimed)
    assert capsys.readouterr() == ("", "")
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"r.json", "f.png", *(f"new/{name}" for name in (*outputs.EXPORTED, "pooling.npy"))}
    exported = {path.name: path for path in (tmp_path / "new").iterdir()}
    stated = exported.pop("claims.json").read_text()
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in exported.items()}
    assert json.loads(stated) == {"format": 2, "sha256": digests, "claims": [claim]}
    text = (tmp_path / "r.json").read_text()
    assert json.loads(text) == content
    assert text == (tmp_path / "new" / "result.json").read_text()
    assert text.endswith("}\n")
    assert (tmp_path / "f.png").read_bytes() == b"picture"
    for name, array in (("input", tokens), ("output", output), ("pooling", -tokens)):
        loaded = np.load(tmp_path / "new" / f"{name}.npy")
        assert loaded.dtype == np.dtype(stored)
        assert np.array_equal(loaded, array)
    again, entry = weights_file.load(tmp_path / "new" / "transformer.safetensors")
    assert (entry["name"], entry["max_dim"]) == ("x", 3)
    for ours, theirs in zip(again.parameters(), model.transformer.parameters(), strict=True):
        assert torch.equal(ours.double(), theirs.double())


def test_only_what_was_asked_for_is_made(tmp_path, capsys):
    """Standard output is JSON alone; no picture is drawn, nothing else is written."""
    content = {"a": 1}
    for chosen in (options(json="-"), options()):
        outputs.write(chosen, content, pytest.fail, pytest.fail, np.zeros((1, 1)), pytest.fail, pytest.fail)
    assert capsys.readouterr() == ('{\n  "a": 1\n}\n', "")
    assert list(tmp_path.iterdir()) == []


def test_a_result_that_is_no_strict_json_is_a_bug(tmp_path):
    chosen = options(json=str(tmp_path / "r.json"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        outputs.write(chosen, {"a": np.nan}, pytest.fail, pytest.fail, np.zeros((1, 1)), pytest.fail, pytest.fail)
    assert list(tmp_path.iterdir()) == []


def test_finite():
    assert [outputs.finite(x) for x in (np.float64(0.1), -0.0, np.inf, -np.inf, np.nan)] == [0.1, 0.0, None, None, None]
    assert type(outputs.finite(np.float64(0.5))) is float


def test_versions_are_those_that_are_installed():
    found = outputs.versions()
    assert set(found) == {"python", "torch", "numpy", "scipy", "scikit-learn", "safetensors"}
    assert found["numpy"] == np.__version__
    assert found["torch"] == torch.__version__.split("+")[0] or found["torch"] == torch.__version__
    assert outputs.versions("python-flint") == found | {"python-flint": version("python-flint")}


@pytest.fixture(params=["em_command", "tensor_command"])
def command(request):
    return request.getfixturevalue(request.param)


def test_bad_input_beside_json_on_standard_output(command):
    outcome = command("--layers", 5, "--json", "-")
    assert outcome.out == ""
    outcome.assert_refused("--layers is 5")


def test_an_export_that_cannot_be_whole_is_not_begun(tmp_path, command):
    (tmp_path / "export" / "result.json").mkdir(parents=True)
    outcome = command("--layers", 4, "--export", tmp_path / "export")
    assert outcome.out == ""
    outcome.assert_refused("result.json' cannot be written: it is a directory")
    assert [path.name for path in (tmp_path / "export").iterdir()] == ["result.json"]


def test_a_directory_of_something_else_is_refused_unless_forced(tmp_path):
    """Of people's files, files that only have our names, another construction's; no file of an earlier run stays."""
    model, folder = build(3, 1), tmp_path / "d"

    def export(construction: str, arrays: tuple[str, ...] = (), **given) -> set[str]:
        chosen = options(export=folder, **given)
        outputs.require(chosen, construction)
        weights = partial(weights_file.serialise, model.transformer, {"name": f"{construction}/form"})
        claimed: outputs.Claimed = [], {name: np.zeros((2, 3)) for name in arrays}
        outputs.write(chosen, {}, pytest.fail, weights, np.zeros((2, 3)), lambda: np.zeros((2, 3)), lambda: claimed)
        return {path.name for path in folder.iterdir()}

    arrays = "pooling.npy", "before_step_2.npy", "before_step_13.npy"
    assert export("one", arrays) == {*outputs.EXPORTED, *arrays}
    (folder / "before_last_step.npy").write_text("of an export of before")
    assert export("one", arrays[:2]) == {*outputs.EXPORTED, *arrays[:2]}
    with pytest.raises(InputError, match=r"before_step_2\.npy' is the name of an array of --export"):
        export("one", json=folder / "before_step_2.npy")
    with pytest.raises(InputError, match=r"d', which holds an export of one; choose a new directory, or --force"):
        export("other")
    assert export("other", force=True) == set(outputs.EXPORTED)
    (folder / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=r"d', which holds 'thesis.tex'; choose"):
        export("other")
    assert export("other", force=True) == {*outputs.EXPORTED, "thesis.tex"}
    assert (folder / "thesis.tex").read_text() == "mine"
    for name in ("thesis.tex", "transformer.safetensors"):
        (folder / name).unlink()
    with pytest.raises(InputError, match=r"d', which holds 'claims.json'; choose"):
        export("other")
    (folder / "transformer.safetensors").write_bytes(b"nothing of ours")
    with pytest.raises(InputError, match=r"d', which holds 'claims.json'; choose"):
        export("other")


@pytest.mark.parametrize(("first", "second"), [("--json", "--figure"), ("--json", "--export")])
def test_two_outputs_need_two_files(first, second, tmp_path, command):
    (tmp_path / "export").mkdir()
    same = tmp_path / "export" / "output.npy" if second == "--export" else tmp_path / "same.png"
    outcome = command("--layers", 4, first, same, second, same.parent if second == "--export" else same)
    outcome.assert_refused("they must differ")
    assert not same.exists()
