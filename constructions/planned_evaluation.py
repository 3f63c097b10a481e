"""A plan in any number system: in rationals and balls it shows that the plan is the transformer's own function.

Slow and literal, like evaluation.py: every class is worked out over numpy's object arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Shaped

from constructions.attention_plan import Coordinate, HeadGroup, Reading
from constructions.evaluation import lifted
from constructions.execution_plan import Plan
from constructions.mlp_plan import MlpPlan
from constructions.number_system import NumberSystem
from constructions.token_classes import Partition
from constructions.weights import Activation, Array


@dataclass(frozen=True, eq=False)
class Column:
    """One coordinate, a value for each class."""

    values: Array
    classes: Partition

    def at(self, finer: Partition) -> Array:
        """Its values for the classes of a finer partition."""
        if self.classes.count == 1:
            return np.repeat(self.values, finer.count)
        labels = self.classes.of(finer)
        return self.values if labels is None else self.values[labels.numpy()]


def trace(made: Plan, tokens: Shaped[np.ndarray, "N D"], numbers: NumberSystem) -> Iterator[Shaped[np.ndarray, "N D"]]:
    """The dense stream after every layer, in turn; `made` is the plan of these tokens, rounded."""
    columns = [
        Column(tokens[coordinate.partition.first, c], coordinate.partition)
        for c, coordinate in enumerate(made.coordinates)
    ]
    for layer in made.layers:
        if layer.attention is not None:
            updates = [
                (group.targets, attend_group(group, layer.attention.activation, columns, numbers), group.queries)
                for group in layer.attention.groups
            ]
            for update in updates:
                columns = added(columns, *update, layer.attention.after)
        if layer.mlp is not None:
            columns = apply_mlp(layer.mlp, columns, numbers)
        yield np.array([column.at(made.everyone) for column in columns], dtype=object).T


def attend_group(group: HeadGroup, activation: Activation, columns: Sequence[Column], numbers: NumberSystem) -> Array:
    """What the group's heads add together: (targets, queries)."""
    heads, tokens = len(group.heads), numbers.number(group.keys.tokens)
    queries = _read(group.query, columns, group.queries, numbers).reshape(heads, group.rank, group.queries.count)
    keys = _read(group.key, columns, group.keys, numbers).reshape(heads, group.rank, group.keys.count)
    scores = keys.swapaxes(1, 2) @ queries if group.rank else numbers.zeros((heads, keys.shape[2], queries.shape[2]))
    if group.biases:
        single = columns[group.bias_query.sources[0]].classes
        left = _read(group.bias_query, columns, single, numbers).reshape(heads, group.biases, 1)
        right = _read(group.bias_key, columns, group.keys, numbers).reshape(heads, group.biases, group.keys.count)
        scores = scores + (left * right).sum(axis=1)[..., None]
    sizes = lifted(torch.from_numpy(group.keys.sizes), numbers)[:, None]
    if activation == "relu":
        weights = numbers.relu(scores) * sizes / tokens
    else:
        weights = numbers.exp(scores) * sizes
        weights = weights / weights.sum(axis=1, keepdims=True)
    means = _read(group.value, columns, group.values, numbers) * lifted(torch.from_numpy(group.values.sizes), numbers)
    totals = numbers.zeros((len(means), group.keys.count))
    labels = group.keys.of(group.values)
    for j in range(group.values.count):
        place = 0 if group.keys.count == 1 else int(labels[j]) if labels is not None else j
        totals[:, place] = totals[:, place] + means[:, j]
    values = (totals / sizes[:, 0]).reshape(-1, group.output.shape[1], group.keys.count)
    share = lifted(group.share, numbers)
    pooled = sum(
        (share[m] * (values[group.share_of[m]] @ weights[m]) for m in range(heads)),
        numbers.zeros((group.output.shape[1], group.queries.count)),
    )
    return lifted(group.output, numbers) @ pooled


def apply_mlp(layer: MlpPlan, columns: Sequence[Column], numbers: NumberSystem) -> list[Column]:
    """H ← h + w2·relu(w1·h): assignments first, then what curves and dense units add."""
    after = list(columns)
    for target, assigned in layer.assignments.items():
        value = numbers.zeros((assigned.classes.count,)) + numbers.number(assigned.constant)
        for source, coefficient in assigned.terms:
            value = value + numbers.number(coefficient) * columns[source].at(assigned.classes)
        after[target] = Column(value, assigned.classes)
    for curve in layer.curves:
        place = range(len(curve.targets)) if curve.place is None else curve.place.tolist()
        update = numbers.zeros((len(curve.targets), curve.classes.count))
        for source, i in zip(curve.sources.tolist(), place, strict=True):
            update[i] = update[i] + curve.function.evaluate(columns[source].at(curve.classes), numbers)
        after = added(after, curve.targets, update, curve.classes, layer.after)
    if layer.dense is not None:
        rows = np.array([columns[c].at(layer.dense.classes) for c in layer.dense.sources.tolist()], dtype=object)
        hidden = numbers.relu(lifted(layer.dense.w1, numbers) @ rows)
        update = lifted(layer.dense.w2, numbers) @ hidden
        after = added(after, layer.dense.targets, update, layer.dense.classes, layer.after)
    return after


def added(
    columns: Sequence[Column], targets: Array, update: Array, classes: Partition, after: Sequence[Coordinate]
) -> list[Column]:
    """The columns with update, held at `classes`, added to the targets."""
    result = list(columns)
    for target, row in zip(targets.tolist(), update, strict=True):
        joined = after[target].partition
        result[target] = Column(result[target].at(joined) + Column(row, classes).at(joined), joined)
    return result


def _read(reading: Reading, columns: Sequence[Column], classes: Partition, numbers: NumberSystem) -> Array:
    """(rows, classes)."""
    if reading.rows == 0:
        return numbers.zeros((0, classes.count))
    rows = np.array([columns[c].at(classes) for c in reading.sources.tolist()], dtype=object)
    if reading.matrix is not None:
        return lifted(reading.matrix, numbers) @ rows
    return rows if reading.scales is None else rows * lifted(reading.scales, numbers)
