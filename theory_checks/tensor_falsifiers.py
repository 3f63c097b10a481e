"""One attack for every bound on the tensor-power transformer, and for the allowance for rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import partial

import numpy as np
import torch
from torch import Tensor

from constructions import tensor_power_bounds as bounds
from constructions.tensor_power_transformer import TensorPowerTransformer, encode, softmax_form
from theory_checks import (
    kept,
    test_remark_g2,
    test_remark_g3,
    test_rounding,
    test_tensor_rounding,
)
from theory_checks.falsify import Attack, Tensors
from theory_checks.kept import Instance
from theory_checks.ledger import Verdict
from theory_checks.tensor_steps import judge_kept, judge_kept_exactly
from theory_checks.tensor_subjects import built

Verdicts = Iterable[Verdict]
BOX = {"tensor": (-1.0, 1.0), "start": (-2.0, 2.0)}
OTHER_MACHINES = 0.1
"""Sums in another order round differently: an error of rounding is claimed on other machines to this part of it."""
SEEN = 1e-10
"""Bounds from there on are searched in floats, whose own rounding (at s = 2^-6) is below 1e-14."""
SHAPES = [{"tensor": (d, d, d), "start": (d,)} for d in (1, 2, 3)]


def power_step(tensor: Tensor, vector: Tensor) -> Tensor:
    """T(I, v, v)."""
    return (tensor @ vector) @ vector


def tokens(model: TensorPowerTransformer, tensor: Tensor, start: Tensor) -> Tensor:
    """tensor_power_transformer.encode for tensors with gradients: encode is affine in (T, v), twins or not."""
    dim, d0 = len(start), model.max_dim
    frame = torch.tensor(encode(model, np.zeros((dim, dim, dim)), np.zeros(dim)))
    slices = torch.zeros(d0, d0, d0, dtype=frame.dtype)
    slices[:dim, :dim, :dim] = tensor.permute(2, 1, 0)
    added = torch.zeros(d0, frame.shape[1], dtype=frame.dtype)
    added[:, model.stream["slice"]] = slices.reshape(d0, d0 * d0)
    begin = model.stream["vec"].start
    added[:, begin : begin + dim] = start
    return frame + (torch.cat([added, -added]) if model.form.twins else added)


def vectors(model: TensorPowerTransformer, instance: Tensors) -> Iterator[Tensor]:
    """What is read out after every iteration."""
    begin, dim = model.stream[model.form.result].start, len(instance["start"])
    trace = model.transformer.trace(tokens(model, instance["tensor"], instance["start"]))
    for done, h in enumerate(trace, start=1):
        if done % model.form.layers_per_step == 0:
            yield h[0, begin : begin + dim]


# --- Remark G.3 ---


FORMS = [softmax_form(Fraction(1, 2**k)) for k in range(6)]


def one_softmax_step() -> Attack:
    """Scales s from 1 to 1/32, for which doubles see the error; sV² ≤ 4 and V ≥ 0.01."""

    def decode(raw: Tensors) -> dict[str, Tensor]:
        exponent = raw["exponent"].detach().round()
        reach = raw["start"].abs().max().clamp_min(1e-300)
        most = 2 * (1 - 1e-12) * 2 ** (exponent[0] / 2)
        return {
            "tensor": raw["tensor"],
            "start": raw["start"] * reach.clamp(0.01, float(most)) / reach,
            "exponent": exponent,
        }

    def ratio(instance: Tensors) -> Tensor:
        tensor, start = instance["tensor"], instance["start"]
        scale = 2.0 ** -float(instance["exponent"][0])
        model = built(len(start), 1, FORMS[int(instance["exponent"][0])])
        reach, size = start.abs().max(), power_step(tensor.abs(), start.abs())
        limit = scale**2 * (reach**2 / 3 + reach**4 / 2) * size
        (found,) = vectors(model, instance)
        return torch.where(
            limit > 1e-10, (found - power_step(tensor, start)).abs() / limit.clamp_min(1e-300), 0.0
        ).max()

    def judge(instance: Instance, factor: float) -> Verdicts:
        return test_remark_g3.judge_kept_step(
            instance,
            lambda scale: FORMS[scale.denominator.bit_length() - 1],
            encode,
            lambda largest: Fraction(factor) * test_remark_g3.step_constant(largest),
        )

    shapes = [{**shape, "exponent": (1,)} for shape in SHAPES]
    box = {"tensor": (-1.0, 1.0), "start": (-12.0, 12.0), "exponent": (0.0, 5.0)}
    return Attack("remark-g3-step", "s = 2^-exponent, d0 = d", box, shapes, judge, decode, ratio)


class Numeric(torch.autograd.Function):
    """A function of numpy arrays, differentiated by central differences: a bound that is evaluated in numpy."""

    @staticmethod
    def forward(ctx, function: Callable[..., float], *values: Tensor) -> Tensor:  # type: ignore[no-untyped-def]  # noqa: D102
        ctx.function, ctx.values = function, [v.detach().numpy().copy() for v in values]
        return torch.tensor(function(*ctx.values))

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]  # noqa: D102
        slopes: list[Tensor | None] = [None]
        for values in ctx.values:
            slope = np.zeros_like(values)
            for place in np.ndindex(values.shape):
                held, ends = values[place], []
                for side in (1e-6, -1e-6):
                    values[place] = held + side
                    ends.append(ctx.function(*ctx.values))
                values[place] = held
                slope[place] = (ends[0] - ends[1]) / 2e-6
            slopes.append(gradient * torch.from_numpy(slope))
        return tuple(slopes)


def several_softmax_steps() -> Attack:
    """Three iterations at s = 2^-6, where the approximation is far larger than rounding."""
    model = test_remark_g3.kept_model()

    def limit(step: int, tensor: np.ndarray, start: np.ndarray) -> float:
        trajectory = [start]
        for _ in range(step):
            trajectory.append(tensor @ trajectory[-1] @ trajectory[-1])
        reach = [abs(v) for v in trajectory]
        return float(np.linalg.norm(bounds.iteration_errors(tensor, reach, model.form, 3, model.dtype)[step]))

    def ratio(instance: Tensors) -> Tensor:
        exact, ratios = instance["start"], []
        for step, found in enumerate(vectors(model, instance), start=1):
            exact = power_step(instance["tensor"], exact)
            allowed = Numeric.apply(partial(limit, step), instance["tensor"], instance["start"])
            usable = (allowed < exact.norm()) & (allowed > SEEN)
            ratios.append(torch.where(usable, (found - exact).norm() / allowed.clamp_min(1e-300), 0.0))
        return torch.stack(ratios).max()

    return Attack(
        "remark-g3",
        "d0 = 3, L = 3, s = 2^-6, float64",
        BOX,
        SHAPES[:2],
        lambda instance, factor: judge_kept_exactly(model, instance, factor),
        ratio=ratio,
        effort=0.3,
    )


# --- Remark G.2 ---


def normalised() -> Attack:
    """‖T(I,v,v)‖ drawn into [c, C], the start of norm 1."""
    model = test_remark_g2.kept_model()
    range_ = model.form.normalisation
    assert range_ is not None

    def decode(raw: Tensors) -> dict[str, Tensor]:
        start = raw["start"] / raw["start"].norm().clamp_min(1e-300)
        size = power_step(raw["tensor"], start).norm().clamp_min(1e-300)
        low, high = range_.low * (1 + 1e-9), range_.high * (1 - 1e-9)
        return {"tensor": raw["tensor"] * size.clamp(low, high) / size, "start": start}

    def ratio(instance: Tensors) -> Tensor:
        (found,) = vectors(model, instance)
        new = power_step(instance["tensor"], instance["start"])
        size = new.norm().clamp_min(1e-300)
        ratio = (found - new / size).norm() / max(range_.norm_errors(len(new)))
        return torch.where(size >= range_.low, ratio, 0.0)

    return Attack(
        "remark-g2",
        "d0 = 3, L = 1, 0.5 <= |T(I,v,v)| <= 2, squares by the network, error 0.12, float64",
        {"tensor": (-2.0, 2.0), "start": (-1.0, 1.0)},
        SHAPES,
        lambda instance, factor: judge_kept(model, instance, factor),
        decode,
        ratio,
        effort=0.5,
    )


# --- rounding: searched without gradients ---


def tensor_rounding() -> Attack:
    """Two iterations of Theorem G.8's transformer in float32."""
    return Attack(
        "tensor-rounding",
        "Theorem G.8, d0 = 3, L = 2, float32",
        BOX,
        SHAPES,
        test_tensor_rounding.judge_kept,
        effort=0.5,
        below=OTHER_MACHINES,
    )


def rounding() -> Attack:
    """An EM step of the small class in float32."""

    def decode(raw: Tensors) -> dict[str, Tensor]:
        rounded = {name: raw[name].float().double() for name in ("samples", "means")}
        return {**rounded, "weights": raw["shares"].softmax(dim=0)}

    def judge(instance: Instance, factor: float) -> Verdicts:
        return test_rounding.judge_task(kept.task(instance), torch.float32, allowance=test_rounding.lowered(factor))

    return Attack(
        "rounding",
        "SMALL_CLASS, tolerance 0.5, floor, float32",
        {"samples": (-2.8, 2.8), "shares": (-4.0, 0.0), "means": (-2.8, 2.8)},
        [{"samples": (6, d), "shares": (2,), "means": (2, d)} for d in (1, 2)],
        judge,
        decode,
        effort=0.15,
        below=OTHER_MACHINES,
    )


TENSOR_ATTACKS: dict[str, Callable[[], Attack]] = {
    "remark-g3-step": one_softmax_step,
    "remark-g3": several_softmax_steps,
    "remark-g2": normalised,
    "tensor-rounding": tensor_rounding,
    "rounding": rounding,
}
