"""What has changed between two runs of the checks: `python -m theory_checks diff BEFORE.json AFTER.json`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from constructions.command_line import Parser, require_writable, run_command, write_all
from theory_checks import run_file
from theory_checks.ledger import OUTCOMES, Row
from theory_checks.run_file import Run
from theory_checks.tables import markdown_row, markdown_text, shown


@dataclass(frozen=True)
class Change:
    """A value before and after."""

    what: str
    before: str
    after: str


@dataclass(frozen=True)
class Difference:
    """What two runs differ in. `settings` explain, but are no difference of the ledger."""

    settings: list[Change]
    gone: list[Row]
    added: list[Row]
    changed: dict[str, list[Change]]  # id -> what
    equal: int

    def __bool__(self) -> bool:
        """Whether any row differs."""
        return bool(self.gone or self.added or self.changed)

    def headline(self) -> str:
        """The numbers of rows."""
        rows = "row" if len(self.added) == 1 else "rows"
        numbers = f"{len(self.added)} {rows} added, {len(self.gone)} gone, {len(self.changed)} changed"
        return f"{numbers}, {self.equal} unchanged"


def _named(outcomes: list[dict[str, object]]) -> str:
    """Controls or repairs with what became of them."""
    return "; ".join(f"{name} ({'yes' if met else 'NO'})" for name, met in (o.values() for o in outcomes)) or "none"


COMPARED: dict[str, Callable[[Row], str]] = {
    "status": lambda row: row.status,
    "evidence": lambda row: row.evidence,
    "coverage": lambda row: shown(row.coverage),
    "text": lambda row: row.text,
    "statement": lambda row: row.statement,
    "source": lambda row: row.source,
    "paper": lambda row: ", ".join(row.paper) or "-",
    "note": lambda row: row.note or "-",
    "figure": lambda row: row.figure or "-",
    "rests on": lambda row: ", ".join(row.depends_on) or "-",
    **{outcome: (lambda row, outcome=outcome: str(row.counts[outcome])) for outcome in OUTCOMES},  # type: ignore[misc]
    "bounded": lambda row: str(row.bounded),
    "tight": lambda row: str(row.tight),
    "bits": lambda row: shown(row.bits),
    "slack": lambda row: shown(row.least_slack),
    "kept": lambda row: shown(row.kept_slack),
    "counterexample": lambda row: row.counterexample or "-",
    "reason": lambda row: row.reason or "-",
    "controls rejected": lambda row: _named(row.negative_controls),
    "repairs accepted": lambda row: _named(row.repairs),
}
"""What of a row is compared, as the ledger shows it: a slack has moved when one of its two digits has.

Left out: the time it took, the slack of every single instance, and which instance is the tightest.
"""


def difference(before: Run, after: Run) -> Difference:
    """Compare two runs row by row."""
    old, new = ({row.id: row for row in run.rows} for run in (before, after))
    settings = [Change("seed", str(before.seed), str(after.seed))]
    settings.append(Change("certified only", *(("yes" if run.certified else "no") for run in (before, after))))
    for name in sorted({*before.libraries, *after.libraries}):
        settings.append(Change(name, before.libraries.get(name, "-"), after.libraries.get(name, "-")))
    shared = [id for id in old if id in new]
    changes = {id: _changes([(what, of(old[id]), of(new[id])) for what, of in COMPARED.items()]) for id in shared}
    return Difference(
        [change for change in settings if change.before != change.after],
        [row for id, row in old.items() if id not in new],
        [row for id, row in new.items() if id not in old],
        {id: change for id, change in changes.items() if change},
        sum(not change for change in changes.values()),
    )


def _changes(values: Sequence[tuple[str, str, str]]) -> list[Change]:
    return [Change(*value) for value in values if value[1] != value[2]]


def text(found: Difference) -> str:
    """A paragraph a row that differs, then the numbers."""
    lines = [f"{change.what}: {change.before} -> {change.after}" for change in found.settings]
    lines += [f"gone     {row.id}: {row.status}, {row.evidence}" for row in found.gone]
    lines += [f"added    {row.id}: {row.status}, {row.evidence}" for row in found.added]
    for id, changes in found.changed.items():
        lines.append(f"changed  {id}")
        lines += [f"         {change.what}: {change.before} -> {change.after}" for change in changes]
    return "\n".join([*lines, found.headline()])


def markdown(found: Difference) -> str:
    """The same as a table for GitHub."""
    cells = [("", change.what, change.before, change.after) for change in found.settings]
    cells += [(row.id, "gone", f"{row.status}, {row.evidence}", "-") for row in found.gone]
    cells += [(row.id, "added", "-", f"{row.status}, {row.evidence}") for row in found.added]
    for id, changes in found.changed.items():
        cells += [(id, change.what, change.before, change.after) for change in changes]
    table = [markdown_row(row) for row in (("statement", "what", "before", "after"), *cells)] if cells else []
    table[1:1] = [markdown_row(["---"] * 4, escape=False)] if table else []
    return "\n".join([*table, *([""] if table else []), markdown_text(found.headline())]) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Print the difference; 0 if no row differs, 1 if one does, 2 on bad input."""
    return run_command(lambda: _run(arguments))


def _run(arguments: Sequence[str]) -> int:
    parser = Parser(
        prog="python -m theory_checks diff",
        failure="a row differs",
        description="Compare two runs that --json saved: rows added and gone, and of every other row its status, "
        "evidence, coverage, text, counts, controls and slacks as the ledger shows them. Exit code 0 if no row "
        "differs, 1 if one does. Another seed or other versions of libraries are named, but are no difference by "
        "themselves.",
    )
    parser.add_argument("before", type=Path, metavar="BEFORE.json")
    parser.add_argument("after", type=Path, metavar="AFTER.json")
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write the difference for GitHub")
    options = parser.parse_args(arguments)
    if options.markdown is not None:
        require_writable(options.markdown)
    found = difference(run_file.load(options.before), run_file.load(options.after))
    if options.markdown is not None:
        write_all({options.markdown: markdown(found).encode()})
    print(text(found))
    return int(bool(found))
