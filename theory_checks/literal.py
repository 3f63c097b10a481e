"""Definitions 4-8 as loops over tokens, heads, keys and coordinates, over rationals or balls.

Read from the definitions and slow on purpose; from the library it takes the matrices and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from constructions.transformer import Transformer
from constructions.weights import Activation

Number = Any  # flint.fmpq or flint.arb
Vector = list[Number]
Matrix = list[Vector]


@dataclass(frozen=True)
class Head:
    """Q_m and K_m (r×D), and V_m = output·value (D×D)."""

    query: Matrix
    key: Matrix
    value: Matrix


@dataclass(frozen=True)
class Layer:
    """Attention, then W₁ (D′×D) and W₂ (D×D′); there may be no head, or no MLP."""

    heads: list[Head]
    activation: Activation
    mlp: tuple[Matrix, Matrix] | None


def stored(transformer: Transformer, number: Callable[[float], Number]) -> list[Layer]:
    """The matrices of a transformer's layers, entry by entry."""

    def lifted(matrix: Tensor) -> Matrix:
        return [[number(entry) for entry in row] for row in matrix.double().tolist()]

    layers = []
    for layer in transformer.stored_layers:
        heads = [] if layer.attention is None else layer.attention.stored_heads
        activation: Activation = "softmax" if layer.attention is None else layer.attention.activation
        matrices = [
            Head(lifted(head.query), lifted(head.key), product(lifted(head.output), lifted(head.value)))
            for head in heads
        ]
        mlp = None if layer.mlp is None else (lifted(layer.mlp.w1), lifted(layer.mlp.w2))
        layers.append(Layer(matrices, activation, mlp))
    return layers


def trace(layers: Sequence[Layer], schedule: Sequence[int], h: Matrix) -> Iterator[Matrix]:
    """Definitions 6 and 8: the stream after every layer; layer = attention, then MLP. Tokens are the rows of h."""
    for index in schedule:
        h = transformer_layer(layers[index], h)
        yield h


def transformer_layer(layer: Layer, h: Matrix) -> Matrix:
    """MLP(Attn(h))."""
    h = attention(layer.heads, layer.activation, h)
    return h if layer.mlp is None else mlp(*layer.mlp, h)


def attention(heads: Sequence[Head], activation: Activation, h: Matrix) -> Matrix:
    """h_i + Σ_m Σ_j a_ij V_m h_j; a_ij = softmax_j(⟨Q_m h_i, K_m h_j⟩) (Definition 4) or relu(·)/N (Definition 7)."""
    after = [list(token) for token in h]
    for head in heads:
        shown = [apply(head.key, token) for token in h]
        moved = [apply(head.value, token) for token in h]
        for i in range(len(h)):
            asked = apply(head.query, h[i])
            scores = [inner(asked, shown[j]) for j in range(len(h))]
            weights = softmax(scores) if activation == "softmax" else [relu(score) / len(h) for score in scores]
            for j in range(len(h)):
                for c in range(len(h[i])):
                    after[i][c] = after[i][c] + weights[j] * moved[j][c]
    return after


def mlp(w1: Matrix, w2: Matrix, h: Matrix) -> Matrix:
    """h_i + W₂ relu(W₁ h_i) (Definition 5)."""
    after = []
    for token in h:
        hidden = [relu(unit) for unit in apply(w1, token)]
        after.append([before + update for before, update in zip(token, apply(w2, hidden), strict=True)])
    return after


def softmax(scores: Vector) -> Vector:
    """e^{v_j} / Σ_l e^{v_l}, in balls."""
    powers = [score.exp() for score in scores]
    total = sum(powers[1:], powers[0])
    return [power / total for power in powers]


def relu(number: Number) -> Number:
    """max(x, 0) = (x + |x|)/2, in balls an enclosure also where the sign is open."""
    return (number + abs(number)) / 2


def inner(left: Vector, right: Vector) -> Number:
    """⟨left, right⟩."""
    total = 0
    for one, other in zip(left, right, strict=True):
        total = total + one * other
    return total


def apply(matrix: Matrix, vector: Vector) -> Vector:
    """Matrix times vector."""
    return [inner(row, vector) for row in matrix]


def product(left: Matrix, right: Matrix) -> Matrix:
    """Matrix times matrix."""
    columns = [list(column) for column in zip(*right, strict=True)]
    return [[inner(row, column) for column in columns] for row in left]
