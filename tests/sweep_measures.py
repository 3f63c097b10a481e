"""Cheap stand-ins for what a sweep measures, importable by its processes; each says what a test needs to know."""

from __future__ import annotations

import os
import time
from math import nan

from theory_checks.sweeps.grid import Cell

COLUMNS: dict[str, type] = {"error": float, "steps": int}

GRID = """
[defaults]
d = 2
K = 3
n = 64
L = 5
separation = 7
min_weight = 0.1
construction = "floor"
tolerance = 0.05
dtype = "float64"
seed = 11
replications = 2

[[sweep]]
name = "n"
n = [64, 128, 256]

[[sweep]]
name = "d-K"
d = [1, 5]
K = [2, 7]
"""
"""Seven cells, of two replications each."""


def cheap(cell: Cell) -> list[dict[str, float | int]]:
    """Numbers that depend on the cell and the replication alone; every second error is NaN."""
    return [{"steps": cell.d * r, "error": nan if r % 2 else 1 / cell.n / cell.K} for r in range(cell.replications)]


def logged(cell: Cell) -> list[dict[str, float | int]]:
    """A line in the file that LOG names; the cells of "d-K" then wait until the file that GATE names is there."""
    with open(os.environ["LOG"], "a", encoding="utf-8") as log:
        log.write(f"{cell}\n")
    deadline = time.monotonic() + 60
    while cell.sweep == "d-K" and not os.path.exists(os.environ["GATE"]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return cheap(cell)


def threads(cell: Cell) -> list[dict[str, float | int]]:
    """In `steps`, how many threads its process may use; it takes long enough for two processes to start."""
    time.sleep(0.1)
    return [{"error": 0.0, "steps": int(os.environ["OMP_NUM_THREADS"])} for _ in range(cell.replications)]


def faulty(cell: Cell) -> list[dict[str, float | int]]:
    """Wrong in a different way for each n of the sweep "n"."""
    rows = cheap(cell)
    if cell.sweep == "n":
        if cell.n == 64:
            raise ValueError("n is\ntoo small")
        if cell.n == 128:
            return rows[1:]
        del rows[0]["error"]
    return rows


def deadly(cell: Cell) -> list[dict[str, float | int]]:
    """The end of its process at n = 128."""
    if cell.n == 128:
        os._exit(1)
    return cheap(cell)
