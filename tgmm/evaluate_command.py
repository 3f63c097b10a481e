"""`python -m tgmm evaluate`: every method on the tasks of the experiments, into one results file."""

from __future__ import annotations

from tgmm.evaluation import COLUMNS, DESIGN, HERE, measure, outdated
from theory_checks.sweeps.__main__ import Sweep
from theory_checks.sweeps.__main__ import run as run_sweep

GRID, RESULTS = HERE / "experiments.toml", HERE.parent / "figures" / "tgmm.sqlite"
EVALUATION = Sweep("python -m tgmm evaluate", measure, COLUMNS, GRID, RESULTS, DESIGN, outdated)


def run(arguments: list[str]) -> int:
    """Measure what is missing, or of a checkpoint that was trained anew; 0 on success, 1 when a cell failed."""
    return run_sweep(arguments, EVALUATION)
