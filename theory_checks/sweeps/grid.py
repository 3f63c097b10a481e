"""What a sweep runs: a grid of cells, declared in TOML.

    [defaults]          # a value for every key that the blocks leave open
    d = 2
    ...
    [[sweep]]           # one axis at a time: one list
    name = "n"
    n = [256, 512, 1024]
    [[sweep]]           # a factorial: several
    name = "d-K"
    d = [2, 8]
    K = [2, 4, 8]

Any value may be a list. A block is the product of its lists, the grid is the union of its blocks.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from constructions.errors import InputError

EQUAL = "equal"  # as min_weight: 1/K
CHOICES = {"construction": ("floor", "paper"), "dtype": ("float64", "float32", "bfloat16")}
INTEGERS = {  # the least and the largest value
    "d": (1, 4096),
    "K": (1, 1024),
    "n": (1, 2**24),
    "L": (0, 5000),  # EM steps, of two layers each
    "seed": (0, 2**63 - 1),  # what the results file can hold
    "replications": (1, 100_000),
}
POSITIVE = {"separation": 1e6, "min_weight": 1.0, "tolerance": 1e6}  # the largest value
MOST_CELLS = 100_000


@dataclass(frozen=True, order=True)
class Cell:
    """One experiment, repeated `replications` times on data drawn from `seed`.

    `separation` is R_min, the least distance of two true means, in units of the noise. The lightest component has
    weight `min_weight`, the others share the rest equally. `L` counts EM steps; `tolerance` is that of a mean, per EM
    step. `construction`: "floor" or "paper"; `dtype`: "float64", "float32" or "bfloat16".
    """

    sweep: str
    d: int
    K: int
    n: int
    L: int
    separation: float
    min_weight: float
    construction: str
    tolerance: float
    dtype: str
    seed: int
    replications: int

    def __str__(self) -> str:
        """All that defines the cell, on one line."""
        return ", ".join(f"{name} {value}" for name, value in asdict(self).items())

    @property
    def cost(self) -> float:
        """A guess at its work: n K d L·replications, with one step where L is 0."""
        return float(self.n) * self.K * self.d * max(1, self.L) * self.replications


KEYS = tuple(field.name for field in fields(Cell) if field.name != "sweep")


@dataclass(frozen=True)
class Grid:
    """The cells that a file declares, in its order, and the file's text."""

    cells: tuple[Cell, ...]
    text: str

    @property
    def sweeps(self) -> tuple[str, ...]:
        """The names of its blocks."""
        return tuple(dict.fromkeys(cell.sweep for cell in self.cells))

    def only(self, sweeps: Sequence[str]) -> tuple[Cell, ...]:
        """The cells of these sweeps, an InputError for one that is not there."""
        for name in sweeps:
            if name not in self.sweeps:
                raise InputError(f"there is no sweep {name!r} in the grid; it has {', '.join(self.sweeps)}")
        return tuple(cell for cell in self.cells if cell.sweep in sweeps)


def load(path: Path) -> Grid:
    """The grid in a TOML file; an InputError names what is wrong with it."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"the grid {str(path)!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the grid {str(path)!r} is not text in UTF-8: byte {error.start}") from error
    return parse(text, str(path))


def parse(text: str, source: str) -> Grid:
    """The grid that a text declares; `source` names the text in an InputError."""
    try:
        return Grid(_cells(tomllib.loads(text)), text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"the grid {source!r} is not valid TOML: {error}") from error
    except InputError as error:
        raise InputError(f"the grid {source!r}: {error}") from error


def _cells(content: dict[str, Any]) -> tuple[Cell, ...]:
    for name in content:
        if name not in ("defaults", "sweep"):
            raise InputError(f"unknown key {name!r}; there may be [defaults] and [[sweep]]")
    defaults, blocks = content.get("defaults", {}), content.get("sweep", [])
    if not isinstance(defaults, dict):
        raise InputError(f"defaults is {defaults!r}; it must be a table, [defaults]")
    if not (isinstance(blocks, list) and all(isinstance(block, dict) for block in blocks)):
        raise InputError("sweep must be a list of tables, each under [[sweep]]")
    if not blocks:
        raise InputError("it is empty: it needs at least one [[sweep]]")
    _require_keys(defaults, KEYS, "[defaults]")
    cells: list[Cell] = []
    names: set[str] = set()
    for number, block in enumerate(blocks, start=1):
        name = block.get("name")
        if not (isinstance(name, str) and name.strip()):
            raise InputError(f"[[sweep]] number {number} has the name {name!r}; it must be a text that is not empty")
        if name in names:
            raise InputError(f"two sweeps are called {name!r}; the names must differ")
        names.add(name)
        cells += _block(name, defaults | {key: value for key, value in block.items() if key != "name"}, len(cells))
    return tuple(cells)


def _require_keys(table: dict[str, Any], known: Sequence[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise InputError(f"{where} has the unknown key {key!r}; there are {', '.join(known)}")


def _block(name: str, values: dict[str, Any], before: int) -> list[Cell]:
    where = f"sweep {name!r}"
    _require_keys(values, KEYS, where)
    for key in KEYS:
        if key not in values:
            raise InputError(f"{where} lacks the key {key!r}, and so does [defaults]")
    axes = {key: values[key] if isinstance(values[key], list) else [values[key]] for key in KEYS}
    for key, axis in axes.items():
        if not axis:
            raise InputError(f"{where} is empty: its {key} is an empty list")
    size = prod(map(len, axes.values()))
    if before + size > MOST_CELLS:
        raise InputError(f"{where} brings the grid to {before + size} cells; it may have at most {MOST_CELLS}")
    valid = [[_value(key, value, where) for value in axis] for key, axis in axes.items()]
    cells = [_cell(name, dict(zip(KEYS, chosen, strict=True))) for chosen in product(*valid)]
    twice, times = Counter(cells).most_common(1)[0]
    if times > 1:
        raise InputError(f"{where} has the same cell {times} times: {twice}")
    return cells


def _value(key: str, value: Any, where: str) -> Any:
    """The value as the cell holds it; a number is no truth value, and an integer is a number."""
    told = f"{where}: {key} is {value!r}"
    if key in CHOICES:
        if value not in CHOICES[key]:
            raise InputError(f"{told}; it must be one of {', '.join(CHOICES[key])}")
        return value
    if key in INTEGERS:
        least, largest = INTEGERS[key]
        if isinstance(value, bool) or not isinstance(value, int):
            raise InputError(f"{told}; it must be an integer")
        if not least <= value <= largest:
            raise InputError(f"{told}; it must lie between {least} and {largest}")
        return value
    if key == "min_weight" and value == EQUAL:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{told}; it must be a number" + (f' or "{EQUAL}"' if key == "min_weight" else ""))
    if not 0 < value <= POSITIVE[key]:
        raise InputError(f"{told}; it must be positive and at most {POSITIVE[key]:g}")
    return float(value)


def _cell(name: str, values: dict[str, Any]) -> Cell:
    if values["min_weight"] == EQUAL:
        values["min_weight"] = 1 / values["K"]
    cell = Cell(sweep=name, **values)
    if cell.K * cell.min_weight > 1:  # 1/K times K never rounds above 1
        raise InputError(
            f"sweep {name!r}: the least of K = {cell.K} weights is {cell.min_weight:g}; it must be at most 1/{cell.K}"
        )
    if cell.n < cell.K:
        raise InputError(f"sweep {name!r}: K is {cell.K} and n is {cell.n}; K must not be larger than n")
    return cell
