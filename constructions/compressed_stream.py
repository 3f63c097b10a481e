"""The residual stream with every coordinate held once for each class of tokens that agree on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from constructions.attention_plan import Coordinate
from constructions.token_classes import Partition, Partitions

EVERYTHING = slice(None)
TOKENS = 2**13  # expanded at a time: their rows stay in the cache
SMALL = 2**16  # numbers up to which scattered coordinates are put together once
ROWS = 2**32  # more than a buffer has
ZERO = 0  # the buffer of zeros, for all coordinates that are known to be 0
Targets = Int[np.ndarray, " targets"] | list[int]


@dataclass(frozen=True, eq=False)
class Buffer:
    """Some coordinates at the classes of a partition: (batch, rows, classes). Never written again."""

    values: Float[Tensor, "batch rows classes"]
    classes: Partition


class Stream:
    """D coordinates, each a row of a buffer; `shape` is that of the dense tokens, (*batch, N, D)."""

    def __init__(self, shape: torch.Size, buffers: dict[int, Buffer], place: Int[np.ndarray, " D"]) -> None:
        self.shape = shape
        self.buffers, self._place = buffers, place  # of a coordinate: ROWS·name of the buffer + row
        self._names = count(len(buffers))
        self._read: dict[tuple[int, int], tuple[np.ndarray, np.ndarray, Rows]] = {}

    @classmethod
    def of(cls, tokens: Float[Tensor, "*batch N D"], coordinates: Sequence[Coordinate]) -> Stream:
        """Dense tokens, each coordinate once for each of its classes."""
        flat = tokens.reshape(-1, *tokens.shape[-2:])
        zeros = Buffer(flat.new_zeros((len(flat), 1, 1)), Partitions(flat.shape[1]).single)
        stream = cls(tokens.shape, {ZERO: zeros}, np.full(len(coordinates), ROWS * ZERO))
        together: dict[Partition, list[int]] = {}
        for c, coordinate in enumerate(coordinates):
            if coordinate.known != 0:
                together.setdefault(coordinate.partition, []).append(c)
        for classes, which in together.items():
            held = flat if classes.labels is None else flat[:, torch.from_numpy(classes.first)]
            stream.put(which, held[..., which].mT.contiguous(), classes)
        return stream

    @classmethod
    def dense(cls, tokens: Float[Tensor, "*batch N D"]) -> Stream:
        """Dense tokens as they are."""
        distinct = Partitions(tokens.shape[-2]).distinct
        buffer = Buffer(tokens.reshape(-1, *tokens.shape[-2:]).mT, distinct)
        return cls(tokens.shape, {1: buffer}, ROWS + np.arange(tokens.shape[-1]))

    def copy(self) -> Stream:
        """The same coordinates, to be replaced. What was read of them and has not changed is not read again."""
        copied = Stream(self.shape, dict(self.buffers), self._place.copy())
        copied._names, copied._read = self._names, self._read
        return copied

    def drop_unused(self) -> None:
        """Let go of the buffers in which no coordinate lies any more."""
        used = np.bincount(self._place // ROWS, minlength=max(self.buffers) + 1)
        self.buffers = {name: buffer for name, buffer in self.buffers.items() if used[name] or name == ZERO}

    @property
    def zeros(self) -> Float[Tensor, "batch 1 1"]:
        """The buffer of zeros: its batch and dtype are those of all buffers."""
        return self.buffers[ZERO].values

    def put(self, targets: Targets, values: Float[Tensor, "batch targets classes"], classes: Partition) -> None:
        """h[targets] ← values, held at `classes`."""
        name = next(self._names)
        self.buffers[name] = Buffer(values, classes)
        self._place[targets] = np.arange(ROWS * name, ROWS * name + len(targets))

    def link(self, targets: Targets, sources: Targets, before: Stream) -> None:
        """h[targets] ← the sources of another stream, without copying them."""
        self.buffers |= before.buffers
        self._place[targets] = before._place[sources]

    def clear(self, targets: Targets) -> None:
        """h[targets] ← 0."""
        self._place[targets] = ROWS * ZERO

    def add(
        self,
        targets: Int[np.ndarray, " targets"],
        update: Float[Tensor, "batch targets classes"],
        classes: Partition,
        after: Sequence[Coordinate],
    ) -> None:
        """h[targets] += update, held at `classes`; `after` knows the classes of the sums."""
        if (self._place[targets] == ROWS * ZERO).all():
            self.put(targets, update, classes)
            return
        together: dict[Partition, list[int]] = {}
        for i, target in enumerate(targets.tolist()):
            together.setdefault(after[target].partition, []).append(i)
        for joined, which in together.items():
            added = Rows([(Buffer(update, classes), np.array(which))], joined)
            self.put(targets[which], self.rows(targets[which], joined)() + added(), joined)

    def rows(self, coordinates: Int[np.ndarray, " rows"], classes: Partition) -> Rows:
        """The coordinates at the classes of a partition; `coordinates` is an array that lives as long as its plan."""
        key = (id(coordinates), id(classes))
        place = self._place[coordinates]
        if key in self._read and (self._read[key][1] == place).all():
            return self._read[key][2]
        where, row = place // ROWS, place % ROWS
        cuts = [0, *(np.flatnonzero(where[1:] != where[:-1]) + 1).tolist(), len(row)]
        pieces = [(self.buffers[int(where[i])], row[i:j]) for i, j in pairwise(cuts) if i < j]
        rows = Rows(pieces or [(self.buffers[ZERO], row)], classes)
        self._read[key] = coordinates, place, rows
        return rows

    def tokens(self, coordinates: slice = EVERYTHING) -> Float[Tensor, "*batch N columns"]:
        """Some coordinates of all tokens, or the dense stream."""
        which = np.arange(len(self._place))[coordinates]
        total = self.shape[-2]
        rows = self.rows(which, Partitions(total).distinct)
        like = next(iter(self.buffers.values())).values
        result = like.new_empty((len(like), total, len(which)))
        for start in range(0, total, TOKENS):
            block = slice(start, start + TOKENS)
            result[:, block] = rows(block=block).mT
        return result.reshape(*self.shape[:-1], len(which))


class Rows:
    """Rows of buffers at the classes of one partition, to be read block by block.

    Calling it gives (batch, rows, classes of the block): a view where the rows are neighbours in one buffer at these
    classes, else a small copy.
    """

    def __init__(self, pieces: Sequence[tuple[Buffer, Int[np.ndarray, " rows"]]], classes: Partition) -> None:
        self.classes = classes
        self._pieces: list[tuple[Tensor, slice | Tensor, Tensor | None]] = []
        for buffer, rows in pieces:
            consecutive = bool((np.diff(rows) == 1).all())
            first = int(rows[0]) if len(rows) else 0
            where = slice(first, first + len(rows)) if consecutive else torch.from_numpy(rows)
            self._pieces.append((buffer.values, where, buffer.classes.of(classes)))
        numbers = sum(len(buffer.values) * len(rows) * classes.count for buffer, rows in pieces)
        if len(pieces) > 1 and numbers <= SMALL:
            self._pieces = [(self(), EVERYTHING, None)]

    def __call__(self, batch: slice = EVERYTHING, block: slice = EVERYTHING) -> Float[Tensor, "batch rows classes"]:
        """The rows, for some data sets and some classes."""
        parts = [self._part(*piece, batch, block) for piece in self._pieces]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _part(self, values: Tensor, rows: slice | Tensor, labels: Tensor | None, batch: slice, block: slice) -> Tensor:
        values = values[batch]
        if labels is None and values.shape[-1] > 1:
            values = values[..., block]  # first, so that only a block is copied
        values = values[:, rows] if isinstance(rows, slice) else values.index_select(1, rows)
        if labels is not None:
            return values.index_select(2, labels[block])
        return values if values.shape[-1] > 1 else values.expand(-1, -1, len(range(self.classes.count)[block]))
