"""Bad input: exit code 2, one sentence that names the offending value and the limit, nothing written."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with good and bad files: ok.npy is a tensor of R³, v.npy a start."""
    ok = np.round(np.random.default_rng(1).standard_normal((3, 3, 3)), 2)
    nan, inf = ok.copy(), ok.copy()
    nan[1, 2, 0], inf[0, 1, 2] = np.nan, -np.inf
    arrays = {
        "ok": ok, "v": np.array([0.5, -0.25, 0.75]), "v5": np.ones(5), "v2": np.ones(2), "empty_v": np.ones(0),
        "nan": nan, "inf": inf, "nan_v": np.array([1, np.nan, 0]), "flat": np.ones((3, 3)), "none": np.ones((0, 0, 0)),
        "brick": np.ones((3, 3, 5)), "four": np.ones((3, 3, 3, 3)), "complex": ok * 1j, "bool": ok > 0,
        "words": np.full((3, 3, 3), "abc"), "zero": np.full((3, 3, 3), "1/0"), "beyond": np.full((3, 3, 3), "1e400"),
        "big": np.full((3, 3, 3), 1e100), "ten": np.full(3, 10.0), "nil": np.zeros(3), "nilt": np.zeros((3, 3, 3)),
        "one": np.ones((1, 1, 1)), "ten1": np.full(1, 10.0), "flat_v": np.ones((3, 1)),
    }  # fmt: skip
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    np.save(tmp_path / "pickled.npy", np.array([Fraction(1, 3)], dtype=object), allow_pickle=True)
    whole = (tmp_path / "ok.npy").read_bytes()
    (tmp_path / "short.npy").write_bytes(whole[:-8])
    (tmp_path / "damaged.npy").write_bytes(b"\x93NUMPY nonsense")
    (tmp_path / "void.npy").write_bytes(b"")
    (tmp_path / "ok.csv").write_text("1,2\n")
    (tmp_path / "directory.png").mkdir()
    (tmp_path / "directory.npy").mkdir()
    return tmp_path


TENSOR, START = "--tensor DIR/", "--tensor DIR/ok.npy --start DIR/"
CASES = [
    # arguments after --layers 4 (a later --layers wins), and what the message must contain
    ("--layers 3", ["--layers is 3", "even and positive"]),
    ("--layers 0", ["--layers is 0", "even and positive"]),
    ("--layers -2", ["--layers is -2", "even and positive"]),
    ("--layers 2.5", ["--layers", "'2.5'", "int"]),
    ("--layers two", ["--layers", "'two'", "int"]),
    ("--layers", ["--layers", "expected one argument"]),
    ("--layers 10002", ["--layers is 10002", "at most 10000"]),
    ("--layers 99999999999999999999998", ["--layers is 99999999999999999999998", "at most 10000"]),
    ("--layers 6 --normalise 0.1 10", ["--layers is 6", "multiple of 4"]),
    ("--layers 2 --normalise 0.1 10", ["--layers is 2", "multiple of 4"]),
    ("--seed -1", ["--seed is -1", "not be negative"]),
    ("--seed x", ["--seed", "'x'"]),
    ("--dtype float16", ["'float16'", "float64", "float32", "bfloat16"]),
    ("--attention sigmoid", ["'sigmoid'", "relu", "softmax"]),
    ("--bogus", ["there is no option '--bogus' (--help"]),
    ("--dim 0", ["--dim is 0", "between 1 and 256"]),
    ("--dim -3", ["--dim is -3", "between 1 and 256"]),
    ("--dim 257", ["--dim is 257", "between 1 and 256"]),
    ("--dim 5.5", ["--dim", "'5.5'"]),
    ("--max-dim 3", ["dimension 5", "above the largest, 3", "--max-dim"]),
    ("--max-dim 0", ["d0 = 0", "between 1 and 4096", "--max-dim"]),
    ("--max-dim -1", ["d0 = -1", "between 1 and 4096", "--max-dim"]),
    ("--max-dim 128", ["d0 = 128", "8.7 GiB", "limit of 1 GiB", "smaller --max-dim"]),
    ("--max-dim 100000", ["d0 = 100000", "between 1 and 4096"]),
    ("--dim 100", ["d0 = 100", "limit of 1 GiB"]),
    ("--dim 7 --max-dim 5", ["dimension 7", "above the largest, 5"]),
    ("--attention softmax --attention-only", ["--attention softmax", "--attention-only", "do not go together"]),
    ("--attention softmax --normalise 1 2", ["--attention softmax", "--normalise", "do not go together"]),
    ("--attention-only --normalise 1 2", ["--attention-only", "--normalise", "do not go together"]),
    ("--exact --attention softmax", ["--exact", "--attention softmax", "irrational"]),
    ("--exact --normalise 1 2", ["--exact", "--normalise", "approximate"]),
    ("--exact --layers 34", ["--exact", "--layers 34", "digits", "limit is 100000"]),
    ("--normalise 1", ["--normalise", "expected 2 arguments"]),
    ("--normalise 1 x", ["--normalise", "'x'"]),
    ("--normalise 1 1", ["[1, 1]", "0 < C_LOW < C_HIGH < inf"]),
    ("--normalise 2 1", ["[2, 1]", "0 < C_LOW < C_HIGH"]),
    ("--normalise 0 1", ["[0, 1]", "0 < C_LOW"]),
    ("--normalise -1 1", ["[-1, 1]", "0 < C_LOW"]),
    ("--normalise nan 1", ["[nan, 1]", "0 < C_LOW"]),
    ("--normalise 1 nan", ["[1, nan]", "0 < C_LOW"]),
    ("--normalise 1 inf", ["[1, inf]", "< inf"]),
    ("--normalise 1e-9 1", ["[1e-09, 1]", "units", "limit of 16777216", "C_HIGH/C_LOW"]),
    ("--normalise 1e-300 1e300", ["[1e-300, 1e+300]", "[1e-100, 1e+100]", "--normalise"]),
    ("--normalise 1e-110 1e-109", ["[1e-110, 1e-109]", "[1e-100, 1e+100]", "--normalise"]),
    ("--normalise 1e-20 1.1e-20 --dtype float32", ["[1e-20, 1.1e-20]", "float32", "cubes", "--normalise"]),
    ("--normalise 1e13 1e14 --dtype float32", ["[1e+13, 1e+14]", "in float32 it must lie in"]),
    ("--normalise 1e-14 1e-13 --dtype bfloat16", ["[1e-14, 1e-13]", "in bfloat16 it must lie in"]),
    ("--normalise 5e-4 1", ["GiB", "limit of 1 GiB", "C_HIGH/C_LOW"]),
    (f"{TENSOR}ok.npy --dim 3", ["--dim 3", "file"]),
    (f"{TENSOR}ok.npy --max-dim 2", ["dimension 3", "above the largest, 2"]),
    (f"{TENSOR}flat.npy", ["shape (3, 3)", "d×d×d"]),
    (f"{TENSOR}brick.npy", ["shape (3, 3, 5)", "d×d×d"]),
    (f"{TENSOR}four.npy", ["shape (3, 3, 3, 3)", "d×d×d"]),
    (f"{TENSOR}none.npy", ["shape (0, 0, 0)", "d ≥ 1"]),
    (f"{TENSOR}nan.npy", ["nan.npy", "nan at [1, 2, 0]", "finite"]),
    (f"{TENSOR}inf.npy", ["inf.npy", "-inf at [0, 1, 2]", "finite"]),
    (f"{TENSOR}complex.npy", ["complex.npy", "complex128"]),
    (f"{TENSOR}bool.npy", ["bool.npy", "bool"]),
    (f"{TENSOR}words.npy", ["'abc'", "no decimal"]),
    (f"{TENSOR}zero.npy", ["no decimal"]),
    (f"{TENSOR}beyond.npy", ["beyond the largest float64"]),
    (f"{TENSOR}pickled.npy", ["pickled.npy", "holds Python objects"]),
    (f"{TENSOR}short.npy", ["short.npy", "is not an array of numbers"]),
    (f"{TENSOR}damaged.npy", ["damaged.npy", "is not an array of numbers"]),
    (f"{TENSOR}void.npy", ["void.npy", "is not an array of numbers"]),
    (f"{TENSOR}absent.npy", ["no file", "absent.npy"]),
    (f"{TENSOR}directory.npy", ["no file", "directory.npy"]),
    (f"{TENSOR}ok.csv", ["--tensor is", "ok.csv", ".npy"]),
    ("--tensor gaussian", ["--tensor is 'gaussian'", ".npy", "--help"]),
    ("--tensor DIR", ["--tensor is", ".npy"]),
    ("--start ones", ["--start is 'ones'", ".npy"]),
    ("--start orthogonal", ["--start is 'orthogonal'", ".npy"]),
    (f"{START}v5.npy", ["start has shape (5,)", "tensor's dimension 3"]),
    (f"{START}v2.npy", ["start has shape (2,)", "tensor's dimension 3"]),
    (f"{START}empty_v.npy", ["start has shape (0,)", "tensor's dimension 3"]),
    (f"{START}flat_v.npy", ["start has shape (3, 1)", "tensor's dimension 3"]),
    (f"{START}nan_v.npy", ["nan_v.npy", "nan at [1]", "finite"]),
    (f"{START}absent.npy", ["no file", "absent.npy"]),
    ("--start DIR/v2.npy", ["start has shape (2,)", "tensor's dimension 5"]),
    ("--layers 18 --tensor DIR/one.npy --start DIR/ten1.npy", ["step 9", "1.0e+512", "float64", "1.8e+308"]),
    ("--layers 12 --dtype float32 --tensor DIR/one.npy --start DIR/ten1.npy", ["step 6", "1.0e+64", "3.4e+38"]),
    ("--layers 18 --attention softmax --tensor DIR/one.npy --start DIR/ten1.npy", ["step 9", "1.0e+512"]),
    ("--layers 18 --attention-only --tensor DIR/one.npy --start DIR/ten1.npy", ["step 9", "1.0e+512"]),
    (f"{TENSOR}big.npy --start DIR/ten.npy --layers 6", ["step 3", "4.8e+714", "--normalise"]),
    (f"{TENSOR}big.npy --dtype float32", ["largest number of float32"]),
    (f"{START}nil.npy --normalise 0.1 10", ["0", "cannot be normalised"]),
    (f"{TENSOR}nilt.npy --normalise 0.1 10", ["T(I,v,v) is 0 in step 1", "cannot be normalised"]),
    ("--precision 15", ["--precision is 15", "between 16 and 65536 bits"]),
    ("--precision 65537", ["--precision is 65537", "between 16 and 65536 bits"]),
    ("--precision -64", ["--precision is -64", "between 16 and 65536 bits"]),
    ("--precision 64.5", ["--precision", "'64.5'", "int"]),
    ("--precision 64 --dtype float64", ["--precision 64 and --dtype float64", "no float format"]),
    ("--precision 64 --execution dense", ["--precision 64 and --execution dense", "do not go together"]),
    ("--precision 64 --plan", ["--precision 64 and --plan", "do not go together"]),
    ("--precision 64 --figure DIR/steps.png", ["--precision 64 and --figure", "do not go together"]),
    ("--precision 64", ["--precision 64 and --export", "no output but text and --json"]),
    ("--export DIR/ok.csv", ["ok.csv", "not a directory"]),
    ("--export DIR/absent/export", ["no directory", "absent"]),
    ("--json DIR/absent/result.json", ["no directory", "absent"]),
    ("--json DIR/directory.png", ["directory.png", "is a directory"]),
    ("--figure DIR/absent/steps.png", ["no directory", "absent"]),
    ("--figure DIR/steps.pdf", ["steps.pdf", ".png"]),
    ("--figure DIR/directory.png", ["directory.png", "is a directory"]),
]


@pytest.mark.parametrize(("arguments", "fragments"), CASES, ids=[arguments for arguments, _ in CASES])
def test_bad_input(arguments, fragments, files, tensor_command):
    before = sorted(files.rglob("*"))
    outputs = ["--export", files / "export", "--json", files / "result.json"]
    outcome = tensor_command("--layers", 4, *outputs, *arguments.replace("DIR", str(files)).split())
    outcome.assert_refused(*fragments)
    assert sorted(files.rglob("*")) == before


def test_layers_are_required(tensor_command):
    outcome = tensor_command("--dim", 3)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("error: the following arguments are required: --layers")
