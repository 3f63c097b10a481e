"""The options of `python -m theory_checks.phase_diagram`; theory_checks/phase_diagram.py does what they say."""

from __future__ import annotations

from pathlib import Path

from constructions.command_line import Parser, require_writable, run_command

STORED = Path(__file__).parents[1] / "figures" / "theorem_f2.json"


def main(arguments: list[str] | None = None) -> int:
    """Compute, print from which C on the theorems hold, write; 0, or 2 with one sentence on bad input."""
    return run_command(lambda: _run(arguments))


def parser() -> Parser:
    """All options, each with its default."""
    p = Parser(
        prog="python -m theory_checks.phase_diagram",
        description="Search, over separation and imbalance, for the parameters from which a step of population EM does "
        "worst; print from which C of (A1) on Theorems F.2 and F.3 hold there, and write what was found. "
        "`python -m figures theorem_f2` draws it.",
    )
    p.add_argument(
        "--out", type=Path, default=STORED, metavar="FILE", help="where to write (default: figures/theorem_f2.json)"
    )
    return p


def _run(arguments: list[str] | None) -> int:
    path = parser().parse_args(arguments).out
    require_writable(path)
    from theory_checks.phase_diagram import run

    return run(path)
