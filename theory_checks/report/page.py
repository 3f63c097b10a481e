"""The page: chapters of statements that share a note, under the ledger."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from figures.__main__ import FIGURES
from theory_checks.coverage import COVERAGE, WIDTHS
from theory_checks.ledger import EVIDENCE, OUTCOMES, ROOT, Row
from theory_checks.report import histogram, notes
from theory_checks.report.scripts import scripts
from theory_checks.run_file import Run
from theory_checks.tables import ADDRESSES, COLUMNS, Column, headline, shown

STATUSES = {"failed": "!", "refuted": "✗", "undecided": "?", "open": "○", "holds": "✓", "no claim": "–"}
"""From what needs attention most to what needs it least; the mark says it without the colour."""
PICTURES = ("svg", "png")
TITLE = "<title>Mechanistic theory checks: the ledger</title>"
LARGEST_HEAD = 1000
"""Bytes of a page within which its title is."""


@dataclass(frozen=True)
class Figure:
    """A figure: its file beside the page, its size, what it shows."""

    stem: str
    file: Path
    width: str
    height: str
    title: str  # the first line of the script's description
    caption: list[str]  # its other paragraphs


@dataclass(frozen=True)
class Chapter:
    """The statements that share a note, with it and their figures."""

    anchor: str
    title: Markup
    rows: list[Row]
    figures: list[Figure]
    note: Markup


def files_of(run: Run) -> dict[str, bytes]:
    """Path below the report's directory -> content. The same run makes the same bytes."""
    chapters = _chapters(run.rows)
    dependants = {row.id: [other.id for other in run.rows if row.id in other.depends_on] for row in run.rows}
    html = _template().render(
        run=run,
        chapters=chapters,
        columns=(*COLUMNS, *ADDRESSES),
        headline=headline(run.rows),
        dependants=dependants,
        present={row.id for row in run.rows},
        noted={row.note for row in run.rows if notes.exists(row.note)},
        drawn={figure.stem for chapter in chapters for figure in chapter.figures},
        statuses=STATUSES,
        outcomes=OUTCOMES,
        evidence=EVIDENCE,
        coverage=COVERAGE,
        texts=sorted({row.text for row in run.rows}),
        shown=shown,
        sort_key=sort_key,
        histogram=lambda row: Markup(histogram.svg(row.slacks)),
        described=lambda row: histogram.described(row.slacks),
        command=lambda row: command(run, row),
        title=Markup(TITLE),
        css=Markup(_resource("page.css")),
        js=Markup(_resource("page.js")),
    )
    pictures = {f"figures/{figure.file.name}": figure.file.read_bytes() for c in chapters for figure in c.figures}
    return {"index.html": html.encode()} | pictures


def command(run: Run, row: Row) -> str:
    """What reproduces the row, with all that it rests on."""
    return f"python -m theory_checks {row.id} --seed {run.seed}" + (" --certified" if run.certified else "")


def sort_key(column: Column, row: Row) -> str:
    """What the page sorts by: a number as it is, a grade by its strength, coverage by its width.

    It is empty, which comes last, where there is none.
    """
    value = column.value(row)
    if column.heading == "status":
        return str(list(STATUSES).index(row.status))
    if column.heading == "evidence":
        return str(EVIDENCE.index(row.evidence))
    if column.heading == "coverage" and row.coverage is not None:
        return str(WIDTHS.index(row.coverage))
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def own(name: str) -> bool:
    """Whether a page has a file or directory of this name."""
    *directory, file = name.split("/")
    picture = directory == ["figures"] and file.rpartition(".")[0] in FIGURES
    return name in ("index.html", "figures/") or (picture and file.rpartition(".")[2] in PICTURES)


def held(directory: Path, first: str) -> str:
    """What a directory holds in which all names are a page's; nothing if it is a page of ours."""
    try:
        with open(directory / "index.html", "rb") as file:
            ours = TITLE.encode() in file.read(LARGEST_HEAD)
    except FileNotFoundError:
        ours = False
    return "" if ours else repr(first)


def _chapters(rows: Sequence[Row]) -> list[Chapter]:
    """By note, in the order of the notes' index; first what has none, last the index itself, with the notation."""
    order = notes.reached({row.note for row in rows if notes.exists(row.note)})
    pictures = {
        stem: sorted({row.figure for row in rows if row.note == stem and row.figure} | notes.figures(stem))
        for stem in order[:-1]
    }
    bare = [row for row in rows if not notes.exists(row.note)]
    pictures |= {"": sorted({row.figure for row in bare if row.figure})}
    shown_once: dict[str, Figure] = {}
    for stem in [stem for stems in pictures.values() for stem in stems]:
        if stem not in shown_once and (figure := _figure(stem)):
            shown_once[stem] = figure
    first = {stem: next(page for page, stems in pictures.items() if stem in stems) for stem in shown_once}
    made = [
        Chapter(
            f"note-{page}",
            Markup(notes.title(page)),
            [row for row in rows if row.note == page],
            [shown_once[stem] for stem in pictures.get(page, []) if first.get(stem) == page],
            Markup(notes.body(page, set(order), set(shown_once))),
        )
        for page in order
    ]
    if bare:
        drawn = [shown_once[stem] for stem in pictures[""] if first.get(stem) == ""]
        made.insert(
            len(made) - 1, Chapter("without-note", Markup("Statements without a note"), bare, drawn, Markup(""))
        )
    return made


def _figure(stem: str) -> Figure | None:
    """The figure as it was last drawn; none if it never was."""
    folder = ROOT / "figures"
    script = folder / f"{stem}.py"
    drawn = next((file for kind in PICTURES if (file := folder / f"{stem}.{kind}").is_file()), None)
    if drawn is None or not script.is_file():
        return None
    said = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or stem
    paragraphs = [" ".join(paragraph.split()) for paragraph in said.split("\n\n")]
    size = re.search(rb'<svg[^>]* width="([\d.]+)pt" height="([\d.]+)pt"', drawn.read_bytes()[:4096])
    width, height = (str(round(float(number) * 4 / 3)) for number in size.groups()) if size else ("", "")
    return Figure(stem, drawn, width, height, paragraphs[0].rstrip("."), paragraphs[1:])


def _resource(name: str) -> str:
    return files("theory_checks.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _template():  # type: ignore[no-untyped-def]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["scripts"] = scripts
    return environment.from_string(_resource("page.html"))
