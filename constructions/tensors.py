"""Cubic tensors and starts to run on: random ones, orthogonally decomposable ones, the user's files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Float

from constructions.errors import InputError, meant
from constructions.sample_files import read_npy

LARGEST_EXPONENT = 400
"""Of decimals in a file: beyond float64's range in any case, and a longer one would take a number that long."""
DECIMALS = 3
"""Random entries are decimals with so many digits: the same instance serves floats and exact rationals."""


def random_tensor(dim: int, rng: np.random.Generator) -> Float[np.ndarray, "d d d"]:
    """Independent N(0, 1/d) entries, no symmetry: ‖T(I,v,v)‖ is about 1 for a unit vector v."""
    return np.round(rng.standard_normal((dim, dim, dim)) / np.sqrt(dim), DECIMALS)


def orthogonal_tensor(dim: int, rng: np.random.Generator) -> Float[np.ndarray, "d d d"]:
    """Σ_k λ_k q_k⊗q_k⊗q_k with λ_k in [1, 2] and orthonormal q_k, rounded to decimals."""
    q, _ = np.linalg.qr(rng.standard_normal((dim, dim)))
    values = rng.uniform(1, 2, dim)
    return np.round(np.einsum("k,ak,jk,mk->ajm", values, q, q, q, optimize=True), DECIMALS)


def random_start(dim: int, rng: np.random.Generator) -> Float[np.ndarray, " d"]:
    """Uniform on the unit sphere, rounded to decimals; e_1 should they all be 0."""
    vector = rng.standard_normal(dim)
    rounded = np.round(vector / np.linalg.norm(vector), DECIMALS)
    return rounded if rounded.any() else np.eye(dim)[0]


def load_array(path: Path, option: str, names: Iterable[str] = ()) -> np.ndarray:
    """Numbers from a .npy file: integers, floats, or strings such as "0.1" and "-2/3".

    Raises
    ------
    InputError
        If the file is missing, of another kind, or holds something else.
    """
    if path.suffix != ".npy":
        near = meant(str(path), names)
        raise InputError(
            f"{option} is {str(path)!r}; it must be a .npy file or one of the names that --help lists{near}"
        )
    if not path.is_file():
        raise InputError(f"there is no file {str(path)!r}")
    array = read_npy(path)
    if array.dtype.kind not in "iufU":
        raise InputError(f"{str(path)!r} holds {array.dtype}; integers, floats or strings of decimals are needed")
    if array.dtype.kind == "U":
        return np.array(as_rationals(array), dtype=object)
    if array.dtype.kind == "f":
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            place = ", ".join(str(int(index)) for index in bad[0])
            raise InputError(f"{str(path)!r} has {array[tuple(bad[0])]} at [{place}]; its entries must be finite")
    return array


def as_rationals(array: np.ndarray) -> np.ndarray:
    """Every entry as a Fraction: integers and strings as they are, floats as the shortest decimal that they print.

    0.1 is 1/10 and not the binary fraction that holds it.
    """
    texts = [str(value) for value in array.ravel()]
    for text in texts:
        exponent = re.search(r"[eE]([-+]?\d+)$", text)
        if exponent and abs(int(exponent[1])) > LARGEST_EXPONENT:
            raise InputError(f"an entry is {text}; exponents up to {LARGEST_EXPONENT} are read")
    try:
        values = [Fraction(text) for text in texts]
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(f"an entry is no decimal: {error}") from error
    result = np.empty(len(values), dtype=object)
    result[:] = values
    return result.reshape(array.shape)


def as_floats(array: np.ndarray) -> Float[np.ndarray, ...]:
    """Nearest doubles; an integer or a fraction beyond their range is refused."""
    try:
        return np.array([float(value) for value in array.ravel()]).reshape(array.shape)
    except OverflowError as error:
        raise InputError("an entry is beyond the largest float64, 1.8e+308") from error
