"""Thresholds in the phase diagram, and the file it is kept in."""

import json

import pytest

from theory_checks import phase_diagram
from theory_checks.phase_diagram import CONSTANTS, LEVELS, RATIOS, read, threshold, worst
from theory_checks.phase_diagram_command import main


def test_a_threshold_is_bisected():
    constants = [1.0, 2.0, 4.0, 8.0]
    found = threshold(constants, [9.0, 6.0, 3.0, 1.0], 4.0, lambda c: 8 / c)
    assert found == pytest.approx(2.0 * 2 ** (1 / 2**6), rel=1e-12, abs=0)  # 8/c = 4 at the lower end itself
    found = threshold(constants, [9.0, 6.0, 3.0, 1.0], 4.0, lambda c: 12 / c)
    assert 3 <= found <= 3 * 2 ** (1 / 2**6)


def test_what_holds_everywhere_has_no_threshold_and_the_last_excess_counts():
    assert threshold([1.0, 2.0], [0.5, 0.5], 0.5, lambda c: 1.0) is None
    assert 2 < threshold([1.0, 2.0, 4.0], [0.1, 0.9, 0.2], 0.5, lambda c: 0.0) < 2.05
    with pytest.raises(ValueError, match="C = 2"):
        threshold([1.0, 2.0], [0.5, float("nan")], 0.5, lambda c: 1.0)


def test_the_stored_diagram_is_what_is_computed():
    stored = read()
    assert stored["constants"] == list(CONSTANTS)
    assert len(stored["cells"]) == 2 * len(LEVELS) * len(RATIOS)
    for cell in (stored["cells"][i] for i in (3, 10, 20)):
        place = 5
        again = worst(cell["quantity"], cell["K"], CONSTANTS[place], cell["ratio"])
        assert again == pytest.approx(cell["worst"][place], rel=1e-6, abs=0)
    for cell in stored["cells"]:
        beyond = [c for c, value in zip(CONSTANTS, cell["worst"], strict=True) if value > LEVELS[cell["quantity"]]]
        least = cell["holds_from"]
        assert least is None if not beyond else max(beyond) < least <= max(beyond) * 2**0.2501


def test_the_command_writes_the_file_and_prints_thresholds(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(phase_diagram, "COMPONENTS", (2,))
    monkeypatch.setattr(phase_diagram, "CONSTANTS", (1.0, 8.0))
    monkeypatch.setattr(phase_diagram, "RATIOS", (1.0,))
    monkeypatch.setattr(phase_diagram, "SEARCH", {2: (65, 8, 10)})
    path = tmp_path / "diagram.json"
    assert main(["--out", str(path)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 4
    assert out[1].split() == ["2", "radius", "1", "<=", "1"]
    assert 1 < float(out[2].split()[-1]) < 4
    stored = read(path)
    assert [cell["quantity"] for cell in stored["cells"]] == list(LEVELS)


def test_bad_paths_and_files(tmp_path, capsys):
    assert main(["--out", str(tmp_path / "none" / "file.json")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    path = tmp_path / "old.json"
    path.write_text(json.dumps({"schema": 0}))
    with pytest.raises(ValueError, match="schema 0"):
        read(path)
