"""Bad input: exit code 2, one sentence that names the offending value and the limit, nothing written."""

import json
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with good and bad files; ok.csv holds 11 samples in R²."""
    rng = np.random.default_rng(1)
    texts = {
        "ok": "\n".join(f"{a:.6f},{b:.6f}" for a, b in rng.standard_normal((11, 2))),
        "nan": "1,2\n3,nan\n",
        "text": "1,2\n3,abc\n",
        "ragged": "1,2\n3,4\n5\n",
        "empty": "",
        "header": "a,b\n",
        "begins": "1,x\n2,3\n",
        "far": "1,2\n30,40\n",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.csv").write_text(text)
    (tmp_path / "latin.csv").write_bytes(b"1,2\n\xff,3\n")
    arrays = {"inf": np.array([[1.0, np.inf], [2.0, 3.0]]), "flat": np.arange(5.0), "none": np.zeros((0, 2))}
    for name, array in (arrays | {"text": np.array([["a", "b"]]), "complex": np.ones((2, 2)) * 1j}).items():
        np.save(tmp_path / f"{name}.npy", array)
    (tmp_path / "damaged.npy").write_bytes(b"\x93NUMPY nonsense")
    centres = [[0.0, 0.0], [1.0, 1.0]]
    starts = {
        "sum": ([0.5, 0.6], centres),
        "negative": ([-0.5, 1.5], centres),
        "zero": ([0.0, 1.0], centres),
        "space": ([0.5, 0.5], [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]),
        "far": ([0.5, 0.5], [[0.0, 0.0], [30.0, 40.0]]),
        "nan": ([0.5, 0.5], [[0.0, 0.0], [float("nan"), 1.0]]),
        "count": ([0.5, 0.5], centres[:1]),
        "ragged": ([0.5, 0.5], [[0.0, 0.0], [1.0]]),
        "text": (["0.5", "0.5"], centres),
        "huge": ([0.5, 0.5], [[10**400, 0], [1, 1]]),
        "percent": ([50.0, 50.0], centres),
        "good": ([0.5, 0.5], centres),
    }
    for name, (weights, means) in starts.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"weights": weights, "means": means}))
    good = (tmp_path / "good.json").read_text()
    (tmp_path / "more.json").write_text(good.replace("{", '{"covariances": [1, 2], '))
    (tmp_path / "twice.json").write_text(good.replace("{", '{"means": [[2, 2], [2, 2]], '))
    (tmp_path / "deep.json").write_text("[" * 200_000)
    (tmp_path / "malformed.json").write_text('{"weights": [')
    (tmp_path / "keys.json").write_text('{"weights": [1.0]}')
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe")
    (tmp_path / "directory.png").mkdir()
    return tmp_path


FILE = "--data DIR/ok.csv --components 2"
CASES = [
    # arguments after --layers 4 (a later --layers wins), and what the message must contain
    ("--layers 3", ["--layers is 3", "even and positive"]),
    ("--layers 0", ["--layers is 0", "even and positive"]),
    ("--layers -2", ["--layers is -2", "even and positive"]),
    ("--layers 2.5", ["--layers", "'2.5'", "int"]),
    ("--layers two", ["--layers", "'two'", "int"]),
    ("--layers", ["--layers", "expected one argument"]),
    ("--seed -1", ["--seed is -1", "not be negative"]),
    ("--dtype float16", ["'float16'", "float64", "float32", "bfloat16"]),
    ("--construction magic", ["'magic'", "floor", "paper"]),
    ("--layer 6 --tolerence 0.1", ["there is no option '--tolerence', did you mean '--tolerance'? (--help"]),
    ("--construction papper", ["'papper'", "did you mean 'paper'?"]),
    ("--qqq", ["there is no option '--qqq' (--help"]),
    ("--data DIR/nan.csv --components 1", ["nan.csv", "line 2, column 2", "missing", "--drop-missing"]),
    ("--data DIR/inf.npy --components 1", ["inf.npy", "row 1, column 2: inf", "finite"]),
    ("--data DIR/flat.npy --components 1", ["flat.npy", "shape (5,)", "N×d"]),
    ("--data DIR/none.npy --components 1", ["none.npy", "shape (0, 2)", "N, d ≥ 1"]),
    ("--data DIR/text.npy --components 1", ["text.npy", "holds str32"]),
    ("--data DIR/complex.npy --components 1", ["complex.npy", "complex"]),
    ("--data DIR/damaged.npy --components 1", ["damaged.npy", "not an array of numbers"]),
    ("--data DIR/text.csv --components 1", ["text.csv", "line 2, column 2: 'abc' is no number"]),
    ("--data DIR/ragged.csv --components 1", ["ragged.csv", "line 3, has 1 cell"]),
    ("--data DIR/empty.csv --components 1", ["empty.csv", "is empty"]),
    ("--data DIR/header.csv --components 1", ["header.csv", "no rows"]),
    ("--data DIR/begins.csv --components 1", ["begins.csv", "line 1, column 2: 'x' is no number"]),
    ("--data DIR/latin.csv --components 1", ["latin.csv", "line 2, column 1: 'ÿ' is no number"]),
    ("--data DIR/absent.csv --components 1", ["no file", "absent.csv"]),
    ("--data iirs --components 1", ["--data is 'iirs'", "did you mean 'iris'?; it is iris, wine"]),
    ("--columns 2", ["--columns applies to files only", "--data iris"]),
    ("--drop-missing", ["--drop-missing applies to files only"]),
    ("--no-header", ["--header applies to files only"]),
    ("--scale unit-noise", ["--scale applies to files only"]),
    ("--data synthetic --centre", ["--centre applies to files only", "--data synthetic"]),
    (f"{FILE} --columns 3", ["--columns has 3", "columns 1 to 2"]),
    ("--data DIR --components 1", ["is a directory; a file is needed"]),
    ("--data DIR/far.csv --components 1", ["sample 2 of 2", "norm 50", "radius 10", "--scale unit-noise"]),
    ("--data DIR/ok.csv", ["--components is missing"]),
    ("--data DIR/ok.csv --components 12", ["12 components", "only 11 samples"]),
    ("--components 151", ["151 components", "only 150 samples"]),
    ("--components 0", ["--components is 0", "at least 1"]),
    ("--components 5 --max-components 4", ["5 components", "between 1 and 4", "--max-components"]),
    ("--max-components 0", ["components is 0", "between 1 and 1000000"]),
    ("--max-dim 3", ["dimension 4", "largest, 3", "--max-dim"]),
    ("--max-dim 0", ["dimension is 0", "between 1 and 1000000"]),
    ("--radius 5", ["sample 119 of 150", "norm 8.9", "radius 5"]),
    ("--radius nan", ["radius is nan", "positive and at most 1e+09"]),
    ("--radius inf", ["radius is inf", "positive and at most 1e+09"]),
    ("--radius 0", ["radius is 0.0", "positive"]),
    ("--tolerance 0", ["tolerance is 0.0", "[2e-11, 20)"]),
    ("--tolerance 20", ["tolerance is 20.0", "[2e-11, 20)"]),
    ("--tolerance nan", ["tolerance is nan", "[2e-11, 20)"]),
    ("--min-weight 0", ["weight is 0.0", "[1e-12, 0.5]"]),
    ("--min-weight 0.9", ["weight is 0.9", "[1e-12, 0.5]"]),
    ("--min-weight nan", ["weight is nan", "[1e-12, 0.5]"]),
    ("--data synthetic --dim 4096 --samples 10", ["dimension 4096 have norms of about 64", "radius 10 (--radius)"]),
    ("--data synthetic --dim 4096 --samples 10 --radius 99", ["TiB of float64", "limit of 2 GiB", "--max-dim"]),
    ("--tolerance 1e-9", ["floor", "hidden units", "GiB", "limit of 2 GiB", "--tolerance"]),
    ("--construction paper --radius 15 --tolerance 1e-3", ["paper", "limit of 2 GiB", "--construction floor"]),
    ("--construction paper --dtype float32", ["log A = 204.6", "float32", "87.3", "--construction floor"]),
    ("--construction paper --radius 40", ["log A = 3204.6", "float64", "708.4", "--construction floor"]),
    ("--separation 3", ["--separation", "synthetic", "'iris'"]),
    ("--dim 5", ["--dim is 5", "iris has 4"]),
    ("--samples 151", ["--samples is 151", "iris has 150"]),
    ("--samples 0", ["--samples is 0", "150"]),
    (f"{FILE} --dim 2", ["--dim 2", "file", "--scale unit-noise"]),
    (f"{FILE} --samples 5", ["--samples 5", "file"]),
    (f"{FILE} --separation 1", ["--separation", "ok.csv"]),
    ("--data synthetic --samples 0", ["--samples is 0", "between 1 and 134217728"]),
    ("--min-weight 0.4", ["0.4", "1/3"]),
    ("--data synthetic --dim 1000000000", ["--dim is 1000000000", "between 1 and 4096"]),
    ("--data synthetic --samples 100000000000000000000", ["--samples is 1000", "134217728"]),
    ("--data synthetic --components 99999999999", ["99999999999 components", "600 samples"]),
    ("--data synthetic --separation 1e300", ["norm 7.454e+299", "radius 10"]),
    ("--layers 100000000000000000000", ["--layers is 1000", "at most 10000"]),
    ("--tolerance 5e-324", ["tolerance is 5e-324", "[2e-11, 20)"]),
    ("--radius 1e300", ["radius is 1e+300", "at most 1e+09"]),
    ("--min-weight 1e-320", ["1e-320", "[1e-12, 0.5]"]),
    ("--max-components 9" + 400 * "9", ["components is 99", "1000000"]),
    ("--data synthetic --dim 0", ["--dim is 0", "between 1 and 4096"]),
    ("--data synthetic --separation nan", ["--separation is nan", "finite"]),
    ("--data synthetic --separation -1", ["--separation is -1.0", "not negative"]),
    (f"{FILE} --init DIR/sum.json", ["[0.5, 0.6]", "the sum 1.1", "positive and sum to 1"]),
    (f"{FILE} --init DIR/negative.json", ["[-0.5, 1.5]", "positive and sum to 1"]),
    (f"{FILE} --init DIR/zero.json", ["[0.0, 1.0]", "positive and sum to 1"]),
    (f"{FILE} --init DIR/space.json", ["shape (2, 3)", "(2, 2)"]),
    (f"{FILE} --init DIR/far.json", ["initial mean 2 of 2", "norm 50", "radius 10"]),
    (f"{FILE} --init DIR/nan.json", ["nan.json", "NaN", "in means[1][0]"]),
    (f"{FILE} --init DIR/count.json", ["(2,)", "(1, 2)", "(K,) and (K, d)"]),
    (f"{FILE} --init DIR/ragged.json", ["ragged.json': means[0] is [0.0, 0.0]", "rows of equal length"]),
    (f"{FILE} --init DIR/malformed.json", ["malformed.json", "no JSON from line 1, column 14 on"]),
    (f"{FILE} --init DIR/keys.json", ["keys.json", '"means"']),
    (f"{FILE} --init DIR/list.json", ["list.json", "is [1, 2]", "an object with weights, means is needed"]),
    (f"{FILE} --init DIR/text.json", ['text.json\': weights[0] is "0.5"', "a number is needed"]),
    (f"{FILE} --init DIR/more.json", ["more.json", 'a field "covariances"', "the fields are weights, means"]),
    (f"{FILE} --init DIR/huge.json", ["huge.json': means[0][0] is 1000", "float64 does not hold it"]),
    (f"{FILE} --init DIR/twice.json", ["twice.json", 'the key "means" twice']),
    (f"{FILE} --init DIR/deep.json", ["deep.json", "nested more than 32 deep"]),
    (f"{FILE} --init DIR/percent.json", ["[50.0, 50.0]", "the sum 100", "positive and sum to 1"]),
    (f"{FILE} --init DIR/binary.json", ["binary.json", "0xff"]),
    (f"{FILE} --init DIR/absent.json", ["absent.json", "kmeans++"]),
    ("--data DIR/ok.csv --components 3 --init DIR/good.json", ["has 2 components", "--components is 3"]),
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
def test_bad_input(arguments, fragments, files, em_command):
    before = sorted(files.rglob("*"))
    outputs = ["--export", files / "export", "--json", files / "result.json"]
    outcome = em_command("--layers", 4, *outputs, *arguments.replace("DIR", str(files)).split())
    outcome.assert_refused(*fragments)
    assert sorted(files.rglob("*")) == before
