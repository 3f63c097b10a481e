"""The TGMM architecture of section 2.2 as torch modules, as far as its text determines it; only its size is used.

Recovered: the formulas of the read-out's matrices are lost in our copy. Its output is (K+d)×K, it attends by pooling,
and the paper counts O(sdD) parameters for s of them: matrices of the shapes below, and none of shape D×D.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


def embedding_count(tasks: int, embedding: int) -> int:
    """s·e: one vector for every task."""
    return tasks * embedding


def read_in_count(dim: int, embedding: int, width: int) -> int:
    """(d + e)·D + D: a linear layer with its bias."""
    return (dim + embedding) * width + width


def read_out_count(dim: int, components: int, width: int, inner: int) -> int:
    """(K + d)·D values, q·D keys and q·K queries, where q = `inner` is the dimension of the scores."""
    return (components + dim) * width + inner * width + inner * components


def backbone_count(layers: int, width: int) -> int:
    """L·(12 D² + 13 D): attention 4D² + 4D, an MLP of width 4D with 8D² + 5D, two normalisations with 4D."""
    return layers * (12 * width**2 + 13 * width)


class AttentivePooling(nn.Module):
    """O = (V H) softmax((K H)ᵀ Q), (K+d)×K: column k attends over the tokens with the query Q_k."""

    def __init__(self, dim: int, components: int, width: int, inner: int) -> None:
        super().__init__()
        self.components = components
        self.value = nn.Linear(width, components + dim, bias=False)
        self.key = nn.Linear(width, inner, bias=False)
        self.query = nn.Parameter(torch.randn(inner, components))

    def forward(self, h: Float[Tensor, "N D"]) -> tuple[Float[Tensor, " K"], Float[Tensor, "K d"]]:
        """π̂, the mean over the columns of O's first K rows, and the means μ̂_k, the columns of its last d rows."""
        pooled = self.value(h).mT @ (self.key(h) @ self.query).softmax(dim=0)
        return pooled[: self.components].mean(dim=1), pooled[self.components :].mT


class Tgmm(nn.Module):
    """Task embedding, ReadIn, a backbone that all tasks share, and a ReadOut for every task (K_1, …, K_s)."""

    def __init__(
        self, dim: int, tasks: Sequence[int], embedding: int, width: int, layers: int, inner: int | None = None
    ) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(len(tasks), embedding))
        self.read_in = nn.Linear(dim + embedding, width)
        self.backbone = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 1, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.read_outs = nn.ModuleList(
            AttentivePooling(dim, k, width, k + dim if inner is None else inner) for k in tasks
        )

    def forward(self, x: Float[Tensor, "N d"], task: int) -> tuple[Float[Tensor, " K"], Float[Tensor, "K d"]]:
        """The estimate for one task: every sample is joined to the task's embedding."""
        h = self.read_in(torch.cat([x, self.embedding[task].expand(len(x), -1)], dim=1))
        for layer in self.backbone:
            h = layer(h[None])[0]
        estimate: tuple[Tensor, Tensor] = self.read_outs[task](h)
        return estimate


def parameters(module: nn.Module) -> int:
    """How many numbers a module holds."""
    return sum(parameter.numel() for parameter in module.parameters())


def extra(model: Tgmm) -> int:
    """The parameters outside the backbone."""
    return parameters(model) - parameters(model.backbone)
