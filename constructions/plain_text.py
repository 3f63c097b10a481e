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
    "ŵ": "w^",  # the only one of them that is a character of its own
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
    parts = parts if kind.startswith("<") else [kind]  # ½ is <fraction> 1 ⁄ 2; of ñ, which is n and an accent, the n
    return mark + "".join(chr(int(part, 16)) if int(part, 16) < 128 else spelt(chr(int(part, 16))) for part in parts)


def _spell_out(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    places = range(error.start, error.end)
    return "".join("" if _accent(error.object, at) else spelt(error.object[at]) for at in places), error.end


def _accent(text: str, at: int) -> bool:
    """Whether a character is an accent on a letter of people's languages, as in file names, and no hat of ours."""
    letter = unicodedata.normalize("NFC", text[max(0, at - 1) : at + 1])
    return at > 0 and unicodedata.combining(text[at]) > 0 and len(letter) == 1 and letter not in SPELT


codecs.register_error(NAME, _spell_out)
