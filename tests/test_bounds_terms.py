"""The one-step bounds, restated from their pages term by term; a term that is dropped, halved or doubled is seen."""

from dataclasses import replace
from functools import partial
from math import exp, expm1, log, log1p, sqrt, tanh

import pytest
from terms import Terms, assert_terms

from constructions import bounds
from constructions.em_class import Approximation, TaskClass, split_tolerance

CLASS = TaskClass(max_dim=3, max_components=5, radius=7.0, min_weight=0.01)
FLOOR = Approximation("floor", log_a=2.0, log_high=0.0, segments=11, radius=1.5, pieces=13)
PAPER = replace(FLOOR, construction="paper", log_high=1.7)


def weights(t: Terms, task_class: TaskClass, a: Approximation) -> float:
    """log(1 + ‖w1‖_F + ‖w2‖_F), both norms as proofs_notes/theorem_f1.md bounds them, unit by unit."""
    d, k, n, pieces = task_class.max_dim, task_class.max_components, a.segments, a.pieces
    r, h, step = (a.log_a + a.log_high) / n, exp(a.log_high), a.radius / a.pieces
    cleared = t("2 rows a cleared coordinate", 2) * (t("w and log_w", 2 * k) + t("mu", d) + t("|mu|^2", 1))
    reading = k * t("n", n) * (t("slopes of log", 1) + t("knots of log", h * h)) + t("the constant log h", k)
    reading += t("2 signs", 2) * d * pieces * (t("slopes of the square", 1) + t("B^2", a.radius**2)) + cleared
    writing = t("A^2 r/2", k * exp(a.log_a) ** 2 * r / 2) + t("last unit", k * (1 + r) ** 2)
    writing += t("log^2 h", k * a.log_high**2) + t("8 d n' eta^2", 8 * d * pieces * step**2) + cleared
    return log(t("norms of the heads", 1) + t("w1", sqrt(reading)) + t("w2", sqrt(writing)))


def test_the_weight_bound_term_by_term():
    """On sizes of one order, so that each term is a part of the whole, and on one of each kind alone."""
    sizes = [FLOOR, PAPER, replace(FLOOR, radius=1e3, pieces=1), replace(FLOOR, segments=1, log_a=30.0)]
    assert_terms(bounds.log_b_theta, weights, [(CLASS, a) for a in sizes], rel=1e-13)


def test_the_weight_bound_where_a_squared_is_out_of_range():
    """log A = 500: A² r/2 is all there is, (log K + 2 log A + log(r/2))/2."""
    a = replace(FLOOR, log_a=500.0)
    assert bounds.log_b_theta(CLASS, a) == pytest.approx((log(5) + 1000 + log(500 / 11 / 2)) / 2, rel=1e-14, abs=0)


def g(r: float) -> float:
    """The largest error of a chord of log of logarithmic length r."""
    s = r / expm1(r)
    return s - 1 - log(s)


def moved_mean(t: Terms, a: Approximation, diameter: float, weight: float, logit_error: float) -> float:
    """The M-step's three shares of the diameter; −log A − c is what the first chord, continued, is at 0."""
    r = (a.log_a + a.log_high) / a.segments
    share = t("logits", tanh(t("U/4", logit_error / 4))) + t("chords", tanh(t("g/4", g(r) / 4)))
    if a.construction == "floor":
        share += t("floor", 1 / (t("1", 1) + t("A", exp(a.log_a)) * exp(t("c", r / expm1(r))) * weight))
    return diameter * share


def test_the_m_step_term_by_term():
    cases = [(a, 7.0, 0.2, u) for a in (FLOOR, PAPER, replace(FLOOR, segments=1)) for u in (0.07, 3.0)]
    assert_terms(bounds.m_step, moved_mean, [*cases, (FLOOR, 1e6, 1e-6, 0.0)])


def test_the_logits_error_term_by_term():
    def restated(t: Terms, a: Approximation, dim: int) -> float:
        chord = a.radius / a.pieces
        return t("g", g((a.log_a + a.log_high) / a.segments)) + t("squares", dim * chord * chord / 8)

    assert_terms(Approximation.logit_error, restated, [(FLOOR, 3), (replace(FLOOR, radius=1e4), 7), (PAPER, 1)])


@pytest.mark.parametrize("construction", ["floor", "paper"])
def test_the_tolerance_is_spent_and_not_exceeded(construction):
    """With diam(X) = 2B and the least weight: at most ε for the mean, and each of the parts most of its share.

    So that no share could be doubled, and none is a hundredth of what it may be.
    """
    for tolerance in (0.01, 0.3):
        a = split_tolerance(CLASS, tolerance, construction)
        spent = bounds.m_step(a, 2 * CLASS.radius, CLASS.min_weight, a.logit_error(CLASS.max_dim))
        assert 0.3 * tolerance < spent <= tolerance
        parts = [CLASS.radius * a.log_error, CLASS.radius * CLASS.max_dim * a.square_error / 4]
        if construction == "floor":
            parts.append(2 * CLASS.radius / (1 + exp(a.log_a) * CLASS.min_weight))
            assert all(0.9 < 3 * part / tolerance <= 1 for part in parts)
        else:
            assert parts[0] <= tolerance / 2
            assert 0.9 < 2 * parts[1] / tolerance <= 1


def tails(t: Terms, name: str, d: float, s: float) -> float:
    """Lemma F.6, Chernoff's bound, and the one with the factor √(2d)/5/(1 + dt(1 + t/2))."""
    if name == "norm_tail":
        return exp(-t("d t^2/2", d * s * s / 2))
    sharp = exp(-d * (t("t^2/2", s * s / 2) + t("t", s) - t("log(1 + t)", log1p(s))))
    if name == "norm_tail_sharp":
        return sharp
    below = t("1", 1) + t("dt", d * s) * (t("1 of the length", 1) + t("t/2", s / 2))
    return sharp * t("sqrt(2d)/5", sqrt(2 * d) / 5) / below


@pytest.mark.parametrize("name", ["norm_tail", "norm_tail_sharp", "norm_tail_prefactor"])
def test_the_norms_tails_term_by_term(name):
    assert_terms(getattr(bounds, name), lambda t, *given: tails(t, name, *given), [(2, 0.5), (7, 1.5), (101, 0.1)])


def test_the_bounds_of_one_term():
    for bound, formula in (
        (bounds.log_ratio, lambda t, x: 2 * t("difference", x)),
        (bounds.softmax_difference, lambda t, x: expm1(2 * t("difference", x))),
        (bounds.softmax_variation, lambda t, x: tanh(t("difference", x) / 2)),
        (bounds.tilt, lambda t, x: tanh(t("log range", x) / 4)),
        (partial(bounds.floor, larger_sum=3.0), lambda t, x: t("difference", x) / 3),
    ):
        assert_terms(bound, formula, [(0.3,), (1.7,)])
