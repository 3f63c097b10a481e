"""Files are written whole or not at all, through links, to devices and pipes, with the umask's permissions."""

import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from constructions import process
from constructions.errors import InputError
from constructions.files import require_writable, write_all


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_destinations_are_checked_before_any_work(tmp_path):
    (tmp_path / "plain").write_text("")
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "astray").symlink_to(tmp_path / "absent" / "target")
    (tmp_path / "ahead").symlink_to("target")
    for good in ("new.json", "plain", "ahead", "/dev/null"):
        require_writable(tmp_path / good)
    for bad, why in (
        ("", "is a directory"),
        ("absent/new", "there is no directory"),
        ("plain/new", "there is no such directory"),
        ("astray", f"there is no directory '{tmp_path}/absent'"),
        ("round", "Too many levels of symbolic links"),
        ("x" * 256, "File name too long"),
    ):
        with pytest.raises(InputError, match=why):
            require_writable(tmp_path / bad)
    assert sorted(contents(tmp_path)) == ["plain"]


def test_all_files_are_written(tmp_path):
    (tmp_path / "a").write_bytes(b"old and longer")
    (tmp_path / "stale").write_bytes(b"of an earlier run")
    files = {tmp_path / "a": b"1", tmp_path / "d" / "b": b"2", tmp_path / "d" / "c": b""}
    write_all(files, stale=[tmp_path / "stale", tmp_path / "never"])
    assert contents(tmp_path) == {"a": b"1", "d/b": b"2", "d/c": b""}
    assert not process.staged


@pytest.mark.parametrize("mask", [0o077, 0o002], ids=oct)
def test_permissions_are_those_of_the_umask_or_of_the_old_file(mask, tmp_path):
    (tmp_path / "old").touch()
    (tmp_path / "old").chmod(0o604)
    before = os.umask(mask)
    try:
        write_all({tmp_path / name: b"1" for name in ("old", "new", "d/new")})
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("old", "new", "d/new", "d")}
    assert modes == {"old": 0o604, "new": 0o666 & ~mask, "d/new": 0o666 & ~mask, "d": 0o777 & ~mask}


def test_a_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "target").write_bytes(b"old")
    links = {"link": "there/target", "chain": "link", "ahead": "there/new", "folder": "there"}
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    write_all({tmp_path / "chain": b"1", tmp_path / "ahead": b"2", tmp_path / "folder" / "other": b"3"})
    assert {name: os.readlink(tmp_path / name) for name in links} == links
    assert contents(tmp_path / "there") == {"target": b"1", "new": b"2", "other": b"3"}


def test_a_pipe_and_a_terminal_are_written_to_and_stay(tmp_path):
    """More than a pipe holds at once, to a reader that is slow to open it; no device of the system is put at risk."""
    os.mkfifo(tmp_path / "pipe")
    ours, theirs = os.openpty()
    terminal = Path(os.ttyname(theirs))
    (tmp_path / "terminal").symlink_to(terminal)
    read: list[bytes] = []
    reader = Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()), daemon=True)
    reader.start()
    content = bytes(range(251)) * 1009
    write_all({tmp_path / "terminal": b"shown", tmp_path / "pipe": content, tmp_path / "plain": b"1"})
    reader.join(timeout=20)
    assert read == [content]
    assert len(content) > 2**16
    assert os.read(ours, 100) == b"shown"
    for handle in (ours, theirs):
        os.close(handle)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipe", "plain", "terminal"]


def test_a_reader_that_leaves_is_named_and_nothing_else_is_written(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    os.mkfifo(tmp_path / "pipe")
    reader = Thread(target=lambda: os.close(os.open(tmp_path / "pipe", os.O_RDONLY)), daemon=True)
    reader.start()
    with pytest.raises(InputError, match=r"/pipe' cannot be written: Broken pipe"):
        write_all({tmp_path / "a": b"new", tmp_path / "pipe": bytes(2**18)})
    reader.join(timeout=20)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "pipe"}
    assert (tmp_path / "a").read_bytes() == b"old"


def test_our_own_output_is_written_behind_what_is_there(tmp_path, capfd):
    """`--json /dev/stdout >file`: the file that the shell has opened must not be replaced."""
    (tmp_path / "link").symlink_to("/dev/stdout")
    print("before")
    write_all({tmp_path / "link": b"content\n"})
    print("after")
    assert capfd.readouterr().out == "before\ncontent\nafter\n"


@pytest.mark.parametrize("order", [1, -1])
def test_if_one_file_cannot_be_written_none_is(order, tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    files = {tmp_path / "a": b"new", tmp_path / "absent" / "deeper" / "b": b"new"}
    with pytest.raises(InputError, match=r"absent/deeper/b' cannot be written"):
        write_all(dict(list(files.items())[::order]), stale=[tmp_path / "a"])
    assert contents(tmp_path) == {"a": b"old"}


def test_a_full_disk_names_the_file_and_leaves_nothing(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    files = {tmp_path / "a": b"new", tmp_path / "d" / "fits": b"1", tmp_path / "d" / "large": bytes(2**17)}
    with disk_of(2**16), pytest.raises(InputError, match=r"d/large' cannot be written: File too large"):
        write_all(files, stale=[tmp_path / "a"])
    assert contents(tmp_path) == {"a": b"old"}
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]
    assert not process.staged
