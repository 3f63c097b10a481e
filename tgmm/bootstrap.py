"""95 % bootstrap intervals over tasks: of a mean, and of the ratio and the difference of two means (paired).

The intervals are BCa (bias-corrected and accelerated; Efron 1987) and not plain percentiles: the errors of an
estimator are skewed, since a few tasks lose a component, and percentiles ignore the skewness that BCa corrects to
second order. Its jackknife takes time quadratic in the number of tasks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

import numpy as np
import scipy.stats
from jaxtyping import Float

RESAMPLES = 5000
"""An end's level then has the standard error √(0.025·0.975/5000) = 0.0022: of the end, 2 % of half the width."""
CONFIDENCE = 0.95
AT_ONCE = 500_000
"""Resampled values held at a time; the interval does not depend on it."""

Values = Float[np.ndarray, " tasks"]


@dataclass(frozen=True)
class Interval:
    """A statistic of the tasks, the ends of its 95 % interval, how many tasks it is of and how many NaN left out."""

    value: float
    low: float
    high: float
    tasks: int
    excluded: int

    def as_list(self) -> list[float | None]:
        """Value, low and high; None, as JSON has no NaN and no infinity, where one is not finite."""
        return [each if isfinite(each) else None for each in (self.value, self.low, self.high)]

    def __str__(self) -> str:
        text = f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"
        return f"{text}, {self.excluded} of {self.tasks + self.excluded} tasks excluded" if self.excluded else text


def mean(values: Values, seed: int = 0) -> Interval:
    """The mean over tasks."""
    return _interval(np.mean, seed, values)


def difference(first: Values, second: Values, seed: int = 0) -> Interval:
    """The mean of `first` less the mean of `second`, over the same tasks: whole pairs are resampled."""
    return _interval(lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis), seed, first, second)


def ratio(numerator: Values, denominator: Values, seed: int = 0) -> Interval:
    """The mean of `numerator` over the mean of `denominator`, over the same tasks: whole pairs are resampled.

    The ends are NaN when some resamples have the ratio 0/0.
    """
    return _interval(lambda a, b, axis: a.mean(axis=axis) / b.mean(axis=axis), seed, numerator, denominator)


def _interval(statistic: Callable[..., np.ndarray], seed: int, *samples: Values) -> Interval:
    """`statistic` of the tasks without NaN. Of fewer than two tasks both ends are NaN.

    A statistic that an infinite value makes infinite or NaN is so on the whole population too (what occurs has a
    positive probability), so both ends are that number.
    """
    pairs = np.stack(samples)
    kept = pairs[:, ~np.isnan(pairs).any(axis=0)]
    tasks = kept.shape[1]
    excluded = pairs.shape[1] - tasks
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", scipy.stats.DegenerateDataWarning)
        value = float(statistic(*kept, axis=0)) if tasks else float("nan")
        if tasks < 2:
            return Interval(value, float("nan"), float("nan"), tasks, excluded)
        if not np.isfinite(value):
            return Interval(value, value, value, tasks, excluded)
        found = scipy.stats.bootstrap(
            tuple(kept),
            statistic,
            n_resamples=RESAMPLES,
            batch=max(AT_ONCE // tasks, 1),
            vectorized=True,
            paired=len(kept) > 1,
            confidence_level=CONFIDENCE,
            method="BCa",
            rng=np.random.default_rng(seed),
        )
    low, high = found.confidence_interval
    if np.isnan(low) or np.isnan(high):  # no variation, so no acceleration: percentiles
        low, high = np.quantile(found.bootstrap_distribution, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(value, float(low), float(high), tasks, excluded)
