"""Verdicts from balls: what is proved, disproved and undecided, and at which precision."""

import math

import flint
import pytest

from theory_checks.enclosures import decided, enclose, equal, shortly
from theory_checks.ledger import Verdict

arb = flint.arb
NAN, INF, LINE = arb("nan"), arb.pos_inf(), arb(0, math.inf)


@pytest.mark.parametrize(
    ("error", "bound", "outcome", "slack"),
    [
        (arb(1), arb(4), "holds", 0.75),
        (arb(4), arb(4), "holds", 0.0),
        (arb(5), arb(4), "refuted", -0.25),
        (arb(3, 0.5), arb(4, 0.25), "holds", 0.25),
        (arb(4, 0.5), arb(4), "undecided", 0.0),
        (arb(1, 2), arb(2, 2), "undecided", None),  # the bound may be 0
        (arb(0), arb(0), "holds", None),
        (arb(0, 1e-30), arb(0), "undecided", None),
        (arb(1), arb(-1), "refuted", None),
        (arb(-2), arb(-1), "holds", None),
        (NAN, arb(1), "undecided", None),
        (LINE, arb(1), "undecided", None),
        (INF, arb(1), "refuted", None),
        (arb(1), NAN, "undecided", None),
        (arb(1), LINE, "undecided", None),
        (NAN, NAN, "undecided", None),
        (arb(1), INF, "vacuous", None),
        (INF, INF, "vacuous", None),
    ],
)
def test_an_inequality_of_balls(error, bound, outcome, slack):
    found = enclose(error, bound, "here")
    assert found.outcome == outcome
    assert found.slack == (None if slack is None else pytest.approx(slack, abs=1e-7))
    assert found.instance.startswith("here")


@pytest.mark.parametrize(
    ("bound", "trivial", "outcome"),
    [
        (arb(2), arb(3), "holds"),
        (arb(3), arb(3), "vacuous"),
        (arb(4), arb(3), "vacuous"),
        (arb(3, 0.1), arb(3), "undecided"),
        (arb(2), NAN, "undecided"),
        (NAN, arb(3), "undecided"),
        (INF, INF, "vacuous"),
    ],
)
def test_a_bound_that_says_nothing(bound, trivial, outcome):
    assert enclose(arb(1), bound, "", trivial=trivial).outcome == outcome


def test_an_excuse_comes_before_everything():
    assert enclose(NAN, NAN, "here", arb(0), "too light") == Verdict("not applicable", "here: too light")


@pytest.mark.parametrize("bits", [64, 128])
def test_equality_to_half_of_the_digits(bits):
    with flint.ctx.workprec(bits):
        small = arb(2) ** (-bits // 2)
        near, far = arb(0, float(0.9 * small)), arb(0, float(1.1 * small))
        assert equal(near, arb(0), "").outcome == "holds"
        assert equal(far, arb(0), "").outcome == "undecided"
        assert equal(arb(8), arb(8) + 7 * near, "").outcome == "holds"  # relative to the larger of 1 and it
        assert equal(arb(8), arb(8) + 9 * near, "").outcome == "undecided"
        assert equal(arb(1), arb(1) + 8 * small * small, "").outcome == "refuted"
        assert equal(near + 8 * small, arb(0), "").outcome == "refuted"
        for one, other in ((NAN, arb(1)), (arb(1), NAN), (LINE, arb(1)), (LINE, LINE), (INF, INF)):
            assert equal(one, other, "").outcome == "undecided"
        assert equal(INF, arb(1), "").outcome == "refuted"


def judge_at(enough, seen):
    """A judge that decides from `enough` bits on; it is a generator, which must run at the precision it is given."""

    def judge():
        seen.append(flint.ctx.prec)
        yield Verdict("holds", "first")
        yield Verdict("holds" if flint.ctx.prec >= enough else "undecided", "second", slack=0.5)

    return judge


@pytest.mark.parametrize(
    ("enough", "limit", "tried", "outcome"),
    [
        (16, 128, [16], "holds"),
        (17, 128, [16, 32], "holds"),
        (64, 128, [16, 32, 64], "holds"),
        (1000, 128, [16, 32, 64, 128], "undecided"),
        (1000, 127, [16, 32, 64], "undecided"),
        (1000, 8, [16], "undecided"),
    ],
)
def test_the_precision_is_doubled_while_an_instance_is_undecided(enough, limit, tried, outcome):
    seen, before = [], flint.ctx.prec
    first, second = decided(judge_at(enough, seen), 16, limit)
    assert seen == tried
    assert (first.outcome, second.outcome, first.bits, second.bits) == ("holds", outcome, tried[-1], tried[-1])
    assert second.slack == 0.5
    assert second.instance == ("second" if outcome == "holds" else f"second: undecided at {tried[-1]} bits")
    assert flint.ctx.prec == before


def test_a_refutation_needs_no_more_bits():
    (found,) = decided(lambda: [Verdict("refuted", "")], 16, 128)
    assert (found.outcome, found.bits) == ("refuted", 16)


def test_precisions_nest():
    """A judge may compute at another precision; what encloses it goes on at its own."""
    seen = []

    def judge():
        with flint.ctx.workprec(333):
            list(decided(judge_at(40, seen), 20, 80))
            seen.append(flint.ctx.prec)
        seen.append(flint.ctx.prec)
        return [Verdict("holds", "")]

    list(decided(judge, 77))
    assert seen == [20, 40, 333, 77]


def test_an_exception_leaves_the_precision_as_it_was():
    before = flint.ctx.prec

    def judge():
        yield Verdict("holds", "")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(decided(judge, 99))
    assert flint.ctx.prec == before


def test_numbers_for_reading():
    assert shortly(arb(1) / 3) == "0.333333"
    assert shortly(NAN) == "nan"
