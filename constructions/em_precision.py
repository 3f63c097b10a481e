"""The EM demo in balls (`--precision`): weights, layers, exact EM and bounds enclosed, and what these prove."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import flint
import numpy as np
import torch
from jaxtyping import Float

from constructions import contraction_report, em_enclosure, em_report
from constructions.algorithms import ball_em
from constructions.algorithms.sampling import Mixture
from constructions.ball_evaluation import BLOCK
from constructions.balls import largest, norm, to_balls
from constructions.command_line import Progress
from constructions.datasets import Dataset
from constructions.em_class import Approximation, TaskClass
from constructions.em_enclosure import BallEm, Parameters, StepEnclosure, moved
from constructions.em_transformer import SIZE_LIMIT, PredictedSize, predict_size, residual_stream
from constructions.errors import InputError
from constructions.outputs import versions
from constructions.precision import as_json as enclosed
from constructions.precision import ball_bytes, cut_note, decided, exponent, power_of_two, shown, widest
from constructions.run_warnings import at_rest, em_warnings, how_far, vacuous_warning
from constructions.units import in_bytes
from constructions.weights import Array

Status = Literal["holds", "refuted", "undecided", "not applicable", "vacuous"]
SCHEMA = 1
SHOWN = 5
"""Coordinates of a mean on the screen."""


@dataclass(frozen=True, eq=False)
class StepVerdict:
    """One EM step enclosed, beside exact EM from the start, and what the enclosures prove."""

    enclosure: StepEnclosure
    reference: Parameters  # as many exact EM steps from the start
    radius: flint.arb  # the largest in the stream after the step
    status: Status
    reason: str

    @property
    def mean_error(self) -> flint.arb:
        """max_k ‖μ̂_k − μ_k⁺‖."""
        return largest(iter(self.enclosure.mean_errors))

    @property
    def mean_bound(self) -> flint.arb:
        """The largest of the components' bounds."""
        return largest(iter(self.enclosure.mean_bounds))


@dataclass(frozen=True, eq=False)
class BallRun:
    """All steps in balls of one precision, from a start, and the diameter of the samples used."""

    start: Parameters
    steps: tuple[StepVerdict, ...]
    samples_used: int
    diameter: flint.arb

    @property
    def last(self) -> tuple[Parameters, Parameters]:
        """The transformer's parameters before and after the last step."""
        entering = self.steps[-2].enclosure.estimate if len(self.steps) > 1 else self.start
        return entering, self.steps[-1].enclosure.estimate


def demonstrate(
    data: Dataset,
    start: Mixture,
    task_class: TaskClass,
    approximation: Approximation,
    options: argparse.Namespace,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Run in balls, `say` what is enclosed, and return it for --json.

    Raises
    ------
    InputError
        If weights and stream would exceed SIZE_LIMIT, or the task leaves the class.
    """

    def needed(bits: int) -> int:
        return predict_bytes(task_class, approximation, data.samples.shape, len(start.means), bits)

    size = require_fit(task_class, approximation, data.samples.shape, len(start.means), options.precision)
    weights = replace(size, bytes=weight_bytes(size, options.precision))
    say(em_report.preamble(data, len(start.means), task_class, approximation, weights, options))
    began = time.perf_counter()
    bits, result = decided(
        options.precision,
        lambda: run(em_enclosure.build(task_class, approximation, options.layers // 2), data.samples, start),
        lambda result: [step.status for step in result.steps],
        lambda bits: needed(bits) <= SIZE_LIMIT,
        say,
    )
    seconds = time.perf_counter() - began
    found = contraction_report.seek(data.samples[: result.samples_used], start, task_class, approximation)
    estimates = [step.enclosure.estimate for step in result.steps]
    with flint.ctx.workprec(bits):
        say(
            "\n".join(
                [
                    tables(result, data, options.tolerance, bits, seconds),
                    "",
                    *contraction_report.describe(found, estimates),
                ]
            )
        )
        content = as_json(result, data, start, task_class, approximation, bits, options)
        content["bounds"]["final"] = contraction_report.as_json(found, estimates)
        return content


def weight_bytes(size: PredictedSize, bits: int) -> int:
    """Matrices of references, with a ball for each of a unit's three weights and once more in flint's matrices."""
    return size.build_bytes + 3 * 2 * (size.e_step_units + size.m_step_units) * ball_bytes(bits)


def predict_bytes(
    task_class: TaskClass, approximation: Approximation, shape: tuple[int, ...], components: int, bits: int
) -> int:
    """Bytes of weights, of the stream before, within and after a layer, and of the hidden units held at a time."""
    size = predict_size(task_class, approximation, torch.float64)
    count, dim = shape
    width = residual_stream(task_class.max_dim, task_class.max_components).width
    stream = 3 * count * (8 * width + (2 * dim + 5 * components) * ball_bytes(bits))
    hidden = 3 * min(BLOCK, count * max(approximation.log_units, 2 * approximation.pieces)) * ball_bytes(bits)
    return weight_bytes(size, bits) + stream + hidden


def require_fit(
    task_class: TaskClass, approximation: Approximation, shape: tuple[int, ...], components: int, bits: int
) -> PredictedSize:
    """The size of the weights; an InputError, before anything is drawn or built, where balls do not fit."""
    size = predict_size(task_class, approximation, torch.float64)
    require_size(approximation, size, predict_bytes(task_class, approximation, shape, components, bits), bits)
    return size


def require_size(approximation: Approximation, size: PredictedSize, needed: int, bits: int) -> None:
    """Refuse, before anything is built, what SIZE_LIMIT does not hold."""
    if needed > SIZE_LIMIT:
        raise InputError(
            f"the {approximation.construction} construction needs {size.e_step_units:.6g} + {size.m_step_units:.6g} "
            f"hidden units, with the samples {in_bytes(needed)} in balls of {bits} bits, above the limit of "
            f"{in_bytes(SIZE_LIMIT)}: choose a larger --tolerance, a smaller --radius, --max-dim, "
            "--max-components or --precision, or fewer samples"
        )


def run(em: BallEm, samples: Float[np.ndarray, "N d"], start: Mixture) -> BallRun:
    """Evaluate and judge every step, with exact EM from the same start beside it."""
    radius = flint.arb(0)

    def observe(done: int, tokens: Array) -> None:
        nonlocal radius
        progress(done, len(em.transformer.schedule))
        radius = widest(tokens)

    kept = samples[: len(samples) // len(start.means) * len(start.means)]
    diameter, x = em_enclosure.enclose_diameter(kept), to_balls(kept)
    entering = reference = em_enclosure.parameters(start)
    steps = []
    with Progress("layer") as progress:
        for step in em_enclosure.run(em, samples, start, observe):
            reference = Parameters(*ball_em.em_step(x, reference.log_weights, reference.means))
            steps.append(StepVerdict(step, reference, radius, *judge(step, diameter)))
    return BallRun(entering, tuple(steps), len(kept), diameter)


def judge(step: StepEnclosure, diameter: flint.arb) -> tuple[Status, str]:
    """What the enclosures prove of one step: nothing holds, is refuted, vacuous or not applicable by default.

    In the first step U = 0: the log weights are equal to exact EM's, which balls can show only to their radius.
    That they agree to half of the precision's digits counts as holding; the reason says to how many they do.
    """
    pairs = list(zip(step.mean_errors, step.mean_bounds, strict=True))
    worst, error, bound = largest(iter(step.mean_bounds)), step.log_weight_error, step.log_weight_bound
    agree = exponent(error) if bound.is_zero() else None
    equal = bound.is_zero() and (error.is_zero() or (agree is not None and agree <= -flint.ctx.prec // 2))
    if step.excuse:
        return (
            ("not applicable", step.excuse)
            if step.left
            else ("undecided", "whether the parameters have left the class")
        )
    if error > bound:
        return "refuted", "the error of a log weight exceeds its bound"
    if worst >= diameter:
        return "vacuous", "the bound reaches the diameter of the data"
    if any(one > other for one, other in pairs):
        return "refuted", "the error of a mean exceeds its bound"
    if worst < diameter and all(one <= other for one, other in pairs) and (equal or error <= bound):
        return "holds", f"log weights equal to within {power_of_two(error)}" if agree is not None else ""
    return "undecided", f"at {flint.ctx.prec} bits"


def tables(result: BallRun, data: Dataset, tolerance: float, bits: int, seconds: float) -> str:
    """Steps against exact EM with bounds, then the estimates side by side, all as enclosures."""
    used, given = result.samples_used, len(data.samples)
    lines = [
        f"samples used  {used} of {given}"
        + (f" (the last {given - used} dropped: N must be a multiple of K)" if used < given else ""),
        f"diameter      {shown(result.diameter, 5)}",
        f"run           {seconds:.2f} s in balls of {bits} bits",
        "",
        "EM step by step: the transformer's two layers against one exact EM step from the same parameters, enclosed",
        f"step  {'|mean error|':>26s}  {'<= bound':>24s}  {'|log-weight error|':>26s}  {'<= bound':>24s}   "
        f"{'radius':9s}  verdict",
    ]
    for number, step in enumerate(result.steps, start=1):
        weights = step.enclosure
        lines.append(
            f"{number:4d}  {shown(step.mean_error, 5):>26s}  {shown(step.mean_bound, 5):>24s}  "
            f"{shown(weights.log_weight_error, 5):>26s}  {shown(weights.log_weight_bound, 5):>24s}   "
            f"<= {power_of_two(step.radius):6s}  {step.status}" + (f": {step.reason}" if step.reason else "")
        )
    lines += [
        "  (radius: the largest in the stream after the step. In step 1 the log weights are exact EM's; balls show",
        "  that up to their radius)",
        "",
    ]
    rows = _rows(result.steps[-1])
    name, column = max(len(row[0]) for row in rows), max(len(row[1]) for row in rows)
    title = f"{'':{name}s}  {'estimate of the transformer':{column}s}  exact EM from the same start"
    lines += [title, *(f"{row[0]:{name}s}  {row[1]:{column}s}  {row[2]}" for row in rows)]
    mean, weight = moved(*result.last)
    lines.append(how_far(shown(mean, 5), shown(weight, 5), at_rest(mean, tolerance)))
    return "\n".join(lines + cut_note())


def _rows(step: StepVerdict) -> list[tuple[str, str, str]]:
    """Name, estimate and reference of every weight and of every mean's first coordinates."""
    ours, theirs = step.enclosure.estimate, step.reference
    rows = []
    for k, (pair, means) in enumerate(
        zip(zip(ours.weights, theirs.weights, strict=True), zip(ours.means, theirs.means, strict=True), strict=True),
        start=1,
    ):
        rows.append((f"pi_{k}", shown(pair[0]), shown(pair[1])))
        coordinates = list(zip(*means, strict=True))
        rows += [(f"mu_{k},{a}", shown(x), shown(y)) for a, (x, y) in enumerate(coordinates[:SHOWN], start=1)]
        rows += [("…", "", "")] if len(coordinates) > SHOWN else []
    return rows


def as_json(
    result: BallRun,
    data: Dataset,
    start: Mixture,
    task_class: TaskClass,
    approximation: Approximation,
    bits: int,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """The keys of a float run's result (em_report.as_json), with an enclosure where that has a number.

    An enclosure is {"mid", "rad", "text"} (precision.as_json). "precision": the bits asked for, and those that the
    result has. A step's "stream_radius" is a power of two that no radius in the stream exceeds; its errors and bounds
    are lists, one for each component. What describes task, class and construction are the floats that were given.
    """
    final = result.steps[-1]
    before, after = (parameters.middle() for parameters in result.last)
    used = data.samples[: result.samples_used]
    return {
        "schema": SCHEMA,
        "versions": versions("python-flint"),
        "precision": {"given": options.precision, "used": bits},
        **_parameters(final.enclosure.estimate),
        "reference": _parameters(final.reference),
        "errors": {
            "steps": [
                {
                    "step": s.enclosure.step,
                    "mean": [enclosed(error) for error in s.enclosure.mean_errors],
                    "log_weight": enclosed(s.enclosure.log_weight_error),
                }
                for s in result.steps
            ],
            "final": {"mean": enclosed(largest(iter(norm(final.enclosure.estimate.means - final.reference.means))))},
        },
        "bounds": {
            "steps": [
                {
                    "step": s.enclosure.step,
                    "mean": [enclosed(bound) for bound in s.enclosure.mean_bounds],
                    "log_weight": enclosed(s.enclosure.log_weight_bound),
                    "stream_radius": power_of_two(s.radius),
                    "status": s.status,
                    "reason": s.reason,
                }
                for s in result.steps
            ],
            "diameter": enclosed(result.diameter),
            "rest_on": em_report.RESTS_ON[approximation.construction],
        },
        "last_step": dict(zip(("mean", "weight"), map(enclosed, moved(*result.last)), strict=True)),
        "warnings": vacuous_warning([step.status for step in result.steps], float(result.diameter.mid()), options, data)
        + em_warnings(before, after, used, options.tolerance, data),
        "samples_used": result.samples_used,
        "samples_given": len(data.samples),
        "data": {"name": data.name, "dim": data.samples.shape[1], "preparation": data.preparation},
        "start": {"weights": start.weights.tolist(), "means": start.means.tolist()},
        "construction": approximation.construction,
        "approximation": asdict(approximation),
        "tolerance": options.tolerance,
        "class": asdict(task_class),
        "layers": options.layers,
        "seed": options.seed,
    }


def _parameters(mixture: Parameters) -> dict[str, Any]:
    return {
        "weights": [enclosed(weight) for weight in mixture.weights],
        "means": [[enclosed(coordinate) for coordinate in mean] for mean in mixture.means],
    }
