"""The options of `python -m theory_checks.calibration`; theory_checks/calibration.py does what they say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from constructions.command_line import Parser, run_command

RESULTS = Path(__file__).parents[1] / "figures" / "sweep.sqlite"


def main(arguments: Sequence[str] | None = None) -> int:
    """Fix the constants; 2 on bad input."""
    return run_command(lambda: _run(arguments))


def parser() -> Parser:
    """All options, each with its default."""
    p = Parser(
        prog="python -m theory_checks.calibration",
        description="Compute the constants of Theorem F.1's bound from the cells of the sweep `calibration`, and write "
        "them to the results file, before it holds any other cell. Once they are there, show them.",
    )
    p.add_argument(
        "--results",
        type=Path,
        default=RESULTS,
        metavar="FILE.sqlite",
        help="the results file (default: figures/sweep.sqlite)",
    )
    return p


def _run(arguments: Sequence[str] | None) -> int:
    path = parser().parse_args(arguments).results
    from theory_checks.calibration import run

    return run(path)
