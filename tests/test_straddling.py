"""Comparisons of balls with one that straddles the limit: nothing holds, nothing is refuted, a bound says nothing.

The verdicts of the demos, of enclosures, segments and the falsifier have such cases in their own tests.
"""

from dataclasses import replace
from math import log
from types import SimpleNamespace

import flint
import numpy as np
import pytest

from constructions import contraction_report, em_enclosure, population_bounds
from constructions.algorithms.sampling import Mixture
from constructions.ball_curve import BallCurve
from constructions.balls import fill, to_balls
from constructions.bounds import floor_share
from constructions.claims import Claim
from constructions.em_class import TaskClass, split_tolerance
from constructions.em_contraction import Certificate, step_error
from constructions.em_enclosure import Parameters
from theory_checks import a1_instances, test_ball_evaluation, test_definitions, test_em_run, test_theorem_f1, verify
from theory_checks.a1_instances import Case, instance
from theory_checks.definition_instances import real_instances
from theory_checks.enclosures import BITS
from theory_checks.test_theorem_f2 import covered

arb = flint.arb
AROUND = arb(1, 0.25)  # straddles 1
ZERO = arb(0, 0.25)
CLASS = TaskClass(max_dim=2, max_components=2, radius=4.0, min_weight=0.25)


def balls(*values: arb | float) -> np.ndarray:
    return fill((value if isinstance(value, arb) else arb(value) for value in values), (len(values),))


@pytest.mark.parametrize(("away", "entered"), [(arb(0.5), 1), (AROUND, None), (arb(2), None)])
@pytest.mark.parametrize("which", ["transformer", "exact EM"])
def test_a_run_has_entered_a_ball_only_where_that_is_certain(which, away, entered, monkeypatch):
    """In the demo's report, and in the row that runs on from there with both."""
    point, estimate = (Parameters(balls(log_weight), to_balls(np.zeros((1, 1)))) for log_weight in (0.0, away))
    found = Certificate(point, np.ones(1), arb(1), arb(0.5), arb(0), arb(0), "")
    assert contraction_report.entered(found, [estimate]) == entered

    outside, inside = (Parameters(balls(log_weight), point.means) for log_weight in (2.0, 0.5))
    reached = {"parameters": outside, "read_out": estimate if which == "transformer" else inside, "encode": None}
    for name, value in reached.items():
        monkeypatch.setattr(em_enclosure, name, lambda *_, value=value: value)
    monkeypatch.setattr(test_em_run.ball_evaluation, "trace", lambda *_: [None])
    exact = estimate if which == "exact EM" else inside
    for name, value in (("_transformer", SimpleNamespace(transformer=None)), ("_step", exact)):
        monkeypatch.setattr(test_em_run, name, lambda *_, value=value: value)
    start = Mixture(np.ones(1), np.zeros((1, 1)))
    given = SimpleNamespace(name="", samples=np.zeros((1, 1)))
    verdicts = list(test_em_run._run(given, "", found, start, lambda *_: arb(9), ""))
    assert {v.outcome for v in verdicts} == {"holds" if entered else "not applicable"}


@pytest.mark.parametrize(
    ("weight", "coordinate", "met", "left"),
    [
        (arb(0.5), arb(1), True, False),
        (arb(0.25, 0.01), arb(1), False, False),
        (arb(0.5), arb(-4, 0.01), False, False),
        (arb(0.5), arb(4, 0.01), False, False),
        (arb(0.2), arb(1), False, True),
        (arb(0.5), arb(-5), False, True),
    ],
)
def test_parameters_are_in_the_class_or_certainly_out_of_it_or_neither(weight, coordinate, met, left):
    em = em_enclosure.build(CLASS, split_tolerance(CLASS, 1.0, "floor"), 1)
    entering = Parameters(balls(weight.log(), arb(0.5).log()), balls(0, coordinate, 1, 2).reshape(2, 2))
    assert (em_enclosure.precondition(em, entering, 2) == "") == met
    assert em_enclosure.leaves_class(em, entering) == left


def test_a_ball_of_parameters_that_straddles_the_class_is_excused():
    sizes, shares = split_tolerance(CLASS, 1.0, "floor").in_balls, balls(0.5, 0.5)

    def excuse(log_weight: arb, coordinate: arb) -> str:
        point = Parameters(balls(log_weight, log(0.5)), balls(0, coordinate, 1, 2).reshape(2, 2))
        return step_error(CLASS, sizes, arb(7), point, shares, arb(1e-9), arb(0))[1]

    assert excuse(arb(-0.7), arb(3)) == ""
    assert excuse(arb(log(0.25), 0.01), arb(3)) == "a weight of the ball may be below 0.25"
    assert excuse(arb(-0.7), arb(4, 0.01)) == "a mean of the ball may have a coordinate above 4"


def test_an_assumption_that_is_met_with_equality_is_not_met():
    """Means 16√2 apart: off by √2 the mean may be too far. A separation that is a ball; a share at an end."""
    given = instance(Case(8, 2, 2, True, False), 0)
    means = np.array([[0.0, 0.0], [16.0, 16.0]])

    def outside(off: float, case: Case = given.case) -> str:
        start = Mixture(given.start.weights, means + np.array([[off, off], [0.0, 0.0]]))
        return a1_instances.outside(replace(given, case=case, means=means, start=start))

    assert outside(0.99) != outside(1.0) == "an entering mean is too far from the true one"
    limit = 16 * np.sqrt(2) / np.sqrt(log(2))
    assert outside(0.5, replace(given.case, separation=arb(limit, 0.01))) == "two means are too close"
    assert outside(0.5, replace(given.case, separation=arb(limit - 0.1, 0.01))) != "two means are too close"


@pytest.mark.parametrize("share", [0, 1])
def test_a_sample_whose_responsibility_may_be_at_an_end_is_not_contested(share, monkeypatch):
    end = a1_instances.CONTESTED[share]
    rows = np.array([balls(0.5, 0.5), balls(0.5, arb(end, 1e-9)), balls(arb(end, 1e-9), 0.5)])
    monkeypatch.setattr(a1_instances, "responsibilities", lambda given: rows)
    assert a1_instances.contested(None) == [0]


def test_what_boxes_leave_undecided_stays_so():
    """Eight boxes, none of which is decided; where the middle exceeds its target certainly, one refutes."""
    outcomes = [v.outcome for v in covered(lambda r, ell: AROUND, lambda r: arb(1), 9.0, 3)]
    assert outcomes == ["undecided"] * 8
    assert [v.outcome for v in covered(lambda r, ell: arb(2), lambda r: arb(1), 9.0, 3)] == ["refuted"]
    assert [v.outcome for v in covered(lambda r, ell: arb(0.5), lambda r: arb(1), 9.0, 3)] == ["holds"]


def test_bounds_of_population_em_say_nothing_where_a_precondition_straddles(monkeypatch):
    equal = arb(2).log()
    at = population_bounds.thresholds(arb(1.75, 0.2), equal, arb(1.75, 0.2) / 16, arb(0.5))
    assert at.p < 0 or not at.p > 0
    assert population_bounds.first_step(arb(1.75, 0.2), equal).is_nan()
    assert population_bounds.decay(ZERO, arb(1), arb(9)).is_nan()
    assert population_bounds.decay(arb(1), ZERO, arb(9)).is_nan()
    for gap, s in ((arb(6), ZERO), (arb(4, 0.1), arb(3)), (arb(5.0, 0.01), arb(3)), (arb(9), arb(1.518, 0.01))):
        thresholds = population_bounds.Thresholds(gap, gap, s, s, arb(4))
        assert not population_bounds.steep(thresholds, s)
    assert population_bounds.steep(population_bounds.Thresholds(*[arb(6)] * 4, arb(4)), arb(3))

    assert not population_bounds.first_step(arb(7), equal).is_nan()
    with monkeypatch.context() as patch:
        patch.setattr(population_bounds, "tail", lambda s, gap: AROUND)
        assert population_bounds.first_step(arb(7), equal).is_nan()
    with monkeypatch.context() as patch:
        patch.setattr(population_bounds, "_moved", lambda s, gap, logits: (AROUND, AROUND))  # a·(1 + 1) around 1
        assert population_bounds.contraction(arb(7), equal, arb(0.5)).is_nan()
    with monkeypatch.context() as patch:
        patch.setattr(population_bounds, "decay", lambda *_: arb(0.5, 0.1) / 144)  # 2cR² around 1; at 0.7 beyond it
        assert population_bounds.first_step_tail(arb(12), arb(9)).is_nan()
        patch.setattr(population_bounds, "decay", lambda *_: arb(0.7, 0.1) / 144)
        assert not population_bounds.first_step_tail(arb(12), arb(9)).is_nan()
        patch.setattr(population_bounds, "decay", lambda *_: AROUND / 144)
        assert population_bounds.contraction_tail(arb(12), arb(9), arb(0.001), arb(0)).is_nan()


def test_a_weight_that_may_be_zero_leaves_the_floor_its_whole_share():
    share = floor_share(arb(3), arb(1), ZERO)
    assert share.upper() >= 1
    assert share.lower() < 0.3


def test_units_whose_slope_may_have_either_sign_are_enclosed_for_both():
    curve = BallCurve([arb(0, 0.5)], [arb(0.25)], balls(1.0).reshape(1, 1))
    (value,) = curve([arb(1)])[:, 0]
    assert value.contains(0)  # w = −½
    assert value.contains(arb(0.75))  # w = ½


def claimed_of(bound: np.ndarray, trivial: float) -> Claim:
    """A claim that every entry, of its only coordinate, is within the bound."""
    return Claim("", "", np.zeros((1, 1)), (0, 1), None, np.array([0]), np.zeros((1, 1)), "absolute", bound, 0, trivial)


@pytest.mark.parametrize("claimed", [0.25, [0.25, 0.25], [0.25, 1.0]])
def test_claims_that_straddle_are_left_to_more_bits_or_floats(claimed, monkeypatch):
    """One that certainly fails beside them is enough; no number of those that hold is."""
    limits = np.atleast_1d(np.asarray(claimed, dtype=float))[:, None]
    claim = claimed_of(limits, np.inf)

    def judged(*errors: arb):
        monkeypatch.setattr(verify, "_difference", lambda *_: balls(*errors[: len(limits)])[:, None])
        return verify.judge_balls(claim, np.zeros((1, 1)), 64)

    straddles = arb(0.25, 0.01)
    assert judged(straddles, straddles) is None
    assert judged(straddles, arb(0)) is None
    if len(limits) > 1:
        assert judged(arb(0), straddles if limits[1] < 1 else arb(1, 0.1)) is None
        assert judged(straddles, arb(2)).verdict == "false"
        assert judged(arb(0), arb(0.125)).verdict == "holds"


def test_a_bound_is_vacuous_by_its_largest_entry():
    claim = claimed_of(np.ones(2), 1.0)
    for limits, verdict in (([0.5, 0.75], "holds"), ([0.5, 1.0], "vacuous"), ([1.0, 0.5], "vacuous")):
        assert verify._finding(claim, np.zeros(2), np.array(limits), True, "exact").verdict == verdict


@pytest.mark.parametrize(("limit", "outcome"), [(0.5, "refuted"), (1.25, "undecided"), (2.0, "holds")])
def test_norms_that_are_between_two_numbers(limit, outcome, monkeypatch):
    monkeypatch.setattr(test_theorem_f1, "log_b_theta_between", lambda transformer: (arb(1), arb(1.5)))
    (verdict,) = test_theorem_f1._above(None, limit, "")
    assert verdict.outcome == outcome
    (verdict,) = test_theorem_f1._below(None, limit, "")
    assert verdict.outcome == {"refuted": "holds", "holds": "refuted"}.get(outcome, outcome)


def test_evaluations_that_overlap_and_are_wide_agree_on_nothing(rng):
    """Of the four evaluations in balls, one whose enclosures are a thousandth wide."""
    given = next(real_instances(rng, "attention", "softmax"))
    sound = test_definitions.SOUND

    def wide(*arguments):
        return [stream + arb(0, 1e-3) for stream in sound.balls(*arguments)]

    outcomes = {
        v.instance.split()[0]: v.outcome for v in test_definitions.judge_balls(given, replace(sound, balls=wide))
    }
    assert outcomes == {"arrays": "holds", "plan": "holds", "balls": "undecided"}


@pytest.mark.parametrize("end", [0, 1])
@pytest.mark.parametrize(("spare", "expected"), [(-1e-3, "refuted"), (0.0, "holds"), (1e-3, "refuted")])
def test_corners_of_a_softmax(end, spare, expected):
    """Enclosures that end at a corner, and on one side short of it or beyond it."""

    def softmax(box, copies):
        (row,) = box
        found = np.empty(box.shape, dtype=object)
        for j in range(len(row)):
            ends = []
            for mine, others in (("lower", "upper"), ("upper", "lower")):
                with flint.ctx.workprec(2 * BITS):
                    score = getattr(row[j], mine)()
                    rest = [(getattr(s, others)() - score).exp() for k, s in enumerate(row) if k != j]
                    ends.append(1 / (1 + sum(rest, arb(0))))
            ends[end] += spare if end else -spare
            found[0, j] = ends[0].mid().union(ends[1].mid())
        return found

    assert {v.outcome for v in test_ball_evaluation._corners(softmax)} == {"holds", expected}
