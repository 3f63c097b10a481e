"""Where Theorems F.2 and F.3 hold: worst one-step radius and contraction rate over separation and imbalance.

`python -m theory_checks.phase_diagram` computes them and writes figures/theorem_f2.json, from which
figures/theorem_f2.py is drawn.
"""

from __future__ import annotations

if __name__ == "__main__":  # before what --help does not need is loaded
    from constructions.process import start

    start("theory_checks.phase_diagram_command")

import json
from collections.abc import Callable, Sequence
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

from constructions.command_line import Progress, write_all
from theory_checks.phase_diagram_command import STORED
from theory_checks.population_instances import (
    assumption_a1,
    climb,
    contraction_rate,
    contraction_region,
    mixture,
    one_step_radius,
)

SCHEMA = 1
SEED = 0
COMPONENTS = (2, 3)
CONSTANTS = tuple(2 ** (i / 4) for i in range(29))
"""C = 1 ... 128."""
RATIOS = tuple(10 ** (i / 2) for i in range(9))
"""ρ_π = 1 ... 10 000; one component is the lighter."""
RADII = (0.5, 0.9)
"""a of Theorem F.3."""
LEVELS = {"radius": 0.5, **{f"rate {a:g}": 1.0 for a in RADII}}
"""The worst D⁺ of F.2 and, for each a, the worst D⁺/D of F.3; up to what each may be."""
SEARCH = {2: (129, 32, 60), 3: (41, 10, 50)}
"""Nodes a dimension, starts and rounds by K."""
HALVINGS = 6


def worst(quantity: str, components: int, constant: float, ratio: float) -> float:
    """The largest value found of a quantity of LEVELS, d = 2, weights (1, ρ, ..., ρ) up to their sum."""
    truth = mixture(constant, (1.0, *[ratio] * (components - 1)), 2)
    rng = np.random.default_rng(SEED)
    if quantity == "radius":
        return climb(assumption_a1(truth, quantity), one_step_radius, rng, *SEARCH[components])[0]
    region = contraction_region(truth, quantity, float(quantity.split()[1]))
    return climb(region, contraction_rate, rng, *SEARCH[components])[0]


def threshold(
    constants: Sequence[float], values: Sequence[float], level: float, at: Callable[[float], float]
) -> float | None:
    """The constant from which on values ≤ level: between the last grid point that exceeds it and the next, bisected in
    log C HALVINGS times; None if no grid point exceeds it.

    Raises
    ------
    ValueError
        If the grid's last point exceeds it.
    """
    beyond = [i for i, value in enumerate(values) if not value <= level]
    if not beyond:
        return None
    if beyond[-1] == len(values) - 1:
        raise ValueError(f"at C = {constants[-1]:g} the level {level:g} is still exceeded")
    low, high = constants[beyond[-1]], constants[beyond[-1] + 1]
    for _ in range(HALVINGS):
        middle = sqrt(low * high)
        low, high = (low, middle) if at(middle) <= level else (middle, high)
    return high


def compute(progress: Callable[[int, int], None]) -> dict[str, Any]:
    """All cells and thresholds, with what they were computed from."""
    cells: list[dict[str, Any]] = []
    wanted = [(k, quantity, ratio) for k in COMPONENTS for quantity in LEVELS for ratio in RATIOS]
    for done, (components, quantity, ratio) in enumerate(wanted):
        progress(done + 1, len(wanted))

        def at(constant: float, quantity: str = quantity, components: int = components, ratio: float = ratio) -> float:
            return worst(quantity, components, constant, ratio)

        values = [at(constant) for constant in CONSTANTS]
        least = threshold(CONSTANTS, values, LEVELS[quantity], at)
        cells.append(
            {"K": components, "quantity": quantity, "ratio": ratio, "worst": values, "holds_from": least},
        )
    search = {str(k): dict(zip(("nodes", "starts", "rounds"), given, strict=True)) for k, given in SEARCH.items()}
    return {"schema": SCHEMA, "seed": SEED, "d": 2, "search": search, "constants": list(CONSTANTS), "cells": cells}


def read(path: Path = STORED) -> dict[str, Any]:
    """What `compute` stored.

    Raises
    ------
    ValueError
        If the file is of another schema.
    """
    stored: dict[str, Any] = json.loads(path.read_text())
    if stored.get("schema") != SCHEMA:
        raise ValueError(f"{path.name} has schema {stored.get('schema')}, not {SCHEMA}")
    return stored


def run(path: Path) -> int:
    """Compute, write to the path, print from which C on the theorems hold."""
    with Progress("row") as progress:
        stored = compute(progress)
    write_all({path: (json.dumps(stored, indent=1) + "\n").encode()})
    print("K  quantity   rho_pi   holds from C")
    for cell in stored["cells"]:
        least = f"<= {CONSTANTS[0]:g}" if cell["holds_from"] is None else f"{cell['holds_from']:.2f}"
        print(f"{cell['K']}  {cell['quantity']:9s}  {cell['ratio']:6.0f}   {least}")
    return 0
