"""The checks' own bounds and predictions, restated term by term; a term dropped, halved or doubled is seen."""

from math import exp, expm1, inf, log, sqrt, tanh
from types import SimpleNamespace

import flint
import numpy as np
import pytest
import torch
from terms import Terms, assert_terms

from constructions import bounds, concentration_bounds, population_bounds
from constructions.algorithms.sampling import Mixture
from constructions.balls import to_balls
from constructions.em_class import Approximation
from constructions.execution_error import attention_error, mlp_error
from constructions.relu_networks import chord_slope
from constructions.transformer import AttentionHead, AttentionLayer, MlpLayer, TransformerLayer
from theory_checks import literal, precision_steps, test_definitions
from theory_checks import test_theorem_f1_explicit as explicit
from theory_checks.confirmation import information_bound_from
from theory_checks.em_falsifiers import m_step_bound
from theory_checks.rates import Constants, shape

FLOOR = Approximation("floor", log_a=3.0, log_high=0.0, segments=11, radius=7.0, pieces=13)
PAPER = Approximation("paper", log_a=3.0, log_high=3.0, segments=11, radius=7.0, pieces=13)


def test_a_transformers_step_term_by_term(monkeypatch):
    """Theorem F.1 with constants; ROUNDING as if it were a thousandth, so that it is seen."""
    monkeypatch.setattr(explicit, "ROUNDING", 1e-3)

    def step(t: Terms, a: Approximation, dim: int, rho: float, weight: float, first: bool) -> float:
        u = 0.0 if first else a.log_error + dim * a.square_error / 2
        left = exp(-t("U of the weight", u) - t("its rounding", 1e-3)) * (1 - t("rho of the weight", rho)) * weight
        floor = 1 / (1 + exp(a.log_a + chord_slope(a.chord_width)) * left)
        share = t("logits", tanh(u / 4)) + t("chords", tanh(a.log_error / 4)) + t("floor", floor)
        weights = expm1(t("U", u) + t("rounding of a weight", 1e-3)) * (1 + t("rho of weights", rho))
        means = t("2B", 2 * a.radius) * share + t("rounding of a mean", 1e-3)
        return t("rho", rho) + max(t("means", means), t("weights", weights))

    sizes = [FLOOR, Approximation("floor", 40.0, 0.0, 10**4, 1e-2, 1)]  # the second in a small ball: weights decide
    large = Approximation("floor", 40.0, 0.0, 8, 0.05, 13)
    given = [(a, 3, rho, 0.3, first) for a in (*sizes, large) for rho in (0.05, 0.4) for first in (True, False)]
    assert_terms(explicit.transformer_step, step, given)
    assert explicit.transformer_step(FLOOR, 3, 1.0, 0.3, True) == inf


@pytest.mark.parametrize("known", ["contraction", "first_step"])
def test_the_radius_after_a_step_of_em_term_by_term(known, monkeypatch):
    """The lesser of the bound that is made of the net alone, and of population EM's and the deviation."""
    truth = Mixture(np.array([0.25, 0.75]), np.array([[0.0], [5.0]]))
    asked = []
    monkeypatch.setattr(population_bounds, known, lambda *given: asked.append(given) or flint.arb(0.5))
    monkeypatch.setattr(concentration_bounds, "uniform_step_deviation", lambda *_: 0.125)

    def stated(direct: float, radius: float, slack: float) -> float:
        monkeypatch.setattr(concentration_bounds, "one_step_radius", lambda *_: direct)
        return explicit.em_radius(truth, radius, slack, 1009)

    def restated(t: Terms, direct: float, radius: float, slack: float) -> float:
        population = 0.5 * t("radius", radius) if known == "contraction" else 0.5
        return min(t("direct", direct), t("population", population) + t("deviation", 0.125))

    slack = 0.25 if known == "contraction" else 0.5
    assert_terms(stated, restated, [(direct, 0.25, slack) for direct in (9.0, 0.01)])
    assert [float(number) for number in asked[0][:2]] == pytest.approx([5.0, log(6)], rel=1e-14)
    monkeypatch.setattr(population_bounds, known, lambda *_: flint.arb("nan"))
    assert stated(9.0, 0.25, slack) == 9.0
    assert explicit.em_radius(Mixture(np.full(3, 1 / 3), np.eye(3)), 0.25, slack, 1009) == 9.0


def test_the_class_of_a_case_term_by_term():
    """Samples of d = 1009 reach far beyond a sixteenth of the distance; means that are far apart do not."""
    near = Mixture(np.array([0.3, 0.7]), np.pad([[3.0], [-4.0]], ((0, 0), (0, 1008))))
    wide = Mixture(np.array([0.3, 0.7]), np.array([[100.0], [-1e4]]))

    def radius(t: Terms, case: explicit.Case, truth: Mixture, apart: float) -> float:
        excess = sqrt(2 * log(case.n / explicit.DELTA) / case.d)
        noise = sqrt(case.d) * (t("1", 1) + t("excess", excess))
        return t("means", max(map(np.linalg.norm, truth.means))) + max(t("noise", noise), t("(A1)", apart / 16))

    def stated(case: explicit.Case, truth: Mixture, apart: float) -> float:
        found = explicit.task_class(case, truth)
        assert found.min_weight == 0.15
        return found.radius

    cases = [(explicit.Case(32, d, 2, 1009, 0.3), *given) for d, *given in ((1009, near, 7.0), (1, wide, 10_100.0))]
    assert_terms(stated, radius, cases)


def test_the_error_of_a_layer_term_by_term(rng, monkeypatch):
    """Half of what two evaluations may be apart; what attention leaves wrong goes through the MLP."""
    monkeypatch.setattr(test_definitions, "MARGIN", 1.5)
    matrices = [rng.standard_normal(size) for size in ((2, 3), (2, 3), (2, 3), (3, 2), (5, 3), (3, 5))]
    *head, w1, w2 = (torch.tensor(matrix) for matrix in matrices)
    layer = TransformerLayer(AttentionLayer([AttentionHead(*head)], "relu"), MlpLayer(w1, w2))
    (exact,) = literal.stored(SimpleNamespace(stored_layers=[layer]), flint.arb)
    h, unit = rng.standard_normal((7, 3)), 2.0**-11
    attended = layer.attention(torch.tensor(h)).numpy()

    def restated(t: Terms, unit: float) -> np.ndarray:
        heads = [part.weights for part in layer.attention.stored_heads]
        before = attention_error(heads, "relu", h, unit) / 2
        size = t("size", abs(attended)) * 1.5 + t("error of the size", before)
        through = t("through the MLP", before @ abs(matrices[4]).T @ abs(matrices[5]).T)
        return 1.5 * (t("MLP", mlp_error(*matrices[4:], size, unit) / 2) + t("residual", before) + through)

    assert_terms(lambda unit: test_definitions.layer_error(layer, exact, h, unit)[0], restated, [(unit,)])


def prediction(t: Terms, a: Approximation, right: bool, fmt, x, w, scores, means, entering, step) -> list[float]:
    """First-order worst case of a mean over diam(X) = 1 and of a log weight; B = 7."""
    balls = isinstance(fmt, int)
    u, sums = (2.0**-fmt, 2.0**-fmt) if balls else (torch.finfo(fmt).eps / 2, torch.finfo(fmt).eps / 2)
    span = t("log A", a.log_a) + t("log high", a.log_high)
    many = t("chords", a.segments) + span if balls else 1.0
    slope = t("muA", many * u) + (0.0 if balls else t("exp in float64", 2.0**-53 * span))

    def network(value: float) -> float:
        found = t("sums of the network", many * sums * span)
        found += u * (t("log w", min(-log(value), a.log_a)) + t("r", a.chord_width) + t("1", 1))
        return found + (t("right", slope * exp(a.log_a) * (1 if balls else value)) if right else 0.0)

    (count, components), m = w.shape, max(map(np.linalg.norm, entering.means))
    pi = [t("log pi", -u * log(p)) if step == 1 else t("f(pi)", network(p)) for p in entering.weights]
    rest = t("3u", 3 * u) + t("Na", count * sums)
    found = []
    for k in range(components):
        mean = weight = 0.0
        for i in range(count):
            size = np.linalg.norm(x[i])
            terms = t("xM", size * m) + t("M^2", m * m) if balls else t("logits", max(abs(scores[i])))
            logit = u * (terms + t("half cM^2", (0.5 if step == 1 else 1.5) * m * m)) + t("weights", max(pi))
            share, tilt = w[i, k] / w[:, k].sum(), 2 * (1 - w[i, k]) * logit
            away = size if balls else np.linalg.norm(x[i] - means[k])
            mean += share * (t("tilt", tilt) + t("f(w)", network(w[i, k]))) * away
            weight += share * t("tilt of a weight", tilt)
        found.append((mean + t("rest", rest) * 7.0, weight + t("rest of a weight", rest)))
    return [max(mean for mean, _ in found), max(weight for _, weight in found)]


def test_what_a_format_is_predicted_to_do_term_by_term(rng):
    x, scores, means = rng.standard_normal((7, 2)), rng.uniform(-9, 9, (7, 3)), rng.standard_normal((3, 2))
    w = rng.dirichlet([1.0, 2.0, 3.0], 7)
    entering = Mixture(np.array([0.2, 0.3, 0.5]), 3 * rng.standard_normal((3, 2)))

    def stated(a, right, fmt, x, w, scores, means, entering, step) -> list[float]:
        setting = SimpleNamespace(orientation="right" if right else "left")
        exact = precision_steps.Exact(
            None, SimpleNamespace(means=to_balls(means)), w, scores, np.ones(3), 1.0, (9.0, 9.0), 1.0
        )
        subject = SimpleNamespace(sizes=a, setting=setting)
        found = precision_steps.predict(subject, fmt, SimpleNamespace(samples=x), exact, step, entering)
        assert found.ratio == max(found.mean, found.log_weight)
        return [found.mean, found.log_weight]

    given = [
        (a, right, fmt, x, w, scores, means, entering, step)
        for a, right in ((FLOOR, False), (PAPER, True))
        for fmt in (torch.float32, torch.float64, 53)
        for step in (1, 2)
    ]
    assert_terms(stated, prediction, given)


def test_a_share_that_faces_right_is_constant_below_its_interval():
    """c = 0 there; the falsifier's bound for tensors is bounds.m_step."""
    right, left = (SimpleNamespace(orientation=side, construction="floor") for side in ("right", "left"))

    def share(t: Terms, weight: float, u: float) -> float:
        floor = 1 / (t("1", 1) + t("A", exp(3.0) * weight))
        return t("logits", tanh(u / 4)) + t("chords", tanh(FLOOR.log_error / 4)) + t("floor", floor)

    def stated(weight: float, u: float) -> float:
        return precision_steps.share(SimpleNamespace(sizes=FLOOR, setting=right), weight, u)

    assert_terms(stated, share, [(0.2, 0.07), (1e-3, 1.0)])
    for a in (FLOOR, PAPER):
        assert precision_steps.share(SimpleNamespace(sizes=a, setting=left), 0.2, 0.07) == bounds.m_step(
            a, 1.0, 0.2, 0.07
        )
        found = m_step_bound(a, torch.tensor(7.0, dtype=torch.float64), torch.tensor(0.2, dtype=torch.float64), 0.07)
        assert float(found) == pytest.approx(bounds.m_step(a, 7.0, 0.2, 0.07), rel=1e-13, abs=0)


def test_rates_term_by_term():
    def rate(t: Terms, d, k, n, least, delta) -> float:
        return sqrt(t("K", k) * t("d", d) * log(t("n of the log", n) / t("delta", delta)) / (n * t("pi_min", least)))

    def bound(t: Terms, constants: Constants, rate, steps, tolerance) -> float:
        plateau = (t("c", constants.c) * rate + t("eps", tolerance)) / (1 - t("beta", constants.beta))
        return t("beta^L", constants.beta**steps) + plateau

    assert_terms(shape, rate, [(3, 5, 1009, 0.1, 0.01)])
    assert_terms(Constants.bound, bound, [(Constants(0.5, 2.0), 0.07, 3.0, 0.05)])

    def information(t: Terms, separation: float) -> float:
        g = exp(-t("R^2", separation**2)) / (t("1 of 1 + R^2", 1) + t("R^2 of 1 + R^2", separation**2))
        return g / (t("1", 1) + t("g", g))

    assert_terms(information_bound_from, information, [(0.5,), (3.0,)])
