"""The one exception a user can cause, and what a mistyped name may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Bad input: the message is one sentence that names the offending value and the limit.

    The commands print it and exit with code 2; library callers may catch it as a ValueError.
    """


def meant(word: str, known: Iterable[str]) -> str:
    """`, did you mean 'X'?`, X being the known name nearest to a mistyped one; nothing if none is near."""
    by_case = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), by_case, 1)
    return f", did you mean {by_case[near[0]]!r}?" if near else ""
