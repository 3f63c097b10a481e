"""The residual stream: R^D cut into named subspaces, in an explicit order."""

from __future__ import annotations

import re
from collections.abc import Mapping

from constructions.weights import Array

_REFERENCE = re.compile(r"(?P<name>\w+)(\[(?P<start>\d+)(:(?P<stop>\d+))?\])?")


class ResidualStream:
    """Named, disjoint, consecutive subspaces; the order of `sizes` is the order of the coordinates.

    A reference is a name, or a name with a range relative to it: "vec", "vec[2]", "slice[3:6]".

    Raises
    ------
    ValueError
        If a size is not a positive integer.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._slices: dict[str, slice] = {}
        start = 0
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"subspace {name!r} has size {size}; it must be at least 1")
            self._slices[name] = slice(start, start + size)
            start += size
        self.width = start

    @classmethod
    def from_layout(cls, layout: Mapping[str, tuple[int, int]]) -> ResidualStream:
        """Rebuild a stream from name -> [start, stop), as a weights file stores it.

        Raises
        ------
        ValueError
            If two subspaces overlap, or leave a gap.
        """
        expected, previous = 0, "the beginning"
        for name, (start, stop) in sorted(layout.items(), key=lambda item: item[1]):
            if start != expected:
                fault = "overlaps" if start < expected else "leaves a gap after"
                raise ValueError(f"subspace {name!r} starts at {start} and {fault} {previous}")
            expected, previous = stop, repr(name)
        ordered = sorted(layout.items(), key=lambda item: item[1])
        return cls({name: stop - start for name, (start, stop) in ordered})

    @property
    def layout(self) -> dict[str, tuple[int, int]]:
        """Name -> (start, stop), in order."""
        return {name: (where.start, where.stop) for name, where in self._slices.items()}

    def __getitem__(self, reference: str) -> slice:
        """The coordinates that a reference names.

        Raises
        ------
        KeyError
            If the name is unknown or the range leaves its subspace.
        """
        match = _REFERENCE.fullmatch(reference)
        if match is None or match["name"] not in self._slices:
            raise KeyError(f"{reference!r} names no subspace of {', '.join(self._slices)}")
        whole = self._slices[match["name"]]
        if match["start"] is None:
            return whole
        start = int(match["start"])
        stop = int(match["stop"]) if match["stop"] is not None else start + 1
        if not start < stop <= whole.stop - whole.start:
            raise KeyError(f"{reference!r} leaves {match['name']!r}, whose size is {whole.stop - whole.start}")
        return slice(whole.start + start, whole.start + stop)

    def size(self, reference: str) -> int:
        """How many coordinates a reference names."""
        where = self[reference]
        return int(where.stop - where.start)

    def place(self, tokens: Array, parts: Mapping[str, Array]) -> Array:
        """The tokens (N×D) with each part (N×n) in the first n coordinates of its subspace; the rest is padding."""
        for reference, part in parts.items():
            begin = self[reference].start
            tokens[:, begin : begin + part.shape[1]] = part
        return tokens
