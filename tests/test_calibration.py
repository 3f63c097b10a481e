"""Constants are fixed once, from the calibration cells alone, before anything else is measured."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from constructions.errors import InputError
from theory_checks import calibration, calibration_command, rates
from theory_checks.sweeps import results
from theory_checks.sweeps.__main__ import main as sweep

GRID = """
[defaults]
d = 1
K = 2
n = [53, 101]
L = 1
separation = [5.0, 7.0]
min_weight = 0.4
construction = "floor"
tolerance = 0.5
dtype = "float64"
seed = 0
replications = 3
[[sweep]]
name = "calibration"
seed = 1
[[sweep]]
name = "held-out"
n = 59
"""


@pytest.fixture
def measured(tmp_path: Path, capsys) -> tuple[Path, list[str]]:
    """A results file with the calibration cells, and the arguments of the sweep that goes on."""
    grid, path = tmp_path / "grid.toml", tmp_path / "found.sqlite"
    grid.write_text(GRID)
    arguments = [str(grid), "--results", str(path)]
    assert sweep([*arguments, "--only", "calibration"]) == 0
    capsys.readouterr()
    return path, arguments


def test_constants_are_fixed_before_held_out_cells_are_run(measured, capsys):
    path, arguments = measured
    with pytest.raises(InputError, match="holds no constants"):
        calibration.fixed(path)
    assert calibration_command.main(["--results", str(path)]) == 0
    shown = capsys.readouterr().out
    assert sweep(arguments) == 0
    capsys.readouterr()
    assert calibration_command.main(["--results", str(path)]) == 0
    assert capsys.readouterr().out == shown
    found = calibration.fixed(path)
    assert set(found) == {5.0, 7.0}
    rows = results.read(path).sweep("calibration")
    part = rows[rows["separation"] == 7.0]
    beta = max(part["em_rate"].tolist())
    shapes = [rates.shape(1, 2, n, 0.4) for n in part["n"]]
    assert found[7.0].beta == beta
    ratios = [s / shape for s, shape in zip(part["statistical"], shapes, strict=True)]
    assert found[7.0].c == pytest.approx((1 - beta) * max(ratios), rel=1e-12, abs=0)


def test_constants_and_held_out_cells_share_no_random_numbers(measured, capsys):
    path, arguments = measured
    assert calibration_command.main(["--results", str(path)]) == 0
    Path(arguments[0]).write_text(GRID.replace("n = 59", "n = 59\nseed = 1"))
    assert sweep(arguments) == 0
    with pytest.raises(InputError, match=r"share random numbers: \(1, 0, 1, 2\)"):
        calibration.fixed(path)


def test_it_is_too_late_when_other_cells_are_there(measured, capsys):
    path, arguments = measured
    assert sweep(arguments) == 0
    capsys.readouterr()
    assert calibration_command.main(["--results", str(path)]) == 2
    assert "constants are fixed before that is run" in capsys.readouterr().err


def test_a_grid_without_the_other_cells_does_not_hide_them(measured, capsys):
    path, arguments = measured
    assert sweep(arguments) == 0
    Path(arguments[0]).write_text(GRID[: GRID.rindex("[[sweep]]")].replace("seed = 0", "seed = 0  # again"))
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM measured WHERE cell = 1")
        connection.execute("DELETE FROM cells WHERE cell = 1")  # so that there is something to run
    assert sweep(arguments) == 0
    assert set(results.read(path).rows["sweep"]) == {"calibration"}
    capsys.readouterr()
    assert calibration_command.main(["--results", str(path)]) == 2
    assert "constants are fixed before that is run" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["beta", "c"])
@pytest.mark.parametrize(("units", "same"), [(0, True), (30, True), (-30, True), (130, False), (-130, False)])
def test_constants_are_compared_up_to_rounding(measured, name, units, same):
    """64 units of 2^−53: 30 and 130 of 2^−53 are on either side. So a logarithm may be another library's."""
    path, _ = measured
    assert calibration_command.main(["--results", str(path)]) == 0
    stored = noted(path, lambda text: text["5.0"].update({name: text["5.0"][name] * (1 + units * 2.0**-53)}))
    if same:
        assert getattr(calibration.fixed(path)[5.0], name) == stored["5.0"][name]
    else:
        with pytest.raises(InputError, match=rf"separation 5, {name} is .* by the cells, .* stored, .* allowed diff"):
            calibration.fixed(path)


def noted(path: Path, change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """The stored constants after a change."""
    text = json.loads(results.noted(path, calibration.KEY) or "")
    change(text)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = ?", (json.dumps(text), calibration.KEY))
    return text


def test_constants_of_other_cells_are_refused(measured):
    path, _ = measured
    assert calibration_command.main(["--results", str(path)]) == 0
    noted(path, lambda text: text["5.0"].update(c=text["5.0"]["c"] * 1.5))
    with pytest.raises(InputError, match="do not follow from its calibration cells"):
        calibration.fixed(path)
    noted(path, lambda text: text["5.0"].update(c=float("nan")))
    with pytest.raises(InputError, match="do not follow from its calibration cells"):
        calibration.fixed(path)
    noted(path, lambda text: text.pop("7.0"))
    with pytest.raises(InputError, match="are not for the separations of its calibration cells"):
        calibration.fixed(path)


def test_missing_calibration_cells_and_a_second_note_are_refused(measured, tmp_path, capsys):
    path, _ = measured
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM measured WHERE cell = 2")
        connection.execute("DELETE FROM cells WHERE cell = 2")
    assert calibration_command.main(["--results", str(path)]) == 2
    assert "1 cells of the sweep 'calibration' are missing" in capsys.readouterr().err
    assert results.noted(path, "key") is None
    results.note(path, "key", "text")
    assert results.noted(path, "key") == "text"
    with pytest.raises(InputError, match="UNIQUE"):
        results.note(path, "key", "other")
    assert calibration_command.main(["--results", str(tmp_path / "none.sqlite")]) == 2
    assert "there is no results file" in capsys.readouterr().err


def test_the_calibration_is_of_separations_that_are_held_out():
    """What the committed grid calibrates is what it holds out."""
    cells = [cell for cell in results.read(calibration.RESULTS).rows if cell["sweep"] == calibration.SWEEP]
    assert {cell["separation"] for cell in cells} == set(calibration.fixed())
    assert {cell["seed"] for cell in cells} == {1}
