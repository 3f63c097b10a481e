"""Samples from the user's files: tables of numbers as text, .npy or Parquet, from a path or standard input."""

from __future__ import annotations

import argparse
import gzip
import io
import sys
import zlib
from pathlib import Path
from tokenize import TokenError

import numpy as np

from constructions import text_tables
from constructions.columns import Columns, choose, complete, without_index
from constructions.errors import InputError

KINDS = (
    "a table of numbers, N×d: text with commas, semicolons, tabs or blanks (header optional, .gz too), .npy, or "
    "Parquet; -: standard input"
)
LARGEST_BYTES = 2**31
LARGEST_EXACT = 2**53
GZIP, NPY, PARQUET, ZIP = b"\x1f\x8b", b"\x93NUMPY", b"PAR1", b"PK\x03\x04"


def add_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """How a file is read: the same options for every command; their group."""
    group = parser.add_argument_group("files", f"--data PATH: {KINDS}.")
    group.add_argument("--columns", metavar="LIST", help="columns to take: names, numbers from 1, ranges (a,b or 2:)")
    group.add_argument("--drop-missing", action="store_true", help="leave out rows with missing cells")
    group.add_argument(
        "--header", action=argparse.BooleanOptionalAction, help="whether the first row is a header (as it looks)"
    )
    return group


def given(options: argparse.Namespace) -> list[str]:
    """The options of `add_options` that are given: those that nothing but a file has."""
    set_ = {"--columns": options.columns is not None, "--drop-missing": options.drop_missing}
    return [name for name, value in (set_ | {"--header": options.header is not None}).items() if value]


def read_table(
    source: str | Path, columns: str | None = None, drop_missing: bool = False, header: bool | None = None
) -> Columns:
    """Finite numbers, N×d with N, d ≥ 1: what kind of file it is, its first bytes say (gz: those that it holds).

    Parameters
    ----------
    source
        A path, of a file or of what can be read once, such as a FIFO; "-" is standard input.
    columns
        The columns to take, as `choose` reads them; without it all but an index.
    drop_missing
        Leave out the rows with missing numbers, which are refused otherwise.
    header
        Whether text begins with a header; None: as it looks.

    Raises
    ------
    InputError
        If there is no such file, or it is not a table of numbers.
    """
    name = "standard input" if str(source) == "-" else repr(str(source))
    raw = _bytes(source, name)
    suffix = Path(str(source).removesuffix(".gz")).suffix
    if not raw:
        raise InputError(f"{name} is empty")
    if raw.startswith(ZIP):
        raise InputError(f"{name} is a zip archive, as .npz and .xlsx are; save one table as .csv or .npy")
    if raw.startswith(NPY) or suffix == ".npy":
        found = _of_array(read_npy(io.BytesIO(raw), name), columns, name)
    elif raw.startswith(PARQUET) or suffix == ".parquet":
        found = _of_parquet(raw, columns, name)
    else:
        found = text_tables.parse(raw, name, columns, header, suffix == ".tsv")
    if columns is None:
        found = without_index(found)
    return complete(found, name, drop_missing)


def read_npy(source: Path | io.BytesIO, name: str = "") -> np.ndarray:
    """The array in a .npy file; InputError if it is damaged, of objects, or larger than memory."""
    name = name or repr(str(source))
    try:
        array = np.load(source, allow_pickle=False)
    except MemoryError as error:
        raise InputError(f"{name} claims more numbers than memory holds") from error
    except (ValueError, OSError, EOFError, SyntaxError, TokenError) as error:
        if "Object arrays" in str(error):
            raise InputError(f"{name} holds Python objects; numbers are needed") from error
        raise InputError(f"{name} is not an array of numbers: {first_line(error)}") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{name} is not an array of numbers: it holds {type(array).__name__}")
    return array


def first_line(error: Exception) -> str:
    """The beginning of an error's message, up to a semicolon, without its full stop."""
    return (str(error) or type(error).__name__).splitlines()[0].split(";")[0].rstrip(".")


def _bytes(source: str | Path, name: str) -> bytes:
    """All that the source holds, decompressed."""
    if str(source) == "-":
        if sys.stdin is None:
            raise InputError("standard input is closed; --data - reads it")
        raw = sys.stdin.buffer.read(LARGEST_BYTES + 1)
    else:
        if str(source) == "" or not Path(source).exists():
            raise InputError(f"there is no file {name}")
        if Path(source).is_dir():
            raise InputError(f"{name} is a directory; a file is needed")
        try:
            with open(source, "rb") as file:
                raw = file.read(LARGEST_BYTES + 1)
        except OSError as error:
            raise InputError(f"{name} cannot be read: {error.strerror}") from error
    if raw.startswith(GZIP):
        try:
            raw = gzip.GzipFile(fileobj=io.BytesIO(raw)).read(LARGEST_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{name} is damaged: {first_line(error)}") from error
    if len(raw) > LARGEST_BYTES:
        raise InputError(f"{name} holds more than {LARGEST_BYTES // 2**30} GiB; that is the most that is read")
    return raw


def _of_array(array: np.ndarray, columns: str | None, name: str) -> Columns:
    if array.dtype.names is not None:
        raise InputError(f"{name} holds records ({', '.join(array.dtype.names[:10])}); a plain N×d array is needed")
    if array.dtype.kind not in "biuf":
        kind = "complex numbers" if array.dtype.kind == "c" else array.dtype.name
        raise InputError(f"{name} holds {kind}; integers, floats or booleans are needed")
    if array.ndim != 2 or array.size == 0:
        hint = "; array[:, None] has one column" if array.ndim == 1 and array.size else ""
        raise InputError(f"{name} holds an array of shape {array.shape}; N×d with N, d ≥ 1 is needed{hint}")
    chosen = list(range(array.shape[1])) if columns is None else choose(columns, None, array.shape[1], name)
    taken = array[:, chosen]
    with np.errstate(over="ignore"):  # of longdouble, which the comparison sees
        values = taken.astype(np.float64)
    if array.dtype.kind in "iu":
        changed, why = (taken > LARGEST_EXACT) | (taken < -LARGEST_EXACT), "is beyond 2^53, where float64 has gaps"
    else:
        changed = (values.astype(array.dtype) != taken) & ~np.isnan(values)
        why = f"is a {array.dtype.name} that float64 does not hold exactly"
    if changed.any():
        row, column = (int(index) for index in np.argwhere(changed)[0])
        raise InputError(f"{name}, row {row + 1}, column {chosen[column] + 1}: {taken[row, column]!s} {why}")
    return Columns(values, None, [index + 1 for index in chosen], list(range(1, len(values) + 1)), "row", [])


def _of_parquet(raw: bytes, columns: str | None, name: str) -> Columns:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise InputError(f"{name} is a Parquet file: reading one needs pyarrow, the extra `data`") from error
    try:
        table = parquet.read_table(io.BytesIO(raw))
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{name} is not a Parquet file that can be read: {first_line(error)}") from error
    names, notes = list(table.column_names), []
    chosen = list(range(len(names))) if columns is None else choose(columns, names, len(names), name)
    for index in list(chosen):
        if columns is None and names[index].startswith("__index_level_"):
            chosen.remove(index)
            notes.append(f"column {index + 1} ({names[index]!r}) is pandas' index: left out")
    if not chosen or not table.num_rows:
        raise InputError(f"{name} has {table.num_rows} rows and {len(chosen)} columns; a table of numbers is needed")
    values = np.empty((table.num_rows, len(chosen)))
    for place, index in enumerate(chosen):
        kind = table.schema.types[index]
        numeric = pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind) or pyarrow.types.is_boolean(kind)
        if not numeric:
            raise InputError(
                f"{name}, column {index + 1} ({names[index]!r}) holds {kind}, no numbers; choose --columns"
            )
        column = table.column(index)
        try:
            if pyarrow.types.is_boolean(kind):
                column = column.cast(pyarrow.uint8())
            values[:, place] = column.cast(pyarrow.float64()).to_numpy()
        except pyarrow.ArrowInvalid as error:
            raise InputError(
                f"{name}, column {index + 1} ({names[index]!r}) holds numbers that float64 does not hold exactly"
            ) from error
    return Columns(
        values, [names[i] for i in chosen], [i + 1 for i in chosen], list(range(1, len(values) + 1)), "row", notes
    )
