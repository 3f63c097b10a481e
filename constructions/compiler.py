"""Descriptions of constructions, and the compiler that lowers them to matrices.

A head is a bilinear form between named subspaces (its score) and a move from one subspace to another; an MLP
applies one-dimensional networks to coordinates, moves subspaces and clears them. Nothing here depends on sizes
or on the number system, so a construction can be compared with its proof line by line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from constructions.number_system import FLOAT64, Exact, NumberSystem
from constructions.relu_networks import ReluNetwork, identity_network
from constructions.residual_stream import ResidualStream
from constructions.weights import Activation, Array, HeadWeights, LayerWeights, TransformerWeights

Pair = tuple[str, str] | tuple[str, str, Exact]  # (from, to) or (from, to, scale)


@dataclass(frozen=True)
class Head:
    """Score_ij = Σ scale·⟨h_i[query], h_j[key]⟩ over `score`; adds scale·h_j[source] to h_i[target] over `move`.

    An empty score is the constant 0: uniform attention.
    """

    score: Sequence[Pair]
    move: Sequence[Pair]


@dataclass(frozen=True)
class Mlp:
    """For every token: h[target] += network(h[source]); h[target] += scale·h[source]; h[z] = 0.

    `apply` holds (network, source, target): coordinatewise when the sizes agree, and summed over the
    coordinates of the source when the target has size 1. `move` and `clear` are exact: s = relu(s) − relu(−s).
    All parts read the MLP's input, so a subspace may be cleared and written in one MLP.
    """

    apply: Sequence[tuple[str, str, str]] = ()
    move: Sequence[Pair] = ()
    clear: Sequence[str] = ()


@dataclass(frozen=True)
class Layer:
    """Attention heads with their activation, then an MLP; either may be missing."""

    heads: Sequence[Head] = ()
    mlp: Mlp | None = None
    activation: Activation = "softmax"


@dataclass(frozen=True)
class HiddenBlock:
    """A range [start, stop) of an MLP's hidden units and what it computes, e.g. "log(w)->log_w"."""

    name: str
    start: int
    stop: int


def lower(
    layers: Sequence[Layer],
    schedule: Sequence[int],
    stream: ResidualStream,
    networks: Mapping[str, ReluNetwork],
    numbers: NumberSystem = FLOAT64,
) -> TransformerWeights:
    """Matrices of the described layers over `stream`, in the given number system.

    Raises
    ------
    ValueError, KeyError
        If paired subspaces differ in size, or a subspace or network is unknown.
    """
    lowered = []
    for layer in layers:
        w1, w2 = lower_mlp(layer.mlp, stream, networks, numbers) if layer.mlp else (None, None)
        heads = tuple(lower_head(head, stream, numbers) for head in layer.heads)
        lowered.append(LayerWeights(heads, layer.activation, w1, w2))
    return TransformerWeights(tuple(lowered), tuple(schedule))


def lower_head(head: Head, stream: ResidualStream, numbers: NumberSystem) -> HeadWeights:
    """Query and key read the paired subspaces (the scale sits in the key), value reads, output writes."""
    query, key = _selectors(head.score, stream, numbers)
    output, value = _selectors([(move[1], move[0], *move[2:]) for move in head.move], stream, numbers)
    return HeadWeights(query, key, value, np.ascontiguousarray(output.T))


def lower_mlp(
    mlp: Mlp, stream: ResidualStream, networks: Mapping[str, ReluNetwork], numbers: NumberSystem
) -> tuple[Array, Array]:
    """w1 (D′×D) and w2 (D×D′); biases are weights on the coordinate `one`, which is always 1."""
    parts = _mlp_parts(mlp, stream, networks, numbers)
    hidden = sum(network.units for _, network, _, _ in parts)
    w1, w2 = numbers.zeros((hidden, stream.width)), numbers.zeros((stream.width, hidden))
    one = stream["one"].start
    start = 0
    for _, network, source, target in parts:
        stop = start + network.units
        w1[start:stop, source] = network.w
        w1[start:stop, one] = w1[start:stop, one] + network.b  # the source may itself be `one`
        w2[target, start:stop] = network.a
        start = stop
    return w1, w2


def hidden_layout(mlp: Mlp, stream: ResidualStream, networks: Mapping[str, ReluNetwork]) -> tuple[HiddenBlock, ...]:
    """The hidden units of a lowered MLP, named by what they compute, in their order."""
    blocks: list[HiddenBlock] = []
    for name, network, _, _ in _mlp_parts(mlp, stream, networks, FLOAT64):
        start = blocks[-1].stop if blocks else 0
        if blocks and blocks[-1].name == name:
            blocks[-1] = HiddenBlock(name, blocks[-1].start, start + network.units)
        else:
            blocks.append(HiddenBlock(name, start, start + network.units))
    return tuple(blocks)


def _selectors(pairs: Sequence[Pair], stream: ResidualStream, numbers: NumberSystem) -> tuple[Array, Array]:
    """Two (rank×D) matrices that select the first and, scaled, the second member of every pair, stacked.

    An empty list gives one row of zeros: a score of 0 without a matrix of rank 0.
    """
    sizes = [_common_size(pair[0], pair[1], stream) for pair in pairs]
    rank = max(1, sum(sizes))
    left, right = numbers.zeros((rank, stream.width)), numbers.zeros((rank, stream.width))
    start = 0
    for pair, size in zip(pairs, sizes, strict=True):
        rows = np.arange(start, start + size)
        scale = pair[2] if len(pair) == 3 else 1
        left[rows, np.arange(stream.width)[stream[pair[0]]]] = numbers.number(1)
        right[rows, np.arange(stream.width)[stream[pair[1]]]] = numbers.number(scale)
        start += size
    return left, right


def _mlp_parts(
    mlp: Mlp, stream: ResidualStream, networks: Mapping[str, ReluNetwork], numbers: NumberSystem
) -> list[tuple[str, ReluNetwork, int, int]]:
    """(name, network, source coordinate, target coordinate) of every one-dimensional network in an MLP."""
    parts = []
    for network_name, source, target in mlp.apply:
        if network_name not in networks:
            raise KeyError(f"{network_name!r} names no network of {', '.join(networks)}")
        name = f"{network_name}({source})->{target}"
        parts += [(name, networks[network_name], *pair) for pair in _coordinate_pairs(source, target, stream)]
    for source, target, *scale in mlp.move:
        linear = identity_network(scale[0] if scale else 1, numbers)
        _common_size(source, target, stream)
        name = f"move({source})->{target}"
        parts += [(name, linear, *pair) for pair in _coordinate_pairs(source, target, stream)]
    for cleared in mlp.clear:
        negated = identity_network(-1, numbers)
        parts += [(f"clear({cleared})", negated, *pair) for pair in _coordinate_pairs(cleared, cleared, stream)]
    return parts


def _coordinate_pairs(source: str, target: str, stream: ResidualStream) -> list[tuple[int, int]]:
    sources = range(stream[source].start, stream[source].stop)
    if stream.size(target) == 1:
        return [(coordinate, stream[target].start) for coordinate in sources]
    _common_size(source, target, stream)
    return list(zip(sources, range(stream[target].start, stream[target].stop), strict=True))


def _common_size(first: str, second: str, stream: ResidualStream) -> int:
    size, other = stream.size(first), stream.size(second)
    if size != other:
        raise ValueError(f"{first!r} has size {size} and {second!r} has size {other}; they must agree")
    return size
