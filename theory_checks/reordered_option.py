"""The option of pytest that evaluates every sum in another order; `pyproject.toml` loads it."""

from __future__ import annotations

import os

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--reordered`, which workers and child processes inherit by an environment variable."""
    parser.addoption("--reordered", action="store_true", help="evaluate every sum of floats in another order")


def pytest_configure(config: pytest.Config) -> None:
    """Before any test module is imported. Some of the library may be already: it is told here."""
    if config.getoption("--reordered"):
        os.environ["REORDERED_SUMS"] = "1"
        from constructions import reordered_sums

        reordered_sums.install()


def pytest_report_header() -> str | None:
    """Say it."""
    return "sums of floats in another order" if os.environ.get("REORDERED_SUMS", "") not in ("", "0") else None
