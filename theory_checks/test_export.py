"""Weights are data: ten lines of numpy on the exported file give the transformer's output."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from constructions import bounds, claims, em_command, rounding_error, tensor_power_command
from constructions.em_class import Approximation
from constructions.errors import InputError
from theory_checks import verify
from theory_checks.ledger import Outcome, Verdict, compare, require, statement

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
    "export",
    source="Definitions 4-8, the weights file",
    text="ours",
    evidence="sampled",
    depends_on=("rounding",),
    rounding=True,
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


Tamper = Callable[[Path], None]
Command = Callable[[list[str]], int]
RUNS: tuple[tuple[Command, str], ...] = (
    (em_command.main, "--layers 6 --samples 30 --tolerance 0.5 --max-dim 4 --max-components 3"),
    (em_command.main, "--layers 2 --samples 30 --tolerance 0.5 --max-dim 4 --max-components 3 --dtype float32"),
    (tensor_power_command.main, "--layers 4 --dim 3 --max-dim 5"),
)


@cache
def exported(command: Command, options: str) -> dict[str, bytes]:
    """The files that a command exports."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        assert command([*options.split(), "--export", f"{folder}/run"]) == 0
        return {path.name: path.read_bytes() for path in Path(folder, "run").iterdir()}


def as_it_is(folder: Path) -> None:
    """The export that is written."""


def foreign(folder: Path) -> None:
    """A head without scores, written by hand and sealed: in a layer every token gets the mean, which doubles."""
    folder.mkdir()
    parts = zip(
        ("query", "key", "value", "output"), (np.zeros((1, 2)), np.zeros((1, 2)), np.eye(2), np.eye(2)), strict=True
    )
    construction = json.dumps({"format": 1, "schedule": [0, 0], "activation": ["softmax"]})
    tensors = {f"layers.0.attention.0.{name}": matrix for name, matrix in parts}
    save_file(tensors, folder / "transformer.safetensors", metadata={"construction": construction})
    np.save(folder / "input.npy", np.array([[1.0, 2], [4, 0], [1, 1]]))
    entry = {"name": "token 1 + 3 means", "tokens": [1], "reference": [[10, 3]], "bound": 1e-12}
    (folder / "claims.json").write_text(json.dumps({"format": 1, "claims": [entry]}))
    claims.seal(folder)


@statement(
    "verify",
    source="Definitions 4-8, claims.json",
    text="ours",
    evidence="certified",
    depends_on=("ball-evaluation",),
)
def verify_exports(
    rng: np.random.Generator, *, tamper: Tamper = as_it_is, seal: Tamper = claims.seal
) -> Iterator[Verdict]:
    """What the listed exports state of input, output, read-out and bound is true of the exact function of their
    weights, which balls enclose; `verify` sees it where it is false, and any other change by the checksums.
    """
    with tempfile.TemporaryDirectory() as top:
        for number, (command, options) in enumerate(RUNS):
            Path(top, str(number)).mkdir()
            for name, content in exported(command, options).items():
                Path(top, str(number), name).write_bytes(content)
        foreign(Path(top, "foreign"))
        for folder in sorted(Path(top).iterdir()):
            tamper(folder)
            seal(folder)
            try:
                export = claims.read_export(folder)
            except InputError as error:
                yield Verdict("refuted", f"{folder.name}: {error}")
                continue
            yield require(export.sealed > 0, f"{folder.name}: is sealed")
            for found in verify.verify(export.transformer, export.claims):
                outcome: Outcome = "refuted" if found.verdict == "false" else found.verdict
                if outcome == "holds" and found.evidence == "sampled":
                    outcome = "undecided"
                yield Verdict(outcome, f"{folder.name}: {found.name}", found.slack, found.bits)


def _scaled(name: str, factor: float) -> Tamper:
    """One tensor of the EM exports times a factor."""

    def change(folder: Path) -> None:
        tensors, construction = stored(folder / "transformer.safetensors")
        if name in tensors and folder.name in ("0", "1"):
            tensors[name] = factor * tensors[name]
            metadata = {"construction": json.dumps(construction)}
            save_file(tensors, folder / "transformer.safetensors", metadata=metadata)

    return change


def _moved(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Tamper:
    """Another array in a file, where there is such a file."""

    def replace(folder: Path) -> None:
        if (folder / name).is_file():
            np.save(folder / name, change(np.load(folder / name)))

    return replace


def _unused_weight(folder: Path) -> None:
    """The last number of the weights file moved by one unit in the last place: no claim need reach it."""
    path = folder / "transformer.safetensors"
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)


def _lowered(folder: Path) -> None:
    """Bounds of a millionth."""
    content = json.loads((folder / "claims.json").read_text())
    for entry in content["claims"]:
        entry["bound"] = (1e-6 * np.array(entry["bound"])).tolist()
    (folder / "claims.json").write_text(json.dumps(content))


verify_exports.control("a query times 1.5", tamper=_scaled("layers.0.attention.0.query", 1.5))
verify_exports.control("a relative 1e-6 in the values", tamper=_scaled("layers.1.attention.0.value", 1 + 1e-6))
verify_exports.control("the output moved by 1e-9", tamper=_moved("output.npy", lambda h: h + 1e-9))
verify_exports.control(
    "the read-out shifted by one token", tamper=_moved("pooling.npy", lambda w: np.roll(w, 1, axis=1))
)
verify_exports.control("a millionth of the bounds", tamper=_lowered)
verify_exports.control("one weight by one unit in the last place", tamper=_unused_weight, seal=as_it_is)
test_verify, test_verify_controls = verify_exports.tests()
