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
from constructions.piecewise_linear import Lookup, PiecewiseLinear, from_units
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
        return sum(curve.operations for curve in self.curves) + (self.dense.operations if self.dense else 0)

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


@dataclass(frozen=True)
class _Units:
    """Hidden units with what they read and write, apart from known constants, which make the biases."""

    w1: Array
    w2: Array
    biases: list[Fraction]
    reads: list[list[int]]
    writes: list[list[int]]


def plan_mlp(
    w1: Array, w2: Array, coordinates: Sequence[Coordinate], partitions: Partitions, dtype: torch.dtype
) -> MlpPlan:
    """The plan of h + w2·relu(w1·h). The matrices are floats, the curves are rounded to `dtype`."""
    units = _units(w1, w2, coordinates)
    constants: dict[int, Fraction] = {}
    slopes: dict[tuple[int, int], Fraction] = {}  # (target, source)
    curves: dict[tuple[int, int], tuple[list[tuple[int, int]], int]] = {}
    functions: list[tuple[PiecewiseLinear, Lookup]] = []
    rest = []

    for j, (read, written) in enumerate(zip(units.reads, units.writes, strict=True)):
        for target in written if not read else ():
            value = Fraction(float(w2[target, j])) * max(units.biases[j], Fraction(0))
            constants[target] = constants.get(target, Fraction(0)) + value
        if read and written and len(read) + len(written) > 2:
            rest.append(j)

    made: dict[tuple[object, ...], int] = {}
    for (source, target), members in _pairs(units):
        key = tuple((float(w1[j, source]), units.biases[j], float(w2[target, j])) for j in members)
        if key not in made:
            function = from_units(key)
            made[key] = len(functions)
            functions.append((function, Lookup(function, dtype)))
        function, lookup = functions[made[key]]
        if function.linear:
            slopes[target, source] = function.slopes[0]
            constants[target] = constants.get(target, Fraction(0)) + function.values[0]
        elif lookup.finite:
            place = (made[key], id(coordinates[source].partition))
            curves.setdefault(place, ([], len(members)))[0].append((target, source))
        else:
            rest += members

    touched = {target for written in units.writes for target in written}
    assignments = {
        target: _assignment(target, constants.get(target, Fraction(0)), slopes, coordinates, partitions)
        for target in sorted(touched)
    }
    made_curves = tuple(
        _curve(pairs, *functions[which], replaced, coordinates) for (which, _), (pairs, replaced) in curves.items()
    )
    dense = _dense(units, sorted(rest), coordinates, partitions, dtype) if rest else None
    after = _after(assignments, made_curves, dense, coordinates, partitions, dtype)
    return MlpPlan(assignments, made_curves, dense, 2 * partitions.tokens * w1.size, after)


def _units(w1: Array, w2: Array, coordinates: Sequence[Coordinate]) -> _Units:
    known = np.array([0.0 if c.known is None else c.known for c in coordinates])
    unknown = np.array([c.known is None for c in coordinates])
    biases = [Fraction(0)] * len(w1)
    for j, c in np.argwhere((w1 != 0) & (known != 0)).tolist():
        biases[j] += Fraction(float(w1[j, c])) * Fraction(float(known[c]))
    reads: list[list[int]] = [[] for _ in biases]
    for j, c in np.argwhere((w1 != 0) & unknown).tolist():
        reads[j].append(c)
    writes: list[list[int]] = [[] for _ in biases]
    for target, j in np.argwhere(w2 != 0).tolist():
        writes[j].append(target)
    return _Units(w1, w2, biases, reads, writes)


def _pairs(units: _Units) -> Iterator[tuple[tuple[int, int], list[int]]]:
    """(source, target) -> the units that read only the one and write only the other, in an order of their own."""
    members: dict[tuple[int, int], list[int]] = {}
    for j, (read, written) in enumerate(zip(units.reads, units.writes, strict=True)):
        if len(read) == len(written) == 1:
            members.setdefault((read[0], written[0]), []).append(j)
    for (source, target), which in members.items():
        order = np.lexsort(
            [
                units.w1[which, source],
                np.array([float(units.biases[j]) for j in which]),
                units.w2[target, which],
            ]
        )
        yield (source, target), [which[i] for i in order]


def _assignment(
    target: int,
    constant: Fraction,
    slopes: dict[tuple[int, int], Fraction],
    coordinates: Sequence[Coordinate],
    partitions: Partitions,
) -> Assignment:
    """The residual h[target] together with what the linear curves add to it."""
    terms = {source: slope for (written, source), slope in slopes.items() if written == target}
    terms[target] = terms.get(target, Fraction(0)) + 1
    known = coordinates[target].known
    if known is not None:
        constant += terms.pop(target) * Fraction(known)
    kept = tuple((source, slope) for source, slope in sorted(terms.items()) if slope)
    return Assignment(constant, kept, partitions.join(coordinates[source].partition for source, _ in kept))


def _curve(
    pairs: list[tuple[int, int]],
    function: PiecewiseLinear,
    lookup: Lookup,
    units: int,
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
        held = float(torch.tensor(float(assigned.constant), dtype=torch.float64).to(dtype))
        exact = not assigned.terms and held == assigned.constant
        after[target] = Coordinate(assigned.classes, held if exact else None)
    added = [(curve.targets, curve.classes) for curve in curves]
    added += [(dense.targets, dense.classes)] if dense is not None else []
    for targets, classes in added:
        for target in targets.tolist():
            after[target] = Coordinate(partitions.join([after[target].partition, classes]))
    return tuple(after)
