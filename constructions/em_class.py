"""The class of tasks that one Θ serves, and how accurate its networks must be for a tolerance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log
from typing import Literal

from constructions.errors import InputError
from constructions.number_system import FLOAT64, Balls, NumberSystem, Scalar
from constructions.relu_networks import (
    Orientation,
    ReluNetwork,
    chord_error,
    lemma_f4_units,
    log_network,
    log_segments,
    square_network,
    square_pieces,
)

Construction = Literal["floor", "paper"]
LARGEST_SIZE, LARGEST_RADIUS, SMALLEST_SHARE = 10**6, 1e9, 1e-12
"""Limits of a class; networks for more would be refused for their size in any case."""


@dataclass(frozen=True)
class TaskClass:
    """All mixture tasks with d ≤ max_dim, K ≤ max_components, ‖x_i‖, ‖μ_k⁽⁰⁾‖ ≤ radius, π̂_k⁽ᵗ⁾ ≥ min_weight.

    Θ is a function of the class and of the tolerance alone. The last condition is on the run and is checked
    as it goes. Raises InputError when a number is out of range.
    """

    max_dim: int
    max_components: int
    radius: float
    min_weight: float

    def __post_init__(self) -> None:
        for what, size in (("dimension", self.max_dim), ("number of components", self.max_components)):
            if not 1 <= size <= LARGEST_SIZE:
                raise InputError(f"the class's largest {what} is {size}; it must lie between 1 and {LARGEST_SIZE}")
        if not 0 < self.radius <= LARGEST_RADIUS:
            raise InputError(f"the radius is {self.radius}; it must be positive and at most {LARGEST_RADIUS:g}")
        if not SMALLEST_SHARE <= self.min_weight <= 0.5:
            raise InputError(f"the smallest weight is {self.min_weight}; it must lie in [{SMALLEST_SHARE:g}, 0.5]")


@dataclass(frozen=True)
class Approximation:
    """The sizes of the two networks: chords of log on [1/A, high] and of the square on [−radius, radius].

    Its real numbers are floats or, for bounds in balls, balls.
    """

    construction: Construction
    log_a: Scalar
    log_high: Scalar  # 0 for the sharp interval [1/A, 1], log A for Lemma F.4's [1/A, A]
    segments: int
    radius: Scalar
    pieces: int

    @property
    def chord_width(self) -> Scalar:
        """r, the logarithmic length of a chord of log."""
        return (self.log_high + self.log_a) / self.segments

    @property
    def log_error(self) -> Scalar:
        """g(r), the largest error of the log network on its interval."""
        return chord_error(self.chord_width)

    @property
    def square_error(self) -> Scalar:
        """h²/4, the largest error of the square network on its interval."""
        return (self.radius / self.pieces) ** 2 / 4

    def logit_error(self, dim: int) -> Scalar:
        """U = g + d·δ_sq/2: after the first step every logit is off by an amount in [−U, 0] (section E-step)."""
        return self.log_error + dim * self.square_error / 2

    def networks(self, orientation: Orientation = "left", numbers: NumberSystem = FLOAT64) -> dict[str, ReluNetwork]:
        """The log and square networks that the layers name."""
        low, high = numbers.number(-self.log_a), numbers.number(self.log_high)
        return {
            "log": log_network(low, high, self.segments, orientation, numbers),
            "square": square_network(numbers.number(self.radius), self.pieces, numbers),
        }

    @property
    def in_balls(self) -> Approximation:
        """The same numbers as balls."""
        numbers = Balls()
        log_a, log_high, radius = (numbers.number(value) for value in (self.log_a, self.log_high, self.radius))
        return replace(self, log_a=log_a, log_high=log_high, radius=radius)

    @property
    def log_units(self) -> int:
        """Hidden units of one log network (one more for the constant log A)."""
        return self.segments + (self.log_high != 0)


def split_tolerance(task_class: TaskClass, tolerance: float, construction: Construction) -> Approximation:
    """How the tolerance ε for a mean, per EM step, is split over log network, square network and A.

    With diam(X) ≤ 2B and tanh z ≤ z the one-step bound (bounds.m_step) is at most
    2B·[ (g + d_0 δ_sq/2)/4 + g/4 + 1/(1 + A π_min) ] = B g + B d_0 δ_sq/4 + 2B/(1 + A π_min).

    floor: three equal parts: g ≤ ε/(3B), δ_sq ≤ 4ε/(3 B d_0), A = 6B/(ε π_min); log on [1/A, 1] with the sharp
           number of chords. Then U ≤ ε/B, and A ≥ 3/π_min.
    paper: no floor term, because no responsibility falls below 1/A with log A = 2B² + log(1/π_min) + U;
           two equal parts: g ≤ δ = ε/(2B), δ_sq ≤ 2ε/(B d_0), hence U ≤ 3ε/(2B); log on [1/A, A] with the
           number of units that Lemma F.4 spends for δ.

    Raises
    ------
    InputError
        If ε/(2B) is not in [SMALLEST_SHARE, 1): from 1 on the bound is vacuous.
    """
    radius, dim, min_weight = task_class.radius, task_class.max_dim, task_class.min_weight
    diameter = 2 * radius
    if not SMALLEST_SHARE * diameter <= tolerance < diameter:
        raise InputError(
            f"the tolerance is {tolerance}; it must lie in [{SMALLEST_SHARE * diameter:g}, {diameter:g}), "
            "below the diameter of the class"
        )
    if construction == "floor":
        log_a = log(6 * radius / (tolerance * min_weight))
        segments = log_segments(log_a, tolerance / (3 * radius))
        square_error = 4 * tolerance / (3 * radius * dim)
        return Approximation("floor", log_a, 0.0, segments, radius, square_pieces(radius, square_error))
    delta = tolerance / (2 * radius)
    log_a = 2 * radius**2 - log(min_weight) + 3 * delta
    segments = lemma_f4_units(log_a, delta) - 1
    square_error = 2 * tolerance / (radius * dim)
    return Approximation("paper", log_a, log_a, segments, radius, square_pieces(radius, square_error))
