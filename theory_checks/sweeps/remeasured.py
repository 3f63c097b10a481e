"""How far two measurements of one cell may be apart, on any two processors: what the formats allow, and nothing else.

The data are drawn alike everywhere up to a few units of the last place. Of every EM step, by the transformer or exact,
`rounding_error.allowance` bounds what floating point adds, whatever the order of its sums: r in D (experiment.COLUMNS),
for the format of the transformer, and r₆₄ for float64. The sweep's starts lie in the region of contraction, where an
EM step brings two mixtures no further apart: L steps on two processors end within 2Lr. A fixed point is known to
(FIXED + r₆₄)/(1 − β), β EM's rate there, which was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan

import numpy as np
import torch
from jaxtyping import Float

from constructions import bounds, rounding_error
from constructions.dtypes import DTYPES
from theory_checks.sweeps import experiment
from theory_checks.sweeps.grid import Cell

Row = Mapping[str, float]


def step_rounding(cell: Cell, samples: Float[np.ndarray, "N d"], dtype: torch.dtype | None) -> float:
    """r: what floating point adds to D in a step of the cell's transformer in `dtype`; None: of exact EM, r₆₄.

    Means are averages of samples, so no longer than the longest of them; copies of a component enter as far apart as
    a step without any such distance leaves them. |π̂ − π|/π* ≤ 2·|log π̂ − log π| for π ≤ 1.5π*, π̂ ≤ 1.5π*.
    """
    em = experiment.transformer(cell)
    sizes = None if dtype is None else em.approximation
    smallest, diameter = em.task_class.min_weight, bounds.diameter(samples)[0]
    spread = (0.0, 0.0)
    for _ in range(2):
        found = rounding_error.allowance(sizes, samples, samples, smallest, diameter, dtype or torch.float64, spread)
        spread = (found.mean, found.log_weight)
    return max(found.mean, 2 * found.log_weight)


def allowed(cell: Cell, stored: Row, samples: Float[np.ndarray, "N d"]) -> dict[str, float]:
    """For every column that is compared: the most by which two measurements of a replication may differ.

    `step_ratio` is step_error/step_bound at its largest: both of them move with the parameters that enter the step.
    """
    rounding = step_rounding(cell, samples, DTYPES[cell.dtype])
    exact = step_rounding(cell, samples, None)
    rate = 0.0 if isnan(stored["em_rate"]) else stored["em_rate"]  # none was measured: fewer than two large changes
    run, fixed = 2 * cell.L * rounding, 2 * (experiment.FIXED + exact) / (1 - rate)
    return {
        "initial": 2 * exact,
        "total": run,
        "statistical": fixed,
        "optimisation": 2 * cell.L * exact + fixed,
        "approximation": run + 2 * cell.L * exact,
        "step_ratio": 2 * (run + 2 * exact) / stored["step_bound"] if stored["judged"] else 0.0,
    }


def compared(row: Row) -> dict[str, float]:
    """The columns that two measurements have in common."""
    names = ("initial", "total", "statistical", "optimisation", "approximation")
    ratio = row["step_error"] / row["step_bound"] if row["judged"] else 0.0
    return {name: float(row[name]) for name in names} | {"step_ratio": float(ratio)}


def differences(cell: Cell, stored: Row, fresh: Row, samples: Float[np.ndarray, "N d"]) -> list[str]:
    """What differs by more than it may: what was measured, what is stored, what is allowed. NaN differs from all."""
    limits, found = allowed(cell, stored, samples), compared(fresh)
    return [
        f"{name} measured {found[name]!r}, stored {value!r}, allowed difference {limits[name]:.3g}"
        for name, value in compared(stored).items()
        if not abs(found[name] - value) <= limits[name]
    ]
