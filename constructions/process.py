"""A command as a process: standard streams that never fail it, Ctrl-C at any moment, no process left behind.

A module that `python -m` runs begins with

    if __name__ == "__main__":
        from constructions.process import start

        start("package.module_with_main")

before it loads anything else, so that its own imports can be interrupted like all that follows.
"""

from __future__ import annotations

import io
import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EPIPE
from types import FrameType
from typing import NoReturn, TextIO

from constructions import plain_text

BAD_INPUT, FAULT, INTERRUPTED = 2, 70, 130
staged: set[str] = set()
"""Files that are being written beside their places, and directories made for them; whoever leaves removes them."""
_pressed = _holds = 0
_waiting = False


class Outlet(io.RawIOBase):
    """A file descriptor that takes everything: once a write has failed, the rest is dropped, and `error` says why."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.error: OSError | None = None

    def writable(self) -> bool:
        """Yes."""
        return True

    def fileno(self) -> int:
        """The descriptor."""
        return self.descriptor

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self.descriptor)

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        """How many bytes were taken."""
        while self.error is None:
            try:
                return os.write(self.descriptor, data)
            except BlockingIOError:  # somebody has made it non-blocking
                select.select([], [self.descriptor], [])
            except OSError as error:
                self.error = error
        return len(data)


def start(command: str) -> NoReturn:
    """Call `main()` of a module as this process, and exit with its code.

    What is written to a reader that has gone is dropped, and the exit code is as usual; where standard output is full,
    a sentence says so, and the exit code is 2.
    """
    signal.signal(signal.SIGINT, _interrupt)
    _open_closed()
    shown, told = _stream(1, sys.stdout), _stream(2, sys.stderr)
    sys.stdout = sys.__stdout__ = shown  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = told  # type: ignore[misc]
    try:
        code = _call(command)
    except KeyboardInterrupt:
        leave()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done
    shown.flush()
    error = shown.buffer.raw.error  # type: ignore[attr-defined]
    if error is not None and error.errno != EPIPE:
        print(f"error: standard output cannot be written: {error.strerror}", file=sys.stderr)
        code = BAD_INPUT
    told.flush()
    sys.exit(code)


def _call(command: str) -> int:
    from importlib import import_module

    try:
        code: int = import_module(command).main()
    except SystemExit as end:  # argparse's --help
        return end.code if isinstance(end.code, int) else 0
    except Exception:
        import traceback

        traceback.print_exc()
        return FAULT
    return code


def _open_closed() -> None:
    """Standard streams that the caller closed lead nowhere: else the next file that is opened took their place."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _stream(descriptor: int, like: TextIO | None) -> io.TextIOWrapper:
    encoding = "utf-8" if like is None else like.encoding
    buffered = io.BufferedWriter(Outlet(descriptor))  # type: ignore[type-var]
    live = descriptor == 2 or os.isatty(descriptor)
    return io.TextIOWrapper(buffered, encoding, plain_text.NAME, line_buffering=live)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """A KeyboardInterrupt; during an import, where libraries turn it into errors of their own, and the second time,
    when somebody has swallowed the first, leave at once.
    """
    global _pressed, _waiting
    if _holds:
        _waiting = True
        return
    _pressed += 1
    if _pressed > 1 or _importing(frame):
        leave()
    raise KeyboardInterrupt


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def leave() -> NoReturn:
    """End now, as one who was interrupted: no worker, nothing half written, one line, exit code 130."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    clean()
    with suppress(Exception):
        sys.stdout.flush()
    with suppress(OSError):
        os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


def interrupted() -> int:
    """What a command does that a KeyboardInterrupt has ended: clean up, say so; its exit code."""
    if signal.getsignal(signal.SIGINT) is _interrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    clean()
    print("interrupted", file=sys.stderr)
    return INTERRUPTED


def clean() -> None:
    """End the processes that this one has started, and remove what they or it have half written."""
    if "multiprocessing" in sys.modules:
        from multiprocessing import active_children

        for child in active_children():
            child.kill()
    for remove in (os.unlink, os.rmdir):  # files before the directories that they are in
        for name in tuple(staged):
            with suppress(OSError):
                remove(name)
    staged.clear()


@contextmanager
def held() -> Iterator[None]:
    """Ctrl-C waits until this is over."""
    global _holds, _waiting
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    _holds += 1
    try:
        yield
    finally:
        _holds -= 1
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if _waiting and not _holds:
            _waiting = False
            raise KeyboardInterrupt


@contextmanager
def starting_workers() -> Iterator[None]:
    """Processes that are started meanwhile never hear Ctrl-C; this one does, and ends them."""
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # in Python 3.11 it unblocks the signal when it starts
    with held():
        yield
