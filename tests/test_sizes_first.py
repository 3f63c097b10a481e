"""Every size is judged before data are drawn or read, and before anything is printed."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from constructions import em_command, em_precision, spectral_command, tensor_power_demo

REFUSED = [
    ("em", "--layers 2 --data synthetic --dim 4096 --samples 10 --radius 99", "limit of 2 GiB"),
    ("em", "--layers 2 --data synthetic --dim 90 --samples 10 --precision 65536", "GiB in balls of 65536 bits"),
    ("em", "--layers 2 --data synthetic --samples 90000000 --precision 64", "GiB in balls of 64 bits"),
    ("em", "--layers 2 --data digits --max-dim 4096", "limit of 2 GiB"),
    ("em", "--layers 2 --data wine --max-dim 4096 --precision 64", "limit of 2 GiB"),
    ("em", "--layers 2 --data DIR/samples.csv --components 4096", "limit of 2 GiB"),
    ("tensor", "--layers 2 --dim 100", "d0 = 100 needs"),
    ("tensor", "--layers 2 --max-dim 128 --tensor orthogonal", "d0 = 128 needs"),
    ("tensor", "--layers 2 --dim 60 --precision 65536", "d = 60 needs"),
    ("tensor", "--layers 4 --dim 5 --normalise 5e-4 1", "limit of 1 GiB"),
    ("tensor", "--layers 34 --exact", "rationals of about 1.6e+5 digits"),
    ("tensor", "--layers 10000 --exact", "rationals of about 1.7e+1505 digits"),
    ("spectral", "--data synthetic --dim 256 --samples 2000000", "--samples is 2000000"),
    ("spectral", "--data synthetic --dim 257", "--dim is 257"),
    ("spectral", "--components 33", "--components is 33"),
    ("spectral", "--iterations 1001", "--iterations is 1001"),
]


@pytest.mark.parametrize(("demo", "words", "said"), REFUSED, ids=lambda value: value)
def test_what_is_too_large_is_refused_at_once(demo, words, said, request, monkeypatch, tmp_path: Path) -> None:
    command = request.getfixturevalue(f"{demo}_command")
    (tmp_path / "samples.csv").write_text("1,2\n3,4\n")
    generator = np.random.Generator(np.random.PCG64(7))
    with monkeypatch.context() as patched:
        patched.setattr(np.random, "default_rng", lambda seed: generator)
        patched.setattr(em_precision, "decided", lambda *_: pytest.fail("run before the size was judged"))
        for module in (em_command, spectral_command):
            for load in ("load_bundled", "load_file"):
                patched.setattr(module, load, lambda *_, **__: pytest.fail("read before the size was judged"))
        patched.setattr(tensor_power_demo, "build", lambda *_: pytest.fail("built before the size was judged"))
        began = time.process_time()
        outcome = command(*words.replace("DIR", str(tmp_path)).split())
        assert time.process_time() - began < 2
    assert outcome.out == ""
    outcome.assert_refused(said)
    assert generator.bit_generator.state == np.random.PCG64(7).state  # nothing was drawn


def test_what_the_task_alone_tells_is_refused_before_anything_is_printed(tensor_command, em_command, tmp_path) -> None:
    """How long rationals grow, what overflows, a file's own size."""
    np.save(tmp_path / "large.npy", np.full((2, 2, 2), 1e300))
    np.save(tmp_path / "start.npy", np.full(2, 1e20))
    np.savetxt(tmp_path / "wide.csv", np.zeros((2, 3000)), delimiter=",")
    large = "--tensor", tmp_path / "large.npy", "--start", tmp_path / "start.npy"
    for outcome, said in (
        (tensor_command("--layers", 30, "--exact"), "--exact with --layers 30 needs rationals of about 4.0e+5 digits"),
        (tensor_command("--layers", 2, *large), "step 1 reaches a magnitude of 4.0e+340"),
        (tensor_command("--layers", 2, *large, "--dtype", "float32"), "beyond the largest number of float32"),
        (em_command("--layers", 2, "--components", 1, "--data", tmp_path / "wide.csv"), "limit of 2 GiB"),
    ):
        assert outcome.out == ""
        outcome.assert_refused(said)


def test_what_is_accepted_is_drawn_and_read(em_command, tensor_command) -> None:
    assert em_command("--layers", 2).out.startswith("data          iris")
    assert tensor_command("--layers", 4, "--exact", "--dim", 2).out.startswith("task          tensor random, d = 2")
