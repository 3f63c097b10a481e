"""The page says what the rows say, has every link's target, asks nothing of the network, and is the same every time."""

import re
from collections import Counter
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import pytest
from rows import FAILED, HELD, REFUTED, ROWS, SAMPLED, SILENT

from theory_checks.ledger import ROOT
from theory_checks.report import notes, page
from theory_checks.run_file import Run, load
from theory_checks.tables import COLUMNS

RUN = Run(7, False, {"numpy": "2.0", "scipy": "1.1"}, ROWS)


class Seen(HTMLParser):
    """Ids, addresses and unbalanced tags."""

    void = frozenset({"meta", "link", "img", "br", "hr", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs) -> None:
        values = dict(attrs)
        self.ids += [values["id"]] if "id" in values else []
        self.loaded += [values[name] for name in ("src",) if name in values]
        self.loaded += [values["href"]] if tag == "link" else []
        self.links += [values["href"]] if tag == "a" else []
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.void:
            self.open.pop()

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag, f"</{tag}> at line {self.getpos()[0]}"


def assert_sound(html: str) -> Seen:
    """Tags balance, no id occurs twice, every link inside the page has its target."""
    seen = Seen(html)
    assert seen.open == []
    assert [id for id, number in Counter(seen.ids).items() if number > 1] == []
    assert {link[1:] for link in seen.links if link.startswith("#")} <= set(seen.ids)
    return seen


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return page.files_of(RUN)


@pytest.fixture(scope="module")
def html(files) -> str:
    return files["index.html"].decode()


def article(html: str, id: str) -> str:
    """A statement's section as text."""
    found = re.search(rf'<article id="row-{id}".*?</article>', html, re.S)
    assert found is not None
    return " ".join(unescape(re.sub(r"<title>.*?</title>|<[^>]+>", " ", found[0])).split())


def test_the_page_is_sound_and_complete_by_itself(html, files) -> None:
    seen = assert_sound(html)
    assert {source for source in seen.loaded if not source.startswith("data:")} == set(files) - {"index.html"}
    assert all(link.startswith(("#", "https://arxiv.org/")) for link in seen.links)
    assert not re.search(r"@import|url\(", html)


def test_a_figure_of_two_notes_is_shown_once() -> None:
    rows = [HELD, replace(HELD, id="other", note="m_step")]
    html = page.files_of(replace(RUN, rows=rows))["index.html"].decode()
    assert_sound(html)
    assert html.count('<img src="figures/lemma_f4.svg"') == 1


def test_same_run_same_bytes(files) -> None:
    assert page.files_of(RUN) == files


def test_pictures_are_those_last_drawn(files, html) -> None:
    assert files["figures/lemma_f4.svg"] == (ROOT / "figures" / "lemma_f4.svg").read_bytes()
    found = re.search(r'<img src="figures/lemma_f4.svg" alt="(.*?)" width="(\d+)" height="(\d+)">', html)
    assert found is not None
    assert found[1].startswith("Lemma F.4: how well")
    assert (found[2], found[3]) == ("672", "298")  # 504 pt by 223.2 pt


def test_a_statement_that_holds(html) -> None:
    said = article(html, "held")
    assert said.startswith("held ✓ holds π̂ k ≥ 0. Source Lemma | 1 Paper Lemma F.4, Remark 2 Text ours")
    assert (
        "Evidence certified, balls of up to 128 bits Coverage interval: every point of an interval, or of a box" in said
    )
    assert "Instances 11 hold, 2 not applicable, 3 vacuous" in said
    assert "least slack found 0.62" in said
    assert "Rests on nothing else Needed by sampled" in said
    assert (
        "3 instances have a bound to be close to: 0 above it, 1 within a factor of 10 below, 2 further below." in said
    )
    assert "Worst instance (slack 0.5) n=7: error 1, bound 2" in said
    assert "✓ 1 % below: rejected ✓ twice: rejected" in said
    assert said.endswith("Reproduce python -m theory_checks held --seed 7")


def test_the_others(html) -> None:
    assert "Counterexample n=5: error 5, bound 1" in article(html, "refuted")
    assert "mended by the new weight: holds" in article(html, "refuted")
    assert "control not met: twice" in article(html, "failed")
    assert "! twice: NOT REJECTED" in article(html, "failed")
    assert "Rests on held" in article(html, "sampled")
    silent = article(html, "silent")
    assert silent.startswith("silent – no claim")
    assert "Instances" not in silent
    assert "Reproduce" not in silent


def test_headline_and_settings(html) -> None:
    assert "2 statements hold (1 certified, 1 sampled); not counted among them: 1 failed, 1 no claim, 1 refuted" in html
    assert "Seed 7.\nnumpy 2.0, scipy 1.1." in html


def test_certified_command() -> None:
    assert page.command(replace(RUN, certified=True), HELD) == "python -m theory_checks held --seed 7 --certified"


@pytest.mark.parametrize(
    ("heading", "row", "key"),
    [
        ("status", FAILED, "0"),
        ("status", REFUTED, "1"),
        ("status", SILENT, "5"),
        ("evidence", HELD, "1"),
        ("evidence", SAMPLED, "2"),
        ("coverage", HELD, "1"),
        ("coverage", SAMPLED, "2"),
        ("coverage", SILENT, ""),
        ("slack", replace(HELD, least_slack=8.5e-261), "8.5e-261"),
        ("slack", SILENT, ""),
        ("holds", HELD, "11"),
        ("holds", SILENT, ""),
    ],
)
def test_sort_key(heading: str, row, key: str) -> None:
    assert page.sort_key(next(column for column in COLUMNS if column.heading == heading), row) == key


def test_text_is_escaped() -> None:
    nasty = replace(HELD, statement="<script>alert(1)</script> & $x$", source='"quoted"', note="", figure="")
    html = page.files_of(replace(RUN, rows=[nasty]))["index.html"].decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; $x$" in html
    assert "<script>alert" not in html
    assert_sound(html)


def test_what_is_no_longer_there_is_left_out() -> None:
    gone = replace(HELD, note="no_such_note", figure="no_such_figure", depends_on=["no-such-row"])
    files = page.files_of(replace(RUN, rows=[gone]))
    assert_sound(files["index.html"].decode())
    assert set(files) == {"index.html"}


def test_a_run_of_nothing() -> None:
    assert_sound(page.files_of(replace(RUN, rows=[]))["index.html"].decode())


def test_a_real_run(saved_run) -> None:
    run = load(saved_run)
    html = page.files_of(run)["index.html"].decode()
    assert_sound(html)
    assert {row.id for row in run.rows} == set(re.findall(r'<article id="row-(.*?)"', html))
    assert html.count('<svg class="histogram"') == sum(bool(row.slacks) for row in run.rows)


def test_every_note_is_sound() -> None:
    """All notes on one page, as in a report of all statements."""
    stems = sorted(path.stem for path in notes.NOTES.glob("*.md") if path.stem != notes.INDEX)
    rows = [replace(HELD, id=f"row-{stem}", note=stem, figure=stem) for stem in stems]
    assert_sound(page.files_of(replace(RUN, rows=rows))["index.html"].decode())
