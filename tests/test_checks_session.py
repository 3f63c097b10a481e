"""A session that has run every row fails if the README shows another ledger; one of some rows does not judge it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from theory_checks import conftest, ledger
from theory_checks.ledger import Statement, Verdict
from theory_checks.tables import table


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """Report two rows, of which the second rests on the first; then end a session whose README is given."""

    def check(rng, *, wrong: bool = False):
        """A statement."""
        yield Verdict("refuted" if wrong else "holds", "n=3", 0.5)

    rows = [
        Statement(id, "source", "ours", grade, check, below)
        for id, grade, below in (("a", "sampled", ()), ("b", "exact", ("a",)))
    ]
    for row in rows:
        row.control("wrong", wrong=True)
    monkeypatch.setattr(ledger, "REGISTRY", {row.id: row for row in rows})
    ledger.no_claim("c", "Remark C", "Remark C", "A figure of speech.")
    monkeypatch.setattr("theory_checks.running.load_statements", lambda: None)
    monkeypatch.setattr(conftest, "ROWS", {})
    monkeypatch.setattr(conftest, "DIFFERENCE", [])
    monkeypatch.setattr(conftest, "README", tmp_path / "README.md")

    def end(page: str, run: tuple[str, ...] = ("a", "b"), failed: bool = False) -> pytest.ExitCode:
        (tmp_path / "README.md").write_text(f"Rows:\n```\n{page}\n```\n")
        for row in rows:
            properties: list[tuple[str, object]] = []
            if row.id in run:
                row.tests()[0](lambda name, value, into=properties: into.append((name, value)))
            conftest.pytest_runtest_logreport(
                pytest.TestReport(row.id, ("", 0, ""), {}, "passed", None, "call", user_properties=properties)
            )
        status = pytest.ExitCode.TESTS_FAILED if failed else pytest.ExitCode.OK
        made = SimpleNamespace(exitstatus=status, config=SimpleNamespace())
        conftest.pytest_sessionfinish(made)
        return made.exitstatus

    return end


@pytest.fixture
def page(session) -> str:
    """What the command prints: grades are lowered, controls are met."""
    rows = [made.row() for made in ledger.REGISTRY.values()]
    ledger.rest(rows)
    assert [row.evidence for row in rows] == ["sampled", "sampled", "none"]
    return table(rows)


def test_the_whole_ledger_is_compared(session, page: str) -> None:
    assert session(page) == pytest.ExitCode.OK
    assert session(page.replace("0.5", "0.3", 1)) == pytest.ExitCode.TESTS_FAILED
    assert any(line.startswith("+b ") or line.startswith("+a ") for line in conftest.DIFFERENCE)


def test_some_rows_are_no_ledger(session, page: str) -> None:
    assert session("another", ("b",)) == pytest.ExitCode.OK
    assert session("another", ()) == pytest.ExitCode.OK
    assert session("another") == pytest.ExitCode.TESTS_FAILED


def test_a_session_that_failed_says_why_itself(session, page: str) -> None:
    session("another", failed=True)
    assert conftest.DIFFERENCE == []
