"""`python -m theory_checks.uniform_deviations` measures the suprema of Lemmas F.2, F.3 and of an EM step over a grid.

Calibration cells come first; their constants are fixed before any held-out cell is drawn, and all of it is written to
figures/lemma_f2.json, with the points at which the first values of the calibration cells were reached. A climb ends
elsewhere on another machine; what a value is at its point is the same everywhere up to rounding (`reached`).
"""

from __future__ import annotations

if __name__ == "__main__":  # before what --help does not need is loaded
    from constructions.process import start

    start("theory_checks.uniform_deviations_command")

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
from jaxtyping import Float

from constructions.algorithms.sampling import Mixture
from constructions.command_line import Progress
from constructions.concentration_bounds import Region
from constructions.errors import InputError
from constructions.outputs import versions
from theory_checks import concentration, reached
from theory_checks.reached import Reached
from theory_checks.uniform_deviations_command import REPLICATIONS, RESULTS, SEED

POINTS = 10
"""Replications of a calibration cell whose points are kept."""
SLACK = 0.5
"""Weights within half of the true ones; means within R_min/16."""
OBJECTIVES = {
    "w": concentration.signed_weights,
    "moment": concentration.moment_norms,
    "step": concentration.step_errors,
}
"""What is averaged: w_k; w_k(X − μ_k*); and an EM step against population EM's, in D."""


@dataclass(frozen=True)
class Cell:
    """`part`: "calibration", or the axis of held-out cells; `least`: the weight of the lightest component."""

    part: str
    quantity: str
    components: int
    dim: int
    count: int
    separation: float
    least: float

    @property
    def name(self) -> str:
        """All but the part, for reading."""
        return (
            f"{self.quantity}: K={self.components} d={self.dim} n={self.count} R_min={self.separation:g} "
            f"pi_min={self.least:.3g}"
        )

    @property
    def region(self) -> Region:
        """(A1)'s: ‖μ_k − μ_k*‖ ≤ R_min/16, |π_k − π_k*| ≤ π_k*/2."""
        truth = mixture(self.components, self.dim, self.separation, self.least)
        return Region(truth, self.separation / 16, SLACK)

    @property
    def rate(self) -> float:
        """√(K d log(n)/n), and for "step" √(K d log(n)/(n π_min)): the recovered bounds but for constants and δ."""
        share = self.least if self.quantity == "step" else 1.0
        return float(np.sqrt(self.components * self.dim * np.log(self.count) / (self.count * share)))


def mixture(components: int, dim: int, separation: float, least: float) -> Mixture:
    """Means on a line if K = 2 or d = 1, else on a square grid in a plane; one weight is `least`, the others equal."""
    side = components if components == 2 or dim == 1 else int(np.ceil(np.sqrt(components)))
    means = np.zeros((components, dim))
    means[:, 0] = separation * (np.arange(components) % side)
    if side < components:
        means[:, 1] = separation * (np.arange(components) // side)
    weights = np.full(components, (1 - least) / (components - 1))
    weights[0] = least
    return Mixture(weights, means)


def calibration() -> Iterator[Cell]:
    """Small n, K = 2, d ≤ 2."""
    for quantity, dim, count in product(("w", "moment"), (1, 2), (256, 512, 1024)):
        yield Cell("calibration", quantity, 2, dim, count, 4.0, 0.5)
    for count in (1024, 2048):
        yield Cell("calibration", "step", 2, 2, count, 8.0, 0.4)


def held_out() -> Iterator[Cell]:
    """One axis at a time: n, d, K, with π_min as it is; both K and d; and the lightest weight."""
    for quantity in ("w", "moment"):
        for exponent in range(11, 18):
            yield Cell("n", quantity, 2, 2, 2**exponent, 4.0, 0.5)
        for dim in (1, 2, 4, 8, 16, 32, 64):
            yield Cell("d", quantity, 2, dim, 2048, 4.0, 0.5)
        for components in (2, 3, 4, 8, 16):
            yield Cell("K", quantity, components, 1, 2048, 4.0, 1 / 16)
        for components in (3, 4):
            yield Cell("K and d", quantity, components, 2, 2048, 4.0, 1 / components)
    for least in (0.02, 0.04, 0.08, 0.16, 0.32):
        yield Cell("weight", "step", 2, 2, 8192, 8.0, least)


def stream(cell: Cell, seed: int) -> list[int]:
    """The key of a cell's random numbers: w_k and w_k(X − μ_k*) share data, calibration and held-out cells do not."""
    place = [cell.components, cell.dim, cell.count, round(1000 * cell.separation), round(1e6 * cell.least)]
    return [seed, cell.part == "calibration", *place]


def draw(cell: Cell, seed: int = SEED, replications: int = REPLICATIONS) -> tuple[np.ndarray, np.random.Generator]:
    """A cell's data sets, and the generator from which its climbs start."""
    rng = np.random.default_rng(stream(cell, seed))
    return concentration.draw(cell.region.truth, replications, cell.count, rng), rng


def climbed(cell: Cell, seed: int = SEED, replications: int = REPLICATIONS) -> concentration.Found:
    """For every data set and target of the cell's objective the largest value found, and where."""
    samples, rng = draw(cell, seed, replications)
    return concentration.suprema(samples, cell.region, OBJECTIVES[cell.quantity], rng)


def measure(cell: Cell, seed: int = SEED, replications: int = REPLICATIONS) -> Float[np.ndarray, " replications"]:
    """The largest value found, over the region and all components, for every data set."""
    found: np.ndarray = climbed(cell, seed, replications).values.max(axis=1)
    return found


@dataclass(frozen=True)
class Measured:
    """A cell with its values, one a replication, and the points of the first ones if they are kept."""

    cell: Cell
    values: Float[np.ndarray, " replications"]
    points: tuple[Reached, ...] = ()


@dataclass(frozen=True)
class Results:
    """What the file holds."""

    seed: int
    constants: dict[str, float]
    measured: tuple[Measured, ...]

    def part(self, part: str, quantity: str) -> list[Measured]:
        """The cells of one axis, in the grid's order."""
        return [m for m in self.measured if (m.cell.part, m.cell.quantity) == (part, quantity)]


def calibrate(measured: Sequence[Measured], rate: Callable[[Cell], float]) -> float:
    """The largest value/rate over all replications."""
    return max(float(m.values.max()) / rate(m.cell) for m in measured)


def run(seed: int, replications: int) -> dict[str, object]:
    """Measure the calibration cells, fix the constants, then measure the held-out cells."""
    first, rest = list(calibration()), list(held_out())
    measured: list[Measured] = []
    with Progress("cell") as progress:

        def measure_all(cells: Sequence[Cell]) -> None:
            for cell in cells:
                found = climbed(cell, seed, replications)
                points = reached.largest(found, POINTS) if cell.part == "calibration" else ()
                measured.append(Measured(cell, found.values.max(axis=1), points))
                progress(len(measured), len(first) + len(rest))

        measure_all(first)
        constants = {
            quantity: calibrate([m for m in measured if m.cell.quantity == quantity], lambda cell: cell.rate)
            for quantity in OBJECTIVES
        }
        measure_all(rest)
    cells = [{**asdict(m.cell), "values": m.values.tolist(), **_kept(m.points)} for m in measured]
    return {"seed": seed, "replications": replications, "versions": versions(), "constants": constants, "cells": cells}


def _kept(points: Sequence[Reached]) -> dict[str, object]:
    """A cell's points as the file has them; no entry where none is kept."""
    told = [{"target": p.target, "weights": p.weights.tolist(), "means": p.means.tolist()} for p in points]
    return {"points": told} if told else {}


def read(path: Path = RESULTS) -> Results:
    """The stored results.

    Raises
    ------
    InputError
        If the file is missing or is not what `run` writes.
    """
    try:
        stored = json.loads(path.read_text())
        measured = tuple(
            Measured(
                Cell(**{k: v for k, v in entry.items() if k not in ("values", "points")}),
                np.array(entry["values"], dtype=float),
                tuple(
                    Reached(int(p["target"]), np.array(p["weights"], dtype=float), np.array(p["means"], dtype=float))
                    for p in entry.get("points", ())
                ),
            )
            for entry in stored["cells"]
        )
        return Results(int(stored["seed"]), dict(stored["constants"]), measured)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{str(path)!r} does not hold the suprema that this command writes: {error}") from error
