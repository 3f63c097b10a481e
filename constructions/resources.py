"""The size of any Transformer, read off its matrices: L, M, D, D′, B_Θ (Definition 8)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.transformer import Transformer


@dataclass(frozen=True)
class Resources:
    """L executed layers, stored layers, M heads (most in a layer), width D, D′ (largest), log B_Θ, bytes."""

    layers: int
    stored_layers: int
    heads: int
    width: int
    hidden_width: int
    log_b_theta: float
    bytes: int


def measure(transformer: Transformer) -> Resources:
    """Count, and take operator norms: B_Θ = max over layers of max_m(‖Q_m‖, ‖K_m‖, ‖V_m‖) + ‖w1‖ + ‖w2‖.

    The logarithm is returned because B_Θ itself may be near the end of the format.
    """
    stored = transformer.stored_layers
    layers = [stored[index] for index in sorted(set(transformer.schedule))]
    heads = [layer.attention.stored_heads if layer.attention is not None else [] for layer in layers]
    log_norms = []
    for layer, its_heads in zip(layers, heads, strict=True):
        largest: list[float] = []
        for head in its_heads:
            largest += [log_norm(m) for m in (head.query, head.key)] + [log_product_norm(head.output, head.value)]
        terms = [max(largest)] if its_heads else []
        if layer.mlp is not None:
            terms += [log_norm(layer.mlp.w1), log_norm(layer.mlp.w2)]
        log_norms.append(float(torch.logsumexp(torch.tensor(terms, dtype=torch.float64), dim=0)))
    return Resources(
        layers=len(transformer.schedule),
        stored_layers=len(transformer.layers),
        heads=max(len(its_heads) for its_heads in heads),
        width=transformer.width,
        hidden_width=max(0 if layer.mlp is None else len(layer.mlp.w1) for layer in layers),
        log_b_theta=max(log_norms),
        bytes=sum(matrix.numel() * matrix.element_size() for matrix in transformer.parameters()),
    )


def log_norm(matrix: Tensor) -> float:
    """Log ‖matrix‖ (operator norm); scaled first, because squares of the entries may overflow."""
    matrix = matrix.double()
    largest = matrix.abs().max()
    if largest == 0:
        return float("-inf")
    # Singular values of a tall matrix from the small Gram matrix: relative error of the largest is O(D′·eps).
    scaled = matrix / largest
    gram = scaled.mT @ scaled if scaled.shape[0] > scaled.shape[1] else scaled @ scaled.mT
    return float(largest.log() + 0.5 * torch.linalg.eigvalsh(gram)[-1].log())


def log_product_norm(output: Tensor, value: Tensor) -> float:
    """Log ‖output·value‖ without forming the D×D product: QR on both sides leaves an s×s core."""
    left = torch.linalg.qr(output.double(), mode="r").R
    right = torch.linalg.qr(value.double().mT, mode="r").R
    return log_norm(left @ right.mT)
