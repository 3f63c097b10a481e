"""Options of `python -m theory_checks.uniform_deviations`; theory_checks/uniform_deviations.py does what they say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from constructions.command_line import Parser, require_writable, run_command, write_all
from constructions.errors import InputError

RESULTS = Path(__file__).parents[1] / "figures" / "lemma_f2.json"
SEED = 1
REPLICATIONS = 100
"""Both fixed before the measurement; with seed 0 and 40 replications it had been looked at (lemma_f2.md)."""
MOST_REPLICATIONS = 10_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write; 0 on success, 2 with one sentence on bad input."""
    return run_command(lambda: _run(arguments))


def parser() -> Parser:
    """All options, each with its default."""
    p = Parser(
        prog="python -m theory_checks.uniform_deviations",
        description="Measure suprema over (A1)'s region, found by gradient ascent, of what averages over a sample are "
        "off: of w_k, of w_k(X - mu_k*), and of an EM step. Some ten minutes on one core.",
    )
    p.add_argument("--seed", type=int, default=SEED, metavar="S", help=f"seed of all samples ({SEED})")
    p.add_argument(
        "--replications", type=int, default=REPLICATIONS, metavar="R", help=f"data sets a cell ({REPLICATIONS})"
    )
    p.add_argument("--out", type=Path, default=RESULTS, metavar="PATH", help="where to write (figures/lemma_f2.json)")
    return p


def _run(arguments: Sequence[str] | None) -> int:
    options = parser().parse_args(arguments)
    if options.seed < 0:
        raise InputError(f"--seed is {options.seed}; it must not be negative")
    if not 2 <= options.replications <= MOST_REPLICATIONS:
        raise InputError(f"--replications is {options.replications}; it must lie between 2 and {MOST_REPLICATIONS}")
    require_writable(options.out)
    from theory_checks.uniform_deviations import run

    content = json.dumps(run(options.seed, options.replications), indent=1, allow_nan=False) + "\n"
    write_all({options.out: content.encode()})
    return 0
