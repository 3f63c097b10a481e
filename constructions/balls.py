"""Arrays of real balls (flint.arb in numpy object arrays): conversions, products, equal rows.

All arithmetic is done at flint's context precision and encloses the exact result.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import flint
import numpy as np
from jaxtyping import Float, Int, Shaped

from constructions.elementary import sqrt
from constructions.weights import Array

ZERO, ONE = flint.arb(0), flint.arb(1)


def to_balls(values: Float[np.ndarray, "*shape"]) -> Array:
    """Floats as balls of radius 0; equal floats become one object."""
    numbers = values.ravel().tolist()
    exact = {value: flint.arb(value) for value in numbers}
    return fill((exact[value] for value in numbers), values.shape)


def fill(entries: Iterable[object], shape: tuple[int, ...]) -> Array:
    """An object array of the given shape from an iterable of its entries, row by row."""
    listed = list(entries)
    result = np.empty(len(listed), dtype=object)
    result[:] = listed
    return result.reshape(shape)


def matrix(array: Shaped[np.ndarray, "m n"]) -> flint.arb_mat:
    """The same entries as flint's matrix, whose products are fast."""
    return flint.arb_mat(len(array), array.shape[1], array.ravel().tolist())


def product(left: flint.arb_mat, right: flint.arb_mat) -> Shaped[np.ndarray, "m n"]:
    """Enclosure of left·right as an array."""
    shape = left.nrows(), right.ncols()
    return fill((left * right).entries() if left.ncols() else [ZERO] * (shape[0] * shape[1]), shape)


def norm(vectors: Shaped[np.ndarray, "*batch d"]) -> Array:
    """Enclosures of the Euclidean norms."""
    squares = (vectors * vectors).sum(axis=-1)
    return np.vectorize(sqrt, otypes=[object])(squares)


def midpoints(array: Array) -> Float[np.ndarray, "*shape"]:
    """The midpoints as floats, for reading and for choosing, never for proving."""
    return np.vectorize(lambda ball: float(ball.mid()), otypes=[float])(array)


def largest(balls: Iterable[flint.arb]) -> flint.arb:
    """An enclosure of the largest of numbers ≥ 0."""
    result = flint.arb(0)
    for ball in balls:
        result = result.max(ball)
    return result


def largest_radius(array: Array) -> float:
    """The largest radius, rounded to a float for reading."""
    return max((float(ball.rad()) for ball in array.ravel()), default=0.0)


def codes(array: Array) -> Int[np.ndarray, "*shape"]:
    """Integers that are equal where the balls are: the same midpoint and radius; what is not finite equals itself only.

    Equal balls may stand for different numbers; what is computed from them once encloses the result for each.
    """
    entries = array.ravel().tolist()
    numbered: dict[Hashable, int] = {}
    known = {  # the same object is looked at once
        place: numbered.setdefault((*v.mid().man_exp(), *v.rad().man_exp()) if v.is_finite() else place, len(numbered))
        for place, v in {id(v): v for v in entries}.items()
    }
    return np.array([known[id(v)] for v in entries], dtype=np.int64).reshape(array.shape)


def equal_rows(rows: Int[np.ndarray, "N n"]) -> tuple[Int[np.ndarray, " classes"], Int[np.ndarray, " N"]]:
    """(first, label) with rows[first][label] = rows, in the order in which rows appear."""
    if rows.shape[1] == 0:
        return np.zeros(1, dtype=np.int64), np.zeros(len(rows), dtype=np.int64)
    _, first, label = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return first[order], np.argsort(order)[label.ravel()]
