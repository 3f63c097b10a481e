"""Which streams between two steps a run keeps, so that its export can have them."""

from __future__ import annotations

KEPT, KEPT_STEPS = 2**24, 500
"""Numbers in all, and how many streams."""


def keeps(step: int, steps: int, size: int) -> bool:
    """Whether the stream that enters a step, of `size` numbers, is kept: the first ones, and that before the last."""
    return step == steps or (step < min(steps, KEPT_STEPS) and (step - 1) * size <= KEPT)
