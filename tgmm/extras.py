"""Packages that only some runs need, loaded when they do."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from constructions.errors import InputError


def require(package: str, user: str) -> Any:
    """A package of the extra `hf`, or an InputError that says what needs it and how it is installed."""
    try:
        return import_module(package)
    except ImportError as error:
        raise InputError(
            f"{user} needs {error.name or package}, which is not installed; pip install -e '.[hf]' -c constraints.txt "
            "does it"
        ) from error
