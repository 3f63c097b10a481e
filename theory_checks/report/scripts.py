"""A statement's plain text with its indices and exponents raised and lowered: μ_k⁺, e^{−dt²/2}, π_min."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

BASE = r"((?<![A-Za-z_])(?:[A-Za-zŵ]|sup|max|min|softmax|log(?=_δ))̂?|[α-ωΑ-Ω]̂?|[‖)\]}*⁺])"
"""What can bear an index: a letter, an operator, what closes a bracket; not a word, such as the id log_w."""
RUN = r"(?:\{([^{}]*)\}|([A-Za-z]+|\d+|[α-ωΑ-Ω∞]))"
INDEX = re.compile(rf"{BASE}_{RUN}")
EXPONENT = re.compile(r"(?<=\S)\^(?:\{([^{}]*)\}|([−-]?(?:[A-Za-zα-ω]|\d+|[¼½¾])))")


def scripts(text: str) -> Markup:
    """The text, escaped, with `_k` and `_{...}` after a letter as subscripts, `^x` and `^{...}` as superscripts."""
    shown = str(escape(text))
    shown = INDEX.sub(lambda found: f"{found[1]}<sub>{found[2] or found[3]}</sub>", shown)
    return Markup(EXPONENT.sub(lambda found: f"<sup>{found[1] or found[2]}</sup>", shown))
