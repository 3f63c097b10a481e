"""What decides is written down before its data are measured, and who reads it checks that."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from conftest import in_process
from scipy.stats import norm

from constructions.errors import InputError
from theory_checks import confirmation, confirmation_command, rates
from theory_checks.confirmation import FRESH, KEY
from theory_checks.sweeps import results
from theory_checks.sweeps.__main__ import main as sweep

GRID = """
[defaults]
d = 1
K = 2
n = 53
L = 1
separation = 4.0
min_weight = [0.5, 0.3, 0.2]
construction = "floor"
tolerance = 0.5
dtype = "float64"
seed = 0
replications = 5
[[sweep]]
name = "min_weight_first"
[[sweep]]
name = "min_weight"
separation = 3.0
min_weight = [0.3, 0.2]
"""
BLOCK = """
[[sweep]]
name = "{name}"
separation = {separation}
seed = {seed}
min_weight = [0.3, 0.2]
replications = 3
"""
PLANNED = GRID + "".join(
    BLOCK.format(name=name, separation=apart, seed=seed) for seed, (apart, name) in enumerate(FRESH.items(), start=2)
)


@pytest.fixture
def looked_at(tmp_path: Path, capfd, monkeypatch) -> tuple[Path, Path]:
    """A results file with what was looked at first, and the grid with what is planned."""
    monkeypatch.setattr(confirmation, "LOOKS", (("min_weight_first", 2), ("min_weight_first", 5), ("min_weight", 5)))
    grid, path = tmp_path / "grid.toml", tmp_path / "found.sqlite"
    grid.write_text(GRID)
    assert sweep([str(grid), "--results", str(path)]) == 0
    grid.write_text(PLANNED)
    capfd.readouterr()
    return path, grid


@pytest.fixture
def command(capfd):
    return in_process(confirmation_command.main, capfd)


def test_the_plan_comes_first_and_is_shown_with_its_outcome(looked_at, command, capfd):
    path, grid = looked_at
    with pytest.raises(InputError, match="holds no plan"):
        confirmation.planned(path)
    before = command("--results", path, "--grid", grid)
    assert before.code == 0
    plan = confirmation.planned(path)
    assert (plan.limit, plan.false_alarm) == (0.5, rates.FALSE_ALARM)
    assert {cell["sweep"] for cell in plan.cells} == set(FRESH.values())
    assert sweep([str(grid), "--results", str(path)]) == 0
    capfd.readouterr()
    after = command("--results", path, "--grid", grid)
    assert confirmation.planned(path) == plan
    assert [name in before.out for name in FRESH.values()] == [True, True, False]  # the power of two of them
    rows = results.read(path).sweep(FRESH[8.0])
    assert f"{FRESH[8.0]:20s}  8     2     3  {confirmation.exponent(rows)!s}" in after.out


def test_it_is_too_late_once_a_cell_is_measured(looked_at, command, capfd):
    path, grid = looked_at
    assert sweep([str(grid), "--results", str(path), "--only", FRESH[8.0]]) == 0
    capfd.readouterr()
    command("--results", path, "--grid", grid).assert_refused("it is written before they are measured")
    with pytest.raises(InputError, match="holds no plan"):
        confirmation.planned(path)


def broken(path: Path, **changes: object) -> None:
    """Change what the file holds of the plan."""
    plan = {**json.loads(results.noted(path, KEY) or ""), **changes}
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = ?", (json.dumps(plan), KEY))


@pytest.mark.parametrize("what", ["margin", "false_alarm", "written", "cells", "seeds"])
def test_a_plan_that_was_not_kept_is_refused(what, looked_at, command, capfd):
    path, grid = looked_at
    if what == "seeds":
        grid.write_text(PLANNED.replace("seed = 3", "seed = 0"))
    assert command("--results", path, "--grid", grid).code == 0 or what == "seeds"
    if what not in ("margin", "false_alarm"):
        assert sweep([str(grid), "--results", str(path)]) == 0
    capfd.readouterr()
    if what in ("margin", "false_alarm"):
        broken(path, **{what: 0.07})
    elif what == "written":
        broken(path, written="2999-01-01T00:00:00+00:00")
    elif what == "cells":
        broken(path, cells=json.loads(results.noted(path, KEY) or "")["cells"][1:])
    told = {
        "written": "were measured before the plan was written",
        "cells": "holds cells that the plan has not",
        "seeds": "are not fresh: they share random numbers",
    }
    with pytest.raises(InputError, match=told.get(what, "another margin or false alarm")):
        confirmation.planned(path)


def rows_of(exponent: float, spread: float, replications: int, rng: np.random.Generator) -> np.ndarray:
    """Errors of two cells whose exponent of 1/π_min is known."""
    rows = np.zeros(2 * replications, dtype=[("min_weight", float), ("statistical", float)])
    rows["min_weight"] = np.repeat([0.25, 0.0625], replications)
    rows["statistical"] = rows["min_weight"] ** -exponent * np.exp(spread * rng.standard_normal(2 * replications))
    return rows


def test_exponents_are_those_of_one_over_the_weight(rng):
    rows = rows_of(0.7, 0.0, 3, rng)
    assert confirmation.exponent(rows).value == pytest.approx(0.7, rel=1e-12)
    assert confirmation.exponent(rows, -0.25).value == pytest.approx(0.95, rel=1e-12)


def test_the_power_is_that_of_the_rule(rng):
    """Slopes of spread √2·σ/log 4; at an excess of z + 2 standard errors, P(refuted) = Φ(2)."""
    spread, replications = 0.4, 907
    error = np.sqrt(2) * spread / np.log(4) / np.sqrt(replications)
    excess = (rates.quantile(replications) + 2) * error
    rows = rows_of(0.5 + excess / confirmation.EXPECTED, spread, 20011, rng)
    assert confirmation.expected_power(rows, replications) == pytest.approx(norm.cdf(2), abs=0.02)


def test_the_information_bound_is_where_both_are_equal():
    for apart in (1.5, 3.0):
        pi = confirmation.information_bound_from(apart)
        ours = np.sqrt(1 - pi) * np.exp(-(apart**2) / 2) / (pi * np.sqrt(1 + apart**2))
        assert ours == pytest.approx(pi**-0.5, rel=1e-9)
