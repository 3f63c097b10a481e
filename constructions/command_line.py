"""What every command does alike: one sentence on bad input, progress, files written whole or not at all."""

from __future__ import annotations

import argparse
import json
import re
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from constructions import process
from constructions.errors import InputError, meant
from constructions.files import require_writable as require_writable
from constructions.files import write_all as write_all

EXITS = {
    process.BAD_INPUT: "bad input, or an output that cannot be written",
    process.FAULT: "a fault of this program",
    process.INTERRUPTED: "interrupted (Ctrl-C)",
}
OPTION = re.compile(r"--?[^\W\d][\w-]*")
"""What looks like the name of an option, and not like a negative number."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are InputErrors, and whose --help lists the exit codes.

    `failure` says what exit code 1 means, where a command has it. No value may be empty.
    """

    def __init__(self, *arguments: Any, failure: str | None = None, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.exits = {0: "done"} | ({1: failure} if failure else {}) | EXITS
        self.register("type", None, lambda text: _given(text))
        self.register("type", Path, lambda text: Path(_given(text)))

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage."""
        raise InputError(f"{message} (--help lists the options)")

    def format_help(self) -> str:
        """The usual text, and the exit codes."""
        said = "exit code: " + "; ".join(f"{code} {what}" for code, what in self.exits.items())
        lines = textwrap.wrap(said, self._get_formatter()._width, break_on_hyphens=False)
        return super().format_help() + "\n" + "\n".join(lines) + "\n"

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """The usual, but an option that is mistyped is told before one that is missing for that reason."""
        given = sys.argv[1:] if args is None else list(args)
        known = self._option_string_actions
        for word in given[: given.index("--")] if "--" in given else given:
            name = word.split("=", 1)[0]
            if OPTION.fullmatch(name) and " " not in word and not any(option.startswith(name) for option in known):
                self.error(f"there is no option {name!r}{meant(name, known)}")
        return super().parse_known_args(given, namespace)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            raise argparse.ArgumentError(
                action, f"there is no {value!r}{meant(str(value), known)} (choose from {', '.join(known)})"
            )


def _given(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("it is empty")
    return text


def run_command(body: Callable[[], int]) -> int:
    """The body's exit code, or 2 and one sentence on standard error for bad input; 130 for Ctrl-C."""
    try:
        return body()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return process.BAD_INPUT
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "tried to allocate" not in str(error).lower():  # as torch says it
            raise
        print("error: this run needs more memory than there is; use fewer samples or a smaller class", file=sys.stderr)
        return process.BAD_INPUT
    except KeyboardInterrupt:
        return process.interrupted()
    except OSError as error:  # a name too long, a directory that cannot be made
        if error.filename is None:
            raise
        print(f"error: {str(error.filename)!r} cannot be used: {error.strerror}", file=sys.stderr)
        return process.BAD_INPUT


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


def add_json_option(parser: Parser, what: str) -> None:
    """`--json PATH|-`, whose path is known to be writable as soon as it is parsed."""

    def destination(text: str) -> str:
        try:
            if _given(text) != "-":
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
