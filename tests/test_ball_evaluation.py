"""Evaluation in balls against the literal definitions, in balls and in rationals, and against itself by other paths."""

from itertools import product as pairs

import flint
import numpy as np
import pytest

from constructions import ball_evaluation, em_enclosure, evaluation
from constructions.ball_evaluation import BallCurve, from_transformer, from_weights, trace
from constructions.balls import largest_radius, midpoints, to_balls
from constructions.em_class import TaskClass, split_tolerance
from constructions.em_transformer import build
from constructions.em_transformer import encode as encode_floats
from constructions.number_system import Balls, Rationals
from constructions.weights import HeadWeights, LayerWeights, TransformerWeights
from theory_checks.execution_instances import random_instances

arb = flint.arb
NUMBERS = Balls()
SMALL = TaskClass(max_dim=2, max_components=3, radius=2.0, min_weight=0.1)


@pytest.fixture(autouse=True)
def _bits():
    with flint.ctx.workprec(128):
        yield


def inside(enclosures, points):
    return all(wide.contains(point.mid()) for wide, point in zip(enclosures.ravel(), points.ravel(), strict=True))


def meet(one, other):
    return all(a.overlaps(b) for a, b in zip(one.ravel(), other.ravel(), strict=True))


def literally(weights, tokens, numbers=NUMBERS):
    with flint.ctx.workprec(256):
        return list(evaluation.trace(weights, tokens, numbers))


@pytest.mark.parametrize("activation", ["softmax", "relu"])
def test_random_transformers_layer_by_layer(activation, rng):
    for instance in random_instances(rng, activation, 3):
        tokens = to_balls(instance.tokens.numpy())
        found = list(trace(from_transformer(instance.transformer), tokens))
        expected = literally(evaluation.exact_weights(instance.transformer, NUMBERS), tokens)
        assert len(found) == len(expected) == 3
        for enclosures, exact in zip(found, expected, strict=True):
            assert inside(enclosures, exact)
            assert largest_radius(enclosures) < 1e-28


def test_relu_attention_in_rationals(rng):
    (instance,) = random_instances(rng, "relu", 1, count=7)
    numbers, given = Rationals(), instance.tokens.numpy()
    weights = evaluation.exact_weights(instance.transformer, numbers)
    tokens = np.array([[numbers.number(value) for value in row] for row in given.tolist()], dtype=object)
    found = trace(from_transformer(instance.transformer), to_balls(given))
    for enclosures, exact in zip(found, evaluation.trace(weights, tokens, numbers), strict=True):
        with flint.ctx.workprec(2000):
            balls = zip(enclosures.ravel(), exact.ravel(), strict=True)
            assert all(ball.contains(arb(number)) for ball, number in balls)


@pytest.mark.parametrize("activation", ["softmax", "relu"])
def test_tokens_that_are_wide_enclose_their_numbers(activation, rng):
    (instance,) = random_instances(rng, activation, 1, count=5)
    given, weights = to_balls(instance.tokens.numpy()), evaluation.exact_weights(instance.transformer, NUMBERS)
    found = list(trace(from_transformer(instance.transformer), given + arb(0, 2.0**-7)))
    for _ in range(3):
        away = to_balls(rng.choice([-(2.0**-7), 2.0**-9, 2.0**-7], given.shape))
        for enclosures, exact in zip(found, literally(weights, given + away), strict=True):
            assert inside(enclosures, exact)


def em_task(rng, count=7, components=3):
    samples = rng.uniform(-1, 1, (count, 2))
    return samples, em_enclosure.Mixture(np.full(components, 1 / components), rng.uniform(-1, 1, (components, 2)))


@pytest.mark.parametrize(("construction", "facing"), [*pairs(["floor", "paper"], ["left", "right"])])
def test_em_networks_of_both_orientations(construction, facing, rng):
    """The same function on [1/A, 1] from units facing either way: enclosed, and equal in what is read out."""
    approximation = split_tolerance(SMALL, 1.0, construction)
    samples, start = em_task(rng)
    networks = approximation.in_balls.networks(facing, NUMBERS)
    em = em_enclosure.build(SMALL, approximation, 1, networks=networks)
    tokens = em_enclosure.encode(em, samples, start)
    found = list(trace(em.transformer, tokens))
    weights = evaluation.exact_weights(build(SMALL, approximation, 1).transformer, NUMBERS)  # left-facing floats
    for enclosures, exact in zip(found, literally(weights, tokens), strict=True):
        assert np.abs(midpoints(enclosures) - midpoints(exact)).max() < 1e-11 * np.exp(approximation.log_a)
        assert largest_radius(enclosures) < 1e-30 * np.exp(approximation.log_a)


def test_weights_built_in_balls_and_in_floats_make_the_same_steps(rng):
    approximation = split_tolerance(SMALL, 0.5, "floor")
    samples, start = em_task(rng)
    built = em_enclosure.build(SMALL, approximation, 2)
    floats = build(SMALL, approximation, 2)
    lifted = em_enclosure.from_floats(floats)
    tokens = em_enclosure.encode(built, samples, start)
    assert np.abs(midpoints(tokens) - encode_floats(floats, samples, start)).max() < 1e-15
    streams = list(zip(trace(built.transformer, tokens), trace(lifted.transformer, tokens), strict=True))
    assert len(streams) == 4
    for one, other in streams:
        assert np.abs(midpoints(one) - midpoints(other)).max() < 1e-12


def test_an_exact_em_network_meets_its_literal_evaluation(rng):
    em = build(SMALL, split_tolerance(SMALL, 1.0, "floor"), 1)
    samples, start = em_task(rng)
    tokens = em_enclosure.encode(em_enclosure.from_floats(em), samples, start)
    expected = literally(evaluation.exact_weights(em.transformer, NUMBERS), tokens)
    for found, exact in zip(trace(from_transformer(em.transformer), tokens), expected, strict=True):
        assert meet(found, exact)
        assert largest_radius(found) < 1e-30


@pytest.mark.parametrize("activation", ["softmax", "relu"])
def test_equal_tokens_count_as_often_as_they_occur(activation, rng, monkeypatch):
    """Two of eleven tokens are copies of others: keys are evaluated once and weighed by their number."""
    (instance,) = random_instances(rng, activation, 1, count=11)
    tokens = to_balls(instance.tokens.numpy())
    tokens[4], tokens[9] = tokens[2].copy(), tokens[2].copy()
    transformer = from_transformer(instance.transformer)
    merged = list(trace(transformer, tokens))

    def apart(rows):
        return np.arange(len(rows)), np.arange(len(rows))

    monkeypatch.setattr(ball_evaluation, "equal_rows", apart)
    for one, other in zip(merged, trace(transformer, tokens), strict=True):
        assert meet(one, other)
        assert largest_radius(one) < 1e-28


@pytest.mark.parametrize(("few", "block"), [(0, 2**18), (10**9, 2**18), (10**9, 1), (10**9, 60), (0, 1)])
def test_units_one_by_one_in_blocks_and_as_curves_agree(few, block, rng, monkeypatch):
    (instance,) = random_instances(rng, "relu", 1)
    tokens = to_balls(instance.tokens.numpy())
    expected = literally(evaluation.exact_weights(instance.transformer, NUMBERS), tokens)
    curves = []
    monkeypatch.setattr(ball_evaluation, "FEW", few)
    monkeypatch.setattr(ball_evaluation, "BLOCK", block)
    monkeypatch.setattr(ball_evaluation, "BallCurve", lambda *units: curves.append(units) or BallCurve(*units))
    for enclosures, exact in zip(trace(from_transformer(instance.transformer), tokens), expected, strict=True):
        assert inside(enclosures, exact)
    assert bool(curves) == (few == 0)


def units(w1, w2):
    return from_weights(TransformerWeights((LayerWeights((), "softmax", w1, w2),), (0,)))


def test_curves_are_for_more_than_a_few_rows_and_units(monkeypatch):
    seen = []
    monkeypatch.setattr(ball_evaluation, "BallCurve", lambda *units: seen.append(units) or BallCurve(*units))
    for count, rows in pairs((4, 5), (4, 5)):
        seen.clear()
        breaks = np.arange(1, count + 1) / 4
        w1 = to_balls(np.stack([np.ones(count), -breaks, np.zeros(count)], axis=1))
        w2 = to_balls(np.stack([np.zeros(count), np.zeros(count), np.ones(count)]))
        x = np.arange(rows) / 4
        tokens = to_balls(np.stack([x, np.ones(rows), np.zeros(rows)], axis=1))
        (after,) = trace(units(w1, w2), tokens)
        expected = np.maximum(x[:, None] - breaks, 0).sum(axis=1)
        assert midpoints(after[:, 2]).tolist() == expected.tolist()
        assert len(seen) == (count == rows == 5)


def test_weights_that_may_be_zero_and_numbers_that_are_lost():
    """A ball around 0 is no zero; from a number that is not known nothing follows."""
    w1 = to_balls(np.tile([[1.0, 0.5]], (7, 1)))
    w1[:, 0] = w1[:, 0] * arb(0, 0.5)
    w2 = to_balls(np.vstack([np.zeros(7), np.ones(7)]))
    tokens = to_balls(np.stack([np.arange(-3.0, 4.0), np.ones(7)], axis=1))
    (after,) = trace(units(w1, w2), tokens)
    for (x, one), value in zip(tokens, after[:, 1], strict=True):
        for slope in (-0.5, 0.0, 0.5):
            assert value.contains(one + 7 * (slope * x + arb(0.5)).max(arb(0)))
    tokens[:, 1] = arb("nan")  # one object: the same for all tokens
    w1 = to_balls(np.tile([[1.0, -9.0]], (7, 1)))
    (after,) = trace(units(w1, w2), tokens)
    assert not any(value.is_finite() for value in after[:, 1])


def test_heads_and_units_that_read_nothing_and_layers_without_either(rng):
    """A query of zeros gives all keys one weight; units that read nothing are 0; zero heads change nothing."""
    zero, one = to_balls(np.zeros((1, 3))), to_balls(np.eye(3))
    uniform = HeadWeights(zero, one[[0]], one[[1]], one[:, [2]])
    nothing = HeadWeights(zero, zero, zero, to_balls(np.zeros((3, 1))))
    w1, w2 = to_balls(np.array([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])), to_balls(np.array([[5.0, 1.0], [5.0, 0], [5, 0]]))
    layers = (
        LayerWeights((uniform, nothing), "softmax", None, None),
        LayerWeights((), "relu", w1, w2),
        LayerWeights((), "softmax", None, None),
    )
    weights = TransformerWeights(layers, (2, 0, 1, 0))
    given = rng.uniform(0.25, 1, (5, 3))
    found = list(trace(from_weights(weights), to_balls(given)))
    for enclosures, exact in zip(found, literally(weights, to_balls(given)), strict=True):
        assert inside(enclosures, exact)
    assert np.array_equal(midpoints(found[0]), given)
    assert np.allclose(midpoints(found[-1])[:, 2], given[:, 2] + 2 * given[:, 1].mean(), rtol=1e-15, atol=0)
    assert np.allclose(midpoints(found[-1])[:, 0], given[:, 0] + given[:, 1], rtol=1e-15, atol=0)


def test_all_heads_read_the_stream_before_the_layer_and_all_units_that_after_the_heads():
    """x = 3 moves to y while y = 5 moves to x; then z takes both sums, each from before the units."""
    eye = to_balls(np.eye(3))
    zero = to_balls(np.zeros((1, 3)))
    heads = tuple(HeadWeights(zero, zero, eye[[a]], eye[:, [b]]) for a, b in ((0, 1), (1, 0)))
    w2 = to_balls(np.array([[0.0, 0, 0], [1.0, 0, 0], [0.0, 1, 1]]))
    weights = TransformerWeights((LayerWeights(heads, "softmax", eye, w2),), (0,))
    (after,) = trace(from_weights(weights), to_balls(np.array([[3.0, 5.0, 1.0]])))
    assert midpoints(after).tolist() == [[8.0, 16.0, 10.0]]


def test_float_weights_are_taken_exactly(rng):
    (instance,) = random_instances(rng, "softmax", 1)
    with flint.ctx.workprec(16):
        coarse = from_transformer(instance.transformer)
    for layer, stored in zip(coarse.layers, instance.transformer.stored_layers, strict=True):
        entries = [float(entry) for units in layer.units for entry in units.w1.entries()]
        assert all(entry.is_exact() for units in layer.units for entry in units.w1.entries())
        assert {entry for entry in entries if entry} <= set(stored.mlp.w1.ravel().tolist())
