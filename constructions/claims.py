"""What an export claims of its weights: `claims.json` beside them, read back with everything that it names.

A claim: from the tokens `input`, after the layers [start, stop) of the schedule, the read-out W·h[:, coordinates] is
within `bound` of `reference`. proofs_notes/export.md describes the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

import numpy as np

from constructions import checksums, exact_arrays, strict_json, weights_file
from constructions.balls import fill
from constructions.errors import InputError
from constructions.strict_json import LARGEST_DIGITS, refuse, short
from constructions.transformer import Transformer
from constructions.weights import Array

FORMAT = 2
"""What is written. Format 1 had no checksums; it is read, and is what a file without them says that it is."""
NAME, WEIGHTS = "claims.json", "transformer.safetensors"
MOST_CLAIMS = 10_000
MOST_NUMBERS, MOST_INLINE = 2**28, 2**21
"""Of all claims together: what is compared, bounds and weights of tokens; and what stands in the file itself."""
FRACTION = rf"-?[0-9]{{1,{LARGEST_DIGITS}}}(/0*[1-9][0-9]{{0,{LARGEST_DIGITS - 1}}})?"
Norm = Literal["euclidean", "absolute"]
FIELDS = (
    "name",
    "input",
    "layers",
    "tokens",
    "coordinates",
    "reference",
    "norm",
    "bound",
    "rounding",
    "trivial",
    "why",
)


@dataclass(frozen=True, eq=False)
class Claim:
    """One line of `claims.json`, complete; arrays hold floats, or Fractions where the file has them inline."""

    name: str
    source: str  # the name of `input`
    input: Array  # N×D
    layers: tuple[int, int]
    tokens: Array | None  # indices (m), weights (m×N), or None: every token by itself
    coordinates: Array  # c indices
    reference: Array  # m×c
    norm: Norm  # of the rows of the difference, or of its entries one by one
    bound: Array  # of shape m or m×c
    rounding: float  # what an evaluation in float64 may add to it
    trivial: float  # a bound from here on says nothing

    def read_out(self, stream: Array, tokens: Array | None) -> Array:
        """W·stream[:, coordinates] (m×c); `tokens` is the claim's own, its weights in the stream's number system."""
        read = stream[:, self.coordinates]
        if tokens is None:
            return read
        return read[tokens] if tokens.ndim == 1 else np.asarray(tokens @ read)


@dataclass(frozen=True, eq=False)
class Export:
    """The weights in a directory and what is claimed of them."""

    transformer: Transformer
    claims: list[Claim]
    sealed: int  # files, all that were read, that have the SHA-256 which claims.json states; 0 in format 1


def read(folder: Path) -> tuple[Transformer, list[Claim]]:
    """The weights and claims of `read_export`."""
    export = read_export(folder)
    return export.transformer, export.claims


def read_export(folder: Path) -> Export:
    """The weights in a directory, what is claimed of them, and whether checksums say that these are the files.

    Raises
    ------
    InputError
        If a file or a tensor is missing or damaged or is not the one that was exported, a number is not finite, a
        format is another one, or a claim does not say what it must or does not fit the weights.
    """
    if not folder.is_dir():
        raise InputError(f"there is no directory {str(folder)!r}")
    path = folder / NAME
    told = repr(str(path))
    content = strict_json.read(path)
    form = content.get("format") if isinstance(content, dict) else None
    sealed = form == FORMAT and type(form) is int
    strict_json.fields(content, told, ("format", "claims", *(("sha256",) if sealed else ())))
    if type(form) is not int or form not in (1, FORMAT):
        refuse(told, f"has format {short(form)}; this version reads 1 and {FORMAT}")
    entries = content["claims"]
    if not isinstance(entries, list) or not 1 <= len(entries) <= MOST_CLAIMS:
        found = f"{len(entries)} claims" if isinstance(entries, list) else f"{short(entries)} as its claims"
        refuse(told, f"has {found}; a list of 1 to {MOST_CLAIMS} is needed")
    if sealed:
        checksums.require(folder, content["sha256"], told)
    transformer, _ = weights_file.load(folder / WEIGHTS)
    beside = _Beside({})
    listed = [_Reader(folder, beside, number, entry).claim(transformer) for number, entry in enumerate(entries)]
    if sealed:
        checksums.require_named((WEIGHTS, *beside.files), content["sha256"], told)
    return Export(transformer, listed, len(content["sha256"]) if sealed else 0)


def seal(folder: Path) -> None:
    """Write the claims of a directory anew, in this format, with the SHA-256 of every other file in it.

    For exports written by hand, and for those changed on purpose: nobody can tell them from exports that were not.
    """
    content = strict_json.read(folder / NAME)
    files = sorted(path for path in folder.iterdir() if path.name != NAME)
    (folder / NAME).write_text(text({path.name: path.read_bytes() for path in files}, content["claims"]))


def text(files: Mapping[str, bytes], listed: Iterable[Any]) -> str:
    """What `claims.json` says of the files beside it: a checksum, and a claim, a line."""
    digests = ",\n  ".join(f"{json.dumps(name)}: {json.dumps(digest)}" for name, digest in checksums.of(files).items())
    entries = ",\n  ".join(json.dumps(entry, allow_nan=False) for entry in listed)
    return f'{{\n"format": {FORMAT},\n"sha256": {{\n  {digests}}},\n"claims": [\n  {entries}]\n}}\n'


@dataclass
class _Beside:
    """The arrays read so far, and how much all claims so far have: MOST_NUMBERS, MOST_INLINE."""

    files: dict[str, Array]
    numbers: int = 0
    inline: int = 0


class _Reader:
    """One entry of `claims.json`."""

    def __init__(self, folder: Path, beside: _Beside, number: int, entry: Any) -> None:
        self.folder, self.beside, self.entry = folder, beside, entry
        self.name = f"claim {number}"
        if not isinstance(entry, dict):
            self._refuse(f"is {short(entry)}; it must be an object")
        unknown = [key for key in entry if key not in FIELDS]
        if unknown:
            self._refuse(f"has a field {short(unknown[0])}; the fields are {', '.join(FIELDS)}")
        if "name" in entry:
            self.name = f"claim {entry['name']!r}"
        for field in ("name", "why"):
            if not isinstance(entry.get(field, ""), str) or (field == "name" and not entry.get(field)):
                self._refuse(f"has the {field} {short(entry.get(field))}; it must be text")
        if not entry["name"].isprintable():  # a table shows it: no line of its own, no commands to a terminal
            self._refuse("has a name with characters that cannot be printed on one line")
        missing = [field for field in ("reference", "bound") if field not in entry]
        if missing:
            self._refuse(f"has no {missing[0]!r}")

    def claim(self, transformer: Transformer) -> Claim:
        """The entry, checked against the weights."""
        source = self.entry.get("input", "input.npy")
        tokens = self._array("input", source)
        if not isinstance(source, str) or tokens.ndim != 2 or not len(tokens) or tokens.shape[1] != transformer.width:
            self._refuse(f"starts from {short(source)} of shape {tokens.shape}; (N, {transformer.width}) is needed")
        count, width = tokens.shape
        coordinates = self._indices("coordinates", self.entry.get("coordinates", list(range(width))), width)
        pooling, rows = None, count
        if "tokens" in self.entry:
            pooling = self._tokens(self.entry["tokens"], count)
            rows = len(pooling)
        self._require_few(rows * len(coordinates) + (pooling.size if pooling is not None else 0))
        reference = self._array("reference", self.entry["reference"])
        if reference.shape == (count, width) and pooling is None:
            reference = reference[:, coordinates]
        shape = rows, len(coordinates)
        if reference.shape != shape:
            self._refuse(f"has a reference of shape {reference.shape} for a read-out of shape {shape}")
        norm = self.entry.get("norm", "euclidean")
        if norm not in get_args(Norm):
            self._refuse(f"has the norm {short(norm)}; it must be one of {', '.join(get_args(Norm))}")
        bounds = shape[:1] if norm == "euclidean" else shape
        bound = self._floats("bound", self.entry["bound"])
        if bound.shape not in ((), bounds):
            self._refuse(f"has a bound of shape {bound.shape}; a number or {bounds} is needed")
        self._require_few(bound.size)
        rounding, trivial = (self._number(field, default) for field, default in (("rounding", 0.0), ("trivial", inf)))
        if (bound < 0).any():
            self._refuse(f"has a bound of {bound.min():g}; none may be negative")
        for field, value in (("rounding", rounding), ("trivial", trivial)):
            if value < 0:
                self._refuse(f"has the {field} {value:g}; it must not be negative")
        return Claim(
            self.entry["name"],
            source,
            tokens,
            self._layers(len(transformer.schedule)),
            pooling,
            coordinates,
            reference,
            norm,
            np.broadcast_to(bound, bounds),
            rounding,
            trivial,
        )

    def _layers(self, total: int) -> tuple[int, int]:
        given = self.entry.get("layers", [0, total])
        integers = isinstance(given, list) and len(given) == 2 and all(type(value) is int for value in given)
        if not integers or not 0 <= given[0] < given[1] <= total:
            self._refuse(f"has the layers {short(given)}; [start, stop) must lie in [0, {total})")
        return given[0], given[1]

    def _tokens(self, given: Any, count: int) -> Array:
        if isinstance(given, list) and given and not isinstance(given[0], list):
            return self._indices("tokens", given, count)
        weights = self._floats("tokens", given)
        if weights.ndim != 2 or weights.shape[1] != count or not len(weights):
            self._refuse(f"has tokens of shape {weights.shape}; indices of tokens or (m, {count}) weights are needed")
        return weights

    def _indices(self, field: str, given: Any, limit: int) -> Array:
        if not isinstance(given, list) or not given or not all(type(v) is int and 0 <= v < limit for v in given):
            self._refuse(f"has the {field} {short(given)}; indices from 0 to {limit - 1} are needed")
        return np.array(given)

    def _number(self, field: str, default: float) -> float:
        value = self._floats(field, self.entry[field]) if field in self.entry else np.array(default)
        if value.shape:
            self._refuse(f"has a {field} that is not one number")
        return float(value)

    def _floats(self, field: str, given: Any) -> Array:
        array = self._array(field, given)
        try:
            return array.astype(np.float64, copy=False)
        except OverflowError:
            self._refuse(f"has a {field} beyond the range of float64")

    def _array(self, field: str, given: Any) -> Array:
        """The array in a .npy file beside the claims, as floats; or inline numbers and fractions such as "2/3"."""
        if isinstance(given, str) and given.endswith(".npy"):
            if given not in self.beside.files:
                path = self.folder / given
                if Path(given).name != given:
                    self._refuse(f"names {given!r}; its {field} must be a file beside it")
                if not path.is_file():
                    raise InputError(f"there is no file {str(path)!r}, which {self.name} names")
                self.beside.files[given] = exact_arrays.read(path)
            return self.beside.files[given]
        shape, entries = strict_json.nested(given)
        self.beside.inline += len(entries)
        if self.beside.inline > MOST_INLINE:
            self._refuse(
                f"has {len(entries)} numbers in its {field}, with the claims before {self.beside.inline}; the file "
                f"itself may have {MOST_INLINE}, arrays beside it more"
            )
        return fill((self._fraction(field, entry) for entry in entries), shape)

    def _fraction(self, field: str, value: Any) -> Fraction:
        if isinstance(value, str) and re.fullmatch(FRACTION, value):
            return Fraction(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or value in (inf, -inf):
            self._refuse(f"has {short(value)} in its {field}; finite numbers or fractions such as '2/3' are needed")
        return Fraction(value)

    def _require_few(self, numbers: int) -> None:
        self.beside.numbers += numbers
        if self.beside.numbers > MOST_NUMBERS:
            self._refuse(
                f"has {numbers} numbers to compare or to weigh tokens with, with the claims before "
                f"{self.beside.numbers}; {MOST_NUMBERS} are read"
            )

    def _refuse(self, why: str) -> NoReturn:
        raise InputError(f"{self.name} of {str(self.folder / NAME)!r} {why}")
