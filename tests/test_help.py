"""`--help` of every command, all in one process of its own."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile

from commands import COMMANDS

import constructions
from tgmm.names import ARMS, DESCRIPTIONS

ROOT = Path(constructions.__file__).parents[1]
HEAVY = {"torch", "sklearn", "matplotlib", "pandas", "sympy", "scipy.stats"}
FAILING = {("theory_checks", *word) for word in ((), ("verify",), ("diff",))} | {
    ("theory_checks.falsify",),
    ("theory_checks.sweeps",),
    ("tgmm", "evaluate"),
}
"""Commands that judge: exit code 1 says that something did not hold."""
ASK = """
import json, os, runpy, sys
commands, path = json.loads(sys.argv[1]), sys.argv[2]
answer, found = os.dup(1), []
for module, *words in commands:
    os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), 1)
    sys.argv, code = [module, *words, "--help"], None
    sys.modules.pop(f"{module}.__main__", None)  # each is loaded as if it were the first
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    found.append((code, open(path, encoding="utf-8").read(), sorted(sys.modules)))
os.write(answer, json.dumps(found).encode())
"""


@cache
def asked() -> list[tuple[int, str, list[str]]]:
    """Exit code, text and loaded modules after each command's --help, one after the other."""
    with NamedTemporaryFile() as said:
        asking = [sys.executable, "-c", ASK, json.dumps(COMMANDS), said.name]
        done = subprocess.run(asking, capture_output=True, text=True, cwd=ROOT)
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_every_command_is_asked():
    """A file that starts a command, and every word of tgmm, is in the list."""
    started = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
        for package in ("constructions", "theory_checks", "tgmm", "figures")
        for path in (ROOT / package).rglob("*.py")
        if '\nif __name__ == "__main__":' in path.read_text(encoding="utf-8")
    }
    assert started == {module for module, *_ in COMMANDS}
    assert len(set(COMMANDS)) == len(COMMANDS) == len(asked())


def test_help_loads_nothing_heavy():
    for command, (code, text, loaded) in zip(COMMANDS, asked(), strict=True):
        assert code in (0, None), command
        assert text.startswith(f"usage: python -m {' '.join(command)} "), command
        exits = " ".join(text[text.index("exit code: ") :].split())
        assert exits.startswith("exit code: 0 done; "), command
        assert ("; 1 a " in exits) == (command in FAILING), command
        assert exits.endswith(
            "; 2 bad input, or an output that cannot be written; 70 a fault of this program; 130 interrupted (Ctrl-C)"
        ), command
        assert not HEAVY.intersection(loaded), command
    assert "numpy" in loaded  # which some do load: what is loaded is seen


def test_names_are_those_of_what_is_loaded_later():
    from tgmm.baselines import ANISOTROPIC_METHODS, METHODS
    from tgmm.warm_start_training import ARMS as TRAINED

    assert tuple(TRAINED) == ARMS
    assert set(METHODS) == set(DESCRIPTIONS) > set(ANISOTROPIC_METHODS)
