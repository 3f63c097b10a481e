"""The options of `python -m theory_checks.falsify`; theory_checks/falsify.py does what they say."""

from __future__ import annotations

from collections.abc import Sequence

from constructions.command_line import Parser, run_command
from constructions.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Attack the bounds; 1 when one is violated or left undecided, 2 on bad input."""
    return run_command(lambda: _run(arguments))


def parser() -> Parser:
    """All options, each with its default."""
    p = Parser(
        prog="python -m theory_checks.falsify",
        failure="a bound is violated, or left undecided on an instance that was found",
        description="Search for the largest error/bound: by gradients through the transformer (or coordinate by "
        "coordinate) and by hypothesis. The best instance is certified in balls, and kept in theory_checks/worst if "
        "its slack is smaller than that of the instance kept there; every check replays what is kept.",
    )
    p.add_argument("ids", nargs="*", metavar="ID", help="bounds to attack (default: all)")
    p.add_argument("--seed", type=int, default=0, metavar="S", help="seed of all searches (0)")
    p.add_argument("--steps", type=int, default=300, metavar="N", help="steps of an ascent (300)")
    p.add_argument("--restarts", type=int, default=4, metavar="R", help="random starts of a bound (4)")
    return p


def _run(arguments: Sequence[str] | None) -> int:
    options = parser().parse_args(arguments)
    for name, least in (("seed", 0), ("steps", 1), ("restarts", 1)):
        if getattr(options, name) < least:
            raise InputError(f"--{name} is {getattr(options, name)}; it must be at least {least}")
    from theory_checks.falsify import run

    return run(options)
