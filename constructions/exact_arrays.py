"""Arrays that people hand in, as float64 and unchanged: what would not convert back to the same number is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from constructions.sample_files import read_npy
from constructions.strict_json import refuse
from constructions.weights import Array

MAGIC = b"\x93NUMPY"


def read(path: Path) -> Float[np.ndarray, "*shape"]:
    """The numbers of a .npy file in float64.

    Raises
    ------
    InputError
        If the file is damaged or holds more or less than its array, or `exact` refuses it.
    """
    told = repr(str(path))
    if not path.is_file():
        refuse("there", f"is no file {told}")
    try:
        with path.open("rb") as file:
            begin = file.read(12)
    except OSError as error:
        refuse(told, f"cannot be read: {error.strerror}")
    if not begin.startswith(MAGIC) or len(begin) < 12:
        refuse(told, f"is no .npy file: it begins with {begin[:6]!r}")
    array = read_npy(path)
    length = 10 + int.from_bytes(begin[8:10], "little") if begin[6] == 1 else 12 + int.from_bytes(begin[8:], "little")
    more = path.stat().st_size - length - array.nbytes
    if more:
        refuse(told, f"has {more} bytes after its array")
    return exact(array, told)


def exact(array: Array, told: str) -> Float[np.ndarray, "*shape"]:
    """The same numbers in float64.

    Raises
    ------
    InputError
        If they are no real numbers, or one is not finite or not a float64.
    """
    if array.dtype.kind not in "iuf":
        refuse(told, f"holds {array.dtype.name}; real numbers are needed")
    if array.dtype.kind == "f":
        _refuse_first(~np.isfinite(array), array, told, "all numbers must be finite")
        with np.errstate(over="ignore"):
            made = array.astype(np.float64)
            same = made.astype(array.dtype) == array
    else:
        made = array.astype(np.float64)
        inside = made < float(np.iinfo(array.dtype).max) + 1  # else it converts back to anything
        same = np.where(inside, made, 0).astype(array.dtype) == array
    _refuse_first(~same, array, told, "float64 holds no such number")
    return made


def _refuse_first(bad: Any, array: Array, told: str, why: str) -> None:
    if bad.any():
        place = tuple(int(index) for index in np.argwhere(bad)[0])
        shown = "".join(f"[{index}]" for index in place)
        refuse(told, f"has {array[place]!s} in {shown or 'it'}; {why}")
