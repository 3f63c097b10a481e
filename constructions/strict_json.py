"""JSON that people hand in, read strictly; what is refused is told in the file's own terms: file, place, value, limit.

Refused although Python's reader takes it: a key that stands twice in an object, NaN and infinities, a number that
float64 holds as infinity or as 0, an integer of thousands of digits, nesting that ends in a RecursionError.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from jaxtyping import Float

from constructions.errors import InputError

LARGEST_BYTES, LARGEST_DEPTH, LARGEST_DIGITS = 2**26, 32, 4000
"""Of a file; of lists and objects within each other; of an integer, as of the parts of a fraction."""


@dataclass(frozen=True)
class _Fault:
    """Stands in place of a value that is refused, so that its place can be told."""

    why: str


class _Parts:
    """What Python's reader makes of objects and numbers: a `_Fault` of what is refused, kept here as well."""

    def __init__(self) -> None:
        self.faults: list[_Fault] = []

    def whole(self, pairs: list[tuple[str, Any]]) -> Any:
        made = dict(pairs)
        if len(made) == len(pairs):
            return made
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        return self._fault(f"has the key {short(twice)} twice")

    def integer(self, digits: str) -> Any:
        if len(digits) > LARGEST_DIGITS:
            return self._fault(f"has an integer of {len(digits)} digits; at most {LARGEST_DIGITS} are read")
        return int(digits)

    def real(self, digits: str) -> Any:
        value = float(digits)
        if math.isinf(value) or (value == 0 and re.search("[1-9]", re.split("[eE]", digits)[0])):
            return self._fault(f"has the number {_cut(digits)}, which float64 holds as {value:g}")
        return value

    def constant(self, name: str) -> Any:
        return self._fault(f"has {name}, which is no number of JSON")

    def _fault(self, why: str) -> _Fault:
        self.faults.append(_Fault(why))
        return self.faults[-1]


def read(path: Path) -> Any:
    """The value in a file: text in UTF-8, with or without a byte-order mark.

    Raises
    ------
    InputError
        If there is no such file, it cannot be read, it is too large, or `parse` refuses it.
    """
    told = repr(str(path))
    if not path.is_file():
        raise InputError(f"there is no file {told}")
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= LARGEST_BYTES else b""
    except OSError as error:
        raise InputError(f"{told} cannot be read: {error.strerror}") from error
    if size > LARGEST_BYTES:
        raise InputError(f"{told} has {size} bytes; at most {LARGEST_BYTES} are read")
    return parse(data, told)


def parse(data: bytes | str, told: str) -> Any:
    """The value of a JSON text; `told` is what messages call it.

    Raises
    ------
    InputError
        If it is no text in UTF-8, no JSON, or holds something of the kinds that this module refuses.
    """
    if isinstance(data, bytes):
        try:
            data = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{told} is no text in UTF-8: its byte {error.start} is 0x{error.object[error.start]:02x}"
            ) from error
    parts = _Parts()
    try:
        value = json.loads(
            data,
            object_pairs_hook=parts.whole,
            parse_int=parts.integer,
            parse_float=parts.real,
            parse_constant=parts.constant,
        )
    except json.JSONDecodeError as error:
        raise InputError(f"{told} is no JSON from line {error.lineno}, column {error.colno} on") from error
    except RecursionError as error:
        raise InputError(f"{told} has values nested more than {LARGEST_DEPTH} deep") from error
    _refuse_depth(value, told)
    if parts.faults:
        place, found = _first_fault(value)
        raise InputError(f"{told} {found.why}{place and f', in {place}'}")
    return value


def fields(value: Any, told: str, required: Collection[str], optional: Collection[str] = ()) -> dict[str, Any]:
    """An object, which has all the required fields and none but these and the optional ones; else an InputError."""
    if not isinstance(value, dict):
        refuse(told, f"is {short(value)}; an object with {', '.join(required)} is needed")
    known = [*required, *optional]
    for name in value:
        if name not in known:
            refuse(told, f"has a field {short(name)}; the fields are {', '.join(known)}")
    for name in required:
        if name not in value:
            refuse(told, f"has no field {short(name)}")
    return value


def numbers(value: Any, told: str) -> Float[np.ndarray, "*shape"]:
    """Nested lists of numbers as an array; else an InputError. An integer becomes the nearest float64."""
    shape, entries = nested(value)
    result = np.empty(shape)
    for place, entry in zip(np.ndindex(*shape), entries, strict=True):
        result[place] = _float(entry, told + "".join(f"[{index}]" for index in place))
    return result


def nested(value: Any) -> tuple[tuple[int, ...], list[Any]]:
    """Shape and entries, row by row, of lists in lists; rows that differ in length are entries that are lists."""
    shape, level = [], [value]
    while level and all(isinstance(row, list) for row in level) and len({len(row) for row in level}) == 1:
        shape.append(len(level[0]))
        level = [entry for row in level for entry in row]
    return tuple(shape), level


def refuse(told: str, why: str) -> NoReturn:
    """One sentence: what it is about, what is wrong."""
    raise InputError(f"{told} {why}")


def short(value: Any) -> str:
    """The value as a message shows it: in JSON, at most 60 characters."""
    text = json.dumps(value, ensure_ascii=False)
    if not text.isprintable():
        text = json.dumps(value)
    return _cut(text)


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _float(entry: Any, told: str) -> float:
    if isinstance(entry, list):
        refuse(told, f"is {short(entry)}; rows of equal length, of numbers, are needed")
    if isinstance(entry, bool) or not isinstance(entry, int | float):
        refuse(told, f"is {short(entry)}; a number is needed")
    try:
        return float(entry)
    except OverflowError:
        refuse(told, f"is {short(entry)}; float64 does not hold it")


def _refuse_depth(value: Any, told: str) -> None:
    level, depth = [value], 0
    while level := [inner for outer in level for inner in _inner(outer) if isinstance(inner, list | dict)]:
        depth += 1
        if depth >= LARGEST_DEPTH:
            refuse(told, f"has values nested more than {LARGEST_DEPTH} deep")


def _inner(value: Any) -> Collection[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _first_fault(value: Any) -> tuple[str, _Fault]:
    """The first one in the order of the text, and where it stands: claims[0].bound."""
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        place, found = waiting.pop()
        if isinstance(found, _Fault):
            return place, found
        if isinstance(found, dict):
            inner = [(_dotted(place, key), entry) for key, entry in found.items()]
        else:
            inner = [(f"{place}[{number}]", entry) for number, entry in enumerate(_inner(found))]
        waiting += reversed(inner)
    raise AssertionError("a fault was noted that is nowhere")


def _dotted(place: str, key: str) -> str:
    if re.fullmatch(r"\w{1,40}", key):
        return f"{place}.{key}" if place else key
    return f"{place}[{short(key)}]"
