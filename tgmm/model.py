"""The TGMM architecture (section 2.2): task embedding, ReadIn, a backbone that all tasks share, a ReadOut for every K.

Recovered: the formulas of the read-out's matrices are lost in our copy of the paper. Its output is (K+d)×K, it
attends by pooling, and the paper counts O(sdD) parameters for s of them: matrices of the shapes below, none D×D.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


@dataclass(frozen=True)
class Estimate:
    """What a read-out says of b tasks of K components: log π̂ (b, K), μ̂ (b, K, d), and σ̂ (b, K, d) if it has scales."""

    log_weights: Float[Tensor, "b K"]
    means: Float[Tensor, "b K d"]
    scales: Float[Tensor, "b K d"] | None


class AttentivePooling(nn.Module):
    """O = (V H) softmax((K H)ᵀ Q), (K+d)×K: column k attends over the samples with the query Q_k.

    With scales O has d more rows (appendix H.1). `inner` is the dimension of keys and queries. Where H is normalised,
    O's entries begin with the standard deviation of a number uniform on [−reach, reach], as the means to be estimated
    are, and the scores with about 1/√3, so that the pooling is soft at first.
    """

    def __init__(
        self, dim: int, components: int, width: int, inner: int, scaled: bool = False, reach: float = 1.0
    ) -> None:
        super().__init__()
        self.dim, self.components, self.scaled = dim, components, scaled
        self.value = nn.Linear(width, components + dim * (2 if scaled else 1), bias=False)
        self.key = nn.Linear(width, inner, bias=False)
        self.query = nn.Parameter(torch.randn(inner, components) / inner**0.5)
        with torch.no_grad():
            self.value.weight.mul_(reach)  # of torch's own start, uniform on ±1/√D

    def forward(self, h: Float[Tensor, "b N D"], mask: Bool[Tensor, "b N"]) -> Estimate:
        """π̂ = softmax of the means of O's first K rows; μ̂_k: column k's next d rows; σ̂_k: softplus of the rest."""
        scores = (self.key(h) @ self.query).masked_fill(~mask[..., None], -torch.inf)
        pooled = scores.softmax(dim=1).mT @ self.value(h)
        logits, means, scales = pooled.split([self.components, self.dim, self.dim * self.scaled], dim=2)
        return Estimate(
            logits.mean(dim=1).log_softmax(dim=1), means, nn.functional.softplus(scales) if self.scaled else None
        )


class Tgmm(nn.Module):
    """Θ̂ = ReadOut_K(backbone(ReadIn([x_i, e_K]))) for each K in `tasks`.

    `backbone` maps hidden states (B, N, D) and the mask of present samples (B, N) to hidden states. `inner`: see
    AttentivePooling; None is the number of the read-out's rows without scales, K + d. `reach`: the means' coordinates
    are expected within ±reach.
    """

    def __init__(
        self,
        dim: int,
        tasks: Sequence[int],
        embedding: int,
        width: int,
        backbone: nn.Module,
        inner: int | None = None,
        scaled: bool = False,
        reach: float = 1.0,
    ) -> None:
        super().__init__()
        self.dim, self.tasks, self.width, self.scaled = dim, tuple(tasks), width, scaled
        self.embedding = nn.Parameter(torch.randn(len(self.tasks), embedding))
        self.read_in = nn.Linear(dim + embedding, width)
        self.backbone = backbone
        self.read_outs = nn.ModuleList(
            AttentivePooling(dim, k, width, k + dim if inner is None else inner, scaled, reach) for k in self.tasks
        )

    def embed(self, samples: Float[Tensor, "B N d"], task: Sequence[int]) -> Float[Tensor, "B N D"]:
        """Every sample is joined to its task's embedding, and read in; `task` are indices into `tasks`."""
        embedded = self.embedding[list(task), None].expand(-1, samples.shape[1], -1)
        hidden: Tensor = self.read_in(torch.cat([samples, embedded], dim=2))
        return hidden

    def forward(
        self, samples: Float[Tensor, "B N d"], mask: Bool[Tensor, "B N"], components: Sequence[int]
    ) -> list[tuple[list[int], Estimate]]:
        """For every K that occurs in `components` (one a task): the indices of its tasks, and their estimates."""
        task = [self.tasks.index(k) for k in components]
        hidden = self.backbone(self.embed(samples, task), mask)
        read = []
        for index in sorted(set(task)):
            chosen = [position for position, own in enumerate(task) if own == index]
            read.append((chosen, self.read_outs[index](hidden[chosen], mask[chosen])))
        return read


def parameters(module: nn.Module) -> int:
    """How many numbers a module holds."""
    return sum(parameter.numel() for parameter in module.parameters())


def extra(model: Tgmm) -> int:
    """The parameters outside the backbone."""
    return parameters(model) - parameters(model.backbone)
