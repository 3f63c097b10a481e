"""Text for a terminal that lacks our symbols: what cannot be encoded is spelt out (≤ as <=, π as pi, x² as x^2)."""

from __future__ import annotations

import codecs
import unicodedata

NAME = "spelt out"
"""Of the error handler, as `errors=` of a stream takes it."""
SPELT = {
    **dict.fromkeys("−–—", "-"),
    **dict.fromkeys("‘’′", "'"),
    **dict.fromkeys("“”", '"'),
    **dict.fromkeys("→↦⇒", "->"),
    **{"←": "<-", "⇔": "<->", "↑": "^", "↓": "v"},
    **{"≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "∼": "~", "≫": ">>", "≡": "=", "∝": "~"},
    **{"±": "+-", "∓": "-+", "×": "x", "·": "*", "⊗": "(x)", "⊕": "(+)", "∘": "o", "√": "sqrt"},
    **{"‖": "||", "⟨": "<", "⟩": ">", "⌈": "ceil(", "⌉": ")", "⌊": "floor(", "⌋": ")"},
    **{"∞": "inf", "∈": "in", "∑": "sum", "∏": "prod", "∫": "int", "∂": "d", "∇": "grad"},
    **{"∀": "for all", "∃": "exists", "∅": "{}", "∪": "u", "∩": "n", "⊂": "<", "⊆": "<=", "⊤": "T", "⊥": "_|_"},
    **{"\u0302": "^", "\u0303": "~", "\u0304": "-", "\u0305": "-"},  # hats, tildes and bars distinguish quantities
    **{"✓": "yes", "✗": "no", "○": "o", "⁺": "^+", "⁻": "^-", "⁄": "/"},
}


def spelt(character: str) -> str:
    """ASCII for one character; ? where it has no other name."""
    if character in SPELT:
        return SPELT[character]
    name = unicodedata.name(character, "")
    if name.startswith("GREEK "):  # GREEK SMALL LETTER PI
        letter = name.split()[-1].lower()
        return letter.capitalize() if "CAPITAL" in name else letter
    if unicodedata.combining(character):
        return ""
    kind, *parts = unicodedata.decomposition(character).split() or [""]
    if not kind:
        return "?"
    mark = {"<super>": "^", "<sub>": "_"}.get(kind, "")
    parts = parts if kind.startswith("<") else [kind, *parts]  # ½ is <fraction> 1 ⁄ 2, ŵ is w and an accent
    return mark + "".join(chr(int(part, 16)) if int(part, 16) < 128 else spelt(chr(int(part, 16))) for part in parts)


def _spell_out(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(spelt, error.object[error.start : error.end])), error.end


codecs.register_error(NAME, _spell_out)
