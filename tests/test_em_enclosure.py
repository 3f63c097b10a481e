"""Runs in balls against runs in floats: input, read-out, errors, bounds, and when the bounds apply."""

from dataclasses import replace
from fractions import Fraction
from itertools import combinations

import flint
import numpy as np
import pytest

from constructions import bounds, em_enclosure, em_run
from constructions.algorithms.sampling import Mixture
from constructions.balls import fill, largest, midpoints, to_balls
from constructions.em_class import Approximation, TaskClass, split_tolerance
from constructions.em_enclosure import Parameters, enclose_diameter, precondition
from constructions.em_transformer import E_STEP, M_STEP, build, read_out
from constructions.em_transformer import encode as encode_floats
from constructions.errors import InputError

arb = flint.arb
SMALL = TaskClass(max_dim=5, max_components=3, radius=4.0, min_weight=0.05)


@pytest.fixture(autouse=True)
def _bits():
    with flint.ctx.workprec(128):
        yield


@pytest.fixture
def task(rng):
    """17 samples in R², of which K = 3 components use 15."""
    centres = np.array([[-1.0, 0.5], [1.25, 0.0], [0.0, -1.5]])
    samples = centres[np.arange(17) % 3] + 0.4 * rng.standard_normal((17, 2))
    return samples, Mixture(np.array([0.25, 0.35, 0.4]), centres + 0.3)


def floats(construction="floor", steps=3, layers=(E_STEP, M_STEP), task_class=SMALL):
    return build(task_class, split_tolerance(task_class, 0.5, construction), steps, layers=layers)


def mixture(weights, means):
    return em_enclosure.parameters(Mixture(np.array(weights), np.array(means)))


def test_the_input_is_that_of_the_float_transformer_enclosed(task):
    em, (samples, start) = floats(), task
    tokens = em_enclosure.encode(em_enclosure.from_floats(em), samples, start)
    expected = encode_floats(em, samples, start)
    assert tokens.shape == expected.shape == (15, em.stream.width)
    assert np.abs(midpoints(tokens) - expected).max() < 1e-15
    for name, subspace in em.stream.layout.items():
        exact = name not in ("log_pi", "sq_norm")
        part = tokens[:, slice(*subspace)]
        assert all(ball.is_exact() for ball in part.ravel()) or not exact
    for row in tokens:
        r = int(midpoints(row[em.stream["component"]]).argmax())
        exact_square = sum(Fraction(v) ** 2 for v in start.means[r].tolist())
        assert row[em.stream["sq_norm"]][0].contains(flint.fmpq(exact_square.numerator, exact_square.denominator))
        assert abs(row[em.stream["log_pi"]][1].exp() - 0.35) < 1e-35


def test_a_task_outside_the_class_is_refused(task):
    samples, start = task
    with pytest.raises(InputError, match="radius"):
        em_enclosure.encode(em_enclosure.from_floats(floats()), 9 * samples, start)


def test_the_read_out_is_that_of_the_float_transformer(task):
    """All copies of a mean agree, so that the first is their linear pooling."""
    em = floats()
    tokens = encode_floats(em, *task)
    tokens[:, em.stream["pi"]] = [0.2, 0.3, 0.5]
    expected = read_out(em, tokens, 2, 3)
    found = em_enclosure.read_out(em_enclosure.from_floats(em), to_balls(tokens), 2, 3)
    assert np.allclose(midpoints(found.means), expected.means, rtol=1e-15, atol=0)
    assert np.allclose(midpoints(found.weights), expected.weights, rtol=1e-15, atol=0)


@pytest.mark.parametrize("construction", ["floor", "paper"])
@pytest.mark.parametrize("source", ["floats", "balls"])
def test_every_step_is_that_of_the_float_run_without_its_rounding(construction, source, task):
    samples, start = task
    em = floats(construction)
    balls = em_enclosure.from_floats(em) if source == "floats" else em_enclosure.build(SMALL, em.approximation, 3)
    reports = em_run.run(em, samples, start).steps
    seen = []
    steps = list(em_enclosure.run(balls, samples, start, lambda done, tokens: seen.append((done, tokens.shape))))
    assert seen == [(done, (15, em.stream.width)) for done in range(1, 7)]
    assert len(steps) == len(reports) == 3
    for step, report in zip(steps, reports, strict=True):
        assert (step.step, step.excuse) == (report.step, "")
        assert np.abs(midpoints(step.estimate.means) - report.estimate.means).max() < 1e-12
        assert np.abs(midpoints(step.estimate.weights) - report.estimate.weights).max() < 1e-12
        assert np.abs(midpoints(step.exact.means) - report.exact.means).max() < 1e-12
        assert np.abs(midpoints(step.mean_errors) - report.mean_errors).max() < 1e-12
        assert np.abs(midpoints(step.mean_bounds) - (report.mean_bounds - report.rounding.mean)).max() < 1e-12
        assert float(step.log_weight_error) == pytest.approx(report.log_weight_error, abs=1e-12)
        assert float(step.log_weight_bound) == pytest.approx(
            report.log_weight_bound - report.rounding.log_weight, abs=1e-12
        )
        assert all(error <= bound for error, bound in zip(step.mean_errors, step.mean_bounds, strict=True))
    assert steps[0].log_weight_bound == 0
    assert steps[0].log_weight_error < 1e-30
    assert steps[1].log_weight_bound > 0


def test_the_samples_are_those_that_were_given(task):
    """A layer that writes to x changes the transformer's steps, not the exact ones that they are judged by."""
    samples, start = task
    forged = replace(E_STEP, mlp=replace(E_STEP.mlp, clear=[*E_STEP.mlp.clear, "x"]))
    approximation = split_tolerance(SMALL, 0.5, "floor")
    sound, broken = (
        next(em_enclosure.run(em_enclosure.from_floats(build(SMALL, approximation, 1, layers=layers)), samples, start))
        for layers in ((E_STEP, M_STEP), (forged, M_STEP))
    )
    assert all(a.overlaps(b) for a, b in zip(sound.exact.means.ravel(), broken.exact.means.ravel(), strict=True))
    assert any(error > bound for error, bound in zip(broken.mean_errors, broken.mean_bounds, strict=True))


@pytest.mark.parametrize("step", [1, 2])
def test_errors_and_bounds_of_a_given_estimate(step, task):
    """A mean moved by (3, −4)/8 is off by 5/8; a weight multiplied by 2, or halved, by log 2."""
    samples, start = task
    em = em_enclosure.from_floats(floats())
    x, entering, diameter = to_balls(samples[:15]), em_enclosure.parameters(start), enclose_diameter(samples[:15])
    found = em_enclosure.judge_step(em, x, entering, entering, step, diameter)
    moved = fill([arb(0), arb(0), arb(0.375), arb(-0.5), arb(0), arb(0)], (3, 2))
    for sign in (1, -1):
        drift = fill([arb(0), arb(0), sign * arb(2).log()], (3,))
        estimate = Parameters(found.exact.log_weights + drift, found.exact.means + moved)
        judged = em_enclosure.judge_step(em, x, entering, estimate, step, diameter, "a reason")
        assert np.allclose(midpoints(judged.mean_errors), [0, 0.625, 0], rtol=0, atol=1e-15)
        assert abs(judged.log_weight_error - arb(2).log()) < 1e-30
        logit_error = em.approximation.logit_error(2) if step == 2 else arb(0)
        for bound, weight in zip(judged.mean_bounds, estimate.weights, strict=True):
            assert bound.overlaps(bounds.m_step(em.approximation, diameter, weight, logit_error))
        assert judged.log_weight_bound.overlaps(logit_error)
        assert judged.excuse == "a reason"


def test_preconditions_like_those_of_a_float_run():
    floor, paper = floats(), floats("paper")
    cases = {
        "good": ([0.4, 0.6], [[1.0, -2.0], [0.0, 2.5]]),
        "light": ([0.04, 0.96], [[1.0, -2.0], [0.0, 2.5]]),
        "far": ([0.4, 0.6], [[0.0, -4.5], [0.0, 0.0]]),
    }
    for name, (weights, means) in cases.items():
        for em, step in ((floor, 1), (floor, 2), (paper, 1), (paper, 2)):
            expected = em_run.precondition(em, Mixture(np.array(weights), np.array(means)), step)
            found = precondition(em_enclosure.from_floats(em), mixture(weights, means), step)
            assert found == expected.removesuffix(", above 4")
            assert bool(found) == (name != "good" and (em, step) != (floor, 1))


def test_what_cannot_be_told_is_an_excuse():
    """Exactly on the edge of the class balls cannot tell; just inside it they can."""
    em = em_enclosure.from_floats(floats())
    edge = mixture([0.05, 0.95], [[0.0, 4.0], [0.0, 0.0]])
    assert precondition(em, edge, 2) == "a weight fell to 0.05, below 0.05"
    assert precondition(em, mixture([0.05 + 1e-15, 0.95], [[0.0, -4.0], [4.0, 0.0]]), 2) == ""
    means = to_balls(np.array([[0.0, -4.0], [0.0, 0.0]])) + arb(0, 1e-9)
    wide = Parameters(mixture([0.5, 0.5], [[0.0], [0.0]]).log_weights, means)
    assert precondition(em, wide, 2) == "a mean has a coordinate of size 4"
    for lost in (arb("nan"), arb.neg_inf(), arb(0, np.inf)):
        assert precondition(em, Parameters(fill([lost, arb(0)], (2,)), means), 2).startswith("a weight fell to")
    unknown = Parameters(wide.log_weights, fill([arb("nan")] * 4, (2, 2)))
    assert precondition(em, unknown, 2).startswith("a mean has a coordinate")


def test_weights_below_the_log_networks_interval_are_excused():
    """Networks that the class would not choose: 1/A = 0.2 above π_min, where the chord is continued and U is false."""
    coarse = Approximation("floor", float(np.log(5)), 0.0, 40, 4.0, 200)
    em = em_enclosure.from_floats(build(SMALL, coarse, 1))
    means = [[-1.0], [1.0]]
    assert precondition(em, mixture([0.1, 0.9], means), 2) == "a weight fell to 0.1, below 0.2"
    assert precondition(em, mixture([0.21, 0.79], means), 2) == ""
    network = coarse.networks()["log"]
    assert abs(network(np.array(0.1)) - np.log(0.1)) > 100 * coarse.logit_error(1)


def test_once_the_class_is_left_no_later_step_is_judged():
    samples = np.concatenate([np.full((10, 1), -0.3), np.full((10, 1), 0.3)])
    start = Mixture(np.array([0.5, 0.5]), np.array([[0.0], [3.9]]))
    excuses = [step.excuse for step in em_enclosure.run(em_enclosure.from_floats(floats()), samples, start)]
    assert excuses[0] == ""
    assert excuses[1].startswith("a weight fell to")
    assert excuses[2] == excuses[1]


def test_the_largest():
    assert largest(iter([])) == 0
    assert largest([arb(1), arb(3), arb(2)]) == 3
    assert largest([arb(-1), arb(-2)]) == 0
    wide = largest([arb(1, 0.5), arb(1.25, 0.125)])
    assert all(wide.contains(arb(value)) for value in (1.125, 1.375, 1.5))
    assert not wide.contains(arb(1.0))
    for order in ([arb("nan"), arb(1)], [arb(1), arb("nan")]):
        assert not largest(order).is_finite()


@pytest.mark.parametrize(("count", "dim", "scale"), [(11, 1, 1.0), (7, 5, 1e9), (13, 3, 1e-9), (5, 2, 1e-160)])
def test_the_diameter_is_enclosed(count, dim, scale, rng):
    samples = scale * rng.standard_normal((count, dim))
    squares = (
        sum((Fraction(a) - Fraction(b)) ** 2 for a, b in zip(one, other, strict=True))
        for one, other in combinations(samples.tolist(), 2)
    )
    square = max(squares)
    with flint.ctx.workprec(4096):
        exact = arb(flint.fmpq(square.numerator, square.denominator)).sqrt()
    found = enclose_diameter(samples)
    assert found.contains(exact)
    assert found.rad() <= 1e-14 * exact + 1e-149


def test_equal_samples_have_no_diameter():
    assert enclose_diameter(np.full((5, 2), 0.1)).is_zero()


def test_the_diameter_of_many_samples_is_bounded(rng, monkeypatch):
    samples = rng.standard_normal((53, 2))
    exact = enclose_diameter(samples)
    monkeypatch.setattr(bounds, "EXACT_DIAMETER_LIMIT", 7)
    assert exact < enclose_diameter(samples) < 3 * exact
