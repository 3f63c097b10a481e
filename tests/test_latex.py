"""The ledger in LaTeX: ASCII, balanced, and every character that our statements use is known."""

import re
import shutil
import subprocess

import pytest
from rows import HELD, REFUTED, ROWS

from theory_checks.latex import ACCENTS, MATHEMATICS, escaped, latex
from theory_checks.ledger import REGISTRY
from theory_checks.running import load_statements
from theory_checks.tables import ADDRESSES, COLUMNS


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plain, 1.5e-3 (x)", "plain, 1.5e-3 (x)"),
        ("50 % of a_b & #c {d} $e$", r"50 \% of a\_b \& \#c \{d\} \$e\$"),
        ("\\ ~ ^", r"\textbackslash{} \textasciitilde{} \textasciicircum{}"),
        ("a < b > |c|", r"a \ensuremath{<} b \ensuremath{>} \ensuremath{|}c\ensuremath{|}"),
        ("x² + y₁₀ − e⁻¹", r"x\ensuremath{{}^{2}} + y\ensuremath{{}_{1}}\ensuremath{{}_{0}} \ensuremath{-} "
         r"e\ensuremath{{}^{-}}\ensuremath{{}^{1}}"),
        ("π̂_k ŵ", r"\ensuremath{\hat{\pi}}\_k \ensuremath{\hat{w}}"),
        ("a ≠ b", r"a \ensuremath{\not{=}} b"),
        ("½·Σ√δ", r"\ensuremath{\frac12}\ensuremath{\cdot}\ensuremath{\Sigma}\ensuremath{\surd}\ensuremath{\delta}"),
        ("two\n lines", "two lines"),
        ("☃", "[snowman]"),
    ],
)  # fmt: skip
def test_escaped(text: str, wanted: str) -> None:
    assert escaped(text) == wanted


def test_every_character_of_every_statement_is_known() -> None:
    load_statements()
    for made in REGISTRY.values():
        for text in (made.id, made.statement, made.source, *made.paper, *made.controls, *made.repairs):
            tex = escaped(text)
            assert tex.isascii()
            assert tex.count("[") == text.count("["), f"unknown character in {text!r}: {tex}"


def test_commands_belong_to_latex_itself() -> None:
    beyond = {r"\tfrac", r"\text", r"\lVert", r"\blacksquare", r"\mathbb", r"\varnothing"}  # amsmath, amssymb
    assert not beyond & {found for tex in MATHEMATICS.values() for found in re.findall(r"\\[A-Za-z]+", tex)}
    assert set(ACCENTS.values()) == {r"\hat", r"\tilde", r"\bar", r"\dot", r"\not"}


def test_table() -> None:
    tex = latex(ROWS)
    assert tex.isascii()
    columns = len(COLUMNS) + len(ADDRESSES)
    lines = [line for line in tex.splitlines() if line.endswith(r"\\")]
    assert len(lines) == len(ROWS)
    assert all(len(re.findall(r"(?<!\\)&", line)) == columns - 1 for line in lines)
    spec = re.search(r"longtable\}\{@\{\}([lr]+)@\{\}\}", tex)
    assert spec is not None
    assert len(spec[1]) == columns
    assert tex.count("{") - tex.count(r"\{") == tex.count("}") - tex.count(r"\}")
    assert set(re.findall(r"\\(?:begin|end)\{(\w+)\}", tex.split("\n", 2)[2])) == {"longtable"}
    assert r"refuted is refuted: n=5: error 5, bound 1" in tex
    assert "2 statements hold (1 certified, 1 sampled)" in tex


def test_a_row_is_its_cells() -> None:
    (held,) = (line for line in latex([HELD, REFUTED]).splitlines() if line.startswith("held &"))
    assert held == (
        r"held & ours & certified & interval & holds & 11 & 1 & 0 & 2 & 3 & 0 & 128 & 0.5 & 0.62 & 2 of 2 rejected & "
        r"Lemma F.4, Remark 2 & lemma\_f4 & lemma\_f4 \\"
    )


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex with booktabs and longtable")
def test_it_compiles(tmp_path) -> None:
    every = "\n\n".join(escaped(character) for character in (*MATHEMATICS, *'#$%&_{}\\~^"', "x²", "y₁", "π̂", "≠"))
    head = r"\documentclass{article}\usepackage{booktabs,longtable}\begin{document}"
    (tmp_path / "table.tex").write_text(f"{head}\n{latex(ROWS)}\n{every}\n\\end{{document}}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
