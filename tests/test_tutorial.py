"""The tutorial's code is the project's, and its commands do what it says."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from theory_checks import verify

ROOT = Path(__file__).parents[1]
TUTORIAL = (ROOT / "proofs_notes" / "tutorial.md").read_text(encoding="utf-8")
CHECK, FIGURE = (ROOT / path for path in ("theory_checks/test_gradient_step.py", "figures/gradient_step.py"))


def code(first: int, last: int) -> str:
    """The python blocks of sections `first` to `last`."""
    sections = re.split(r"^## (?=\d)", TUTORIAL, flags=re.MULTILINE)
    return "\n".join(
        re.findall(r"^```python\n(.*?)^```", "".join(sections[first : last + 1]), re.DOTALL | re.MULTILINE)
    )


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def test_the_pieces_are_the_files():
    assert lines(code(1, 5)) == lines(CHECK.read_text(encoding="utf-8"))
    assert lines(code(6, 6)) == lines(FIGURE.read_text(encoding="utf-8"))


def test_it_takes_fewer_than_80_lines():
    assert len(lines(code(1, 6))) < 80


def test_the_row_holds_and_its_controls_are_rejected():
    from theory_checks.test_gradient_step import gradient_step

    row = gradient_step.row(seed=1)
    assert (row.status, row.evidence, row.counts["holds"]) == ("holds", "exact", 11)
    assert len(row.negative_controls) == 4
    assert all(control["rejected"] for control in row.negative_controls)
    assert (row.note, row.figure) == ("gradient_step", "gradient_step")


def test_the_figure_shows_both():
    """The dots lie on the lines, up to float64's rounding; the loss falls for the two smaller steps."""
    from figures.gradient_step import figure

    for axes in figure().axes:
        curves = [np.array(line.get_ydata(), dtype=float) for line in axes.lines if len(line.get_ydata())]
        for exact, dots in zip(curves[0::2], curves[1::2], strict=True):
            assert len(exact) == 24
            assert np.abs(dots / exact - 1).max() < 1e-9
            if axes.get_yscale() == "log":
                assert exact[0] > 2 * exact[-1]


@pytest.fixture
def exported(tmp_path, monkeypatch):
    """What section 7's program writes."""
    monkeypatch.chdir(tmp_path)
    exec(compile(code(7, 7), "export_gradient_step.py", "exec"), {})
    return tmp_path / "exported"


def test_the_export_is_verified_as_shown(exported, capsys):
    assert verify.main([str(exported)]) == 0
    shown = re.findall(r"^```\n(claim .*?)^```", TUTORIAL, re.DOTALL | re.MULTILINE)
    assert [capsys.readouterr().out] == shown


@pytest.mark.parametrize("reference", ["-971/500", "-1947/1000"])
def test_another_reference_is_false(reference, exported, capsys):
    content = json.loads((exported / "claims.json").read_text())
    assert content["claims"][0]["reference"] == [["-973/500"]]
    content["claims"][0]["reference"] = [[reference]]
    (exported / "claims.json").write_text(json.dumps(content))
    assert verify.main([str(exported)]) == 1
    assert capsys.readouterr().out.splitlines()[1].endswith("false")
