"""Two measurements of a sweep's cell: what rounding allows between processors, and what it does not."""

from __future__ import annotations

from dataclasses import replace
from math import nan

import numpy as np
import pytest

from theory_checks.sweeps import experiment, remeasured
from theory_checks.sweeps.grid import Cell
from theory_checks.test_theorem_f1_rate import declared, found

Row = dict[str, float]


@pytest.fixture(scope="module")
def cell() -> Cell:
    """The smallest cell in float64 whose steps are judged."""
    rows = [row for row in found().rows if row["dtype"] == "float64" and row["judged"] and row["n"] >= 256]
    return declared(min(rows, key=lambda row: (row["n"], row["d"], row["K"], row["L"])))


@pytest.fixture(scope="module")
def row(cell: Cell) -> Row:
    """Its first replication."""
    return experiment.measure(replace(cell, replications=1))[0]


@pytest.fixture(scope="module")
def samples(cell: Cell) -> np.ndarray:
    """... and the data."""
    return experiment.draw(cell, range(1)).samples[0]


@pytest.mark.parametrize(
    "column", ["initial", "total", "statistical", "optimisation", "approximation", "step_error", "step_bound"]
)
def test_each_column_is_compared(cell: Cell, row: Row, samples: np.ndarray, column: str) -> None:
    """Half of what is allowed is none; twice of it is a difference, told with what was measured, stored and allowed."""
    limits = remeasured.allowed(cell, row, samples)
    name = "step_ratio" if column.startswith("step_") else column
    unit = {"step_error": row["step_bound"], "step_bound": row["step_bound"] ** 2 / row["step_error"]}.get(column, 1.0)
    for share, differs in ((0.5, False), (2.0, True)):
        fresh = row | {column: row[column] + share * limits[name] * unit}
        text = remeasured.differences(cell, row, fresh, samples)
        assert bool(text) is differs, text
        if differs:
            assert text[0].startswith(f"{name} measured ")
            assert repr(remeasured.compared(fresh)[name]) in text[0]
            assert repr(remeasured.compared(row)[name]) in text[0]
            assert f"{limits[name]:.3g}" in text[0]


def test_nan_differs(cell: Cell, row: Row, samples: np.ndarray) -> None:
    """What is not a number agrees with nothing, not even with itself."""
    strange = row | {"total": nan}
    assert remeasured.differences(cell, row, strange, samples)
    assert remeasured.differences(cell, strange, strange, samples)


def test_float32_allows_more_than_the_errors(cell: Cell, row: Row, samples: np.ndarray) -> None:
    """Why no cell in float32 is measured again: any total error would agree with any other."""
    assert remeasured.allowed(cell, row, samples)["total"] < 1e-2 * row["total"]
    single = replace(cell, dtype="float32")
    assert remeasured.allowed(single, row, samples)["total"] > row["total"]


def test_the_old_rule_pins_a_processor(cell: Cell, row: Row, samples: np.ndarray) -> None:
    """64 units in the last place of a float32 are beyond a relative 1e-6, and within what its sums may do."""
    single = replace(cell, dtype="float32")
    moved = row | {"total": row["total"] * (1 + 64 * float(np.finfo(np.float32).eps))}
    assert not np.isclose(row["total"], moved["total"], rtol=1e-6, atol=1e-9)
    assert not remeasured.differences(single, row, moved, samples)
