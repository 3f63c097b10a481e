"""The pages of proofs_notes/ as HTML: GitHub's Markdown, its mathematics as MathML, links that stay inside the page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Set
from functools import cache
from html import escape
from pathlib import PurePosixPath

from markdown_it import MarkdownIt
from markdown_it.token import Token
from math_core import LatexError, LatexToMathML
from mdit_py_plugins.dollarmath import dollarmath_plugin

from theory_checks.ledger import ROOT

NOTES = ROOT / "proofs_notes"
INDEX = "README"
"""The page with the table of all notes, the notation and what all proofs use."""
DEEPER = 2
"""A note's sections are two levels deeper on the page than on their own."""
_converter = LatexToMathML(fancy_error=False)


def mathml(tex: str, display: bool) -> str:
    """A formula as MathML Core, which browsers draw without a script.

    Raises
    ------
    ValueError
        If it is no TeX, or uses a command that the converter does not know.
    """
    try:
        drawn = _converter.convert_with_local_state(tex, displaystyle=display)
    except LatexError as error:
        raise ValueError(f"{tex!r} is not rendered: {' '.join(str(error).split())}") from error
    # Chromium does not stretch a bracket that itself carries an exponent; inside an mrow it does.
    return re.sub(r"(<msu[bp](?:sup)?>)(<mo minsize[^>]*>[^<]*</mo>)", r"\1<mrow>\2</mrow>", drawn)


def formula(tex: str, display: bool) -> str:
    """The same; a formula that cannot be drawn is shown as its source, marked."""
    try:
        drawn = mathml(tex, display)
    except ValueError:
        drawn = f'<code class="undrawn">{escape(tex)}</code>'
    return f'<span class="display" tabindex="0">{drawn}</span>' if display else drawn


def exists(stem: str) -> bool:
    """Whether there is such a note; links and saved runs can name one that is not, or no longer, there."""
    return (NOTES / f"{stem}.md").is_file()


@cache
def tokens(stem: str) -> tuple[Token, ...]:
    """The note, parsed; not to be changed."""
    return tuple(_parser().parse((NOTES / f"{stem}.md").read_text(encoding="utf-8")))


def formulas(stem: str) -> Iterator[tuple[str, bool]]:
    """Every formula of the note, with whether it is displayed."""
    for token in tokens(stem):
        if token.type == "math_block" or (token.type == "fence" and token.info.strip() == "math"):
            yield token.content, True
        for child in token.children or ():
            if child.type in ("math_inline", "math_inline_double"):
                yield child.content, child.type == "math_inline_double"


def title(stem: str) -> str:
    """The note's first heading as HTML."""
    heading = next(i for i, token in enumerate(tokens(stem)) if token.type == "heading_open")
    return _parser().renderer.render([tokens(stem)[heading + 1]], _parser().options, {})


def linked(stem: str) -> Iterator[str]:
    """Where the note's links lead: paths in the repository, with `#…` where there is one."""
    for token in tokens(stem):
        for child in token.children or ():
            if child.type == "link_open":
                yield _target(str(child.attrs["href"]))


def reached(stems: Iterable[str]) -> list[str]:
    """The notes and all that they link to, and so on, in the order of the index, which comes last."""
    seen: set[str] = set()
    waiting = [stem for stem in stems if stem != INDEX]
    while waiting:
        stem = waiting.pop()
        if stem not in seen:
            seen.add(stem)
            targets = {_stem(link, "proofs_notes", ".md") for link in linked(stem)}
            waiting += [target for target in targets if target != INDEX and exists(target)]
    listed = [_stem(link, "proofs_notes", ".md") for link in linked(INDEX)]
    return [*sorted(seen, key=lambda stem: (listed.index(stem) if stem in listed else len(listed), stem)), INDEX]


def figures(stem: str) -> set[str]:
    """The figures that the note links to."""
    return {drawn for link in linked(stem) if (drawn := _stem(link, "figures", ".py", ".png", ".svg"))}


def body(stem: str, notes: Set[str], drawn: Set[str]) -> str:
    """The note below its first heading. `notes`, `drawn`: which notes and figures are on the page."""
    rest = [Token.from_dict(token.as_dict()) for token in tokens(stem)]
    first = next(i for i, token in enumerate(rest) if token.type == "heading_close")
    rest = rest[first + 1 :]
    taken: dict[str, int] = {}
    for i, token in enumerate(rest):
        if token.type == "heading_open":
            token.attrs["id"] = f"note-{stem}--{_slug(rest[i + 1].content, taken)}"
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{int(token.tag[1]) + DEEPER}"
        if token.children:
            token.children = list(_relinked(token.children, notes, drawn))
    return _parser().renderer.render(rest, _parser().options, {})


def _relinked(inline: list[Token], notes: Set[str], drawn: Set[str]) -> Iterator[Token]:
    """Links to what is on the page lead there; links to other files become their paths."""
    beyond = ""
    for token in inline:
        if token.type == "link_open":
            address = str(token.attrs["href"])
            target = _target(address)
            path, _, fragment = target.partition("#")
            note, picture = _stem(path, "proofs_notes", ".md"), _stem(path, "figures", ".py", ".png", ".svg")
            if note in notes:
                token.attrs["href"] = f"#note-{note}" + (f"--{fragment}" if fragment else "")
            elif picture in drawn:
                token.attrs["href"] = f"#figure-{picture}"
            elif re.match(r"https?:", address):
                token.attrs["rel"] = "noreferrer"
            else:
                beyond = path
                continue
        elif token.type == "link_close" and beyond:
            beyond = ""
            continue
        elif beyond and token.type in ("text", "code_inline") and token.content == PurePosixPath(beyond).name:
            token.type, token.tag, token.content = "code_inline", "code", beyond
        yield token


def _target(address: str) -> str:
    """A link's address as a path from the repository's root; the notes link as they stand in proofs_notes/."""
    if address.startswith("#") or re.match(r"\w+:", address):
        return address
    parts: list[str] = ["proofs_notes"]
    for part in address.split("/"):
        parts = parts[:-1] if part == ".." else [*parts, part] if part != "." else parts
    return "/".join(parts)


def _stem(path: str, folder: str, *endings: str) -> str:
    """The stem of a file of that folder with one of the endings; empty for other paths."""
    file = PurePosixPath(path.partition("#")[0])
    return file.stem if str(file.parent) == folder and file.suffix in endings else ""


def _slug(heading: str, taken: dict[str, int]) -> str:
    """The fragment under which GitHub links to a heading."""
    slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
    taken[slug] = taken.get(slug, -1) + 1
    return f"{slug}-{taken[slug]}" if taken[slug] else slug


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    dollarmath_plugin(parser, allow_labels=False, double_inline=True)
    fence = parser.renderer.rules["fence"]  # type: ignore[attr-defined]

    def fenced(renderer, tokens, i, options, env) -> str:  # type: ignore[no-untyped-def]
        if tokens[i].info.strip() == "math":
            return formula(tokens[i].content, display=True)
        return str(fence(tokens, i, options, env)).replace("<pre>", '<pre tabindex="0">')

    parser.add_render_rule("fence", fenced)
    for kind in ("math_inline", "math_inline_double", "math_block"):
        display = kind != "math_inline"
        parser.add_render_rule(kind, lambda r, t, i, o, e, display=display: formula(t[i].content, display))
    parser.add_render_rule(
        "table_open", lambda *_: '<div class="scroll" role="region" aria-label="table" tabindex="0"><table>'
    )
    parser.add_render_rule("table_close", lambda *_: "</table></div>")
    return parser
