"""A plan to evaluate any Transformer on given tokens: same weights, same function, another order of operations.

It rests on the matrices and on which tokens agree, never on what a construction calls its coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from constructions.attention_plan import AttentionPlan, Coordinate, plan_attention
from constructions.mlp_plan import Functions, MlpPlan, plan_mlp
from constructions.token_classes import Partition, Partitions
from constructions.transformer import Transformer, TransformerLayer

Execution = Literal["structured", "dense"]


@dataclass(frozen=True, eq=False)
class LayerPlan:
    """Attention, then MLP; either may be missing."""

    attention: AttentionPlan | None
    mlp: MlpPlan | None
    after: tuple[Coordinate, ...]  # the coordinates when the layer has run

    @property
    def operations(self) -> int:
        """Multiplications and look-ups for one data set."""
        return sum(part.operations for part in (self.attention, self.mlp) if part is not None)

    @property
    def dense_operations(self) -> int:
        """Multiplications of the literal evaluation."""
        return sum(part.dense_operations for part in (self.attention, self.mlp) if part is not None)


@dataclass(frozen=True, eq=False)
class Plan:
    """Coordinates of the input, and a plan for every layer of the schedule; layers that run alike share theirs."""

    everyone: Partition  # every token its own class
    coordinates: tuple[Coordinate, ...]
    layers: tuple[LayerPlan, ...]

    @property
    def operations(self) -> int:
        """Multiplications and look-ups for one data set, all layers together."""
        return sum(layer.operations for layer in self.layers)

    @property
    def dense_operations(self) -> int:
        """Multiplications of the literal evaluation, all layers together."""
        return sum(layer.dense_operations for layer in self.layers)

    @property
    def summary(self) -> str:
        """Operations against the literal evaluation's."""
        return f"structured execution, {self.operations:.3g} operations instead of {self.dense_operations:.3g}"

    def __str__(self) -> str:
        """A table: which layers run how, with their operations against the dense ones."""
        places: dict[LayerPlan, list[int]] = {}
        for number, layer in enumerate(self.layers, start=1):
            places.setdefault(layer, []).append(number)
        rows = [("layers", "part", "operations", "dense", "how")]
        for layer, numbers in places.items():
            for name, part in (("attention", layer.attention), ("mlp", layer.mlp)):
                if part is not None:
                    ours, dense = (f"{count:.3g}" for count in (part.operations, part.dense_operations))
                    rows.append((shown(numbers), name, ours, dense, str(part)))
        rows.append(("all", "", f"{self.operations:.3g}", f"{self.dense_operations:.3g}", "multiplications, look-ups"))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        return "\n".join(
            "  ".join([f"{row[0]:{widths[0]}s}", f"{row[1]:{widths[1]}s}"])
            + "".join(f"  {row[column]:>{widths[column]}s}" for column in (2, 3))
            + f"  {row[4]}"
            for row in rows
        )


def shown(numbers: Sequence[int]) -> str:
    """E.g. `3, 5 .. 19`."""
    if len(numbers) > 3 and len(set(np.diff(numbers))) == 1:
        return f"{numbers[0]}, {numbers[1]} .. {numbers[-1]}"
    return ", ".join(map(str, numbers))


def plan(transformer: Transformer, tokens: Float[Tensor, "*batch N D"]) -> Plan:
    """Find the classes of the tokens once, and carry them through the layers.

    Tokens agree on a coordinate if they do bit for bit, in every data set of the batch. After an attention layer the
    classes of a coordinate are those it had, joined with those of the queries that wrote it; after an MLP, those of
    what it was computed from.

    Raises
    ------
    ValueError
        If the tokens' last axis is not the transformer's width, or there is no token.
    """
    if tokens.dim() < 2 or tokens.shape[-1] != transformer.width or tokens.numel() == 0:
        raise ValueError(f"the tokens have shape {tuple(tokens.shape)}; (..., N, {transformer.width}) is needed, N ≥ 1")
    partitions = Partitions(tokens.shape[-2])
    flat = tokens.reshape(-1, *tokens.shape[-2:])
    given = tuple(_coordinate(flat[..., c], partitions) for c in range(transformer.width))
    stored = transformer.stored_layers
    made: dict[tuple[int, int], LayerPlan] = {}  # by stored layer and coordinates, of which equal ones are one object
    met: dict[tuple[object, ...], tuple[Coordinate, ...]] = {}
    functions = Functions(transformer.dtype)
    layers, coordinates = [], given
    for index in transformer.schedule:
        key = (index, id(coordinates))
        if key not in made:
            layer = plan_layer(stored[index], coordinates, partitions, functions)
            content = tuple((id(coordinate.partition), coordinate.known) for coordinate in layer.after)
            made[key] = replace(layer, after=met.setdefault(content, layer.after))
        layers.append(made[key])
        coordinates = made[key].after
    return Plan(partitions.distinct, given, tuple(layers))


def plan_layer(
    layer: TransformerLayer, coordinates: tuple[Coordinate, ...], partitions: Partitions, functions: Functions
) -> LayerPlan:
    """The plan of one layer on a stream with these coordinates."""
    attention, mlp = None, None
    if layer.attention is not None:
        heads = [head.weights for head in layer.attention.stored_heads]
        attention = plan_attention(heads, layer.attention.activation, coordinates, partitions, functions.dtype)
        coordinates = attention.after
    if layer.mlp is not None:
        w1, w2 = (matrix.detach().double().numpy() for matrix in (layer.mlp.w1, layer.mlp.w2))
        mlp = plan_mlp(w1, w2, coordinates, partitions, functions)
        coordinates = mlp.after
    return LayerPlan(attention, mlp, coordinates)


def _coordinate(values: Tensor, partitions: Partitions) -> Coordinate:
    """Values of shape (batch, N)."""
    classes = partitions.of_values(values)
    known = float(values[0, 0]) if classes is partitions.single and bool((values[:, 0] == values[0, 0]).all()) else None
    return Coordinate(classes, known if known is not None and isfinite(known) else None)
