"""A plan over the rationals and in balls: by hand, and against the literal evaluation."""

import flint
import numpy as np
import pytest
import torch

from constructions import evaluation, planned_evaluation
from constructions.execution_plan import plan
from constructions.number_system import Balls, NumberSystem, Rationals
from constructions.transformer import AttentionHead, AttentionLayer, MlpLayer, Transformer, TransformerLayer
from constructions.weights import Activation
from theory_checks.execution_instances import random_instances

ROWS = [[1.0, 2.0, 0.0]] * 3 + [[1.0, -1.0, 0.0]] * 2  # 1, x in two classes, 0


def matrix(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def attention(query: list[float], activation: Activation) -> TransformerLayer:
    """Key and value are x; what comes out is added to the last coordinate."""
    x = matrix([0, 1, 0])
    return TransformerLayer(
        AttentionLayer([AttentionHead(matrix(query), x, x, matrix([0], [0], [1]))], activation), None
    )


def mlp() -> TransformerLayer:
    """x += relu(y − 3) − 2relu(−y); y ← 0."""
    w1, w2 = matrix([-3, 0, 1], [0, 0, -1], [0, 0, 1], [0, 0, -1]), matrix([0] * 4, [1, -2, 0, 0], [0, 0, -1, 1])
    return TransformerLayer(None, MlpLayer(w1, w2))


def traced(layers: list[TransformerLayer], numbers: NumberSystem, rows: list[list[float]] = ROWS) -> list[np.ndarray]:
    transformer = Transformer(layers, range(len(layers)))
    tokens = np.vectorize(numbers.number, otypes=[object])(np.array(rows))
    return list(planned_evaluation.trace(plan(transformer, matrix(*rows)), tokens, numbers))


def test_relu_attention_and_an_mlp_by_hand():
    """x = 2 scores 4 with itself, thrice: 3·4·2/5 = 24/5; x = −1 scores 1, twice: −2/5; −2 is no score."""
    first, second = traced([attention([0, 1, 0], "relu"), mlp()], Rationals())
    x, y, new = ([flint.fmpq(n, 5) for n in pair] for pair in ((10, -5), (24, -2), (10 + 9, -5 - 4)))
    classes = [0, 0, 0, 1, 1]
    assert first.tolist() == [[1, x[i], y[i]] for i in classes]
    assert second.tolist() == [[1, new[i], 0] for i in classes]


def test_softmax_attention_by_hand():
    """Scores x_j: 3e² to 2e^{−1}; every class stands for all of its tokens."""
    with flint.ctx.workprec(200):
        (found,) = traced([attention([1, 0, 0], "softmax")], Balls())
        large, small = 3 * flint.arb(2).exp(), 2 * flint.arb(-1).exp()
        expected = (2 * large - small) / (large + small)
        for row in found:
            assert row[2].overlaps(expected)
            assert row[2].rad() < 1e-50
            assert not row[2].overlaps((2 * large / 3 - small / 2) / (large / 3 + small / 2))


def test_a_score_of_0_is_the_mean():
    (found,) = traced([attention([0, 0, 0], "softmax")], Balls())
    assert all(row[2].overlaps(flint.arb(flint.fmpq(4, 5))) for row in found)


def test_one_token():
    first, second = traced([attention([0, 1, 0], "relu"), mlp()], Rationals(), ROWS[:1])
    assert first.tolist() == [[1, 2, 8]]
    assert second.tolist() == [[1, 7, 0]]


def test_the_plan_is_that_of_the_tokens():
    """Two tokens that the plan holds to be equal get what belongs to the first."""
    transformer = Transformer([mlp()], [0])
    tokens = np.vectorize(Rationals().number, otypes=[object])(np.array([[1.0, 0.0, 5.0], [1.0, 0.0, 7.0]]))
    made = plan(transformer, matrix([1, 0, 5], [1, 0, 5]))
    (found,) = planned_evaluation.trace(made, tokens, Rationals())
    assert found.tolist() == [[1, 2, 0]] * 2


@pytest.mark.parametrize("activation", ["relu", "softmax"])
def test_it_agrees_with_the_literal_evaluation(activation, rng):
    numbers: NumberSystem = Rationals() if activation == "relu" else Balls()
    (instance,) = random_instances(rng, activation, 1)
    transformer = Transformer(instance.transformer.stored_layers, [1])
    with flint.ctx.workprec(200):
        tokens = np.vectorize(numbers.number, otypes=[object])(instance.tokens.numpy())
        (literal,) = evaluation.trace(evaluation.exact_weights(transformer, numbers), tokens, numbers)
        (found,) = planned_evaluation.trace(plan(transformer, instance.tokens), tokens, numbers)
        if activation == "relu":
            assert (found == literal).all()
        else:
            assert all(one.overlaps(other) for one, other in zip(found.flat, literal.flat, strict=True))
            assert max(float(ball.rad()) for ball in found.flat) < 1e-40
    assert (found != tokens).any()
