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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Protocol

from constructions.errors import InputError, meant

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


class AnyCell(Protocol):
    """A cell of any design: a frozen dataclass of texts and numbers that is ordered, its first field the sweep."""

    @property
    def sweep(self) -> str:
        """The block that declares it."""

    @property
    def replications(self) -> int:
        """How many rows it has in the results."""

    @property
    def cost(self) -> float:
        """A guess at its work."""


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

    def stream(self, replication: int) -> tuple[int, ...]:
        """The key of a replication's random numbers: cells that differ otherwise share them."""
        return self.seed, replication, self.d, self.K

    @property
    def streams(self) -> set[tuple[int, ...]]:
        """The keys of all its replications."""
        return {self.stream(replication) for replication in range(self.replications)}


def shared_streams(cells: Iterable[Cell], others: Iterable[Cell]) -> set[tuple[int, ...]]:
    """Keys of random numbers that some of the cells have in common with some of the others."""
    return {key for cell in cells for key in cell.streams} & {key for cell in others for key in cell.streams}


@dataclass(frozen=True)
class Design:
    """What the cells of a grid are: their dataclass, the values of its fields, and `made` from (sweep, values).

    A field is one of `choices`, an integer within `integers`, a number that is positive and at most `positive`, or not
    negative and at most `nonnegative`; the texts in `words` are allowed besides, for `made` to replace.
    """

    cell: type
    made: Callable[[str, dict[str, Any]], Any]
    choices: Mapping[str, Sequence[str]]
    integers: Mapping[str, tuple[int, int]]
    positive: Mapping[str, float]
    nonnegative: Mapping[str, float] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)

    @property
    def keys(self) -> tuple[str, ...]:
        """All fields but the sweep."""
        return tuple(each.name for each in fields(self.cell) if each.name != "sweep")


@dataclass(frozen=True)
class Grid:
    """The cells that a file declares, in its order, and the file's text."""

    cells: tuple[Any, ...]
    text: str

    @property
    def sweeps(self) -> tuple[str, ...]:
        """The names of its blocks."""
        return tuple(dict.fromkeys(cell.sweep for cell in self.cells))

    def only(self, sweeps: Sequence[str]) -> tuple[Any, ...]:
        """The cells of these sweeps, an InputError for one that is not there."""
        for name in sweeps:
            if name not in self.sweeps:
                near = meant(name, self.sweeps)
                raise InputError(f"there is no sweep {name!r} in the grid{near}; it has {', '.join(self.sweeps)}")
        return tuple(cell for cell in self.cells if cell.sweep in sweeps)


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


EM = Design(Cell, _cell, CHOICES, INTEGERS, POSITIVE, words={"min_weight": EQUAL})
"""Runs of the EM transformer."""
KEYS = EM.keys


def load(path: Path, design: Design = EM) -> Grid:
    """The grid in a TOML file; an InputError names what is wrong with it."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"the grid {str(path)!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the grid {str(path)!r} is not text in UTF-8: byte {error.start}") from error
    return parse(text, str(path), design)


def parse(text: str, source: str, design: Design = EM) -> Grid:
    """The grid that a text declares; `source` names the text in an InputError."""
    try:
        return Grid(_cells(tomllib.loads(text), design), text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"the grid {source!r} is not valid TOML: {error}") from error
    except InputError as error:
        raise InputError(f"the grid {source!r}: {error}") from error


def _cells(content: dict[str, Any], design: Design) -> tuple[Any, ...]:
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
    _require_keys(defaults, design.keys, "[defaults]")
    cells: list[Any] = []
    names: set[str] = set()
    for number, block in enumerate(blocks, start=1):
        name = block.get("name")
        if not (isinstance(name, str) and name.strip()):
            raise InputError(f"[[sweep]] number {number} has the name {name!r}; it must be a text that is not empty")
        if name in names:
            raise InputError(f"two sweeps are called {name!r}; the names must differ")
        names.add(name)
        values = defaults | {key: value for key, value in block.items() if key != "name"}
        cells += _block(name, values, len(cells), design)
    return tuple(cells)


def _require_keys(table: dict[str, Any], known: Sequence[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise InputError(f"{where} has the unknown key {key!r}; there are {', '.join(known)}")


def _block(name: str, values: dict[str, Any], before: int, design: Design) -> list[Any]:
    where = f"sweep {name!r}"
    _require_keys(values, design.keys, where)
    for key in design.keys:
        if key not in values:
            raise InputError(f"{where} lacks the key {key!r}, and so does [defaults]")
    axes = {key: values[key] if isinstance(values[key], list) else [values[key]] for key in design.keys}
    for key, axis in axes.items():
        if not axis:
            raise InputError(f"{where} is empty: its {key} is an empty list")
    size = prod(map(len, axes.values()))
    if before + size > MOST_CELLS:
        raise InputError(f"{where} brings the grid to {before + size} cells; it may have at most {MOST_CELLS}")
    valid = [[_value(key, value, where, design) for value in axis] for key, axis in axes.items()]
    cells = [design.made(name, dict(zip(design.keys, chosen, strict=True))) for chosen in product(*valid)]
    twice, times = Counter(cells).most_common(1)[0]
    if times > 1:
        raise InputError(f"{where} has the same cell {times} times: {twice}")
    return cells


def _value(key: str, value: Any, where: str, design: Design) -> Any:
    """The value as the cell holds it; a number is no truth value, and an integer is a number."""
    told = f"{where}: {key} is {value!r}"
    if key in design.choices:
        if value not in design.choices[key]:
            near = meant(str(value), design.choices[key])
            raise InputError(f"{told}{near}; it must be one of {', '.join(design.choices[key])}")
        return value
    if key in design.integers:
        least, largest = design.integers[key]
        if isinstance(value, bool) or not isinstance(value, int):
            raise InputError(f"{told}; it must be an integer")
        if not least <= value <= largest:
            raise InputError(f"{told}; it must lie between {least} and {largest}")
        return value
    word = design.words.get(key)
    if word is not None and value == word:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{told}; it must be a number" + (f' or "{word}"' if word else ""))
    if key in design.nonnegative:
        if not 0 <= value <= design.nonnegative[key]:
            raise InputError(f"{told}; it must lie between 0 and {design.nonnegative[key]:g}")
    elif not 0 < value <= design.positive[key]:
        raise InputError(f"{told}; it must be positive and at most {design.positive[key]:g}")
    return float(value)
