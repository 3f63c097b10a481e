"""How runs in balls gain bits, and how enclosures are shown."""

import flint
import numpy as np
import pytest

from constructions import precision
from constructions.balls import to_balls


@pytest.mark.parametrize(
    ("ball", "text"),
    [
        (flint.arb(0), "0"),
        (flint.arb(-2.5), "-2.5"),
        (flint.arb(100), "100"),
        (flint.arb(2) ** 100, "1267650600228229401496703205376"),
        (flint.arb(0, 0.25), "[+/- 0.251]"),
        (flint.arb("nan"), "nan"),
    ],
)
def test_what_is_shown(ball, text):
    assert precision.shown(ball) == text


@pytest.mark.parametrize("digits", [2, 5, 40])
def test_what_is_shown_is_an_enclosure(digits):
    """Read back at more bits, the decimals contain the ball."""
    for bits in (16, 64, 200):
        with flint.ctx.workprec(bits):
            balls = [
                flint.arb(3).sqrt(),
                -flint.arb(10).exp(),
                flint.arb(1) / 3,
                (flint.arb(-5000)).exp(),
                flint.arb(7),
            ]
            texts = [precision.shown(ball, digits) for ball in balls]
        with flint.ctx.workprec(400):
            for ball, text in zip(balls, texts, strict=True):
                assert flint.arb(text).contains(ball), (text, ball)


def test_powers_of_two():
    tiny = flint.arb(2) ** -5000
    cases = [(flint.arb(8), 3), (flint.arb(-8), 3), (flint.arb(9), 4), (flint.arb(0.125), -3), (tiny, -5000)]
    for ball, power in [*cases, (flint.arb(3, 1.5), 3)]:  # the last reaches 4.5
        assert precision.exponent(ball) == power
        assert precision.power_of_two(ball) == f"2^{power}"
    assert precision.exponent(flint.arb(0, 2.0**-20)) in (-20, -19)  # flint rounds a radius up
    for ball, text in ((flint.arb(0), "0"), (flint.arb("nan"), "inf"), (flint.arb("inf"), "inf")):
        assert precision.exponent(ball) is None
        assert precision.power_of_two(ball) == text


def test_the_widest_radius_does_not_underflow():
    tiny = flint.arb(2) ** -4000
    balls = np.array([[flint.arb(1), flint.arb(5, tiny)], [flint.arb(0, tiny / 2), flint.arb(-7)]], dtype=object)
    assert precision.power_of_two(precision.widest(balls)) in ("2^-4000", "2^-3999")  # flint rounds a radius up
    assert precision.widest(to_balls(np.arange(6.0).reshape(2, 3))).is_zero()
    assert precision.power_of_two(precision.widest(np.array([flint.arb("nan")], dtype=object))) == "inf"


def test_json_has_all_digits_and_no_infinity():
    with flint.ctx.workprec(1000):
        third = flint.arb(1) / 3
        entry = precision.as_json(third)
        assert entry.keys() == {"mid", "rad", "text"}
        assert entry["mid"] == 1 / 3
        assert 0 < entry["rad"] < 1e-300
        assert len(entry["text"]) > 300
        assert flint.arb(entry["text"]).contains(third)
        assert precision.as_json(flint.arb(10) ** 400)["mid"] is None
        assert precision.as_json(flint.arb("nan")) == {"mid": None, "rad": None, "text": "nan"}


def all_fit(bits):
    return True


def test_the_precision_is_doubled_until_nothing_is_undecided():
    lines, seen = [], []

    def attempt():
        seen.append(flint.ctx.prec)
        return ["holds", "undecided" if flint.ctx.prec < 100 else "refuted"]

    before = flint.ctx.prec
    assert precision.decided(20, attempt, list, all_fit, lines.append) == (160, ["holds", "refuted"])
    assert seen == [20, 40, 80, 160]
    assert flint.ctx.prec == before
    assert lines == [f"undecided at {bits} bits; trying {2 * bits}" for bits in (20, 40, 80)]


@pytest.mark.parametrize(
    ("bits", "fits", "last"),
    [(512, all_fit, 2048), (1500, all_fit, 1500), (4096, all_fit, 4096), (64, lambda bits: bits <= 128, 128)],
)
def test_what_stays_undecided_is_not_passed(bits, fits, last):
    lines = []
    assert precision.decided(bits, lambda: ["undecided"], list, fits, lines.append) == (last, ["undecided"])
    assert lines[-1] == f"undecided at {last} bits; no more are tried"


def test_a_verdict_at_once_needs_no_line():
    assert precision.decided(16, lambda: ["vacuous"], list, all_fit, pytest.fail) == (16, ["vacuous"])


def test_digits_that_are_cut_are_mentioned():
    with flint.ctx.workprec(128):
        assert precision.cut_note() == []
    with flint.ctx.workprec(256):
        assert "at most 40 digits" in precision.cut_note()[0]
