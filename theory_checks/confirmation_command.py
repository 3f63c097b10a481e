"""The options of `python -m theory_checks.confirmation`; theory_checks/confirmation.py does what they say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from constructions.command_line import Parser, run_command
from theory_checks.calibration_command import RESULTS

GRID = RESULTS.with_name("sweep.toml")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the plan, or show it and what came of it; 2 on bad input."""
    return run_command(lambda: _run(arguments))


def parser() -> Parser:
    """All options, each with its default."""
    p = Parser(
        prog="python -m theory_checks.confirmation",
        description="How row theorem-f1-min-weight is decided on fresh data. While the results file holds no plan: "
        "write it there, before the cells that it is about are measured. Afterwards: show it, what was seen before it, "
        "and what came of it.",
    )
    p.add_argument(
        "--results",
        type=Path,
        default=RESULTS,
        metavar="FILE.sqlite",
        help="the results file (default: figures/sweep.sqlite)",
    )
    p.add_argument(
        "--grid", type=Path, default=GRID, metavar="GRID.toml", help="where its cells are (default: figures/sweep.toml)"
    )
    return p


def _run(arguments: Sequence[str] | None) -> int:
    options = parser().parse_args(arguments)
    from theory_checks.confirmation import run

    return run(options.results, options.grid)
