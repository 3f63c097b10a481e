"""A control fails alone: what its subject changes besides the fault leaves a check that refutes nothing.

One that changes a single thing is rejected by a check that holds without it: each row's own test.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from theory_checks.ledger import REGISTRY, Statement, Verdict
from theory_checks.running import load_statements

load_statements()


def changes(made: Statement, given: dict[str, Any]) -> list[str]:
    """What a control changes; a table that lacks some entries leaves a part of the check out, and refutes nothing."""
    usual = {name: parameter.default for name, parameter in inspect.signature(made.check).parameters.items()}
    return [
        key for key, value in given.items() if not (isinstance(value, dict) and value.items() <= usual[key].items())
    ]


SEVERAL = [
    (id, name)
    for id, made in REGISTRY.items()
    for name, given in made.controls.items()
    if len(changes(made, given)) > 1
]
REFUTES: dict[tuple[str, tuple[int, ...]], bool] = {}
"""Whether a row's check refutes with some of a control's changes, by their identity: controls share them."""


def refutes(made: Statement, subject: dict[str, Any]) -> bool:
    key = made.id, tuple(id(value) for value in subject.values())
    if key not in REFUTES:
        REFUTES[key] = any(v.outcome == "refuted" for v in made.verdicts(0, **subject))
    return REFUTES[key]


def fails_alone(made: Statement, name: str) -> bool:
    """Whether one of the changes is the fault: without it nothing is refuted."""
    given = made.controls[name]
    return any(not refutes(made, {key: given[key] for key in given if key != fault}) for fault in changes(made, given))


@pytest.mark.parametrize(("id", "name"), SEVERAL, ids=str)
def test_a_control_with_several_changes_fails_by_one_of_them(id, name):
    assert fails_alone(REGISTRY[id], name)


def row(claim: str = "holds") -> Statement:
    def check(rng: object, *, far: bool = False, wrong: bool = False) -> Iterator[Verdict]:
        yield Verdict("refuted" if far or wrong else "holds", "x")

    return Statement("row", "", "ours", "exact", check, claim=claim)


def test_a_control_whose_setting_is_refuted_anyway_says_nothing():
    made = row()
    made.control("at the edge", far=True, wrong=True)
    made.control("wrong", far=False, wrong=True)
    assert all(map(made.rejects, made.controls))
    assert [fails_alone(made, name) for name in made.controls] == [False, True]


@pytest.mark.parametrize("claim", ["refuted", "undecided", "open"])
def test_a_row_that_does_not_hold_has_controls_that_spoil_its_repair(claim):
    made = row(claim)
    made.repair("near", far=False)
    with pytest.raises(ValueError, match="must spoil one of its repairs"):
        made.control("wrong", wrong=True)
    with pytest.raises(ValueError, match=f"'row', which is {claim}"):
        made.control("wrong", spoils="nearer", wrong=True)
    made.control("wrong", spoils="near", wrong=True)
    assert made.controls["wrong"] == {"far": False, "wrong": True}
