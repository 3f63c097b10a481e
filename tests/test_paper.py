"""Every numbered statement of the paper has a row, and rows name none that the paper does not have."""

from __future__ import annotations

import numpy as np
import pytest

from theory_checks import paper
from theory_checks.ledger import REGISTRY, ROOT, Statement, require
from theory_checks.running import load_statements


@pytest.fixture(autouse=True)
def _loaded() -> None:
    load_statements()


def made(id: str, *names: str) -> Statement:
    def check(rng: np.random.Generator):
        yield require(True, "")

    return Statement(id, "", "ours", "exact", check, paper=names)


def test_every_statement_of_the_paper_has_a_row() -> None:
    missing = paper.without_row()
    assert not missing, f"no row has these in its paper=...: {', '.join(missing)}"


def test_rows_name_statements_that_the_paper_has() -> None:
    wrong = paper.unknown()
    assert not wrong, f"theory_checks/paper.py does not list {'; '.join(wrong)}"


def test_names_are_distinct_and_every_one_is_described() -> None:
    assert len(set(paper.NAMES)) == len(paper.NAMES)
    assert all(numbered.says for numbered in paper.PAPER)


@pytest.mark.parametrize(
    ("stem", "numbers"),
    [("Definition ", 8), ("Lemma F.", 7), ("Theorem F.", 7), ("Remark F.", 6), ("Remark G.", 3), ("Remark ", 3)],
)
def test_the_index_is_complete(stem: str, numbers: int) -> None:
    assert {f"{stem}{n}" for n in range(1, numbers + 1)} <= set(paper.NAMES)


def test_rows_are_found_by_name_and_what_has_none_is_told() -> None:
    registry = {"a": made("a", "Lemma F.5", "Remark 2"), "b": made("b", "Lemma F.5"), "c": made("c", "Lemma Q.9")}
    assert [row.id for row in paper.rows("Lemma F.5", registry)] == ["a", "b"]
    assert paper.rows("Lemma F.4", registry) == []
    assert paper.unknown(registry) == ["c: Lemma Q.9"]
    assert len(paper.without_row(registry)) == len(paper.PAPER) - 2
    with pytest.raises(ValueError, match=r"'Lemma Q\.9' is none of the paper's statements: Comparison, layers, "):
        paper.rows("Lemma Q.9", registry)


def test_a_statement_with_a_check_is_not_also_said_to_claim_nothing() -> None:
    for name in paper.NAMES:
        claims = {row.claim == "no claim" for row in paper.rows(name)}
        assert len(claims) <= 1, name


def test_notes_and_figures_that_rows_name_exist() -> None:
    for id, row in REGISTRY.items():
        assert not row.note or (ROOT / "proofs_notes" / f"{row.note}.md").is_file(), id
        assert not row.figure or (ROOT / "figures" / f"{row.figure}.py").is_file(), id
