"""Functions of one real number, given as a float or as a ball: a formula written with them holds in both."""

from __future__ import annotations

import math

import flint

from constructions.number_system import Scalar


def exp(x: Scalar) -> Scalar:
    """e^x."""
    return x.exp() if isinstance(x, flint.arb) else math.exp(x)


def expm1(x: Scalar) -> Scalar:
    """e^x − 1, without cancellation."""
    return x.expm1() if isinstance(x, flint.arb) else math.expm1(x)


def log(x: Scalar) -> Scalar:
    """Natural logarithm of x > 0."""
    return x.log() if isinstance(x, flint.arb) else math.log(x)


def log1p(x: Scalar) -> Scalar:
    """log(1 + x), without cancellation."""
    return x.log1p() if isinstance(x, flint.arb) else math.log1p(x)


def sqrt(x: Scalar) -> Scalar:
    """Square root of a number known to be ≥ 0: what a ball holds below 0 is cut off."""
    return x.nonnegative_part().sqrt() if isinstance(x, flint.arb) else math.sqrt(x)


def sinh(x: Scalar) -> Scalar:
    """Hyperbolic sine."""
    return x.sinh() if isinstance(x, flint.arb) else math.sinh(x)


def tanh(x: Scalar) -> Scalar:
    """Hyperbolic tangent."""
    return x.tanh() if isinstance(x, flint.arb) else math.tanh(x)
