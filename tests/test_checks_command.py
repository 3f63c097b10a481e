"""`python -m theory_checks`: what it writes, what it reads back, what it refuses."""

import json
import os
import sys
from pathlib import Path

import pytest
from rows import FAILED, HELD, ROWS, SAMPLED

from theory_checks import __main__ as command
from theory_checks.ledger import REGISTRY
from theory_checks.run_file import Run, encoded
from theory_checks.tables import markdown, table


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of one's own with a saved run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.json").write_bytes(encoded(Run(3, False, {"numpy": "2.0"}, ROWS)))
    return tmp_path


def test_tables_and_page_of_a_saved_run(here, capsys) -> None:
    outputs = ["--markdown", "ledger.md", "--latex", "ledger.tex", "--html", "page"]
    assert command.main(["--from", "run.json", *outputs]) == 1  # a row failed
    assert capsys.readouterr().out == f"{table(ROWS)}\npage written: page/index.html\n"
    assert (here / "ledger.md").read_text() == markdown(ROWS)
    assert r"\begin{longtable}" in (here / "ledger.tex").read_text()
    assert {str(path.relative_to(here / "page")) for path in (here / "page").rglob("*.*")} >= {
        "index.html",
        "figures/lemma_f4.svg",
    }
    before = {path: path.read_bytes() for path in (here / "page").rglob("*.*")}
    assert command.main(["--from", "run.json", "--html", "page"]) == 1
    assert {path: path.read_bytes() for path in (here / "page").rglob("*.*")} == before


def test_part_of_a_saved_run_has_what_it_rests_on(here, capsys) -> None:
    assert command.main(["--from", "run.json", "sampled"]) == 0
    assert capsys.readouterr().out == table([HELD, SAMPLED]) + "\n"
    assert command.main(["--from", "run.json", "failed"]) == 1
    assert capsys.readouterr().out == table([FAILED]) + "\n"


def test_saved_run_is_what_was_printed(saved_run, capsys) -> None:
    content = json.loads(saved_run.read_text())
    assert [row["id"] for row in content["rows"]] == ["lemma-f6", "lemma-f6-sharp", "m-step-entering-weight", "p2"]
    assert content["seed"] == 0
    assert command.main(["--from", str(saved_run)]) == 0
    assert "3 statements hold (2 certified, 1 exact); not counted among them: 1 refuted" in capsys.readouterr().out


def test_list_says_where_to_read_on(capsys) -> None:
    assert command.main(["m-step", "--list"]) == 0
    said = capsys.readouterr().out
    assert "figure m_step; note m_step]" in said
    assert REGISTRY["m-step"].statement in said


@pytest.mark.parametrize("other", ["verify", "diff"])
def test_other_commands_have_help(other: str, capsys) -> None:
    with pytest.raises(SystemExit) as left:
        command.main([other, "--help"])
    assert left.value.code == 0
    assert f"theory_checks {other}" in capsys.readouterr().out


def test_help_mentions_them(capsys) -> None:
    with pytest.raises(SystemExit):
        command.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "theory_checks diff BEFORE.json AFTER.json" in said
    assert "theory_checks verify DIR" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--list", "--html", "x"], "--list checks nothing"),
        (["--list", "--latex", "x"], "--list checks nothing"),
        (["--from", "run.json", "--seed", "0"], "--seed has nothing to do"),
        (["--from", "run.json", "--jobs", "2"], "--jobs has nothing to do"),
        (["--from", "run.json", "--certified"], "--certified has nothing to do"),
        (["--from", "run.json", "--list"], "--list has nothing to do"),
        (["--from", "run.json", "--json", "x.json"], "--json has nothing to do"),
        (["--from", "none.json"], "'none.json' cannot be read"),
        (["--from", "run.json", "p9"], "'run.json' has no row 'p9'"),
        (["--from", "run.json", "--html", "run.json"], "which is not a directory"),
        (["--from", "run.json", "--html", "missing/page"], "there is no directory"),
        (["--from", "run.json", "--markdown", "missing/x.md"], "there is no directory"),
        (["--from", "run.json", "--markdown", "x", "--latex", "./x"], "two of the outputs"),
        (["--from", "run.json", "--html", "blocked"], "'blocked/index.html' cannot be written: it is a directory"),
    ],
)
def test_bad_input(arguments: list[str], said: str, here, capsys) -> None:
    (here / "blocked" / "index.html").mkdir(parents=True)
    assert command.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert {path.name for path in here.iterdir()} == {"run.json", "blocked"}


def test_a_directory_that_is_not_writable(here, capsys, monkeypatch) -> None:
    (here / "page").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "page")
    assert command.main(["--from", "run.json", "--html", "page"]) == 2
    assert "'page', a directory that is not writable" in capsys.readouterr().err


def test_without_the_packages_of_the_page(here, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.delitem(sys.modules, "theory_checks.report.page", raising=False)
    assert command.main(["--from", "run.json", "--html", "page"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: --html needs jinja2, which is not installed; pip install ")
    assert command.main(["--from", "run.json", "sampled"]) == 0
