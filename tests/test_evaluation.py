"""Definitions 4-8 in other number systems, against plain loops and against the torch modules."""

from fractions import Fraction
from math import exp

import flint
import numpy as np
import pytest
import torch

from constructions.evaluation import attend, exact_weights, trace
from constructions.number_system import FLOAT64, Balls, Rationals
from constructions.rounding_error import gamma
from constructions.transformer import Transformer
from constructions.weights import HeadWeights, LayerWeights, TransformerWeights

UNIT = 2.0**-53
WIDTH, TOKENS = 7, 11


def head(rng, rank: int, values: int) -> HeadWeights:
    shapes = ((rank, WIDTH), (rank, WIDTH), (values, WIDTH), (WIDTH, values))
    return HeadWeights(*(rng.integers(-2, 3, shape) / 4.0 for shape in shapes))


def weights(rng, activation: str) -> TransformerWeights:
    """A layer of two heads and an MLP, heads alone, an MLP alone, in a schedule that repeats and skips."""
    w1, w2 = rng.integers(-2, 3, (13, WIDTH)) / 4.0, rng.integers(-2, 3, (WIDTH, 13)) / 4.0
    layers = (
        LayerWeights((head(rng, 3, 5), head(rng, 1, 2)), activation, w1, w2),
        LayerWeights((head(rng, 2, 3),), activation, None, None),
        LayerWeights((), activation, -w1, w2),
        LayerWeights((), activation, w1, w1.T.copy()),
    )
    return TransformerWeights(layers, (1, 0, 2, 1))


def literal(weights: TransformerWeights, h: list[list[Fraction]]) -> list[list[Fraction]]:
    """Definitions 4-8 with plain sums of plain numbers; ReLU attention divides by N."""

    def apply(matrix, x):
        return [dot(map(Fraction, row), x) for row in matrix.tolist()]

    def dot(x, y):
        return sum((a * b for a, b in zip(x, y, strict=True)), Fraction(0))

    for index in weights.schedule:
        layer, new = weights.layers[index], [list(row) for row in h]
        for part in layer.heads:
            for i, row in enumerate(h):
                for key in h:
                    score = dot(apply(part.query, row), apply(part.key, key))
                    value = apply(part.output, apply(part.value, key))
                    new[i] = [x + max(score, 0) * y / len(h) for x, y in zip(new[i], value, strict=True)]
        h = new
        if layer.w1 is not None:
            h = [
                [x + y for x, y in zip(row, apply(layer.w2, [max(u, 0) for u in apply(layer.w1, row)]), strict=True)]
                for row in h
            ]
    return h


def rationals(array: np.ndarray) -> np.ndarray:
    return np.vectorize(Rationals().number, otypes=[object])(array)


def test_rational_attention_and_mlps_are_exact(rng):
    made = weights(rng, "relu")
    tokens = rng.integers(-3, 4, (TOKENS, WIDTH)) / 2.0
    before = rationals(tokens)
    exact = exact_weights(Transformer.from_weights(made), Rationals())
    steps = list(trace(exact, before, Rationals()))
    assert len(steps) == 4
    assert np.array_equal(before, rationals(tokens))  # the input is left alone
    expected = literal(made, [[Fraction(x) for x in row] for row in tokens.tolist()])
    got = [[Fraction(int(x.p), int(x.q)) for x in row] for row in steps[-1]]
    assert got == expected
    assert any(x.denominator % TOKENS == 0 for row in got for x in row)  # the average over N = 11 is there


def test_every_layer_is_yielded_in_the_order_of_the_schedule(rng):
    made = weights(rng, "relu")
    exact = exact_weights(Transformer.from_weights(made), Rationals())
    assert exact.schedule == (1, 0, 2, 1)
    tokens = rationals(rng.integers(-3, 4, (TOKENS, WIDTH)))
    current = tokens
    for index, stream in zip(exact.schedule, trace(exact, tokens, Rationals()), strict=True):
        (current,) = trace(TransformerWeights(exact.layers, (index,)), current, Rationals())
        assert np.array_equal(stream, current)


@pytest.mark.parametrize("activation", ["relu", "softmax"])
def test_floats_agree_with_the_torch_modules(activation, rng):
    """Layer by layer. Scores of dyadic tokens are exact; an average of 11 takes 40 roundings, an MLP of 13 units 30."""
    made = weights(rng, activation)
    model = Transformer.from_weights(made)
    tokens = rng.integers(-3, 4, (TOKENS, WIDTH)) / 8.0
    for index, layer in enumerate(made.layers):
        (got,) = trace(TransformerWeights(made.layers, (index,)), tokens, FLOAT64)
        size = abs(tokens)
        for part in layer.heads:
            scores = (tokens @ part.query.T) @ (tokens @ part.key.T).T
            pooling = np.maximum(scores, 0) / TOKENS if activation == "relu" else np.exp(scores)
            pooling = pooling if activation == "relu" else pooling / pooling.sum(axis=1, keepdims=True)
            size = size + pooling @ abs(tokens) @ abs(part.value).T @ abs(part.output).T
        if layer.w1 is not None:
            size = size + size @ abs(layer.w1).T @ abs(layer.w2).T
        theirs = model.stored_layers[index](torch.tensor(tokens)).numpy()
        assert (abs(got - theirs) <= 2 * gamma(70, UNIT) * size).all()
        assert not np.array_equal(got, tokens)


def test_the_weights_are_those_that_the_modules_hold(rng):
    """Rounded to float32: 0.1 is the nearest float32, exactly."""
    made = weights(rng, "softmax")
    first = made.layers[0].heads[0]
    first.value[1, 2], made.layers[0].w2[3, 5] = 0.1, -0.1
    exact = exact_weights(Transformer.from_weights(made, torch.float32), Rationals())
    tenth = Rationals().number(float(np.float32(0.1)))
    assert tenth != Rationals().number(0.1)
    assert exact.layers[0].heads[0].value[1, 2] == tenth
    assert exact.layers[0].w2[3, 5] == -tenth
    for layer, given in zip(exact.layers, made.layers, strict=True):
        assert len(layer.heads) == len(given.heads)
        assert (layer.w1 is None) == (given.w1 is None)
        pairs = [
            (a, b) for x, y in zip(layer.heads, given.heads, strict=True) for a, b in zip(x_of(x), x_of(y), strict=True)
        ]
        for ours, theirs in pairs + ([(layer.w1, given.w1), (layer.w2, given.w2)] if layer.w1 is not None else []):
            assert ours.shape == theirs.shape
            assert np.array_equal(ours, rationals(theirs.astype(np.float32).astype(float)))
    assert [layer.activation for layer in exact.layers[:2]] == ["softmax", "softmax"]
    relu = exact_weights(Transformer.from_weights(weights(rng, "relu")), Rationals())
    assert [layer.activation for layer in relu.layers[:2]] == ["relu", "relu"]


def x_of(head: HeadWeights) -> tuple[np.ndarray, ...]:
    return head.query, head.key, head.value, head.output


def test_softmax_in_balls_and_not_in_rationals(rng):
    """Two tokens with scores 0 and log 3 for the first query: weights 1/4 and 3/4."""
    selector = np.array([[1.0, 0.0]])
    plain = HeadWeights(selector, selector, np.array([[0.0, 1.0]]), np.array([[0.0], [1.0]]))
    layer = LayerWeights((plain,), "softmax", None, None)
    numbers = Balls()
    with flint.ctx.workprec(128):
        h = np.array([[flint.arb(1), flint.arb(8)], [flint.arb(1) + flint.arb(3).log(), flint.arb(16)]], dtype=object)
        h[0, 0] = flint.arb(1)
        lifted = HeadWeights(*(np.vectorize(numbers.number, otypes=[object])(m) for m in x_of(plain)))
        added = attend(lifted, layer, h, numbers)
        assert added[0, 0] == 0
        assert added[0, 1].overlaps(flint.arb(8) / 4 + flint.arb(16) * 3 / 4)
        assert float(added[0, 1].rad()) < 2.0**-100
        # The second query scores 1 + log 3 times as much.
        ratio = 3 * exp(np.log(3) ** 2)
        assert float(added[1, 1]) == pytest.approx((8 + 16 * ratio) / (1 + ratio), rel=100 * UNIT, abs=0)
    with pytest.raises(TypeError, match="not rational"):
        attend(HeadWeights(*map(rationals, x_of(plain))), layer, rationals(np.ones((2, 2))), Rationals())
