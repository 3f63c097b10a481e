"""`python -m tgmm COMMAND`: train a model, estimate with one, freeze tasks, run the experiments."""

from __future__ import annotations

if __name__ == "__main__":  # before anything is loaded: an interruption is heard from here on
    from constructions.process import start

    start("tgmm.__main__")

import argparse
import os
import sys
from collections.abc import Callable
from importlib import import_module

from constructions.command_line import Parser, run_command

COMMANDS = {
    "train": "train a model as a config says, or go on with a run (Algorithm 2)",
    "estimate": "estimate the mixture behind a sample with a trained model",
    "tasks": "draw tasks and freeze them to a file",
    "compare": "run methods on frozen tasks, side by side",
    "evaluate": "measure every method on the tasks of the experiments",
    "table": "print the stored results of an experiment",
    "warm_start": "train the EM construction's weights further, and random ones",
    "real": "cluster real data with every method",
    "probe": "fit linear probes for EM's steps on a trained model's layers",
}
"""What each does is in tgmm/NAME_command.py, loaded only when it is run; the options are in tgmm/options.py."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; 0 on success, 2 with one sentence on bad input."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # before numpy and torch are loaded
        os.environ.setdefault(name, "1")
    return run_command(lambda: _run(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: list[str]) -> int:
    width = max(map(len, COMMANDS))
    p = Parser(
        prog="python -m tgmm",
        description="TGMM: one transformer, trained on drawn tasks, that estimates Gaussian mixtures in context.",
        epilog="commands, each with a --help of its own:\n"
        + "\n".join(f"  {name:{width}s}  {what}" for name, what in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("command", choices=tuple(COMMANDS), metavar="COMMAND", help=", ".join(COMMANDS))
    chosen = p.parse_args(arguments[:1]).command
    from tgmm import options

    given = getattr(options, chosen)().parse_args(arguments[1:])
    run: Callable[[argparse.Namespace], int] = import_module(f"tgmm.{chosen}_command").run
    return run(given)
