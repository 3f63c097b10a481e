"""What every command does alike."""

from pathlib import Path

import pytest
import torch

from constructions.command_line import Parser, Progress, run_command
from constructions.errors import InputError


def failing(error: Exception):
    def body() -> int:
        raise error

    return body


def test_exit_codes(capsys):
    assert run_command(lambda: 0) == 0
    assert capsys.readouterr() == ("", "")
    assert run_command(failing(InputError("K is 3; it must be 2"))) == 2
    assert capsys.readouterr() == ("", "error: K is 3; it must be 2\n")
    assert run_command(failing(MemoryError())) == 2
    assert capsys.readouterr().err.startswith("error: this run needs more memory")
    assert run_command(lambda: Path("x" * 300).stat().st_size) == 2
    assert capsys.readouterr() == ("", f"error: {'x' * 300!r} cannot be used: File name too long\n")
    for bug in (ZeroDivisionError(), RuntimeError("shapes cannot be multiplied"), OSError("?")):  # no bad input
        with pytest.raises(type(bug)):
            run_command(failing(bug))


def test_memory_that_torch_cannot_have(capsys):
    assert run_command(lambda: len(torch.empty(2**57, dtype=torch.uint8))) == 2
    assert capsys.readouterr().err.startswith("error: this run needs more memory")


def test_the_parser_raises():
    parser = Parser()
    parser.add_argument("--number", type=int)
    with pytest.raises(InputError, match=r"--number.*'x'.*--help"):
        parser.parse_args(["--number", "x"])


def test_progress_is_quiet_until_a_run_is_long(capsys):
    with Progress("layer", interval=1000) as progress:
        progress(1, 4)
    assert capsys.readouterr() == ("", "")
    with Progress("layer", interval=0) as progress:
        progress(1, 4)
        progress(4, 4)
    out, err = capsys.readouterr()
    assert out == ""
    first, last = err.splitlines()
    assert first.startswith("layer 1 of 4, about ")
    assert last.startswith("layer 4 of 4, about 0 s left")


def test_time_left_by_the_share_of_the_work(capsys):
    """30 s for the costliest part: as much as 3/4 of the work, or 1/4 of the parts."""
    for share, left in (((0.75,), 10), ((), 90)):
        with Progress("cell", interval=0) as progress:
            progress.began -= 30
            progress(1, 4, *share)
        assert capsys.readouterr().err == f"cell 1 of 4, about {left} s left\n"
