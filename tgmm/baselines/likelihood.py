"""Adam on the average log-likelihood of many tasks at once."""

from __future__ import annotations

from math import log, pi

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from constructions.algorithms.diagonal_em import LEAST_SCALE
from tgmm.baselines.starts import kmeans_plus_plus
from tgmm.mixtures import Mixtures
from tgmm.names import ADAM_STEPS

LEARNING_RATE = 0.05


def adam(
    samples: Float[np.ndarray, "B N d"],
    components: int,
    rng: np.random.Generator,
    anisotropic: bool = False,
) -> Mixtures:
    """ADAM_STEPS steps of Adam (Kingma and Ba, 2015) from k-means++ means, equal weights and scales 1, in float64.

    The parameters are the means, the logits of the weights and, if `anisotropic`, the logarithms of the scales, which
    after each step are raised to log LEAST_SCALE where they are below. The step size is LEARNING_RATE, the other
    settings are Adam's own: (β₁, β₂) = (0.9, 0.999), ε = 1e-8. All of Adam acts entry by entry and the objective is the
    sum over tasks, so that no task depends on another in the batch.
    """
    x = torch.from_numpy(samples)
    means = torch.from_numpy(kmeans_plus_plus(samples, components, rng)).requires_grad_()
    logits = torch.zeros(means.shape[:2], dtype=x.dtype, requires_grad=True)
    log_scales = torch.zeros(means.shape, dtype=x.dtype, requires_grad=anisotropic)
    free = [means, logits, log_scales] if anisotropic else [means, logits]
    optimiser = torch.optim.Adam(free, lr=LEARNING_RATE)
    for _ in range(ADAM_STEPS):
        optimiser.zero_grad()
        (-average_log_likelihood(x, logits.log_softmax(dim=-1), means, log_scales).sum()).backward()
        optimiser.step()
        if anisotropic:
            with torch.no_grad():
                log_scales.clamp_(min=log(LEAST_SCALE))
    with torch.no_grad():
        return Mixtures(logits.softmax(dim=-1).numpy(), means.numpy(), log_scales.exp().numpy())


def average_log_likelihood(
    x: Float[Tensor, "B N d"],
    log_weights: Float[Tensor, "B K"],
    means: Float[Tensor, "B K d"],
    log_scales: Float[Tensor, "B K d"],
) -> Float[Tensor, " B"]:
    """(1/N) Σ_i log Σ_k π_k φ(x_i; μ_k, diag(σ_k²)): diagonal_em.average_log_likelihood with gradients."""
    precisions = (-2 * log_scales).exp()
    constant = log_weights - log_scales.sum(dim=-1) - 0.5 * (means**2 * precisions).sum(dim=-1)
    joint = constant[:, None] + x @ (means * precisions).mT - 0.5 * x**2 @ precisions.mT
    return joint.logsumexp(dim=-1).mean(dim=-1) - 0.5 * x.shape[-1] * log(2 * pi)
