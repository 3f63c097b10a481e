"""A run judged step by step: what each number is, every verdict, and constructions broken on purpose."""

import re
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from constructions import bounds, rounding_error
from constructions.algorithms.em import em_step, log_em_step
from constructions.algorithms.sampling import Mixture
from constructions.compiler import Head, Layer, Mlp
from constructions.datasets import load_bundled, load_start
from constructions.em_class import Approximation, TaskClass, split_tolerance
from constructions.em_run import EmRun, copies_spread, judge_step, precondition, run
from constructions.em_transformer import E_STEP, M_STEP, EmTransformer, build, read_out

TASK_CLASS = TaskClass(max_dim=5, max_components=3, radius=10.0, min_weight=0.01)


def build_em(steps: int, dtype: torch.dtype = torch.float64, layers=(E_STEP, M_STEP), construction="floor"):
    return build(TASK_CLASS, split_tolerance(TASK_CLASS, 0.3, construction), steps, dtype, layers)


def iris() -> tuple[np.ndarray, Mixture]:
    rng = np.random.default_rng(3)
    samples = load_bundled("iris", 3, None, None, rng).samples
    return samples, load_start("kmeans++", 3, samples, rng)


@pytest.fixture(scope="module")
def iris_run() -> EmRun:
    return run(build_em(5), *iris())


def test_every_step_is_compared_with_em_from_the_same_parameters(iris_run):
    samples, start = iris()
    assert np.array_equal(iris_run.samples, samples)
    assert len(iris_run.steps) == 5
    entering, log_weights, reference_means = start, np.log(start.weights), start.means
    for number, step in enumerate(iris_run.steps, start=1):
        assert step.step == number
        weights, means = em_step(samples, entering.weights, entering.means)
        assert np.array_equal(step.exact.means, means)
        assert np.array_equal(step.exact.weights, weights)
        log_weights, reference_means = log_em_step(samples, log_weights, reference_means)
        assert np.array_equal(step.reference.weights, np.exp(log_weights))
        assert np.array_equal(step.reference.means, reference_means)
        assert step.mean_error == np.linalg.norm(step.estimate.means - means, axis=1).max()
        assert step.log_weight_error == np.abs(np.log(step.estimate.weights) - np.log(weights)).max()
        assert (step.status, step.reason) == ("holds", "")
        assert 0 < step.mean_error <= step.mean_bound < iris_run.diameter
        assert step.log_weight_error <= step.log_weight_bound
        entering = step.estimate
    assert np.array_equal(read_out(iris_run.em, iris_run.output, 4, 3).means, iris_run.steps[-1].estimate.means)


def test_the_bounds_are_those_of_section_5(iris_run):
    """The first step's logits are exact, so its U is 0; later ones have U = g + d·δ_sq/2."""
    assert iris_run.diameter_kind == "exact"
    for step in iris_run.steps:
        logit_error = 0.0 if step.step == 1 else iris_run.em.approximation.logit_error(4)
        expected = max(
            bounds.m_step(iris_run.em.approximation, iris_run.diameter, float(weight), logit_error)
            for weight in step.estimate.weights
        )
        assert step.mean_bound == pytest.approx(expected + step.rounding.mean, rel=1e-14, abs=0)
        assert step.log_weight_bound == pytest.approx(logit_error + step.rounding.log_weight, rel=1e-14, abs=0)
        assert step.rounding.mean < 1e-9


def test_the_rounding_allowance_is_for_both_sides_and_for_copies_that_differ(iris_run, monkeypatch):
    """The transformer in its dtype and the exact step in float64; the copies of the step before count."""
    samples, start = iris()
    first = iris_run.steps[0]
    smallest = min(start.weights.min(), first.exact.weights.min())
    sides = [
        rounding_error.allowance(approximation, samples, start.means, smallest, iris_run.diameter, torch.float64)
        for approximation in (iris_run.em.approximation, None)
    ]
    assert first.rounding.mean == sides[0].mean + sides[1].mean
    assert first.rounding.log_weight == sides[0].log_weight + sides[1].log_weight
    monkeypatch.setattr("constructions.em_run.copies_spread", lambda mu, pi, estimate: (1e-3, 1e-4))
    steps = run(build_em(2), samples, start).steps
    assert steps[0].rounding == first.rounding
    assert steps[1].rounding.log_weight > iris_run.steps[1].rounding.log_weight + 1e-3


def test_the_layers_report_their_progress():
    seen = []
    run(build_em(2), *iris(), progress=lambda done, of: seen.append((done, of)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_samples_are_those_the_dtype_holds():
    samples, start = iris()
    result = run(build_em(1, torch.float32), samples, start)
    assert np.array_equal(result.samples, samples.astype(np.float32).astype(np.float64))
    entering = start.means.astype(np.float32).astype(np.float64)
    assert np.array_equal(result.steps[0].exact.means, em_step(result.samples, start.weights, entering)[1])


@pytest.mark.parametrize(
    ("dtype", "status"), [(torch.float64, "holds"), (torch.float32, "holds"), (torch.bfloat16, "vacuous")]
)
def test_verdicts_by_dtype(dtype, status):
    for step in run(build_em(3, dtype), *iris()).steps:
        assert step.status == status
        if status == "vacuous":
            assert step.reason == "no finite rounding allowance in bfloat16 for N = 150"
            assert step.mean_bound == np.inf


def test_a_run_that_falls_below_the_smallest_weight_stops_being_judged():
    """One far mean loses its weight in the first step; the bound of that step needs no precondition."""
    samples = np.concatenate([np.full((9, 1), -0.3), np.full((10, 1), 0.3)])
    start = Mixture(np.array([0.5, 0.5]), np.array([[0.0], [9.0]]))
    result = run(build_em(4), samples, start)
    assert result.steps[0].estimate.weights[1] < 0.01
    assert result.steps[0].status in ("holds", "vacuous")
    for step in result.steps[1:]:
        assert step.status == "not applicable"
        assert step.reason.startswith("a weight fell to")
        assert step.reason.endswith("below 0.01")
    again = replace(start, means=np.array([[-1.0], [1.0]]))
    assert {step.status for step in run(build_em(4), samples, again).steps} <= {"holds", "vacuous"}


def test_the_last_step_that_applies_says_so():
    """The step in which a weight falls below π_min still has its bound, and says what it means for the next."""
    samples = np.linspace(-1, 1, 22)[:, None]
    start = Mixture(np.array([0.5, 0.5]), np.array([[0.0], [3.7]]))
    steps = run(build_em(2), samples, start).steps
    assert 0.001 < steps[0].estimate.weights.min() < 0.01
    assert steps[0].status == "holds"
    assert re.fullmatch(r"a weight fell to 0\.00\d+, below 0\.01: later steps are not applicable", steps[0].reason)
    assert steps[1].status == "not applicable"


def test_a_bound_between_the_diameter_and_twice_it_is_vacuous():
    """One chord for all of log: the parts of the bound add up to more than the diameter."""
    task_class = TaskClass(1, 2, 8.0, 0.001)
    coarse = Approximation("floor", 3.0, 0.0, 1, 8.0, 64)
    samples = np.zeros((200, 1))
    samples[-1] = 8.0
    start = Mixture(np.array([0.5, 0.5]), np.array([[0.0], [8.0]]))
    result = run(build(task_class, coarse, 1), samples, start)
    assert result.diameter <= result.steps[0].mean_bound < 2 * result.diameter
    assert result.steps[0].status == "vacuous"
    assert result.steps[0].reason == "the bound reaches the diameter of the data"


def test_the_allowance_uses_the_smaller_of_old_and_new_weight(monkeypatch):
    """A component that loses nearly all its weight: the exact new weight is what the allowance must see."""
    seen = []
    rounding = rounding_error.allowance

    def spy(approximation, samples, means, smallest, *rest):
        seen.append(smallest)
        return rounding(approximation, samples, means, smallest, *rest)

    monkeypatch.setattr(rounding_error, "allowance", spy)
    samples = np.zeros((20, 1))
    samples[-1] = 1.0
    result = run(build_em(1), samples, Mixture(np.array([0.5, 0.5]), np.array([[0.0], [6.0]])))
    assert set(seen) == {result.steps[0].exact.weights.min()}
    assert seen[0] < 1e-6


def test_the_verdict_on_a_given_estimate(iris_run):
    """The true second step, moved beyond each bound in turn."""
    first, second = iris_run.steps[:2]

    def verdict(weights: np.ndarray, means: np.ndarray, stopped: str = "") -> tuple[str, str]:
        estimate, spread = Mixture(weights, means), (0.0, 0.0)
        judged = (first.estimate, estimate, second.reference, 2, iris_run.diameter, stopped, spread)
        report = judge_step(iris_run.em, iris_run.samples, *judged)
        return report.status, report.reason

    weights, means = second.exact.weights, second.exact.means
    one = np.eye(3)[:, :1] * np.eye(4)[:1]  # one coordinate of one mean
    assert verdict(weights, means) == ("holds", "")
    assert verdict(weights, means + 0.99 * second.mean_bounds[0] * one) == ("holds", "")
    assert verdict(weights, means + 1.01 * second.mean_bound * one) == (
        "refuted",
        "the error of a mean exceeds its bound",
    )
    off = np.exp(1.01 * second.log_weight_bound * np.eye(3)[2])
    assert verdict(weights * off, means) == ("refuted", "the error of a log weight exceeds its bound")
    assert verdict(weights / off, means) == ("refuted", "the error of a log weight exceeds its bound")
    assert verdict(weights, means * np.where(one, np.nan, 1)) == ("refuted", "the estimate is not finite")
    assert verdict(weights / off, means, "a reason") == ("not applicable", "a reason")


def test_the_spread_of_copies(task):
    """mu differs between the tokens of a component and pi between all; the largest difference counts."""
    _, start = task
    mu, pi = start.means[np.arange(20) % 5], np.tile(start.weights, (20, 1))
    assert copies_spread(mu, pi, start) == (0, 0)
    mu[13] += [0.3, 0.0, -0.4]
    pi[7, 4] *= np.exp(-0.2)
    assert copies_spread(mu, pi, start) == pytest.approx((0.5, 0.2), rel=1e-13, abs=0)


def test_preconditions():
    floor, paper = build_em(1), build_em_small_paper()
    good = Mixture(np.array([0.4, 0.6]), np.array([[1.0, -2.0], [0.0, 2.5]]))
    light = replace(good, weights=np.array([0.009, 0.991]))
    far = replace(good, means=np.array([[0.0, -11.0], [0.0, 0.0]]))
    lost = replace(good, means=np.array([[np.nan, 0.0], [0.0, 0.0]]))
    for mixture in (good, light, far, lost):
        assert precondition(floor, mixture, 1) == ""  # exact logits need nothing
    assert precondition(floor, good, 2) == ""
    assert precondition(paper, good, 1) == ""
    assert precondition(floor, light, 2) == "a weight fell to 0.009, below 0.01"
    assert precondition(paper, light, 1) == "a weight fell to 0.009, below 0.01"
    assert precondition(floor, far, 2) == "a mean has a coordinate of size 11, above 10"
    assert precondition(floor, lost, 2) == "the parameters are not finite"


def build_em_small_paper() -> EmTransformer:
    task_class = replace(TASK_CLASS, radius=3.0)
    return build(task_class, split_tolerance(task_class, 1.0, "paper"), 1)


def without_clearing(layer: Layer, name: str) -> Layer:
    assert layer.mlp is not None
    return replace(layer, mlp=replace(layer.mlp, clear=[z for z in layer.mlp.clear if z != name]))


def with_score(*score: tuple) -> tuple[Layer, Layer]:
    return replace(E_STEP, heads=[Head(score, E_STEP.heads[0].move)]), M_STEP


def with_heads(*heads: Head) -> tuple[Layer, Layer]:
    return E_STEP, replace(M_STEP, heads=heads)


MEAN_HEAD, WEIGHT_HEAD = M_STEP.heads
INNER, LOG_PI, SQ_NORM = ("x", "mu"), ("log_pi", "component"), ("one", "sq_norm", Fraction(-1, 2))
BROKEN = {
    "scores halved": with_score((*INNER, 0.5), (*LOG_PI, 0.5), ("one", "sq_norm", -0.25)),
    "squared norm without 1/2": with_score(INNER, LOG_PI, ("one", "sq_norm", -1)),
    "weights missing from the score": with_score(INNER, SQ_NORM),
    "squared norm missing from the score": with_score(INNER, LOG_PI),
    "log weights halved": with_heads(Head([("component", "log_w", 0.5)], MEAN_HEAD.move), WEIGHT_HEAD),
    "weights doubled": with_heads(MEAN_HEAD, Head([], [("w", "pi", 2)])),
    "mean head missing": with_heads(WEIGHT_HEAD),
    "log_pi not cleared": (without_clearing(E_STEP, "log_pi"), M_STEP),
    "mu not cleared": (without_clearing(E_STEP, "mu"), M_STEP),
    "sq_norm not cleared": (without_clearing(E_STEP, "sq_norm"), M_STEP),
    "pi not cleared": (without_clearing(E_STEP, "pi"), M_STEP),
    "w not cleared": (E_STEP, without_clearing(M_STEP, "w")),
    "log_w not cleared": (E_STEP, without_clearing(M_STEP, "log_w")),
    "squared norm not computed": (E_STEP, replace(M_STEP, mlp=Mlp([("log", "pi", "log_pi")], clear=["w", "log_w"]))),
}


def test_the_unbroken_construction_is_written_from_the_same_parts():
    assert with_score(INNER, LOG_PI, SQ_NORM)[0].heads[0].score == tuple(E_STEP.heads[0].score)
    assert tuple(with_heads(MEAN_HEAD, WEIGHT_HEAD)[1].heads) == tuple(M_STEP.heads)


@pytest.mark.parametrize("layers", BROKEN.values(), ids=BROKEN)
def test_a_broken_construction_is_refuted(layers):
    """Negative control: the same bounds must reject every one of them within three steps."""
    assert "refuted" in {step.status for step in run(build_em(3, layers=layers), *iris()).steps}
