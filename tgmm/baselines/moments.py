"""The spectral method on many tasks."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from constructions.algorithms.spectral import spectral
from constructions.errors import InputError
from tgmm.mixtures import Mixtures


def spectral_estimate(samples: Float[np.ndarray, "B N d"], components: int, rng: np.random.Generator) -> Mixtures:
    """Algorithm B.2 on one task after another, its weights 1/λ_k² divided by their sum.

    NaN for a task whose moments have no decomposition: fewer than K positive eigenvalues of M2, or an eigenvalue of
    the whitened third moment that is not positive.

    Raises
    ------
    InputError
        If K > d, where the method does not apply.
    """
    count, _, dim = samples.shape
    if components > dim:
        raise InputError(f"there are {components} components in dimension {dim}; the spectral method needs K <= d")
    weights, means = np.full((count, components), np.nan), np.full((count, components, dim), np.nan)
    for task, one in enumerate(samples):
        try:
            found = spectral(one, components, rng).mixture
        except (InputError, np.linalg.LinAlgError):
            continue
        weights[task], means[task] = found.weights / found.weights.sum(), found.means
    return Mixtures.isotropic(weights, means)
