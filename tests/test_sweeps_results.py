"""The results file: exact, whole, refused when it will not do."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from math import inf, nan
from pathlib import Path

import numpy as np
import pytest
from sweep_measures import COLUMNS, GRID, cheap

from constructions.errors import InputError
from theory_checks.sweeps import results
from theory_checks.sweeps.grid import KEYS, parse
from theory_checks.sweeps.results import SCHEMA, Store, done, note, noted, outdated, read

CELLS = parse(GRID, "text").cells
VERSIONS = {"python": "3.11"}
ROWS = [(1.5, 3), (nan, 4)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the first two cells of the grid."""
    path = tmp_path / "results.sqlite"
    with Store(path, COLUMNS) as store:
        store.begin(GRID, VERSIONS)
        store.add(CELLS[1], ROWS, 0.5)
        store.add(CELLS[0], [(2.5, 5), (3.5, 6)], 0.25)
    return path


def execute(path: Path, *statements: str) -> list[tuple]:
    with closing(sqlite3.connect(path)) as connection, connection:
        return [row for statement in statements for row in connection.execute(statement).fetchall()]


def test_read(path):
    """Rows in the order of cells and replications, whatever the order in which they came."""
    found = read(path)
    assert found.rows.dtype.names == ("sweep", *KEYS, "replication", "error", "steps")
    assert found.rows[["n", "replication", "steps"]].tolist() == [(64, 0, 5), (64, 1, 6), (128, 0, 3), (128, 1, 4)]
    np.testing.assert_array_equal(found.rows["error"], [2.5, 3.5, 1.5, nan])
    assert set(found.rows["sweep"]) == {"n"}
    assert found.rows.dtype["steps"] == np.int64
    assert found.grid == GRID
    assert found.missing == tuple(sorted(CELLS[2:]))
    assert found.others == 0
    [run] = found.runs
    assert run.versions == VERSIONS
    assert run.machine["processors"] == os.cpu_count()
    assert run.began.endswith("+00:00")
    assert done(path) == set(CELLS[:2])
    assert execute(path, "SELECT n, seconds FROM cells ORDER BY n") == [(64, 0.25), (128, 0.5)]


def test_a_sweep_by_name(path):
    with Store(path, COLUMNS) as store:
        store.begin(GRID, VERSIONS)
        store.add(CELLS[3], ROWS, 0.5)
    found = read(path)
    assert len(found.rows) == 6
    assert found.sweep("d-K")["steps"].tolist() == [3, 4]
    with pytest.raises(InputError, match="hold no sweep 'seed'; they hold d-K, n"):
        found.sweep("seed")


def test_floats_come_back_exactly(tmp_path):
    """Every bit, the sign of zero aside; infinite ones, and none as none."""
    path = tmp_path / "results.sqlite"
    special = [0.1, np.nextafter(1, 2), 5e-324, -np.finfo(float).max, 2.0**53 + 2, 1e16, 0.0, inf, -inf, nan]
    values = [*map(float, special), *map(float, np.random.default_rng(3).standard_normal(101) * 1e-7)]
    with Store(path, {"a": float, "b": int}) as store:
        store.begin(GRID, VERSIONS)
        store.add(CELLS[0], [(value, 2**63 - 1 - k) for k, value in enumerate(values)], 0.5)
    rows = read(path).rows
    assert rows["a"].tobytes() == np.array(values).tobytes()
    assert rows["b"].tolist() == [2**63 - 1 - k for k in range(len(values))]
    assert rows["replication"].tolist() == list(range(len(values)))


def test_a_run_is_noted_once(path):
    """The same grid, versions and machine: the same run; else another. The newest one's grid is the grid."""
    shorter = GRID.replace("n = [64, 128, 256]", "n = [128]")
    with Store(path, COLUMNS) as store:
        store.begin(GRID, VERSIONS)
        assert store.run == 1
        store.begin(GRID, {"python": "3.12"})
        assert store.run == 2
        for _ in range(2):
            store.begin(shorter, {"python": "3.12"})
            assert store.run == 3
        store.add(CELLS[4], ROWS, 0.5)
    found = read(path)
    assert [run.versions["python"] for run in found.runs] == ["3.11", "3.12", "3.12"]
    assert found.grid == shorter
    assert found.rows["n"].tolist() == [64, 64, 128, 128]  # CELLS[4] is of sweep d-K; CELLS[0] is left out
    assert set(found.rows["sweep"]) == {"n", "d-K"}
    assert found.others == 1
    assert len(found.missing) == 3
    assert execute(path, "SELECT DISTINCT run, sweep, n, d, K FROM rows ORDER BY run, n") == [
        (1, "n", 64, 2, 3),
        (1, "n", 128, 2, 3),
        (3, "d-K", 64, 1, 7),
    ]


def test_notes(path, tmp_path):
    """Each is written once, while no sweep runs; the schema version is not one to overwrite."""
    assert noted(path, "constants") is None
    note(path, "constants", "β = 0.5")
    assert noted(path, "constants") == "β = 0.5"
    for key in ("constants", "schema"):
        with pytest.raises(InputError, match="refuses a row: UNIQUE"):
            note(path, key, "β = 0.25")
    with Store(path, COLUMNS), pytest.raises(InputError, match="in use by another process"):
        note(path, "other", "text")
    assert noted(path, "constants") == "β = 0.5"
    assert len(read(path).rows) == 4
    with pytest.raises(InputError, match="unable to open"):
        note(tmp_path / "none.sqlite", "constants", "text")
    assert not (tmp_path / "none.sqlite").exists()


def test_a_cell_is_there_once(path):
    with Store(path, COLUMNS) as store:
        store.begin(GRID, VERSIONS)
        with pytest.raises(InputError, match="refuses a row: UNIQUE constraint failed"):
            store.add(CELLS[0], ROWS, 0.5)
        store.add(CELLS[2], ROWS, 0.5)  # it goes on
    assert done(path) == set(CELLS[:3])
    assert read(path).rows["steps"].tolist() == [5, 6, 3, 4, 3, 4]


def test_a_cell_is_replaced_whole_or_not_at_all(path):
    """By fewer replications and by more; where the new ones cannot be written the old ones stay."""
    with Store(path, COLUMNS) as store:
        store.begin(GRID, VERSIONS)
        store.add(CELLS[0], [(7.5, 7)], 0.125, replace=True)
        with pytest.raises(InputError, match="cannot be written"):
            store.add(CELLS[1], [(1.5, 3), (1.5, 3, 3)], 0.5, replace=True)
        store.add(CELLS[2], ROWS, 0.5, replace=True)  # none is there
    assert done(path) == set(CELLS[:3])
    assert read(path).rows["steps"].tolist() == [7, 3, 4, 3, 4]
    assert execute(path, "SELECT count(*) FROM measured") == [(5,)]
    assert execute(path, "SELECT seconds FROM cells ORDER BY n") == [(0.125,), (0.5,), (0.5,)]


def test_outdated_cells(path, tmp_path):
    """Cells of which one row is; none where nothing was measured."""
    assert outdated(path, lambda rows: rows["steps"] == 4) == {CELLS[1]}
    assert outdated(path, lambda rows: rows["steps"] == 7) == set()
    assert outdated(tmp_path / "none.sqlite", lambda rows: rows["steps"] == 4) == set()
    assert not (tmp_path / "none.sqlite").exists()


def test_a_run_is_begun_before_it_is_added_to(path):
    with Store(path, COLUMNS) as store, pytest.raises(ValueError, match="begin a run"):
        store.add(CELLS[2], ROWS, 0.5)


def test_a_cell_that_fails_to_be_written_leaves_nothing(path):
    """Here its second row is too long."""
    with Store(path, COLUMNS) as store:
        store.begin(GRID, VERSIONS)
        with pytest.raises(InputError, match="cannot be written"):
            store.add(CELLS[2], [(1.5, 3), (1.5, 3, 3)], 0.5)
        store.add(CELLS[3], ROWS, 0.5)
    assert done(path) == {*CELLS[:2], CELLS[3]}
    assert len(read(path).rows) == 6


def test_a_full_disk(path):
    many = [(float(k), k) for k in range(5000)]
    with Store(path, COLUMNS) as store:
        store.begin(GRID, VERSIONS)
        (pages,) = store.connection.execute("PRAGMA page_count").fetchone()
        store.connection.execute(f"PRAGMA max_page_count = {pages + 1}")
        with pytest.raises(InputError, match="cannot be written: database or disk is full"):
            store.add(CELLS[2], many, 0.5)
        store.connection.execute("PRAGMA max_page_count = 100000")
        store.add(CELLS[3], ROWS, 0.5)
    assert done(path) == {*CELLS[:2], CELLS[3]}
    assert len(read(path).rows) == 6


KILLED = """
import os, signal, sys
from pathlib import Path
from sweep_measures import COLUMNS, GRID
from theory_checks.sweeps.grid import parse
from theory_checks.sweeps.results import Store

def rows():
    for k in range(20_000):
        if k == 15_000:
            os.kill(os.getpid(), signal.SIGKILL)
        yield (float(k), k)

store = Store(Path(sys.argv[1]), COLUMNS)
store.begin(GRID, {"python": "3.11"})
store.connection.execute("PRAGMA cache_size = 10")  # pages: what is not committed is written to the file early
store.add(parse(GRID, "text").cells[2], rows(), 0.5)
"""


@pytest.mark.parametrize("reader", [read, done, lambda path: Store(path, COLUMNS).__exit__()])
def test_killed_in_the_middle_of_a_cell(path, reader):
    """What was half written is in the file; whoever opens it next, to read or to write, rolls it back."""
    before = path.stat().st_size
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    killed = subprocess.run([sys.executable, "-c", KILLED, path], env=environment, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    journal = path.with_name(f"{path.name}-journal")
    assert journal.stat().st_size > 0
    assert path.stat().st_size > before + 100_000
    reader(path)
    assert not journal.exists()
    assert path.stat().st_size == before
    assert done(path) == set(CELLS[:2])
    assert read(path).rows["steps"].tolist() == [5, 6, 3, 4]


def test_one_writes_and_others_read(path, monkeypatch):
    """A second writer is refused from beginning to end, between two cells too; readers see the last whole cell."""
    with Store(path, COLUMNS) as store:
        for cell in CELLS[2:4]:
            with pytest.raises(InputError, match=r"results\.sqlite' is in use by another process"):
                Store(path, COLUMNS)
            assert cell not in done(path)
            store.begin(GRID, VERSIONS)
            store.add(cell, ROWS, 0.5)
            assert cell in done(path)
            assert len(read(path).rows) == 2 * len(done(path))
    Store(path, COLUMNS).__exit__()
    monkeypatch.setattr(results, "PATIENCE", 0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for opening in (read, done):
            with pytest.raises(InputError, match="in use by another process"):
                opening(path)


def test_a_reader_that_will_not_end(path, monkeypatch):
    """The cell that waits for it in vain is not stored, and not half."""
    monkeypatch.setattr(results, "PATIENCE", 0.05)
    with Store(path, COLUMNS) as store:
        store.begin(GRID, VERSIONS)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN")
            other.execute("SELECT * FROM cells").fetchone()
            with pytest.raises(InputError, match="in use by another process"):
                store.add(CELLS[2], ROWS, 0.5)
        store.add(CELLS[3], ROWS, 0.5)
    assert done(path) == {*CELLS[:2], CELLS[3]}


def openings(path: Path):
    """All three ways to open a file."""
    return (lambda: read(path)), (lambda: done(path)), (lambda: Store(path, COLUMNS))


@pytest.mark.parametrize(
    ("statements", "complaint"),
    [
        (["UPDATE meta SET value = 7"], f"schema version 7; this program reads and writes version {SCHEMA}"),
        (["DELETE FROM meta"], "schema version None"),
        (["DROP VIEW rows", "DROP TABLE cells"], "no results file of a sweep: it is another database"),
    ],
)
def test_other_databases(path, statements, complaint):
    execute(path, *statements)
    content = path.read_bytes()
    for opening in openings(path):
        with pytest.raises(InputError, match=complaint):
            opening()
    assert path.read_bytes() == content


def test_a_column_that_is_missing(path):
    """SQLite takes a bare quoted name that it does not know for a text: every cell would have n = "n"."""
    execute(path, "DROP VIEW rows", "ALTER TABLE cells RENAME COLUMN n TO m")
    with pytest.raises(InputError, match=r"no such column: cells\.n"):
        done(path)


def test_damaged_files(path):
    content = path.read_bytes()
    for broken, complaint in (
        (b"n,error\n64,0.5\n" * 100, "no results file of a sweep: it is not an SQLite database"),
        (content[: len(content) // 2], "is damaged"),
        (content[:4096] + b"\x55" * 4096 + content[8192:], "is damaged"),
        (content[:-4096] + b"\x55" * 4096, "is damaged"),
    ):
        path.write_bytes(broken)
        for opening in openings(path):
            with pytest.raises(InputError, match=complaint):
                opening()
        assert path.read_bytes() == broken


def test_other_columns(path):
    with pytest.raises(
        InputError, match="holds the columns error, steps, but this program measures error; use another"
    ):
        Store(path, {"error": float})
    with pytest.raises(InputError, match="holds the columns"):
        Store(path, {"error": float, "steps": float})
    Store(path, COLUMNS).__exit__()


def test_no_file_and_no_run(tmp_path):
    path = tmp_path / "results.sqlite"
    assert done(path) == set()
    with pytest.raises(InputError, match="there is no results file"):
        read(path)
    assert not path.exists()
    path.touch()
    with pytest.raises(InputError, match="no results file of a sweep: it is empty"):
        read(path)
    with Store(path, COLUMNS) as store:  # an empty file is a new one
        assert store.done() == set()
    with pytest.raises(InputError, match="holds no results yet"):
        read(path)
    with pytest.raises(InputError, match="is a directory"):
        Store(tmp_path, COLUMNS)
    with pytest.raises(InputError, match="there is no directory"):
        Store(tmp_path / "none" / "results.sqlite", COLUMNS)


@contextmanager
def unprivileged():
    """As a user who may do only what the permissions say, if we are not one already."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_without_permission(path):
    """A file that may only be read is read; one that may not is refused, and so is writing to either."""
    for parent in path.parents:
        if parent.name.startswith(("test_", "popen-", "pytest-")):
            parent.chmod(0o755)
    path.chmod(0o444)
    with unprivileged():
        assert len(read(path).rows) == 4
        with pytest.raises(InputError, match="cannot be written"):
            Store(path, COLUMNS)
    path.chmod(0)
    with unprivileged():
        for opening in openings(path):
            with pytest.raises(InputError, match=r"cannot be (read|written)"):
                opening()


def test_the_file_is_small(tmp_path):
    """A replication costs its numbers, not its cell's: below 13 bytes a value, in 101 cells of 20 replications."""
    path = tmp_path / "results.sqlite"
    columns = {f"column{k}": float for k in range(13)}
    grid = GRID.replace("n = [64, 128, 256]", f"n = {list(range(64, 165))}").replace(
        "replications = 2", "replications = 20"
    )
    rng = np.random.default_rng(4)
    with Store(path, columns) as store:
        store.begin(grid, VERSIONS)
        for cell in parse(grid, "text").only(["n"]):
            store.add(cell, [tuple(map(float, row)) for row in rng.standard_normal((20, 13))], 0.5)
    assert path.stat().st_size < 101 * 20 * 13 * 13


def test_measures_agree_with_the_columns():
    assert set(cheap(CELLS[0])[0]) == set(COLUMNS)
