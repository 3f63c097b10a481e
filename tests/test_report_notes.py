"""Every note is rendered: all its formulas, no leftover of Markdown, links that lead somewhere on the page."""

import re
from pathlib import Path

import pytest

from theory_checks.report import notes

STEMS = sorted(path.stem for path in notes.NOTES.glob("*.md"))


@pytest.mark.parametrize("stem", STEMS)
def test_every_formula_is_drawn(stem: str) -> None:
    for tex, display in notes.formulas(stem):
        assert notes.mathml(tex, display).startswith("<math"), tex


@pytest.mark.parametrize("stem", STEMS)
def test_no_markdown_is_left_over(stem: str) -> None:
    text = " ".join(
        child.content for token in notes.tokens(stem) for child in token.children or () if child.type == "text"
    )
    assert "$" not in text
    assert "**" not in text
    assert not re.search(r"\]\(", text)


@pytest.mark.parametrize("stem", STEMS)
def test_body(stem: str) -> None:
    body = notes.body(stem, set(STEMS), set())
    assert "undrawn" not in body
    assert not re.search(r"<h[123]\b", body)
    assert body.count("<math") == sum(1 for _ in notes.formulas(stem)) - notes.title(stem).count("<math")
    for target in re.findall(r'href="([^"]*)"', body):
        assert target.startswith("https://") or target.removeprefix("#note-").partition("--")[0] in STEMS


def test_mathematics_is_not_only_copied() -> None:
    drawn = notes.mathml(r"\frac{a}{b} \le \sqrt{c}", display=True)
    assert 'display="block"' in drawn
    assert re.search("<mfrac>.*≤.*<msqrt>", drawn)
    assert "block" not in notes.mathml("a", display=False)
    assert "<msup><mrow><mo minsize" in notes.mathml(r"\bigl(a\bigr)^2", display=False)
    with pytest.raises(ValueError, match="nosuch"):
        notes.mathml(r"\nosuch", display=False)
    assert notes.formula(r"\nosuch<", display=False) == r'<code class="undrawn">\nosuch&lt;</code>'


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write a note and read it."""
    monkeypatch.setattr(notes, "NOTES", tmp_path)
    notes.tokens.cache_clear()

    def write(**pages: str) -> None:
        for stem, text in pages.items():
            (tmp_path / f"{stem}.md").write_text(text, encoding="utf-8")

    yield write
    notes.tokens.cache_clear()


def test_links(page) -> None:
    page(
        a="# A $x$\n\n## Part, one\n\n## Part one\n\n### Deep\n\n[b](b.md), [of b](b.md#part-one), [c](c.md), "
        "[f](../figures/f.py), [g](../figures/g.py), [bounds.py](../constructions/bounds.py), "
        "[here](../constructions/x.py), [arXiv](https://arxiv.org/abs/1) $1<2$"
    )
    body = notes.body("a", {"a", "b"}, {"f"})
    assert "A $x$" not in body
    assert re.findall(r'<(h\d) id="(.*?)"', body) == [
        ("h4", "note-a--part-one"),
        ("h4", "note-a--part-one-1"),
        ("h5", "note-a--deep"),
    ]
    assert '<a href="#note-b">b</a>, <a href="#note-b--part-one">of b</a>, c, ' in body
    assert '<a href="#figure-f">f</a>, g, <code>constructions/bounds.py</code>, here, ' in body
    assert '<a href="https://arxiv.org/abs/1" rel="noreferrer">arXiv</a>' in body
    assert notes.title("a") == "A <math><mi>x</mi></math>"


def test_reached_in_the_order_of_the_index(page) -> None:
    page(
        README="# Index\n[c](c.md) [b](b.md) [a](a.md) [d](d.md)",
        a="# A\n[b](b.md#x) [README](README.md)",
        b="# B\n[c](c.md) [a](a.md) ![f](x.png) [f](../figures/f.py)",
        c="# C",
        d="# D",
        e="# E\n[gone](gone.md)",
    )
    assert notes.reached(["a"]) == ["c", "b", "a", "README"]
    assert notes.reached(["e", "d", "README"]) == ["d", "e", "README"]
    assert notes.figures("b") == {"f"}


def test_blocks(page) -> None:
    page(
        a="# A\n\n```math\na < b\n```\n\n```\nx < y\n```\n\ntext\n$$c$$ <b>raw</b>\n\n| p | q |\n|---|---|\n| $r$ | s |"
    )
    body = notes.body("a", {"a"}, set())
    assert body.count('<span class="display" tabindex="0"><math display="block"') == 2
    assert '<pre tabindex="0"><code>x &lt; y' in body
    assert "&lt;b&gt;raw" in body
    assert re.search(
        r'<div class="scroll" role="region" aria-label="table" tabindex="0"><table>.*</table></div>', body, re.S
    )
