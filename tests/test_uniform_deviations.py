from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Outcome, in_process

from constructions.errors import InputError
from theory_checks import uniform_deviations, uniform_deviations_command
from theory_checks.test_lemma_f2 import reproduced
from theory_checks.uniform_deviations import Cell, Measured, calibrate, calibration, held_out, measure, mixture, read


@pytest.fixture
def command(capfd):
    return in_process(uniform_deviations_command.main, capfd)


def test_mixtures_are_as_far_apart_as_they_say():
    for components, dim in ((2, 5), (3, 1), (4, 2), (7, 3)):
        truth = mixture(components, dim, 3.0, 0.05)
        apart = np.linalg.norm(truth.means[:, None] - truth.means, axis=-1) + 9 * np.eye(components)
        assert apart.min() == pytest.approx(3.0, rel=1e-14)
        assert truth.weights.sum() == pytest.approx(1, rel=1e-14)
        assert truth.weights.min() == truth.weights[0] == 0.05
    assert np.abs(mixture(4, 2, 3.0, 0.25).means).max() == 3.0


def test_rates_are_the_recovered_ones():
    assert Cell("n", "w", 3, 5, 700, 4.0, 0.1).rate == pytest.approx(np.sqrt(15 * np.log(700) / 700), rel=1e-14)
    assert Cell("n", "step", 3, 5, 700, 4.0, 0.1).rate == pytest.approx(np.sqrt(150 * np.log(700) / 700), rel=1e-14)


def test_the_region_is_that_of_a1():
    region = Cell("n", "w", 2, 3, 7, 4.0, 0.4).region
    assert (region.radius, region.slack) == (0.25, 0.5)


def test_the_constant_is_the_largest_ratio():
    cells = [Cell("calibration", "w", 2, 1, n, 4.0, 0.5) for n in (16, 64)]
    measured = [Measured(cells[0], np.array([0.5, 0.1])), Measured(cells[1], np.array([0.2, 0.3]))]
    assert calibrate(measured, lambda cell: 1 / cell.count) == pytest.approx(0.3 * 64, rel=1e-14)


def test_no_held_out_cell_is_a_calibration_cell():
    def place(cell: Cell) -> tuple[object, ...]:
        return cell.quantity, cell.components, cell.dim, cell.count, cell.separation, cell.least

    assert not {place(c) for c in calibration()} & {place(c) for c in held_out()}
    assert max(c.count for c in calibration()) < 2048 or {c.quantity for c in calibration() if c.count >= 2048} == {
        "step"
    }


def test_calibration_and_held_out_cells_share_no_random_numbers(monkeypatch):
    """What is drawn from is keyed by `stream`; the deviations of w_k and of w_k(X − μ_k*) are of the same data."""
    keys = []
    generator = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda key: keys.append(key) or generator(key))
    first = Cell("calibration", "w", 2, 1, 13, 4.0, 0.5)
    measure(first, 7, 2)
    assert keys == [uniform_deviations.stream(first, 7)]
    streams = [{tuple(uniform_deviations.stream(c, 1)) for c in cells} for cells in (calibration(), held_out())]
    assert all(streams)
    assert not streams[0] & streams[1]
    moment = dataclasses.replace(first, quantity="moment")
    assert uniform_deviations.stream(moment, 7) == keys[0] != uniform_deviations.stream(first, 8)


def test_what_is_no_number_is_found(monkeypatch):
    """An average that is no number at one of the points of a climb is the supremum that is found."""
    objective, seen = uniform_deviations.OBJECTIVES["w"], []

    def broken(empirical, population, truth, distance):
        values = objective(empirical, population, truth, distance)
        far = (distance > 0.2)[..., None].expand(values.shape)
        seen.append(bool(far.any()) and not bool(far.all()))
        return torch.where(far, torch.nan, values)

    monkeypatch.setitem(uniform_deviations.OBJECTIVES, "w", broken)
    found = measure(Cell("n", "w", 2, 1, 31, 4.0, 0.5), 5, 3)
    assert any(seen)  # near points have numbers, far ones have not
    assert np.isnan(found).all()


def test_the_stored_results_are_the_grid_and_their_constants(rng):
    results = read()
    assert [m.cell for m in results.measured] == [*calibration(), *held_out()]
    assert {len(m.values) for m in results.measured} == {uniform_deviations.REPLICATIONS}
    for quantity, constant in results.constants.items():
        first = results.part("calibration", quantity)
        assert constant == pytest.approx(calibrate(first, lambda cell: cell.rate), rel=1e-12)


def test_the_command_writes_what_it_reads(command, tmp_path: Path, monkeypatch):
    small = [Cell("calibration", q, 2, 1, 13, 4.0, 0.5) for q in ("w", "moment", "step")]
    monkeypatch.setattr(uniform_deviations, "calibration", lambda: iter(small))
    monkeypatch.setattr(uniform_deviations, "held_out", lambda: iter([Cell("n", "w", 2, 1, 29, 4.0, 0.5)]))
    path = tmp_path / "found.json"
    outcome: Outcome = command("--replications", 3, "--seed", 7, "--out", path)
    assert outcome.code == 0
    results = read(path)
    assert results.seed == 7
    assert [m.cell.part for m in results.measured] == ["calibration"] * 3 + ["n"]
    assert all(len(m.values) == 3 for m in results.measured)
    assert [len(m.points) for m in results.measured] == [3] * 3 + [0]
    assert all(reproduced(m, 7).outcome == "holds" for m in results.measured[:3])
    assert results.measured[3].values.tolist() == measure(results.measured[3].cell, 7, 3).tolist()
    assert set(json.loads(path.read_text())["versions"]) >= {"python", "numpy", "torch"}


def test_bad_input_is_refused(command, tmp_path: Path):
    for replications in (1, 10_001):
        command("--replications", replications).assert_refused(
            f"--replications is {replications}; it must lie between 2"
        )
    command("--seed", -1).assert_refused("--seed is -1", "must not be negative")
    command("--out", tmp_path / "absent" / "found.json").assert_refused("found.json")
    for content in ("", "[]", '{"seed": 0, "constants": {}, "cells": [{"part": "n"}]}'):
        path = tmp_path / "damaged.json"
        path.write_text(content)
        with pytest.raises(InputError, match=r"damaged\.json' does not hold the suprema"):
            read(path)
    with pytest.raises(InputError, match=r"absent\.json"):
        read(tmp_path / "absent.json")
