"""What a command leaves behind: a result as JSON, a figure, an export; all of them whole or none."""

from __future__ import annotations

import argparse
import io
import json
import platform
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from constructions import weights_file
from constructions.command_line import Parser, require_writable, write_all
from constructions.errors import InputError
from constructions.transformer import Transformer

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16}
EXPORTED = ("transformer.safetensors", "input.npy", "output.npy", "result.json")
LARGEST_LAYERS = 10_000
LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "safetensors")


def add_options(parser: Parser, figure: str) -> None:
    """The options that every construction's command has; `figure` says what --figure draws."""
    parser.add_argument("--dtype", choices=tuple(DTYPES), default="float64", help="default: float64")
    parser.add_argument(
        "--export",
        type=Path,
        metavar="DIR",
        help="write transformer.safetensors, input.npy, output.npy, result.json",
    )
    parser.add_argument(
        "--json",
        metavar="PATH|-",
        help="write the result as JSON (-: to standard output, and nothing else there)",
    )
    parser.add_argument("--figure", type=Path, metavar="PATH.png", help=figure)


def require(options: argparse.Namespace) -> None:
    """Refuse, before any work, a seed, a number of layers, or an output path that will not do."""
    if options.layers > LARGEST_LAYERS:
        raise InputError(f"--layers is {options.layers}; it must be at most {LARGEST_LAYERS}")
    if options.seed < 0:
        raise InputError(f"--seed is {options.seed}; it must not be negative")
    if options.figure is not None and options.figure.suffix != ".png":
        raise InputError(f"--figure is {str(options.figure)!r}; it must end in .png")
    paths = [Path(options.json)] if options.json not in (None, "-") else []
    paths += [options.figure] if options.figure is not None else []
    exported = [options.export / name for name in EXPORTED] if options.export is not None else []
    once: set[Path] = set()
    for path in paths + exported:
        if path.absolute() in once:
            raise InputError(f"{str(path)!r} would be written twice by --json, --figure and --export; they must differ")
        once.add(path.absolute())
    if options.export is not None and options.export.exists() and not options.export.is_dir():
        raise InputError(f"--export is {str(options.export)!r}, which is not a directory")
    if options.export is not None:
        paths += exported if options.export.is_dir() else [options.export]
    for path in paths:
        require_writable(path)


def write(
    options: argparse.Namespace,
    content: dict[str, Any],
    draw: Callable[[], bytes],
    transformer: Transformer,
    entry: dict[str, Any],
    tokens: np.ndarray,
    output: np.ndarray,
) -> None:
    """The files that the options ask for; `entry` is what the weights file says of itself, never of data."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    files: dict[Path, bytes] = {}
    if options.json not in (None, "-"):
        files[Path(options.json)] = text.encode()
    if options.figure is not None:
        files[options.figure] = draw()
    if options.export is not None:
        stored = np.float64 if options.dtype == "float64" else np.float32
        contents = (
            weights_file.serialise(transformer, entry),
            npy(tokens.astype(stored)),
            npy(output.astype(stored)),
            text.encode(),
        )
        files |= {options.export / name: part for name, part in zip(EXPORTED, contents, strict=True)}
    write_all(files)
    if options.json == "-":
        sys.stdout.write(text)


def versions() -> dict[str, str]:
    """Of Python and the libraries that compute."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def npy(array: np.ndarray) -> bytes:
    """The bytes of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def finite(value: float) -> float | None:
    """The number, or None (JSON's null) when it is infinite or none."""
    return float(value) if np.isfinite(value) else None
