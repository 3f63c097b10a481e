"""Input at the ends of what floats, files and memory hold: one sentence, exit code 2, nothing written."""

import numpy as np
import pytest


@pytest.fixture
def files(tmp_path):
    ok = np.round(np.random.default_rng(1).standard_normal((3, 3, 3)), 2)
    cancel = np.zeros((3, 3, 3))
    cancel[0, 0, 0], cancel[0, 1, 1] = 1e308, -1e308
    arrays = {
        "ok": ok, "v": np.array([0.5, -0.25, 0.75]), "two": np.ones((2, 3)), "row": np.ones((1, 3)),
        "scalar": np.array(3.0), "huge": np.full((3, 3, 3), 1.7e308), "ones": np.ones(3), "cancel": cancel,
        "tiny_v": np.full(3, 1e-200), "max_v": np.full(3, 1.7e308),
        "down": np.full((1, 1, 1), 1e-100), "up": np.full(1, 1e160),
    }  # fmt: skip
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    whole = (tmp_path / "ok.npy").read_bytes()
    (tmp_path / "header.npy").write_bytes(whole.replace(b"(3, 3, 3)", b"(3, 3, (3"))
    (tmp_path / "vast.npy").write_bytes(whole.replace(b"(3, 3, 3), }        ", b"(30000,30000,30000)}"))
    return tmp_path


BIG = "9" * 400
CASES = [
    ("--tensor DIR/ok.npy --start DIR/two.npy", ["start has shape (2, 3)"]),
    ("--tensor DIR/ok.npy --start DIR/row.npy", ["start has shape (1, 3)"]),
    ("--tensor DIR/scalar.npy", ["shape ()", "d×d×d"]),
    ("--tensor DIR/header.npy", ["header.npy", "is not an array of numbers"]),
    ("--tensor DIR/vast.npy", ["vast.npy"]),
    ("--normalise 1e-170 1e-169", ["1e-170", "--normalise"]),
    ("--normalise 5e-324 1e-323", ["4.94066e-324", "--normalise"]),
    (f"--max-dim {BIG}", ["d0 = 999", "--max-dim"]),
    (f"--max-dim {BIG} --normalise 1 2", ["--max-dim"]),
    (f"--max-dim {BIG} --attention softmax", ["--max-dim"]),
    ("--tensor DIR/huge.npy --start DIR/ones.npy", ["step 1", "float64"]),
    ("--tensor DIR/cancel.npy --start DIR/ones.npy", ["step 1", "float64"]),
    ("--tensor DIR/huge.npy --start DIR/tiny_v.npy", ["step 1", "float64"]),
    ("--tensor DIR/ok.npy --start DIR/max_v.npy", ["step 1", "float64"]),
    ("--layers 2 --tensor DIR/down.npy --start DIR/up.npy", ["step 1", "float64"]),
    ("--tensor DIR/huge.npy --start DIR/ones.npy --normalise 0.1 10", ["step 1"]),
    ("--tensor DIR/ok.npy --start DIR/max_v.npy --normalise 0.1 10", ["step 1"]),
]


@pytest.mark.parametrize(("arguments", "fragments"), CASES, ids=[arguments[:60] for arguments, _ in CASES])
def test_bad_input(arguments, fragments, files, tensor_command):
    before = sorted(files.rglob("*"))
    outputs = ["--export", files / "export", "--json", files / "result.json"]
    outcome = tensor_command("--layers", 4, *outputs, *arguments.replace("DIR", str(files)).split())
    outcome.assert_refused(*fragments)
    assert "magnitude of 1.0e+0," not in outcome.err
    assert "samples" not in outcome.err
    assert sorted(files.rglob("*")) == before
