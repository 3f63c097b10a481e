"""The number systems a construction can be lowered to: floats, exact rationals, balls.

A construction asks for a few operations on arrays and never learns which system it is in.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Protocol, runtime_checkable

import flint
import numpy as np

from constructions.weights import Array

Scalar = Any  # float, flint.fmpq or flint.arb
Exact = int | float | Fraction  # every float is an exact rational


@runtime_checkable
class NumberSystem(Protocol):
    """Scalars that support + - * /, held in numpy arrays, with exp and expm1 where they exist."""

    def number(self, value: Exact) -> Scalar:
        """The scalar equal to `value` (for floats: nearest to it)."""

    def zeros(self, shape: tuple[int, ...]) -> Array:
        """An array of zeros."""

    def exp(self, values: Array) -> Array:
        """Elementwise e^x."""

    def expm1(self, value: Scalar) -> Scalar:
        """e^x - 1 of one scalar, without cancellation."""


class Float64:
    """IEEE double precision."""

    def number(self, value: Exact) -> float:
        """Nearest double."""
        return float(value)

    def zeros(self, shape: tuple[int, ...]) -> Array:
        """Zeros of dtype float64."""
        return np.zeros(shape)

    def exp(self, values: Array) -> Array:
        """Elementwise e^x."""
        return np.exp(values)

    def expm1(self, value: float) -> float:
        """e^x - 1."""
        return float(np.expm1(value))


class Rationals:
    """Exact rationals (flint.fmpq); exp leaves them and is refused."""

    def number(self, value: Exact) -> flint.fmpq:
        """The rational itself; a float is converted exactly."""
        fraction = Fraction(value)
        return flint.fmpq(fraction.numerator, fraction.denominator)

    def zeros(self, shape: tuple[int, ...]) -> Array:
        """Object array of rational zeros."""
        return np.full(shape, flint.fmpq(0), dtype=object)

    def exp(self, values: Array) -> Array:
        """Refused: e^x is irrational for every rational x other than 0."""
        raise TypeError("e^x is not rational: lower this construction to floats or balls")

    def expm1(self, value: flint.fmpq) -> flint.fmpq:
        """Refused, like exp."""
        raise TypeError("e^x - 1 is not rational: lower this construction to floats or balls")


class Balls:
    """Real balls (flint.arb): every result encloses the exact one.

    All arithmetic is done at flint's context precision: `with flint.ctx.workprec(bits): ...`.
    """

    def number(self, value: Exact) -> flint.arb:
        """An enclosure of the value; exact for floats and integers that fit the precision."""
        fraction = Fraction(value)
        return flint.arb(flint.fmpq(fraction.numerator, fraction.denominator))

    def zeros(self, shape: tuple[int, ...]) -> Array:
        """Object array of exact zeros."""
        return np.full(shape, flint.arb(0), dtype=object)

    def exp(self, values: Array) -> Array:
        """Elementwise enclosure of e^x."""
        return np.array([value.exp() for value in values.ravel()], dtype=object).reshape(values.shape)

    def expm1(self, value: flint.arb) -> flint.arb:
        """Enclosure of e^x - 1."""
        return value.expm1()


FLOAT64 = Float64()
