"""The loops against results worked out by hand: nothing else vouches for them."""

from __future__ import annotations

import flint
import pytest
import torch

from constructions.transformer import AttentionHead, AttentionLayer, MlpLayer, Transformer, TransformerLayer
from theory_checks import literal

Q = flint.fmpq


def rationals(rows: list[list[int]]) -> literal.Matrix:
    return [[Q(entry) for entry in row] for row in rows]


def head(query: list[list[int]], key: list[list[int]], value: list[list[int]]) -> literal.Head:
    return literal.Head(*map(rationals, (query, key, value)))


def test_relu_attention() -> None:
    """Queries read x, keys y, values move x to z: token 1 scores 2·(5, −1), token 2 scores 3·(5, −1), all halved."""
    reads = head([[1, 0, 0]], [[0, 1, 0]], [[0, 0, 0], [0, 0, 0], [1, 0, 0]])
    found = literal.attention([reads], "relu", rationals([[2, 5, 7], [3, -1, 0]]))
    assert found == rationals([[2, 5, 7 + 10], [3, -1, 15]])


def test_heads_read_the_same_stream_and_their_updates_add_up() -> None:
    """A single token: the weight is relu(score); both heads read z = 1, and neither sees what the other wrote."""
    first = head([[1]], [[1]], [[3]])
    second = head([[1]], [[-1]], [[5]])  # its score is negative
    assert literal.attention([first, second, first], "relu", rationals([[1]])) == rationals([[1 + 3 + 0 + 3]])


def test_softmax_runs_over_the_keys() -> None:
    """Scores 0 and log 3 for token 2, 0 and 0 for token 1: weights ¼, ¾ and ½, ½ of the values 8 and 16."""
    reads = head([[1, 0, 0]], [[0, 1, 0]], [[0, 0, 0], [0, 0, 0], [0, 0, 1]])
    balls = literal.Head(*([[flint.arb(x) for x in row] for row in m] for m in (reads.query, reads.key, reads.value)))
    h = [[flint.arb(0), flint.arb(0), flint.arb(8)], [flint.arb(1), flint.arb(3).log(), flint.arb(16)]]
    found = literal.attention([balls], "softmax", h)
    assert float(found[0][2].mid()) == pytest.approx(8 + 12, rel=1e-12, abs=0)
    assert float(found[1][2].mid()) == pytest.approx(16 + 14, rel=1e-12, abs=0)
    assert found[1][1].overlaps(flint.arb(3).log())


def test_mlp() -> None:
    """Hidden units x − y and y − x; w2 adds 2 of the first and 7 of the second to x."""
    w1, w2 = rationals([[1, -1], [-1, 1]]), rationals([[2, 7], [0, 0]])
    assert literal.mlp(w1, w2, rationals([[5, 2], [2, 5]])) == rationals([[5 + 6, 2], [2 + 21, 5]])


def test_relu_of_a_ball_of_open_sign_encloses_both() -> None:
    found = literal.relu(flint.arb(0, 1))
    assert found.contains(0)
    assert found.contains(1)
    assert literal.relu(Q(-3, 7)) == 0
    assert literal.relu(Q(3, 7)) == Q(3, 7)


def test_stored_layers_and_their_order() -> None:
    """V = output·value = 6: an MLP takes x to x + relu(x), a head takes x to x + relu(x²)·6x; both orders, from 1."""
    one = torch.ones(1, 1, dtype=torch.float64)
    adds = TransformerLayer(None, MlpLayer(one, one))
    moves = TransformerLayer(AttentionLayer([AttentionHead(one, one, 2 * one, 3 * one)], "relu"), None)
    model = Transformer([adds, moves], (0, 1))
    layers = literal.stored(model, lambda entry: Q(int(entry)))
    assert layers[1].heads[0].value == [[Q(6)]]
    assert list(literal.trace(layers, (0, 1), [[Q(1)]])) == [[[Q(2)]], [[Q(2 + 2 * 2 * 6 * 2)]]]
    assert list(literal.trace(layers, (1, 0), [[Q(1)]])) == [[[Q(7)]], [[Q(14)]]]
