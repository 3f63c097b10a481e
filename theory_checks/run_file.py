"""A run of the checks as one JSON file: what was asked, by which libraries it was answered, and all rows."""

from __future__ import annotations

import json
import platform
from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from constructions.errors import InputError
from theory_checks.ledger import OUTCOMES, Row

SCHEMA = 2
ADDED: dict[int, dict[str, Any]] = {1: {"coverage": None}, SCHEMA: {}}
"""The schemas that `load` reads, and what rows of each have not yet."""
LIBRARIES = ("numpy", "scipy", "torch", "python-flint", "sympy", "scikit-learn")


@dataclass(frozen=True)
class Run:
    """The rows of a run, sorted by id, and what they depend on."""

    seed: int
    certified: bool  # only what enclosures prove, on all its instances
    libraries: dict[str, str]  # name -> version
    rows: list[Row]


def libraries() -> dict[str, str]:
    """The versions of Python and of the libraries that compute."""
    return {"Python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def encoded(run: Run) -> bytes:
    """The file's content; `load` gives back the run."""
    content = {"schema": SCHEMA} | asdict(run)
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def load(path: Path) -> Run:
    """Read what `encoded` made.

    Raises
    ------
    InputError
        If there is no such file, or it is not, or no longer, a run.
    """

    def refuse(why: str) -> NoReturn:
        raise InputError(f"{str(path)!r} is not a run that --json saved: {why}")

    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    except RecursionError:
        refuse("it is nested too deeply")
    except UnicodeDecodeError:
        refuse("it is no text")
    except json.JSONDecodeError as error:
        refuse(f"no JSON from line {error.lineno} on")
    if not isinstance(content, dict) or "schema" not in content:
        refuse("it names no schema")
    schema = content.pop("schema")
    if type(schema) is not int or schema not in ADDED:
        refuse(f"its schema is none of {', '.join(map(str, ADDED))}")
    rows = content.get("rows")
    if not isinstance(rows, list):
        refuse("it has no list of rows")
    for number, row in enumerate(rows, start=1):
        if why := _misfit(row, Row, ADDED[schema]):
            refuse(f"in row {number} {why}")
        if set(row["counts"]) != set(OUTCOMES):
            refuse(f"in row {number} 'counts' does not count {', '.join(OUTCOMES)}")
        for field, name, met in (("negative_controls", "broken", "rejected"), ("repairs", "mended", "accepted")):
            if any({key: type(value) for key, value in c.items()} != {name: str, met: bool} for c in row[field]):
                refuse(f"in row {number} {field!r} does not say what was {met}")
    content["rows"] = [Row(**row, **ADDED[schema]) for row in rows]
    if why := _misfit(content, Run):
        refuse(why)
    ids = [row["id"] for row in rows]
    if len(set(ids)) < len(ids):
        refuse("two of its rows have the same id")
    return Run(**content)


def _misfit(values: object, kind: type[Run] | type[Row], absent: Collection[str] = ()) -> str:
    """What keeps `values` from being the fields of a `kind` but those `absent`; empty if nothing does."""
    if not isinstance(values, dict):
        return "there are no fields"
    hints = get_type_hints(kind)
    named = [field.name for field in fields(kind) if field.name not in absent]
    if other := sorted(set(named) ^ set(values)):
        return f"{other[0]!r} is {'missing' if other[0] in named else 'no field'}"
    return next((f"{name!r} has another type" for name in named if not _fits(values[name], hints[name])), "")


def _fits(value: object, hint: Any) -> bool:
    """Whether a value read from JSON is of the type."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin is Literal:
        return value in inner
    if origin is list:
        return isinstance(value, list) and all(_fits(v, inner[0]) for v in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(k, inner[0]) and _fits(v, inner[1]) for k, v in value.items())
    if origin in (Union, UnionType):
        return any(_fits(value, option) for option in inner)
    return type(value) in ((int, float) if hint is float else (hint,))  # exactly: True is no number
