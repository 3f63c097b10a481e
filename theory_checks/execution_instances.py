"""Transformers and tokens with every structure that a plan uses, and none; and plans broken on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from constructions.attention_plan import HeadGroup
from constructions.execution_plan import LayerPlan, Plan, plan
from constructions.lookup import Lookup
from constructions.mlp_plan import Curve
from constructions.transformer import AttentionHead, AttentionLayer, MlpLayer, Transformer, TransformerLayer
from constructions.weights import Activation

WIDTH, TOKENS = 11, 13
STYLES = ("structured", "sparse", "dense")


@dataclass(frozen=True)
class Instance:
    """A transformer and what it is run on, (*batch, N, D)."""

    name: str
    transformer: Transformer
    tokens: Tensor


def random_tokens(rng: np.random.Generator, batch: tuple[int, ...] = (), count: int = TOKENS) -> np.ndarray:
    """D = 11: 1, 0, a constant, two coordinates of 3 classes, one of 2, one with near-duplicates, four distinct."""
    tokens = rng.standard_normal((*batch, count, WIDTH))
    tokens[..., 0], tokens[..., 1], tokens[..., 2] = 1.0, 0.0, -0.75
    classes = np.arange(count) % 3
    for c in (3, 4):
        tokens[..., c] = rng.standard_normal((*batch, 3))[..., classes]
    tokens[..., 5] = rng.standard_normal((*batch, 2))[..., rng.integers(2, size=count)]
    near = np.array([0.5, np.nextafter(0.5, 1), -1.25])  # the first two must not be merged
    tokens[..., 6] = near[rng.integers(3, size=count)]
    return tokens


def random_instances(
    rng: np.random.Generator, activation: Activation, examples: int, count: int = TOKENS
) -> Iterator[Instance]:
    """Two layers, one of them run twice, on tokens of the kind above."""
    for example in range(examples):
        style = STYLES[example % len(STYLES)]
        layers = [random_layer(rng, activation, style), random_layer(rng, activation, style)]
        name = f"{activation} {style} {example}"
        yield Instance(name, Transformer(layers, (0, 1, 0)), torch.from_numpy(random_tokens(rng, count=count)))


def random_layer(rng: np.random.Generator, activation: Activation, style: str) -> TransformerLayer:
    """Heads of three shapes, one doubled with its values negated, one zero, one whose keys and values have 3 classes,
    one whose values are finer than its keys; an MLP with curves, clears and copies.
    """
    density = {"structured": 0.12, "sparse": 0.25, "dense": 1.0}[style]

    def matrix(rows: int, columns: int) -> np.ndarray:
        return rng.standard_normal((rows, columns)) * (rng.random((rows, columns)) < density) / 2

    shapes = [(2, 3), (2, 3), (3, 1)]
    heads = [[matrix(r, WIDTH), matrix(r, WIDTH), matrix(s, WIDTH), matrix(WIDTH, s)] for r, s in shapes]
    query, key, value, output = heads[0]
    heads.append([-query, key, -2 * value, output])  # shares its values with the first
    heads.append([matrix(2, WIDTH), np.zeros((2, WIDTH)), matrix(3, WIDTH), output])  # a score of 0
    one = np.eye(WIDTH)
    heads.append([one[[7]], one[[3]], one[[4]], one[:, [10]] / 2])
    heads.append([one[[7]], one[[3]], one[[5]], one[:, [9]] / 2])  # values finer than keys
    heads.append([np.zeros((1, WIDTH)), np.zeros((1, WIDTH)), np.zeros((1, WIDTH)), matrix(WIDTH, 1)])
    w1, w2 = random_units(rng, style)
    attention = AttentionLayer([AttentionHead(*map(torch.from_numpy, head)) for head in heads], activation)
    return TransformerLayer(attention, MlpLayer(torch.from_numpy(w1), torch.from_numpy(w2)))


def random_units(rng: np.random.Generator, style: str) -> tuple[np.ndarray, np.ndarray]:
    """Curves of both signs of breakpoints, 1/5 as strong as their source, clears, copies, constants, dense units."""
    units: list[tuple[dict[int, float], dict[int, float]]] = []
    for source, target in ((4, 5), (7, 8), (7, 9), (8, 9), (9, 9)):
        side = rng.choice([-1.0, 1.0])
        for _ in range(7):
            reads = {source: rng.choice([-1.0, 1.0]), 0: side * rng.uniform(0, 2)}
            units.append((reads, {target: float(rng.standard_normal()) / 35}))
    for sign in (1.0, -1.0):
        units.append(({3: sign}, {3: -sign}))  # clears 3
        units.append(({4: sign}, {3: sign}))  # and copies 4 there
    units.append(({2: -2.0, 0: 0.25}, {1: 0.5, 6: 0.125}))  # reads constants alone
    units.append(({5: 1.0}, {}))
    for _ in range({"structured": 0, "sparse": 3, "dense": 5}[style]):
        reads = {c: float(rng.standard_normal()) / 3 for c in rng.choice(WIDTH, size=3, replace=False)}
        units.append((reads, {c: float(rng.standard_normal()) / 5 for c in rng.choice(WIDTH, size=2, replace=False)}))
    w1, w2 = np.zeros((len(units), WIDTH)), np.zeros((WIDTH, len(units)))
    for j, (reads, writes) in enumerate(units):
        for c, weight in reads.items():
            w1[j, c] = weight
        for c, weight in writes.items():
            w2[c, j] = weight
    return w1, w2


def sublayers(transformer: Transformer) -> Transformer:
    """The same function with every attention layer and every MLP a layer of its own; tied ones stay tied."""
    parts: list[TransformerLayer] = []
    places: list[list[int]] = []
    for layer in transformer.stored_layers:
        halves = (TransformerLayer(layer.attention, None), TransformerLayer(None, layer.mlp))
        kept = [half for half in halves if half.attention is not None or half.mlp is not None]
        places.append(list(range(len(parts), len(parts) + len(kept))))
        parts += kept
    return Transformer(parts, [place for index in transformer.schedule for place in places[index]])


def relabelled(instance: Instance, rng: np.random.Generator) -> Instance:
    """The same function with coordinates, heads and hidden units in another order."""
    order = torch.from_numpy(rng.permutation(instance.transformer.width))
    layers = []
    for layer in instance.transformer.stored_layers:
        attention, mlp = None, None
        if layer.attention is not None:
            heads = layer.attention.stored_heads
            shuffled = [heads[i] for i in rng.permutation(len(heads))]
            attention = AttentionLayer(
                [
                    AttentionHead(h.query[:, order], h.key[:, order], h.value[:, order], h.output[order])
                    for h in shuffled
                ],
                layer.attention.activation,
            )
        if layer.mlp is not None:
            units = torch.from_numpy(rng.permutation(len(layer.mlp.w1)))
            mlp = MlpLayer(layer.mlp.w1[units][:, order], layer.mlp.w2[order][:, units])
        layers.append(TransformerLayer(attention, mlp))
    transformer = Transformer(layers, instance.transformer.schedule)
    return Instance(f"{instance.name} relabelled", transformer, instance.tokens[..., order])


def _changed(
    made: Plan,
    head_group: Callable[[HeadGroup], HeadGroup] | None = None,
    curve: Callable[[Curve], Curve] | None = None,
) -> Plan:
    """The plan with a function applied to every group of heads, or to every curve."""
    layers: dict[LayerPlan, LayerPlan] = {}
    for layer in made.layers:
        attention, mlp = layer.attention, layer.mlp
        if head_group is not None and attention is not None:
            attention = replace(attention, groups=tuple(head_group(group) for group in attention.groups))
        if curve is not None and mlp is not None:
            mlp = replace(mlp, curves=tuple(curve(one) for one in mlp.curves))
        layers.setdefault(layer, replace(layer, attention=attention, mlp=mlp))
    return replace(made, layers=tuple(layers[layer] for layer in made.layers))


def wrong_multiplicity(transformer: Transformer, tokens: Tensor) -> Plan:
    """The first of several classes of keys counts one token more."""

    def miscounted(group: HeadGroup) -> HeadGroup:
        if group.keys.labels is None or group.keys.count == 1 or group.values is not group.keys:
            return group
        sizes = group.keys.sizes + (np.arange(group.keys.count) == 0)
        keys = replace(group.keys, sizes=sizes)
        return replace(group, keys=keys, values=keys)

    return _changed(plan(transformer, tokens), head_group=miscounted)


def wrong_mean(transformer: Transformer, tokens: Tensor) -> Plan:
    """Where the values of a class of keys are averaged, their first class counts one token more."""

    def miscounted(group: HeadGroup) -> HeadGroup:
        if group.values.labels is None or group.values is group.keys:
            return group
        sizes = group.values.sizes + (np.arange(group.values.count) == 0)
        return replace(group, values=replace(group.values, sizes=sizes))

    return _changed(plan(transformer, tokens), head_group=miscounted)


def shifted_breakpoint(transformer: Transformer, tokens: Tensor) -> Plan:
    """The first breakpoint of every curve lies 1/64 further to the left; the lines of the segments are as they were."""

    def shifted(one: Curve) -> Curve:
        points = (one.function.breakpoints[0] - Fraction(1, 64), *one.function.breakpoints[1:])
        gap = one.function.slopes[1] * (points[0] - one.function.breakpoints[0])
        values = (*one.function.values[:1], *(value - gap for value in one.function.values[1:]))
        function = replace(one.function, breakpoints=points, values=values)
        return replace(one, function=function, lookup=Lookup(function, transformer.dtype))

    return _changed(plan(transformer, tokens), curve=shifted)


def merged_classes(transformer: Transformer, tokens: Tensor) -> Plan:
    """Planned for tokens in which two classes of a coordinate are one."""
    made = plan(transformer, tokens)
    altered = tokens.clone()
    for c, coordinate in enumerate(made.coordinates):
        classes = coordinate.partition
        if classes.labels is not None and classes.count > 1:
            second = torch.from_numpy(classes.labels == 1)
            altered[..., second, c] = tokens[..., int(classes.first[0]), c, None]
            break
    return plan(transformer, altered)


FAULTS = {
    "a class of keys counted once too often": wrong_multiplicity,
    "a class of values counted once too often": wrong_mean,
    "a breakpoint shifted by 1/64": shifted_breakpoint,
    "two distinct classes merged": merged_classes,
}
