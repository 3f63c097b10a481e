"""Definitions 1-8: every evaluation of the library against loops written from the definitions (literal.py).

Definitions 1-3 are the short forms of 4-6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import flint
import numpy as np
import torch
from torch import Tensor

from constructions import ball_evaluation, evaluation, executor, planned_evaluation
from constructions.balls import fill, largest_radius, midpoints, to_balls
from constructions.execution_error import attention_error, mlp_error
from constructions.execution_plan import plan
from constructions.number_system import Balls, NumberSystem, Rationals
from constructions.transformer import Transformer, TransformerLayer
from constructions.weights import Array
from theory_checks import definition_instances as broken
from theory_checks import literal
from theory_checks.definition_instances import integer_instances, real_instances
from theory_checks.enclosures import enclose
from theory_checks.execution_instances import Instance, random_instances
from theory_checks.ledger import Statement, Verdict, require, statement

Floats = Callable[[Transformer, Tensor], list[Array]]
Exact = Callable[[Transformer, Tensor, Array, NumberSystem], Iterable[Array]]
BITS = 300
RADIUS = 2.0**-200
FLOAT_BITS = 128
"""The same where floats are judged, whose bounds are far above 2⁻¹²⁸."""
MARGIN = 1 + 2.0**-30
"""Bounds are evaluated in floats: this covers their own rounding."""


def modules(transformer: Transformer, tokens: Tensor) -> list[Array]:
    """The torch modules: the stream after every layer; the last one is what calling the transformer returns."""
    streams = list(transformer.trace(tokens))
    return [stream.double().numpy() for stream in (*streams[:-1], transformer(tokens))]


def planned_floats(transformer: Transformer, tokens: Tensor) -> list[Array]:
    """The executor."""
    return [stream.tokens().double().numpy() for stream in executor.trace(plan(transformer, tokens), tokens)]


def literal_arrays(transformer: Transformer, tokens: Tensor, lifted: Array, numbers: NumberSystem) -> Iterable[Array]:
    """evaluation.py: the matrices written out in a number system."""
    return evaluation.trace(evaluation.exact_weights(transformer, numbers), lifted, numbers)


def planned_exactly(transformer: Transformer, tokens: Tensor, lifted: Array, numbers: NumberSystem) -> Iterable[Array]:
    """The executor's plan in a number system."""
    return planned_evaluation.trace(plan(transformer, tokens), lifted, numbers)


def in_balls(transformer: Transformer, tokens: Tensor) -> Iterable[Array]:
    """ball_evaluation.py."""
    return ball_evaluation.trace(ball_evaluation.from_transformer(transformer), to_balls(tokens.double().numpy()))


@dataclass(frozen=True)
class Evaluations:
    """All ways in which the library evaluates a transformer."""

    modules: Floats = modules
    executor: Floats = planned_floats
    arrays: Exact = literal_arrays
    plan: Exact = planned_exactly
    balls: Callable[[Transformer, Tensor], Iterable[Array]] = in_balls


SOUND = Evaluations()


def judge_rationals(instance: Instance, on: Evaluations) -> Iterator[Verdict]:
    """ReLU layers: equality of rationals after every layer; the enclosures contain them."""
    transformer, numbers = instance.transformer, Rationals()
    layers = literal.stored(transformer, numbers.number)
    for tokens in instance.tokens.flatten(0, -3):
        lifted = evaluation.lifted(tokens, numbers)
        wanted = list(literal.trace(layers, transformer.schedule, lifted.tolist()))
        for name, evaluate in (("arrays", on.arrays), ("plan", on.plan)):
            streams = [stream.tolist() for stream in evaluate(transformer, tokens, lifted, numbers)]
            yield require(streams == wanted, f"{name} {instance.name}")
        balls = [ball for stream in on.balls(transformer, tokens) for ball in stream.flat]
        exact = [number for stream in wanted for row in stream for number in row]
        inside = [abs(x.mid().fmpq() - y) <= x.rad().fmpq() for x, y in zip(balls, exact, strict=True)]
        yield require(all(inside), f"balls {instance.name}")


def judge_integers(instance: Instance, on: Evaluations) -> Iterator[Verdict]:
    """The torch modules on integers, the whole batch at once: equality, since nothing is rounded."""
    numbers = Rationals()
    found = on.modules(instance.transformer, instance.tokens)
    layers = literal.stored(instance.transformer, numbers.number)
    for place in np.ndindex(*instance.tokens.shape[:-2]):
        start = evaluation.lifted(instance.tokens[place], numbers).tolist()
        wanted = list(literal.trace(layers, instance.transformer.schedule, start))
        streams = [[list(map(numbers.number, row)) for row in stream[place].tolist()] for stream in found]
        yield require(streams == wanted, f"modules {instance.name}: data set {place}")


def judge_balls(instance: Instance, on: Evaluations) -> Iterator[Verdict]:
    """Softmax layers: enclosures of both sides overlap after every layer, and are thin."""
    transformer, numbers = instance.transformer, Balls()
    with flint.ctx.workprec(BITS):
        layers = literal.stored(transformer, flint.arb)
        for tokens in instance.tokens.reshape(-1, *instance.tokens.shape[-2:]):
            lifted = to_balls(tokens.double().numpy())
            wanted = [_array(h) for h in literal.trace(layers, transformer.schedule, lifted.tolist())]
            evaluations = {
                "arrays": on.arrays(transformer, tokens, lifted, numbers),
                "plan": on.plan(transformer, tokens, lifted, numbers),
                "balls": on.balls(transformer, tokens),
            }
            for name, streams in evaluations.items():
                pairs = list(zip(streams, wanted, strict=True))
                apart = any(
                    not x.overlaps(y) for one, other in pairs for x, y in zip(one.flat, other.flat, strict=True)
                )
                wide = any(largest_radius(stream) > RADIUS for pair in pairs for stream in pair)
                verdict = Verdict("refuted" if apart else "undecided" if wide else "holds", f"{name} {instance.name}")
                yield replace(verdict, bits=BITS)


def judge_floats(instance: Instance, on: Evaluations) -> Iterator[Verdict]:
    """Floating point, layer by layer from its own stream: within the rounding bound of the literal layer in balls."""
    unit = torch.finfo(instance.tokens.dtype).eps / 2
    batch = instance.tokens.reshape(-1, *instance.tokens.shape[-2:])
    with flint.ctx.workprec(FLOAT_BITS):
        layers = literal.stored(instance.transformer, flint.arb)
        for name, evaluate in (("modules", on.modules), ("executor", on.executor)):
            streams = [batch.double().numpy(), *(s.reshape(batch.shape) for s in evaluate(instance.transformer, batch))]
            for number, index in enumerate(instance.transformer.schedule):
                part, verdicts = instance.transformer.stored_layers[index], []
                for before, after in zip(streams[number], streams[number + 1], strict=True):
                    bound, wanted = layer_error(part, layers[index], before, unit)
                    off = [abs(x - y) for x, y in zip(to_balls(after).flat, wanted.flat, strict=True)]
                    label = f"{name} {instance.name} layer {number + 1}"
                    verdicts += [enclose(x, flint.arb(y), label) for x, y in zip(off, bound.ravel(), strict=True)]
                yield replace(min(verdicts, key=_worst), bits=FLOAT_BITS)


def layer_error(layer: TransformerLayer, exact: literal.Layer, h: Array, unit: float) -> tuple[Array, Array]:
    """What an evaluation of a layer on h may be off, entry by entry (proofs_notes/definitions.md); the exact result.

    Half of execution_error's bounds, which are for two evaluations; the MLP passes an error e on as at most
    e + |w2||w1|e, and is evaluated at a stream that is off by e.
    """
    error, result = np.zeros(h.shape), to_balls(h).tolist()
    if layer.attention is not None:
        heads = [head.weights for head in layer.attention.stored_heads]
        error = attention_error(heads, layer.attention.activation, h, unit) / 2
        result = literal.attention(exact.heads, exact.activation, result)
    if layer.mlp is not None and exact.mlp is not None:
        w1, w2 = (matrix.double().numpy() for matrix in (layer.mlp.w1, layer.mlp.w2))
        size = np.abs(midpoints(_array(result))) * MARGIN + error
        error = mlp_error(w1, w2, size, unit) / 2 + error + error @ np.abs(w1).T @ np.abs(w2).T
        result = literal.mlp(*exact.mlp, result)
    return error * MARGIN, _array(result)


def _worst(verdict: Verdict) -> tuple[int, float]:
    """Refuted before undecided before what holds, and then by slack."""
    rank = {"refuted": 0, "undecided": 1}.get(verdict.outcome, 2)
    return rank, 1.0 if verdict.slack is None else verdict.slack


def _array(h: literal.Matrix) -> Array:
    return fill((entry for row in h for entry in row), (len(h), len(h[0])))


@statement(
    "definition-4",
    source="Definition 4, softmax attention (Definition 1 is its short form)",
    text="recovered",
    evidence="certified",
    paper=("Definition 1", "Definition 4"),
)
def definition_4(rng: np.random.Generator, *, on: Evaluations = SOUND) -> Iterator[Verdict]:
    """h_i + Σ_m Σ_j softmax_j(⟨Q_m h_i, K_m h_j⟩) V_m h_j: on drawn layers the four evaluations in balls overlap with
    the loop's, those in float64 and float32 are within their rounding bound of it.
    """
    for instance in real_instances(rng, "attention", "softmax"):
        yield from judge_balls(instance, on)
        yield from judge_floats(instance, on)
    for instance in real_instances(rng, "attention", "softmax", dtype=torch.float32):
        yield from judge_floats(instance, on)


@statement(
    "definition-7",
    source="Definition 7, ReLU attention",
    text="recovered",
    evidence="exact",
    paper=("Definition 7",),
)
def definition_7(rng: np.random.Generator, *, on: Evaluations = SOUND) -> Iterator[Verdict]:
    """h_i + (1/N)Σ_m Σ_j relu(⟨Q_m h_i, K_m h_j⟩) V_m h_j: on drawn layers equality with the loop, of rationals, and of
    batches of integers in the torch modules.
    """
    for instance in integer_instances(rng, "attention"):
        yield from judge_integers(instance, on)
    for instance in real_instances(rng, "attention", "relu"):
        yield from judge_rationals(instance, on)


@statement(
    "definition-5",
    source="Definition 5, MLP (Definition 2 is its short form)",
    text="recovered",
    evidence="exact",
    paper=("Definition 2", "Definition 5"),
)
def definition_5(rng: np.random.Generator, *, on: Evaluations = SOUND) -> Iterator[Verdict]:
    """h_i + W₂ relu(W₁ h_i), W₁ (D′×D) with D′ above and below D: on drawn layers equality with the loop, of rationals,
    and of batches of integers in the torch modules.
    """
    for instance in integer_instances(rng, "mlp"):
        yield from judge_integers(instance, on)
    for instance in real_instances(rng, "mlp", "relu"):
        yield from judge_rationals(instance, on)


@statement(
    "definition-6",
    source="Definition 6, transformer (Definition 3 is its short form)",
    text="recovered",
    evidence="certified",
    depends_on=("definition-4", "definition-5"),
    paper=("Definition 3", "Definition 6"),
)
def definition_6(rng: np.random.Generator, *, on: Evaluations = SOUND) -> Iterator[Verdict]:
    """L times attention, then MLP, tied layers stored once: on drawn transformers in balls after each layer of (1, 0,
    1), in float64 and float32 layer by layer; also for layers with the structure that the executor uses.
    """
    for instance in real_instances(rng, "layer", "softmax", (1, 0, 1)):
        yield from judge_balls(instance, on)
        yield from judge_floats(instance, on)
    for instance in real_instances(rng, "layer", "softmax", (0, 1), torch.float32):
        yield from judge_floats(instance, on)
    for instance in random_instances(rng, "softmax", 1, 7):
        yield from judge_floats(instance, on)


@statement(
    "definition-8",
    source="Definition 8, ReLU-activated transformer",
    text="recovered",
    evidence="exact",
    depends_on=("definition-5", "definition-7"),
    paper=("Definition 8",),
)
def definition_8(rng: np.random.Generator, *, on: Evaluations = SOUND) -> Iterator[Verdict]:
    """The same with ReLU attention: on drawn transformers equality after each layer, of rationals for the schedule (1,
    0, 1), and of batches of integers in the torch modules for (1, 0) and (0, 0).
    """
    for schedule in ((1, 0), (0, 0)):
        for instance in integer_instances(rng, "layer", schedule):
            yield from judge_integers(instance, on)
    for instance in real_instances(rng, "layer", "relu", (1, 0, 1)):
        yield from judge_rationals(instance, on)


def _controls(row: Statement, faults: Iterable[str], elsewhere: Iterable[str]) -> None:
    """`faults` in the modules; queries and keys exchanged, or w2 doubled, in the evaluations named `elsewhere`."""
    for fault in faults:
        row.control(fault, on=replace(SOUND, modules=broken.evaluated(fault)))
    change, what = (broken.doubled, "w2 doubled") if row is definition_5 else (broken.exchanged, broken.EXCHANGED)
    for name in elsewhere:
        row.control(f"{name}: {what}", on=replace(SOUND, **{name: _of(change, getattr(SOUND, name))}))


def _of(change: Callable[[Transformer], Transformer], evaluate: Callable[..., Any]) -> Any:
    """An evaluation of another transformer than the one given."""
    return lambda transformer, *rest: evaluate(change(transformer), *rest)


ATTENTION = (broken.EXCHANGED, broken.SCALED, broken.CAUSAL, broken.SUCCESSIVE, broken.ONE_HEAD, broken.NO_RESIDUAL)
ORDER = (broken.REVERSED, broken.MLP_FIRST, broken.UNTIED, broken.NO_RESIDUAL)
_controls(definition_4, (*ATTENTION, broken.OVER_QUERIES), ("executor", "arrays", "plan", "balls"))
_controls(definition_7, (*ATTENTION, broken.SUMMED, broken.SIGNED), ("arrays", "plan", "balls"))
_controls(definition_5, (broken.BIAS, broken.NO_RELU, broken.NO_RESIDUAL), ("arrays", "plan", "balls"))
_controls(definition_6, (*ORDER, broken.OVER_QUERIES), ("executor", "arrays", "plan", "balls"))
_controls(definition_8, (*ORDER, broken.SUMMED), ("arrays", "plan", "balls"))
test_definition_4, test_definition_4_controls = definition_4.tests()
test_definition_5, test_definition_5_controls = definition_5.tests()
test_definition_6, test_definition_6_controls = definition_6.tests()
test_definition_7, test_definition_7_controls = definition_7.tests()
test_definition_8, test_definition_8_controls = definition_8.tests()
