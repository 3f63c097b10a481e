"""`python -m theory_checks.sweeps`: measure what a grid declares and is not in the results file yet."""

from __future__ import annotations

if __name__ == "__main__":  # before anything is loaded: an interruption is heard from here on
    from constructions.process import start

    start("theory_checks.sweeps.__main__")

import os

# Before numpy and torch are loaded: one thread, one order of adding up.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from constructions.command_line import Parser, Progress, require_writable, run_command
from constructions.errors import InputError
from constructions.outputs import versions
from theory_checks.sweeps import running
from theory_checks.sweeps.grid import EM, AnyCell, Design, Grid, load
from theory_checks.sweeps.results import Judge, Store, done, outdated

FIGURES = Path(__file__).parents[2] / "figures"
LARGEST_JOBS = 64
MOST_SHOWN = 20
"""Failed cells that are named one by one."""


@dataclass(frozen=True)
class Command:
    """What the options of a sweep need: its name, and where grid and results are."""

    prog: str
    grid: Path
    results: Path


@dataclass(frozen=True)
class Sweep:
    """What measures the cells of a design.

    `outdated` tells which stored rows would be measured otherwise now; their cells are measured again.
    """

    measure: running.Measure
    columns: Mapping[str, type]
    design: Design = EM
    outdated: Judge | None = None

    def outdated_cells(self, path: Path) -> set[AnyCell]:
        """The cells in a results file that are to be measured again."""
        return outdated(path, self.outdated, self.design) if self.outdated else set()


EM_COMMAND = Command("python -m theory_checks.sweeps", FIGURES / "sweep.toml", FIGURES / "sweep.sqlite")


def em_sweep() -> Sweep:
    """What this command measures, loaded when it does."""
    from theory_checks.sweeps import experiment

    return Sweep(experiment.measure, experiment.COLUMNS)


def main(arguments: Sequence[str] | None = None, sweep: Callable[[], Sweep] = em_sweep) -> int:
    """Run the sweep; 1 when a cell failed, 2 on bad input, 130 when interrupted."""
    return run_command(lambda: run(parser(EM_COMMAND).parse_args(arguments), sweep()))


def parser(command: Command) -> Parser:
    """All options, each with its default."""
    parser = Parser(
        prog=command.prog,
        failure="a cell failed",
        description="Measure every cell of a declared grid, several at a time, and append the results to one SQLite "
        "file as they come. Cells that the file holds already are not run again, unless what they were measured on (a "
        "trained model) has changed: after an interruption, even by kill -9, the same command goes on where it was. "
        "The same seeds give the same rows whatever --jobs.",
        epilog="The grid: [defaults] and [[sweep]] blocks in TOML; help(theory_checks.sweeps.grid) explains it. The "
        "file: theory_checks.sweeps.results.read(PATH), or its view `rows` in any SQLite shell. Workers of a Dask "
        "cluster need this package installed, and one thread each: dask worker ADDRESS --nthreads 1. "
        "Of a cell that failed nothing is stored, and it is tried again the next time.",
    )
    grid, results = (f"{path.parent.name}/{path.name}" for path in (command.grid, command.results))
    parser.add_argument(
        "grid", nargs="?", type=Path, default=command.grid, metavar="GRID.toml", help=f"the grid (default: {grid})"
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=command.results,
        metavar="FILE.sqlite",
        help=f"where results are, and are added (default: {results})",
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="SWEEP", help="only these blocks of the grid")
    parser.add_argument("--list", action="store_true", help="list the blocks, and what is done, without running any")
    parser.add_argument("--jobs", type=int, metavar="J", help="local processes of one thread each (1)")
    parser.add_argument(
        "--backend", choices=("loky", "dask"), default="loky", help="local processes (loky) or a cluster"
    )
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a running Dask scheduler, such as tcp://host:8786")
    return parser


def run(options: argparse.Namespace, sweep: Sweep) -> int:
    """The same for options that are parsed, with an InputError for bad input."""
    if options.jobs is not None and not 1 <= options.jobs <= LARGEST_JOBS:
        raise InputError(f"--jobs is {options.jobs}; it must lie between 1 and {LARGEST_JOBS}")
    if (options.backend == "dask") != (options.scheduler is not None):
        raise InputError("--backend dask and --scheduler ADDRESS go together; one of them is missing")
    if options.scheduler is not None and options.jobs is not None:
        raise InputError("--jobs is for local processes; a cluster uses all its workers")
    grid = load(options.grid, sweep.design)
    cells = grid.only(options.only or grid.sweeps)
    if options.list:
        held = done(options.results, sweep.design) - sweep.outdated_cells(options.results)
        print(_listing(grid, options.grid, options.results, held))
        return 0
    require_writable(options.results)
    with Store(options.results, sweep.columns, sweep.design) as store:
        old = sweep.outdated_cells(options.results).intersection(cells)
        before = store.done() - old
        left = [cell for cell in cells if cell not in before]
        print(f"{options.grid}: {len(cells)} cells, of which {options.results} holds {len(cells) - len(left)}", end="")
        where = f"at {options.scheduler}" if options.scheduler else f"in {options.jobs or 1} process(es)"
        print(f"; {len(left)} to run {where}" if left else "; nothing to run", flush=True)
        if old:
            print(f"{len(old)} of them again: what they were measured on has changed since")
        if options.scheduler and left:
            outcomes = running.cluster(left, sweep.measure, sweep.columns, options.scheduler)
        else:
            outcomes = running.local(left, sweep.measure, sweep.columns, options.jobs or 1)
        store.begin(grid.text, versions("joblib"))
        return _keep(outcomes, left, old, store) if left else 0


def _keep(outcomes: running.Outcomes, left: Sequence[AnyCell], old: Collection[AnyCell], store: Store) -> int:
    """Store each cell as it is done, in place of what is there of an old one; name the failed ones, however it ends."""
    began, share, work = time.monotonic(), 0.0, sum(cell.cost for cell in left)
    failed: list[running.Outcome] = []
    number = 0
    try:
        with warnings.catch_warnings(), closing(outcomes), Progress("cell") as progress:
            warnings.filterwarnings("ignore", ".* still being processed")  # joblib's, when it is interrupted
            for number, outcome in enumerate(outcomes, start=1):
                if outcome.error:
                    failed.append(outcome)
                else:
                    store.add(outcome.cell, outcome.rows, outcome.seconds, replace=outcome.cell in old)
                share += outcome.cell.cost / work
                progress(number, len(left), share)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    finally:
        print(f"{number - len(failed)} cells in {time.monotonic() - began:.0f} s; they are in {store.path}")
        for outcome in failed[:MOST_SHOWN]:
            print(f"failed: {outcome.cell}: {outcome.error}", file=sys.stderr)
        if len(failed) > MOST_SHOWN:
            print(f"failed: {len(failed) - MOST_SHOWN} more", file=sys.stderr)
    return int(bool(failed))


def _listing(grid: Grid, declared: Path, results: Path, held: set[AnyCell]) -> str:
    """A line a block: cells, replications, its share of the estimated work, and what is done."""
    work = sum(cell.cost for cell in grid.cells)
    width = max(len("sweep"), *map(len, grid.sweeps))
    lines = [f"{'sweep':{width}s} {'cells':>7s} {'rows':>9s} {'work':>6s} {'done':>7s}"]
    for name in grid.sweeps:
        cells = grid.only([name])
        share = sum(cell.cost for cell in cells) / work
        rows = sum(cell.replications for cell in cells)
        finished = sum(cell in held for cell in cells)
        lines.append(f"{name:{width}s} {len(cells):7d} {rows:9d} {share:6.1%} {finished:7d}")
    others = len(held - set(grid.cells))
    lines.append(
        f"grid {declared}; results {results}" + (f", with {others} cells that the grid has not" if others else "")
    )
    return "\n".join(lines)
