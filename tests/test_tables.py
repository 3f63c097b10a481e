"""The ledger in plain text and in Markdown."""

from dataclasses import replace

import pytest
from rows import FAILED, HELD, REFUTED, ROWS, SAMPLED, SILENT

from theory_checks.tables import COLUMNS, findings, headline, markdown, markdown_text, shown, table, unlike

CELLS = {
    "held": "held ours certified interval holds 11 1 0 2 3 0 128 0.5 0.62 2 of 2 rejected",
    "sampled": "sampled ours sampled instances holds 11 1 0 2 3 0 - 0.5 - 2 of 2 rejected",
    "refuted": "refuted ours certified interval refuted 11 1 1 2 3 0 128 -4 0.62 2 of 2 rejected, repaired",
    "failed": "failed ours certified interval failed 11 1 0 2 3 0 128 0.5 0.62 1 of 2 rejected",
    "silent": "silent ours none - no claim - - - - - - - - - -",
}


def test_text_has_a_line_a_row() -> None:
    lines = table(ROWS).splitlines()
    assert [" ".join(line.split()) for line in lines[2 : 2 + len(ROWS)]] == [CELLS[row.id] for row in ROWS]


def test_text_is_aligned_and_fits() -> None:
    head, rule, *body = table(ROWS).splitlines()[: 2 + len(ROWS)]
    assert set(rule) == {"-"}
    assert len(rule) == len(head)
    for name in ("evidence", "coverage", "status"):
        at = head.index(name)
        assert all(line[at - 1] == " " != line[at] for line in body)
    for name in ("holds", "undec.", "kept"):
        end = head.index(f" {name} ") + 1 + len(name)
        assert all(line[end] == " " != line[end - 1] for line in body)
    assert max(map(len, [head, *body])) <= 160


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (0.98765, "0.99"), (-2363.4, "-2.4e+03"), (1066, "1066")])
def test_shown(value, text) -> None:
    assert shown(value) == text


def test_findings_are_all_that_does_not_hold() -> None:
    assert findings(ROWS) == [
        "failed is failed: control not met: twice",
        "refuted is refuted: n=5: error 5, bound 1",
        "silent makes no claim: A figure of speech.",
    ]


def test_headline_counts_only_what_holds() -> None:
    assert headline(ROWS) == [
        "2 statements hold (1 certified, 1 sampled); not counted among them: 1 failed, 1 no claim, 1 refuted",
        "3 of the 9 certified inequalities have a bound within 10 x of the error",
    ]
    assert headline([SILENT]) == ["0 statements hold; not counted among them: 1 no claim"]
    assert headline([SAMPLED]) == ["1 statement holds (1 sampled); not counted among them: none"]


def test_markdown_has_the_same_cells_with_the_addresses() -> None:
    lines = markdown([HELD, REFUTED, SILENT]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[:5]]
    assert {len(row) for row in cells} == {len(COLUMNS) + 3}
    assert " ".join(cells[2][:-3]) == CELLS["held"]
    assert cells[2][-3:] == ["Lemma F.4, Remark 2", r"lemma\_f4", r"lemma\_f4"]
    assert cells[1][:6] == ["---"] * 5 + ["--:"]
    assert lines[5] == ""
    assert lines[6] == "- refuted is refuted: n=5: error 5, bound 1"
    assert lines[-2].startswith("- 1 statement holds (1 certified)")


def test_markdown_says_what_the_text_says() -> None:
    assert markdown_text("a|b_c*d `e` <f> $g$\n#h ~i~ [j] \\k &l;") == (
        r"a\|b\_c\*d \`e\` \<f\> \$g\$ \#h \~i\~ \[j\] \\k \&l;"
    )
    line = markdown([replace(FAILED, reason="|a|")]).splitlines()[4]
    assert line == r"- failed is failed: \|a\|"


def test_a_page_is_unlike_the_rows_in_any_number_or_word() -> None:
    page = f"# Title\n\n```\nother\n```\n\n```\n{table(ROWS)}\n```\n\ntext\n"
    assert unlike(ROWS, page) == []
    assert unlike(ROWS, page.replace("   0.62 ", "   0.63 ")) == []
    for one, other in (
        ("   0.62 ", "   0.64 "),
        ("3 of the 9", "3 of the 8"),
        ("error 5", "error 6"),
        ("2 of 2", "3 of 3"),
    ):
        assert one in page
        changed = unlike(ROWS, page.replace(one, other, 1))
        assert sorted(line[0] for line in changed if line[:3] not in ("---", "+++")) == ["+", "-", "@"]
    assert len(unlike(ROWS[1:], page)) > 0
    assert len(unlike(ROWS, "nothing")) > len(ROWS)
