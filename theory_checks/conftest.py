"""Shapes are checked at run time, one thread computes, and what all rows say together is what the README shows."""

from __future__ import annotations

import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from pathlib import Path
from typing import Any

import pytest
from jaxtyping import install_import_hook

import theory_checks.runtime_types  # noqa: F401 - the hook looks it up

install_import_hook(("constructions", "tgmm"), "theory_checks.runtime_types.checked")

README = Path(__file__).parents[1] / "README.md"
ROWS: dict[str, dict[str, Any]] = {}
"""The fields of every row whose test has passed, by id."""
DIFFERENCE: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Collect the rows, also those of other processes."""
    if report.when == "call" and report.passed:
        rows = [json.loads(str(value)) for name, value in report.user_properties if name == "row"]
        ROWS.update((row["id"], row) for row in rows)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """When every row has been run, the whole ledger is what the README shows; no test sees more than one row."""
    if not ROWS or session.exitstatus != pytest.ExitCode.OK or hasattr(session.config, "workerinput"):
        return
    from theory_checks.ledger import REGISTRY, Row, closure, rest
    from theory_checks.running import load_statements
    from theory_checks.tables import unlike

    load_statements()
    rows = {id: Row(**ROWS[id]) for id in REGISTRY if id in ROWS}
    rows |= {id: made.row() for id, made in REGISTRY.items() if not made.checked}
    if len(rows) == len(REGISTRY):
        rest([rows[id] for id in closure(REGISTRY, REGISTRY)])
        DIFFERENCE.extend(unlike([rows[id] for id in sorted(rows)], README.read_text(encoding="utf-8")))
    if DIFFERENCE:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what differs."""
    if DIFFERENCE:
        terminalreporter.section("the README's ledger is not what `python -m theory_checks` prints")
        for line in DIFFERENCE:
            terminalreporter.write_line(line)
