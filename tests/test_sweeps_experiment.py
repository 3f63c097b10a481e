"""What a sweep measures, against the run of a single data set and against EM step by step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from constructions.algorithms.em import em, em_step
from constructions.em_run import run
from theory_checks import calibration
from theory_checks.confirmation import FRESH, GRID
from theory_checks.sweeps import experiment, grid
from theory_checks.sweeps.grid import Cell

CELL = Cell("x", 2, 3, 101, 5, 4.0, 0.2, "floor", 0.1, "float64", 7, 3)


def d(weights, means, other_weights, other_means, true):
    """D, written out for one data set."""
    return max(
        max(np.linalg.norm(means[k] - other_means[k]), abs(weights[k] - other_weights[k]) / true[k])
        for k in range(len(true))
    )


@pytest.mark.parametrize(
    "cell", [CELL, replace(CELL, d=1, K=2, n=53, L=2, min_weight=0.5, construction="paper", tolerance=9.0)]
)
def test_rows_are_those_of_single_runs(cell):
    rows = experiment.measure(cell)
    tasks = experiment.draw(cell, range(cell.replications))
    made = experiment.transformer(cell)
    assert [set(row) for row in rows] == [set(experiment.COLUMNS)] * cell.replications
    for r, row in enumerate(rows):
        truth, start, x = tasks.truth[r], tasks.start[r], tasks.samples[r]
        single = run(made, x, start)
        found = single.steps[-1].estimate
        true = truth.weights, truth.means
        exact = em(x, start.weights, start.means, cell.L)
        fixed = em(x, start.weights, start.means, 400)
        wanted = {
            "initial": d(start.weights, start.means, *true, truth.weights),
            "total": d(found.weights, found.means, *true, truth.weights),
            "statistical": d(*fixed, *true, truth.weights),
            "optimisation": d(*exact, *fixed, truth.weights),
            "approximation": d(found.weights, found.means, *exact, truth.weights),
            "diameter": single.diameter,
        }
        for name, value in wanted.items():
            assert row[name] == pytest.approx(value, rel=1e-6, abs=1e-12), name
        ratios = [
            (error / bound, error, bound)
            for s in single.steps
            for error, bound in zip(s.mean_errors, s.mean_bounds, strict=True)
        ]
        ratio, error, bound = max(ratios)
        assert row["step_error"] / row["step_bound"] == pytest.approx(ratio, rel=1e-6, abs=0)
        assert row["step_bound"] == pytest.approx(bound, rel=1e-6, abs=0)
        assert row["step_error"] == pytest.approx(error, rel=1e-6, abs=0)
        assert (row["judged"], row["violations"]) == (cell.L, 0)
        assert row["total"] <= row["statistical"] + row["optimisation"] + row["approximation"]


def test_rows_do_not_depend_on_how_many_are_taken_together(monkeypatch):
    together = experiment.measure(CELL)
    monkeypatch.setattr(experiment, "NUMBERS", 1)
    for one, other in zip(experiment.measure(CELL), together, strict=True):
        assert one == pytest.approx(other, rel=1e-9, abs=1e-12)


def test_draws_are_of_the_class_and_the_same_in_cells_that_differ_otherwise():
    cell = replace(CELL, min_weight=0.05, K=4, d=3)
    tasks = experiment.draw(cell, range(1, 3))
    other = experiment.draw(replace(cell, sweep="y", L=9, tolerance=0.01, construction="paper"), range(3))
    np.testing.assert_array_equal(tasks.samples, other.samples[1:])
    assert tasks.samples.shape == (2, 100, 3)
    assert not np.array_equal(other.samples[0], other.samples[1])
    for truth, start in zip(tasks.truth, tasks.start, strict=True):
        apart = [np.linalg.norm(a - b) for i, a in enumerate(truth.means) for b in truth.means[:i]]
        assert min(apart) == pytest.approx(4.0, rel=1e-12, abs=0)
        np.testing.assert_allclose(truth.weights, [0.05, *[0.95 / 3] * 3], rtol=1e-12)
        np.testing.assert_allclose(np.linalg.norm(start.means - truth.means, axis=1), 0.9 * 4 / 16, rtol=1e-9)
        assert (np.abs(start.weights - truth.weights) <= truth.weights / 2).all()
        assert start.weights.sum() == pytest.approx(1, rel=1e-12, abs=0)


def test_a_bound_that_is_too_low_is_seen(monkeypatch):
    monkeypatch.setattr(experiment.bounds, "m_step", lambda *_: 0.0)
    for row in experiment.measure(CELL):
        assert row["violations"] == row["judged"] == CELL.L
        assert row["step_error"] > row["step_bound"] > 0


def test_one_component_beyond_its_bound_is_enough(monkeypatch):
    """The lightest component's bound is 0, those of the others are not."""
    cell = replace(CELL, min_weight=0.1, replications=1)
    monkeypatch.setattr(experiment.bounds, "m_step", lambda sizes, diameter, weight, u: 1.0 * (weight > 0.25))
    (row,) = experiment.measure(cell)
    assert row["violations"] == row["judged"] == cell.L


def test_the_class_holds_what_the_cell_can_draw():
    """n·P(‖z‖ ≥ √d(1 + t)) ≤ n·e^{−dt²/2} = 1e-12 (Lemma F.6), beyond the farthest mean."""
    cell = replace(CELL, d=3, K=4, min_weight=0.1)
    limits = experiment.transformer(cell).task_class
    assert (limits.max_dim, limits.max_components, limits.min_weight) == (3, 4, 0.05)
    largest = max(np.linalg.norm(t.means, axis=1).max() for t in experiment.draw(cell, range(2)).truth)
    excess = (limits.radius - 1.001 * largest) / np.sqrt(3) - 1
    assert cell.n * np.exp(-3 * excess**2 / 2) == pytest.approx(1e-12, rel=1e-6, abs=0)


@pytest.mark.parametrize("part", ["estimate", "bound"])
@pytest.mark.parametrize("step", [1, 3, CELL.L])
def test_what_is_no_number_is_a_violation_and_stays(step, part, monkeypatch):
    """Whether it is the transformer's mean or its bound, and also when later steps are fine."""
    pool, m_step, calls = experiment.pool, experiment.bounds.m_step, {"pool": 0, "m_step": 0}
    of_a_step = {"pool": CELL.replications, "m_step": CELL.replications * CELL.K}

    def broken(name: str) -> bool:
        calls[name] += 1
        return (calls[name] - 1) // of_a_step[name] == step - 1

    def pooled(*parts):
        found = pool(*parts)
        return replace(found, means=np.nan * found.means) if broken("pool") and part == "estimate" else found

    def bounded(*at):
        return np.nan if broken("m_step") and part == "bound" else m_step(*at)

    monkeypatch.setattr(experiment, "pool", pooled)
    monkeypatch.setattr(experiment.bounds, "m_step", bounded)
    rows = experiment.measure(CELL)
    assert calls["pool"] == CELL.replications * CELL.L
    for row in rows:
        assert row["judged"] >= step
        assert row["violations"] == 1
        assert np.isnan(row["step_error"] / row["step_bound"])


def test_cells_share_random_numbers_where_their_keys_say_so(monkeypatch):
    """What draws is keyed by `stream`, and nothing else is drawn from."""
    keys = []
    generator = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda key: keys.append(key) or generator(key))
    experiment.draw(CELL, range(3))
    assert keys == [CELL.stream(r) for r in range(3)]
    assert set(keys) == CELL.streams
    assert len(CELL.streams) == 3
    other = replace(CELL, seed=8)
    assert not grid.shared_streams([CELL], [other])
    assert grid.shared_streams([CELL, other], [replace(other, n=53, replications=2)]) == {(8, 0, 2, 3), (8, 1, 2, 3)}


def test_the_grid_s_streams_are_apart():
    """Calibration, what is held out, and each sweep of the plan draw data that no other of them sees."""
    cells = grid.load(GRID).cells
    apart = {name: [cell for cell in cells if cell.sweep == name] for name in (calibration.SWEEP, *FRESH.values())}
    apart["held out"] = [cell for cell in cells if cell.sweep not in apart]
    assert all(apart.values())
    for name, group in apart.items():
        for other, others in apart.items():
            assert name == other or not grid.shared_streams(group, others), (name, other)


def test_steps_that_leave_the_class_are_not_judged(monkeypatch):
    monkeypatch.setattr(experiment, "precondition", lambda em, entering, number: "left" * (number == 3))
    assert [row["judged"] for row in experiment.measure(CELL)] == [2, 2, 2]


def test_fixed_point_and_rate():
    """The rate is the largest eigenvalue of EM's Jacobian, here by differences along the last change."""
    cell = replace(CELL, separation=3.0, n=1009, min_weight=1 / 3)
    tasks = experiment.draw(cell, range(2))
    x = tasks.samples
    start = np.stack([s.weights for s in tasks.start]), np.stack([s.means for s in tasks.start])
    true = np.stack([t.weights for t in tasks.truth])
    (weights, means), rate, steps, change = experiment.fixed_point(x, *start, true)
    after = em_step(x, weights, means)
    assert (experiment.distance(*after, weights, means, true) <= experiment.FIXED).all()
    assert (change <= experiment.FIXED).all()
    for r in range(2):
        at = start[0][r], start[1][r]
        changes = []
        for _ in range(int(steps[r])):
            moved = em_step(x[r], *at)
            changes.append(d(*moved, *at, true[r]))
            at = moved
        assert changes[-1] <= experiment.FIXED < changes[-2]
        large = [c for c in changes if c > 1e3 * experiment.FIXED]
        assert rate[r] == pytest.approx(large[-1] / large[-2], rel=1e-3, abs=0)
        assert 0.3 < rate[r] < 0.9


def test_no_steps_and_one_component():
    (row,) = experiment.measure(replace(CELL, L=0, replications=1))
    assert row["approximation"] == 0
    assert row["judged"] == 0
    assert row["total"] == row["initial"]
    assert np.isnan(row["step_bound"])
    (row,) = experiment.measure(replace(CELL, K=1, min_weight=1.0, replications=1, L=1))
    assert row["optimisation"] == pytest.approx(0, abs=1e-12)
    assert row["total"] == pytest.approx(row["statistical"], rel=1e-9, abs=0)


def test_separation_constant():
    assert experiment.imbalance(replace(CELL, K=5, min_weight=0.04)) == pytest.approx(6.0, rel=1e-12, abs=0)
    cell = replace(CELL, K=2, min_weight=0.5, separation=3.0)
    assert experiment.separation_constant(cell) == pytest.approx(3 / np.sqrt(np.log(2)), rel=1e-12, abs=0)
    assert experiment.separation_constant(replace(cell, K=1, min_weight=1.0)) == np.inf
