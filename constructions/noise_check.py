"""Do samples lie around estimated means as unit noise does?"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

UNIT = 0.5, 2.0
"""Between what an estimated variance of the noise counts as 1."""
CHANCE = 4.75
"""Standard deviations: an estimate from unit noise is further off, to one side, with probability 1e-6."""


def strange_noise(
    samples: Float[np.ndarray, "N d"],
    means: Float[np.ndarray, "K d"],
    responsibilities: Float[np.ndarray, "N K"],
    scales: Float[np.ndarray, "K d"] | float = 1.0,
) -> list[str]:
    """A sentence if the samples do not lie around their estimated means as noise of these standard deviations does.

    In each coordinate, the variance around each mean that has samples, and around all of them, must lie within
    `variance_limits`. The sentence is about the one that is furthest off.
    """
    sums = np.stack([w @ (samples - mean) ** 2 for w, mean in zip(responsibilities.T, means, strict=True)]) / scales**2
    each = responsibilities.sum(axis=0)
    counts, sums = np.append(each, len(samples)), np.vstack([sums, sums.sum(axis=0)])
    counts, sums = counts[counts >= 1], sums[counts >= 1]
    variances = sums / counts[:, None]
    low, high = variance_limits(counts)
    wrong = (variances < low[:, None]) | (variances > high[:, None])
    if not wrong.any():
        return []
    with np.errstate(divide="ignore"):
        row, coordinate = np.unravel_index(np.where(wrong, np.abs(np.log(variances)), 0).argmax(), wrong.shape)
    where = "the estimated means" if row == len(counts) - 1 else "one of the estimated means"
    return [
        f"around {where} the samples' variance in coordinate {coordinate + 1} is {variances[row, coordinate]:.3g} "
        "times the noise's that the model assumes: the noise is another, or a mean is far off"
    ]


def variance_limits(counts: Float[np.ndarray, " R"]) -> tuple[Float[np.ndarray, " R"], Float[np.ndarray, " R"]]:
    """Between what the variance of m normals of unit variance lies: within UNIT, or no further off than by chance.

    Its quantile at that of z standard deviations is about (1 − 2/(9m) + z √(2/(9m)))³ (Wilson & Hilferty 1931).
    """
    spread = 2 / (9 * counts)
    low, high = ((1 - spread + sign * CHANCE * np.sqrt(spread)) ** 3 for sign in (-1, 1))
    return np.minimum(low, UNIT[0]), np.maximum(high, UNIT[1])
