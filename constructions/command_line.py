"""What every command does alike: one sentence on bad input, progress, files written whole or not at all."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from constructions.errors import InputError


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are InputErrors."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage."""
        raise InputError(f"{message} (--help lists the options)")


def run_command(body: Callable[[], int]) -> int:
    """The body's exit code, or 2 and one sentence on standard error for bad input."""
    try:
        return body()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "tried to allocate" not in str(error).lower():  # as torch says it
            raise
        print("error: this run needs more memory than there is; use fewer samples or a smaller class", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a name too long, a directory that cannot be made
        if error.filename is None:
            raise
        print(f"error: {str(error.filename)!r} cannot be used: {error.strerror}", file=sys.stderr)
        return 2


class Progress:
    """`progress(done, of)` shows how far a long run is, on standard error, at most every two seconds.

    Where the parts are of unequal cost, `progress(done, of, share)` with the share of the work that is done.
    """

    def __init__(self, what: str, interval: float = 2.0) -> None:
        self.what, self.interval = what, interval
        self.began = self.shown = time.monotonic()
        self.live = sys.stderr.isatty()

    def __enter__(self) -> Progress:
        return self

    def __call__(self, done: int, of: int, share: float | None = None) -> None:
        """Report, unless the last report is recent."""
        now = time.monotonic()
        if now - self.shown < self.interval:
            return
        self.shown = now
        left = (now - self.began) * (1 / (done / of if share is None else share) - 1)
        text = f"{self.what} {done} of {of}, about {left:.0f} s left"
        print(
            f"\r{text}\x1b[K" if self.live else text,
            end="" if self.live else "\n",
            file=sys.stderr,
            flush=True,
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live and self.shown != self.began:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def require_writable(path: Path) -> None:
    """Refuse, before any work, a file that cannot be written: its directory is missing or closed, or it is one."""
    parent = path.absolute().parent
    if path.is_dir():
        raise InputError(f"{str(path)!r} cannot be written: it is a directory")
    if not parent.is_dir():
        raise InputError(f"{str(path)!r} cannot be written: there is no directory {str(parent)!r}")
    if not os.access(parent, os.W_OK):
        raise InputError(f"{str(path)!r} cannot be written: the directory {str(parent)!r} is not writable")


def add_json_option(parser: Parser, what: str) -> None:
    """`--json PATH|-`, whose path is known to be writable as soon as it is parsed."""

    def destination(text: str) -> str:
        try:
            if text != "-":
                require_writable(Path(text))
        except InputError as error:  # a ValueError, of which argparse would not tell the reason
            raise argparse.ArgumentTypeError(str(error)) from error
        return text

    parser.add_argument(
        "--json",
        type=destination,
        metavar="PATH|-",
        help=f"write {what} as JSON (-: to standard output, and nothing else there)",
    )


def answer(content: Any, text: str, destination: str | None) -> None:
    """Print the text, and write the content as JSON where `--json` says; to standard output it goes alone."""
    encoded = json.dumps(content, indent=2, allow_nan=False) + "\n"
    if destination == "-":
        sys.stdout.write(encoded)
        return
    if destination is not None:
        write_all({Path(destination): encoded.encode()})
    print(text)


def write_all(files: Mapping[Path, bytes]) -> None:
    """Write every file beside its destination, then move all into place: none is ever half written."""
    staged: list[tuple[str, Path]] = []
    try:
        for path, content in files.items():
            path.parent.mkdir(exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            staged.append((name, path))
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.chmod(name, 0o644)
        for name, path in staged:
            os.replace(name, path)
    except OSError as error:
        raise InputError(f"{str(error.filename or 'the output')!r} cannot be written: {error.strerror}") from error
    finally:
        for name, _ in staged:
            Path(name).unlink(missing_ok=True)
