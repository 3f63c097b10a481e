"""Weights are data: ten lines of numpy on the exported file give the transformer's output."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

from constructions import bounds, em_command, rounding_error, tensor_power_command
from constructions.em_class import Approximation
from theory_checks.ledger import Verdict, compare, require, statement

Tensors = dict[str, np.ndarray]
Evaluate = Callable[[Tensors, list[str], list[int], np.ndarray], np.ndarray]


def literal(tensors: Tensors, activation: list[str], schedule: list[int], h: np.ndarray) -> np.ndarray:
    """Definitions 4-8; `activation` names that of every stored layer."""
    for layer in schedule:
        update = np.zeros_like(h)
        heads = len([name for name in tensors if name.startswith(f"layers.{layer}.attention.") and "query" in name])
        for m in range(heads):
            q, k, v, o = (tensors[f"layers.{layer}.attention.{m}.{n}"] for n in ("query", "key", "value", "output"))
            scores = (h @ q.T) @ (h @ k.T).T
            if activation[layer] == "relu":
                weights = np.maximum(scores, 0) / len(h)
            else:
                weights = np.exp(scores - scores.max(axis=1, keepdims=True))
                weights /= weights.sum(axis=1, keepdims=True)
            update += weights @ (h @ v.T) @ o.T
        h = h + update
        if f"layers.{layer}.mlp.w1" in tensors:
            h = h + np.maximum(h @ tensors[f"layers.{layer}.mlp.w1"].T, 0) @ tensors[f"layers.{layer}.mlp.w2"].T
    return h


def stored(path: Path) -> tuple[Tensors, dict]:
    """The matrices of a weights file and what it says of itself."""
    with safe_open(path, framework="np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        return tensors, json.loads(file.metadata()["construction"])


@statement(
    "export", source="Definitions 4-8, the weights file", text="ours", evidence="sampled", depends_on=("rounding",)
)
def export(rng: np.random.Generator, *, evaluate: Evaluate = literal) -> Iterator[Verdict]:
    """The exported file evaluated by Definitions 4–8 in numpy gives the exported output, EM step by EM step.

    Both evaluations make one step from the same tokens, each within the rounding allowance of the exact step: means
    and log weights differ by at most twice that; what the layers copy or clear is equal.
    """
    cases = (
        "--data iris --tolerance 0.5",
        "--data wine --tolerance 0.5 --dtype float32",
        "--data synthetic --samples 301 --separation 2 --construction paper --radius 6 --tolerance 2 --max-dim 3",
    )
    for options in cases:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            for steps in (1, 2):
                arguments = ["--layers", str(2 * steps), "--export", f"{folder}/{steps}", *options.split()]
                assert em_command.main(arguments) == 0
            tensors, construction = stored(Path(folder, "2", "transformer.safetensors"))
            result = json.loads(Path(folder, "2", "result.json").read_text())
            stages = [np.load(Path(folder, name)) for name in ("2/input.npy", "1/output.npy", "2/output.npy")]
        schedule, activation = construction["schedule"], construction["activation"]
        for step, (before, after) in enumerate(pairwise(stages), start=1):
            found = evaluate(tensors, activation, schedule[2 * step - 2 : 2 * step], before)
            yield from _judge_step(construction, result, before, after, found, f"{options}, step {step}")
        found = evaluate(tensors, activation, schedule, stages[0])
        same = np.array_equal(
            found[:, slice(*construction["layout"]["x"])], stages[0][:, slice(*construction["layout"]["x"])]
        )
        yield require(same and found.shape == stages[2].shape, f"{options}: the samples pass through all layers")


def _judge_step(
    construction: dict, result: dict, before: np.ndarray, after: np.ndarray, found: np.ndarray, name: str
) -> Iterator[Verdict]:
    """Compare two evaluations of one EM step subspace by subspace."""
    where = {key: slice(*span) for key, span in construction["layout"].items()}
    approximation = Approximation(**construction["approximation"])
    dim, k = result["data"]["dim"], len(result["weights"])
    x = before[:, where["x"]][:, :dim].astype(float)
    entering = before[:, where["mu"]][:, :dim].astype(float)
    mu, pi = after[:, where["mu"]], after[0, where["pi"]][:k]
    initial = np.exp(before[0, where["log_pi"]][:k].astype(float))
    diameter, _ = bounds.diameter(x)
    dtype = torch.float64 if after.dtype == np.float64 else torch.float32
    once = rounding_error.allowance(approximation, x, entering, float(min(pi.min(), initial.min())), diameter, dtype)
    mean, log_weight = 2 * once.mean, 2 * once.log_weight

    off = np.linalg.norm((found[:, where["mu"]] - mu).astype(float), axis=1).max()
    yield compare(float(off), mean, f"{name}: mu", trivial=diameter)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.abs(np.log(found[:, where["pi"]][:, :k].astype(float)) - np.log(pi.astype(float))).max()
    yield compare(float(ratio), log_weight, f"{name}: pi")
    # The log network's slope times its argument is at most 1 + r; its own rounding is in log_weight already.
    off = np.abs((found[:, where["log_pi"]] - after[:, where["log_pi"]]).astype(float)).max()
    yield compare(float(off), (2 + approximation.chord_width) * log_weight, f"{name}: log_pi")
    # |φ(a) − φ(b)| ≤ (|a| + |b| + h)|a − b|, summed over coordinates by Cauchy-Schwarz.
    reach = 2 * (np.linalg.norm(mu.astype(float), axis=1).max() + mean)
    reach += np.sqrt(dim) * approximation.radius / approximation.pieces
    off = np.abs((found[:, where["sq_norm"]] - after[:, where["sq_norm"]]).astype(float)).max()
    yield compare(float(off), float(reach) * mean + 2 * log_weight, f"{name}: sq_norm")
    for key in ("x", "w", "log_w", "one", "component"):
        yield require(np.array_equal(found[:, where[key]], after[:, where[key]]), f"{name}: {key} is equal")


def _wrapped(change: Callable[[np.ndarray], np.ndarray], name: str) -> Evaluate:
    return lambda tensors, activation, schedule, h: literal(
        {key: change(t) if key.endswith(name) else t for key, t in tensors.items()}, activation, schedule, h
    )


def _rescheduled(change: Callable[[list[int]], list[int]]) -> Evaluate:
    return lambda tensors, activation, schedule, h: literal(tensors, activation, change(schedule), h)


WRONG_ORDER, TOO_FEW = _rescheduled(lambda schedule: schedule[::-1]), _rescheduled(lambda schedule: schedule[:-1])
export.control("1/sqrt(d) slipped into the scores", evaluate=_wrapped(lambda q: q / np.sqrt(q.shape[0]), "query"))
export.control("scores x 1.5", evaluate=_wrapped(lambda q: 1.5 * q, "query"))
export.control("layers in the wrong order", evaluate=WRONG_ORDER)
export.control("one layer too few", evaluate=TOO_FEW)
export.control("a relative 1e-6 in the values", evaluate=_wrapped(lambda w: w * (1 + 1e-6), "value"))
test_export, test_export_controls = export.tests()


@statement(
    "tensor-export",
    source="Definitions 4-8, the weights file of the tensor-power transformer",
    text="ours",
    evidence="sampled",
    depends_on=("tensor-rounding", "remark-g2", "remark-g3"),
)
def tensor_export(rng: np.random.Generator, *, evaluate: Evaluate = literal) -> Iterator[Verdict]:
    """The exported file evaluated by Definitions 4–8 in numpy gives the reference's vector within the printed bound
    and the exported output within twice that; slice, one and basis pass through, scalar and new are cleared.
    """
    cases = (
        "--layers 6",
        "--layers 4 --dim 3 --attention-only --dtype float32",
        "--layers 4 --dim 7 --tensor orthogonal --dtype float32",
        "--layers 8 --dim 2 --tensor orthogonal --normalise 0.3 3",
        "--layers 4 --dim 3 --attention softmax",
    )
    for options in cases:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            assert tensor_power_command.main([*options.split(), "--export", f"{folder}/run"]) == 0
            tensors, construction = stored(Path(folder, "run", "transformer.safetensors"))
            result = json.loads(Path(folder, "run", "result.json").read_text())
            before, after = (np.load(Path(folder, "run", name)) for name in ("input.npy", "output.npy"))
        found = evaluate(tensors, construction["activation"], construction["schedule"], before)
        where = {key: slice(*span) for key, span in construction["layout"].items()}
        vector = found[0, where["vec"]][: result["tensor"]["dim"]]
        off = float(np.linalg.norm(vector - np.array(result["reference"])))
        yield compare(off, result["bound"], f"{options}: against the reference", trivial=1.0)
        off = float(np.linalg.norm((found - after)[0, where["vec"]]))
        yield compare(off, 2 * result["bound"], f"{options}: against the output", trivial=1.0)
        for key in ("slice", "one", "basis"):
            yield require(np.array_equal(found[:, where[key]], before[:, where[key]]), f"{options}: {key} is equal")
        for key in ("scalar", "new"):
            if key in where and "attention-only" not in options:
                yield require(not found[:, where[key]].any(), f"{options}: {key} is cleared")


tensor_export.control("scores x 1.5", evaluate=_wrapped(lambda q: 1.5 * q, "query"))
tensor_export.control("relu not divided by N", evaluate=_wrapped(lambda v: 8 * v, "value"))
tensor_export.control("one layer too few", evaluate=TOO_FEW)
tensor_export.control("layers in the wrong order", evaluate=WRONG_ORDER)
tensor_export.control("slices transposed", evaluate=lambda t, a, s, h: literal(t, a, s, _transposed(h)))


def _transposed(h: np.ndarray) -> np.ndarray:
    """Slices T[:, j, m] with a and j exchanged, for d_0 = 8 in the first 64 coordinates."""
    swapped = h.copy()
    swapped[:, :64] = h[:, :64].reshape(len(h), 8, 8).swapaxes(1, 2).reshape(len(h), 64)
    return swapped


test_tensor_export, test_tensor_export_controls = tensor_export.tests()
