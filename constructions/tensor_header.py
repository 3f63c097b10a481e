"""The header of a safetensors file, read strictly: what the file holds, before any of it is read.

The file: eight bytes that say how long the header is, the header in JSON, and the tensors, one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from constructions import strict_json
from constructions.strict_json import refuse, short

LARGEST_HEADER = 2**24
"""Bytes."""
SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "U32": 4, "I32": 4, "U64": 8, "I64": 8, "F8_E4M3": 1}
SIZES |= {"F8_E5M2": 1, "F16": 2, "BF16": 2, "F32": 4, "F64": 8, "C64": 8}
"""Bytes of a number in each format."""


@dataclass(frozen=True)
class Stored:
    """A tensor's format, a key of SIZES, and shape."""

    format: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Header:
    """The tensors by name, and the file's own texts."""

    tensors: dict[str, Stored]
    metadata: dict[str, str]


def read(path: Path) -> Header:
    """The header of a file whose tensors lie in it one after the other, without gaps.

    Raises
    ------
    InputError
        If the file is missing, is no safetensors file, breaks off, or its header says something that is not so.
    """
    told = repr(str(path))
    if not path.is_file():
        refuse("there", f"is no file {told}")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            text = file.read(length) if length <= LARGEST_HEADER else b""
    except OSError as error:
        refuse(told, f"cannot be read: {error.strerror}")
    if size < 8:
        refuse(told, f"has {size} bytes; a safetensors file begins with 8 that say how long its header is")
    if 8 + length > size:
        refuse(told, f"is no safetensors file, or breaks off: its header would have {length} of its {size} bytes")
    if length > LARGEST_HEADER:
        refuse(told, f"has a header of {length} bytes; at most {LARGEST_HEADER} are read")
    if not text.startswith(b"{"):
        refuse(told, "is no safetensors file: its header does not begin with '{'")
    content = strict_json.parse(text, f"the header of {told}")
    metadata = content.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        refuse(f"the header of {told}", f"has the '__metadata__' {short(metadata)}; an object of texts is needed")
    tensors, places = {}, {}
    for name, entry in content.items():
        tensors[name], places[name] = _entry(entry, f"the header of {told}: {short(name)}")
    _require_consecutive(places, size - 8 - length, told)
    return Header(tensors, metadata)


def _entry(entry: Any, told: str) -> tuple[Stored, tuple[int, int]]:
    strict_json.fields(entry, told, ("dtype", "shape", "data_offsets"))
    form, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(form, str) or form not in SIZES:
        refuse(told, f"has the dtype {short(form)}; it must be one of {', '.join(SIZES)}")
    if not _sizes(shape):
        refuse(told, f"has the shape {short(shape)}; a list of integers, not negative, is needed")
    if not _sizes(offsets) or len(offsets) != 2:
        refuse(told, f"has the data_offsets {short(offsets)}; two integers, not negative, are needed")
    if offsets[1] - offsets[0] != prod(shape) * SIZES[form]:
        refuse(told, f"has the data_offsets {offsets}, but {form} of shape {shape} takes {prod(shape) * SIZES[form]}")
    return Stored(form, tuple(shape)), (offsets[0], offsets[1])


def _sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)


def _require_consecutive(places: dict[str, tuple[int, int]], size: int, told: str) -> None:
    end = 0
    for name, (start, stop) in sorted(places.items(), key=lambda item: item[1]):
        if start != end:
            fault = "overlaps" if start < end else "leaves a gap after"
            refuse(f"the header of {told}", f"has {short(name)} from byte {start} on, which {fault} what ends at {end}")
        end = stop
    if end != size:
        refuse(told, f"has {size} bytes of tensors, but its header tells of {end}")
