"""What an attention layer has to compute once its zeros are left out and tokens that agree are taken together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from constructions.factor import LEAST_COLUMNS, Factor
from constructions.token_classes import Partition, Partitions
from constructions.weights import Activation, Array, HeadWeights

LARGEST_FACTOR = 2.0**16
"""Of the values of heads that share them: so that what is multiplied first stays within the format's range."""


@dataclass(frozen=True)
class Coordinate:
    """A coordinate of the stream: the tokens on which it agrees, and its value where that is one known constant."""

    partition: Partition
    known: float | None = None


@dataclass(frozen=True, eq=False)
class Reading:
    """Rows of a matrix times the stream: Σ_c matrix[i, c]·h[sources[c]], or scales[i]·h[sources[i]] without matrix."""

    rows: int
    sources: Int[np.ndarray, " sources"]
    scales: Float[Tensor, "rows 1"] | None  # None: all 1
    matrix: Float[Tensor, "rows sources"] | None

    @property
    def multiplications(self) -> int:
        """For each token."""
        return self.rows if self.matrix is None else self.matrix.numel()


@dataclass(frozen=True, eq=False)
class HeadGroup:
    """Heads that are evaluated together, all with the same classes of queries and of keys and the same output.

    Score of a head: Σ over its `rank` rows of query·key, and over `biases` rows whose query is the same for all tokens.
    Keys of a class are one key with its multiplicity; its value is the mean of theirs, taken over the classes `values`.
    A head adds share[m]·(attention · value[share_of[m]]): ReLU heads with proportional values share them.
    """

    heads: tuple[int, ...]
    queries: Partition
    keys: Partition
    values: Partition
    query: Reading  # heads·rank rows
    key: Reading
    bias_query: Reading  # heads·biases rows
    bias_key: Reading
    value: Reading  # the rows of all heads' values, each value once
    share_of: Int[Tensor, " heads"]
    share: Float[Tensor, " heads"]
    targets: Int[np.ndarray, " targets"]
    output: Float[Tensor, "targets values"]

    @property
    def rank(self) -> int:
        """Rows of a head's score."""
        return self.query.rows // len(self.heads)

    @property
    def biases(self) -> int:
        """Rows of a head's score whose query is the same for all tokens."""
        return self.bias_query.rows // len(self.heads)

    @cached_property
    def write(self) -> Factor:
        """Times it, pooled values become what is added to the targets."""
        return Factor(self.output.mT, LEAST_COLUMNS)

    @cached_property
    def multiplicities(self) -> Float[Tensor, " keys"] | None:
        """How many tokens each class of keys stands for; None where each is one token."""
        return None if self.keys.labels is None else torch.from_numpy(self.keys.sizes).to(self.output.dtype)

    @cached_property
    def log_multiplicities(self) -> Float[Tensor, " keys"] | None:
        """Relative to the largest, as softmax has it; None where all are equal."""
        sizes = self.multiplicities
        return None if sizes is None or bool((sizes == sizes[0]).all()) else (sizes / sizes.max()).log()

    @property
    def operations(self) -> int:
        """Multiplications for one data set."""
        queries, keys = self.queries.count, self.keys.count
        reading = self.query.multiplications * queries + (self.key.multiplications + self.bias_key.rows) * keys
        scores = queries * keys * (len(self.heads) * self.rank + self.value.rows)
        return reading + self.value.multiplications * self.values.count + scores + self.output.numel() * queries

    def __str__(self) -> str:
        """E.g. `2 heads: 600 x 3`, queries x keys."""
        heads = f"{len(self.heads)} head" + ("s" if len(self.heads) > 1 else "")
        return f"{heads}: {self.queries.count} x {self.keys.count}"


@dataclass(frozen=True, eq=False)
class AttentionPlan:
    """The groups of a layer; heads that add nothing are in none of them."""

    activation: Activation
    groups: tuple[HeadGroup, ...]
    dense_operations: int
    after: tuple[Coordinate, ...]  # the coordinates when the layer has run

    @property
    def operations(self) -> int:
        """Multiplications for one data set."""
        return sum(group.operations for group in self.groups)

    def __str__(self) -> str:
        """How it runs, in a line."""
        return ", ".join(map(str, self.groups)) + " (queries x keys)" if self.groups else "adds nothing"


@dataclass(frozen=True)
class _Rows:
    """The non-zero entries of a matrix, row by row."""

    columns: tuple[tuple[int, ...], ...]
    entries: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, matrix: Array, live: Array) -> _Rows:
        """Without the columns that are known to read 0."""
        where = [np.flatnonzero((row != 0) & live) for row in matrix]
        return cls(
            tuple(tuple(columns.tolist()) for columns in where),
            tuple(tuple(row[columns].tolist()) for row, columns in zip(matrix, where, strict=True)),
        )

    def kept(self, rows: Sequence[int]) -> _Rows:
        """Some of the rows."""
        return _Rows(tuple(self.columns[i] for i in rows), tuple(self.entries[i] for i in rows))

    def scaled(self, factor: float) -> _Rows:
        """Every entry divided by the factor."""
        return _Rows(self.columns, tuple(tuple(entry / factor for entry in row) for row in self.entries))


@dataclass(frozen=True)
class _Head:
    """One head without its zeros."""

    index: int
    queries: Partition
    keys: Partition
    query: _Rows
    key: _Rows
    bias_query: _Rows
    bias_key: _Rows
    value: _Rows
    targets: tuple[int, ...]
    output: Array

    @property
    def alike(self) -> tuple[object, ...]:
        """Equal for heads that can be evaluated together."""
        shape = (len(self.query.columns), len(self.bias_query.columns), len(self.value.columns))
        return (id(self.queries), id(self.keys), shape, self.targets, self.output.tobytes())


def plan_attention(
    heads: Sequence[HeadWeights],
    activation: Activation,
    coordinates: Sequence[Coordinate],
    partitions: Partitions,
    dtype: torch.dtype,
) -> AttentionPlan:
    """The plan of h_i + Σ_m Σ_j a(⟨Q_m h_i, K_m h_j⟩) V_m h_j. The matrices are float64, with entries of `dtype`."""
    live = np.array([coordinate.known != 0 for coordinate in coordinates])
    alike: dict[tuple[object, ...], list[_Head]] = {}
    dense, width, tokens = 0, len(coordinates), partitions.tokens
    for index, weights in enumerate(heads):
        rank, values = len(weights.query), len(weights.value)
        dense += tokens * (2 * width + tokens) * (rank + values)
        head = _without_zeros(index, weights, coordinates, live, partitions)
        silent = not head.targets or (activation == "relu" and not head.query.columns and not head.bias_query.columns)
        if not silent:
            alike.setdefault(head.alike, []).append(head)
    groups = tuple(_group(members, activation, coordinates, partitions, dtype) for members in alike.values())
    after = list(coordinates)
    for group in groups:
        for target in group.targets:
            after[target] = Coordinate(partitions.join([after[target].partition, group.queries]))
    return AttentionPlan(activation, groups, dense, tuple(after))


def _without_zeros(
    index: int, weights: HeadWeights, coordinates: Sequence[Coordinate], live: Array, partitions: Partitions
) -> _Head:
    query, key, value = (_Rows.of(matrix, live) for matrix in (weights.query, weights.key, weights.value))
    scored = [i for i, (left, right) in enumerate(zip(query.columns, key.columns, strict=True)) if left and right]
    read = [partitions.join(coordinates[c].partition for c in query.columns[i]) for i in scored]
    queries = partitions.join(read)
    same = [i for i, classes in zip(scored, read, strict=True) if classes is partitions.single]
    biases = same if queries is not partitions.single else []
    rest = [i for i in scored if i not in biases]
    passed = [i for i, columns in enumerate(value.columns) if columns and weights.output[:, i].any()]
    targets = tuple(np.flatnonzero(weights.output[:, passed].any(axis=1)).tolist())
    return _Head(
        index,
        queries,
        partitions.join(coordinates[c].partition for i in scored for c in key.columns[i]),
        query.kept(rest),
        key.kept(rest),
        query.kept(biases),
        key.kept(biases),
        value.kept(passed),
        targets,
        np.ascontiguousarray(weights.output[np.ix_(targets, passed)]),
    )


def _group(
    members: Sequence[_Head],
    activation: Activation,
    coordinates: Sequence[Coordinate],
    partitions: Partitions,
    dtype: torch.dtype,
) -> HeadGroup:
    values: dict[_Rows, int] = {}
    share_of, share = [], []
    for head in members:
        unit = _common_factor(head.value, dtype) if activation == "relu" and len(members) > 1 else 1.0
        share_of.append(values.setdefault(head.value.scaled(unit), len(values)))
        share.append(unit)
    value = _reading(list(values), dtype)
    first = members[0]
    read = partitions.join([first.keys, *(coordinates[c].partition for c in value.sources)])
    return HeadGroup(
        tuple(head.index for head in members),
        first.queries,
        first.keys,
        read,
        _reading([head.query for head in members], dtype),
        _reading([head.key for head in members], dtype),
        _reading([head.bias_query for head in members], dtype),
        _reading([head.bias_key for head in members], dtype),
        value,
        torch.tensor(share_of),
        torch.tensor(share, dtype=dtype),
        np.array(first.targets),
        torch.from_numpy(first.output).to(dtype),
    )


def _common_factor(rows: _Rows, dtype: torch.dtype) -> float:
    """The first entry, if it is of moderate size and divides all others exactly, as numbers of the format; else 1."""
    unit, limits = rows.entries[0][0], torch.finfo(dtype)
    if not 1 / LARGEST_FACTOR <= abs(unit) <= LARGEST_FACTOR:
        return 1.0
    for entry in (entry for row in rows.entries for entry in row):
        quotient = float(torch.tensor(entry / unit, dtype=torch.float64).to(dtype))
        if not limits.tiny <= abs(quotient) <= limits.max or Fraction(quotient) * Fraction(unit) != entry:
            return 1.0
    return unit


def _reading(parts: Sequence[_Rows], dtype: torch.dtype) -> Reading:
    """The rows of all parts, one below the other."""
    columns = [row for part in parts for row in part.columns]
    entries = [row for part in parts for row in part.entries]
    if all(len(row) == 1 for row in columns):
        scales = torch.tensor([row[0] for row in entries], dtype=dtype)[:, None]
        return Reading(
            len(columns),
            np.array([row[0] for row in columns], dtype=int),
            None if (scales == 1).all() else scales,
            None,
        )
    sources = sorted({column for row in columns for column in row})
    place = {column: i for i, column in enumerate(sources)}
    matrix = torch.zeros((len(columns), len(sources)), dtype=dtype)
    for i, (row, its_entries) in enumerate(zip(columns, entries, strict=True)):
        matrix[i, [place[column] for column in row]] = torch.tensor(its_entries, dtype=dtype)
    return Reading(len(columns), np.array(sources), None, matrix)
