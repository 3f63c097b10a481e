"""What is claimed, on what evidence, for what it stands, with what slack.

A statement is a check: a generator of verdicts whose keyword arguments are the objects under test, with the
correct ones as defaults. A negative control runs the same check on a broken object and must meet a refutation.
"""

from __future__ import annotations

import inspect
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from math import inf, isfinite, isnan
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import numpy as np
import pytest

from constructions.errors import meant
from theory_checks.coverage import WIDTHS, Coverage, covered, narrowest

Evidence = Literal["exact", "certified", "sampled", "rate", "none"]
Text = Literal["verbatim", "recovered", "not recovered", "ours"]
Outcome = Literal["holds", "refuted", "not applicable", "vacuous", "undecided"]
Status = Literal["holds", "refuted", "undecided", "open", "failed", "no claim"]

EVIDENCE: tuple[Evidence, ...] = ("exact", "certified", "sampled", "rate", "none")  # strongest first
OUTCOMES: tuple[Outcome, ...] = ("holds", "refuted", "not applicable", "vacuous", "undecided")
TIGHT = 0.9  # slack up to which a bound is within 10 x of the error


@dataclass(frozen=True)
class Verdict:
    """What one instance says. slack = 1 − error/bound: 0 when the bound is attained, negative when violated.

    It is None where there is no bound to be close to: equalities, signs, inapplicable instances. `bits` is the
    precision at which balls decided it. `kept`: it is the worst instance that the falsifier found, replayed.
    `coverage`: for what it stands, an instance unless a check says more (`coverage.covering`).
    """

    outcome: Outcome
    instance: str
    slack: float | None = None
    bits: int | None = None
    kept: bool = False
    coverage: Coverage = "instances"

    def __post_init__(self) -> None:
        """A number of numpy's becomes Python's: rows are written as JSON, which knows no other."""
        if self.slack is not None:
            object.__setattr__(self, "slack", float(self.slack))


def compare(error: float, bound: float, instance: str, trivial: float = inf, excuse: str = "") -> Verdict:
    """Judge error ≤ bound. `trivial`: from here on the bound says nothing. `excuse`: why it does not apply.

    An error that is not a number refutes; a bound that is not a number leaves the instance undecided.
    """
    if excuse:
        return Verdict("not applicable", f"{instance}: {excuse}")
    if isnan(error):
        return Verdict("refuted", f"{instance}: error {error:.6g}, bound {bound:.6g}")
    if isnan(bound):
        return Verdict("undecided", instance)
    if bound >= trivial:
        return Verdict("vacuous", instance)
    shown = f"{instance}: error {error:.6g}, bound {bound:.6g}"
    slack = 1 - error / bound if bound > 0 and isfinite(error) else None
    return Verdict("holds" if error <= bound else "refuted", shown, slack)


def require(condition: bool, instance: str) -> Verdict:
    """Judge a statement that is true or false, such as an equality."""
    return Verdict("holds" if condition else "refuted", instance)


Check = Callable[..., Iterable[Verdict]]


@dataclass
class Row:
    """One line of the ledger: the outcome of a statement's check and of its controls."""

    id: str
    statement: str
    source: str
    paper: list[str]  # the paper's numbered statements that the row checks, or checks a part of
    note: str  # stem of its page in proofs_notes/
    figure: str  # stem of its figure in figures/; empty if there is none
    text: Text
    evidence: Evidence
    coverage: Coverage | None  # None where nothing is claimed, and in runs that were saved before it was recorded
    status: Status
    counts: dict[str, int]
    slacks: list[float]  # of all instances that have a bound to be close to
    least_slack: float | None
    tightest: str  # the instance with the least slack
    bounded: int  # instances that hold and have a bound to be close to
    tight: int  # those with a bound within 10 x of the error
    bits: int | None  # the largest precision that balls needed
    kept_slack: float | None  # of the worst instance that the falsifier found
    counterexample: str | None
    depends_on: list[str]
    negative_controls: list[dict[str, Any]]
    repairs: list[dict[str, Any]]
    reason: str  # why the status is not "holds"; else empty
    seconds: float


@dataclass
class Statement:
    """A statement with its address, its check and its controls; `claim` is the status that we expect of it.

    `coverage` says for what its evidence stands; a row that claims more than its check covers fails. `rounding`: its
    errors are those of rounding, others on every processor, so that its row shows no slack; the verdicts stay.

    `paper` names the paper's numbered statements that it checks, or a part of which it checks; `note` and `figure`
    are the stems of its page and of its figure, by default those of the check's module.
    """

    id: str
    source: str
    text: Text
    evidence: Evidence
    check: Check
    depends_on: Sequence[str] = ()
    claim: Status = "holds"
    paper: Sequence[str] = ()
    note: str = ""
    figure: str = ""
    coverage: Coverage = "instances"
    rounding: bool = False
    controls: dict[str, dict[str, Any]] = field(default_factory=dict)
    repairs: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def checked(self) -> bool:
        """Whether there is a check: not where the paper claims nothing, or nothing that we could read."""
        return self.claim != "no claim" and self.text != "not recovered"

    @property
    def statement(self) -> str:
        """The check's docstring, on one line."""
        return " ".join((self.check.__doc__ or "").split())

    def control(self, broken: str, spoils: str = "", **subject: Any) -> None:
        """Register a broken subject that the check must reject.

        That of a statement which does not hold would be rejected without its fault: it must spoil a repair.
        """
        if self.claim != "holds" and spoils not in self.repairs:
            raise ValueError(
                f"the control {broken!r} of {self.id!r}, which is {self.claim}, must spoil one of its repairs"
            )
        self.controls[broken] = {**self.repairs.get(spoils, {}), **subject}

    def repair(self, mended: str, **subject: Any) -> None:
        """Register a subject under which a refuted statement must hold on the same instances."""
        self.repairs[mended] = subject

    def verdicts(self, seed: int, full: bool = False, **subject: Any) -> Iterator[Verdict]:
        """Run the check; the same seed draws the same instances whatever else runs.

        `full` asks a check that can take minutes, and says so by a parameter of that name, for all its instances.
        """
        return self._verdicts(self._generator(seed), full, **subject)

    def _generator(self, seed: int) -> np.random.Generator:
        return np.random.default_rng([seed, crc32(self.id.encode())])

    def _verdicts(self, rng: np.random.Generator, full: bool, **subject: Any) -> Iterator[Verdict]:
        if full and "full" in inspect.signature(self.check).parameters:
            subject = {**subject, "full": True}
        return iter(self.check(rng, **subject))

    def rejects(self, broken: str, seed: int = 0) -> bool:
        """Whether the check meets a refutation when given the broken subject."""
        return any(v.outcome == "refuted" for v in self.verdicts(seed, **self.controls[broken]))

    def accepts(self, mended: str, seed: int = 0) -> bool:
        """Whether the check meets no refutation, and something that holds, when given the mended subject."""
        outcomes = {v.outcome for v in self.verdicts(seed, **self.repairs[mended])}
        return "holds" in outcomes and "refuted" not in outcomes

    def row(self, seed: int = 0, with_controls: bool = True, full: bool = False) -> Row:
        """Run check and controls; the row stands alone until `rest` has looked at its dependencies."""
        began = time.perf_counter()
        rng = self._generator(seed)
        verdicts = list(self._verdicts(rng, full))
        covers = covered(verdicts, drew=_drawn(rng) != _drawn(self._generator(seed)))
        counted = Counter(v.outcome for v in verdicts)
        judged = [] if self.rounding else [v for v in verdicts if v.slack is not None]
        tightest = min(judged, key=lambda v: v.slack if v.slack is not None else inf, default=None)
        refuted = next((v for v in verdicts if v.outcome == "refuted"), None)
        controls = self.controls if with_controls else {}
        repairs = self.repairs if with_controls else {}
        row = Row(
            self.id,
            self.statement,
            self.source,
            list(self.paper),
            self.note,
            self.figure,
            self.text,
            self.evidence,
            self.coverage if self.checked else None,
            _status(counted),
            {outcome: counted[outcome] for outcome in OUTCOMES},
            [v.slack for v in judged if v.slack is not None],
            None if tightest is None else tightest.slack,
            "" if tightest is None else tightest.instance,
            sum(v.outcome == "holds" for v in judged),
            sum(v.outcome == "holds" and v.slack is not None and v.slack <= TIGHT for v in judged),
            max((v.bits for v in verdicts if v.bits is not None), default=None),
            min((v.slack for v in judged if v.kept and v.slack is not None), default=None),
            None if refuted is None else refuted.instance,
            list(self.depends_on),
            [{"broken": name, "rejected": self.rejects(name, seed)} for name in controls],
            [{"mended": name, "accepted": self.accepts(name, seed)} for name in repairs],
            "",
            0.0,
        )
        if not self.checked:
            row.status, row.reason = self.claim, self.statement
            return row
        missed = [c["broken"] for c in row.negative_controls if not c["rejected"]]
        missed += [r["mended"] for r in row.repairs if not r["accepted"]]
        if row.status != self.claim:
            row.status, row.reason = "failed", f"claimed: {self.claim}; found: {row.status}"
        elif WIDTHS.index(self.coverage) < WIDTHS.index(covers):
            row.status, row.reason = "failed", f"claimed coverage: {self.coverage}; its check covers: {covers}"
        elif missed or (with_controls and not self.controls):
            row.status = "failed"
            row.reason = f"control not met: {missed[0]}" if missed else "there is no negative control"
        row.seconds = time.perf_counter() - began
        return row

    def tests(self) -> tuple[Callable[..., None], Callable[..., None]]:
        """Two pytest functions: the statement's outcome is the claimed one; every control is met.

        The first leaves the row in its report, for theory_checks/conftest.py.
        """

        def test_statement(record_property: Callable[[str, object], None]) -> None:
            row = self.row(with_controls=False)
            assert row.status == self.claim, f"{row.reason}\n{row.counterexample}"
            row.negative_controls = [{"broken": name, "rejected": True} for name in self.controls]  # if the next
            row.repairs = [{"mended": name, "accepted": True} for name in self.repairs]  # test passes
            record_property("row", json.dumps(asdict(row)))

        @pytest.mark.parametrize("name", [*self.controls, *self.repairs])
        def test_control(name: str) -> None:
            assert self.rejects(name) if name in self.controls else self.accepts(name)

        return test_statement, test_control


REGISTRY: dict[str, Statement] = {}
ROOT = Path(__file__).parents[1]


def no_claim(id: str, source: str, paper: str, why: str, note: str = "") -> None:
    """Register a numbered statement of the paper that claims nothing that could be checked, and say why."""
    REGISTRY[id] = Statement(id, source, "recovered", "none", _nothing(why), (), "no claim", (paper,), note)


def not_recovered(id: str, source: str, paper: str, why: str, note: str) -> None:
    """Register a numbered statement of the paper whose formulas we could not read nor restore; it stays open."""
    REGISTRY[id] = Statement(id, source, "not recovered", "none", _nothing(why), (), "open", (paper,), note)


def _nothing(why: str) -> Check:
    def nothing(rng: np.random.Generator) -> Iterator[Verdict]:
        return iter(())

    nothing.__doc__ = why
    return nothing


def statement(
    id: str,
    source: str,
    text: Text,
    evidence: Evidence,
    depends_on: Sequence[str] = (),
    claim: Status = "holds",
    paper: Sequence[str] = (),
    note: str | None = None,
    figure: str | None = None,
    coverage: Coverage = "instances",
    rounding: bool = False,
) -> Callable[[Check], Statement]:
    """Turn a check into a registered Statement; its docstring is the statement's text.

    The stem of its note is that of the check's module, and that of its figure is the note's, where there is such a
    file; `note` and `figure` name others.
    """

    def register(check: Check) -> Statement:
        if id in REGISTRY and REGISTRY[id].check.__module__ != check.__module__:
            raise ValueError(f"two statements are called {id!r}")
        page = check.__module__.rpartition(".")[2].removeprefix("test_") if note is None else note
        page = page if (ROOT / "proofs_notes" / f"{page}.md").is_file() else ""
        drawn = page if figure is None else figure
        drawn = drawn if (ROOT / "figures" / f"{drawn}.py").is_file() else ""
        REGISTRY[id] = Statement(
            id, source, text, evidence, check, depends_on, claim, paper, page, drawn, coverage, rounding
        )
        return REGISTRY[id]

    return register


def closure(ids: Iterable[str], registry: dict[str, Statement]) -> list[str]:
    """The ids and all they rest on, dependencies first.

    Raises
    ------
    ValueError
        If an id is unknown, or statements rest on each other in a circle.
    """
    ordered: list[str] = []
    open_ids: list[str] = []

    def visit(id: str) -> None:
        if id in ordered:
            return
        if id not in registry:
            raise ValueError(f"{id!r} names no statement{meant(id, registry)}")
        if id in open_ids:
            raise ValueError(f"statements rest on each other: {' -> '.join([*open_ids, id])}")
        open_ids.append(id)
        for dependency in registry[id].depends_on:
            visit(dependency)
        ordered.append(open_ids.pop())

    for id in ids:
        visit(id)
    return ordered


def rest(rows: Sequence[Row]) -> None:
    """Lower each row to what it rests on; rows come dependencies first.

    No grade is higher than a dependency's and no coverage wider, and a row that rests on one that does not hold is
    open.
    """
    by_id = {row.id: row for row in rows}
    for row in rows:
        below = [by_id[id] for id in row.depends_on]
        row.evidence = max([row.evidence, *(r.evidence for r in below)], key=EVIDENCE.index)
        covers = [r.coverage for r in (row, *below) if r.coverage is not None]
        row.coverage = narrowest(covers) if covers else None
        broken = [r for r in below if r.status != "holds"]
        if broken and row.status == "holds":
            row.status, row.reason = "open", f"rests on {broken[0].id}, which is {broken[0].status}"


def _drawn(rng: np.random.Generator) -> tuple[object, int]:
    """What changes when numbers are drawn, or other generators spawned."""
    source = rng.bit_generator
    return source.state, source.seed_seq.n_children_spawned  # type: ignore[attr-defined]


def _status(counted: Counter[Outcome]) -> Status:
    if counted["refuted"]:
        return "refuted"
    if counted["undecided"]:
        return "undecided"
    return "holds" if counted["holds"] else "open"
