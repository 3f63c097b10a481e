"""What every command does alike."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from constructions.command_line import Parser, Progress, require_writable, run_command, write_all
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


CLOSED_PIPE = """
from constructions.command_line import run_command
def body():
    for _ in range(100_000):
        print("many lines")
    return 0
raise SystemExit(run_command(body))
"""


def test_a_closed_pipe_is_no_traceback():
    """As in `command | head -1`."""
    process = subprocess.Popen([sys.executable, "-c", CLOSED_PIPE], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=30) == 1


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


def test_destinations_are_checked_before_any_work(tmp_path):
    require_writable(tmp_path / "new.json")
    with pytest.raises(InputError, match="is a directory"):
        require_writable(tmp_path)
    with pytest.raises(InputError, match="there is no directory"):
        require_writable(tmp_path / "absent" / "new")
    (tmp_path / "plain").write_text("")
    with pytest.raises(InputError, match="there is no directory"):
        require_writable(tmp_path / "plain" / "new")


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_all_files_are_written(tmp_path):
    (tmp_path / "a").write_bytes(b"old and longer")
    write_all({tmp_path / "a": b"1", tmp_path / "d" / "b": b"2", tmp_path / "d" / "c": b""})
    assert contents(tmp_path) == {"a": b"1", "d/b": b"2", "d/c": b""}
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("order", [1, -1])
def test_if_one_file_cannot_be_written_none_is(order, tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    files = {tmp_path / "a": b"new", tmp_path / "absent" / "deeper" / "b": b"new"}
    with pytest.raises(InputError, match=r"absent.*cannot be written"):
        write_all(dict(list(files.items())[::order]))
    assert contents(tmp_path) == {"a": b"old"}


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    """The disk is full half-way: the content is cut, the destination is not."""

    def full(path: str, mode: int) -> None:
        raise OSError(28, "No space left on device", path)

    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr("constructions.command_line.os.chmod", full)
    with pytest.raises(InputError, match="No space left on device"):
        write_all({tmp_path / "a": b"new"})
    assert contents(tmp_path) == {"a": b"old"}
