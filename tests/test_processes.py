"""Commands as processes: what becomes of standard output, of Ctrl-C, of workers, and of what is being written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

import constructions
from theory_checks.sweeps.results import done

ROOT = Path(constructions.__file__).parents[1]
PATIENCE = 60
"""Seconds."""


def started(*words: object, wrapped: Sequence[str] = (), **settings) -> subprocess.Popen[str]:
    """`python -m WORDS` in a process group of its own, as a terminal's foreground job is."""
    command = [*wrapped, sys.executable, "-m", *map(str, words)]
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8", "cwd": ROOT}
    return subprocess.Popen(command, start_new_session=True, **piped | settings)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, output and errors."""
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait for it, while the process lives."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.01)


def session(leader: int) -> set[int]:
    """The processes of a job that are alive."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = path.read_text().rpartition(") ")[2].split()[:4]
        except OSError:  # gone meanwhile
            continue
        if int(of) == leader and state != "Z":
            found.add(int(path.parent.name))
    return found


def working(leader: int) -> set[int]:
    """The processes of a job but its leader that have loaded torch."""
    found = set()
    for number in session(leader) - {leader}:
        with suppress(OSError):
            if "libtorch_cpu" in Path(f"/proc/{number}/maps").read_text():
                found.add(number)
    return found


def deaf(number: int) -> bool:
    """Whether Ctrl-C does not reach a process, which would answer with a traceback of its own."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{number}/status").read_text().splitlines())
    return bool((int(status["SigBlk"], 16) | int(status["SigIgn"], 16)) >> signal.SIGINT - 1 & 1)


SHOWN = (("constructions.em_transformer", "--help"), ("tgmm", "estimate", "--help"), ("figures", "--help"))
"""Quick, and not all ASCII."""


@pytest.mark.parametrize("words", SHOWN, ids=lambda words: words[0])
def test_an_output_that_lacks_our_symbols_or_is_full(words, tmp_path):
    """ASCII by the locale, Latin-1 by PYTHONIOENCODING: plain text; a full device: a sentence."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "PYTHONIO"))}
    plain = started(*words, env=environment | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
    with open("/dev/full", "w") as full, open(tmp_path / "latin", "wb") as file:
        filled = started(*words, stdout=full)
        latin = started(*words, stdout=file, env=environment | {"PYTHONIOENCODING": "latin-1"})
        code, text, err = ended(started(*words, env=environment | {"PYTHONIOENCODING": "utf-8"}))
        assert (code, err) == (0, "")
        assert not text.isascii()
        code, spelt, err = ended(plain)
        assert (code, err) == (0, "")
        assert spelt.isascii()
        assert (spelt.count("?"), spelt.count("\\")) == (text.count("?"), text.count("\\"))
        assert (ended(latin)[0], ended(filled)[::2]) == (
            0,
            (2, "error: standard output cannot be written: No space left on device\n"),
        )
    assert (tmp_path / "latin").read_text(encoding="latin-1").count("×") == text.count("×")


def test_an_error_in_letters_that_a_terminal_lacks():
    told = ended(started("theory_checks", "diff", "π⁺.json", "x", env=os.environ | {"PYTHONIOENCODING": "ascii"}))
    assert told == (2, "", "error: 'pi^+.json' cannot be read: No such file or directory\n")


def test_an_empty_path():
    """What a shell makes of a variable that is not set."""
    told = [
        ("argument --export", started("constructions.em_transformer", "--layers", 2, "--export", "")),
        ("argument DIR", started("theory_checks", "verify", "")),
    ]
    for what, process in told:
        assert ended(process) == (2, "", f"error: {what}: it is empty (--help lists the options)\n")


def test_a_backend_of_matplotlib_that_does_not_exist(tmp_path):
    told = ended(started("figures", "m_step", "--out", tmp_path, env=os.environ | {"MPLBACKEND": "nosuch"}))
    assert told == (
        2,
        "",
        "error: MPLBACKEND is 'nosuch', which matplotlib does not know; unset it, pictures need none\n",
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("theory_checks", "diff", "--help"), SHOWN[1]], ids=lambda words: words[0])
def test_an_output_that_is_closed_or_cut(words):
    """As in `command >&-` and `command | head -0`; nothing is said, and the exit code is as usual."""
    shut = started(*words, wrapped=["sh", "-c", 'exec "$@" >&- 2>&-', "sh"])
    cut = started(*words)
    assert cut.stdout
    cut.stdout.close()
    assert cut.stderr
    assert cut.stderr.read() == ""
    cut.stderr.close()
    assert cut.wait(PATIENCE) == 0
    assert ended(shut) == (0, "", "")


@pytest.mark.parametrize("module", ["numpy.linalg", "torch._C"])
def test_an_interruption_during_imports(module):
    """Ctrl-C as soon as a module has been loaded, in the middle of others."""
    command = [sys.executable, "-X", "importtime", "-m", "constructions.em_transformer", "--layers", "20"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", cwd=ROOT) as found:
        assert found.stderr
        for line in found.stderr:
            if line.split("|")[-1].strip() == module:
                break
        else:
            pytest.fail(f"{module} is not loaded")
        found.send_signal(signal.SIGINT)
        code, out, err = ended(found)
    told = [line for line in err.splitlines() if not line.startswith("import time:")]
    assert (code, out, told) == (130, "", ["interrupted"])


SWALLOWS = """
import os, signal
def swallowed():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        return
    print("not heard")
"""


@pytest.mark.parametrize("at_import", [True, False], ids=["import", "twice"])
def test_an_interruption_that_a_library_swallows(at_import, tmp_path):
    """Imports turn it into errors of their own, or go on without what was interrupted; so we leave at once."""
    rest = "swallowed()\ndef main(): return 0" if at_import else "def main(): swallowed(), swallowed()"
    (tmp_path / "swallowing.py").write_text(SWALLOWS + rest)
    code = "import sys; sys.path.append(sys.argv[1]); from constructions.process import start; start('swallowing')"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


@pytest.mark.parametrize("command", ["theory_checks", "theory_checks.sweeps"])
def test_an_interruption_with_workers(command, tmp_path):
    """The whole job hears it, as from a terminal: one line, no worker left, nothing half written."""
    if command == "theory_checks":
        words: tuple[object, ...] = ("--certified", "--json", tmp_path / "run.json")
    else:
        words = ("--only", "calibration", "--results", tmp_path / "results.sqlite")
    process = started(command, *words, "--jobs", 2)
    until(lambda: len(working(process.pid)) == 2, process)
    assert all(map(deaf, working(process.pid)))
    os.killpg(process.pid, signal.SIGINT)
    code, out, err = ended(process)
    assert (code, err.count("\n"), err.startswith("interrupted")) == (130, 1, True), err
    until_gone = time.monotonic() + PATIENCE
    while session(process.pid):
        assert time.monotonic() < until_gone
        time.sleep(0.05)
    if command == "theory_checks":
        assert out == ""
        assert list(tmp_path.iterdir()) == []
    else:
        assert "\n0 cells in " in out
        assert done(tmp_path / "results.sqlite") == set()


def test_an_interrupted_export_leaves_nothing(tmp_path):
    """While everything is staged and the JSON waits for a reader of its pipe."""
    os.mkfifo(tmp_path / "pipe")
    words = "constructions.em_transformer", "--layers", 2, "--tolerance", 0.5
    process = started(*words, "--export", tmp_path / "d", "--json", tmp_path / "pipe")
    until(lambda: (tmp_path / "d").exists() and len(list((tmp_path / "d").iterdir())) >= 5, process)
    process.send_signal(signal.SIGINT)
    code, _, err = ended(process)
    *warnings, last = err.splitlines()
    assert (code, last) == (130, "interrupted")
    assert all(line.startswith("warning: ") for line in warnings)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
