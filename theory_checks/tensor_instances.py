"""Tensors and starts to check the power iteration on: rationals, floats of many sizes, adversarial ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import flint
import numpy as np
import sympy
from hypothesis import strategies as st
from jaxtyping import Float, Shaped

from constructions.tensors import orthogonal_tensor, random_start, random_tensor

DIMS = (1, 2, 3, 5, 7)


@dataclass(frozen=True)
class PowerTask:
    """A tensor and a start, with a name that says how to get them again."""

    name: str
    tensor: Shaped[np.ndarray, "d d d"]
    start: Shaped[np.ndarray, " d"]


def rational(dim: int, rng: np.random.Generator) -> PowerTask:
    """Asymmetric, of mixed sign: numerators from −9 to 9, denominators from 1 to 7."""
    numerators, denominators = rng.integers(-9, 10, (dim + 1, dim, dim)), rng.integers(1, 8, (dim + 1, dim, dim))
    numerators[dim, 0, :] = np.where(numerators[dim, 0, :] == 0, 1, numerators[dim, 0, :])  # a start without zeros
    entries = np.vectorize(lambda n, d: flint.fmpq(int(n), int(d)), otypes=[object])(numerators, denominators)
    return PowerTask(f"rational d={dim}", entries[:dim], entries[dim, 0])


def symbolic(dim: int) -> PowerTask:
    """Real symbols, one for every entry."""
    tensor = np.array(sympy.symbols(f"t0:{dim**3}", real=True), dtype=object).reshape(dim, dim, dim)
    return PowerTask(f"symbols d={dim}", tensor, np.array(sympy.symbols(f"v0:{dim}", real=True), dtype=object))


def floats(rng: np.random.Generator, dims: tuple[int, ...] = (1, 2, 3, 5, 11)) -> Iterator[PowerTask]:
    """Random, orthogonal, positive (errors add up), badly scaled and cancelling tensors, starts of norm about 1."""
    for dim in dims:
        start = random_start(dim, rng)
        yield PowerTask(f"random d={dim}", random_tensor(dim, rng), start)
        yield PowerTask(f"orthogonal d={dim}", orthogonal_tensor(dim, rng), start)
        yield PowerTask(f"positive d={dim}", abs(random_tensor(dim, rng)) / dim, abs(start))
        scales = 10.0 ** rng.integers(-3, 3, dim)  # of each coordinate
        scaled = np.einsum("a,j,m,ajm->ajm", scales, 1 / scales, 1 / scales, random_tensor(dim, rng))
        yield PowerTask(f"scaled d={dim}", scaled, start * scales)
        cancelling = random_tensor(dim, rng)
        cancelling[:, :, dim // 2 :] = -cancelling[:, :, : dim - dim // 2] * (1 + 2.0**-20)
        yield PowerTask(f"cancelling d={dim}", cancelling, np.full(dim, dim**-0.5))


@st.composite
def adversarial(draw: st.DrawFn, reach: float = 2.0) -> PowerTask:
    """At most 3 dimensions, entries up to `reach`, some exactly equal, zero or tiny."""
    dim = draw(st.sampled_from((1, 2, 3)))
    number = st.one_of(
        st.floats(-reach, reach, allow_subnormal=False).map(lambda value: round(value, 6)),
        st.sampled_from((0.0, 1.0, -1.0, 0.1, 1e-9, -1e-9)),
    )
    tensor = np.array(draw(st.lists(number, min_size=dim**3, max_size=dim**3))).reshape(dim, dim, dim)
    start = np.array(draw(st.lists(number, min_size=dim, max_size=dim)))
    return PowerTask(f"T={tensor.ravel().tolist()} v={start.tolist()}", tensor, start)


def power_step(tensor: list[list[list[Fraction]]], vector: list[Fraction]) -> list[Fraction]:
    """T(I, v, v) by three loops over Python's own fractions: an oracle that shares nothing with the library."""
    span = range(len(vector))
    return [sum((tensor[a][j][m] * vector[j] * vector[m] for j in span for m in span), start=Fraction(0)) for a in span]


def fractions(array: np.ndarray) -> list:
    """Nested lists of Fractions from floats or flint rationals, exactly."""

    def convert(value: object) -> object:
        if isinstance(value, list):
            return [convert(part) for part in value]
        return Fraction(int(value.p), int(value.q)) if isinstance(value, flint.fmpq) else Fraction(value)  # type: ignore[call-overload]

    return [convert(part) for part in array.tolist()]


def exact_trajectory(task: PowerTask, steps: int) -> list[list[Fraction]]:
    """v_0, …, v_L of the oracle."""
    tensor, vectors = fractions(task.tensor), [fractions(task.start)]
    for _ in range(steps):
        vectors.append(power_step(tensor, vectors[-1]))
    return vectors


def rounded(vector: list[Fraction]) -> Float[np.ndarray, " d"]:
    """Nearest doubles."""
    return np.array([float(value) for value in vector])
