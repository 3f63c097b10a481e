"""What Remark G.2 needs: the range of ‖T(I,v,v)‖, and networks for the square and for 1/√· that cover it."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, expm1, isfinite, log, log1p, sqrt
from typing import Literal

import torch

from constructions.errors import InputError
from constructions.number_system import FLOAT64, NumberSystem
from constructions.relu_networks import (
    ReluNetwork,
    inverse_sqrt_error,
    inverse_sqrt_network,
    square_network,
    square_pieces,
)

NORM_ERROR = 1e-3
"""Relative error of ‖v‖ that a normalised step is built for: above from 1/√·, below from the squares."""

SMALLEST = 1e-100
"""The least C_LOW: cubes of numbers between it and its reciprocal are within float64's range."""

LARGEST_UNITS = 2**24
"""Hidden units of one network above which a range is refused."""


@dataclass(frozen=True)
class Normalisation:
    """The range c ≤ ‖T(I,v,v)‖ ≤ C and the sizes of the two networks.

    They cover [c²/2, 2C²], so that the exact trajectory may use the whole range: an approximate one whose norms are
    right to 15 % (and rounding) stays inside, since ((1 ± 0.15)²)² lies between 1/2 and 2.
    """

    low: float
    high: float
    segments: int  # chords of 1/√· on [c²/2, 2C²]
    pieces: int  # chords of the square on [0, √2·C]; unused when the squares come from attention
    squares: Literal["network", "attention"] = "network"

    @property
    def chord_width(self) -> float:
        """r, the logarithmic length of a chord of 1/√·."""
        return self.log_range / self.segments

    @property
    def log_range(self) -> float:
        """log(2C²) − log(c²/2)."""
        return log(4) + 2 * (log(self.high) - log(self.low))

    @property
    def radius(self) -> float:
        """√2·C, up to which the square network is right."""
        return sqrt(2) * self.high

    @property
    def square_error(self) -> float:
        """h²/4: the square network's largest error; 0 when attention makes the squares."""
        return (self.radius / self.pieces) ** 2 / 4 if self.squares == "network" else 0.0

    def norm_errors(self, dim: int) -> tuple[float, float]:
        """(1 − (1 + dδ_sq/c′²)^{−1/2}, κ): how far below and above 1 the norm of a step's result can be; c′² = c²/2."""
        excess = dim * self.square_error / (self.low**2 / 2)
        return -expm1(-log1p(excess) / 2), inverse_sqrt_error(self.chord_width)

    def networks(self, numbers: NumberSystem = FLOAT64) -> dict[str, ReluNetwork]:
        """The networks that the layers name."""
        low, high = (numbers.number(value) for value in (2 * log(self.low) - log(2), 2 * log(self.high) + log(2)))
        made = {"inverse_sqrt": inverse_sqrt_network(low, high, self.segments, numbers)}
        if self.squares == "network":
            made["square"] = square_network(numbers.number(self.radius), self.pieces, numbers)
        return made


def normalisation(
    low: float,
    high: float,
    max_dim: int,
    error: float = NORM_ERROR,
    squares: Literal["network", "attention"] = "network",
) -> Normalisation:
    """The fewest chords for a norm that is right to `error` ≤ 0.15, relative: κ ≤ error and d_0δ_sq/c² ≤ error.

    Raises
    ------
    InputError
        If 0 < c < C is not met, or a network would need more than LARGEST_UNITS units.
    """
    if not (isfinite(low) and isfinite(high) and 0 < low < high):
        raise InputError(f"the range is [{low:g}, {high:g}]; 0 < C_LOW < C_HIGH < inf is needed (--normalise)")
    if not SMALLEST <= low < high <= 1 / SMALLEST:
        raise InputError(
            f"the range is [{low:g}, {high:g}]; it must lie in [{SMALLEST:g}, {1 / SMALLEST:g}] (--normalise)"
        )
    log_range = log(4) + 2 * (log(high) - log(low))
    segments = max(1, ceil(log_range / sqrt(32 * error / 3)))  # κ is about 3r²/32, and a little more
    while inverse_sqrt_error(log_range / segments) > error:
        segments += 1
    pieces, units = 1, float(segments)
    if squares == "network":
        units = max(units, 2 * sqrt(2) * high / low / (2 * sqrt(error / max_dim)))
    if units > LARGEST_UNITS:
        raise InputError(
            f"the range [{low:g}, {high:g}] needs {units:.3g} units of a network, above the limit of {LARGEST_UNITS}: "
            "choose a smaller C_HIGH/C_LOW (--normalise)"
        )
    if squares == "network":
        pieces = square_pieces(sqrt(2) * high, error * low**2 / max_dim)
    return Normalisation(low, high, segments, pieces, squares)


def require_representable(range_: Normalisation, dtype: torch.dtype) -> None:
    """Refuse a range whose knots c²/2, 2C² or weights, between about C^{−3}r/6 and 3c^{−3}, leave the format."""
    reach = float((torch.finfo(dtype).max * min(1.0, range_.chord_width) / 32) ** (1 / 3))
    if not 1 / reach <= range_.low < range_.high <= reach:
        name = str(dtype).removeprefix("torch.")
        raise InputError(
            f"the range is [{range_.low:g}, {range_.high:g}]; in {name} it must lie in [{1 / reach:.2g}, {reach:.2g}], "
            "whose cubes exist (--normalise)"
        )
