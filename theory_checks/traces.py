"""The stream of an exported transformer after every layer: in float64, in balls, in rationals, as far as is affordable.

Definitions 4-8 written out once more, in plain numpy, so that nothing of the library's executor is taken at its word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate

import numpy as np

from constructions import ball_evaluation, evaluation
from constructions.balls import fill, to_balls
from constructions.number_system import Rationals
from constructions.transformer import Transformer
from constructions.weights import Array, HeadWeights, TransformerWeights

BLOCK = 2**22
"""Scores or hidden units held at a time."""
MOST_EXACT_WORK = 2 * 10**8
"""Of an evaluation in rationals: multiplications of numbers other than 0, each times the bits of what it multiplies."""
MOST_BITS = 2**17
"""Of a rational in the stream."""
Trace = Callable[[Array, int, int], Iterator[Array]]
"""(tokens, start, stop): the stream after every layer of schedule[start:stop], from these tokens."""


class FloatTrace:
    """Definitions 4-8 in float64, block by block of tokens.

    What leaves its range becomes NaN at once and decides nothing: relu or exp would turn −∞ into a number.
    """

    def __init__(self, transformer: Transformer) -> None:
        self.transformer = transformer

    def __call__(self, tokens: Array, start: int, stop: int) -> Iterator[Array]:
        """The stream after every layer of schedule[start:stop]."""
        h = tokens
        for index in self.transformer.schedule[start:stop]:
            layer = self.transformer.stored_layers[index]
            with np.errstate(all="ignore"):
                if layer.attention is not None:
                    heads = [head.weights for head in layer.attention.stored_heads]
                    h = h + sum(attend(head, layer.attention.activation == "softmax", h) for head in heads)
                if layer.mlp is not None:
                    w1, w2 = (matrix.double().numpy() for matrix in (layer.mlp.w1, layer.mlp.w2))
                    h = h + np.concatenate([np.maximum(_finite(b @ w1.T), 0) @ w2.T for b in _blocks(h, len(w1))])
            yield _finite(h)


def attend(head: HeadWeights, softmax: bool, h: Array) -> Array:
    """Σ_j a(⟨Q h_i, K h_j⟩) V h_j for every token i: a = softmax over j (Definition 4), or relu/N (Definition 7)."""
    keys, values, pooled = h @ head.key.T, h @ head.value.T, []
    for queries in _blocks(h @ head.query.T, len(h)):
        scores = _finite(queries @ keys.T)
        if softmax:
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            weights /= weights.sum(axis=1, keepdims=True)
        else:
            weights = np.maximum(scores, 0) / len(h)
        pooled.append(weights @ values)
    return np.concatenate(pooled) @ head.output.T


def _finite(numbers: Array) -> Array:
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _blocks(rows: Array, columns: int) -> list[Array]:
    """The rows in blocks, of each of which BLOCK numbers are held if it meets so many columns."""
    size = max(1, BLOCK // max(1, columns))
    return [rows[start : start + size] for start in range(0, len(rows), size)]


class BallTrace:
    """Definitions 4-8 in balls of flint's precision."""

    def __init__(self, transformer: Transformer) -> None:
        self.weights = ball_evaluation.from_transformer(transformer)

    def __call__(self, tokens: Array, start: int, stop: int) -> Iterator[Array]:
        """Enclosures of the stream after every layer of schedule[start:stop]."""
        part = ball_evaluation.BallTransformer(self.weights.layers, self.weights.schedule[start:stop])
        return ball_evaluation.trace(part, to_balls(tokens))


class RationalTrace:
    """Definitions 4-8 in rationals. It ends before a layer with softmax, and before what MOST_EXACT_WORK leaves out.

    The work of all calls counts together.
    """

    def __init__(self, transformer: Transformer) -> None:
        self.weights = evaluation.exact_weights(transformer, Rationals())
        self.work = 0
        self.nonzero = [
            sum(int(matrix.count_nonzero()) for matrix in layer.parameters()) for layer in transformer.stored_layers
        ]

    def __call__(self, tokens: Array, start: int, stop: int) -> Iterator[Array]:
        """The stream after the layers of schedule[start:stop], as far as it goes."""
        numbers = Rationals()
        h = fill(map(numbers.number, tokens.ravel().tolist()), tokens.shape)
        for index in self.weights.schedule[start:stop]:
            layer = self.weights.layers[index]
            ranks = sum(len(head.query) + len(head.value) for head in layer.heads)
            bits = max(entry.height_bits() for entry in h.ravel())
            self.work += bits * (len(h) * self.nonzero[index] + len(h) ** 2 * ranks)
            softmax = bool(layer.heads) and layer.activation == "softmax"
            if softmax or bits > MOST_BITS or self.work > MOST_EXACT_WORK:
                return
            (h,) = evaluation.trace(TransformerWeights((layer,), (0,)), h, numbers)
            yield h


class Operations:
    """Multiplications of the literal evaluation: N·(numbers in the layer's matrices) + N²(r + s) for every head."""

    def __init__(self, transformer: Transformer) -> None:
        linear, ranks = [], []
        for layer in transformer.stored_layers:
            linear.append(sum(matrix.numel() for matrix in layer.parameters()))
            heads = layer.attention.stored_heads if layer.attention is not None else ()
            ranks.append(sum(len(head.query) + len(head.value) for head in heads))
        schedule = transformer.schedule
        self.linear = list(accumulate((linear[index] for index in schedule), initial=0))
        self.ranks = list(accumulate((ranks[index] for index in schedule), initial=0))

    def __call__(self, tokens: int, start: int, stop: int) -> int:
        """Of the layers schedule[start:stop] for so many tokens."""
        linear, ranks = self.linear[stop] - self.linear[start], self.ranks[stop] - self.ranks[start]
        return tokens * linear + tokens**2 * ranks
