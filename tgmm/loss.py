"""The learning objective (equation 2, with scales equation 26): squared errors of means, cross-entropy of weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tgmm.config import Matching
from tgmm.metrics import assign
from tgmm.model import Estimate


@dataclass(frozen=True)
class Loss:
    """The parts of the loss of each of b tasks; their sum is what training minimises."""

    means: Float[Tensor, " b"]
    weights: Float[Tensor, " b"]
    scales: Float[Tensor, " b"]

    @property
    def total(self) -> Float[Tensor, " b"]:
        """Sum of the parts."""
        return self.means + self.weights + self.scales


def loss(
    estimate: Estimate,
    weights: Float[Tensor, "b K"],
    means: Float[Tensor, "b K d"],
    scales: Float[Tensor, "b K d"],
    matching: Matching,
) -> Loss:
    """(1/K) Σ_k ‖μ̂_k − μ_k‖²/d − Σ_k π_k log π̂_k + (1/K) Σ_k ‖σ̂_k − σ_k‖²/d, the last only with estimated scales.

    Each part is a sum over pairs (estimated j, true k), so the matching of least loss is an assignment problem, solved
    exactly (Jonker & Volgenant). "sorted": the k-th estimate is that of the k-th lightest component.
    """
    parts = [_squares(estimate.means, means), -estimate.log_weights[:, :, None] * weights[:, None, :]]
    if estimate.scales is not None:
        parts.append(_squares(estimate.scales, scales))
    if matching == "assignment":
        costs = torch.stack(parts).detach().sum(dim=0)
        order = torch.from_numpy(assign(costs.double().cpu().numpy())).to(means.device)
    else:
        order = weights.argsort(dim=1, stable=True)
    # order[j] is the true component of estimate j
    picked = [part.gather(2, order[:, :, None]).sum(dim=(1, 2)) for part in parts]
    return Loss(picked[0], picked[1], picked[2] if len(picked) > 2 else torch.zeros_like(picked[0]))


def _squares(estimated: Float[Tensor, "b K d"], true: Float[Tensor, "b K d"]) -> Float[Tensor, "b K K"]:
    """‖u_j − v_k‖²/(dK) for every pair."""
    return (estimated[:, :, None] - true[:, None]).square().mean(dim=3) / true.shape[1]
