"""Structure-exploiting execution: a plan is the transformer's own function, in another order of operations (ours)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

import flint
import numpy as np
import torch
from torch import Tensor

from constructions import evaluation, executor, planned_evaluation
from constructions.algorithms.sampling import Mixture
from constructions.em_class import TaskClass, split_tolerance
from constructions.em_transformer import build as build_em
from constructions.em_transformer import encode as encode_em
from constructions.execution_error import sublayer_error
from constructions.execution_plan import Plan, plan
from constructions.number_system import Balls, NumberSystem, Rationals
from constructions.tensor_power_transformer import (
    ATTENTION_ONLY,
    OVERWRITING,
    THEOREM,
    build,
    encode,
    softmax_form,
)
from constructions.tensors import random_start, random_tensor
from constructions.transformer import Transformer
from theory_checks.execution_instances import FAULTS, Instance, random_instances, relabelled, sublayers
from theory_checks.ledger import Verdict, compare, require, statement

Planner = Callable[[Transformer, Tensor], Plan]
BITS = 300
RADIUS = 2.0**-200
LONG = 607  # tokens, in several blocks of queries and of keys


def both(instance: Instance, make: Planner, numbers: NumberSystem) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """After every layer: its number, the literal stream and the planned one, in a number system."""
    weights = evaluation.exact_weights(instance.transformer, numbers)
    tokens = np.vectorize(lambda value: numbers.number(float(value)), otypes=[object])(instance.tokens.numpy())
    literal = evaluation.trace(weights, tokens, numbers)
    planned = planned_evaluation.trace(make(instance.transformer, instance.tokens), tokens, numbers)
    for layer, (one, other) in enumerate(zip(literal, planned, strict=True), start=1):
        yield layer, one, other


def tensor_instances(rng: np.random.Generator) -> Iterator[Instance]:
    """The iteration in its exact forms for d = 3 ≤ d_0 = 5, as built and relabelled."""
    tensor, start = random_tensor(3, rng), random_start(3, rng)
    for form in (THEOREM, OVERWRITING, ATTENTION_ONLY):
        model = build(5, 2, form)
        instance = Instance(form.name, model.transformer, torch.from_numpy(encode(model, tensor, start)))
        yield instance
        yield relabelled(instance, rng)


def em_instances(rng: np.random.Generator, count: int, dtype: torch.dtype = torch.float64) -> Iterator[Instance]:
    """Two EM steps for d = 2, K = 3, as built and relabelled."""
    task_class = TaskClass(2, 3, 4.0, 0.05)
    em = build_em(task_class, split_tolerance(task_class, 2.0, "floor"), 2, dtype)
    start = Mixture(np.array([0.25, 0.25, 0.5]), rng.standard_normal((3, 2)))
    tokens = torch.from_numpy(encode_em(em, rng.uniform(-2, 2, size=(count, 2)), start)).to(dtype)
    instance = Instance("EM", em.transformer, tokens)
    yield instance
    yield relabelled(instance, rng)


@statement("execution-exact", source="executor", text="ours", evidence="exact")
def execution_exact(rng: np.random.Generator, *, make: Planner = plan) -> Iterator[Verdict]:
    """ReLU attention: over the rationals the planned stream equals the literal one after each layer, entry by entry;
    random layers (structured, sparse, dense), and the tensor power iteration as built and relabelled.
    """
    for instance in (*random_instances(rng, "relu", 12), *tensor_instances(rng)):
        for layer, literal, planned in both(instance, make, Rationals()):
            yield require(bool((literal == planned).all()), f"{instance.name}: layer {layer}")


@statement("execution-certified", source="executor", text="ours", evidence="certified")
def execution_certified(rng: np.random.Generator, *, make: Planner = plan) -> Iterator[Verdict]:
    """Softmax attention: in balls of 300 bits the planned and the literal stream overlap after each layer, with radii
    below 2⁻²⁰⁰; random layers, two EM steps, and the softmax form of the tensor power iteration.
    """
    model = build(3, 1, softmax_form(Fraction(1, 64)))
    twins = torch.from_numpy(encode(model, random_tensor(2, rng), random_start(2, rng)))
    instances = [*random_instances(rng, "softmax", 6), Instance("softmax", model.transformer, twins)]
    with flint.ctx.workprec(BITS):
        for instance in (*instances, *em_instances(rng, 7)):
            for layer, literal, planned in both(instance, make, Balls()):
                apart = any(not one.overlaps(other) for one, other in zip(literal.flat, planned.flat, strict=True))
                wide = any(float(ball.rad()) > RADIUS for ball in (*literal.flat, *planned.flat))
                name = f"{instance.name}: layer {layer}"
                yield Verdict("refuted" if apart else "undecided" if wide else "holds", name)


def judge_rounding(instance: Instance, make: Planner) -> Iterator[Verdict]:
    """Sublayer by sublayer: what the executor makes of its own stream against what the literal evaluation does."""
    whole = sublayers(instance.transformer)
    unit = torch.finfo(instance.tokens.dtype).eps / 2
    streams = [instance.tokens, *(s.tokens() for s in executor.trace(make(whole, instance.tokens), instance.tokens))]
    for number, (place, before, after) in enumerate(zip(whole.schedule, streams[:-1], streams[1:], strict=True), 1):
        layer = whole.stored_layers[place]
        part = layer.attention if layer.attention is not None else layer.mlp
        assert part is not None
        off = (layer(before).double() - after.double()).abs().numpy().reshape(-1, *after.shape[-2:])
        inputs = before.double().numpy().reshape(-1, *before.shape[-2:])
        bounds = np.array([sublayer_error(part, h, unit) for h in inputs])
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios = np.where(off != 0, off / bounds, 0.0)  # NaN is not 0
        worst = np.unravel_index(int(np.nan_to_num(ratios, nan=np.inf).argmax()), ratios.shape)
        yield compare(float(off[worst]), float(bounds[worst]), f"{instance.name}: sublayer {number}")


@statement(
    "execution-rounding",
    source="executor",
    text="ours",
    evidence="sampled",
    depends_on=("execution-exact", "execution-certified"),
    rounding=True,
)
def execution_rounding(rng: np.random.Generator, *, make: Planner = plan) -> Iterator[Verdict]:
    """In floating point the executor's layers differ from the literal ones, on the same stream, by at most the bound of
    proofs_notes/execution.md, entry by entry; float64 and float32, batches, both constructions, near-duplicates.
    """
    for activation in ("relu", "softmax"):
        for instance in random_instances(rng, activation, 12):
            yield from judge_rounding(instance, make)
            yield from judge_rounding(relabelled(instance, rng), make)
        for instance in random_instances(rng, activation, 3, LONG):
            yield from judge_rounding(instance, make)
    for instance in (*tensor_instances(rng), *em_instances(rng, 601), *em_instances(rng, 61, torch.float32)):
        yield from judge_rounding(instance, make)
    model = build(5, 3, OVERWRITING)
    starts = np.array([random_start(4, rng) for _ in range(7)])
    batch = torch.from_numpy(encode(model, random_tensor(4, rng), starts))
    yield from judge_rounding(Instance("7 starts", model.transformer, batch), make)


for row in (execution_exact, execution_certified, execution_rounding):
    for fault, broken in FAULTS.items():
        row.control(fault, make=broken)

test_execution_exact, test_execution_exact_controls = execution_exact.tests()
test_execution_certified, test_execution_certified_controls = execution_certified.tests()
test_execution_rounding, test_execution_rounding_controls = execution_rounding.tests()
