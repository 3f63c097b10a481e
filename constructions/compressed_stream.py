"""The residual stream with every coordinate held once for each class of tokens that agree on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from operator import is_

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
        self._kept: dict[tuple[int, int], list[tuple[np.ndarray, np.ndarray, Rows]]] = {}

    @classmethod
    def of(cls, tokens: Float[Tensor, "*batch N D"], coordinates: Sequence[Coordinate]) -> Stream:
        """Dense tokens, each coordinate once for each of its classes."""
        flat = tokens.reshape(-1, *tokens.shape[-2:])
        stream = cls(tokens.shape, {ZERO: zeros(flat)}, np.full(len(coordinates), ROWS * ZERO))
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
        flat = tokens.reshape(-1, *tokens.shape[-2:])
        buffer = Buffer(flat.mT, Partitions(flat.shape[1]).distinct)
        return cls(tokens.shape, {ZERO: zeros(flat), 1: buffer}, ROWS + np.arange(tokens.shape[-1]))

    def copy(self) -> Stream:
        """The same coordinates, to be replaced. What was read of them and has not changed is not read again."""
        copied = Stream(self.shape, dict(self.buffers), self._place.copy())
        copied._kept = self._kept
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
        name = next(name for name in count() if name not in self.buffers)  # the same ones again, step after step
        self.buffers[name] = Buffer(values, classes)
        self._place[targets] = np.arange(ROWS * name, ROWS * name + len(targets))

    def link(self, targets: Targets, sources: Targets, before: Stream) -> None:
        """h[targets] ← the sources of the stream of which this one has just been copied, without copying them."""
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
            buffer = Buffer(update, classes)
            added = Rows([Piece.of(ZERO, np.array(which), buffer, joined)], [buffer], joined)
            self.put(targets[which], self.rows(targets[which], joined)() + added(), joined)

    def rows(self, coordinates: Int[np.ndarray, " rows"], classes: Partition) -> Rows:
        """The coordinates at the classes of a partition."""
        pieces = self._pieces(self._place[coordinates], classes)
        return Rows(pieces, [self.buffers[piece.name] for piece in pieces], classes)

    def kept_rows(self, coordinates: Int[np.ndarray, " rows"], classes: Partition) -> Rows:
        """The same for an array that lives as long as its plan: where they lie is worked out once, if it recurs."""
        place = self._place[coordinates]
        kept = self._kept.setdefault((id(coordinates), id(classes)), [])
        for i, (_, before, rows) in enumerate(kept):
            if (before == place).all():
                buffers = [self.buffers[piece.name] for piece in rows.pieces]
                if all(map(is_, buffers, rows.buffers)):
                    return rows
                if all(piece.fits(buffer) for piece, buffer in zip(rows.pieces, buffers, strict=True)):
                    kept[i] = coordinates, place, Rows(rows.pieces, buffers, classes)
                    return kept[i][2]
        rows = self.rows(coordinates, classes)
        kept[:] = [*kept[-1:], (coordinates, place, rows)]  # two: what is copied lies in two buffers in turn
        return rows

    def _pieces(self, place: Int[np.ndarray, " rows"], classes: Partition) -> list[Piece]:
        """Neighbours in one buffer together; nothing at all is no rows of the zeros."""
        names, rows = place // ROWS, place % ROWS
        if not len(rows):
            return [Piece.of(ZERO, rows, self.buffers[ZERO], classes)]
        cuts = [0, *(np.flatnonzero(names[1:] != names[:-1]) + 1).tolist(), len(rows)]
        found = [(int(names[i]), rows[i:j]) for i, j in pairwise(cuts)]
        return [Piece.of(name, which, self.buffers[name], classes) for name, which in found]

    def tokens(self, coordinates: slice = EVERYTHING) -> Float[Tensor, "*batch N columns"]:
        """Some coordinates of all tokens, or the dense stream."""
        which = np.arange(len(self._place))[coordinates]
        total = self.shape[-2]
        rows = self.rows(which, Partitions(total).distinct)
        result = self.zeros.new_empty((len(self.zeros), total, len(which)))
        for start in range(0, total, TOKENS):
            block = slice(start, start + TOKENS)
            result[:, block] = rows(block=block).mT
        return result.reshape(*self.shape[:-1], len(which))


def zeros(flat: Float[Tensor, "batch N D"]) -> Buffer:
    """For every data set one 0."""
    return Buffer(flat.new_zeros((len(flat), 1, 1)), Partitions(flat.shape[1]).single)


@dataclass(frozen=True, eq=False)
class Piece:
    """Some rows of a buffer; `labels`: in which of its classes each class wanted lies, None if that is the same one."""

    name: int
    where: slice | Tensor
    labels: Tensor | None
    rows: int
    held: Partition  # of the buffer
    held_rows: int

    @classmethod
    def of(cls, name: int, rows: Int[np.ndarray, " rows"], buffer: Buffer, classes: Partition) -> Piece:
        """The rows as a slice where they are consecutive."""
        first, count, total = (int(rows[0]) if len(rows) else 0), len(rows), buffer.values.shape[1]
        where: slice | Tensor = torch.from_numpy(rows)
        if bool((rows[1:] - rows[:-1] == 1).all()):
            where = slice(first, first + count) if count < total else EVERYTHING
        return cls(name, where, buffer.classes.of(classes), count, buffer.classes, total)

    def fits(self, buffer: Buffer) -> bool:
        """Whether it can be read from this buffer as it was from its own."""
        return buffer.classes is self.held and buffer.values.shape[1] == self.held_rows


class Rows:
    """Rows of buffers at the classes of one partition, to be read block by block.

    Calling it gives (batch, rows, classes of the block): a view where the rows are neighbours in one buffer at these
    classes, else a small copy.
    """

    def __init__(self, pieces: Sequence[Piece], buffers: Sequence[Buffer], classes: Partition) -> None:
        self.pieces, self.buffers, self.classes = pieces, buffers, classes
        self._together: Tensor | None = None
        numbers = buffers[0].values.shape[0] * classes.count * sum(piece.rows for piece in pieces)
        if len(pieces) > 1 and numbers <= SMALL:
            self._together = self()

    def __call__(self, batch: slice = EVERYTHING, block: slice = EVERYTHING) -> Float[Tensor, "batch rows classes"]:
        """The rows, for some data sets and some classes."""
        if self._together is not None:
            return self._part(self._together, EVERYTHING, None, batch, block)
        parts = [
            self._part(buffer.values, piece.where, piece.labels, batch, block)
            for piece, buffer in zip(self.pieces, self.buffers, strict=True)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _part(self, values: Tensor, rows: slice | Tensor, labels: Tensor | None, batch: slice, block: slice) -> Tensor:
        if batch != EVERYTHING:
            values = values[batch]
        if labels is None and block != EVERYTHING and values.shape[-1] > 1:
            values = values[..., block]  # first, so that only a block is copied
        if not isinstance(rows, slice):
            values = values.index_select(1, rows)
        elif rows != EVERYTHING:
            values = values[:, rows]
        if labels is not None:
            return values.index_select(2, labels if block == EVERYTHING else labels[block])
        if values.shape[-1] > 1 or self.classes.count == 1:
            return values
        return values.expand(-1, -1, len(range(self.classes.count)[block]))
