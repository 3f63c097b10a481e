"""Remark G.3: softmax attention in place of ReLU, at score scale s, with tokens in ± twins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial, reduce
from itertools import pairwise

import flint
import numpy as np
import torch

from constructions import evaluation
from constructions import tensor_power_bounds as bounds
from constructions.number_system import Balls, Rationals
from constructions.rounding_error import EXP_UNITS, gamma
from constructions.tensor_power_run import run
from constructions.tensor_power_transformer import Form, TensorPowerTransformer, encode, read_out, softmax_form
from theory_checks import kept
from theory_checks import tensor_instances as instances
from theory_checks import tensor_subjects as subjects
from theory_checks.coverage import covering
from theory_checks.enclosures import decided, enclose
from theory_checks.ledger import Verdict, require, statement
from theory_checks.tensor_steps import judge_float_run, judge_kept_exactly
from theory_checks.tensor_subjects import built

Make = Callable[[Fraction], Form]
Encode = Callable[..., np.ndarray]
SCALES = tuple(Fraction(1, 2**k) for k in (0, 1, 2, 5, 11, 23))
PRECISION = 240
"""Bits of the balls: scores of size s² ≥ 2⁻⁴⁶ leave 190 of them."""


def _forms() -> dict[Fraction, Form]:
    return {scale: softmax_form(scale) for scale in SCALES}


SOUND = _forms()


def step_constant(largest: Fraction) -> Fraction:
    """V²/3 + V⁴/2: what multiplies s²|T|(|v|,|v|) in the error of one step."""
    return largest**2 / 3 + largest**4 / 2


@statement(
    "remark-g3-step",
    source="Remark G.3, one step, its O(s²) with the constant",
    text="ours",
    evidence="certified",
    paper=("Remark G.3",),
)
def remark_g3_step(
    rng: np.random.Generator,
    *,
    make: Make = SOUND.__getitem__,
    encode: Encode = encode,
    constant: Callable[[Fraction], Fraction] = step_constant,
) -> Iterator[Verdict]:
    """In exact arithmetic one step of the softmax form has |v̂⁺ − T(I,v,v)| ≤ s²(V²/3 + V⁴/2)·|T|(|v|,|v|), coordinate
    by coordinate, V = max|v_j|, whenever sV² ≤ 4: proved for all T and v, and by the same matrices in ball arithmetic
    on drawn and kept rational instances, s from 1 to 2⁻²³.
    """
    yield from kept.replay(lambda found: judge_kept_step(found, make, encode, constant), "remark-g3-step")
    for dim in (1, 2, 3, 5):
        for max_dim in (dim, dim + 2):
            for scale in SCALES:
                task = _rational_task(dim, rng, scale)
                yield from judge_step(built(max_dim, 1, make(scale)), task, scale, encode, constant)


Constant = Callable[[Fraction], Fraction]


def judge_step(
    model: TensorPowerTransformer, task: instances.PowerTask, scale: Fraction, encode: Encode, constant: Constant
) -> Iterator[Verdict]:
    """A verdict for every coordinate of one step at score scale s."""
    largest = max(abs(v) for v in instances.fractions(task.start))
    name = f"{task.name} d0={model.max_dim} s=2^-{scale.denominator.bit_length() - 1}"

    def judge() -> Iterator[Verdict]:
        numbers = Balls()
        error, size = _step_error(model, task, numbers, encode)
        for a, (off, total) in enumerate(zip(error, size, strict=True)):
            yield enclose(off, numbers.number(scale**2 * constant(largest) * total), f"{name} coordinate {a}")

    return decided(judge, PRECISION)


def judge_kept_step(found: kept.Instance, make: Make, encode: Encode, constant: Constant) -> Iterator[Verdict]:
    """The tensor, the start and s = 2^(−exponent) that are kept."""
    scale = Fraction(1, 2 ** int(found["exponent"][0]))
    exact = np.vectorize(Rationals().number, otypes=[object])
    task = instances.PowerTask("the worst kept", exact(found["tensor"]), exact(found["start"]))
    return judge_step(built(len(task.start), 1, make(scale)), task, scale, encode, constant)


def _rational_task(dim: int, rng: np.random.Generator, scale: Fraction) -> instances.PowerTask:
    """Rational, with sV² near 4, so V = 2 for s = 1. One coordinate of the start is far below the others."""
    task = instances.rational(dim, rng)
    start = instances.fractions(task.start)
    largest = max(abs(v) for v in start)
    target = Fraction(int(2048 * float(1 / scale) ** 0.5), 1024)  # V² ≤ 4/s
    start = [v / largest * target for v in start]
    if dim > 1:
        start[-1] /= 1000
    numbers = Rationals()
    vector = np.empty(dim, dtype=object)
    vector[:] = [numbers.number(v) for v in start]
    return replace(task, start=vector)


def _step_error(
    model: TensorPowerTransformer, task: instances.PowerTask, numbers: Balls, encode: Encode
) -> tuple[list[flint.arb], list[Fraction]]:
    """Enclosures of |v̂⁺ − T(I,v,v)|, and |T|(|v|,|v|)."""
    ball = np.vectorize(flint.arb, otypes=[object])
    weights = evaluation.exact_weights(model.transformer, numbers)
    tokens = encode(model, ball(task.tensor), ball(task.start), numbers)
    *_, output = evaluation.trace(weights, tokens, numbers)
    found = read_out(model, output, len(task.tensor))
    tensor, vector = instances.fractions(task.tensor), instances.fractions(task.start)
    exact = instances.power_step(tensor, vector)
    sizes = [[[abs(entry) for entry in row] for row in block] for block in tensor]
    size = instances.power_step(sizes, [abs(v) for v in vector])
    return [abs(f - numbers.number(e)) for f, e in zip(found, exact, strict=True)], size


def _twins_not_negated(model: TensorPowerTransformer, *task: object) -> np.ndarray:
    tokens = encode(model, *task)  # type: ignore[arg-type]
    half = len(tokens) // 2
    return np.concatenate([tokens[:half], tokens[:half]])


def _broken(fault: str) -> Make:
    made = {scale: subjects.broken(form, fault) for scale, form in SOUND.items()}
    return made.__getitem__


for fault in (
    "d0 + 1 in place of d0",
    "d0 - 1 in place of d0",
    "one head missing",
    "the odd layer's values doubled",
    "vec not cleared",
):
    remark_g3_step.control(fault, make=_broken(fault))
remark_g3_step.control("the twins not negated", encode=_twins_not_negated)
remark_g3_step.control("the constant halved", constant=lambda largest: step_constant(largest) / 2)
remark_g3_step.control(
    "just under the worst kept",
    constant=lambda largest: Fraction(kept.just_below("remark-g3-step")) * step_constant(largest),
)
test_step, test_step_controls = remark_g3_step.tests()


@statement(
    "remark-g3",
    source="Remark G.3, several iterations in floating point",
    text="ours",
    evidence="certified",
    depends_on=("remark-g3-step",),
    paper=("Remark G.3",),
)
def remark_g3(rng: np.random.Generator, *, make: Make = softmax_form, scale: float = 1.0) -> Iterator[Verdict]:
    """L iterations of the softmax form are within the recursion e⁺ = |T|(e, |v| + e_s) + |T|(|v|, e_s) + φ|T|(|v| + e,
    |v| + e_s) + a of L exact ones: φ, e_s − e = O(s²), a = O(u/s).

    L = 3; s from 2⁻³ to 2⁻³⁰ in float64, to 2⁻¹² in float32, on drawn and kept tensors. The exact iterates are enclosed
    in balls. The worst kept is judged in exact arithmetic: rounding has no part in how close it comes.
    """
    yield from kept.replay(lambda found: judge_kept_exactly(kept_model(make), found, scale), "remark-g3")
    for dtype, exponents in ((torch.float64, (3, 6, 9, 15, 30)), (torch.float32, (3, 6, 12))):
        for exponent in exponents:
            form = make(Fraction(1, 2**exponent))
            for task in instances.floats(rng, (1, 2, 5, 7)):
                found = run(built(7, 3, form, dtype), task.tensor, task.start, execution="dense")
                yield from decided(
                    partial(judge_float_run, found, scale, f"{task.name} {str(dtype)[6:]} s=2^-{exponent}")
                )


def kept_model(make: Make = softmax_form) -> TensorPowerTransformer:
    """The transformer that the kept instance belongs to."""
    return built(3, 3, make(Fraction(1, 64)))


remark_g3.control("d0 + 1 in place of d0", make=lambda s: subjects.broken(softmax_form(s), "d0 + 1 in place of d0"))
remark_g3.control("one head missing", make=lambda s: subjects.broken(softmax_form(s), "one head missing"))
remark_g3.control("the bound lowered by 40 %", scale=0.6)
remark_g3.control("just under the worst kept", scale=kept.just_below("remark-g3"))
test_remark_g3, test_remark_g3_controls = remark_g3.tests()


@statement(
    "remark-g3-best-scale",
    source="Remark G.3, s² against rounding",
    text="ours",
    evidence="certified",
    coverage="interval",
    paper=("Remark G.3",),
)
def remark_g3_best_scale(
    rng: np.random.Generator, *, best: Callable[[int, torch.dtype], Fraction] = bounds.best_scale
) -> Iterator[Verdict]:
    """best_scale(d_0, dtype) is within a factor 1.15 of the least bound over all s > 0 of one step with |v_j| ≤ 1, φ(s,
    1) + 2ω/s per unit of |T|: a power of two loses at most (2 + √2)/3 against s = (6ω/5)^{1/3}. For five d_0 and two
    formats.
    """
    for dtype in (torch.float64, torch.float32):
        for max_dim in (1, 2, 5, 13, 64):
            scale = best(max_dim, dtype)
            name = f"d0={max_dim} {str(dtype)[6:]} s=2^-{scale.denominator.bit_length() - 1}"
            yield from covering("interval", decided(partial(_near_least, scale, max_dim, dtype, name)))
            power_of_two = scale.denominator & (scale.denominator - 1) == 0 and scale.numerator == 1
            yield from covering("interval", [require(power_of_two, f"{name}: a power of two")])


def _near_least(scale: Fraction, max_dim: int, dtype: torch.dtype, name: str) -> Iterator[Verdict]:
    """φ grows with s and 2ω/s falls, so on [s, s′] the bound is at least φ(s) + 2ω/s′; beyond 1 at least φ(1)."""
    numbers, u = Balls(), torch.finfo(dtype).eps / 2
    weight = flint.arb(2 * EXP_UNITS * u + gamma(5 * max_dim + 6, u))
    grid = [flint.arb(2) ** (flint.arb(k) / 128) for k in range(-30 * 128, 1)]
    cells = [_factor(low) + 2 * weight / high for low, high in pairwise(grid)]
    least = reduce(flint.arb.min, [*cells, _factor(grid[-1]), 2 * weight / grid[0]])
    chosen = numbers.number(scale)
    yield enclose(_factor(chosen) + 2 * weight / chosen, least * 23 / 20, name)


def _factor(s: flint.arb) -> flint.arb:
    """φ(s, 1) = max(sinh(s)/s − 1, 1 − tanh(s)/(s cosh s)): tensor_power_bounds.softmax_factor in balls."""
    return (s.sinh() / s - 1).max(1 - s.tanh() / (s * s.cosh()))


remark_g3_best_scale.control("twice as large", best=lambda d, dtype: 2 * bounds.best_scale(d, dtype))
remark_g3_best_scale.control("u^(1/2)", best=lambda d, dtype: Fraction(1, 2 ** (26 if dtype == torch.float64 else 12)))
test_best_scale, test_best_scale_controls = remark_g3_best_scale.tests()
