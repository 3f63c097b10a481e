"""The rounding allowance: how it grows, what it counts, when it is infinite."""

from dataclasses import replace
from math import inf, log, log1p, sqrt
from typing import NamedTuple

import numpy as np
import pytest
import torch
from terms import Terms, assert_terms

from constructions import rounding_error
from constructions.em_class import Approximation

UNIT = 2.0**-53


def test_gamma():
    assert rounding_error.gamma(1, UNIT) == UNIT / (1 - UNIT)
    assert rounding_error.gamma(100, UNIT) == pytest.approx(100 * UNIT, rel=200 * UNIT, abs=0)
    assert rounding_error.gamma(64, 2.0**-8) == 1 / 3  # bfloat16
    assert rounding_error.gamma(256, 2.0**-8) == rounding_error.gamma(1e6, 2.0**-8) == inf


def test_rounding_grows_with_the_unit_and_may_be_infinite(rng):
    approximation = Approximation("floor", 9.0, 0.0, 31, 5.0, 13)
    samples, means = rng.standard_normal((23, 3)), rng.standard_normal((5, 3))
    double, single, half = (
        rounding_error.allowance(approximation, samples, means, 0.1, 6.0, dtype)
        for dtype in (torch.float64, torch.float32, torch.bfloat16)
    )
    for name in ("mean", "log_weight"):
        values = [getattr(allowance, name) for allowance in (double, single, half)]
        assert 0 < values[0] < 1e-10
        assert values[0] * 2**28 < values[1] < values[0] * 2**30  # units 2^-53 and 2^-24
        assert values[2] > 1
    many = np.tile(samples, (41, 1))
    assert rounding_error.allowance(approximation, many, means, 0.1, 6.0, torch.bfloat16).mean == inf
    assert rounding_error.allowance(None, samples, means, 0.1, 6.0, torch.float64).mean < double.mean


def test_rounding_counts_copies_that_differ_and_weights_that_underflow(rng):
    approximation = Approximation("floor", 9.0, 0.0, 31, 5.0, 13)
    samples, means = rng.standard_normal((23, 3)), rng.standard_normal((5, 3))

    def allowance(weight: float = 0.1, spread: tuple[float, float] = (0.0, 0.0)) -> rounding_error.Allowance:
        return rounding_error.allowance(approximation, samples, means, weight, 6.0, torch.float64, spread)

    x, m = (np.linalg.norm(points, axis=1).max() for points in (samples, means))
    for spread, least in (((1e-3, 0.0), (x + m) * 1e-3), ((0.0, 1e-3), 1e-3)):
        # An error of the scores moves a log weight by twice as much.
        assert 2 * least <= allowance(spread=spread).log_weight - allowance().log_weight <= 4 * least
    assert allowance(1e-300).log_weight > 1e-8 > allowance(1e-290).log_weight  # N·tiny/π
    assert allowance(0.0).mean == allowance(0.0).log_weight == inf


def test_the_paper_construction_pays_for_responsibilities_below_its_floor(rng):
    """A quarter of what a log responsibility may be off, times the diameter, on top of what `floor` is allowed."""
    samples, means = rng.standard_normal((23, 3)), rng.standard_normal((5, 3))
    floor, paper = (
        rounding_error.allowance(Approximation(name, 9.0, 0.0, 31, 5.0, 13), samples, means, 0.1, 6.0, torch.float64)
        for name in ("floor", "paper")
    )
    eta = floor.log_weight - 2 * rounding_error.gamma(2 * 23 + 80, 2.0**-53)
    assert paper.log_weight == floor.log_weight
    assert paper.mean - floor.mean == pytest.approx(6.0 * eta / 4, rel=1e-6, abs=0)


FLOOR = Approximation("floor", 9.0, 0.0, 31, 5.0, 13)


class Case(NamedTuple):
    """What an allowance is a function of; by default nothing is large."""

    approximation: Approximation | None = FLOOR
    farthest: float = 0.5  # X
    longest: float = 0.25  # M
    weight: float = 0.1
    diameter: float = 1.5
    dtype: torch.dtype = torch.float64
    spread: tuple[float, float] = (0.0, 0.0)
    count: int = 7
    dim: int = 3

    def code(self) -> tuple[float, float]:
        """The allowance for samples and means of which one each is not 0."""
        samples, means = np.zeros((self.count, self.dim)), np.zeros((2, self.dim))
        samples[-1, :2], means[1, :2] = (
            (-0.6 * self.farthest, 0.8 * self.farthest),
            (0.8 * self.longest, 0.6 * self.longest),
        )
        found = rounding_error.allowance(
            self.approximation, samples, means, self.weight, self.diameter, self.dtype, self.spread
        )
        return found.mean, found.log_weight

    def formula(self, t: Terms) -> tuple[float, float]:
        """Sections 1 to 7 of proofs_notes/rounding.md, "Code" wherever it differs from "Needed"."""
        u, tiny = (2.0**-53, 2.0**-1022) if self.dtype == torch.float64 else (2.0**-24, 2.0**-126)

        def gamma(n: float) -> float:
            return n * u / (1 - n * u)

        x, m, log_pi, a = self.farthest, self.longest, -log(self.weight), self.approximation
        sigma = gamma(2 * t("N in sigma", self.count) + t("80", 80))
        of_log = t("exp in rho_log", 32 * u) + t("log pi in rho_log", log_pi * u)
        of_square = between = 0.0
        stored = log_pi
        if a is not None:
            r, h = (a.log_a + a.log_high) / a.segments, a.radius / a.pieces
            stored = max(t("log A stored", a.log_a + 1), log_pi)
            chords = a.log_a + t("1 of m", 1) + 2 * t("log high", a.log_high)
            knots = t("knots", 5 * u * max(a.log_a + 1, log_pi)) + t("exp of knots", 32 * u)
            of_log += t("chords of log", gamma(a.segments + t("6", 6)) * chords)
            of_log += t("knots of log", 4 * knots * (t("1 of 1 + r", 1) + t("r of 1 + r", r)))
            squares = t("M^2 of squares", m * m) + t("d delta_sq", self.dim * h * h / 4)
            of_square = t("pieces", gamma(self.dim * a.pieces + t("8", 8)) * squares) + t("16u", 16 * u * squares)
            apart, logs = self.spread
            slope = t("X of copies", x) + t("M of copies", m) + t("copies", apart)
            between = apart * (slope + t("half a chord", h * sqrt(self.dim) / 2))
            between += t("log pi of copies", logs) * (1 + t("r of copies", r))
        size = t("XM", x * m) + t("log in S", stored) + t("M^2 in S", m * m) + t("1 in S", 1)
        score = t("rounding of a score", gamma(self.dim + t("3", 3)) * size) + t("rho_log in E", of_log)
        score += t("rho_sq in E", of_square / 2) + t("copies in E", between)
        eta = 2 * t("E", score) + t("4uS", 4 * u * size) + t("two exp", 2 * 32 * u) + t("sigma in eta", sigma)
        compared = 2 * t("S compared", size) if a is None else 2 * t("log A compared", stored) + t("2", 2)
        zeta = t("rho_log in zeta", of_log) + t("compared", u * compared) + t("exp in zeta", 32 * u)
        lost = self.count * tiny / self.weight
        mean = self.diameter * (t("eta", eta / 2) + t("zeta", zeta / 2) + t("underflow of the mean", lost))
        mean += t("sums", 3 * sigma * x)
        if a is None:
            mean += x * u * (t("log pi of the total", log_pi) + t("log N of the total", log(self.count)))
        elif a.construction == "paper":
            mean += t("paper", self.diameter * eta / 4)
        return mean, eta + t("sums of the weights", 2 * sigma) - t("underflow of a weight", log1p(-lost))


CASES = [
    Case(),
    Case(farthest=1e6, longest=1e-3, diameter=1e-3),  # data far from the origin, close together
    Case(farthest=1e3, longest=1e3, diameter=2e3),
    Case(longest=1e4),
    Case(replace(FLOOR, log_a=600.0)),
    Case(replace(FLOOR, log_a=300.0, segments=1)),  # one huge chord of log
    Case(replace(FLOOR, log_a=9.0, log_high=500.0)),
    Case(replace(FLOOR, segments=10**6)),
    Case(replace(FLOOR, radius=1e5, pieces=1)),  # one huge chord of the square
    Case(replace(FLOOR, pieces=10**6), longest=1e3),
    Case(replace(FLOOR, radius=1e4, pieces=1), spread=(1e-9, 0.0)),
    Case(farthest=1e4, spread=(1e-6, 0.0)),
    Case(longest=1e4, spread=(1e-6, 0.0)),
    Case(spread=(1.0, 0.0)),
    Case(replace(FLOOR, log_a=300.0, segments=1), spread=(0.0, 1e-3)),
    Case(spread=(0.0, 1e-3)),
    Case(weight=1e-300),
    Case(weight=1e-290, dim=97),
    Case(count=100_003),
    Case(replace(FLOOR, construction="paper", log_high=9.0)),
    Case(dtype=torch.float32, count=1009, dim=5, farthest=7.0, longest=3.0, diameter=11.0),
    Case(None),
    Case(None, weight=1e-100, farthest=1e6, longest=1e-6, diameter=1e-9),  # what a total's logarithm costs
    Case(None, longest=1e3, farthest=1e3),
    Case(None, count=100_003, dim=2),
]


def test_the_allowance_term_by_term():
    """Every term of the derivation alone decides on one of the cases, so that none can be dropped."""
    assert_terms(Case.code, lambda t, case: case.formula(t), [(case,) for case in CASES])
