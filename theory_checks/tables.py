"""The ledger as a table, in plain text and in GitHub's Markdown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import unified_diff

from theory_checks.ledger import Row
from theory_checks.printed import agree

Value = str | int | float | None


@dataclass(frozen=True)
class Column:
    """A column: its heading, its width in plain text (negative: flush right), a row's value, what it means."""

    heading: str
    width: int
    value: Callable[[Row], Value]
    meaning: str


def _counted(outcome: str) -> Callable[[Row], Value]:
    """A number of instances; none where nothing is checked, lest a 0 looks like an answer."""
    return lambda row: row.counts[outcome] if _checked(row) else None


def _checked(row: Row) -> bool:
    return row.status != "no claim" and row.text != "not recovered"


def _controls(row: Row) -> Value:
    if not _checked(row):
        return None
    met = sum(control["rejected"] for control in row.negative_controls)
    return f"{met} of {len(row.negative_controls)} rejected" + (", repaired" if row.repairs else "")


COLUMNS = (
    Column("id", 24, lambda row: row.id, "name of the statement"),
    Column("text", 13, lambda row: row.text, "whose text: the paper's, recovered or not recovered, or ours"),
    Column("evidence", 9, lambda row: row.evidence, "exact, certified by enclosures, sampled, or a measured rate"),
    Column("coverage", 9, lambda row: row.coverage, "for what it stands: all, an interval, or instances"),
    Column("status", 9, lambda row: row.status, "holds, refuted, undecided, open, failed, or no claim"),
    Column("holds", -5, _counted("holds"), "instances that hold"),
    Column("tight", -5, lambda row: row.tight if row.bounded else None, "bound within 10 x of the error"),
    Column("refuted", -7, _counted("refuted"), "instances that refute"),
    Column("n/a", -5, _counted("not applicable"), "instances that miss a precondition"),
    Column("vacuous", -7, _counted("vacuous"), "instances whose bound says nothing"),
    Column("undec.", -6, _counted("undecided"), "instances left undecided"),
    Column("bits", -5, lambda row: row.bits, "the precision that balls needed"),
    Column("slack", -8, lambda row: row.least_slack, "the least 1 - error/bound"),
    Column("kept", -8, lambda row: row.kept_slack, "the slack of the worst instance that the falsifier found"),
    Column("controls", 0, _controls, "broken subjects that the same check rejects"),
)
ADDRESSES = (
    Column("paper", 0, lambda row: ", ".join(row.paper), "the paper's statements that it checks, or a part of them"),
    Column("note", 0, lambda row: row.note, "stem of the page in proofs_notes/"),
    Column("figure", 0, lambda row: row.figure, "stem of the figure in figures/"),
)


def shown(value: Value) -> str:
    """A value as all tables show it: numbers that are measured with two digits."""
    if value is None:
        return "-"
    return f"{value:.2g}" if isinstance(value, float) else str(value)


def table(rows: Sequence[Row]) -> str:
    """One line a statement, then what is not plainly held, then the headline."""

    def line(cells: Sequence[str]) -> str:
        padded = [
            f"{cell:>{-column.width}s}" if column.width < 0 else f"{cell:{column.width}s}"
            for cell, column in zip(cells[:-1], COLUMNS[:-1], strict=True)
        ]
        return f"{' '.join(padded)}  {cells[-1]}"

    head = line([column.heading for column in COLUMNS])
    body = [line([shown(column.value(row)) for column in COLUMNS]) for row in rows]
    return "\n".join([head, "-" * len(head), *body, "", *findings(rows), *headline(rows)])


def unlike(rows: Sequence[Row], page: str) -> list[str]:
    """How the ledger on a page of Markdown differs from what `table` says of the rows (`printed.agree`), as a diff."""
    blocks = page.split("\n```")
    (block,) = [block for block in blocks if block.startswith("\nid ")] or [""]
    printed, shown = table(rows).splitlines(), block.splitlines()[1:]
    for index, pair in enumerate(zip(shown, printed, strict=False)):
        if agree(*pair):
            shown[index] = printed[index]
    return list(unified_diff(shown, printed, "the page", "the rows", "", "", 0, ""))


def findings(rows: Sequence[Row]) -> list[str]:
    """A sentence for every row that does not plainly hold."""
    said = []
    for row in rows:
        if row.status == "refuted":
            said.append(f"{row.id} is refuted: {row.counterexample}")
        elif row.status == "no claim":
            said.append(f"{row.id} makes no claim: {row.reason}")
        elif row.status != "holds":
            said.append(f"{row.id} is {row.status}" + (f": {row.reason}" if row.reason else ""))
    return said


def headline(rows: Sequence[Row]) -> list[str]:
    """How many statements hold, by evidence, and how many rows are not counted among them."""
    counted = Counter(row.status for row in rows)
    held = Counter(row.evidence for row in rows if row.status == "holds")
    number = counted["holds"]
    grades = ", ".join(f"{n} {grade}" for grade, n in held.items())
    others = ", ".join(f"{n} {status}" for status, n in sorted(counted.items()) if status != "holds")
    verb = "statement holds" if number == 1 else "statements hold"
    lines = [f"{number} {verb}" + (f" ({grades})" if grades else "") + f"; not counted among them: {others or 'none'}"]
    certified = [row for row in rows if row.evidence == "certified"]
    if certified:
        bounded, tight = sum(row.bounded for row in certified), sum(row.tight for row in certified)
        lines.append(f"{tight} of the {bounded} certified inequalities have a bound within 10 x of the error")
    return lines


def markdown(rows: Sequence[Row]) -> str:
    """The same table and sentences for GitHub."""
    columns = (*COLUMNS, *ADDRESSES)
    lines = [
        markdown_row([column.heading for column in columns]),
        markdown_row(["--:" if column.width < 0 else "---" for column in columns], escape=False),
    ]
    lines += [markdown_row([shown(column.value(row)) for column in columns]) for row in rows]
    said = [f"- {markdown_text(line)}" for line in (*findings(rows), *headline(rows))]
    return "\n".join([*lines, "", *said]) + "\n"


def markdown_row(cells: Sequence[str], escape: bool = True) -> str:
    """One line of a table."""
    return f"| {' | '.join(markdown_text(cell) if escape else cell for cell in cells)} |"


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_\[\]<>|$~#&])", r"\\\1", " ".join(text.split()))
