"""What a sweep found, in one SQLite file: written cell by cell, read back exactly.

Tables: `meta` (schema version, notes), `runs` (grid, library versions, machine, beginning), `cells` (each with the run
that measured it and its seconds), `measured` (a row a replication). The view `rows` joins them for whoever looks into
the file by hand. A cell and its replications are written in one transaction; a cell cannot be there twice.

Why a rollback journal and not a write-ahead log: every commit is in the file itself, so that the file alone can be
copied or kept under version control at any moment; after a kill, the next reader or writer rolls back what was half
written. The one who writes holds a transaction open from beginning to end (only the lock that keeps out writers, not
readers; another begins as soon as one is committed), so that no second sweep runs the same cells meanwhile.
"""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from constructions.command_line import require_writable
from constructions.errors import InputError, meant
from theory_checks.sweeps import grid as grids
from theory_checks.sweeps.grid import EM, AnyCell, Design

SCHEMA = 1
PATIENCE = 60.0
"""Seconds to wait for others who read (or, reading, for one who commits) before the file counts as locked."""
SQL = {str: "TEXT", int: "INTEGER", float: "REAL"}
Row = tuple[float | int, ...]
"""A replication's measured values, in the order of the columns."""
Judge = Callable[[np.ndarray], np.ndarray]
"""From rows, as `Results` has them, to a mask of some of them."""


@dataclass(frozen=True)
class Run:
    """One call of the command: when it began (UTC), with which libraries, on what machine, for which grid."""

    began: str
    versions: dict[str, str]
    machine: dict[str, str | int | None]
    grid: str


@dataclass(frozen=True, eq=False)
class Results:
    """All that figures need. `rows`: a structured array (fields of a cell, `replication`, measured columns), sorted.

    It holds the cells of the newest run's grid; `missing` are those that have not been measured, `others` counts
    the cells in the file that belong to older grids only. A measured value that is not a number is NaN.
    """

    rows: np.ndarray
    runs: tuple[Run, ...]
    missing: tuple[Any, ...]
    others: int

    @property
    def grid(self) -> str:
        """The text of the grid."""
        return self.runs[-1].grid

    def sweep(self, name: str) -> np.ndarray:
        """The rows of one sweep; an InputError if there are none."""
        found = self.rows[self.rows["sweep"] == name]
        if not len(found):
            known = np.unique(self.rows["sweep"]).tolist()
            raise InputError(f"the results hold no sweep {name!r}{meant(name, known)}; they hold {', '.join(known)}")
        return found


def read(path: Path, design: Design = EM) -> Results:
    """What the file holds of the newest run's grid; a sweep may be writing to it meanwhile."""
    with _reading(path) as connection:
        runs = tuple(
            Run(began, json.loads(versions), json.loads(machine), text)
            for began, versions, machine, text in connection.execute(
                "SELECT began, versions, machine, grid FROM runs ORDER BY run"
            )
        )
        if not runs:
            raise InputError(f"{str(path)!r} holds no results yet")
        wanted = set(grids.parse(runs[-1].grid, f"grid in {path}", design).cells)
        measured = _columns(connection)
        cell = get_type_hints(design.cell)
        names = ", ".join(f'rows."{name}"' for name in (*cell, "replication", *measured))
        rows = connection.execute(f"SELECT {names} FROM rows ORDER BY {names}").fetchall()
        present = _cells(connection, design)
    kept = [row for row in rows if design.cell(*row[: len(cell)]) in wanted]
    kinds = {**cell, "replication": int, **measured}
    layout = [(name, _numpy(kind, [row[k] for row in kept])) for k, (name, kind) in enumerate(kinds.items())]
    missing = tuple(sorted(wanted - present))
    return Results(np.array(kept, dtype=layout), runs, missing, len(present - wanted))


def done(path: Path, design: Design = EM) -> set[Any]:
    """The cells that a file holds; none if there is no file."""
    if not os.path.exists(path):  # nor one that may not be looked for
        return set()
    with _reading(path) as connection:
        return _cells(connection, design)


def outdated(path: Path, judge: Judge, design: Design = EM) -> set[Any]:
    """The cells of the newest run's grid with a row that, `judge` says, would be measured otherwise now."""
    if not done(path, design):
        return set()
    rows = read(path, design).rows
    names = list(get_type_hints(design.cell))
    return {design.cell(*row) for row in rows[judge(rows)][names].tolist()}


def noted(path: Path, key: str) -> str | None:
    """What was noted under a key, if anything."""
    with _reading(path) as connection:
        found = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if found is None else str(found[0])


def begun(path: Path, sweep: str) -> str | None:
    """When the first run began that measured a cell of a sweep (UTC); None if the file holds none."""
    with _reading(path) as connection:
        (found,) = connection.execute(
            "SELECT MIN(began) FROM runs JOIN cells USING (run) WHERE cells.sweep = ?", (sweep,)
        ).fetchone()
    return None if found is None else str(found)


def note(path: Path, key: str, text: str) -> None:
    """Write a text under a key, once: a second time is an InputError."""
    with _told(path, "written"), closing(_connected(path, 0.0)) as connection, connection:
        _require_schema(connection, path)
        connection.execute("INSERT INTO meta VALUES (?, ?)", (key, text))


class Store:
    """The results file, opened for writing by this process alone; a context manager.

    `columns`: name and type (float or int) of each measured column. A file that holds others is refused.
    """

    def __init__(self, path: Path, columns: Mapping[str, type], design: Design = EM) -> None:
        require_writable(path)
        self.path, self.columns, self.design = path, dict(columns), design
        with _told(path, "written"):
            self.connection = sqlite3.connect(path, timeout=0, isolation_level=None)
            try:
                self.connection.execute("BEGIN IMMEDIATE")  # at once or not at all: who has it keeps it
                if not self.connection.execute("SELECT * FROM sqlite_master").fetchall():
                    self._create()
                _require_schema(self.connection, path)
                found = _columns(self.connection)
                if found != self.columns:
                    raise InputError(
                        f"{str(path)!r} holds the columns {', '.join(found)}, but this program measures "
                        f"{', '.join(self.columns)}; use another file"
                    )
                # A file that may only be read is opened all the same: see now whether it can be written.
                self.connection.execute("UPDATE meta SET value = value")
                self._restart()
                self.connection.execute(f"PRAGMA busy_timeout = {int(1000 * PATIENCE)}")
            except BaseException:
                self.connection.close()
                raise
        self.run: int | None = None

    def _create(self) -> None:
        declared = get_type_hints(self.design.cell)
        cell = ", ".join(f'"{name}" {SQL[kind]} NOT NULL' for name, kind in declared.items())
        measured = ", ".join(
            f'"{name}" {SQL[kind]}{"" if kind is float else " NOT NULL"}' for name, kind in self.columns.items()
        )
        fields_, names = (", ".join(f'"{name}"' for name in group) for group in (declared, self.columns))
        for statement in (
            "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID",
            f"INSERT INTO meta VALUES ('schema', {SCHEMA})",
            "CREATE TABLE runs (run INTEGER PRIMARY KEY, began TEXT NOT NULL, versions TEXT NOT NULL, "
            "machine TEXT NOT NULL, grid TEXT NOT NULL)",
            f"CREATE TABLE cells (cell INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs, {cell}, "
            f"seconds REAL NOT NULL, UNIQUE ({fields_}))",
            f"CREATE TABLE measured (cell INTEGER NOT NULL REFERENCES cells, replication INTEGER NOT NULL, {measured}, "
            "PRIMARY KEY (cell, replication)) WITHOUT ROWID",
            f"CREATE VIEW rows AS SELECT run, {fields_}, replication, {names} FROM measured JOIN cells USING (cell)",
        ):
            self.connection.execute(statement)
        self._commit()

    def _commit(self) -> None:
        self.connection.execute("COMMIT")
        self.connection.execute("BEGIN IMMEDIATE")

    def _restart(self) -> None:
        if self.connection.in_transaction:  # SQLite has rolled back by itself where the disk is full
            self.connection.execute("ROLLBACK")
        self.connection.execute("BEGIN IMMEDIATE")

    def done(self) -> set[Any]:
        """The cells that the file holds."""
        with _told(self.path, "read"):
            return _cells(self.connection, self.design)

    def begin(self, grid: str, versions: Mapping[str, str]) -> None:
        """Note a run, unless the newest one had the same grid, versions and machine."""
        machine = {"platform": platform.platform(), "processor": platform.machine(), "processors": os.cpu_count()}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        noted = json.dumps(dict(versions)), json.dumps(machine), grid
        with _told(self.path, "written"):
            newest = self.connection.execute(
                "SELECT run, versions, machine, grid FROM runs ORDER BY run DESC LIMIT 1"
            ).fetchone()
            if newest is not None and newest[1:] == noted:
                self.run = newest[0]
                return
            cursor = self.connection.execute("INSERT INTO runs VALUES (NULL, ?, ?, ?, ?)", (now, *noted))
            self.run = cursor.lastrowid
            self._commit()

    def add(self, cell: AnyCell, rows: Sequence[Row], seconds: float, replace: bool = False) -> None:
        """Write a cell with all its replications, or nothing of it; `replace`: in place of what is there of it."""
        if self.run is None:
            raise ValueError("begin a run before adding to it")
        with _told(self.path, "written"):
            try:
                if replace:
                    self._remove(cell)
                held = (self.run, *astuple(cell), seconds)  # type: ignore[call-overload]
                cursor = self.connection.execute(f"INSERT INTO cells VALUES (NULL, {_marks(len(held))})", held)
                self.connection.executemany(
                    f"INSERT INTO measured VALUES ({_marks(2 + len(self.columns))})",
                    ((cursor.lastrowid, number, *row) for number, row in enumerate(rows)),
                )
                self._commit()
            except BaseException:
                self._restart()
                raise

    def _remove(self, cell: AnyCell) -> None:
        chosen = " AND ".join(f'"{name}" = ?' for name in get_type_hints(self.design.cell))
        found = f"SELECT cell FROM cells WHERE {chosen}"
        self.connection.execute(f"DELETE FROM measured WHERE cell = ({found})", astuple(cell))  # type: ignore[call-overload]
        self.connection.execute(f"DELETE FROM cells WHERE {chosen}", astuple(cell))  # type: ignore[call-overload]

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()  # what is not committed is rolled back


def _connected(path: Path, timeout: float) -> sqlite3.Connection:
    """To a file that exists, for writing where it may be written."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=timeout)


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """The file, found sound; what a killed writer left half written is rolled back."""
    if not os.path.exists(path):  # nor one that may not be looked for
        raise InputError(f"there is no results file {str(path)!r}")
    with _told(path, "read"), closing(_connected(path, PATIENCE)) as connection:
        connection.execute("BEGIN")  # all that is read belongs to one moment
        _require_schema(connection, path)
        yield connection


def _require_schema(connection: sqlite3.Connection, path: Path) -> None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"meta", "runs", "cells", "measured"} <= tables:
        raise InputError(
            f"{str(path)!r} is no results file of a sweep: it is {'empty' if not tables else 'another database'}"
        )
    version = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
    if version != (SCHEMA,):
        raise InputError(
            f"{str(path)!r} has schema version {version and version[0]}; this program reads and writes version {SCHEMA}"
        )
    verdict = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != ("ok",):
        raise InputError(f"{str(path)!r} is damaged: {' '.join(verdict[0].split())}")


def _cells(connection: sqlite3.Connection, design: Design) -> set[Any]:
    names = ", ".join(f'cells."{name}"' for name in get_type_hints(design.cell))  # bare, an unknown name is a text
    return {design.cell(*values) for values in connection.execute(f"SELECT {names} FROM cells")}


def _columns(connection: sqlite3.Connection) -> dict[str, type]:
    """Name and type of every measured column."""
    kinds = {declared: kind for kind, declared in SQL.items()}
    return {
        name: kinds[declared]
        for name, declared in connection.execute("SELECT name, type FROM pragma_table_info('measured') ORDER BY cid")
        if name not in ("cell", "replication")
    }


def _numpy(kind: type, values: Sequence[Any]) -> str:
    if kind is str:
        return f"U{max(map(len, values), default=1)}"
    return "i8" if kind is int else "f8"  # None, where SQLite has NULL, becomes NaN


def _marks(number: int) -> str:
    return ", ".join("?" * number)


@contextmanager
def _told(path: Path, what: str) -> Iterator[None]:
    """Whatever SQLite complains of as one sentence."""
    try:
        yield
    except sqlite3.Error as error:
        name, code = repr(str(path)), getattr(error, "sqlite_errorcode", 0) & 0xFF
        reason = {
            sqlite3.SQLITE_BUSY: f"{name} is in use by another process, which is writing to it",
            sqlite3.SQLITE_NOTADB: f"{name} is no results file of a sweep: it is not an SQLite database",
            sqlite3.SQLITE_CORRUPT: f"{name} is damaged: {error}",
            sqlite3.SQLITE_CONSTRAINT: f"{name} refuses a row: {error}",
        }
        raise InputError(reason.get(code, f"{name} cannot be {what}: {error}")) from error
