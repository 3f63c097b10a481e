"""Evaluate a plan in floating point: batched over data sets, blocked over tokens, nothing of size N×N or N×D held.

Blocks are small enough to stay in the cache, so that a layer costs about one pass over what it reads and writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import prod

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from constructions.attention_plan import AttentionPlan, HeadGroup, Reading
from constructions.compressed_stream import EVERYTHING, ZERO, Stream
from constructions.execution_plan import Plan, plan
from constructions.factor import Factor
from constructions.mlp_plan import Assignment, Curve, DenseUnits, MlpPlan
from constructions.piecewise_linear import nearest_float
from constructions.token_classes import Partition
from constructions.transformer import Transformer

BLOCK_ELEMENTS = 2**16
"""Numbers of one kind held at a time while blocks of tokens are worked on."""
HUGE = 2**22
"""Bytes from which huge pages are asked for."""
LEAST_BLOCK = 256
"""Tokens in a block where both sides of an attention are long."""


def trace(made: Plan, tokens: Float[Tensor, "*batch N D"]) -> Iterator[Stream]:
    """The stream after every layer, in turn; `made` is the plan of these very tokens (execution_plan.plan).

    Raises
    ------
    ValueError
        If the plan is for another number of tokens or another width.
    """
    planned = (made.everyone.tokens, len(made.coordinates))
    if tokens.shape[-2:] != planned:
        raise ValueError(
            f"the tokens have shape {tuple(tokens.shape)}; the plan is for (..., {planned[0]}, {planned[1]})"
        )
    stream = Stream.of(tokens, made.coordinates)
    for layer in made.layers:
        if layer.attention is not None:
            stream = attend(layer.attention, stream)
        if layer.mlp is not None:
            stream = apply_mlp(layer.mlp, stream)
        stream.drop_unused()
        yield stream


def streams(transformer: Transformer, tokens: Float[Tensor, "*batch N D"], made: Plan | None) -> Iterator[Stream]:
    """The stream after every layer, in turn: as planned for these tokens, or literally if there is no plan."""
    if made is not None:
        yield from trace(made, tokens)
    else:
        for h in transformer.trace(tokens):
            yield Stream.dense(h)


def run(transformer: Transformer, tokens: Float[Tensor, "*batch N D"]) -> Float[Tensor, "*batch N D"]:
    """The dense stream after the last layer, as Transformer.forward gives it."""
    last = Stream.dense(tokens)
    for last in trace(plan(transformer, tokens), tokens):  # noqa: B007 - only the last one is wanted
        pass
    return last.tokens()


def attend(layer: AttentionPlan, stream: Stream) -> Stream:
    """h_i ← h_i + Σ_m Σ_j a(⟨Q_m h_i, K_m h_j⟩) V_m h_j, class by class."""
    after = stream.copy()
    for group in layer.groups:  # all read the layer's input
        update = attend_group(group, layer.activation == "softmax", stream)
        after.add(group.targets, update, group.queries, layer.after)
    return after


def attend_group(group: HeadGroup, softmax: bool, stream: Stream) -> Float[Tensor, "batch targets queries"]:
    """What the group's heads add together, for every class of queries."""
    batch, queries, keys = stream.zeros.shape[0], group.queries.count, group.keys.count
    sides = _Sides(group, softmax, stream)
    pairs = max(1, BLOCK_ELEMENTS // len(group.heads))
    key_rows = max(LEAST_BLOCK, pairs // queries)
    query_rows = max(LEAST_BLOCK, pairs // min(keys, key_rows))
    sets = max(1, pairs // (min(queries, query_rows) * min(keys, key_rows)))
    result = empty((batch, len(group.targets), queries), group.output.dtype)
    for data in blocks(batch, sets):
        values = sides.values(data)
        whole = sides.keys(data, EVERYTHING, values) if keys <= key_rows else None
        for block in blocks(queries, query_rows):
            query = sides.queries(data, block)
            pooling = Softmax() if softmax else Relu(group)
            for part in blocks(keys, key_rows):
                pooling.add(query, whole if whole is not None else sides.keys(data, part, values))
            pooling.write(group.write, result[data, :, block])
    return result


class _Linear:
    """A reading of a stream at the classes of a partition, block by block, as (batch, parts, rows, classes)."""

    def __init__(self, reading: Reading, stream: Stream, classes: Partition, parts: int) -> None:
        self.reading, self.rows = reading, stream.kept_rows(reading.sources, classes)
        self.shape = (parts, reading.rows // parts)

    def __call__(self, data: slice, block: slice) -> Float[Tensor, "batch parts rows classes"]:
        """Rows of one part after those of another."""
        result = self.rows(data, block)
        if self.reading.matrix is not None:
            result = self.reading.matrix @ result
        elif self.reading.scales is not None:
            result = result * self.reading.scales
        return result.reshape(result.shape[0], *self.shape, result.shape[2])


class _Keys:
    """Keys and values of some classes: k (batch, heads, rank, keys), v (batch, values, rows, keys), and their sizes."""

    def __init__(self, k: Tensor, v: Tensor, bias: Tensor | None, sizes: Tensor | None, short: int) -> None:
        self.k, self.v, self.bias, self.sizes = k, v, bias, sizes
        self.factors = (Factor(k, short), Factor(v.mT, short)) if short else None

    def scores(self, query: Tensor | Factor) -> Float[Tensor, "batch heads keys queries"]:
        """⟨query, key⟩ + bias; it may be a view of the stream."""
        if isinstance(query, Factor):  # the fewer queries
            scores = query(self.k).mT
        else:
            scores = self.factors[0](query) if self.factors is not None else self.k.mT @ query
        return scores if self.bias is None else scores + self.bias

    def pooled(self, weights: Float[Tensor, "batch values keys queries"]) -> Float[Tensor, "batch values rows queries"]:
        """Σ_j v_j·weight_j; it may be `weights` itself."""
        if self.factors is not None:
            return self.factors[1](weights)
        return (weights.mT @ self.v.mT).mT  # a few queries times many keys: faster in this order


class _Sides:
    """The queries, keys and values of a group of heads, read from a stream."""

    def __init__(self, group: HeadGroup, softmax: bool, stream: Stream) -> None:
        heads = len(group.heads)
        self.group, self.softmax = group, softmax
        self.short_keys = group.queries.count if group.keys.count <= group.queries.count else 0
        self._query = _Linear(group.query, stream, group.queries, heads)
        self._key = _Linear(group.key, stream, group.keys, heads)
        self._value = _Linear(group.value, stream, group.values, group.value.rows // group.output.shape[1])
        self._biases = None
        if group.biases:
            query = _Linear(group.bias_query, stream, stream.buffers[ZERO].classes, heads)
            self._biases = query, _Linear(group.bias_key, stream, group.keys, heads)

    def queries(self, data: slice, block: slice) -> Tensor | Factor:
        """(batch, heads, rank, queries), as a factor where queries are the shorter side."""
        queries = self._query(data, block)
        return queries if self.short_keys else Factor(queries, self.group.keys.count)

    def values(self, data: slice) -> Tensor | None:
        """The mean value of every class of keys, where tokens of a class have different values."""
        group = self.group
        if group.values is group.keys or group.multiplicities is None:
            return None
        totals: list[Tensor] = []
        labels = group.keys.of(group.values)
        sizes = None if group.values.labels is None else torch.from_numpy(group.values.sizes).to(group.output.dtype)
        for block in blocks(group.values.count, max(LEAST_BLOCK, BLOCK_ELEMENTS // group.value.rows)):
            part = self._value(data, block)
            part = part if sizes is None else part * sizes[block]
            if labels is None:
                totals.append(part.sum(dim=-1, keepdim=True))
            else:
                summed = part.new_zeros((*part.shape[:-1], group.keys.count))
                totals.append(summed.index_add_(-1, labels[block], part))
        return torch.stack(totals).sum(dim=0) / group.multiplicities

    def keys(self, data: slice, block: slice, values: Tensor | None) -> _Keys:
        """The keys of a block of classes; `values` are the means of all classes, if they are needed."""
        group, bias, sizes = self.group, None, None
        if self._biases is not None:
            query, key = (part(data, where) for part, where in zip(self._biases, (EVERYTHING, block), strict=True))
            bias = (query * key).sum(dim=2)[..., None]
        if self.softmax and group.log_multiplicities is not None:
            many = group.log_multiplicities[block, None]
            bias = many if bias is None else bias + many
        if not self.softmax and group.multiplicities is not None:
            sizes = group.multiplicities[block, None]
        v = values[..., block] if values is not None else self._value(data, block)
        if self.softmax and len(group.heads) > 1:
            v = v[:, group.share_of]
        return _Keys(self._key(data, block), v, bias, sizes, self.short_keys)


class Softmax:
    """Σ_j softmax(scores)_j v_j over blocks of keys, less the largest score so far (Milakov and Gimelshein 2018)."""

    def __init__(self) -> None:
        self.parts: tuple[Tensor, Tensor, Tensor] | None = None  # largest score, Σ e^(score − largest), Σ e^… v

    def add(self, query: Tensor | Factor, keys: _Keys) -> None:
        """One more block of keys."""
        scores = keys.scores(query)
        largest = scores.amax(dim=-2, keepdim=True)
        if self.parts is not None:
            largest = torch.maximum(largest, self.parts[0])
        weights = (scores - largest).exp_()
        total, pooled = weights.sum(dim=-2, keepdim=True), keys.pooled(weights)
        if self.parts is not None:
            before, its_total, its_pooled = self.parts
            shrunk = (before - largest).exp_()
            total, pooled = total + its_total * shrunk, pooled + its_pooled * shrunk
        self.parts = largest, total, pooled

    def write(self, output: Factor, target: Float[Tensor, "batch targets queries"]) -> None:
        """What all heads together add, into `target`."""
        assert self.parts is not None
        _, total, pooled = self.parts
        if pooled.shape[1] == 1:
            torch.div(output(pooled[:, 0]), total[:, 0], out=target)
        else:
            target.copy_(output((pooled / total).sum(dim=1)))


class Relu:
    """Σ_j relu(scores)_j v_j / N over blocks of keys; heads whose values are proportional add their weights first."""

    def __init__(self, group: HeadGroup) -> None:
        self.group = group
        self.total: Tensor | None = None

    def add(self, query: Tensor | Factor, keys: _Keys) -> None:
        """One more block of keys."""
        weights = keys.scores(query).relu()
        if keys.sizes is not None:
            weights = weights * keys.sizes
        if len(self.group.heads) > 1:
            shared = weights.new_zeros((len(weights), keys.v.shape[1], *weights.shape[2:]))
            weights = shared.index_add_(1, self.group.share_of, weights * self.group.share[:, None, None])
        pooled = keys.pooled(weights)
        self.total = pooled if self.total is None else self.total + pooled

    def write(self, output: Factor, target: Float[Tensor, "batch targets queries"]) -> None:
        """What all heads together add, into `target`."""
        assert self.total is not None
        total = self.total.sum(dim=1) if self.total.shape[1] > 1 else self.total[:, 0]
        torch.div(output(total), self.group.keys.tokens, out=target)


def apply_mlp(layer: MlpPlan, stream: Stream) -> Stream:
    """H ← h + w2·relu(w1·h): assignments first, then what curves and dense units add."""
    after = stream.copy()
    after.clear(layer.cleared)
    after.link(*layer.copied, stream)
    for target, assigned in layer.computed.items():
        after.put([target], assign(assigned, stream), assigned.classes)
    for curve in layer.curves:
        after.add(curve.targets, apply_curve(curve, stream), curve.classes, layer.after)
    if layer.dense is not None:
        after.add(layer.dense.targets, apply_units(layer.dense, stream), layer.dense.classes, layer.after)
    return after


def assign(assigned: Assignment, stream: Stream) -> Float[Tensor, "batch 1 classes"]:
    """Constant + Σ coefficient·h[source]."""
    value = stream.zeros.expand(-1, 1, assigned.classes.count) + rounded(assigned.constant, stream.zeros)
    for source, coefficient in assigned.terms:
        value += rounded(coefficient, value) * stream.rows(np.array([source]), assigned.classes)()
    return value


def rounded(number: Fraction, like: Tensor) -> Tensor:
    """In the dtype of a tensor; infinite beyond its range."""
    return torch.tensor(nearest_float(number), dtype=torch.float64).to(like.dtype)


def apply_curve(curve: Curve, stream: Stream) -> Float[Tensor, "batch targets classes"]:
    """The function of every source."""
    rows, like, count = stream.kept_rows(curve.sources, curve.classes), stream.zeros, curve.classes.count
    result = empty((like.shape[0], len(curve.sources), count), like.dtype)
    size = max(LEAST_BLOCK, BLOCK_ELEMENTS // len(curve.sources))
    for data in blocks(like.shape[0], max(1, size // count)):
        for block in blocks(count, size):
            result[data, :, block] = curve.lookup(rows(data, block))
    if curve.place is None:
        return result
    return result.new_zeros((like.shape[0], len(curve.targets), count)).index_add_(1, curve.place, result)


def apply_units(dense: DenseUnits, stream: Stream) -> Float[Tensor, "batch targets classes"]:
    """w2·relu(w1·h), literally."""
    rows, like, count = stream.kept_rows(dense.sources, dense.classes), stream.zeros, dense.classes.count
    result = empty((like.shape[0], len(dense.targets), count), like.dtype)
    size = max(1, BLOCK_ELEMENTS // len(dense.w1))
    for data in blocks(like.shape[0], max(1, size // count)):
        for block in blocks(count, size):
            result[data, :, block] = dense.w2 @ (dense.w1 @ rows(data, block)).relu()
    return result


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Memory from numpy, which asks for huge pages: the first write to 64 MB then takes a quarter of the time."""
    size = prod(shape) * dtype.itemsize
    if size < HUGE:
        return torch.empty(shape, dtype=dtype)
    return torch.from_numpy(np.empty(size, dtype=np.uint8)).view(dtype).view(shape)


def blocks(count: int, size: int) -> Iterator[slice]:
    """0..count in slices of `size`; everything, if that is one."""
    return (slice(start, start + size) for start in range(0, count, size)) if size < count else iter([EVERYTHING])
