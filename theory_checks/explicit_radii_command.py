"""`python -m theory_checks.explicit_radii` has no options; theory_checks/explicit_radii.py does what it says."""

from __future__ import annotations

from collections.abc import Sequence

from constructions.command_line import Parser, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 2 on bad input."""
    return run_command(lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    Parser(
        prog="python -m theory_checks.explicit_radii",
        description="For mixtures of equal weights, by the constant C of (A1): the least number of samples, a power of "
        "two, from which on the bound of row theorem-f1-explicit is below 1/2, so not vacuous.",
    ).parse_args(arguments)
    from theory_checks.explicit_radii import table

    for line in table():
        print(line, flush=True)
    return 0
