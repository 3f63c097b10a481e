"""Thresholds in the phase diagram, and the file it is kept in."""

import json
from math import inf

import numpy as np
import pytest

from constructions.algorithms.population_em import population_error
from theory_checks import phase_diagram, reached
from theory_checks.phase_diagram import CONSTANTS, LEVELS, RATIOS, read, threshold, worst
from theory_checks.phase_diagram_command import main
from theory_checks.population_instances import (
    Objective,
    Region,
    assumption_a1,
    climb,
    contraction_rate,
    distance,
    mixture,
    one_step_radius,
)


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


def rounding(region: Region, weights: np.ndarray, means: np.ndarray, rate: bool) -> np.ndarray:
    """What D⁺ of each point, or D⁺/D, may be off by in float64, in any order of the sums: K = 2.

    v_k = w_k − 1{Z=k} has the relative error a' of `reached.quadrature`, and 8uXM' for parameters that are rounded, and
    E|v_k| ≤ π_k⁺ + π_k*. So |π_k⁺ − π_k*|/π_k* is off by e = (a' + 8uXM')(1 + π_k⁺/π_k*) at most, and ‖μ_k⁺ − μ_k*‖ by
    X(a' + 8uXM')(1 + π_k*/π_k⁺), its sum, and itself (≤ X) times e, its quotient. 64uX are further roundings.
    """
    unit, found = 2.0**-53, np.empty(len(weights))
    shares = 1 + population_error(region.truth, weights, means)[0] / region.truth.weights
    for i, (pi, mu, share) in enumerate(zip(weights, means, shares, strict=True)):
        reach, off = reached.quadrature(region.truth, mu, float(pi.min()))
        off += 8 * unit * reach * float(np.linalg.norm(mu, axis=1).max())
        of_weight = off * (1 + share.max())
        found[i] = max(of_weight, reach * (off * (1 + 1 / share.min()) + of_weight)) + 64 * unit * reach
    if rate:
        before = distance(region.truth, weights - region.truth.weights, means - region.truth.means)
        after = one_step_radius(region, weights, means, 129)
        size = np.abs(region.truth.means).max() + 1
        found = found / before + after / before * 8 * unit * size / before  # D itself is a difference
    return found


class Compared:
    """An objective that remembers what a search compares, and by how much rounding may blur it."""

    def __init__(self, objective: Objective) -> None:
        self.objective, self.least, self.at_best = objective, inf, 0.0
        self.best: np.ndarray | None = None

    def __call__(self, region: Region, weights: np.ndarray, means: np.ndarray, nodes: int) -> np.ndarray:
        found = self.objective(region, weights, means, nodes)
        blur = rounding(region, weights, means, self.objective is contraction_rate)
        if self.best is None:
            self.best, self.blur = found, blur
        else:
            self.least = min(self.least, (np.abs(found - self.best) / (blur + self.blur)).min())
            better = found > self.best
            self.best, self.blur = np.where(better, found, self.best), np.where(better, blur, self.blur)
        self.at_best = self.blur[np.argmax(self.best)]
        return found


@pytest.mark.parametrize("index", [3, 10, 20])
def test_a_stored_cell_is_what_is_computed(index, monkeypatch):
    """No comparison of the search is as close as rounding, so that it ends at the same point on every processor; what
    is found there agrees with what is stored as well as rounding allows, and not with the next constant's.
    """
    cell, place, searches = read()["cells"][index], 5, []

    def watched(region, objective, *rest):
        searches.append(Compared(objective))
        return climb(region, searches[-1], *rest)

    monkeypatch.setattr(phase_diagram, "climb", watched)
    again, stored = worst(cell["quantity"], cell["K"], CONSTANTS[place], cell["ratio"]), cell["worst"][place]
    (search,) = searches
    assert search.least > 1, f"a comparison is decided by {search.least} of what rounding may do"
    allowed = 2 * search.at_best
    assert abs(again - stored) <= allowed, f"measured {again!r}, stored {stored!r}, allowed difference {allowed:.3g}"
    assert abs(cell["worst"][place + 1] - stored) > 1000 * allowed


def test_a_comparison_as_close_as_rounding_is_noticed():
    region = assumption_a1(mixture(4.0, (1.0, 3.0), 2), "near")
    search = Compared(lambda *at: np.round(one_step_radius(*at), 12))
    climb(region, search, np.random.default_rng(0), 129, 5, 20)
    assert search.least > 1
    search = Compared(lambda *at: np.round(one_step_radius(*at), 2))
    climb(region, search, np.random.default_rng(0), 129, 5, 20)
    assert search.least == 0


def test_the_stored_diagram_is_whole():
    stored = read()
    assert stored["constants"] == list(CONSTANTS)
    assert len(stored["cells"]) == 2 * len(LEVELS) * len(RATIOS)
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
