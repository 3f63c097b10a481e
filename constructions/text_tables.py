"""Tables of numbers in text files: separators, quotes, headers, row names, missing cells."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from itertools import chain, islice

import numpy as np
from jaxtyping import Float

from constructions.columns import Columns, choose
from constructions.errors import InputError

MISSING = {"", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "?"}
"""Cells that say that a value is missing, in lower case."""
FIRST, BLOCK = 50, 4096
"""Rows that decide on separator and header; rows that are converted at once."""

Row = tuple[int, list[str]]
"""The line where a row ends, counted from 1, and its cells."""


def parse(raw: bytes, name: str, columns: str | None, header: bool | None, tabs: bool) -> Columns:
    """Numbers from text, NaN where they are missing.

    The separator is what csv.Sniffer finds (a tab if `tabs`). The first row is a header if `header`, or if that is
    None and none of its cells is a number, or it is 0, 1, 2, … as pandas writes it. A first column without a name
    beside others with names holds the rows' names, and is left out unless `columns` chooses it. Lines before the table
    that begin with # are comments; one that holds nothing but numbers is refused.

    Raises
    ------
    InputError
        If it is no text, has no rows, rows of different lengths or a cell that is no number, or if it cannot be told
        whether the first row is a header.
    """
    text, notes = _decoded(raw, name)
    before = re.match(r"(?:[ \t]*(?:#[^\n]*)?\n)*", text)
    start = before.end() if before else 0
    comments = [(number, line) for number, line in enumerate(text[:start].split("\n"), start=1) if line.strip()]
    for number, line in comments:
        _require_comment(line, f"{name}, line {number}")
    if comments:
        notes.append(f"{len(comments)} line{'s' if len(comments) > 1 else ''} of comment skipped")
    body = text[start:]
    separator = "\t" if tabs else _separator(body)
    rows = _rows(body, text.count("\n", 0, start), separator, name)
    first = list(islice(rows, FIRST))
    if not first:
        raise InputError(f"{name} is empty")
    names: list[str] | None = None
    if _is_header([cells for _, cells in first], header, f"{name}, line {first[0][0]}"):
        at, cells = first.pop(0)
        names = [cell.strip() for cell in cells]
        if not first:
            raise InputError(f"{name} has a header and no rows")
        if any(_is_number(cell) for cell in names):
            notes.append(f"line {at} is a header")
        names = _as_long_as(names, [cells for _, cells in first])
    width = len(names) if names is not None else len(first[0][1])
    chosen = list(range(width)) if columns is None else choose(columns, names, width, name)
    if columns is None and names is not None and names[0] == "" and any(names[1:]):
        chosen = chosen[1:]
        notes.append("column 1 holds the rows' names: left out")
    values, ends = _numbers(chain(first, rows), chosen, names, width, name)
    kept = None if names is None else [names[index] for index in chosen]
    return Columns(values, kept, [index + 1 for index in chosen], ends, "line", notes)


def _decoded(raw: bytes, name: str) -> tuple[str, list[str]]:
    """The text, each line ended by a line feed, and what is to say about its encoding."""
    notes = []
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    else:
        encoding = "utf-8-sig"
        if b"\0" in raw:
            raise InputError(f"{name} is no text: it has bytes that are 0 (UTF-16 needs its byte-order mark)")
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-16":
            raise InputError(f"{name} is no text: it begins like UTF-16 and is not") from error
        text = raw.decode("latin-1")
        notes.append("not UTF-8, read as Latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n"), notes


def _require_comment(line: str, where: str) -> None:
    if all(_is_number(cell) for cell in re.split(r"[,;\t| ]+", line.strip().lstrip("#").strip())):
        raise InputError(f"{where}, is {_short(line)}: a comment, or a sample? Remove the line, or its #")


def _separator(body: str) -> str:
    """What separates cells; a comma, which is the separator of decimals elsewhere, only beside no other."""
    lines = [line for line in islice(io.StringIO(body), 2 * FIRST) if line.strip()][:FIRST]
    second = lines[min(1, len(lines) - 1)].strip() if lines else ""
    candidates = ";\t" if ";" in second or "\t" in second else ",| "
    sample = "\n".join(re.sub(" +", " ", line.strip()) for line in lines)
    try:
        return csv.Sniffer().sniff(sample, candidates).delimiter
    except csv.Error:  # a single column, or rows of different lengths
        return next((candidate for candidate in candidates if candidate in second), ",")


def _rows(body: str, before: int, separator: str, name: str) -> Iterator[Row]:
    """Rows that are not blank; `before` is how many lines of the file come first."""
    lines: Iterator[str] = io.StringIO(body)
    if separator == " ":
        lines = (line.replace("\t", " ").strip() + "\n" for line in lines)
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=separator != "\t", strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num + before, cells
    except csv.Error as error:
        raise InputError(f"{name}, line {reader.line_num + before}, cannot be read: {error}") from error


def _is_header(rows: list[list[str]], header: bool | None, where: str) -> bool:
    """Whether the first of the rows is a header; InputError if it may be one."""
    first = [cell.strip() for cell in rows[0]]
    if header is not None:
        return header
    if not any(_is_number(cell) for cell in first):
        return not all(cell.lower() in MISSING for cell in first)
    labels = first[0] if not _is_number(first[0]) else None
    numbered = first if labels is None else first[1:]
    if numbered != [str(index) for index in range(len(numbered))]:
        return False
    if labels is not None:
        return True
    # pandas writes 0,1,… above columns without names. Above decimals that is no sample, but a 0 alone may be one.
    decimals = any(re.search("[.eE]", cell) for row in rows[1:] for cell in row)
    if len(first) > 1 and decimals:
        return True
    raise InputError(
        f"{where}, is {','.join(first)}: column numbers as pandas writes them, or a sample? Say --header or --no-header"
    )


def _as_long_as(names: list[str], rows: list[list[str]]) -> list[str]:
    """A header with one cell less than its rows has no name for the rows' names (R), or for an empty end."""
    if all(len(cells) == len(names) + 1 for cells in rows):
        return [*names, ""] if not any(cells[-1].strip() for cells in rows) else ["", *names]
    return names


def _numbers(
    rows: Iterator[Row], chosen: list[int], names: list[str] | None, width: int, name: str
) -> tuple[Float[np.ndarray, "N d"], list[int]]:
    blocks, ends = [], []
    while block := list(islice(rows, BLOCK)):
        for line, cells in block:
            if len(cells) != width:
                raise InputError(
                    f"{name}, line {line}, has {len(cells)} cell{'s' if len(cells) != 1 else ''}; the rows before have "
                    f"{width}"
                )
        picked = [[cells[index] for index in chosen] for _, cells in block]
        try:
            if any("_" in "".join(cells) for cells in picked):  # float() takes 1_000
                raise ValueError
            converted = np.array(picked, dtype=np.float64)
        except ValueError:
            converted = np.array([_slowly(row, chosen, names, name) for row in block])
        blocks.append(converted.reshape(len(block), len(chosen)))
        ends += [line for line, _ in block]
    return np.concatenate(blocks), ends


def _slowly(row: Row, chosen: list[int], names: list[str] | None, name: str) -> list[float]:
    """A row's numbers, cell by cell; InputError for the first that is none."""
    line, cells = row
    for index in chosen:
        cell = cells[index].strip()
        if _is_number(cell) or cell.lower() in MISSING:
            continue
        title = f" ({names[index]!r})" if names is not None and names[index] else ""
        said = f"{name}, line {line}, column {index + 1}{title}: {_short(cell)} is no number"
        if re.fullmatch(r"[-+]?\d+(,\d+)+(\.\d+)?([eE][-+]?\d+)?", cell):
            raise InputError(f"{said}; write 1234.5, with a point and without separators of thousands")
        good = [other for other in chosen if _is_number(cells[other].strip())]
        if not good:
            raise InputError(said)
        raise InputError(f"{said}; --columns {_suggested(good, names)} takes columns that hold numbers")
    return [float("nan") if cells[i].strip().lower() in MISSING else float(cells[i]) for i in chosen]


def _suggested(indices: list[int], names: list[str] | None) -> str:
    """How --columns names them: by name if all have short ones, else by number, ranges as such."""
    own = [] if names is None else [names[index] for index in indices]
    if own and len(own) <= 3 and all(re.fullmatch(r"[^\W\d][\w.-]{0,20}", title) for title in own):
        return ",".join(own)
    if indices == list(range(indices[0], indices[-1] + 1)) and len(indices) > 1:
        return f"{indices[0] + 1}:{indices[-1] + 1}"
    return ",".join(str(index + 1) for index in indices[:10])


def _is_number(cell: str) -> bool:
    if "_" in cell or cell.strip().lower() in MISSING:
        return False
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")
