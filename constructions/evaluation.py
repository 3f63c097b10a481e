"""Definitions 4-8 in any number system: the same matrices, evaluated exactly.

Literal and slow: every matrix product is written out over numpy's object arrays. For floats use the torch modules.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Shaped
from torch import Tensor

from constructions.number_system import NumberSystem
from constructions.transformer import Transformer
from constructions.weights import Array, HeadWeights, LayerWeights, TransformerWeights


def exact_weights(transformer: Transformer, numbers: NumberSystem) -> TransformerWeights:
    """The matrices that the modules hold, entry by entry: every float is a rational."""
    layers = []
    for layer in transformer.stored_layers:
        attention, mlp = layer.attention, layer.mlp
        heads = tuple(
            HeadWeights(*(lifted(m, numbers) for m in (head.query, head.key, head.value, head.output)))
            for head in (attention.stored_heads if attention is not None else ())
        )
        w1, w2 = (lifted(mlp.w1, numbers), lifted(mlp.w2, numbers)) if mlp is not None else (None, None)
        layers.append(LayerWeights(heads, attention.activation if attention is not None else "softmax", w1, w2))
    return TransformerWeights(tuple(layers), transformer.schedule)


def lifted(matrix: Tensor, numbers: NumberSystem) -> Array:
    """A float tensor, entry by entry, in a number system."""
    values = matrix.detach().double().numpy()
    result = numbers.zeros(values.shape)
    for place in np.argwhere(values):
        result[tuple(place)] = numbers.number(float(values[tuple(place)]))
    return result


def trace(
    weights: TransformerWeights, tokens: Shaped[np.ndarray, "N D"], numbers: NumberSystem
) -> Iterator[Shaped[np.ndarray, "N D"]]:
    """The stream after every layer of the schedule, in turn.

    h_i ← h_i + Σ_m Σ_j a(⟨Q_m h_i, K_m h_j⟩) V_m h_j with a = softmax over j or relu/N; then h ← h + w2·relu(w1·h).
    """
    h = tokens
    for index in weights.schedule:
        layer = weights.layers[index]
        update = sum((attend(head, layer, h, numbers) for head in layer.heads), numbers.zeros(h.shape))
        h = h + update
        if layer.w1 is not None and layer.w2 is not None:
            h = h + numbers.relu(h @ layer.w1.T) @ layer.w2.T
        yield h


def attend(
    head: HeadWeights, layer: LayerWeights, h: Shaped[np.ndarray, "N D"], numbers: NumberSystem
) -> Shaped[np.ndarray, "N D"]:
    """What one head adds."""
    scores = (h @ head.query.T) @ (h @ head.key.T).T
    if layer.activation == "relu":
        weights = numbers.relu(scores) * (numbers.number(1) / numbers.number(len(h)))
    else:  # not shifted by the largest score: that is for the range of floats
        weights = numbers.exp(scores)
        weights = weights / weights.sum(axis=1, keepdims=True)
    return (weights @ (h @ head.value.T)) @ head.output.T
