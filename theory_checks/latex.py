"""The ledger as LaTeX, whose text is full of mathematical characters that no font of LaTeX's has by itself."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from theory_checks.ledger import Row
from theory_checks.tables import ADDRESSES, COLUMNS, findings, headline, shown

PREAMBLE = r"""% The ledger. \input it into a document with \usepackage{booktabs,longtable}; it assumes nothing else.
% It is about 25 cm wide: turn the page on its side, for instance by pdflscape's \begin{landscape}.
"""
SPECIAL = {character: f"\\{character}" for character in "#$%&_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    '"': "''",
    "–": "--",
    "—": "---",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
    "…": r"\ldots{}",
}
ACCENTS = {"\u0302": r"\hat", "\u0303": r"\tilde", "\u0304": r"\bar", "\u0307": r"\dot", "\u0338": r"\not"}
_SIGNS = r"""
< <; > >; | |; − -; ± \pm; × \times; · \cdot; ≤ \le; ≥ \ge; ≈ \approx; ≡ \equiv; ∼ \sim; ∝ \propto; ∈ \in;
⊂ \subset; ⊆ \subseteq; ∪ \cup; ∩ \cap; ∀ \forall; ∃ \exists; ∞ \infty; ∂ \partial; ∇ \nabla; √ \surd; ∑ \sum;
∏ \prod; ∫ \int; ⟨ \langle; ⟩ \rangle; ⌈ \lceil; ⌉ \rceil; ⌊ \lfloor; ⌋ \rfloor; ‖ \Vert; → \rightarrow;
← \leftarrow; ↑ \uparrow; ↓ \downarrow; ↦ \mapsto; ⇒ \Rightarrow; ⇔ \Leftrightarrow; ∘ \circ; ⊗ \otimes; ⊕ \oplus;
⊤ \top; ⊥ \bot; ∅ \emptyset; ′ {}'; ° {}^{\circ}; ℓ \ell; ℝ \mathbf{R}; ℕ \mathbf{N}; ℤ \mathbf{Z}; ℚ \mathbf{Q};
½ \frac12; ¼ \frac14; ¾ \frac34; α \alpha; β \beta; γ \gamma; δ \delta; ε \varepsilon; ζ \zeta; η \eta; θ \theta;
ι \iota; κ \kappa; λ \lambda; μ \mu; ν \nu; ξ \xi; π \pi; ρ \rho; σ \sigma; τ \tau; υ \upsilon; φ \varphi; χ \chi;
ψ \psi; ω \omega; µ \mu; Γ \Gamma; Δ \Delta; Θ \Theta; Λ \Lambda; Ξ \Xi; Π \Pi; Σ \Sigma; Υ \Upsilon; Φ \Phi;
Ψ \Psi; Ω \Omega
"""
MATHEMATICS = dict(pair.split() for pair in _SIGNS.split(";"))


def latex(rows: Sequence[Row]) -> str:
    r"""The ledger's table and sentences, to be \input where booktabs and longtable are loaded.

    The result is ASCII, so that every LaTeX can read it.
    """
    columns = (*COLUMNS, *ADDRESSES)

    def line(cells: Sequence[str]) -> str:
        return " & ".join(map(escaped, cells)) + r" \\"

    letters = "".join("r" if column.width < 0 else "l" for column in columns)
    head = line([column.heading for column in columns])
    lines = [
        r"{\scriptsize\setlength{\tabcolsep}{2.5pt}%",
        rf"\begin{{longtable}}{{@{{}}{letters}@{{}}}}",
        rf"\toprule {head} \midrule \endhead",
        r"\bottomrule \endfoot",
        *(line([shown(column.value(row)) for column in columns]) for row in rows),
        r"\end{longtable}}",
    ]
    lines += [rf"\par\noindent {escaped(sentence)}" for sentence in (*findings(rows), *headline(rows))]
    return PREAMBLE + "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Text that LaTeX shows as it is, in ASCII; a character that is not known here by its name in brackets."""
    decomposed = unicodedata.normalize("NFD", " ".join(text.split()))
    return re.sub("(.)([\u0300-\u036f]?)", lambda found: _character(found[1], found[2]), decomposed)


def _character(letter: str, accent: str) -> str:
    kind, _, plain = unicodedata.decomposition(letter).partition(" ")
    if kind in ("<super>", "<sub>"):
        raised = chr(int(plain, 16))
        mathematics = f"{{}}{'^' if kind == '<super>' else '_'}{{{MATHEMATICS.get(raised, raised)}}}"
    else:
        mathematics = MATHEMATICS.get(letter, "")
    if accent in ACCENTS:
        return rf"\ensuremath{{{ACCENTS[accent]}{{{mathematics or letter}}}}}"
    if mathematics:
        return rf"\ensuremath{{{mathematics}}}"
    if letter in SPECIAL:
        return SPECIAL[letter]
    return letter if letter.isascii() else f"[{unicodedata.name(letter, f'U+{ord(letter):04X}').lower()}]"
