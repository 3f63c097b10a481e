"""`python -m theory_checks.sweeps`, killed and resumed, twice at a time, and asked for what will not do."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sweep_measures
from conftest import Command, in_process
from sweep_measures import COLUMNS, GRID

from constructions.errors import InputError
from theory_checks.sweeps import __main__, running
from theory_checks.sweeps.__main__ import em_sweep, main
from theory_checks.sweeps.grid import parse
from theory_checks.sweeps.results import Store, done, read

CELLS = parse(GRID, "text").cells


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    path = tmp_path / "grid.toml"
    path.write_text(GRID, encoding="utf-8")
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.sqlite"


@pytest.fixture
def sweep(capfd, grid, path) -> Command:
    """`sweep("--only", "n", measure=faulty)` in this process."""

    def run(*arguments, measure=sweep_measures.cheap, outdated=None):
        asked = replace(em_sweep(), measure=measure, columns=COLUMNS, outdated=outdated)
        command = in_process(lambda given: main(given, lambda: asked), capfd)
        return command(grid, "--results", path, *arguments)

    return run


def told(outcome) -> list[str]:
    """Standard error without the progress that a slow machine may see."""
    return [line for line in outcome.err.splitlines() if not line.startswith("cell ")]


def test_a_sweep_in_two_parts(sweep, grid, path):
    """What is done is not run again, and a file in which nothing is left to do stays as it is."""
    first = sweep("--only", "n")
    assert first.code == 0
    assert first.out.splitlines()[0] == f"{grid}: 3 cells, of which {path} holds 0; 3 to run in 1 process(es)"
    assert re.fullmatch(rf"3 cells in \d+ s; they are in {re.escape(str(path))}", first.out.splitlines()[1])
    listed = sweep("--list")
    assert [line.split() for line in listed.out.splitlines()[:3]] == [
        ["sweep", "cells", "rows", "work", "done"],
        ["n", "3", "6", "43.8%", "3"],  # 2·3·(64 + 128 + 256) = 2 688 of 2 688 + 3 456
        ["d-K", "4", "8", "56.2%", "0"],  # 64·(1 + 5)·(2 + 7) = 3 456
    ]
    second = sweep()
    assert f"7 cells, of which {path} holds 3; 4 to run" in second.out
    assert len(read(path).rows) == 14
    assert len(read(path).runs) == 1
    content = path.read_bytes()
    third = sweep("--jobs", 2)
    assert third.out == f"{grid}: 7 cells, of which {path} holds 7; nothing to run\n"
    assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir() if entry.name.startswith(path.name)] == [path.name]


def test_list_leaves_no_file(sweep, path):
    assert sweep("--list").code == 0
    assert not path.exists()


def test_cells_of_an_older_grid(sweep, grid, path):
    """They stay, and are left out of what is read."""
    sweep()
    grid.write_text(GRID.replace("n = [64, 128, 256]", "n = [64, 512]"), encoding="utf-8")
    assert "6 cells, of which" in (outcome := sweep()).out
    assert "holds 5; 1 to run" in outcome.out
    assert sorted(set(read(path).sweep("n")["n"])) == [64, 512]
    assert read(path).others == 2
    assert len(done(path)) == 8
    assert "with 2 cells that the grid has not" in sweep("--list").out


def test_what_is_outdated_is_measured_again(sweep, path):
    """In the blocks that are asked for; where that fails, what is there stays."""
    assert sweep("--jobs", 2).code == 0

    def small(rows):
        return rows["n"] < 256  # all of "d-K", and two cells of "n"

    assert [line.split()[-1] for line in sweep("--list", outdated=small).out.splitlines()[1:3]] == ["1", "0"]
    before = read(path).rows["steps"]
    failing = sweep("--only", "n", measure=sweep_measures.faulty, outdated=small)
    assert failing.code == 1
    assert "3 cells, of which" in failing.out
    assert "holds 1; 2 to run" in failing.out
    assert "\n2 of them again: what they were measured on has changed since\n" in failing.out
    np.testing.assert_array_equal(read(path).rows["steps"], before)

    def doubled(cell):
        return [{**row, "steps": row["steps"] + 100} for row in sweep_measures.cheap(cell)]

    assert sweep("--only", "n", measure=doubled, outdated=small).code == 0
    after = read(path).rows
    again = (after["sweep"] == "n") & small(after)
    np.testing.assert_array_equal(after["steps"], before + 100 * again)


def test_failed_cells_are_named(sweep, path, monkeypatch):
    outcome = sweep("--jobs", 2, measure=sweep_measures.faulty)
    assert outcome.code == 1
    lines = told(outcome)
    assert len(lines) == 3
    assert f"failed: {CELLS[0]}: ValueError: n is too small" in lines
    assert "\n4 cells in " in outcome.out
    assert done(path) == set(CELLS[3:])
    monkeypatch.setattr(__main__, "MOST_SHOWN", 1)
    again = sweep(measure=sweep_measures.faulty)
    assert again.code == 1
    assert told(again)[1:] == ["failed: 2 more"]
    assert sweep().code == 0
    assert done(path) == set(CELLS)


def test_interrupted(sweep, path):
    """By the keyboard, in the second cell: the first is kept."""

    def measure(cell):
        if cell == running.costliest_first(CELLS)[1]:
            raise KeyboardInterrupt
        return sweep_measures.cheap(cell)

    outcome = sweep(measure=measure)
    assert outcome.code == 130
    assert told(outcome) == ["interrupted; the same command goes on from here"]
    assert "\n1 cells in " in outcome.out
    assert done(path) == {running.costliest_first(CELLS)[0]}


SWEEP = """
import sys
from dataclasses import replace
import sweep_measures
from theory_checks.sweeps.__main__ import em_sweep, main
sweep = replace(em_sweep(), measure=sweep_measures.logged, columns=sweep_measures.COLUMNS)
sys.exit(main(sys.argv[1:], lambda: sweep))
"""


def test_killed_and_resumed(grid, path, tmp_path, monkeypatch, sweep):
    """kill -9 while two processes measure; meanwhile a second sweep on the file is refused, reading it is not.

    The costliest cell, d = 5 and K = 7, keeps one process; the other does n = 256 and 128 before it is kept as well.
    What was stored is not measured again, what was not is, and the rows are those of a sweep that was left alone.
    """
    for name in ("LOG", "GATE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", SWEEP, grid, "--results", path, "--jobs", "2"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not (path.exists() and path.stat().st_size and len(done(path)) == 2):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        sweep().assert_refused("in use by another process")
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
    begun = Counter((tmp_path / "LOG").read_text(encoding="utf-8").splitlines())
    assert max(begun.values()) == 1
    kept = done(path)
    assert kept == set(CELLS[1:3])
    (tmp_path / "GATE").touch()  # the orphans go, too
    monkeypatch.setenv("LOG", str(log := tmp_path / "second log"))
    outcome = sweep(measure=sweep_measures.logged)
    assert outcome.code == 0
    assert f"{path} holds 2; 5 to run" in outcome.out
    assert Counter(log.read_text(encoding="utf-8").splitlines()) == Counter(map(str, set(CELLS) - kept))
    alone = tmp_path / "alone.sqlite"
    assert sweep("--results", alone).code == 0
    assert read(path).rows.tobytes() == read(alone).rows.tobytes()
    assert len(read(path).rows) == 14


def test_bad_input(sweep, grid, path, tmp_path, monkeypatch):
    for arguments, complaint in (
        (["--jobs", 0], "--jobs is 0; it must lie between 1 and 64"),
        (["--jobs", "two"], "--jobs"),
        (["--only", "K"], "there is no sweep 'K' in the grid; it has n, d-K"),
        (["--backend", "dask"], "--scheduler ADDRESS go together"),
        (["--scheduler", "tcp://127.0.0.1:1"], "--scheduler ADDRESS go together"),
        (["--backend", "ray"], "--backend"),
        (["--backend", "dask", "--scheduler", "tcp://127.0.0.1:1", "--jobs", 2], "--jobs is for local processes"),
        (["--results", tmp_path], "is a directory"),
        (["--results", grid], "not an SQLite database"),
    ):
        sweep(*arguments).assert_refused(complaint)
    assert not path.exists()
    assert grid.read_text(encoding="utf-8") == GRID
    monkeypatch.setattr(running, "PATIENCE", 0.3)
    sweep("--backend", "dask", "--scheduler", "tcp://127.0.0.1:1").assert_refused("no Dask scheduler answers at")
    with pytest.raises(InputError, match="holds no results yet"):
        read(path)
    grid.write_text(GRID.replace("d = 2", "d = 0"), encoding="utf-8")
    sweep().assert_refused("d is 0; it must lie between 1 and 4096")
    with Store(tmp_path / "other.sqlite", {"loss": float}):
        pass
    grid.write_text(GRID, encoding="utf-8")
    sweep("--results", tmp_path / "other.sqlite").assert_refused("holds the columns loss")
