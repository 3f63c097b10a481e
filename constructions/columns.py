"""Columns of numbers as a file gives them, the choice among them, and what is done with rows that lack a number."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from constructions.errors import InputError

COUNTED = 8
"""Rows from which on a first column 0, 1, 2, … or 1, 2, 3, … counts as an index: of fewer it may be data."""


@dataclass(frozen=True)
class Columns:
    """Values (NaN where one is missing), and names and numbers of columns and rows as the file has them."""

    values: Float[np.ndarray, "N d"]
    names: list[str] | None
    positions: list[int]  # of the columns, from 1
    rows: list[int]  # from 1
    unit: str  # what a row is called: line or row
    notes: list[str]  # what was done to the file's table

    def title(self, column: int) -> str:
        """How a column is named in a sentence."""
        named = f" ({self.names[column]!r})" if self.names is not None and self.names[column] else ""
        return f"column {self.positions[column]}{named}"

    def without(self, column: int, note: str) -> Columns:
        """All columns but one."""
        return Columns(
            np.delete(self.values, column, axis=1),
            None if self.names is None else [*self.names[:column], *self.names[column + 1 :]],
            [*self.positions[:column], *self.positions[column + 1 :]],
            self.rows,
            self.unit,
            [*self.notes, note],
        )


def choose(columns: str, names: list[str] | None, width: int, name: str) -> list[int]:
    """Indices from 0 of the columns that --columns names: names, numbers from 1, ranges such as 2: or 2:4, by commas.

    Raises
    ------
    InputError
        If there is no such column, or one is chosen twice.
    """
    chosen: list[int] = []
    for item in columns.split(","):
        item = item.strip()
        range_ = re.fullmatch(r"(\d*):(\d*)", item)
        if names is not None and item in names:
            found = [names.index(item)]
            if names.count(item) > 1:
                raise InputError(f"--columns names {item!r}, as {names.count(item)} columns of {name} are called")
        elif range_ or item.isdecimal():
            first, last = (range_[1], range_[2]) if range_ else (item, item)
            found = list(range(int(first or 1) - 1, int(last or width)))
            if not found or found[0] < 0 or found[-1] >= width:
                raise InputError(f"--columns has {item}; {name} has columns 1 to {width}")
        else:
            known = "no names for its columns" if names is None else f"the columns {', '.join(names[:20])}"
            raise InputError(f"--columns has {item!r}; {name} has {known}")
        for index in found:
            if index in chosen:
                raise InputError(f"--columns chooses column {index + 1} twice")
        chosen += found
    return chosen


def without_index(columns: Columns) -> Columns:
    """Without a first column that only counts the rows, and without columns that have neither name nor number."""
    empty = np.isnan(columns.values).all(axis=0)
    for column in reversed(range(len(empty))):
        if empty[column] and not empty.all() and (columns.names is None or not columns.names[column]):
            columns = columns.without(column, f"column {columns.positions[column]} is empty: left out")
    count, dim = columns.values.shape
    counts = columns.values[:, 0]
    if count >= COUNTED and dim > 1 and counts[0] in (0, 1) and np.array_equal(counts, counts[0] + np.arange(count)):
        ends = f"{columns.values[0, 0]:g} to {columns.values[-1, 0]:g}"
        note = f"{columns.title(0)} counts the rows, {ends}: left out (--columns {columns.positions[0]}: keeps it)"
        columns = columns.without(0, note)
    return columns


def complete(columns: Columns, name: str, drop_missing: bool) -> Columns:
    """Finite numbers only: rows with missing cells are left out if `drop_missing`, else refused, infinite ones always.

    Raises
    ------
    InputError
        That names the first cell and says how many rows have one.
    """
    infinite = np.argwhere(np.isinf(columns.values))
    if len(infinite):
        row, column = (int(index) for index in infinite[0])
        raise InputError(
            f"{name}, {columns.unit} {columns.rows[row]}, {columns.title(column)}: {columns.values[row, column]} is "
            "not finite"
        )
    missing = np.isnan(columns.values)
    incomplete = missing.any(axis=1)
    if not incomplete.any():
        return columns
    count = int(incomplete.sum())
    if not drop_missing:
        row, column = (int(index) for index in np.argwhere(missing)[0])
        raise InputError(
            f"{name}, {columns.unit} {columns.rows[row]}, {columns.title(column)}: the number is missing, as in "
            f"{count} of {len(missing)} rows; --drop-missing leaves them out"
        )
    if count == len(missing):
        raise InputError(f"{name}: a number is missing in each of its {count} rows; --drop-missing leaves nothing")
    kept = np.flatnonzero(~incomplete)
    return Columns(
        columns.values[kept],
        columns.names,
        columns.positions,
        [columns.rows[row] for row in kept],
        columns.unit,
        [*columns.notes, f"{count} row{'s' if count > 1 else ''} with a missing number left out"],
    )
