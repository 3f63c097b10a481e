"""Running checks: all statements registered, their rows one by one or in several processes."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

import theory_checks
from constructions import process
from theory_checks.ledger import REGISTRY, Row


def load_statements() -> None:
    """Import every check, so that it registers its statements."""
    for module in pkgutil.iter_modules(theory_checks.__path__):
        if module.name.startswith("test_"):
            importlib.import_module(f"theory_checks.{module.name}")


def run(ids: Sequence[str], seed: int, full: bool, jobs: int) -> Iterator[Row]:
    """The rows as they are done; with several jobs the rows that enclosures prove, which take longest, come first."""
    if jobs == 1:
        yield from (_row(id, seed, full) for id in ids)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), load_statements) as pool:
        ordered = sorted(ids, key=lambda id: REGISTRY[id].evidence != "certified")
        try:
            with process.starting_workers():
                tasks = [pool.submit(_row, id, seed, full) for id in ordered]
            for task in as_completed(tasks):
                yield task.result()
        except BaseException:
            process.clean()
            raise


def _row(id: str, seed: int, full: bool) -> Row:
    return REGISTRY[id].row(seed, full=full)
