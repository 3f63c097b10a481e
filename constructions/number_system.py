"""The number systems a construction can be lowered to and evaluated in: floats, exact rationals, balls, symbols.

A construction asks for a few operations on arrays and never learns which system it is in.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, Protocol, runtime_checkable

import flint
import numpy as np

from constructions.weights import Array

Scalar = Any  # float, flint.fmpq, flint.arb or sympy.Expr
Exact = Any  # int, float (every float is an exact rational), Fraction; for Balls also flint.arb


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

    def relu(self, values: Array) -> Array:
        """Elementwise max(x, 0)."""


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

    def relu(self, values: Array) -> Array:
        """Elementwise max(x, 0)."""
        return np.maximum(values, 0.0)


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

    def relu(self, values: Array) -> Array:
        """Elementwise max(x, 0)."""
        return _each(lambda value: value if value > 0 else flint.fmpq(0), values)


class Balls:
    """Real balls (flint.arb): every result encloses the exact one.

    All arithmetic is done at flint's context precision: `with flint.ctx.workprec(bits): ...`.
    """

    def number(self, value: Exact) -> flint.arb:
        """An enclosure of the value; exact for floats and integers that fit the precision, and a ball is itself."""
        if isinstance(value, flint.arb):
            return value
        if isinstance(value, float):
            return flint.arb(value)
        fraction = Fraction(value)
        return flint.arb(flint.fmpq(fraction.numerator, fraction.denominator))

    def zeros(self, shape: tuple[int, ...]) -> Array:
        """Object array of exact zeros."""
        return np.full(shape, flint.arb(0), dtype=object)

    def exp(self, values: Array) -> Array:
        """Elementwise enclosure of e^x."""
        return _each(lambda value: value.exp(), values)

    def expm1(self, value: flint.arb) -> flint.arb:
        """Enclosure of e^x - 1."""
        return value.expm1()

    def relu(self, values: Array) -> Array:
        """Elementwise enclosure of max(x, 0)."""
        return _each(lambda value: value.max(flint.arb(0)), values)


class Symbols:
    """Real expressions (sympy): an identity of two of them holds for all real values of their symbols."""

    def __init__(self) -> None:
        import sympy  # half a second, for which no other number system has a use

        self.sympy = sympy

    def number(self, value: Exact) -> Scalar:
        """The rational itself; a float is converted exactly."""
        fraction = Fraction(value)
        return self.sympy.Rational(fraction.numerator, fraction.denominator)

    def zeros(self, shape: tuple[int, ...]) -> Array:
        """Object array of zeros."""
        return np.full(shape, self.sympy.Integer(0), dtype=object)

    def exp(self, values: Array) -> Array:
        """Elementwise e^x."""
        return _each(self.sympy.exp, values)

    def expm1(self, value: Scalar) -> Scalar:
        """e^x - 1."""
        return self.sympy.exp(value) - 1

    def relu(self, values: Array) -> Array:
        """Elementwise (x + |x|)/2, the same for all real x; expanded, so that |x| and |−x| are written alike."""
        expand, absolute = self.sympy.expand, self.sympy.Abs
        return _each(lambda value: (expand(value) + absolute(expand(value))) / 2, values)


FLOAT64 = Float64()


def _each(function: Callable[[Any], Any], values: Array) -> Array:
    """The function of every entry, in an object array of the same shape."""
    result = np.empty(values.size, dtype=object)
    result[:] = [function(value) for value in values.ravel()]
    return result.reshape(values.shape)
