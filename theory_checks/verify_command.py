"""The options of `python -m theory_checks verify DIR`; theory_checks/verify.py does what they say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from constructions.command_line import Parser, run_command

BITS = 128
"""Of the balls, unless --precision says otherwise."""
MOST_OPERATIONS = 4 * 10**9
"""Multiplications of the literal evaluation up to which balls are taken unasked."""


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every claim holds or is vacuous, 1 when one is false or undecided, 2 with one sentence on bad input."""
    return run_command(lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    options = parser().parse_args(arguments)
    from theory_checks.verify import run

    return run(options)


def parser() -> Parser:
    """All options."""
    p = Parser(
        prog="python -m theory_checks verify",
        failure="a claim is false or undecided",
        description="Evaluate the transformer in a directory by Definitions 4-8, from its files alone, and check what "
        "its claims.json says of it; proofs_notes/export.md describes the files.",
        epilog="Evidence: exact (rationals), certified (balls enclose the exact function of the stored weights), "
        "sampled (float64). A claim that says nothing (vacuous) fails nothing.",
    )
    p.add_argument("folder", type=Path, metavar="DIR", help="transformer.safetensors, claims.json, and what they name")
    p.add_argument(
        "--precision",
        type=int,
        metavar="BITS",
        help=f"bits of the balls, up to 4 x as many while a claim is undecided (default: {BITS}, but no balls for an "
        f"evaluation of more than {MOST_OPERATIONS:.0e} multiplications)",
    )
    p.add_argument("--json", type=Path, metavar="PATH", help="write the findings as JSON")
    return p
