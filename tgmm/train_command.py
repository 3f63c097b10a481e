"""`python -m tgmm train --config PATH`: a training run, or the rest of one."""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import torch

from constructions.command_line import require_writable, write_all
from constructions.errors import InputError
from constructions.files import require_directory
from tgmm import config as configs
from tgmm.config import Config, TrainingConfig
from tgmm.model import extra, parameters
from tgmm.names import CONFIG, METRICS, MODEL, TRAINING
from tgmm.training import Line, begin, train
from tgmm.workers import Workers, join

FILES = TRAINING, MODEL, METRICS, CONFIG


def run(options: argparse.Namespace) -> int:
    """Train; 0 on success."""
    config = configs.load(options.config)
    if options.show:
        print(config.toml(), end="")
        return 0
    workers = join()
    workers.require_share(config.training.batch)
    with nullcontext() if workers.main else redirect_stdout(StringIO()):  # one process speaks for all
        code = _train(config, options.out or Path("runs") / options.config.stem, workers, options.force)
    if code == 0:
        workers.leave()
    return code


def _train(config: Config, directory: Path, workers: Workers, force: bool) -> int:
    _prepare(directory, force)
    with _alone(directory) if workers.main else nullcontext():
        return _advance(config, directory, workers)


def _advance(config: Config, directory: Path, workers: Workers) -> int:
    torch.set_num_threads(config.training.threads)
    current = begin(config, directory, workers)
    model, steps = current.model, config.training.steps
    print(f"model         {parameters(model)} parameters, {extra(model)} of them outside the backbone")
    if current.done:
        if workers.main and not (directory / MODEL).exists():
            current.save()
        print(f"{str(directory)!r} holds the whole run: {steps} steps in {current.seconds:.0f} s")
        return 0
    if workers.accelerator:
        print(f"processes     {workers.count}, on {workers.device.type}")
    print(f"run           steps {current.step + 1} to {steps} in {str(directory)!r}", flush=True)
    if workers.main:
        write_all({directory / CONFIG: config.toml().encode()})
    try:
        with _Shown(config.training) as shown:
            train(current, shown)
    except KeyboardInterrupt:
        print(f"interrupted; the same command goes on from the last checkpoint in {str(directory)!r}", file=sys.stderr)
        return 130
    print(f"trained       {steps} steps in {current.seconds:.0f} s: {directory / MODEL}")
    return 0


def own(name: str) -> bool:
    """Whether a run writes a file of this name, or has left it when it was killed."""
    return name in FILES or name.startswith(tuple(f".{file}." for file in FILES))


def _held(directory: Path, first: str) -> str:
    """What a directory holds in which all names are a run's; nothing if it is a run, whose config is read later."""
    present = [name for name in FILES if (directory / name).exists()]
    if not present or TRAINING in present or MODEL in present:
        return ""
    try:
        configs.load(directory / CONFIG)
    except InputError:
        return repr(first)
    return ""


def _prepare(directory: Path, force: bool) -> None:
    if directory == Path("runs") / directory.name and not directory.parent.exists():
        require_writable(directory.parent)
        directory.parent.mkdir()
    require_directory("--out", directory, own, force, partial(_held, directory))
    directory.mkdir(exist_ok=True)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Hold a run's directory; the system lets it go when the process ends, however it does.

    Raises
    ------
    InputError
        If another process trains there.
    """
    handle = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"--out is {str(directory)!r}, in which another process is training") from error
        for name in (TRAINING, MODEL):  # what a kill has left of a checkpoint that was being written
            for left in directory.glob(f".{name}.*"):
                left.unlink()
        yield
    finally:
        os.close(handle)


class _Shown:
    """Lines of metrics as text: in place where the output is a terminal; those with a checkpoint are kept."""

    def __init__(self, training: TrainingConfig) -> None:
        self.training, self.live, self.open = training, sys.stdout.isatty(), False

    def __enter__(self) -> _Shown:
        return self

    def __exit__(self, *_: object) -> None:
        if self.open:
            print(flush=True)

    def __call__(self, line: Line) -> None:
        steps = self.training.steps
        step, seconds, loss = (float(str(line[name])) for name in ("step", "seconds", "loss"))
        left = seconds / step * (steps - step)
        text = f"step {step:.0f} of {steps}, loss {loss:.4f}, about {left:.0f} s left"
        errors: Any = line.get("validation")
        if errors:
            text += ", l2-error " + ", ".join(f"{error:.4f} (K = {k})" for k, error in errors.items())
        kept = step % self.training.checkpoint == 0 or step == steps
        if self.live:
            print(f"\r{text}\x1b[K", end="\n" if kept else "", flush=True)
            self.open = not kept
        elif kept:
            print(text, flush=True)
