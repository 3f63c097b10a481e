"""Files that are written whole or not at all, wherever their paths lead."""

from __future__ import annotations

import os
import re
import secrets
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from constructions import process
from constructions.errors import InputError

STAGED = re.compile(r"(.*/)?\.(.+)\.[0-9a-f]{8}")
"""A file beside its place, which a killed process leaves there: its directory, and the name that it would have got."""
Own = Callable[[str], bool]
"""Whether a command writes something of this name below its directory; that of a directory ends in a slash."""


def _status(path: Path) -> os.stat_result | None:
    """What the path leads to, through links; None if there is nothing yet."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as error:  # a name too long, a link that leads to itself, a directory that is closed
        strerror = "there is no such directory" if isinstance(error, NotADirectoryError) else error.strerror
        raise InputError(f"{str(path)!r} cannot be written: {strerror}") from error


def takes_stream(path: Path) -> bool:
    """Whether what is written there is sent, not kept: a terminal, a device, a pipe, our own standard output."""
    found = _status(path)
    return found is not None and (_own(found) is not None or not stat.S_ISREG(found.st_mode))


def _own(found: os.stat_result) -> int | None:
    """Standard output or error, if it is that: a file that the shell is writing must not be replaced."""
    for descriptor in (1, 2):
        with suppress(OSError):
            if os.path.samestat(found, os.fstat(descriptor)):
                return descriptor
    return None


def require_writable(path: Path) -> None:
    """Refuse, before any work, a file that cannot be written.

    That is one that is a directory, or closed, or in a directory that is missing or closed. A path that leads through
    links is judged where it ends.

    Raises
    ------
    InputError
        With the path and the reason.
    """
    found = _status(path)
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise InputError(f"{str(path)!r} cannot be written: it is a directory")
    if found is not None and (stat.S_ISSOCK(found.st_mode) or stat.S_ISBLK(found.st_mode)):
        raise InputError(f"{str(path)!r} cannot be written: it is neither a file nor a terminal, device or pipe")
    if found is not None and not os.access(path, os.W_OK):
        raise InputError(f"{str(path)!r} cannot be written: it is read-only")
    if takes_stream(path):
        return
    parent = Path(os.path.realpath(path)).parent
    if not parent.is_dir():
        raise InputError(f"{str(path)!r} cannot be written: there is no directory {str(parent)!r}")
    if not os.access(parent, os.W_OK):
        raise InputError(f"{str(path)!r} cannot be written: the directory {str(parent)!r} is not writable")


def require_directory(
    option: str, folder: Path, own: Own, force: bool, held: Callable[[str], str] = lambda first: ""
) -> None:
    """Refuse, before any work, a directory that cannot be written, or, without `force`, that holds other files.

    Where all that it holds has names that are `own`, `held` is asked with the first of them what the directory holds
    that is of another kind; it answers nothing if nothing is.

    Raises
    ------
    InputError
        With the option, the directory, and the reason.
    """
    found = _status(folder)
    if found is None:
        require_writable(folder)
        return
    if not stat.S_ISDIR(found.st_mode):
        raise InputError(f"{option} is {str(folder)!r}, which is not a directory")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{option} is {str(folder)!r}, a directory that is not writable")
    names = list(_names(folder, own))
    for name, owned in names:
        if owned:
            require_writable(folder / name)
    other = next((repr(name) for name, owned in names if not owned), "")
    if names and not force and (other := other or held(names[0][0])):
        raise InputError(
            f"{option} is {str(folder)!r}, which holds {other}; choose a new directory, or --force to write into it"
        )


def earlier(folder: Path, own: Own) -> list[Path]:
    """A command's own files that its directory holds, also those that a process was writing when it was killed."""
    return [folder / name for name, owned in _names(folder, own) if owned] if folder.is_dir() else []


def _names(folder: Path, own: Own, below: str = "") -> Iterator[tuple[str, bool]]:
    """The names in a directory, and in those below it that are own, in order; and whether they are own."""
    for name in sorted(os.listdir(folder / below)):
        path = below + name
        if (folder / path).is_dir() and own(f"{path}/"):
            yield from _names(folder, own, f"{path}/")
        else:
            staged = STAGED.fullmatch(path)
            yield path, own(path) or (staged is not None and own((staged[1] or "") + staged[2]))


def write_all(files: Mapping[Path, bytes], stale: Iterable[Path] = ()) -> None:
    """Write every file beside its place, then move all there and remove the `stale` ones: none is ever half written.

    A link stays, and what it leads to is replaced; a new file gets the permissions that the umask leaves, an old one
    keeps its own. Devices and pipes are written to, after the files are known to fit. A directory that is missing is
    made, one level deep.

    Raises
    ------
    InputError
        With the path that cannot be written, and the reason; then there is nothing of any of them.
    """
    moves: list[tuple[str, str]] = []
    made: list[Path] = []
    streams: list[tuple[Path, bytes]] = []
    path = Path()
    try:
        for path, content in files.items():
            if takes_stream(path):
                streams.append((path, content))
                continue
            place = Path(os.path.realpath(path))
            if not place.parent.is_dir():
                with process.held():
                    place.parent.mkdir()
                    process.staged.add(str(place.parent))
                    made.append(place.parent)
            moves.append((_beside(place, content), str(place)))
        for path, content in streams:
            _send(path, content)
        with process.held():
            for name, where in moves:
                path = Path(where)
                os.replace(name, where)
                process.staged.discard(name)
            for path in stale:
                path.unlink(missing_ok=True)
            process.staged.difference_update(map(str, made))
            made = []
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be written: {error.strerror or error}") from error
    finally:
        for name, _ in moves:
            Path(name).unlink(missing_ok=True)
            process.staged.discard(name)
        for directory in made:
            with suppress(OSError):
                directory.rmdir()
            process.staged.discard(str(directory))


def _beside(place: Path, content: bytes) -> str:
    """Write the content to a new file beside the place; its name."""
    name = str(place.parent / f".{place.name[:50]}.{secrets.token_hex(4)}")  # STAGED
    old = _status(place)
    process.staged.add(name)
    try:
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            if old is not None:
                os.fchmod(handle, stat.S_IMODE(old.st_mode))
    except BaseException:
        Path(name).unlink(missing_ok=True)
        process.staged.discard(name)
        raise
    return name


def _send(path: Path, content: bytes) -> None:
    """Write to a device, a pipe, or our own standard output behind what is there already."""
    own = _own(os.stat(path))
    if own is not None:
        (sys.stdout, sys.stderr)[own - 1].flush()
    with open(path, "wb", 0) if own is None else os.fdopen(os.dup(own), "wb", 0) as file:
        remaining = memoryview(content)
        while remaining:
            remaining = remaining[file.write(remaining) or 0 :]
