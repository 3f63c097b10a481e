"""Runs in balls (`--precision BITS`): when more bits are needed, and how enclosures are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import log10
from typing import TypeVar

import flint

from constructions.outputs import finite
from constructions.weights import Array

LIMIT = 2048
"""Bits up to which the precision is doubled while a verdict is undecided."""
DIGITS = 40
"""Digits of an enclosure on the screen; JSON has all that are certain."""
Result = TypeVar("Result")


def decided(
    bits: int,
    attempt: Callable[[], Result],
    statuses: Callable[[Result], Iterable[str]],
    fits: Callable[[int], bool],
    say: Callable[[str], None],
) -> tuple[int, Result]:
    """The attempt in balls of `bits` bits, doubled while a verdict is undecided, `fits` memory and LIMIT allow it.

    Every attempt builds its balls anew. What is undecided in the last stays so.
    """
    while True:
        with flint.ctx.workprec(bits):
            result = attempt()
        if "undecided" not in statuses(result):
            return bits, result
        if 2 * bits > LIMIT or not fits(2 * bits):
            say(f"undecided at {bits} bits; no more are tried")
            return bits, result
        say(f"undecided at {bits} bits; trying {2 * bits}")
        bits *= 2


def ball_bytes(bits: int) -> int:
    """Memory of one ball: about 100 bytes, and the digits that do not fit two limbs."""
    return 100 + (bits // 8 if bits > 128 else 0)


def shown(ball: flint.arb, digits: int = DIGITS) -> str:
    """The enclosure in decimal, with its certain digits, at most so many: [0.333 +/- 3.4e-4]; a number if exact.

    Rigorous: the radius covers what the decimals leave out.
    """
    text = str(ball.str(digits))
    return text.rstrip("0").rstrip(".") if "." in text and not set("+e") & set(text) else text


def cut_note() -> list[str]:
    """What the screen leaves out, if it does."""
    more = flint.ctx.prec * log10(2) > DIGITS
    return [f"  (at most {DIGITS} digits are shown, and their radius; --json has all that are certain)"] if more else []


def exponent(ball: flint.arb) -> int | None:
    """The least k with |x| ≤ 2^k for all x in the ball; None if they are all 0, or not bounded."""
    if ball.is_zero() or not ball.is_finite():
        return None
    mantissa, power = ball.abs_upper().man_exp()
    return int(power) + int(mantissa - 1).bit_length()


def power_of_two(ball: flint.arb) -> str:
    """A bound on |x|, as 2^k; 0 if all are 0, inf if there is none."""
    power = exponent(ball)
    return f"2^{power}" if power is not None else "0" if ball.is_zero() else "inf"


def widest(array: Array) -> flint.arb:
    """The largest radius in an array of balls, of whatever size."""
    largest = flint.arb(0)
    for ball in array.ravel():
        largest = largest.max(ball.rad())
    return largest


def as_json(ball: flint.arb) -> dict[str, float | str | None]:
    """{"mid": m, "rad": r, "text": "[m +/- r]"}: `text` is the enclosure, with all certain digits.

    `mid` and `rad` are the nearest floats, for reading: null beyond their range, and a radius below it is 0.
    """
    text = shown(ball, int(flint.ctx.prec * log10(2)) + 2)
    return {"mid": finite(float(ball.mid())), "rad": finite(float(ball.rad())), "text": text}
