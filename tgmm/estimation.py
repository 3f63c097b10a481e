"""A trained model's estimates, in batches that memory holds."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from tgmm.mixtures import Mixtures
from tgmm.model import Tgmm

BATCH = 32
"""Tasks in memory at a time: what a core's cache holds is a third faster than several hundreds."""


def estimate(model: Tgmm, samples: Float[np.ndarray, "B N d"], components: int) -> Mixtures:
    """One forward pass for every task (K the same for all); scales are 1 if the model estimates none."""
    weights, means, scales = [], [], []
    parameter = next(model.parameters())
    with torch.no_grad():
        for first in range(0, len(samples), BATCH):
            held = torch.from_numpy(samples[first : first + BATCH]).to(parameter.device, parameter.dtype)
            mask = torch.ones(held.shape[:2], dtype=torch.bool, device=held.device)
            ((_, found),) = model(held, mask, [components] * len(held))
            weights.append(found.log_weights.double().exp().cpu().numpy())
            means.append(found.means.double().cpu().numpy())
            if found.scales is not None:
                scales.append(found.scales.double().cpu().numpy())
    joined = np.concatenate(means)
    return Mixtures(np.concatenate(weights), joined, np.concatenate(scales) if scales else np.ones_like(joined))
