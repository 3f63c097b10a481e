"""Rates: measured exponents with bootstrap confidence intervals, and bounds whose constants are calibrated.

Theorem F.1 (recovered): with probability at least 1 − δ the transformer's error after L steps is

    D ≤ a β^L + (1/(1 − β)) ( c √(K d log(n/δ)/(n π_min)) + ε ).

It names no constant. Here a = 1, the radius of the region of contraction at most; β and c are measured on the cells of
the sweep `calibration`, for each separation; all other cells are held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import binom

RESAMPLES = 2000
CONFIDENCE = 0.95
DELTA = 0.01
"""δ of the checked bound: a cell may miss it in as many replications as chance allows."""
FALSE_ALARM = 1e-9
"""Probability, at most, that a cell with failure probability δ is called a failure."""


@dataclass(frozen=True)
class Estimate:
    """A measured number, such as an exponent, with the ends of its 95 % interval, 1.96 standard errors away."""

    value: float
    low: float
    high: float

    @property
    def least(self) -> float:
        """Below it only with a probability below 1e-6: 4.9 standard errors under the value."""
        return self.value - 2.5 * (self.value - self.low)

    @property
    def most(self) -> float:
        """Above it only with a probability below 1e-6."""
        return self.value + 2.5 * (self.high - self.value)

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def exponent(
    x: Float[np.ndarray, " cells"], errors: Sequence[Float[np.ndarray, " replications"]], seed: int = 0
) -> Estimate:
    """Least-squares slope of E log(error) against log x, and its percentile bootstrap over replications.

    Cells count alike, however many replications they have; every cell is resampled by itself. All errors are positive.
    """
    rng = np.random.default_rng(seed)
    centred = np.log(x) - np.log(x).mean()
    weights = centred / (centred @ centred)
    logs = [np.log(cell) for cell in errors]
    drawn = sum(
        weight * cell[rng.integers(len(cell), size=(RESAMPLES, len(cell)))].mean(axis=1)
        for weight, cell in zip(weights, logs, strict=True)
    )
    return _estimate(sum(weight * cell.mean() for weight, cell in zip(weights, logs, strict=True)), drawn)


def interval(values: Float[np.ndarray, " replications"], seed: int = 0) -> Estimate:
    """The mean of the values, and its percentile bootstrap."""
    drawn = values[np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))]
    return _estimate(values.mean(), drawn.mean(axis=1))


def _estimate(value: float, resampled: Float[np.ndarray, " resamples"]) -> Estimate:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Estimate(float(value), float(low), float(high))


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


def excess_failures(misses: int, replications: int, delta: float = DELTA) -> bool:
    """Whether so many misses contradict a failure probability of δ: P(Binomial(·, δ) ≥ misses) < FALSE_ALARM."""
    return bool(misses > 0 and binom.sf(misses - 1, replications, delta) < FALSE_ALARM)
