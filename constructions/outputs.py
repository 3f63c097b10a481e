"""What a command leaves behind: a result as JSON, a figure, an export; all of them whole or none."""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from constructions.command_line import Parser
from constructions.errors import InputError
from constructions.files import earlier, require_directory, require_writable, takes_stream, write_all

Claimed = tuple[list[dict[str, Any]], dict[str, np.ndarray]]
"""Entries of claims.json, and the arrays that they name by file."""
FLOATS = ("float64", "float32", "bfloat16")
"""What --dtype may be; `constructions.dtypes` has them as torch knows them."""
EXPORTED = ("transformer.safetensors", "input.npy", "output.npy", "result.json", "claims.json")
ARRAYS = re.compile(r"pooling\.npy|before_(step_[0-9]{1,4}|last_step)\.npy")  # that some claims name, or once did
LARGEST_LAYERS = 10_000
PRECISIONS = 16, 2**16  # the fewest and the most bits of a ball
LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "safetensors")


def add_options(parser: Parser, figure: str) -> None:
    """The options that every construction's command has; `figure` says what --figure draws."""
    parser.add_argument("--dtype", choices=FLOATS, help="default: float64")
    parser.add_argument(
        "--precision",
        type=int,
        metavar="BITS",
        help="instead of floats: weights built and layers evaluated in real balls of so many bits "
        f"({PRECISIONS[0]} to {PRECISIONS[1]}), doubled while a verdict is undecided; everything is shown enclosed; "
        "without --dtype, --execution dense, --plan, --figure, --export",
    )
    parser.add_argument(
        "--execution",
        choices=("structured", "dense"),
        default="structured",
        help="structured: the same weights at a cost linear in N (default); dense: every product written out",
    )
    parser.add_argument("--plan", action="store_true", help="show how every layer is executed, and at what cost")
    parser.add_argument(
        "--export",
        type=Path,
        metavar="DIR",
        help="write transformer.safetensors, input.npy, output.npy, result.json, and claims.json with what it names: "
        "`python -m theory_checks verify DIR` checks them",
    )
    parser.add_argument(
        "--force", action="store_true", help="export into a directory that holds other files, or another construction"
    )
    parser.add_argument(
        "--json",
        metavar="PATH|-",
        help="write the result as JSON (-: to standard output, and nothing else there)",
    )
    parser.add_argument("--figure", type=Path, metavar="PATH.png", help=figure)


def require(options: argparse.Namespace, construction: str) -> None:
    """Refuse, before any work, a seed, a number of layers, a precision, or an output path that will not do.

    `construction` is what the command builds, such as em_transformer; an export of another one is left as it is.

    A number format that is left open becomes float64, or the balls of --precision.
    """
    if options.layers > LARGEST_LAYERS:
        raise InputError(f"--layers is {options.layers}; it must be at most {LARGEST_LAYERS}")
    if options.seed < 0:
        raise InputError(f"--seed is {options.seed}; it must not be negative")
    if options.precision is not None:
        _require_precision(options)
    options.dtype = options.dtype or ("float64" if options.precision is None else f"{options.precision}-bit ball")
    if options.plan and options.execution == "dense":
        raise InputError("--plan shows the structured execution; it does not go with --execution dense")
    if options.figure is not None and options.figure.suffix != ".png":
        raise InputError(f"--figure is {str(options.figure)!r}; it must end in .png")
    if options.force and options.export is None:
        raise InputError("--force is about the directory of --export, which is missing")
    if options.export is not None:
        held = partial(_held, options.export, construction)
        require_directory("--export", options.export, own, options.force, held)
    paths = [Path(options.json)] if options.json not in (None, "-") else []
    paths += [options.figure] if options.figure is not None else []
    exported = [options.export / name for name in EXPORTED] if options.export is not None else []
    for path in paths if options.export is not None else []:
        if path.parent == options.export and ARRAYS.fullmatch(path.name):
            raise InputError(f"{str(path)!r} is the name of an array of --export; --json and --figure must differ")
    once: set[str] = set()
    for path in paths + exported:
        if not takes_stream(path) and os.path.realpath(path) in once:
            raise InputError(f"{str(path)!r} would be written twice by --json, --figure and --export; they must differ")
        once.add(os.path.realpath(path))
    for path in paths:
        require_writable(path)
    if options.figure is not None:
        require_backend()


def require_backend() -> None:
    """Refuse, before anything is computed for a picture, a MPLBACKEND that matplotlib does not know."""
    try:
        import matplotlib  # noqa: F401 - reads it
    except ValueError as error:
        given = os.environ.get("MPLBACKEND")
        raise InputError(
            f"MPLBACKEND is {given!r}, which matplotlib does not know; unset it, pictures need none"
        ) from error


def own(name: str) -> bool:
    """Whether --export writes a file of this name, or once did."""
    return name in EXPORTED or ARRAYS.fullmatch(name) is not None


def _held(folder: Path, construction: str, first: str) -> str:
    """What a directory holds in which all names are ours; nothing if it is an export of the same construction."""
    found = _exported_construction(folder / EXPORTED[0])
    return "" if found == construction else repr(first) if found is None else f"an export of {found}"


def _exported_construction(path: Path) -> str | None:
    """What a weights file says that it was built as, without its form; None if it says nothing."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            entry = json.loads((file.metadata() or {})["construction"])
            return str(entry["name"]).split("/")[0]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError):
        return None


def _require_precision(options: argparse.Namespace) -> None:
    least, most = PRECISIONS
    if not least <= options.precision <= most:
        raise InputError(f"--precision is {options.precision}; it must lie between {least} and {most} bits")
    for name, given in (
        (f"--dtype {options.dtype}", options.dtype),
        ("--execution dense", options.execution == "dense"),
        ("--plan", options.plan),
        ("--figure", options.figure),
        ("--export", options.export),
    ):
        if given:
            raise InputError(
                f"--precision {options.precision} and {name} do not go together: a run in balls has no float format, "
                "no execution plan, and no output but text and --json"
            )


def write(
    options: argparse.Namespace,
    content: dict[str, Any],
    draw: Callable[[], bytes],
    weights: Callable[[], bytes],
    tokens: np.ndarray,
    output: Callable[[], np.ndarray],
    claimed: Callable[[], Claimed],
) -> None:
    """The files that the options ask for, and nothing that they do not.

    `weights` is the weights file, which says nothing of data. `tokens` (N×D) went in, `output` is what came out,
    `claimed` are the claims and the arrays that they name.
    """
    files: dict[Path, bytes] = {}
    stale: list[Path] = []
    if options.figure is not None:
        files[options.figure] = draw()
    if options.export is not None:
        from constructions import claims

        stored = np.float64 if options.dtype == "float64" else np.float32
        listed, arrays = claimed()
        contents = (
            weights(),
            npy(tokens.astype(stored)),
            npy(output().astype(stored)),
            _encoded(content).encode(),
        )
        exported = dict(zip(EXPORTED[:-1], contents, strict=True))
        exported |= {name: npy(array.astype(stored)) for name, array in arrays.items()}
        files |= {options.export / name: part for name, part in exported.items()}
        files[options.export / claims.NAME] = claims.text(exported, listed).encode()
        stale = [path for path in earlier(options.export, own) if path not in files]
    write_result(options, content, files, stale)


def write_result(
    options: argparse.Namespace,
    content: dict[str, Any],
    others: Mapping[Path, bytes] = MappingProxyType({}),
    stale: Iterable[Path] = (),
) -> None:
    """The result as --json asks for it, and other files: all of them or none. Those of an earlier run go."""
    text = _encoded(content)
    written = {} if options.json in (None, "-") else {Path(options.json): text.encode()}
    write_all(written | dict(others), stale)
    if options.json == "-":
        sys.stdout.write(text)


def _encoded(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def versions(*others: str) -> dict[str, str]:
    """Of Python and the libraries that compute, and of others that do."""
    return {"python": platform.python_version(), **{name: version(name) for name in (*LIBRARIES, *others)}}


def npy(array: np.ndarray) -> bytes:
    """The bytes of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def finite(value: float) -> float | None:
    """The number, or None (JSON's null) when it is infinite or none."""
    return float(value) if np.isfinite(value) else None
