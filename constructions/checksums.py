"""The SHA-256 of every file of an export: that the files are those that were written, and nothing of what is true.

No claim reaches every weight: a unit that is off, a coordinate that nobody reads. A checksum does. But whoever alters
files on purpose writes new checksums beside them, so the claims are judged all the same.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from constructions.errors import InputError
from constructions.strict_json import refuse, short

MOST_FILES = 1000
"""KEPT_STEPS arrays and a few."""
_DIGEST = re.compile("[0-9a-f]{64}")


def of(contents: Mapping[str, bytes]) -> dict[str, str]:
    """By name of a file the SHA-256 of its bytes, in hexadecimal."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def require(folder: Path, stated: Any, told: str) -> None:
    """Refuse a directory of which a file that `stated` names is missing or has another SHA-256.

    Raises
    ------
    InputError
        Then; or if `stated`, which `told` names, is no object of names of files and their SHA-256.
    """
    if not isinstance(stated, dict) or len(stated) > MOST_FILES:
        found = f"{len(stated)} checksums" if isinstance(stated, dict) else f"{short(stated)} as its sha256"
        refuse(told, f"has {found}; an object of at most {MOST_FILES} files is needed")
    for name, digest in stated.items():
        if Path(name).name != name or not name.isprintable():
            refuse(told, f"has the sha256 of {short(name)}; it must be a file beside it")
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            refuse(told, f"has the sha256 {short(digest)} of {name!r}; 64 digits from 0 to f are needed")
    for name, digest in stated.items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"there is no file {str(path)!r}, of which {told} has the SHA-256")
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            refuse(repr(str(path)), f"cannot be read: {error.strerror}")
        if found != digest:
            refuse(
                repr(str(path)),
                f"is not the file that was exported: its SHA-256 begins with {found[:12]}, {told} states {digest[:12]}",
            )


def require_named(names: Iterable[str], stated: Mapping[str, str], told: str) -> None:
    """Refuse checksums that leave out a file which is read."""
    for name in names:
        if name not in stated:
            refuse(told, f"has no sha256 of {name!r}, which is read")
