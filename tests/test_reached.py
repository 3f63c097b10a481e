"""The points at which stored suprema were reached: evaluated anew within rounding, and what is off by more is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from terms import Terms, assert_terms

from constructions import reordered_sums
from constructions.algorithms.population_em import NODES, REACH
from constructions.concentration_bounds import Region
from constructions.rounding_error import allowance, gamma
from theory_checks import concentration, reached
from theory_checks.concentration import Points, exact_moments
from theory_checks.reached import Reached
from theory_checks.test_lemma_f2 import reproduced
from theory_checks.uniform_deviations import OBJECTIVES, POINTS, SEED, Cell, Measured, draw, measure, read

KEPT = [m for m in read().measured if m.points]
SMALL = [next(m for m in KEPT if m.cell.quantity == quantity) for quantity in OBJECTIVES]
NUDGE = 2.0**-30
"""Relative: 2²³ times what rounding does to data."""


def test_every_calibration_cell_keeps_its_first_points() -> None:
    assert [m.cell for m in KEPT] == [m.cell for m in read().measured if m.cell.part == "calibration"]
    assert {len(m.points) for m in KEPT} == {POINTS}


@pytest.mark.parametrize("stored", KEPT, ids=lambda m: m.cell.name)
def test_stored_values_are_those_of_their_points(stored: Measured) -> None:
    """In this order of the sums and in another, which gives other values, within 1e-7 of the values themselves."""
    with reordered_sums.applied(False):
        assert reproduced(stored, SEED).outcome == "holds"
        plain = again(stored)
    with reordered_sums.applied():
        assert reproduced(stored, SEED).outcome == "holds"
        assert any(one != other for one, other in zip(plain, again(stored), strict=True))
    samples, _ = draw(stored.cell, SEED)
    for x, point, value in zip(samples, stored.points, stored.values, strict=False):
        assert reached.allowed(x, stored.cell.region, stored.cell.quantity, point) < 1e-7 * value


def again(stored: Measured) -> list[float]:
    samples, _ = draw(stored.cell, SEED)
    objective = OBJECTIVES[stored.cell.quantity]
    return [reached.value(x, stored.cell.region, objective, p) for x, p in zip(samples, stored.points, strict=False)]


@pytest.mark.parametrize("stored", SMALL, ids=lambda m: m.cell.quantity)
def test_a_value_is_compared(stored: Measured) -> None:
    """Half of what is allowed is no difference; twice of it is one, told with what was measured, stored and allowed."""
    place, (samples, _) = 3, draw(stored.cell, SEED)
    measured = again(stored)[place]
    limit = reached.allowed(samples[place], stored.cell.region, stored.cell.quantity, stored.points[place])
    for share, outcome in ((0.5, "holds"), (-0.5, "holds"), (2.0, "refuted"), (-2.0, "refuted"), (np.nan, "refuted")):
        values = stored.values.copy()
        values[place] = measured + share * limit
        found = reproduced(replace(stored, values=values), SEED)
        assert found.outcome == outcome, share
        if outcome == "refuted":
            told = f"measured {measured!r}, stored {float(values[place])!r}, allowed difference {limit:.3g}"
            assert found.instance.endswith(f"replication {place} {told}")


def restated(t: Terms, samples: np.ndarray, region: Region, quantity: str, point: Reached) -> float:
    """The docstring of `reached`, term by term."""
    u, truth, d = 2.0**-53, region.truth, samples.shape[1]
    lightest = point.weights.min()
    a = allowance(None, samples, point.means, lightest, 1.0, torch.float64).log_weight
    about, first = point.means - point.means[0], np.linalg.norm(point.means[0])
    node = t("farthest mean from a node", norms(truth.means - point.means[0])) + t("reach of nodes", REACH)
    size = t("XM'", node * norms(about)) + t("M'^2", norms(about) ** 2)
    size += t("log weight", abs(np.log(lightest))) + t("1", 1.0)
    quadrature = t("scores", 2 * gamma(4 * d + 48, u) * size) + t("exponentials", 64 * u)
    quadrature += t("sums", 3 * gamma(2 * NODES + 80, u))
    x = max(t("samples", norms(samples)), node + t("first mean", first))
    e = t("sample", a) + quadrature + t("data", 8 * u * x * norms(point.means)) + t("last operations", 8 * u)
    scale = {"w": 1.0, "moment": x + t("M", norms(truth.means))}.get(quantity, 0.0)
    if quantity == "step":
        at = Points(point.weights[None, None], point.means[None, None])
        shares = [m.weights.min() for m in exact_moments(samples[None], truth, at, truth)]
        scale = t("quotient", 3 / min(*shares, truth.weights.min())) * (x + t("M", norms(truth.means)))
    return float(2 * scale * e)


def norms(rows: np.ndarray) -> float:
    return float(np.linalg.norm(rows, axis=1).max())


def test_every_term_of_the_allowance_is_seen() -> None:
    """On a cell of the file for each quantity, and on data 25 times as far out, beyond all nodes."""
    instances = []
    for stored in SMALL:
        (samples, *_), _ = draw(stored.cell, SEED)
        for far in (1.0, 25.0):
            instances.append((far * samples, stored.cell.region, stored.cell.quantity, stored.points[0]))
    assert_terms(reached.allowed, restated, instances, rel=1e-11)


def test_other_data_other_points_and_none_are_refused() -> None:
    (stored, *_) = SMALL
    assert "allowed difference" in reproduced(stored, SEED + 1).instance
    assert "the file holds no points" in reproduced(replace(stored, points=()), SEED).instance
    truth, radius = stored.cell.region.truth, stored.cell.region.radius
    at = stored.points[0]
    for point in (
        replace(at, means=truth.means + (1 + 1e-12) * radius * np.eye(2, truth.means.shape[1])),
        replace(at, weights=truth.weights * [1.5 + 1e-12, 1.0]),
        replace(at, weights=truth.weights * [0.5 - 1e-12, 1.0]),
        replace(at, means=truth.means + np.nan),
    ):
        found = reproduced(replace(stored, points=(point, *stored.points[1:])), SEED)
        assert found.outcome == "refuted"
        assert "outside the region" in found.instance


def test_the_edge_of_the_region_is_inside() -> None:
    """Up to rounding: points of climbs are normalised and scaled."""
    assert 0 < max(reached.outside(m.cell.region, point) for m in KEPT for point in m.points) <= 1


def test_the_largest_target_of_each_data_set_is_kept() -> None:
    values = np.array([[0.1, 0.3, 0.2], [0.5, 0.4, 0.1], [0.0, 0.0, 1.0]])
    points = concentration.Points(np.arange(18.0).reshape(3, 3, 2), np.arange(36.0).reshape(3, 3, 2, 2))
    population = concentration.Moments(torch.zeros(1), torch.zeros(1))
    kept = reached.largest(concentration.Found(values, points, population), 2)
    assert [point.target for point in kept] == [1, 0]
    assert kept[0].weights.tolist() == [2, 3]
    assert kept[1].means.tolist() == [[12, 13], [14, 15]]


def test_the_allowance_is_for_two_components() -> None:
    region, point = Cell("n", "w", 3, 1, 5, 4.0, 0.2).region, Reached(0, np.full(3, 1 / 3), np.zeros((3, 1)))
    with pytest.raises(ValueError, match="for two components, not for 3"):
        reached.allowed(np.zeros((5, 1)), region, "w", point)


def test_the_climb_finds_what_the_file_holds() -> None:
    """Within what it finds on data that differ by 2²³ times what rounding does to them; one step less is beyond."""
    stored = SMALL[0]
    fresh, (samples, rng) = measure(stored.cell), draw(stored.cell, SEED)
    state = rng.bit_generator.state
    objective = OBJECTIVES[stored.cell.quantity]
    nudged = concentration.suprema(samples * (1 + NUDGE), stored.cell.region, objective, rng).values.max(axis=1)
    within = np.abs(nudged - fresh).max()
    assert 0 < np.abs(fresh - stored.values).max() <= within or (fresh == stored.values).all()
    rng.bit_generator.state = state
    shorter = concentration.suprema(samples, stored.cell.region, objective, rng, steps=13).values.max(axis=1)
    assert np.abs(shorter - stored.values).max() > within
