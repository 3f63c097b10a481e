"""Rates: measured exponents with bootstrap confidence intervals, and bounds whose constants are calibrated.

Theorem F.1 (recovered): with probability at least 1 − δ the transformer's error after L steps is

    D ≤ a β^L + (1/(1 − β)) ( c √(K d log(n/δ)/(n π_min)) + ε ).

It names no constant. Here a = 1, the radius of the region of contraction at most; β and c are measured on the cells of
the sweep `calibration`, for each separation; all other cells are held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from jaxtyping import Float
from scipy.stats import t

RESAMPLES = 2000
CONFIDENCE = 0.95
DELTA = 0.01
"""δ of the checked bounds: a cell may miss its bound in this share of its replications."""
FALSE_ALARM = 1e-9
"""Probability, at most, that what is true of a cell, or of an exponent, is called refuted."""


@dataclass(frozen=True)
class Estimate:
    """A measured number, such as an exponent, with the ends of its 95 % interval.

    `margin`: a mean of as many normal variables is further off, to one side, with probability FALSE_ALARM.
    """

    value: float
    low: float
    high: float
    margin: float

    @property
    def least(self) -> float:
        """The number itself is below with probability FALSE_ALARM."""
        return self.value - self.margin

    @property
    def most(self) -> float:
        """The number itself is above with probability FALSE_ALARM."""
        return self.value + self.margin

    def __neg__(self) -> Estimate:
        return Estimate(-self.value, -self.high, -self.low, self.margin)

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def slopes(
    x: Float[np.ndarray, " cells"], errors: Sequence[Float[np.ndarray, " replications"]]
) -> Float[np.ndarray, " replications"]:
    """Least-squares slope of log(error) against log x, replication by replication.

    The same replication of several cells may share its random numbers, so that their errors are not independent;
    different replications are. An error of 0 or less, or none, gives a slope that is not finite.
    """
    centred = np.log(x) - np.log(x).mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        found: np.ndarray = centred @ np.log(np.stack(errors)) / (centred @ centred)
    return found


def exponent(
    x: Float[np.ndarray, " cells"], errors: Sequence[Float[np.ndarray, " replications"]], seed: int = 0
) -> Estimate:
    """The mean slope: that of E log(error) against log x."""
    return interval(slopes(x, errors), seed)


def interval(values: Float[np.ndarray, " replications"], seed: int = 0) -> Estimate:
    """The mean of the values, its percentile bootstrap, and Student's t times its standard error.

    All of them NaN if one of the values is not finite.
    """
    number = len(values)
    if not np.isfinite(values).all():
        return Estimate(nan, nan, nan, nan)
    drawn = values[np.random.default_rng(seed).integers(number, size=(RESAMPLES, number))].mean(axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    error = values.std(ddof=1) / np.sqrt(number)
    return Estimate(float(values.mean()), float(low), float(high), float(quantile(number) * error))


def quantile(number: int) -> float:
    """Standard errors beyond which the mean of so many normal variables lies, to one side, with FALSE_ALARM."""
    return float(t.isf(FALSE_ALARM, number - 1))


def shape(d: float, k: float, n: float, min_weight: float, delta: float = DELTA) -> float:
    """√(K d log(n/δ)/(n π_min)), Theorem F.1's statistical rate."""
    return float(np.sqrt(k * d * np.log(n / delta) / (n * min_weight)))


@dataclass(frozen=True)
class Constants:
    """β and c for one separation."""

    beta: float
    c: float

    def bound(self, rate: float, steps: float, tolerance: float) -> float:
        """β^L + (c·rate + ε)/(1 − β)."""
        return float(self.beta**steps + (self.c * rate + tolerance) / (1 - self.beta))


def calibrate(
    rates: Float[np.ndarray, " rows"], statistical: Float[np.ndarray, " rows"], em_rates: Float[np.ndarray, " rows"]
) -> Constants:
    """β: EM's largest rate; c: the largest (1 − β)·statistical error/rate; over the calibration rows."""
    beta = float(em_rates.max())
    return Constants(beta, float(((1 - beta) * statistical / rates).max()))
