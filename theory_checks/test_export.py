"""Weights are data: ten lines of numpy on the exported file give the transformer's output."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from safetensors import safe_open

from constructions import em_command
from constructions.bounds import gamma
from theory_checks.ledger import Verdict, compare, statement

Evaluate = Callable[[dict[str, np.ndarray], list[int], np.ndarray], np.ndarray]


def literal(tensors: dict[str, np.ndarray], schedule: list[int], h: np.ndarray) -> np.ndarray:
    """Definitions 4-8 for softmax attention and an MLP in every layer."""
    for layer in schedule:
        update = np.zeros_like(h)
        heads = len([name for name in tensors if name.startswith(f"layers.{layer}.attention.") and "query" in name])
        for m in range(heads):
            q, k, v, o = (tensors[f"layers.{layer}.attention.{m}.{n}"] for n in ("query", "key", "value", "output"))
            scores = (h @ q.T) @ (h @ k.T).T
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            update += weights / weights.sum(axis=1, keepdims=True) @ (h @ v.T) @ o.T
        h = h + update
        h = h + np.maximum(h @ tensors[f"layers.{layer}.mlp.w1"].T, 0) @ tensors[f"layers.{layer}.mlp.w2"].T
    return h


@statement("export", source="Definitions 4-8, the weights file", text="ours", evidence="sampled")
def export(rng: np.random.Generator, *, evaluate: Evaluate = literal) -> Iterator[Verdict]:
    """The exported file evaluated by Definitions 4–8 in numpy reproduces the exported output, up to rounding.

    The allowance is the a-priori one of a sum of D′ terms, relative to the largest number in the stream, for every
    layer run; the softmax of N scores of size S adds γ_N + 4S units.
    """
    cases = (
        "--data iris --tolerance 0.5",
        "--data wine --tolerance 0.5 --dtype float32",
        "--data synthetic --samples 301 --separation 2 --construction paper --radius 6 --tolerance 2 --max-dim 3",
    )
    for options in cases:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            assert em_command.main(["--layers", "4", "--export", f"{folder}/out", *options.split()]) == 0
            out = Path(folder, "out")
            with safe_open(out / "transformer.safetensors", framework="np") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
                schedule = json.loads(file.metadata()["construction"])["schedule"]
            given, expected = np.load(out / "input.npy"), np.load(out / "output.npy")
        unit = float(np.finfo(expected.dtype).eps / 2)
        found = evaluate(tensors, schedule, given)
        hidden = max(len(tensor) for name, tensor in tensors.items() if name.endswith("w1"))
        scale = float(np.abs(given).max()) ** 2 * given.shape[1]
        size = float(max(np.abs(expected).max(), np.abs(given).max(), 1.0))
        allowance = len(schedule) * size * (gamma(hidden + len(given), unit) * 4 + 8 * scale * unit)
        yield compare(float(np.abs(found - expected).max()), allowance, options)


def _wrapped(change: Callable[[np.ndarray], np.ndarray], name: str) -> Evaluate:
    return lambda tensors, schedule, h: literal(
        {key: change(tensor) if key.endswith(name) else tensor for key, tensor in tensors.items()}, schedule, h
    )


export.control("1/sqrt(d) slipped into the scores", evaluate=_wrapped(lambda q: q / np.sqrt(q.shape[0]), "query"))
export.control("scores x 1.5", evaluate=_wrapped(lambda q: 1.5 * q, "query"))
export.control("layers in the wrong order", evaluate=lambda tensors, schedule, h: literal(tensors, schedule[::-1], h))
export.control("one layer too few", evaluate=lambda tensors, schedule, h: literal(tensors, schedule[:-1], h))
export.control("a relative 1e-4 in one MLP", evaluate=_wrapped(lambda w: w * (1 + 1e-4), "0.mlp.w2"))
test_export, test_export_controls = export.tests()
