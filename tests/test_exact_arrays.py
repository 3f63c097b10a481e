"""Arrays as float64, unchanged, or refused with the first number that float64 does not hold."""

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from constructions.errors import InputError
from constructions.exact_arrays import exact, read

BEYOND = {
    "int64": [2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63) + 1],
    "uint64": [2**53 + 1, 2**64 - 1, 2**63 + 1024],
}
HELD = {
    "int64": [0, 2**53, -(2**53), 2**62, 2**63 - 1024, -(2**63), 3 * 2**55],
    "uint64": [2**53, 2**63, 2**64 - 2048],
    "int8": [-128, 127],
    "float16": [6e-8, -65504, 0.1],
    "float32": [1e-45, 3.4e38, 0.1],
    "float64": [5e-324, 1.7e308, -0.0, 0.1],
}


@pytest.mark.parametrize("name", HELD)
def test_what_float64_holds_is_the_same_number(name):
    given = np.array([HELD[name]] * 2, name)
    made = exact(given, "x")
    assert made.dtype == np.float64
    assert [Fraction(value) for value in made.ravel().tolist()] == [Fraction(value) for value in given.ravel().tolist()]
    assert np.array_equal(np.signbit(made), given < 0) or name == "float64"
    assert np.array_equal(np.signbit(exact(np.array([-0.0]), "x")), [True])


@pytest.mark.parametrize(("name", "number"), [(name, number) for name, all_ in BEYOND.items() for number in all_])
def test_integers_that_float64_does_not_hold(name, number):
    """Each becomes another integer as float64, or one that overflows on the way back."""
    assert int(np.array(number, name).astype(np.float64)) != number
    with pytest.raises(InputError, match=rf"^x has {number} in \[1\]\[2\]; float64 holds no such number$"):
        exact(np.array([[1, 2, 3], [4, 5, number]], name), "x")


@pytest.mark.skipif(np.finfo(np.longdouble).nmant == 52, reason="long doubles are float64 here")
@pytest.mark.parametrize("number", [1 + np.longdouble(2) ** -60, np.longdouble("1e400"), np.longdouble("1e-400")])
def test_long_doubles_that_float64_does_not_hold(number):
    with pytest.raises(InputError, match=r"^x has .* in \[1\]; float64 holds no such number$"):
        exact(np.array([0.5, number], np.longdouble), "x")
    assert exact(np.array([0.5, 2.0**-70], np.longdouble), "x").tolist() == [0.5, 2.0**-70]


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite(number):
    with pytest.raises(InputError, match=rf"^x has {number} in \[0\]; all numbers must be finite$"):
        exact(np.array([number, np.nan], np.float32), "x")
    with pytest.raises(InputError, match=r"^x has .* in it; all numbers must be finite$"):
        exact(np.array(number), "x")


@pytest.mark.parametrize(
    "array",
    [np.ones(2, bool), np.ones(2, complex), np.zeros(2, "datetime64[s]"), np.zeros(2, "timedelta64[s]"),
     np.array(["1"]), np.zeros(2, [("a", float)])],
    ids=lambda array: array.dtype.name,
)  # fmt: skip
def test_what_is_no_real_number(array):
    with pytest.raises(InputError, match=rf"^x holds {re.escape(array.dtype.name)}; real numbers are needed$"):
        exact(array, "x")


def write(path: Path, array: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    with path.open("wb") as file:
        np.lib.format.write_array(file, array, version)
    return path.read_bytes()


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize(
    "array", [np.arange(6.0).reshape(2, 3).T, np.array([[1, 2]], ">i4"), np.zeros((0, 3))], ids=str
)
def test_files_of_every_version(version, array, tmp_path):
    """Columns first, big-endian, nothing; and one byte more or fewer is refused."""
    path = tmp_path / "x.npy"
    whole = write(path, array, version)
    assert np.array_equal(read(path), array)
    path.write_bytes(whole + b"\0")
    with pytest.raises(InputError, match=r"x\.npy' has 1 bytes after its array"):
        read(path)
    path.write_bytes(whole[:-1])
    with pytest.raises(InputError, match=r"x\.npy' is not an array of numbers"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"\x93NUMPY\1\0\x76", b"PK\3\4" + bytes(20), b"1.0, 2.0, 3.0"])
def test_files_that_are_none(content, tmp_path):
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.npy' is no \.npy file: it begins with b"):
        read(tmp_path / "x.npy")


def test_files_that_are_not_there(tmp_path):
    for path in (tmp_path / "x.npy", tmp_path):
        with pytest.raises(InputError, match=f"^there is no file '{path}'$"):
            read(path)
