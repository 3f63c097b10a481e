"""Definitions 1-8 as plain torch modules. This file has heard neither of mixtures nor of tensors.

Tokens are rows: h has shape (..., N, D), with any leading batch dimensions and any float dtype. There is no
1/√d in the scores, no mask, no bias, no layer norm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from constructions.weights import Activation, HeadWeights, TransformerWeights

BLOCK_ELEMENTS = 2**22
"""Scores or hidden units held at a time: blocks of tokens keep memory linear in N."""


class AttentionHead(nn.Module):
    """Q_m = query (r×D), K_m = key (r×D), V_m = output·value with value (s×D) and output (D×s)."""

    def __init__(self, query: Tensor, key: Tensor, value: Tensor, output: Tensor) -> None:
        super().__init__()
        width = query.shape[-1]
        if not (key.shape == query.shape and value.shape[-1] == width == output.shape[0]) or (
            value.shape[0] != output.shape[1]
        ):
            shapes = ", ".join(str(tuple(matrix.shape)) for matrix in (query, key, value, output))
            raise ValueError(f"query, key, value, output must be (r,D), (r,D), (s,D), (D,s), not {shapes}")
        self.query, self.key = _parameter(query), _parameter(key)
        self.value, self.output = _parameter(value), _parameter(output)

    @property
    def weights(self) -> HeadWeights:
        """The matrices as float64 arrays."""
        return HeadWeights(*(m.detach().double().numpy() for m in (self.query, self.key, self.value, self.output)))

    def forward(self, h: Float[Tensor, "*batch N D"], activation: Activation) -> Float[Tensor, "*batch N D"]:
        """Σ_j a(⟨Q h_i, K h_j⟩) V h_j for every token i, without the residual.

        softmax: a = softmax over the keys j. relu: a = relu/N (Definition 7).
        """
        queries, keys, values = h @ self.query.mT, h @ self.key.mT, h @ self.value.mT
        tokens = h.shape[-2]
        rows = max(1, BLOCK_ELEMENTS // (tokens * max(1, h[..., 0, 0].numel())))
        pooled = torch.empty_like(values)  # filled in place: small results kept between blocks would pin their memory
        for start in range(0, tokens, rows):
            block = slice(start, start + rows)
            scores = queries[..., block, :] @ keys.mT
            weights = scores.softmax(dim=-1) if activation == "softmax" else scores.relu() / tokens
            pooled[..., block, :] = weights @ values
        return pooled @ self.output.mT


class AttentionLayer(nn.Module):
    """h_i ← h_i + Σ_m Σ_j a(⟨Q_m h_i, K_m h_j⟩) V_m h_j (Definitions 1, 4 and 7)."""

    def __init__(self, heads: Sequence[AttentionHead], activation: Activation) -> None:
        super().__init__()
        if activation not in ("softmax", "relu"):
            raise ValueError(f"activation {activation!r} is neither 'softmax' nor 'relu'")
        self.heads = nn.ModuleList(heads)
        self.activation: Activation = activation

    def forward(self, h: Float[Tensor, "*batch N D"]) -> Float[Tensor, "*batch N D"]:
        """Heads read the same input in parallel; their outputs are added to it."""
        update = torch.zeros_like(h)
        for head in self.stored_heads:
            update = update + head(h, self.activation)
        return h + update

    @property
    def stored_heads(self) -> list[AttentionHead]:
        """The heads, typed."""
        return [cast(AttentionHead, head) for head in self.heads]


class MlpLayer(nn.Module):
    """h ← h + w2·relu(w1·h) with w1 (D′×D), w2 (D×D′) (Definitions 2 and 5)."""

    def __init__(self, w1: Tensor, w2: Tensor) -> None:
        super().__init__()
        if w1.shape != w2.mT.shape:
            raise ValueError(f"w1 {tuple(w1.shape)} and w2 {tuple(w2.shape)} must be (D',D) and (D,D')")
        self.w1, self.w2 = _parameter(w1), _parameter(w2)

    def forward(self, h: Float[Tensor, "*batch N D"]) -> Float[Tensor, "*batch N D"]:
        """Token by token."""
        tokens = h.reshape(-1, h.shape[-1])
        rows = max(1, BLOCK_ELEMENTS // max(1, len(self.w1)))
        update = torch.empty_like(tokens)
        for start in range(0, len(tokens), rows):
            block = slice(start, start + rows)
            update[block] = (tokens[block] @ self.w1.mT).relu() @ self.w2.mT
        return h + update.reshape(h.shape)


class TransformerLayer(nn.Module):
    """An attention layer followed by an MLP layer; either may be missing."""

    def __init__(self, attention: AttentionLayer | None, mlp: MlpLayer | None) -> None:
        super().__init__()
        self.attention, self.mlp = attention, mlp

    def forward(self, h: Float[Tensor, "*batch N D"]) -> Float[Tensor, "*batch N D"]:
        """Attention, then MLP."""
        if self.attention is not None:
            h = self.attention(h)
        return self.mlp(h) if self.mlp is not None else h


class Transformer(nn.Module):
    """Stored layers run in the order of `schedule` (Definitions 3, 6 and 8); tied layers are stored once."""

    def __init__(self, layers: Sequence[TransformerLayer], schedule: Sequence[int]) -> None:
        super().__init__()
        widths = {matrix.shape[1] for layer in layers for matrix in _reading_matrices(layer)}
        if not widths:
            raise ValueError("a transformer needs a layer with a head or an MLP")
        if len(widths) != 1:
            raise ValueError(f"the layers read streams of different widths: {sorted(widths)}")
        unknown = [index for index in schedule if not 0 <= index < len(layers)]
        if unknown:
            raise ValueError(f"the schedule names layer {unknown[0]}, but {len(layers)} layers are stored")
        self.layers = nn.ModuleList(layers)
        self.schedule = tuple(schedule)
        self.width: int = widths.pop()

    @classmethod
    def from_weights(cls, weights: TransformerWeights, dtype: torch.dtype = torch.float64) -> Transformer:
        """Modules that hold the given float arrays, rounded to `dtype`."""

        def tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array).to(dtype)  # float64 weights are not copied

        layers = []
        for layer in weights.layers:
            heads = [
                AttentionHead(*(tensor(m) for m in (head.query, head.key, head.value, head.output)))
                for head in layer.heads
            ]
            attention = AttentionLayer(heads, layer.activation) if heads else None
            mlp = None
            if layer.w1 is not None and layer.w2 is not None:
                mlp = MlpLayer(tensor(layer.w1), tensor(layer.w2))
            layers.append(TransformerLayer(attention, mlp))
        return cls(layers, weights.schedule)

    @property
    def stored_layers(self) -> list[TransformerLayer]:
        """The layers, each once, typed."""
        return [cast(TransformerLayer, layer) for layer in self.layers]

    @property
    def dtype(self) -> torch.dtype:
        """The float format of the weights."""
        return next(self.parameters()).dtype

    def trace(self, h: Float[Tensor, "*batch N D"]) -> Iterator[Float[Tensor, "*batch N D"]]:
        """The stream after every layer of the schedule, in turn."""
        for index in self.schedule:
            h = self.layers[index](h)
            yield h

    def forward(self, h: Float[Tensor, "*batch N D"]) -> Float[Tensor, "*batch N D"]:
        """The stream after the last layer."""
        output = h
        for output in self.trace(h):  # noqa: B007 - only the last one is wanted
            pass
        return output


def _parameter(matrix: Tensor) -> nn.Parameter:
    """Weights are data: no gradient unless somebody asks for one."""
    return nn.Parameter(matrix.contiguous(), requires_grad=False)


def _reading_matrices(layer: TransformerLayer) -> list[Tensor]:
    heads = layer.attention.stored_heads if layer.attention is not None else []
    matrices: list[Tensor] = [head.query for head in heads]
    if layer.mlp is not None:
        matrices.append(layer.mlp.w1)
    return matrices
