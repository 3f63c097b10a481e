"""The cells of a sweep, measured in parallel: in local processes, or on a Dask cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any

import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError

from constructions import process
from constructions.errors import InputError
from theory_checks.sweeps.grid import AnyCell

Measure = Callable[[Any], Sequence[Mapping[str, float | int]]]
"""From a cell to one row a replication, in order; a function that can be imported by its name."""
LINGER = 10
"""Seconds after which an idle local process leaves, also one whose parent was killed."""
PATIENCE = 5
"""Seconds that a scheduler has to answer."""


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: its measured values (a tuple a replication) and seconds, or why it failed."""

    cell: AnyCell
    rows: tuple[tuple[float | int, ...], ...]
    seconds: float
    error: str = ""


Outcomes = Generator[Outcome, None, None]
"""As they come; whoever leaves early closes it, and what is being measured is dropped."""


def local(cells: Sequence[AnyCell], measure: Measure, columns: Mapping[str, type], jobs: int) -> Outcomes:
    """Measure in `jobs` processes of one thread each (in this one if it is 1), the costliest first, as they are done.

    The processes are told to use one thread before they load numpy or torch: more would contend, and would add up
    in another order. An InputError if one is killed, by the system for want of memory or by someone.
    """
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1, idle_worker_timeout=LINGER):
        with process.starting_workers():
            outcomes = joblib.Parallel(n_jobs=jobs, batch_size=1, return_as="generator_unordered")(
                joblib.delayed(_outcome)(cell, measure, columns) for cell in costliest_first(cells)
            )
        try:
            yield from outcomes
        except TerminatedWorkerError as error:
            raise InputError(
                "a process that measured was killed, perhaps for want of memory; the cells that are done are kept: "
                "run it again, with fewer --jobs or, by --only, without the largest cells"
            ) from error


def cluster(cells: Sequence[AnyCell], measure: Measure, columns: Mapping[str, type], scheduler: str) -> Outcomes:
    """Measure on the workers of a Dask scheduler (its address), the costliest first, as they are done.

    It connects at once; an InputError if nobody answers, or nobody works there. Not through joblib's own Dask backend:
    that one waits for ever for a cell whose worker died. Here such a cell fails, and the others go on.
    """
    try:
        import distributed
    except ImportError as error:
        raise InputError("--backend dask needs Dask, which is not installed: pip install '.[cluster]'") from error
    try:
        asyncio.run(_call(scheduler))  # first, as a Client that fails on the address takes 10 s to go, and a traceback
        client = distributed.Client(scheduler, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:  # nobody there; no address; TLS without certificates
        raise InputError(f"no Dask scheduler answers at {scheduler!r} within {PATIENCE} s") from error
    if not client.scheduler_info()["workers"]:
        client.close()
        raise InputError(f"the Dask scheduler at {scheduler!r} has no workers; start some with `dask worker`")
    return _gathered(client, cells, measure, columns)


async def _call(scheduler: str) -> None:
    """Connect to the address and hang up."""
    from distributed import Security
    from distributed.comm.core import connect

    line = await connect(scheduler, PATIENCE, **Security().get_connection_args("client"))
    await line.close()


def _gathered(client: Any, cells: Sequence[AnyCell], measure: Measure, columns: Mapping[str, type]) -> Outcomes:
    import distributed

    with client:
        futures = {client.submit(_outcome, cell, measure, columns, pure=False): cell for cell in costliest_first(cells)}
        for future in distributed.as_completed(futures, loop=client.loop):
            cell = futures.pop(future)  # the last reference to it: the cluster forgets the result
            try:
                outcome = future.result()
            except Exception as error:  # its worker died or cannot import what measures, or the scheduler has gone
                outcome = Outcome(cell, (), 0.0, _line(error))
            yield outcome


def costliest_first(cells: Sequence[AnyCell]) -> list[AnyCell]:
    """So that no long cell begins when the others are nearly done; ties as given."""
    return sorted(cells, key=lambda cell: -cell.cost)


def _outcome(cell: AnyCell, measure: Measure, columns: Mapping[str, type]) -> Outcome:
    """One cell, in the process that measures it; whatever goes wrong is its outcome."""
    began = time.monotonic()
    try:
        measured = measure(cell)
        if len(measured) != cell.replications:
            raise ValueError(f"{len(measured)} rows were measured instead of {cell.replications}")
        rows = tuple(_row(row, columns) for row in measured)
    except Exception as error:
        return Outcome(cell, (), time.monotonic() - began, _line(error))
    return Outcome(cell, rows, time.monotonic() - began)


def _row(row: Mapping[str, Any], columns: Mapping[str, type]) -> tuple[float | int, ...]:
    if set(row) != set(columns):
        raise ValueError(f"the columns {', '.join(row)} were measured instead of {', '.join(columns)}")
    return tuple(float(row[name]) if kind is float else index(row[name]) for name, kind in columns.items())


def _line(error: BaseException) -> str:
    """What went wrong, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
