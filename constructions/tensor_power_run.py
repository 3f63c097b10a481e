"""A run of the tensor-power transformer, compared at every step with the iteration it imitates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from math import inf, log
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float

from constructions import tensor_power_bounds as bounds
from constructions.algorithms.tensor_power import normalised, power_step
from constructions.compressed_stream import Stream
from constructions.direction_bound import DirectionBound, normalised_step
from constructions.errors import InputError
from constructions.execution_plan import Execution, Plan, plan
from constructions.executor import streams
from constructions.kept_streams import keeps
from constructions.tensor_power_transformer import TensorPowerTransformer, encode, read_out

Status = Literal["holds", "refuted", "not applicable", "vacuous"]


@dataclass(frozen=True)
class StepReport:
    """One iteration: the transformer's vector against the reference's, both from the start.

    `difference` is ‖vector − reference‖, `bound` covers approximation and rounding of both sides. A bound that the zero
    vector would meet is vacuous.
    """

    step: int
    vector: Float[np.ndarray, " d"]
    reference: Float[np.ndarray, " d"]
    bound: float
    status: Status
    reason: str = ""

    @property
    def difference(self) -> float:
        """‖vector − reference‖."""
        return magnitude(self.vector - self.reference)


@dataclass(frozen=True)
class PowerRun:
    """All steps, with tensor and start as the dtype holds them."""

    model: TensorPowerTransformer
    tensor: Float[np.ndarray, "d d d"]
    start: Float[np.ndarray, " d"]
    steps: tuple[StepReport, ...]
    tokens: Float[np.ndarray, "N D"]  # encoded input, as the dtype holds it
    entering: dict[int, Stream]  # before every step after the first, as far as they are kept
    output: Float[np.ndarray, "N D"]  # after the last layer
    plan: Plan | None  # how it was executed; None: literally


def run(
    model: TensorPowerTransformer,
    tensor: Float[np.ndarray, "d d d"],
    start: Float[np.ndarray, " d"],
    progress: Callable[[int, int], None] = lambda done, of: None,
    execution: Execution = "structured",
    begin: Callable[[], None] = lambda: None,
) -> PowerRun:
    """Evaluate all layers and judge every step.

    `begin()` is called when the task is accepted, `progress(done, of)` after each layer.

    Raises
    ------
    InputError
        Like encode; or if the unnormalised iteration leaves the range of the dtype.
    """
    dim = len(tensor)
    tokens = torch.tensor(encode(model, tensor, start)).to(model.dtype)
    held = tokens.double().numpy()
    where = model.stream["slice"]
    columns = held[: model.max_dim, where].reshape(model.max_dim, model.max_dim, model.max_dim)
    tensor, start = columns.transpose(2, 1, 0)[:dim, :dim, :dim], held[0, model.stream["vec"]][:dim]
    if not (np.isfinite(tensor).all() and np.isfinite(start).all()):
        raise InputError(f"the tensor or the start has an entry beyond the largest number of {_name(model.dtype)}")
    if model.form.normalisation is not None and not start.any():
        raise InputError("the start is 0; it cannot be normalised")
    trajectory = reference(model, tensor, start)
    begin()
    vectors, spreads, output = [], [0.0], held
    between: dict[int, Stream] = {}
    made = plan(model.transformer, tokens) if execution == "structured" else None
    for done, stream in enumerate(streams(model.transformer, tokens, made), start=1):
        progress(done, len(model.transformer.schedule))
        if done % model.form.layers_per_step == 0:
            output = stream.tokens().double().numpy()
            vectors.append(read_out(model, output, dim))
            spreads.append(copies_spread(model, output))
            entered = done // model.form.layers_per_step + 1
            if keeps(entered, model.steps, held.size):
                between[entered] = stream
    limits, excuses = judge(model, tensor, start, trajectory, spreads)
    steps = []
    for step, (vector, exact, limit, excuse) in enumerate(
        zip(vectors, trajectory[1:], limits, excuses, strict=True), start=1
    ):
        steps.append(_report(step, vector, exact, limit, excuse))
    return PowerRun(model, tensor, start, tuple(steps), held, between, output, made)


def reference(
    model: TensorPowerTransformer, tensor: Float[np.ndarray, "d d d"], start: Float[np.ndarray, " d"]
) -> list[Float[np.ndarray, " d"]]:
    """The float64 iteration, t = 0..L: v ← T(I,v,v), divided by its norm if the model normalises.

    Raises
    ------
    InputError
        Naming step and magnitude, if it leaves the dtype's range; or if T(I,v,v) = 0 is to be normalised.
    """
    trajectory = [start]
    for step in range(1, model.steps + 1):
        _require_in_range(model, tensor, trajectory[-1], step)
        new = power_step(tensor, trajectory[-1])
        if model.form.normalisation is not None:
            if not new.any():
                raise InputError(f"T(I,v,v) is 0 in step {step}; it cannot be normalised")
            new = normalised(new)
        trajectory.append(new)
    return trajectory


def _require_in_range(
    model: TensorPowerTransformer, tensor: Float[np.ndarray, "d d d"], vector: Float[np.ndarray, " d"], step: int
) -> None:
    """No product or partial sum of a step exceeds the largest of V², d_0·max|T| and |T|(|v|,|v|), V = max|v_j|.

    In logarithms: they may be beyond float64 as well.
    """
    entries, size = abs(tensor), abs(vector)
    log_tensor, log_vector = (_log(float(array.max())) for array in (entries, size))
    peak = max(2 * log_vector, log(model.max_dim) + log_tensor)
    if log_tensor > -inf and log_vector > -inf:
        scaled, unit = entries / entries.max(), size / size.max()
        peak = max(peak, log_tensor + 2 * log_vector + _log(float((scaled @ unit @ unit).max())))
    limit = float(torch.finfo(model.dtype).max)
    if peak > log(limit):
        reached = f"{Decimal(10) ** Decimal(peak / log(10)):.1e}"
        raise InputError(
            f"step {step} reaches a magnitude of {reached}, beyond {_name(model.dtype)}'s largest number {limit:.2g}: "
            + (
                "scale the tensor"
                if model.form.normalisation
                else "an unnormalised step squares magnitudes, so use fewer --layers, a smaller --start or --normalise"
            )
        )


def magnitude(vector: Float[np.ndarray, " d"]) -> float:
    """‖vector‖, scaled first: squares of large entries overflow, those of small ones underflow."""
    largest = float(np.abs(vector).max())
    return largest * float(np.linalg.norm(vector / largest)) if 0 < largest < inf else largest


def _log(size: float) -> float:
    return log(size) if size > 0 else -inf


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def copies_spread(model: TensorPowerTransformer, tokens: Float[np.ndarray, "N D"]) -> float:
    """max_i ‖vec_i − vec_0‖/‖vec_0‖: equal rows of a product may be rounded differently. 0 for a zero vector."""
    vec = tokens[:, model.stream[model.form.result]]
    size = magnitude(vec[0])
    with np.errstate(invalid="ignore"):  # inf - inf is NaN, and stays one
        return max(magnitude(row) for row in vec - vec[0]) / size if size > 0 else 0.0


def judge(
    model: TensorPowerTransformer,
    tensor: Float[np.ndarray, "d d d"],
    start: Float[np.ndarray, " d"],
    trajectory: list[Float[np.ndarray, " d"]],
    spreads: list[float],
) -> tuple[list[float], list[str]]:
    """A bound for every step, and why it does not apply (empty if it does)."""
    if model.form.normalisation is None:
        slack, reach = reached(tensor, trajectory)
        errors = bounds.iteration_errors(tensor, reach, model.form, model.max_dim, model.dtype)
        limits = [magnitude(e + r) for e, r in zip(errors[1:], slack[1:], strict=True)]
        return limits, [""] * len(limits)
    size = magnitude(start)
    directions = [DirectionBound(0.0, size, size, size)]
    units = [normalised(start), *trajectory[1:]]
    for unit, spread in zip(units[:-1], spreads[:-1], strict=True):
        before = directions[-1]
        directions.append(
            normalised_step(before, tensor, unit, spread, model.form.normalisation, model.max_dim, model.dtype)
        )
    excuses = [d.excuse for d in directions[1:]]
    left = next((step for step, excuse in enumerate(excuses, start=1) if excuse), 0)
    return [d.distance for d in directions[1:]], [e and f"in step {left} {e}" for e in excuses]


def reached(
    tensor: Float[np.ndarray, "d d d"], trajectory: list[Float[np.ndarray, " d"]]
) -> tuple[list[Float[np.ndarray, " d"]], list[Float[np.ndarray, " d"]]]:
    """Bounds of |r_t − v_t| and of |v_t| for the exact iterates v_t, from the float64 ones r_t."""
    slack = bounds.reference_errors(tensor, trajectory)
    return slack, [abs(vector) + error for vector, error in zip(trajectory, slack, strict=True)]


def _report(step: int, vector: np.ndarray, exact: np.ndarray, limit: float, excuse: str) -> StepReport:
    if excuse:
        return StepReport(step, vector, exact, limit, "not applicable", excuse)
    if not magnitude(vector - exact) <= limit:
        return StepReport(step, vector, exact, limit, "refuted", "the difference exceeds the bound")
    if not limit < magnitude(exact):
        return StepReport(step, vector, exact, limit, "vacuous", "the zero vector would meet the bound")
    return StepReport(step, vector, exact, limit, "holds")
