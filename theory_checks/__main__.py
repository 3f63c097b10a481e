"""`python -m theory_checks`: run the checks, or read a saved run, and print the ledger."""

from __future__ import annotations

if __name__ == "__main__":  # before anything is loaded: an interruption is heard from here on
    from constructions.process import start

    start("theory_checks.__main__")

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from constructions.command_line import Parser, Progress, require_writable, run_command, write_all
from constructions.errors import InputError, meant
from constructions.files import earlier, require_directory
from theory_checks import run_file
from theory_checks.latex import latex
from theory_checks.ledger import REGISTRY, closure, rest
from theory_checks.run_file import Run
from theory_checks.running import load_statements, run
from theory_checks.tables import markdown, table

LARGEST_JOBS = 64
OTHERS = ("verify", "diff")
"""Commands, not statements."""
OUTPUTS = ("json", "markdown", "latex", "html")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the ledger; 1 when a row is not what we claim or a control is not met, 2 on bad input."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["verify"]:
        from theory_checks.verify_command import main as verify

        return verify(given[1:])
    if given[:1] == ["diff"]:
        from theory_checks.difference import main as diff

        return diff(given[1:])
    return run_command(lambda: _run(_options(given)))


def _options(given: Sequence[str]) -> argparse.Namespace:
    """The options, refused before any work where they cannot be met."""
    parser = Parser(
        prog="python -m theory_checks",
        failure="a row failed",
        description="Run the executable proofs and print the ledger: every statement with its evidence, for what it "
        "stands, its instances (tight: those that hold with a bound within 10 x of the error), the precision that "
        "balls needed, the least slack (1 - error/bound), that of the worst instance that the falsifier found, and the "
        "negative controls.",
        epilog="Status: holds; refuted (by a kept counterexample, a finding); undecided; open (no applicable "
        "instance, it rests on something that does not hold, or the paper's formulas are not recovered); no "
        "claim (the paper states nothing that could be checked); failed (not what we claim). Exit code 1 when"
        " a row failed. Other commands: 'python -m theory_checks diff BEFORE.json AFTER.json' compares two "
        "runs, 'python -m theory_checks verify DIR' checks an exported transformer against the claims it "
        "states; --help after either says more.",
    )
    parser.add_argument(
        "ids", nargs="*", metavar="ID", help="statements to check, with all they rest on (default: all)"
    )
    parser.add_argument("--list", action="store_true", help="list the statements without checking them")
    parser.add_argument("--seed", type=int, metavar="S", help="seed of all drawn instances (0)")
    parser.add_argument(
        "--certified", action="store_true", help="only what is proved by enclosures, on all its instances (minutes)"
    )
    parser.add_argument("--jobs", type=int, metavar="J", help="processes (1)")
    parser.add_argument("--from", type=Path, metavar="PATH", dest="saved", help="read a run that --json saved instead")
    parser.add_argument("--json", type=Path, metavar="PATH", help="save the run")
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write the ledger as a table for GitHub")
    parser.add_argument("--latex", type=Path, metavar="PATH", help="write the ledger as a table to \\input into LaTeX")
    parser.add_argument(
        "--html", type=Path, metavar="DIR", help="write a page to read in a browser: the ledger, notes and figures"
    )
    parser.add_argument("--force", action="store_true", help="write the page into a directory that holds other files")
    options = parser.parse_args(given)
    if options.seed is not None and options.seed < 0:
        raise InputError(f"--seed is {options.seed}; it must not be negative")
    if options.jobs is not None and not 1 <= options.jobs <= LARGEST_JOBS:
        raise InputError(f"--jobs is {options.jobs}; it must lie between 1 and {LARGEST_JOBS}")
    if options.saved is not None:
        for name in ("list", "seed", "certified", "jobs", "json"):
            given_too = getattr(options, name)
            if given_too is not None and given_too is not False:  # 0 is given
                raise InputError(f"--from reads a run that is over, so --{name} has nothing to do")
    if options.force and options.html is None:
        raise InputError("--force is about the directory of --html, which is missing")
    written: set[Path] = set()
    for name in OUTPUTS:
        path = getattr(options, name)
        if path is None:
            continue
        if options.list:
            raise InputError(f"--list checks nothing, so there is nothing to write to {str(path)!r}")
        if path.absolute() in written:
            raise InputError(f"two of the outputs are to be written to {str(path)!r}")
        written.add(path.absolute())
        if name == "html":
            _require_page(path, options.force)
        else:
            require_writable(path)
    return options


def _run(options: argparse.Namespace) -> int:
    if options.list:
        load_statements()
        for id in sorted(_ids(options)):
            made = REGISTRY[id]
            print(f"{id:24s} {made.source}\n    {made.statement}")
            addresses = [f"figure {made.figure}"] if made.figure else []
            addresses += [f"note {made.note}"] if made.note else []
            if made.paper or addresses:
                print(f"    [{'; '.join([*made.paper, *addresses])}]")
        return 0
    began = time.monotonic()
    done = _checked(options) if options.saved is None else _saved(options)
    files: dict[Path, bytes] = {}
    stale: list[Path] = []
    if options.json is not None:
        files[options.json] = run_file.encoded(done)
    if options.markdown is not None:
        files[options.markdown] = markdown(done.rows).encode()
    if options.latex is not None:
        files[options.latex] = latex(done.rows).encode()
    if options.html is not None:
        from theory_checks.report.page import files_of, own

        files |= {options.html / name: content for name, content in files_of(done).items()}
        stale = [path for path in earlier(options.html, own) if path not in files]
    print(table(done.rows))
    if options.certified:
        print(f"all instances of the certified rows and of what they rest on: {time.monotonic() - began:.0f} s")
    write_all(files, stale)
    if options.html is not None:
        print(f"page written: {options.html / 'index.html'}")
    return int(any(row.status == "failed" for row in done.rows))


def _ids(options: argparse.Namespace) -> list[str]:
    """The statements asked for and all they rest on, dependencies first."""
    for id in options.ids:
        if id not in REGISTRY:
            raise InputError(f"{id!r} names no statement{meant(id, (*REGISTRY, *OTHERS))} (--list shows all)")
    try:
        graded = [id for id in sorted(REGISTRY) if not options.certified or REGISTRY[id].evidence == "certified"]
        return closure(options.ids or graded, REGISTRY)
    except ValueError as error:
        raise InputError(f"{error} (--list shows all)") from error


def _checked(options: argparse.Namespace) -> Run:
    """Run the checks."""
    load_statements()
    ids = _ids(options)
    seed = options.seed or 0
    rows = []
    with Progress("statement") as progress:
        for number, row in enumerate(run(ids, seed, options.certified, options.jobs or 1), start=1):
            rows.append(row)
            progress(number, len(ids))
    rows.sort(key=lambda row: ids.index(row.id))
    rest(rows)
    return Run(seed, options.certified, run_file.libraries(), sorted(rows, key=lambda row: row.id))


def _saved(options: argparse.Namespace) -> Run:
    """Read the run, or what of it was asked for."""
    done = run_file.load(options.saved)
    by_id = {row.id: row for row in done.rows}
    wanted: set[str] = set()
    waiting = list(options.ids or by_id)
    while waiting:
        id = waiting.pop()
        if id not in by_id:
            raise InputError(f"{str(options.saved)!r} has no row {id!r}{meant(id, by_id)}")
        if id not in wanted:
            wanted.add(id)
            waiting += by_id[id].depends_on
    return Run(done.seed, done.certified, done.libraries, [row for row in done.rows if row.id in wanted])


def _require_page(path: Path, force: bool) -> None:
    """Refuse, before any work, a directory that will not do for the page, and missing packages."""
    try:
        from theory_checks.report.page import held, own  # its packages are an extra
    except ModuleNotFoundError as error:
        raise InputError(
            f"--html needs {error.name}, which is not installed; pip install -e '.[report]' -c constraints.txt does it"
        ) from error
    require_directory("--html", path, own, force, partial(held, path))
