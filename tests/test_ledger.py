"""The ledger's rules: what a verdict is, what a row's status is, how far a grade can go."""

import json
import re
from collections.abc import Iterator
from math import inf, nan

import numpy as np
import pytest

from theory_checks import __main__ as command
from theory_checks import coverage, ledger, running
from theory_checks.ledger import Statement, Verdict, closure, compare, require, rest
from theory_checks.running import load_statements


def statement_with(outcomes: str, *, id: str = "s", broken: str = "r", **options) -> Statement:
    """h, r, n, v, u stand for the five outcomes; the control's check gives those of `broken`."""
    names = {o[0]: o for o in ledger.OUTCOMES}

    def check(rng: np.random.Generator, *, found: str = outcomes) -> Iterator[Verdict]:
        """A statement."""
        for letter in found:
            yield Verdict(names[letter], f"instance {letter}", 0.5 if letter == "h" else None)

    made = Statement(id, "source", "ours", options.pop("evidence", "sampled"), check, **options)
    made.controls["broken"] = {"found": broken}  # whatever the claim; test_controls has what `control` refuses
    return made


@pytest.mark.parametrize(
    ("error", "bound", "trivial", "excuse", "outcome", "slack"),
    [
        (0.25, 1.0, inf, "", "holds", 0.75),
        (1.0, 1.0, inf, "", "holds", 0.0),
        (1.5, 1.0, inf, "", "refuted", -0.5),
        (0.0, 0.0, inf, "", "holds", None),
        (1e-9, 0.0, inf, "", "refuted", None),
        (0.25, 3.0, 3.0, "", "vacuous", None),
        (0.25, inf, inf, "", "vacuous", None),
        (nan, 1.0, inf, "", "refuted", None),
        (nan, 3.0, 3.0, "", "refuted", None),
        (nan, nan, inf, "", "refuted", None),
        (inf, 1.0, inf, "", "refuted", None),
        (0.25, nan, inf, "", "undecided", None),
        (9.0, 1.0, inf, "the precondition fails", "not applicable", None),
    ],
)
def test_compare(error, bound, trivial, excuse, outcome, slack) -> None:
    verdict = compare(error, bound, "x", trivial, excuse)
    assert (verdict.outcome, verdict.slack) == (outcome, slack)


def test_require() -> None:
    assert require(True, "x").outcome == "holds"
    assert require(False, "x").outcome == "refuted"


@pytest.mark.parametrize(
    ("outcomes", "status"), [("hhn", "holds"), ("hv", "holds"), ("nv", "open"), ("", "open"), ("hu", "undecided")]
)
def test_status_of_a_claimed_row(outcomes: str, status: str) -> None:
    row = statement_with(outcomes).row()
    assert row.status == (status if status == "holds" else "failed")
    assert row.counts["holds"] == outcomes.count("h")
    assert statement_with(outcomes, claim=status).row().status == status


def test_refuted_claim_fails_and_keeps_its_counterexample() -> None:
    row = statement_with("hr").row()
    assert row.status == "failed"
    assert row.counterexample == "instance r"
    assert statement_with("hr", claim="refuted").row().status == "refuted"


def test_a_finding_that_no_longer_refutes_fails() -> None:
    assert statement_with("hh", claim="refuted").row().status == "failed"


def test_control_that_is_not_rejected_fails_the_row() -> None:
    row = statement_with("h", broken="hnv").row()
    assert row.status == "failed"
    assert row.negative_controls == [{"broken": "broken", "rejected": False}]


def test_row_without_control_fails() -> None:
    made = statement_with("h")
    made.controls.clear()
    assert made.row().status == "failed"


def test_repair_must_hold_on_something() -> None:
    made = statement_with("r", claim="refuted")
    made.repair("mended", found="n")
    assert made.row().status == "failed"
    made.repair("mended", found="nh")
    assert made.row().status == "refuted"


def test_no_grade_above_what_it_rests_on() -> None:
    made = [
        statement_with("h", id="a", evidence="rate"),
        statement_with("h", id="b", evidence="exact", depends_on=("a",)),
        statement_with("h", id="c", evidence="certified", depends_on=("b",)),
    ]
    rows = [s.row() for s in made]
    rest(rows)
    assert [row.evidence for row in rows] == ["rate"] * 3


COVERING = {"a": "all", "i": "interval", "n": "instances"}


def covering_row(verdicts: str, claimed: str, *, draws: str = "", kept: bool = False, **options) -> Statement:
    """A check whose verdicts stand for all, an interval, or (n) an instance, and which may draw random numbers."""

    def check(rng: np.random.Generator, *, wrong: bool = False) -> Iterator[Verdict]:
        """A statement."""
        if draws == "numbers":
            rng.integers(7)
        if draws == "generators":
            rng.spawn(1)
        for letter in verdicts:
            yield from coverage.covering(COVERING[letter], [Verdict("holds", "x", kept=kept)])
        yield Verdict("refuted" if wrong else "vacuous", "no evidence")

    made = Statement(options.pop("id", "s"), "", "ours", "exact", check, coverage=claimed, **options)
    made.control("wrong", wrong=True)
    return made


@pytest.mark.parametrize(
    ("verdicts", "options", "widest"),
    [
        ("aa", {}, "all"),
        ("ai", {}, "interval"),
        ("ia", {}, "interval"),
        ("an", {}, "instances"),
        ("in", {}, "instances"),
        ("aa", {"draws": "numbers"}, "instances"),
        ("ii", {"draws": "generators"}, "instances"),
        ("aa", {"kept": True}, "instances"),
    ],
)
def test_no_row_claims_to_cover_more_than_its_check(verdicts: str, options: dict, widest: str) -> None:
    for claimed in COVERING.values():
        row = covering_row(verdicts, claimed, **options).row()
        wider = coverage.WIDTHS.index(claimed) < coverage.WIDTHS.index(widest)
        reason = f"claimed coverage: {claimed}; its check covers: {widest}" if wider else ""
        assert (row.coverage, row.status, row.reason) == (claimed, "failed" if wider else "holds", reason)


def test_a_verdict_stands_for_an_instance_unless_a_check_says_more() -> None:
    assert require(True, "x").coverage == compare(0.0, 1.0, "x").coverage == "instances"
    assert covering_row("", "instances").row().reason == "claimed: holds; found: open"
    assert coverage.covered([], drew=False) == "instances"


def test_no_coverage_beyond_what_a_row_rests_on() -> None:
    rows = [
        covering_row("i", "interval", id="a").row(),
        covering_row("a", "all", id="b", depends_on=("a",)).row(),
        covering_row("n", "instances", id="c").row(),
        covering_row("a", "all", id="d", depends_on=("b", "c")).row(),
    ]
    rest(rows)
    assert [row.coverage for row in rows] == ["interval", "interval", "instances", "instances"]


@pytest.mark.parametrize("status", ["open", "undecided", "refuted"])
def test_a_row_on_unsettled_ground_is_open(status: str) -> None:
    outcome = {"open": "n", "undecided": "u", "refuted": "r"}[status]
    rows = [
        statement_with(outcome, id="a", claim=status).row(),
        statement_with("h", id="b", depends_on=("a",)).row(),
        statement_with("h", id="c", depends_on=("b",)).row(),
    ]
    rest(rows)
    assert [row.status for row in rows] == [status, "open", "open"]


def test_closure_orders_and_refuses() -> None:
    registry = {
        "c": statement_with("h", id="c", depends_on=("b", "a")),
        "b": statement_with("h", id="b", depends_on=("a",)),
        "a": statement_with("h", id="a"),
    }
    assert closure(["c"], registry) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="'z' names no statement"):
        closure(["z"], registry)
    registry["a"].depends_on = ("c",)
    with pytest.raises(ValueError, match="rest on each other: c -> b -> a -> c"):
        closure(["c"], registry)


def test_same_seed_same_row() -> None:
    load_statements()
    first, second = (ledger.REGISTRY["p2"].row(3) for _ in range(2))
    first.seconds = second.seconds = 0.0
    assert first == second


def test_command_writes_the_closure(tmp_path, capsys) -> None:
    path = tmp_path / "ledger.json"
    assert command.main(["corollary-f1", "--seed", "5", "--json", str(path)]) == 0
    rows = json.loads(path.read_text())["rows"]
    assert [row["id"] for row in rows] == ["corollary-f1", "lemma-f7"]
    wanted = {
        "id",
        "statement",
        "source",
        "text",
        "evidence",
        "coverage",
        "status",
        "counts",
        "least_slack",
        "depends_on",
    }
    assert wanted | {"negative_controls", "tight", "bits", "kept_slack"} <= rows[0].keys()
    assert all(control["rejected"] for row in rows for control in row["negative_controls"])
    assert "2 statements hold (2 certified)" in capsys.readouterr().out


def test_command_exits_1_when_a_row_fails(monkeypatch, capsys) -> None:
    load_statements()
    monkeypatch.setitem(ledger.REGISTRY, "p2", statement_with("hr", id="p2"))
    assert command.main(["p2"]) == 1
    assert "p2 is failed: claimed: holds; found: refuted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "'nothing' names no statement (--list shows all)"),
        (["lema-f6"], "'lema-f6' names no statement, did you mean 'lemma-f6'? (--list shows all)"),
        (["--jbos", "2"], "there is no option '--jbos', did you mean '--jobs'? (--help"),
        (["--seed", "-1"], "--seed is -1"),
        (["--jobs", "0"], "--jobs is 0"),
        (["--seed", "x"], "invalid int value: 'x'"),
        (["--json", "missing/there.json"], "there is no directory"),
        (["--wrong"], "--wrong"),
        (["--list", "--json", "x.json"], "--list checks nothing"),
    ],
)
def test_bad_input(arguments: list[str], said: str, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert command.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_slack_of_numpy_can_be_written() -> None:
    verdict = Verdict("holds", "x", np.float64(0.25))
    assert type(verdict.slack) is float
    assert json.loads(json.dumps([verdict.slack, verdict.slack <= 0.9])) == [0.25, True]


def test_every_statement_is_well_formed() -> None:
    load_statements()
    for id, made in ledger.REGISTRY.items():
        assert made.id == id
        assert made.statement, id
        assert made.controls or not made.checked, id
        assert made.note or made.claim == "no claim", id
    closure(ledger.REGISTRY, ledger.REGISTRY)


def test_a_row_of_instances_says_what_is_proved_and_what_is_checked() -> None:
    """What it says of every or of all is said to be proved, or how it was looked for is said beside it."""
    load_statements()
    for id, made in ledger.REGISTRY.items():
        if made.coverage == "instances" and made.claim == "holds":
            sentences = re.split(r"(?<=[.;:]) ", made.statement)
            assert not [s for s in sentences if re.search(r"\bevery\b", s) and "prove" not in s.lower()], id
            if re.search(r"\b[Ff]or all\b", made.statement):
                assert re.search(r"[Pp]roof|[Pp]rove|ascent|[Cc]hecked|looked for", made.statement), id


def test_rows_from_several_processes_are_those_of_one(tmp_path, capsys) -> None:
    paths = [tmp_path / "one.json", tmp_path / "two.json"]
    for jobs, path in enumerate(paths, start=1):
        assert command.main(["corollary-f1", "--certified", "--jobs", str(jobs), "--json", str(path)]) == 0
        assert "all instances of the certified rows and of what they rest on: " in capsys.readouterr().out
    one, two = ([{**row, "seconds": 0} for row in json.loads(path.read_text())["rows"]] for path in paths)
    assert one == two


def test_a_check_is_asked_for_all_its_instances_only_if_it_has_more() -> None:
    def check(rng, *, full: bool = False):
        yield require(True, "full" if full else "short")

    def plain(rng):
        yield require(True, "plain")

    both = Statement("both", "", "ours", "certified", check), Statement("plain", "", "ours", "certified", plain)
    assert [v.instance for made in both for full in (False, True) for v in made.verdicts(0, full)] == [
        "short",
        "full",
        "plain",
        "plain",
    ]


def test_rows_are_run_as_asked(monkeypatch) -> None:
    def check(rng, *, full: bool = False):
        yield require(True, f"{rng.integers(1 << 30)} {full}")

    def seen(rng, *, full: bool = False, wrong: bool = False):
        for v in check(rng, full=full):
            yield compare(2.0 if wrong else 0.5, 1.0, v.instance)

    made = Statement("seen", "", "ours", "certified", seen)
    made.control("wrong", wrong=True)
    monkeypatch.setitem(ledger.REGISTRY, "seen", made)
    for seed, full in ((0, False), (5, False), (5, True)):
        (row,) = running.run(["seen"], seed, full, 1)
        (wanted,) = made.verdicts(seed, full)
        assert row.tightest == wanted.instance
        assert str(full) in row.tightest


def test_a_row_counts_tight_bounds_bits_and_the_kept_instance() -> None:
    def check(rng):
        yield Verdict("holds", "loose", 0.95, 128)
        yield Verdict("holds", "tight", 0.9, 256)
        yield Verdict("holds", "kept", 0.25, 128, kept=True)
        yield Verdict("vacuous", "no slack")
        yield Verdict("holds", "an equality", None, 512)

    row = Statement("row", "", "ours", "certified", check).row(with_controls=False)
    assert (row.bounded, row.tight, row.bits, row.kept_slack, row.least_slack) == (3, 2, 512, 0.25, 0.25)
    row = Statement("row", "", "ours", "certified", check, rounding=True).row(with_controls=False)
    assert (row.bounded, row.tight, row.bits, row.kept_slack, row.least_slack) == (0, 0, 512, None, None)
    assert (row.counts["holds"], row.counts["vacuous"], row.slacks, row.tightest) == (4, 1, [], "")


def test_what_claims_nothing_says_so(monkeypatch, capsys) -> None:
    monkeypatch.setattr(ledger, "REGISTRY", {})
    ledger.no_claim("remark-x", "Remark X", "Remark X", "A figure of speech.")
    row = ledger.REGISTRY["remark-x"].row()
    assert (row.status, row.evidence, row.coverage, row.reason) == ("no claim", "none", None, "A figure of speech.")
    assert sum(row.counts.values()) == 0
    assert "remark-x makes no claim: A figure of speech." in command.table([row])


def test_what_is_not_recovered_is_open_and_not_counted(monkeypatch) -> None:
    monkeypatch.setattr(ledger, "REGISTRY", {})
    ledger.not_recovered("lemma-x-paper", "Lemma X", "Lemma X", "Not recovered: its constant.", "lemma_f5")
    row = ledger.REGISTRY["lemma-x-paper"].row()
    assert (row.text, row.status, row.evidence, row.coverage) == ("not recovered", "open", "none", None)
    line, said, counted = (part for part in command.table([row]).splitlines()[2:] if part)
    assert line.split() == ["lemma-x-paper", "not", "recovered", "none", "-", "open", *"-" * 10]
    assert said == "lemma-x-paper is open: Not recovered: its constant."
    assert counted == "0 statements hold; not counted among them: 1 open"


def test_the_papers_statements_with_lost_formulas_have_rows_of_their_own() -> None:
    load_statements()
    lost = {name for made in ledger.REGISTRY.values() if made.text == "not recovered" for name in made.paper}
    assert lost == {"Lemma F.5", "Remark F.6"}


def test_certified_leaves_out_what_is_graded_otherwise_and_is_not_rested_on(capsys) -> None:
    assert command.main(["--certified", "--list"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if not line.startswith("    ")]
    graded = {id for id, made in ledger.REGISTRY.items() if made.evidence == "certified"}
    assert graded <= set(listed)
    assert {ledger.REGISTRY[id].evidence for id in set(listed) - graded} == {"exact"}
    assert not {"spectral", "export", "theorem-g8"} & set(listed)
