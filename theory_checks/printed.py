"""Whether two printed lines say the same: words alike, numbers within one unit of the last digit shown."""

from __future__ import annotations

import re
from decimal import Decimal

NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def agree(shown: str, printed: str) -> bool:
    """Same words, apart from blanks; integers equal; other numbers at most one unit of the last digit apart.

    A value near the middle between two printed ones is rounded either way on another processor.
    """
    if _words(shown) != _words(printed):
        return False
    return all(map(_near, NUMBER.findall(shown), NUMBER.findall(printed)))


def _words(line: str) -> list[str]:
    return NUMBER.sub("#", line).split()


def _near(shown: str, printed: str) -> bool:
    one, other = Decimal(shown), Decimal(printed)
    measured = [text for text in (shown, printed) if "." in text or "e" in text]
    unit = Decimal(1).scaleb(max(int(Decimal(text).as_tuple().exponent) for text in measured)) if measured else 0
    return abs(one - other) <= unit
