"""What an MLP layer has to compute: curves of one coordinate, assignments, and the units that are neither."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil, log2

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from constructions.attention_plan import Coordinate
from constructions.lookup import Lookup
from constructions.piecewise_linear import PiecewiseLinear, from_units, nearest_float
from constructions.token_classes import Partition, Partitions
from constructions.weights import Array


@dataclass(frozen=True, eq=False)
class Curve:
    """h[targets[place[i]]] += function(h[sources[i]]): one function of several coordinates with the same classes."""

    function: PiecewiseLinear
    lookup: Lookup
    units: int  # hidden units that one of them replaces
    classes: Partition
    sources: Int[np.ndarray, " sources"]
    targets: Int[np.ndarray, " targets"]
    place: Int[Tensor, " sources"] | None  # None: one source for each target, in order

    @property
    def operations(self) -> int:
        """One look-up, or the comparisons of a binary search, for each entry."""
        search = 1 if self.lookup.cells is not None else ceil(log2(len(self.function.breakpoints) + 1))
        return len(self.sources) * self.classes.count * search


@dataclass(frozen=True, eq=False)
class Assignment:
    """h[target] ← constant + Σ coefficient·h[source]; nothing at all for a clear, one source and 1 for a copy."""

    constant: Fraction
    terms: tuple[tuple[int, Fraction], ...]
    classes: Partition


@dataclass(frozen=True, eq=False)
class DenseUnits:
    """h[targets] += w2·relu(w1·h[sources]): the units that read or write several coordinates."""

    sources: Int[np.ndarray, " sources"]
    targets: Int[np.ndarray, " targets"]
    w1: Float[Tensor, "units sources"]
    w2: Float[Tensor, "targets units"]
    classes: Partition

    @property
    def operations(self) -> int:
        """Multiplications for one data set."""
        return self.classes.count * (self.w1.numel() + self.w2.numel())


@dataclass(frozen=True, eq=False)
class MlpPlan:
    """First the assignments, then curves and dense units are added; all read the layer's input."""

    assignments: dict[int, Assignment]
    curves: tuple[Curve, ...]
    dense: DenseUnits | None
    dense_operations: int
    after: tuple[Coordinate, ...]  # the coordinates when the layer has run

    @cached_property
    def cleared(self) -> list[int]:
        """The targets that become 0."""
        return [target for target, made in self.assignments.items() if not made.terms and made.constant == 0]

    @cached_property
    def copied(self) -> tuple[list[int], list[int]]:
        """The targets that become another coordinate as it is, and their sources."""
        copies = {
            target: made.terms[0][0]
            for target, made in self.assignments.items()
            if made.constant == 0 and len(made.terms) == 1 and made.terms[0][1] == 1
        }
        return list(copies), list(copies.values())

    @cached_property
    def computed(self) -> dict[int, Assignment]:
        """All other targets."""
        done = {*self.cleared, *self.copied[0]}
        return {target: made for target, made in self.assignments.items() if target not in done}

    @property
    def operations(self) -> int:
        """Multiplications and look-ups for one data set."""
        linear = sum(len(made.terms) * made.classes.count for made in self.computed.values())
        return linear + sum(curve.operations for curve in self.curves) + (self.dense.operations if self.dense else 0)

    def __str__(self) -> str:
        """How it runs, in a line."""
        parts = [
            f"{len(curve.sources)} x {curve.classes.count} values of a curve of {curve.units} units"
            for curve in self.curves
        ]
        parts += [f"{len(self.dense.w1)} dense units on {self.dense.classes.count} tokens"] if self.dense else []
        copied = sum(target != source for target, source in zip(*self.copied, strict=True))
        named = {"cleared": len(self.cleared), "copied": copied, "computed": len(self.computed)}
        parts += [f"{number} {name}" for name, number in named.items() if number]
        return ", ".join(parts) or "adds nothing"


class Functions:
    """What units compute together, worked out once for equal units, in whatever order they come."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._curves: dict[tuple[object, ...], tuple[PiecewiseLinear, Lookup]] = {}
        self._constants: dict[tuple[object, ...], Fraction] = {}

    def curve(self, units: _Units, members: Array) -> tuple[PiecewiseLinear, Lookup]:
        """Σ_j a_j relu(w_j x + b_j), exactly and rounded to the dtype; the members are in canonical order."""
        w, a = units.w1[members, units.source[members]], units.w2[units.target[members], members]
        biases = units.biases(members)
        key = (w.tobytes(), tuple(biases), a.tobytes())
        if key not in self._curves:
            function = from_units(zip(w.tolist(), biases, a.tolist(), strict=True))
            self._curves[key] = function, Lookup(function, self.dtype)
        return self._curves[key]

    def constant(self, units: _Units, target: int, members: Array) -> Fraction:
        """Σ_j a_j relu(b_j)."""
        biases, a = units.biases(members), units.w2[target, members].tolist()
        key = tuple(sorted(zip(biases, a, strict=True)))
        if key not in self._constants:
            terms = (Fraction(bias) * Fraction(weight) for bias, weight in key if bias > 0)
            self._constants[key] = sum(terms, start=Fraction(0))
        return self._constants[key]


@dataclass(frozen=True, eq=False)
class _Units:
    """Hidden units, how many coordinates they read (apart from known constants) and write, and the first of each."""

    w1: Array
    w2: Array
    reads: Array
    source: Array
    writes: Array
    target: Array
    bias: Array  # Σ weight·value of the known constants, to nearest
    exact: dict[int, Fraction]  # the biases that are no floats

    @classmethod
    def of(cls, w1: Array, w2: Array, coordinates: Sequence[Coordinate]) -> _Units:
        """Biases are exact: a product with 1 is the weight; all others are worked out as rationals."""
        unknown = np.flatnonzero([coordinate.known is None for coordinate in coordinates])
        known = np.array([coordinate.known or 0.0 for coordinate in coordinates])
        constant = np.flatnonzero(known)
        read, written, biased = w1[:, unknown] != 0, w2 != 0, w1[:, constant] != 0
        bias = np.zeros(len(w1))
        exact = {}
        for c in constant[known[constant] == 1]:
            bias += w1[:, c]
        simple = (known[constant] == 1) | ~biased
        for j in np.flatnonzero(~simple.all(axis=1) | (biased.sum(axis=1) > 1)).tolist():
            terms = (Fraction(float(w1[j, c])) * Fraction(float(known[c])) for c in constant)
            exact[j] = sum(terms, start=Fraction(0))
            bias[j] = nearest_float(exact[j])
        first = unknown[read.argmax(axis=1)] if len(unknown) else np.zeros(len(w1), dtype=int)
        return cls(w1, w2, read.sum(axis=1), first, written.sum(axis=0), written.argmax(axis=0), bias, exact)

    def biases(self, members: Array) -> list[float | Fraction]:
        """Exactly."""
        return [self.exact.get(j, bias) for j, bias in zip(members.tolist(), self.bias[members].tolist(), strict=True)]

    def pairs(self) -> Iterator[tuple[int, int, Array]]:
        """(source, target, units that read only the one and write only the other), in canonical order."""
        alone = np.flatnonzero((self.reads == 1) & (self.writes == 1))
        source, target = self.source[alone], self.target[alone]
        w, a = self.w1[alone, source], self.w2[target, alone]
        order = np.lexsort((w, a, self.bias[alone], source, target))
        alone, source, target = alone[order], source[order], target[order]
        cuts = np.flatnonzero((source[1:] != source[:-1]) | (target[1:] != target[:-1])) + 1
        for members in np.split(alone, cuts) if len(alone) else []:
            yield int(self.source[members[0]]), int(self.target[members[0]]), members


def plan_mlp(
    w1: Array, w2: Array, coordinates: Sequence[Coordinate], partitions: Partitions, functions: Functions
) -> MlpPlan:
    """The plan of h + w2·relu(w1·h). The matrices are float64, with entries of the functions' dtype."""
    units = _Units.of(w1, w2, coordinates)
    slopes: dict[int, dict[int, Fraction]] = {}  # target -> source -> slope
    curves: dict[tuple[int, int], tuple[PiecewiseLinear, Lookup, int, list[tuple[int, int]]]] = {}
    rest = np.flatnonzero((units.reads > 0) & (units.writes > 0) & (units.reads + units.writes > 2)).tolist()
    constants = {
        int(target): functions.constant(units, int(target), np.flatnonzero((units.reads == 0) & (w2[target] != 0)))
        for target in np.flatnonzero((w2 != 0).any(axis=1))
    }
    for source, target, members in units.pairs():
        function, lookup = functions.curve(units, members)
        if not lookup.representable:
            rest += members.tolist()
        elif function.linear:
            slopes.setdefault(target, {})[source] = function.slopes[0]
            constants[target] += function.values[0]
        else:
            place = (id(function), id(coordinates[source].partition))
            curves.setdefault(place, (function, lookup, len(members), []))[-1].append((target, source))

    assignments = {
        target: _assignment(target, constant, slopes.get(target, {}), coordinates, partitions)
        for target, constant in constants.items()
    }
    made = tuple(_curve(*curve, coordinates) for curve in curves.values())
    dense = _dense(units, sorted(rest), coordinates, partitions, functions.dtype) if rest else None
    after = _after(assignments, made, dense, coordinates, partitions, functions.dtype)
    return MlpPlan(assignments, made, dense, 2 * partitions.tokens * w1.size, after)


def _assignment(
    target: int,
    constant: Fraction,
    slopes: dict[int, Fraction],
    coordinates: Sequence[Coordinate],
    partitions: Partitions,
) -> Assignment:
    """The residual h[target] together with what the linear curves add to it."""
    terms = {**slopes, target: slopes.get(target, Fraction(0)) + 1}
    known = coordinates[target].known
    if known is not None:
        constant += terms.pop(target) * Fraction(known)
    kept = tuple((source, slope) for source, slope in sorted(terms.items()) if slope)
    return Assignment(constant, kept, partitions.join(coordinates[source].partition for source, _ in kept))


def _curve(
    function: PiecewiseLinear,
    lookup: Lookup,
    units: int,
    pairs: list[tuple[int, int]],
    coordinates: Sequence[Coordinate],
) -> Curve:
    """Of (target, source) pairs."""
    ordered = np.array(sorted(pairs))
    targets, place = np.unique(ordered[:, 0], return_inverse=True)
    shared = torch.from_numpy(place) if len(targets) < len(place) else None
    classes = coordinates[pairs[0][1]].partition
    return Curve(function, lookup, units, classes, ordered[:, 1].copy(), targets, shared)


def _dense(
    units: _Units, rest: list[int], coordinates: Sequence[Coordinate], partitions: Partitions, dtype: torch.dtype
) -> DenseUnits:
    """Known constants are read like every other coordinate: their weights are not folded into a rounded bias."""
    live = np.array([coordinate.known != 0 for coordinate in coordinates])
    sources = np.flatnonzero((units.w1[rest] != 0).any(axis=0) & live).tolist()
    targets = np.flatnonzero((units.w2[:, rest] != 0).any(axis=1)).tolist()
    return DenseUnits(
        np.array(sources),
        np.array(targets),
        torch.from_numpy(units.w1[rest][:, sources]).to(dtype),
        torch.from_numpy(units.w2[targets][:, rest]).to(dtype),
        partitions.join(coordinates[c].partition for c in sources),
    )


def _after(
    assignments: dict[int, Assignment],
    curves: Sequence[Curve],
    dense: DenseUnits | None,
    coordinates: Sequence[Coordinate],
    partitions: Partitions,
    dtype: torch.dtype,
) -> tuple[Coordinate, ...]:
    after = list(coordinates)
    for target, assigned in assignments.items():
        held = float(torch.tensor(nearest_float(assigned.constant), dtype=torch.float64).to(dtype))
        exact = not assigned.terms and held == assigned.constant
        after[target] = Coordinate(assigned.classes, held if exact else None)
    added = [(curve.targets, curve.classes) for curve in curves]
    added += [(dense.targets, dense.classes)] if dense is not None else []
    for targets, classes in added:
        for target in targets.tolist():
            after[target] = Coordinate(partitions.join([after[target].partition, classes]))
    return tuple(after)
