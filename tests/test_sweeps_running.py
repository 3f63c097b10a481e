"""Cells measured in parallel: the same rows however many work, and one cell's failure is its own."""

import os
import subprocess
import sys
from dataclasses import replace
from math import nan

import pytest
import sweep_measures
from sweep_measures import COLUMNS, GRID

from constructions.errors import InputError
from theory_checks.sweeps import experiment, running
from theory_checks.sweeps.grid import Cell, parse

CELLS = parse(GRID, "text").cells
N = [cell for cell in CELLS if cell.sweep == "n"]


def found(outcomes):
    """Cell, rows and error of each, in the order of the cells; NaN is spelled, since it differs from itself."""
    return sorted((outcome.cell, repr(outcome.rows), outcome.error) for outcome in outcomes)


def test_costliest_first():
    """n = 256, then K = 7 in d = 5, …; in this process cells come as they are run."""
    ordered = running.costliest_first(CELLS)
    assert [(cell.n, cell.d, cell.K) for cell in ordered[:3]] == [(64, 5, 7), (256, 2, 3), (128, 2, 3)]
    assert sorted(ordered) == sorted(CELLS)
    outcomes = list(running.local(CELLS, sweep_measures.cheap, COLUMNS, 1))
    assert [outcome.cell for outcome in outcomes] == ordered
    for outcome in outcomes:
        n, K, d = outcome.cell.n, outcome.cell.K, outcome.cell.d
        assert repr(outcome.rows) == repr(((1 / n / K, 0), (nan, d)))  # in the order of the columns
        assert outcome.error == ""
        assert 0 <= outcome.seconds < 60


def test_one_thread_in_each_process(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    outcomes = list(running.local(CELLS, sweep_measures.threads, COLUMNS, 2))
    assert {row for outcome in outcomes for row in outcome.rows} == {(0.0, 1)}


def test_a_failed_cell_is_its_own():
    errors = {outcome.cell: outcome.error for outcome in running.local(CELLS, sweep_measures.faulty, COLUMNS, 1)}
    assert [errors[cell] for cell in N] == [
        "ValueError: n is too small",
        "ValueError: 1 rows were measured instead of 2",
        "ValueError: the columns steps were measured instead of error, steps",
    ]
    assert len(errors) == 7
    assert {error for cell, error in errors.items() if cell not in N} == {""}


def test_an_integer_is_one():
    [outcome] = running.local(N[:1], lambda _: [{"error": 1, "steps": 2.5}] * 2, COLUMNS, 1)
    assert outcome.error.startswith("TypeError")
    [outcome] = running.local(N[:1], lambda _: [{"error": 1, "steps": 2}] * 2, COLUMNS, 1)
    assert outcome.rows == ((1.0, 2), (1.0, 2))
    assert type(outcome.rows[0][0]) is float


def test_a_killed_process():
    with pytest.raises(InputError, match=r"a process that measured was killed.*the cells that are done are kept"):
        list(running.local(N, sweep_measures.deadly, COLUMNS, 2))


TINY = Cell("tiny", 2, 2, 53, 2, 6.0, 0.3, "floor", 0.5, "float64", 7, 3)


def test_the_experiment_is_the_same_in_any_process():
    """Every bit of it, in two processes, in this one, and by itself."""
    cells = [TINY, replace(TINY, dtype="float32"), replace(TINY, d=3, K=1, min_weight=1.0), replace(TINY, seed=8)]
    alone = found(running.local(cells, experiment.measure, experiment.COLUMNS, 1))
    assert found(running.local(cells, experiment.measure, experiment.COLUMNS, 2)) == alone
    assert {error for _, _, error in alone} == {""}
    rows = {cell: rows for cell, rows, _ in alone}
    assert len(set(rows.values())) == 4
    [by_itself] = running.local(cells[:1], experiment.measure, experiment.COLUMNS, 1)
    assert repr(by_itself.rows) == rows[TINY]
    assert len(by_itself.rows) == 3


CLUSTER = """
import sys
import dask
from distributed import LocalCluster

if __name__ == "__main__":
    # A cell that kills a worker fails at once, and no other waits on that worker.
    dask.config.set({"distributed.scheduler.allowed-failures": 0, "distributed.scheduler.worker-saturation": 1.0})
    addresses = dict(host="127.0.0.1", dashboard_address=None, worker_dashboard_address=None, threads_per_worker=1)
    with LocalCluster(n_workers=1, **addresses) as busy, LocalCluster(n_workers=0, **addresses) as idle:
        print(busy.scheduler_address, idle.scheduler_address, flush=True)
        sys.stdin.read()
"""


@pytest.fixture(scope="module")
def schedulers():
    """Addresses of two Dask schedulers in a process of their own: with one worker, and without any."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=30)


def test_a_cluster(schedulers):
    """The same rows as here; a failed cell and one whose worker dies fail alone."""
    here = found(running.local(CELLS, sweep_measures.faulty, COLUMNS, 1))
    assert found(running.cluster(CELLS, sweep_measures.faulty, COLUMNS, schedulers[0])) == here
    errors = {o.cell: o.error for o in running.cluster(CELLS, sweep_measures.deadly, COLUMNS, schedulers[0])}
    assert len(errors) == 7
    assert "KilledWorker" in errors.pop(N[1])
    assert set(errors.values()) == {""}


def test_schedulers_that_will_not_do(schedulers, monkeypatch):
    with pytest.raises(InputError, match="has no workers; start some"):
        running.cluster(CELLS, sweep_measures.cheap, COLUMNS, schedulers[1])
    monkeypatch.setattr(running, "PATIENCE", 0.3)
    for nowhere in ("tcp://127.0.0.1:1", "carrier-pigeon://here", "127.0.0.1:x", "host", "tls://127.0.0.1:1"):
        with pytest.raises(InputError, match=f"no Dask scheduler answers at '{nowhere}' within 0.3 s"):
            running.cluster(CELLS, sweep_measures.cheap, COLUMNS, nowhere)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"pip install '\.\[cluster\]'"):
        running.cluster(CELLS, sweep_measures.cheap, COLUMNS, schedulers[0])
