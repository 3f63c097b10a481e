"""The options of `python -m theory_checks.precision_map`; theory_checks/precision_map.py does what they say."""

from __future__ import annotations

from collections.abc import Sequence

from constructions.command_line import Parser, run_command
from constructions.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    return run_command(lambda: _run(arguments))


def parser() -> Parser:
    """All options, each with its default."""
    p = Parser(
        prog="python -m theory_checks.precision_map",
        description="Measure in which formats the EM transformer carries two EM steps: separations of the means x "
        "constructions x orientations of the log network x data centred or not. About two minutes.",
    )
    p.add_argument("--seed", type=int, default=0, metavar="S", help="the first of three seeds (0)")
    return p


def _run(arguments: Sequence[str] | None) -> int:
    seed = parser().parse_args(arguments).seed
    if seed < 0:
        raise InputError(f"--seed is {seed}; it must not be negative")
    from theory_checks.precision_map import measure, table

    print(table(measure(seed)))
    return 0
