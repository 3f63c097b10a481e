"""The tensor-power demo in balls (`--precision`): stream, iteration and bounds enclosed, and what these prove."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import log
from typing import Any, Literal

import flint
import numpy as np
from jaxtyping import Shaped

from constructions import ball_evaluation, tensor_power_report
from constructions.algorithms.ball_tensor_power import contract
from constructions.ball_evaluation import BallTransformer
from constructions.balls import ZERO, largest, norm
from constructions.command_line import Progress
from constructions.compiler import lower
from constructions.elementary import exp, expm1, log1p, sinh
from constructions.errors import InputError
from constructions.normalisation import Normalisation
from constructions.number_system import Balls
from constructions.outputs import versions
from constructions.precision import as_json as enclosed
from constructions.precision import ball_bytes, cut_note, decided, exponent, power_of_two, shown, widest
from constructions.relu_networks import inverse_sqrt_error
from constructions.tensor_power_transformer import (
    SIZE_LIMIT,
    Form,
    TensorPowerTransformer,
    encode,
    predict_bytes,
    read_out,
    residual_stream,
)
from constructions.tensors import as_rationals
from constructions.units import in_bytes
from constructions.weights import Array

Status = Literal["holds", "refuted", "undecided", "not applicable", "vacuous"]
SCHEMA = 1
SHOWN = 8
"""Coordinates of a vector on the screen."""
SMALLEST_SCALE = 480
"""The softmax form's scale is at least 2^−480: float64 holds it, its reciprocal and their squares."""


@dataclass(frozen=True, eq=False)
class StepVerdict:
    """One iteration enclosed: the transformer's vector beside the reference's, both from the start."""

    step: int
    vector: Shaped[np.ndarray, " d"]
    reference: Shaped[np.ndarray, " d"]
    difference: flint.arb  # ‖vector − reference‖
    bound: flint.arb  # 0 where the proof says that they are equal
    radius: flint.arb  # the largest in the stream
    status: Status
    reason: str


def scale(bits: int) -> Fraction:
    """S = 2^{−bits/4} for the softmax form: its error is of the order s² = 2^{−bits/2}, and the radii, of the order
    2^{−bits}/s as values of size 1/s are averaged, leave it half as many digits.
    """
    return Fraction(1, 2 ** min(SMALLEST_SCALE, bits // 4))


def demonstrate(
    model: TensorPowerTransformer,
    tensor: np.ndarray,
    start: np.ndarray,
    options: argparse.Namespace,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Run in balls, `say` what is enclosed, and return it for --json.

    Entries of tensor and start count as the decimals that they print, as for --exact.

    Raises
    ------
    InputError
        If a vector that is 0 is to be normalised.
    """
    decimals = [as_rationals(array) for array in (tensor, start)]
    began = time.perf_counter()
    bits, steps = decided(
        options.precision,
        lambda: run(model, *(np.vectorize(Balls().number, otypes=[object])(array) for array in decimals)),
        lambda steps: [step.status for step in steps],
        lambda bits: predicted_bytes(model.form, model.max_dim, len(tensor), bits) <= 2 * SIZE_LIMIT,
        say,
    )
    seconds = time.perf_counter() - began
    with flint.ctx.workprec(bits):
        say(tables(steps, bits, seconds))
        return as_json(model, steps, decimals[1], bits, options)


def require_size(form: Form, max_dim: int, dim: int, bits: int) -> None:
    """Refuse, before any work, weights and stream above twice SIZE_LIMIT."""
    needed = predicted_bytes(form, max_dim, dim, bits)
    if needed > 2 * SIZE_LIMIT:
        raise InputError(
            f"d = {dim} needs {in_bytes(needed)} in balls of {bits} bits, above the limit of "
            f"{in_bytes(2 * SIZE_LIMIT)}: choose a smaller --dim, --max-dim or --precision"
        )


def predicted_bytes(form: Form, max_dim: int, dim: int, bits: int) -> int:
    """Matrices of floats and of references, and three times the stream with a ball for every entry of the tensor."""
    width, copies = residual_stream(max_dim, form).width, 2 if form.twins else 1
    return 2 * predict_bytes(max_dim, form) + 3 * copies * (max_dim * width * 8 + dim**3 * ball_bytes(bits))


def in_balls(model: TensorPowerTransformer) -> BallTransformer:
    """The same description lowered to balls: networks that are not rounded to a float format."""
    form, numbers = model.form, Balls()
    networks = form.normalisation.networks(numbers) if form.normalisation is not None else {}
    layers = form.layers(model.max_dim)
    return ball_evaluation.from_weights(lower(layers, model.transformer.schedule, model.stream, networks, numbers))


def run(model: TensorPowerTransformer, tensor: Array, start: Array) -> tuple[StepVerdict, ...]:
    """Evaluate all layers on balls and judge every step.

    Raises
    ------
    InputError
        If a vector that is 0 is to be normalised.
    """
    dim, per_step, transformer = len(tensor), model.form.layers_per_step, in_balls(model)
    trajectory, limits, excuses = reference(model, tensor, start)
    steps: list[StepVerdict] = []
    stream = ball_evaluation.trace(transformer, encode(model, tensor, start, Balls()))
    with Progress("layer") as progress:
        for done, tokens in enumerate(stream, start=1):
            progress(done, len(transformer.schedule))
            if done % per_step:
                continue
            vector, step = read_out(model, tokens, dim), done // per_step
            exact, bound = trajectory[step], limits[step - 1]
            difference = norm(vector - exact).item()
            status, reason = judge(difference, bound, norm(exact).item(), excuses[step - 1])
            steps.append(StepVerdict(step, vector, exact, difference, bound, widest(tokens), status, reason))
    return tuple(steps)


def reference(
    model: TensorPowerTransformer, tensor: Array, start: Array
) -> tuple[list[Array], list[flint.arb], list[tuple[Status, str]]]:
    """v_0, …, v_L enclosed; for every step a bound of the difference, and why it does not apply ("holds" if it does).

    The bounds are those of exact arithmetic, in balls: 0 for ReLU, softmax_error, norm_error.
    """
    range_, s = model.form.normalisation, model.form.scale
    trajectory, limits, excuses = [start], [], []
    error = np.full(start.shape, ZERO, dtype=object)
    excuse: tuple[Status, str] = ("holds", "")
    limit = ZERO if range_ is None else norm_error(range_, len(tensor))
    for step in range(1, model.steps + 1):
        new = contract(tensor, trajectory[-1], trajectory[-1])
        if s is not None:
            error = softmax_error(tensor, abs(trajectory[-1]), error, Balls().number(s))
            limit = norm(error).item()
        if range_ is not None:
            size = norm(new).item()
            if size.is_zero():
                raise InputError(f"T(I,v,v) is 0 in step {step}; it cannot be normalised")
            if excuse[0] == "holds":
                excuse = _within(range_, size, step)
            new = new / size
        trajectory.append(new)
        limits.append(limit)
        excuses.append(excuse)
    return trajectory, limits, excuses


def _within(range_: Normalisation, size: flint.arb, step: int) -> tuple[Status, str]:
    if size < range_.low or size > range_.high:
        return "not applicable", f"in step {step} |T(I,v,v)| = {shown(size, 5)} leaves the range"
    if not (size >= range_.low and size <= range_.high):
        return "undecided", f"whether |T(I,v,v)| leaves the range in step {step}"
    return "holds", ""


def softmax_error(tensor: Array, v: Array, error: Array, s: flint.arb) -> Array:
    """One step of Remark G.3 in exact arithmetic: e ↦ |T|(e, r) + |T|(v, e_s) + φ|T|(v + e, r), with r = v + e_s.

    |v̂ − v| ≤ e and, as x(1 − tanh(sx)/(sx)) ≤ x(sx)²/3, the stored scalars are off by e_s = e + (v + e)(s(v + e))²/3.
    With Z = s·max|v̂|·max r a product has a factor between 1/cosh Z and sinh(Z)/Z: φ = max(Z²cosh(Z)/6, 2sinh²(Z/2)).
    """
    size, reach = abs(tensor), v + error
    scalar = error + reach * (s * reach) * (s * reach) / 3
    far = v + scalar
    z = s * largest(iter(reach)) * largest(iter(far))
    if not z < 100:  # far beyond what says anything, and e^z would leave even the balls' range a step later
        return np.full(v.shape, flint.arb("inf"), dtype=object)
    half = 2 * sinh(z / 2) * sinh(z / 2)  # cosh Z − 1
    factor = (z * z * (half + 1) / 6).max(half)
    return contract(size, error, far) + contract(size, v, scalar) + factor * contract(size, reach, far)


def norm_error(range_: Normalisation, dim: int) -> flint.arb:
    """|‖v̂‖ − 1| ≤ max(1 − (1 + dδ_sq/t_0)^{−1/2}, κ(r)): Normalisation.norm_errors for the knots as they are, enclosed.

    In exact arithmetic the direction is that of T(I,v,v), whatever ‖v‖: nothing accumulates (Remark G.2). Knots are
    t_0 = c²/2 to 2C² up to a rounding of their logarithms, far inside the factor 2 that they have to spare.
    """
    numbers = Balls()
    low, high = (numbers.number(end) for end in (2 * log(range_.low) - log(2), 2 * log(range_.high) + log(2)))  # knots
    chord = numbers.number(range_.radius) / range_.pieces
    excess = dim * chord * chord / 4 / exp(low)
    r = (high - low) / range_.segments
    return (-expm1(-log1p(excess) / 2)).max(inverse_sqrt_error(r))


def judge(difference: flint.arb, bound: flint.arb, size: flint.arb, excuse: tuple[Status, str]) -> tuple[Status, str]:
    """What the enclosures prove of one step, of a reference of length `size`.

    A bound of 0 claims an equality, which balls can show only to their radius: that the two agree to half of the
    precision's digits of |v| counts as holding; the reason says to how many they do.
    """
    if excuse[0] != "holds":
        return excuse
    if bound.is_zero():
        if difference > bound:
            return "refuted", "the vectors differ"
        if difference.is_zero():
            return "holds", "equal exactly"
        agree = exponent(difference / size)
        if agree is None or not agree <= -flint.ctx.prec // 2:
            return "undecided", f"at {flint.ctx.prec} bits; --exact can tell"
        return "holds", f"equal to within 2^{agree} |v|"
    if difference > bound:
        return "refuted", "the difference exceeds the bound"
    if bound >= size:
        return "vacuous", "the zero vector would meet the bound"
    if difference <= bound and bound < size:
        return "holds", ""
    return "undecided", f"at {flint.ctx.prec} bits"


def tables(steps: Sequence[StepVerdict], bits: int, seconds: float) -> str:
    """Steps with bounds, then the vectors side by side, all as enclosures."""
    lines = [
        f"run           {seconds:.2f} s in balls of {bits} bits",
        "",
        "iteration by iteration: the transformer's vector against the reference from the same start, enclosed",
        f"step  {'|v|':>26s}  {'|difference|':>26s}  {'<= bound':>26s}   {'radius':9s}  verdict",
    ]
    for step in steps:
        lines.append(
            f"{step.step:4d}  {shown(norm(step.reference).item(), 5):>26s}  {shown(step.difference, 5):>26s}  "
            f"{shown(step.bound, 5):>26s}   <= {power_of_two(step.radius):6s}  {step.status}"
            + (f": {step.reason}" if step.reason else "")
        )
    lines.append("  (radius: the largest in the stream after the step)")
    rows = [(shown(x), shown(y)) for x, y in zip(steps[-1].vector, steps[-1].reference, strict=True)]
    column = max(len(row[0]) for row in rows)
    lines += ["", f"{'':5s}{'transformer':{column}s}  reference"]
    lines += [f"v_{a:<3d}{ours:{column}s}  {theirs}" for a, (ours, theirs) in enumerate(rows[:SHOWN], start=1)]
    return "\n".join(lines + (["…"] if len(rows) > SHOWN else []) + cut_note())


def as_json(
    model: TensorPowerTransformer,
    steps: Sequence[StepVerdict],
    start: np.ndarray,
    bits: int,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """The keys of a float run's result (tensor_power_report.as_json), with an enclosure where that has a number.

    An enclosure is {"mid", "rad", "text"} (precision.as_json). "precision": the bits asked for, and those that the
    result has. "stream_radius" is a power of two that no radius in the stream exceeds. The start is in rationals.
    """
    final = steps[-1]
    entry = tensor_power_report.construction_entry(model)
    return {
        "schema": SCHEMA,
        "versions": versions("python-flint"),
        "precision": {"given": options.precision, "used": bits},
        "vector": [enclosed(value) for value in final.vector],
        "reference": [enclosed(value) for value in final.reference],
        "difference": enclosed(final.difference),
        "bound": enclosed(final.bound),
        "status": final.status,
        "steps": [
            {
                "step": step.step,
                "difference": enclosed(step.difference),
                "bound": enclosed(step.bound),
                "stream_radius": power_of_two(step.radius),
                "status": step.status,
                "reason": step.reason,
            }
            for step in steps
        ],
        "rest_on": [row for row in tensor_power_report.RESTS_ON[model.form.name] if row != "tensor-rounding"],
        "tensor": {"name": options.tensor, "dim": len(final.vector)},
        "start": [str(value) for value in start],
        "construction": entry["name"],
        "scale": entry["scale"],
        "normalisation": entry["normalisation"],
        "max_dim": model.max_dim,
        "layers": options.layers,
        "seed": options.seed,
    }
