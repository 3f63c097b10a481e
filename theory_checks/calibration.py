"""`python -m theory_checks.calibration`: fix Theorem F.1's constants before any held-out cell is run.

They are computed from the sweep `calibration` and written to the results file; once another cell is in the file they
can no longer be changed, and whoever reads them checks that they follow from the calibration cells.
"""

from __future__ import annotations

if __name__ == "__main__":  # before what --help does not need is loaded
    from constructions.process import start

    start("theory_checks.calibration_command")

import json
from dataclasses import asdict
from itertools import product
from pathlib import Path

import numpy as np

from constructions.errors import InputError
from theory_checks import rates
from theory_checks.calibration_command import RESULTS as RESULTS
from theory_checks.rates import Constants
from theory_checks.sweeps import results
from theory_checks.sweeps.grid import shared_streams
from theory_checks.sweeps.results import Results

SWEEP = "calibration"
KEY = "constants"
ALLOWED = 64 * 2.0**-53
"""Relative, of two processors: each a logarithm within 32 units, halved by its root, and ten operations more."""


def run(path: Path) -> int:
    """Fix the constants in a results file, unless they are, and print them."""
    found = results.read(path)
    if results.noted(path, KEY) is None:
        if found.others or len(found.rows) > len(found.sweep(SWEEP)):
            raise InputError(
                f"{str(path)!r} holds more than the sweep {SWEEP!r}; constants are fixed before that is run"
            )
        made = calibrated(found)
        results.note(path, KEY, json.dumps({str(r): asdict(constants) for r, constants in made.items()}))
    for separation, constants in fixed(path).items():
        print(f"separation {separation:g}: beta {constants.beta:.4f}, c {constants.c:.4f}")
    return 0


def calibrated(found: Results) -> dict[float, Constants]:
    """β and c from the calibration cells, for each separation."""
    rows = found.sweep(SWEEP)
    missing = [cell for cell in found.missing if cell.sweep == SWEEP]
    if missing:
        raise InputError(f"{len(missing)} cells of the sweep {SWEEP!r} are missing")
    made = {}
    for separation in np.unique(rows["separation"]).tolist():
        part = rows[rows["separation"] == separation]
        shapes = np.array([rates.shape(r["d"], r["K"], r["n"], r["min_weight"]) for r in part])
        made[separation] = rates.calibrate(shapes, part["statistical"], part["em_rate"])
    return made


def fixed(path: Path = RESULTS) -> dict[float, Constants]:
    """The constants that the file holds, for each separation.

    Raises
    ------
    InputError
        If there are none, they do not follow from the file's calibration cells, or those share random numbers with
        held-out cells.
    """
    text = results.noted(path, KEY)
    if text is None:
        raise InputError(f"{str(path)!r} holds no constants; run python -m theory_checks.calibration first")
    held = {float(separation): Constants(**values) for separation, values in json.loads(text).items()}
    again = calibrated(results.read(path))
    if set(held) != set(again):
        raise InputError(f"the constants in {str(path)!r} are not for the separations of its calibration cells")
    for separation, name in product(held, ("beta", "c")):
        value, follows = (getattr(constants[separation], name) for constants in (held, again))
        if not abs(follows - value) <= ALLOWED * abs(value):
            raise InputError(
                f"the constants in {str(path)!r} do not follow from its calibration cells: at separation "
                f"{separation:g}, {name} is {follows!r} by the cells, {value!r} is stored, and the allowed "
                f"difference is {ALLOWED * abs(value):.3g}"
            )
    cells = results.done(path)
    shared = shared_streams((c for c in cells if c.sweep == SWEEP), (c for c in cells if c.sweep != SWEEP))
    if shared:
        raise InputError(f"calibration and held-out cells in {str(path)!r} share random numbers: {min(shared)}")
    return held
