"""One normalised step's bound restated from proofs_notes/remark_g2.md; a term dropped, halved or doubled is seen."""

from dataclasses import replace
from math import exp, log

import numpy as np
import pytest
import torch
from terms import Terms, assert_terms

from constructions import direction_bound, tensor_power_bounds
from constructions.direction_bound import DirectionBound, inverse_norm_rounding, normalised_step
from constructions.normalisation import Normalisation

SINGLE, REFERENCE = 2.0**-24, 2.0**-20
RANGE = Normalisation(low=0.5, high=2.0, segments=53, pieces=211)


@pytest.fixture(autouse=True)
def _coarse_reference(monkeypatch):
    """As if the reference ran in a format of 20 bits: what its own rounding adds is then no rounding of the test's."""
    for module in (direction_bound, tensor_power_bounds):
        monkeypatch.setattr(module, "REFERENCE_UNIT", REFERENCE)


def gamma(n: float, u: float) -> float:
    return n * u / (1 - n * u)


def relative(t: Terms, range_: Normalisation, d0: int, u: float) -> float:
    """What rounding does to ρ(Σ_a φ(y_a)), relative to it."""
    r = 2 * log(2 * range_.high / range_.low) / range_.segments
    largest = max(abs(log(range_.low**2 / 2)), abs(log(2 * range_.high**2)))
    steepest = exp(r) / (exp(r / 2) + 1)
    terms = t("d_0 n'", d0 * range_.pieces) if range_.squares == "network" else t("2 d_0", 2 * d0)
    squares = t("sum of squares", gamma(terms + t("8", 8), u)) + t("16u", 16 * u)
    found = squares * max(1.0, t("steepest", steepest))
    found += t("sum of rho", gamma(range_.segments + t("6", 6), u))
    found += t("6 Lambda", 6 * largest * u) + t("1.5 r", 1.5 * r * u) + t("105", 105 * u)
    moved = t("3 Lambda", 3 * largest * u) + t("34", 34 * u)
    return found + t("knots", moved) + t("knots, steepest", steepest * moved)


def test_the_rounding_of_the_inverse_norm_term_by_term():
    ranges = [replace(RANGE, segments=n, squares=kind) for n in (53, 1) for kind in ("network", "attention")]
    instances = [(range_, d0, u) for range_ in [*ranges, replace(RANGE, low=1e-3)] for d0 in (5, 1) for u in (SINGLE,)]
    assert_terms(inverse_norm_rounding, relative, instances)


def restated(t: Terms, before: DirectionBound, tensor, r, spread, d0, u, perturbation) -> list[float]:
    """(direction, least norm, largest norm) after one step from before."""
    d, y = len(r), np.einsum("ajm,j,m->a", tensor, r, r)
    size, unit = np.linalg.norm(y), y / np.linalg.norm(y)
    first, second = np.einsum("ajm,m->aj", tensor, r), np.einsum("ajm,j->am", tensor, r)
    frobenius, absolute = np.sqrt((tensor**2).sum()), np.einsum("ajm,j,m->a", abs(tensor), abs(r), abs(r))
    magnitude = np.sqrt((absolute**2).sum())
    e = t("direction before", before.direction) + t("spread", spread)
    e_s = t("e in e_s", e) + t("scalar", gamma(d0 + t("1 of d_0 + 1", 1), u) * (t("of 1", 1) + t("of e", e)))
    moved = t("of e in a product", e) + t("of e_s in a product", e_s) + t("of both in a product", e * e_s)
    rounding = gamma(t("3 d_0", 3 * d0) + t("2", 2), u) * (t("of |T|", magnitude) + frobenius * moved)
    rounding += t("reference", gamma(d**2 + d + 8, REFERENCE) * magnitude) + t("second order", frobenius * e * e_s)
    rounding += t("another tensor", perturbation) * (1 + t("e of another", e)) * (1 + t("e_s of another", e_s))

    def norm(matrix):
        return np.linalg.svd(matrix, compute_uv=False)[0]

    def across(matrix):
        return matrix - np.outer(unit, unit @ matrix)

    off = t("first", norm(first) * e) + t("second", norm(second) * e_s) + t("rounding", rounding)
    product = gamma(d0 + t("3", 3), u) * (t("size in a product", size) + t("off in a product", off))
    turned = t("first across", norm(across(first)) * e) + t("second across", norm(across(second)) * e_s)
    turned += t("rounding across", rounding) + t("product across", product)
    off += t("product", product)
    direction = turned / (size - t("off", off)) * (1 + t("own", gamma(4 * d**2 + 40, REFERENCE)))
    direction += t("normalised", gamma(d + 5, REFERENCE))
    wrong = t("2 off", 2 * off / (size - t("off of the norm", off)))
    wrong += t("inverse norm", relative(Terms(), RANGE, d0, u)) + t("product of the norm", gamma(d0 + 3, u))
    below, above = (t(side, error) for side, error in zip(("below", "above"), RANGE.norm_errors(d), strict=True))
    return [direction, (1 - below) * (1 - t("too short", wrong)), (1 + above) * (1 + t("too long", 2 * wrong))]


def test_every_term_of_a_step_is_seen(rng):
    """In float32: from an exact vector, where rounding is all; from one that is off; copies apart; another tensor."""
    tensor, r = rng.standard_normal((3, 3, 3)), np.array([2.0, -3.0, 6.0]) / 7
    tensor /= np.linalg.norm(np.einsum("ajm,j,m->a", tensor, r, r))
    exact, near = DirectionBound(0.0, 1.0, 1.0), DirectionBound(0.002, 0.95, 1.05)
    given = [(exact, 0.0, 0.0), (near, 0.0, 0.0), (near, 0.003, 0.0), (exact, 0.001, 0.0), (near, 0.003, 0.002)]

    def stated(before, tensor, r, spread, d0, u, perturbation) -> list[float]:
        made = normalised_step(before, tensor, r, spread, RANGE, d0, torch.float32, perturbation)
        return [made.direction, made.norm_low, made.norm_high]

    instances = [(before, tensor, r, spread, 5, SINGLE, other) for before, spread, other in given]
    assert np.isfinite([stated(*instance) for instance in instances]).all()
    assert_terms(stated, restated, instances)


def test_the_distance_term_by_term():
    def distance(t: Terms, bound: DirectionBound) -> float:
        return t("turned", bound.norm_high * bound.direction) + max(
            t("short", 1 - bound.norm_low), t("long", bound.norm_high - 1)
        )

    bounds = [DirectionBound(0.25, 0.9, 1.0), DirectionBound(0.25, 0.99, 1.05)]
    assert_terms(lambda bound: bound.distance, distance, [(bound,) for bound in bounds])
