"""`python -m tgmm evaluate`: every method on the tasks of the experiments, into one results file."""

from __future__ import annotations

import argparse

from tgmm.evaluation import COLUMNS, DESIGN, measure, outdated
from theory_checks.sweeps.__main__ import Sweep
from theory_checks.sweeps.__main__ import run as run_sweep


def run(options: argparse.Namespace) -> int:
    """Measure what is missing, or of a checkpoint that was trained anew; 0 on success, 1 when a cell failed."""
    return run_sweep(options, Sweep(measure, COLUMNS, DESIGN, outdated))
