"""Shapes are checked at run time, one thread computes, and what several files need.

The library is imported by the fixtures, not here: the process that only distributes the tests does without it.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from jaxtyping import install_import_hook

import theory_checks.runtime_types  # noqa: F401 - the hook looks it up

if TYPE_CHECKING:
    from constructions.algorithms.sampling import Mixture
    from constructions.em_transformer import EmTransformer

install_import_hook(("constructions", "tgmm"), "theory_checks.runtime_types.checked")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


@pytest.fixture(scope="session")
def small_em() -> EmTransformer:
    """One EM step for d ≤ 7, K ≤ 11 (D = 71)."""
    from constructions.em_class import TaskClass, split_tolerance
    from constructions.em_transformer import build

    task_class = TaskClass(max_dim=7, max_components=11, radius=6.0, min_weight=0.02)
    return build(task_class, split_tolerance(task_class, 0.5, "floor"), steps=1)


@pytest.fixture
def task(rng: np.random.Generator) -> tuple[np.ndarray, Mixture]:
    """A task of that class: 23 samples in R³, of which K = 5 components use 20."""
    from constructions.algorithms.sampling import Mixture

    weights = rng.uniform(0.5, 1, size=5)
    return rng.standard_normal((23, 3)), Mixture(weights / weights.sum(), rng.standard_normal((5, 3)))


PROGRESS = r"^[a-z ]+ \d+ of \d+, about \d+ s left\n"  # where a machine is slow: no outcome


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Standard output as JSON, without NaN and Infinity."""
        return json.loads(self.out, parse_constant=pytest.fail)

    def assert_refused(self, *fragments: str) -> None:
        """Exit code 2 and one sentence that has the fragments."""
        assert self.code == 2
        assert self.err.startswith("error: ")
        assert self.err.count("\n") == 1
        assert self.err.endswith("\n")
        for fragment in fragments:
            assert fragment in self.err


Command = Callable[..., Outcome]


def in_process(main: Callable[[list[str]], int], capfd: pytest.CaptureFixture[str]) -> Command:
    """A command without a process of its own."""

    def run(*arguments: object) -> Outcome:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Outcome(code, out, re.sub(PROGRESS, "", err, flags=re.MULTILINE))

    return run


@pytest.fixture
def em_command(capfd: pytest.CaptureFixture[str]) -> Command:
    """`em_command("--layers", 6)` runs the demo in this process."""
    from constructions.em_command import main

    return in_process(main, capfd)


@pytest.fixture
def tensor_command(capfd: pytest.CaptureFixture[str]) -> Command:
    """`tensor_command("--layers", 6)` runs the tensor-power demo in this process."""
    from constructions.tensor_power_command import main

    return in_process(main, capfd)


@pytest.fixture
def spectral_command(capfd: pytest.CaptureFixture[str]) -> Command:
    """`spectral_command("--data", "wine")` runs the spectral demo in this process."""
    from constructions.spectral_command import main

    return in_process(main, capfd)


@pytest.fixture
def csv(tmp_path: Path, rng: np.random.Generator) -> Path:
    """53 samples in R² around two centres, within radius 3, under a header."""
    path = tmp_path / "samples.csv"
    centres = np.array([[-0.9, 0.3], [0.8, -0.4]])
    samples = centres[rng.integers(2, size=53)] + 0.4 * rng.standard_normal((53, 2))
    np.savetxt(path, samples, delimiter=",", header="a,b", comments="", fmt="%.17g")
    return path


@pytest.fixture(scope="session")
def saved_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few fast checks, one of them refuted, saved by the command itself."""
    from theory_checks.__main__ import main

    path = tmp_path_factory.mktemp("run") / "run.json"
    assert main(["p2", "lemma-f6", "m-step-entering-weight", "--json", str(path)]) == 0
    return path
