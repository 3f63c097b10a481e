"""`python -m theory_checks`: run the checks and print the ledger."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from constructions.command_line import Parser, Progress, require_writable, run_command, write_all
from constructions.errors import InputError
from theory_checks.ledger import REGISTRY, Row, closure, rest
from theory_checks.running import load_statements, run

LARGEST_JOBS = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the ledger; 1 when a row is not what we claim or a control is not met, 2 on bad input."""
    return run_command(lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    parser = Parser(
        prog="python -m theory_checks",
        description="Run the executable proofs and print the ledger: every statement with its evidence, its instances "
        "(tight: those that hold with a bound within 10 x of the error), the precision that balls needed, the least "
        "slack (1 - error/bound), that of the worst instance that the falsifier found, and the negative controls.",
        epilog="Status: holds; refuted (by a kept counterexample, a finding); undecided; open (no applicable instance, "
        "or it rests on something that does not hold); failed (not what we claim). Exit code 1 when a row failed.",
    )
    parser.add_argument(
        "ids", nargs="*", metavar="ID", help="statements to check, with all they rest on (default: all)"
    )
    parser.add_argument("--list", action="store_true", help="list the statements without checking them")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of all drawn instances (0)")
    parser.add_argument(
        "--certified", action="store_true", help="only what is proved by enclosures, on all its instances (minutes)"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="processes (1)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the rows as a JSON list")
    options = parser.parse_args(arguments)
    if options.seed < 0:
        raise InputError(f"--seed is {options.seed}; it must not be negative")
    if not 1 <= options.jobs <= LARGEST_JOBS:
        raise InputError(f"--jobs is {options.jobs}; it must lie between 1 and {LARGEST_JOBS}")
    if options.json is not None:
        if options.list:
            raise InputError(f"--list checks nothing, so there is nothing to write to {str(options.json)!r}")
        require_writable(options.json)
    load_statements()
    try:
        graded = [id for id in sorted(REGISTRY) if not options.certified or REGISTRY[id].evidence == "certified"]
        ids = closure(options.ids or graded, REGISTRY)
    except ValueError as error:
        raise InputError(str(error)) from error
    if options.list:
        for id in sorted(ids):
            print(f"{id:24s} {REGISTRY[id].source}\n    {REGISTRY[id].statement}")
        return 0
    began = time.monotonic()
    rows = []
    with Progress("statement") as progress:
        for number, row in enumerate(run(ids, options.seed, options.certified, options.jobs), start=1):
            rows.append(row)
            progress(number, len(ids))
    rows.sort(key=lambda row: ids.index(row.id))
    rest(rows)
    rows.sort(key=lambda row: row.id)
    print(table(rows))
    if options.certified:
        print(f"all instances of the certified rows and of what they rest on: {time.monotonic() - began:.0f} s")
    if options.json is not None:
        content = json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_all({options.json: content.encode()})
    return int(any(row.status == "failed" for row in rows))


def table(rows: Sequence[Row]) -> str:
    """One line a statement, then what is not plainly held, then the headline."""
    head = (
        f"{'id':24s} {'text':9s} {'evidence':9s} {'status':9s} {'holds':>6s} {'tight':>6s} {'refuted':>7s} {'n/a':>5s} "
        f"{'vacuous':>7s} {'undec.':>6s} {'bits':>5s} {'slack':>8s} {'kept':>8s}  controls"
    )
    lines = [head, "-" * len(head)]
    for row in rows:
        c = row.counts
        met = sum(control["rejected"] for control in row.negative_controls)
        lines.append(
            f"{row.id:24s} {row.text:9s} {row.evidence:9s} {row.status:9s} {c['holds']:6d} {row.tight:6d} "
            f"{c['refuted']:7d} {c['not applicable']:5d} {c['vacuous']:7d} {c['undecided']:6d} "
            f"{'-' if row.bits is None else row.bits:>5} {_shown(row.least_slack):>8s} {_shown(row.kept_slack):>8s}  "
            f"{met} of {len(row.negative_controls)} rejected" + (", repaired" if row.repairs else "")
        )
    lines.append("")
    for row in rows:
        if row.status == "refuted":
            lines.append(f"{row.id} is refuted: {row.counterexample}")
        elif row.status != "holds":
            lines.append(f"{row.id} is {row.status}" + (f": {row.reason}" if row.reason else ""))
    counted = Counter(row.status for row in rows)
    held = Counter(row.evidence for row in rows if row.status == "holds")
    grades = ", ".join(f"{number} {grade}" for grade, number in held.items())
    others = ", ".join(f"{number} {status}" for status, number in sorted(counted.items()) if status != "holds")
    number = counted["holds"]
    verb = "statement holds" if number == 1 else "statements hold"
    lines.append(f"{number} {verb} ({grades}); not counted among them: {others or 'none'}")
    certified = [row for row in rows if row.evidence == "certified"]
    if certified:
        bounded, tight = sum(row.bounded for row in certified), sum(row.tight for row in certified)
        lines.append(f"{tight} of the {bounded} certified inequalities have a bound within 10 x of the error")
    return "\n".join(lines)


def _shown(slack: float | None) -> str:
    return "-" if slack is None else f"{slack:.2g}"


if __name__ == "__main__":
    sys.exit(main())
