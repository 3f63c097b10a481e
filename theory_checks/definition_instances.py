"""Small transformers of every shape, in integers on which floating point is exact or in floats; broken evaluations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import sqrt

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

from constructions.transformer import AttentionHead, AttentionLayer, MlpLayer, Transformer, TransformerLayer
from constructions.weights import Activation, Array
from theory_checks.execution_instances import Instance

Draw = Callable[[int, int], Array]
SHAPES = ((5, 7, 13), (2, 5, 3), (11, 3, 2), (1, 2, 5))
"""(N, D, D′): D′ above and below D, more and fewer tokens than coordinates, and a single token."""
RANKS = ((2, 3), (3, 1), (5, 2))
"""(r, s) of the heads: Q, K are r×D and V is D×s times s×D."""


def integers(rng: np.random.Generator) -> Draw:
    """Entries −2, …, 2, two thirds of them 0: few enough digits that float64 never rounds."""
    return lambda rows, columns: rng.integers(-2, 3, (rows, columns)) * (rng.random((rows, columns)) < 5 / 12) * 1.0


def reals(rng: np.random.Generator, activation: Activation) -> Draw:
    """Normal entries; for ReLU rounded to eighths, so that the rationals stay short."""
    if activation == "relu":
        return lambda rows, columns: np.round(4 * rng.standard_normal((rows, columns))) / 8
    return lambda rows, columns: rng.standard_normal((rows, columns)) / 2


def attention_layer(draw: Draw, activation: Activation, tokens: int, width: int, scale: float = 1.0) -> AttentionLayer:
    """Three heads of different shapes. `scale` multiplies the queries."""
    heads = [[scale * draw(r, width), draw(r, width), draw(s, width), draw(width, s)] for r, s in RANKS]
    return AttentionLayer([AttentionHead(*map(torch.from_numpy, head)) for head in heads], activation)


def mlp_layer(draw: Draw, width: int, hidden: int) -> MlpLayer:
    """W₁ (D′×D) and W₂ (D×D′)."""
    return MlpLayer(torch.from_numpy(draw(hidden, width)), torch.from_numpy(draw(width, hidden)))


def integer_instances(rng: np.random.Generator, kind: str, schedule: tuple[int, ...] = (0,)) -> Iterator[Instance]:
    """Batches (2, 3) of integer tokens for ReLU layers of one kind: "attention", "mlp" or "layer".

    The queries are multiples of N, so that Definition 7's 1/N leaves integers.
    """
    draw = integers(rng)
    for tokens, width, hidden in SHAPES:
        layers = []
        for _ in range(max(schedule) + 1):
            attention = attention_layer(draw, "relu", tokens, width, tokens) if kind != "mlp" else None
            layers.append(TransformerLayer(attention, mlp_layer(draw, width, hidden) if kind != "attention" else None))
        given = torch.from_numpy(rng.integers(-3, 4, (2, 3, tokens, width)).astype(np.float64))
        yield Instance(f"N={tokens} D={width} D'={hidden} {schedule}", Transformer(layers, schedule), given)


def real_instances(
    rng: np.random.Generator,
    kind: str,
    activation: Activation,
    schedule: tuple[int, ...] = (0,),
    dtype: torch.dtype = torch.float64,
) -> Iterator[Instance]:
    """The same shapes with normal entries and one batch axis, in any activation and format."""
    draw = reals(rng, activation)
    for tokens, width, hidden in SHAPES:
        layers = []
        for _ in range(max(schedule) + 1):
            attention = attention_layer(draw, activation, tokens, width) if kind != "mlp" else None
            layers.append(TransformerLayer(attention, mlp_layer(draw, width, hidden) if kind != "attention" else None))
        given = torch.from_numpy(draw(2 * tokens, width).reshape(2, tokens, width)).to(dtype)
        name = f"N={tokens} D={width} D'={hidden} {schedule} {str(dtype).removeprefix('torch.')}"
        yield Instance(name, Transformer(layers, schedule).to(dtype), given)


EXCHANGED = "queries and keys exchanged, the score transposed"
SCALED = "scores divided by sqrt(D)"
OVER_QUERIES = "the softmax over the queries"
CAUSAL = "a causal mask"
SUCCESSIVE = "heads that read what the head before them wrote"
ONE_HEAD = "the last head left out"
NO_RESIDUAL = "no residual"
SUMMED = "a sum over the keys without 1/N"
SIGNED = "the score itself in place of its positive part"
BIAS = "a bias of 1 in every hidden unit"
NO_RELU = "an MLP without its relu"
REVERSED = "the layers in reverse"
MLP_FIRST = "the MLP before the attention"
UNTIED = "a shared layer run once"


def evaluated(fault: str) -> Callable[[Transformer, Tensor], list[Array]]:
    """The streams after every layer in float64 numpy, with one of the faults above; with none ("") as defined."""

    def streams(transformer: Transformer, tokens: Tensor) -> list[Array]:
        h, found = tokens.double().numpy(), []
        schedule = transformer.schedule[::-1] if fault == REVERSED else transformer.schedule
        for place, index in enumerate(schedule):
            layer = transformer.stored_layers[index]
            parts = (layer.mlp, layer.attention) if fault == MLP_FIRST else (layer.attention, layer.mlp)
            for part in parts if fault != UNTIED or index not in schedule[:place] else ():
                if part is not None:
                    update = _attention(part, h, fault) if isinstance(part, AttentionLayer) else _mlp(part, h, fault)
                    h = update if fault == NO_RESIDUAL else h + update
            found.append(h)
        return found

    return streams


def exchanged(transformer: Transformer) -> Transformer:
    """The same with queries and keys exchanged, for evaluations that a fault cannot be put into."""
    layers = []
    for layer in transformer.stored_layers:
        assert layer.attention is not None
        heads = [AttentionHead(h.key, h.query, h.value, h.output) for h in layer.attention.stored_heads]
        layers.append(TransformerLayer(AttentionLayer(heads, layer.attention.activation), layer.mlp))
    return Transformer(layers, transformer.schedule)


def doubled(transformer: Transformer) -> Transformer:
    """The same with w2 doubled."""
    layers = [
        TransformerLayer(layer.attention, None if layer.mlp is None else MlpLayer(layer.mlp.w1, 2 * layer.mlp.w2))
        for layer in transformer.stored_layers
    ]
    return Transformer(layers, transformer.schedule)


def _attention(layer: AttentionLayer, h: Array, fault: str) -> Array:
    update, tokens = np.zeros_like(h), h.shape[-2]
    for head in layer.stored_heads[:-1] if fault == ONE_HEAD else layer.stored_heads:
        w, source = head.weights, h + update if fault == SUCCESSIVE else h
        scores = (source @ w.query.T) @ np.swapaxes(source @ w.key.T, -1, -2)
        scores = np.swapaxes(scores, -1, -2) if fault == EXCHANGED else scores
        scores = scores / sqrt(h.shape[-1]) if fault == SCALED else scores
        scores = np.where(np.tri(tokens, dtype=bool), scores, -np.inf) if fault == CAUSAL else scores
        if layer.activation == "softmax":
            weights = softmax(scores, axis=-2 if fault == OVER_QUERIES else -1)
        else:
            positive = scores if fault == SIGNED else np.maximum(scores, 0)
            weights = positive / (1 if fault == SUMMED else tokens)
        update = update + weights @ (source @ w.value.T) @ w.output.T
    return update


def _mlp(layer: MlpLayer, h: Array, fault: str) -> Array:
    w1, w2 = (matrix.double().numpy() for matrix in (layer.w1, layer.w2))
    hidden = h @ w1.T + (1 if fault == BIAS else 0)
    return (hidden if fault == NO_RELU else np.maximum(hidden, 0)) @ w2.T
