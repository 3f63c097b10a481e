"""Classes of tokens that agree bit for bit: found once on the input, then only joined, never searched for again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

BITS = {8: torch.int64, 4: torch.int32, 2: torch.int16}
SAMPLE = 4096
"""Tokens looked at first: where more than half of them differ, all tokens count as distinct."""


@dataclass(frozen=True, eq=False)
class Partition:
    """N tokens in `count` classes: labels[i] is the class of token i; None where every token is its own class.

    `first` holds a token of every class and `sizes` how many there are in it, both of shape (count,).
    """

    tokens: int
    labels: Int[np.ndarray, " N"] | None
    first: Int[np.ndarray, " count"]
    sizes: Int[np.ndarray, " count"]

    @property
    def count(self) -> int:
        """The number of classes."""
        return len(self.first)

    def of(self, finer: Partition) -> Int[Tensor, " finer_count"] | None:
        """The class in which each class of a finer partition lies; None if that is itself, or the only one."""
        if self is finer or self.labels is None or self.count == 1:
            return None
        return torch.from_numpy(self.labels if finer.labels is None else self.labels[finer.first])


class Partitions:
    """The partitions of N tokens that a plan meets; equal ones are one object, so that `is` compares them."""

    def __init__(self, tokens: int) -> None:
        everyone = np.arange(tokens)
        self.tokens = tokens
        self.single = Partition(tokens, np.broadcast_to(0, tokens), everyone[:1], np.array([tokens]))
        self.distinct = self.single if tokens == 1 else Partition(tokens, None, everyone, np.ones(tokens, np.int64))
        self._known: dict[bytes, Partition] = {}
        self._joins: dict[tuple[int, int], Partition] = {}

    def partition(self, labels: Int[np.ndarray, " N"], count: int) -> Partition:
        """The partition with these labels in 0..count−1, all of which occur.

        With more than N/2 classes it is the distinct one: finer is always right, and looking labels up costs more
        than the few merged tokens save.
        """
        if count == 1:
            return self.single
        if 2 * count > self.tokens:
            return self.distinct
        first = np.empty(count, dtype=np.int64)
        first[labels[::-1]] = np.arange(self.tokens)[::-1]  # the last assignment stays: the first token
        order = np.argsort(first)
        rank = np.empty(count, dtype=np.int64)
        rank[order] = np.arange(count)
        labels = rank[labels]  # in order of first occurrence: equal partitions get equal labels
        key = hashlib.blake2b(labels.tobytes()).digest()
        if key not in self._known:
            self._known[key] = Partition(self.tokens, labels, first[order], np.bincount(labels, minlength=count))
        return self._known[key]

    def join(self, partitions: Iterable[Partition]) -> Partition:
        """The coarsest partition that is finer than all of these."""
        result = self.single
        for other in partitions:
            key = (id(result), id(other))
            if key not in self._joins:
                self._joins[key] = self._join(result, other)
            result = self._joins[key]
        return result

    def _join(self, one: Partition, other: Partition) -> Partition:
        if one is other or other is self.single:
            return one
        if one is self.single:
            return other
        if one.labels is None or other.labels is None:
            return self.distinct
        codes = one.labels * other.count + other.labels
        if one.count * other.count <= 4 * self.tokens:
            occurs = np.zeros(one.count * other.count, dtype=bool)
            occurs[codes] = True
            return self.partition((np.cumsum(occurs) - 1)[codes], int(occurs.sum()))
        values, labels = np.unique(codes, return_inverse=True)
        return self.partition(labels, len(values))

    def of_values(self, values: Shaped[Tensor, "batch N"]) -> Partition:
        """Tokens that agree bit for bit in every data set of the batch; near-duplicates stay apart."""
        bits = values.contiguous().view(BITS[values.element_size()]).long()
        if bool((bits == bits[:, :1]).all()):
            return self.single
        codes = code(bits)  # that no two classes share one is looked at below
        sample = codes[:: max(1, self.tokens // SAMPLE)]
        candidates = np.unique(sample)
        if 2 * len(candidates) > len(sample):
            return self.distinct
        labels = np.searchsorted(candidates, codes).clip(max=len(candidates) - 1)
        if not (candidates[labels] == codes).all():
            candidates, labels = np.unique(codes, return_inverse=True)
        partition = self.partition(labels, len(candidates))
        if partition.labels is None:
            return partition
        same = bits == bits[:, torch.from_numpy(partition.first[partition.labels])]
        return partition if bool(same.all()) else self.distinct


def code(bits: Int[Tensor, "batch N"]) -> Int[np.ndarray, " N"]:
    """One number for each token: equal bits have equal codes.

    Folding the high bits and an odd factor lose nothing of a single data set; sums of several may collide.
    """
    folded = bits ^ ((bits >> 32) & 0xFFFFFFFF)
    factors = np.random.default_rng(0).integers(0, 2**62, size=(len(bits), 1)) * 2 + 1
    return np.asarray((folded * torch.from_numpy(factors)).sum(dim=0).numpy())
