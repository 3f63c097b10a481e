"""`python -m theory_checks.confirmation`: decide about the power of π_min on fresh data, by a plan written beforehand.

Three grids and two rules had been tried when EM's statistical error was first said to grow faster than π_min^{−1/2} at
a fixed separation. So grid, rule and false alarm of what decides now were written to the results file before any of its
cells was measured, on seeds of their own; whoever reads them checks that.
"""

from __future__ import annotations

if __name__ == "__main__":  # before what --help does not need is loaded
    from constructions.process import start

    start("theory_checks.confirmation_command")

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from math import exp, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from constructions.errors import InputError
from theory_checks import rate_verdicts, rates
from theory_checks.calibration_command import RESULTS
from theory_checks.confirmation_command import GRID as GRID
from theory_checks.sweeps import results
from theory_checks.sweeps.grid import Cell, load, shared_streams
from theory_checks.sweeps.results import Results

KEY = "plan of the power of pi_min"
FRESH = {3.0: "min_weight_fresh_3", 4.0: "min_weight_fresh_4", 8.0: "min_weight_fresh_8"}
"""Separation -> the sweep that decides about it."""
LOOKS = (("min_weight_first", 40), ("min_weight_first", 160), ("min_weight", 200))
"""What was looked at before, in order: a sweep, and how many of its replications."""
LIMIT = 0.5
EXPECTED = 0.75
"""Share of the excess first seen for which the numbers of replications were chosen: what is looked for is overrated."""
RULE = (
    "The exponent of 1/pi_min is the mean over replications of the least-squares slope of log(statistical error) "
    "against log(1/pi_min). 'At most the limit' is refuted if the mean, less Student's t at the false alarm times its "
    "standard error, is above the limit; it holds if the upper end of the 95 % bootstrap interval is at most limit + "
    "margin; else it is undecided. Separation 3 decides; 4 is told beside it; 8 is the control that must hold."
)


@dataclass(frozen=True)
class Plan:
    """What was written before the measurement: when (UTC), by which rule, with which numbers, on which cells."""

    written: str
    rule: str
    limit: float
    margin: float
    false_alarm: float
    power: dict[str, float]
    cells: tuple[dict[str, Any], ...]


def exponent(rows: np.ndarray, power: float = 0.0) -> rates.Estimate:
    """The exponent of 1/π_min in rows of one sweep; `power` is added to that of π_min, to break it in a check."""
    x = np.unique(rows["min_weight"])
    errors = [rows["statistical"][rows["min_weight"] == value] * value**power for value in x]
    return -rates.exponent(x, errors)


def look(found: Results, sweep: str, replications: int) -> np.ndarray:
    """The rows of the first replications of a sweep."""
    rows = found.sweep(sweep)
    return rows[rows["replication"] < replications]


def expected_power(first: np.ndarray, replications: int) -> float:
    """P(refuted), if the excess over LIMIT is EXPECTED of what `first` shows, and slopes spread as they do there."""
    seen = exponent(first)
    number = len(first) // len(np.unique(first["min_weight"]))
    spread = seen.margin / rates.quantile(number) * sqrt(number)
    excess = EXPECTED * (seen.value - LIMIT)
    return float(norm.cdf(excess / spread * sqrt(replications) - rates.quantile(replications)))


def drafted(found: Results, cells: Sequence[Cell], now: str) -> Plan:
    """The plan for the cells; the power from what was seen first at the same separation, without π_min = ½."""
    power = {}
    for separation, sweep in FRESH.items():
        number = next(cell.replications for cell in cells if cell.sweep == sweep)
        for seen, replications in LOOKS[1:]:
            first = look(found, seen, replications)
            if set(first["separation"]) == {separation}:
                power[sweep] = expected_power(first[first["min_weight"] < 0.5], number)
    held = tuple(asdict(cell) for cell in cells)
    return Plan(now, RULE, LIMIT, rate_verdicts.MARGIN, rates.FALSE_ALARM, power, held)


def planned(path: Path = RESULTS) -> Plan:
    """The plan that the file holds.

    Raises
    ------
    InputError
        If there is none; if it was written after a cell of it was measured; if its data are not fresh; if the file's
        cells, or today's margin and false alarm, are others.
    """
    text = results.noted(path, KEY)
    if text is None:
        raise InputError(f"{str(path)!r} holds no plan; run python -m theory_checks.confirmation first")
    content = json.loads(text)
    plan = Plan(**{**content, "cells": tuple(content["cells"])})
    if (plan.margin, plan.false_alarm) != (rate_verdicts.MARGIN, rates.FALSE_ALARM):
        raise InputError(f"the plan in {str(path)!r} has another margin or false alarm than today's rule")
    wanted = {Cell(**cell) for cell in plan.cells}
    for sweep in FRESH.values():
        began = results.begun(path, sweep)
        if began is not None and began < plan.written:
            raise InputError(f"cells of the sweep {sweep!r} in {str(path)!r} were measured before the plan was written")
    held = results.done(path)
    fresh = {cell for cell in held if cell.sweep in FRESH.values()}
    if fresh - wanted:
        raise InputError(f"{str(path)!r} holds cells that the plan has not: {min(fresh - wanted)}")
    shared = shared_streams(wanted, held - fresh)
    if shared:
        raise InputError(f"the plan's data in {str(path)!r} are not fresh: they share random numbers, {min(shared)}")
    return plan


def information_bound_from(separation: float) -> float:
    """π_min below which a component's mean cannot be told, along the line of two, to (nπ)^{−1/2}, all else known.

    The information is at most nπ²e^{R²}(1 + R²)/(1 − π), so that no unbiased estimate has a standard error below
    √(1 − π)e^{−R²/2}/(π√(n(1 + R²))); this exceeds (nπ)^{−1/2} for π < g/(1 + g), g = e^{−R²}/(1 + R²).
    """
    g = exp(-(separation**2)) / (1 + separation**2)
    return g / (1 + g)


def run(path: Path, grid: Path) -> int:
    """Write the plan into a results file, unless it is there, and show it with what came of it."""
    found = results.read(path)
    if results.noted(path, KEY) is None:
        if any(cell.sweep in FRESH.values() for cell in results.done(path)):
            raise InputError(f"{str(path)!r} holds cells of the plan already; it is written before they are measured")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        plan = drafted(found, load(grid).only(tuple(FRESH.values())), now)
        results.note(path, KEY, json.dumps(asdict(plan)))
    print("\n".join(shown(planned(path), found)))
    return 0


def shown(plan: Plan, found: Results) -> list[str]:
    """The plan, earlier looks and outcomes, line by line."""
    lines = [f"plan of {plan.written}: {plan.rule}"]
    lines.append(f"limit {plan.limit:g}, margin {plan.margin:g}, false alarm {plan.false_alarm:g}")
    for sweep, chance in plan.power.items():
        lines.append(f"power of {sweep} at {EXPECTED:g} of the excess first seen: {chance:.3f}")
    lines += [
        "",
        f"{'sweep':20s} {'R':>2s} {'cells':>5s} {'each':>5s}  exponent of 1/pi_min    interval above   verdict",
    ]
    for sweep, replications in (*LOOKS, *((name, 10**9) for name in FRESH.values())):
        if sweep in found.rows["sweep"]:
            lines.append(_line(look(found, sweep, replications), plan))
    lines += ["", "the information bound exceeds (n pi)^(-1/2) only for pi below:"]
    lines += [f"R = {separation:g}: {information_bound_from(separation):.1e}" for separation in FRESH]
    return lines


def _line(rows: np.ndarray, plan: Plan) -> str:
    weights = len(np.unique(rows["min_weight"]))
    seen = exponent(rows)
    outcome = rate_verdicts.at_most(seen, plan.limit, "", plan.margin).outcome
    above = "yes" if seen.low > plan.limit else "no"
    name, apart = rows["sweep"][0], float(rows["separation"][0])
    return f"{name:20s} {apart:2.0f} {weights:5d} {len(rows) // weights:5d}  {seen!s:22s}   {above:14s}   {outcome}"
