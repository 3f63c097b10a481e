"""Samples from the user's files: tables of numbers as .csv or .npy."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError

import numpy as np
from jaxtyping import Float

from constructions.errors import InputError

SUFFIXES = (".csv", ".npy")


def read_samples(path: Path) -> Float[np.ndarray, "N d"]:
    """N×d numbers from a .csv (header optional) or .npy file.

    Raises
    ------
    InputError
        If the file is missing, of another kind, or not a finite N×d array of numbers.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"--data is {str(path)!r}; it must be a .csv or a .npy file")
    if not path.is_file():
        raise InputError(f"there is no file {str(path)!r}")
    try:
        array = read_npy(path) if path.suffix == ".npy" else _read_csv(path)
        if np.iscomplexobj(array):
            raise TypeError("its numbers are complex")
        samples = np.asarray(array, dtype=np.float64)
    except (ValueError, TypeError, OSError, EOFError) as error:
        raise InputError(f"{str(path)!r} is not a table of numbers: {first_line(error)}") from error
    if samples.ndim != 2 or samples.size == 0:
        raise InputError(f"{str(path)!r} holds an array of shape {samples.shape}; N×d with N, d ≥ 1 is needed")
    if not np.isfinite(samples).all():
        row, column = (int(index) for index in np.argwhere(~np.isfinite(samples))[0])
        raise InputError(
            f"{str(path)!r} holds {samples[row, column]} in row {row}, column {column}, counted from 0; all numbers "
            "must be finite"
        )
    return samples


def read_npy(path: Path) -> np.ndarray:
    """The array in a .npy file; InputError if it is damaged, of objects, or larger than memory."""
    try:
        array = np.load(path, allow_pickle=False)
    except MemoryError as error:
        raise InputError(f"{str(path)!r} claims more numbers than memory holds") from error
    except (ValueError, OSError, EOFError, SyntaxError, TokenError) as error:
        raise InputError(f"{str(path)!r} is not an array of numbers: {first_line(error)}") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{str(path)!r} is not an array of numbers: it holds {type(array).__name__}")
    return array


def _read_csv(path: Path) -> np.ndarray:
    lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    if not lines:
        raise ValueError("it is empty")
    if not any(_is_number(cell) for cell in lines[0].split(",")):
        lines = lines[1:]  # a header
    if not lines:
        raise ValueError("it has a header and no rows")
    return np.loadtxt(lines, delimiter=",", ndmin=2)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def first_line(error: Exception) -> str:
    """The beginning of an error's message, up to a semicolon, without its full stop."""
    return (str(error) or type(error).__name__).splitlines()[0].split(";")[0].rstrip(".")
