"""Bootstrap intervals against the exact bootstrap distribution, and their coverage where it is known."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from itertools import combinations
from math import lgamma

import numpy as np
import pytest
from scipy import stats

from tgmm import bootstrap
from tgmm.bootstrap import Interval

ALPHA = 1e-8
Z = stats.norm.ppf(0.975)
FIRST = np.array([0.1, 0.3, 0.35, 0.5, 0.9, 1.1, 6.0])
SECOND = np.array([1.3, 0.9, 1.7, 1.1, 1.2, 2.9, 3.7])


def mean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a - b


def ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a / b


def measured(function: Callable[..., np.ndarray], a: np.ndarray, b: np.ndarray, seed: int = 0) -> Interval:
    """The interval whose statistic is this function of the two means."""
    if function is mean:
        return bootstrap.mean(a, seed)
    return {difference: bootstrap.difference, ratio: bootstrap.ratio}[function](a, b, seed)


def compositions(total: int) -> np.ndarray:
    """All ways to draw `total` times from as many tasks: how often each is drawn."""
    bars = np.array(list(combinations(range(2 * total - 1), total - 1)))
    edges = np.pad(bars, ((0, 0), (1, 1)), constant_values=((0, 0), (-1, 2 * total - 1)))
    return np.diff(edges, axis=1) - 1


@pytest.mark.parametrize("function", [mean, difference, ratio])
def test_ends_are_bca_quantiles_of_the_exact_bootstrap_distribution(function, monkeypatch):
    """All 1 716 resamples of 7 skewed tasks with their probabilities; BCa as Efron and Tibshirani (1993, 14.3) have it.

    P(θ* ≤ end) differs from its level by the atom at the end, by 5.7 standard errors of R resamples, and by what the
    bias correction z_0 does to the level: it has the same standard errors, and rounding decides on which side of the
    estimate the resamples count that equal it.
    """
    monkeypatch.setattr(bootstrap, "RESAMPLES", 500_000)
    counts = compositions(7)
    probability = np.exp([lgamma(8) - sum(lgamma(c + 1) for c in row) - 7 * np.log(7) for row in counts])
    assert probability.sum() == pytest.approx(1, rel=1e-12, abs=0)
    resampled = function(counts @ FIRST / 7, counts @ SECOND / 7)
    value = function(FIRST.mean(), SECOND.mean())
    equal = probability[np.abs(resampled - value) <= 1e-12].sum()
    below = probability[resampled < value - 1e-12].sum() + equal / 2
    bias = stats.norm.ppf(below)
    left_out = function(*((sample.sum() - sample) / 6 for sample in (FIRST, SECOND)))
    deviation = left_out.mean() - left_out
    acceleration = (deviation**3).sum() / (6 * (deviation**2).sum() ** 1.5)
    found = measured(function, FIRST, SECOND, 5)
    assert found.value == pytest.approx(value, rel=1e-14, abs=0)
    sigmas = stats.norm.isf(ALPHA / 2) / np.sqrt(500_000)
    for end, z in ((found.low, -Z), (found.high, Z)):
        stretch = 1 - acceleration * (bias + z)
        level = stats.norm.cdf(bias + (bias + z) / stretch)
        slope = (1 + stretch**-2) * stats.norm.pdf(stats.norm.ppf(level)) / stats.norm.pdf(bias)
        tolerance = sigmas * np.sqrt(level * (1 - level)) + slope * (sigmas * np.sqrt(below * (1 - below)) + equal / 2)
        reached = [probability[resampled <= end + slack].sum() for slack in (-1e-9, 1e-9)]
        assert reached[0] - tolerance <= level <= reached[1] + tolerance
        assert abs(level - stats.norm.cdf(z)) > 2 * tolerance  # plain percentiles would not do


def normal_pairs(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Means 3 and 7 and a common part, which only pairs take out."""
    common = rng.standard_normal(size)
    return 3 + 0.3 * common + 0.1 * rng.standard_normal(size), 7 + 0.7 * common + 0.1 * rng.standard_normal(size)


@pytest.mark.parametrize(("function", "truth"), [(mean, 3.0), (difference, -4.0), (ratio, 3 / 7)])
def test_intervals_cover_as_often_as_they_should(function, truth, monkeypatch):
    """Of 200 intervals of 31 normal tasks each, a number that Binomial(200, coverage) has 1e-6 of the time, or more.

    An interval of 1.96 bootstrap standard errors, s √(30/31)/√31, covers with P(|t_30| ≤ 1.96 √(30/31)) = 0.937.
    1 000 resamples put an end's level off by 0.005, what is not linear by O(1/n): together 0.02 of coverage at most.
    The widths' average, of which s²·30/σ² is χ²_30, has the standard error 1/√(2·30·200) = 0.9 %: 5.7 of them, and
    1 % for the levels.
    """
    monkeypatch.setattr(bootstrap, "RESAMPLES", 1000)
    rng = np.random.default_rng(37)
    covered, halves = 0, []
    for seed in range(200):
        a, b = normal_pairs(rng, 31)
        found = measured(function, a, b, seed)
        covered += found.low <= truth <= found.high
        halves.append((found.high - found.low) / 2)
    coverage = 1 - 2 * stats.t.sf(Z * np.sqrt(30 / 31), 30)
    assert stats.binom.ppf(5e-7, 200, coverage - 0.02) <= covered <= stats.binom.isf(5e-7, 200, coverage + 0.02)
    # first order: a ratio's error is that of (a − b·truth)/7
    spread = {mean: np.hypot(0.3, 0.1), difference: np.sqrt(0.4**2 + 2 * 0.1**2), ratio: np.hypot(1, 3 / 7) * 0.1 / 7}
    expected = Z * spread[function] * stats.chi(30).mean() / 31
    assert np.mean(halves) == pytest.approx(expected, rel=0.06, abs=0)


def test_the_seed_determines_the_interval(rng):
    values = rng.exponential(size=101)
    assert bootstrap.mean(values, 3) == bootstrap.mean(values, 3)
    assert bootstrap.mean(values, 3) != bootstrap.mean(values, 4)
    assert bootstrap.mean(values) == bootstrap.mean(values, 0)


def test_ends_hardly_depend_on_the_seed(rng):
    """In standard errors of the mean, of 5 000 resamples: 0.038 from the quantile, 2·0.018 from the bias correction.

    Over 11 seeds a standard deviation of 2.5 times their sum has probability P(χ²_10 > 62.5) = 1e-9.
    """
    values = rng.standard_normal(101)
    found = [bootstrap.mean(values, seed) for seed in range(11)]
    ends = np.array([[interval.low, interval.high] for interval in found])
    assert (ends.std(axis=0, ddof=1) < 2.5 * (0.038 + 2 * 0.018) * values.std() / np.sqrt(101)).all()


def test_the_interval_does_not_depend_on_how_much_is_held_at_once(rng, monkeypatch):
    a, b = rng.exponential(size=(2, 101))
    first = bootstrap.ratio(a, b)
    monkeypatch.setattr(bootstrap, "AT_ONCE", 1009)
    assert bootstrap.ratio(a, b) == first


def test_memory_is_bounded(rng):
    """5 000 × 2 003 numbers are 80 MB."""
    a, b = rng.exponential(size=(2, 2003))
    tracemalloc.start()
    bootstrap.ratio(a, b)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32e6


def test_tasks_with_a_nan_are_left_out_and_counted(rng):
    a, b = rng.exponential(size=(2, 19))
    missing, other = a.copy(), b.copy()
    missing[[2, 7]], other[[7, 11]] = np.nan, np.nan
    kept = np.setdiff1d(np.arange(19), [2, 7, 11])
    for of in (bootstrap.ratio, bootstrap.difference):
        found, expected = of(missing, other), of(a[kept], b[kept])
        assert (found.tasks, found.excluded) == (16, 3)
        assert (found.value, found.low, found.high) == (expected.value, expected.low, expected.high)
    found = bootstrap.mean(missing)
    assert (found.tasks, found.excluded) == (17, 2)
    assert str(found).endswith("], 2 of 19 tasks excluded")
    assert str(Interval(0.12345, 0.1, 2.0, 19, 0)) == "0.1235 [0.1, 2]"


def test_without_variation_the_interval_is_a_point():
    assert bootstrap.mean(np.full(7, 0.25)) == Interval(0.25, 0.25, 0.25, 7, 0)
    assert bootstrap.ratio(SECOND / 4, SECOND) == Interval(0.25, 0.25, 0.25, 7, 0)
    assert bootstrap.difference(SECOND, SECOND) == Interval(0.0, 0.0, 0.0, 7, 0)


def test_an_infinite_value_makes_the_mean_infinite():
    infinite = np.array([1.0, np.inf, 2.0])
    assert bootstrap.mean(infinite) == Interval(np.inf, np.inf, np.inf, 3, 0)
    assert bootstrap.ratio(-infinite, np.ones(3)) == Interval(-np.inf, -np.inf, -np.inf, 3, 0)
    undefined = bootstrap.difference(infinite, infinite)
    assert np.isnan([undefined.value, undefined.low, undefined.high]).all()
    assert undefined.tasks == 3


def test_too_few_tasks_have_no_interval():
    one, none = bootstrap.mean(np.array([3.0, np.nan])), bootstrap.mean(np.full(5, np.nan))
    assert (one.value, one.tasks, one.excluded) == (3.0, 1, 1)
    assert np.isnan([one.low, one.high]).all()
    assert (none.tasks, none.excluded) == (0, 5)
    assert np.isnan([none.value, none.low, none.high]).all()
