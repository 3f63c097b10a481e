"""The classical methods that a trained model is compared with, by name, batched over tasks.

A method maps the samples (B, N, d) of tasks that have N and K in common, K and a generator to B estimated mixtures.
It raises InputError where it cannot be applied at all; a single task on which it fails gets NaN, never the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, Float

from constructions.errors import InputError
from tgmm.baselines import em, likelihood, moments, pruning, starts, transformer
from tgmm.mixtures import Mixtures

LARGEST = 1e90
"""Entries of samples up to which no square, nor the sum of any, leaves float64's range."""
RESTARTS = (3, 10, 30)
"""Of EM from k-means++ means: what is paid for a better optimum."""
Estimator = Callable[[Float[np.ndarray, "B N d"], int, np.random.Generator], Mixtures]


@dataclass(frozen=True)
class Method:
    """An estimator with a description of one line."""

    description: str
    estimate: Estimator

    def __call__(self, samples: Float[np.ndarray, "B N d"], components: int, rng: np.random.Generator) -> Mixtures:
        """B mixtures of K components; NaN where the method fails on a task.

        Raises
        ------
        InputError
            If K is not between 1 and N, an entry of a sample exceeds LARGEST or is not finite, or the method does not
            apply to such K and d.
        """
        if not 1 <= components <= samples.shape[1]:
            raise InputError(
                f"there are {components} components and {samples.shape[1]} samples; K must be between 1 and N"
            )
        fits = np.abs(samples) <= LARGEST  # False for NaN
        if not fits.all():
            raise InputError(f"a sample has the entry {samples[~fits][0]}; it must be between ±{LARGEST:g}")
        return self.estimate(samples, components, rng)


def failed(estimates: Mixtures) -> Bool[np.ndarray, " B"]:
    """The tasks on which a method failed: some parameter is not finite."""
    finite = np.isfinite(estimates.weights).all(axis=1)
    for part in (estimates.means, estimates.scales):
        finite &= np.isfinite(part).all(axis=(1, 2))
    return ~finite


def _em(step: em.Step) -> dict[str, Method]:
    """EM from every kind of start."""

    def method(description: str, kind: starts.Starts, restarts: int = 1) -> Method:
        return Method(description, partial(em.estimate, starts=kind, step=step, restarts=restarts))

    return {
        "em-normal": method("EM to convergence from N(0, I) means", starts.standard_normal),
        "em-samples": method("EM to convergence from K distinct samples", starts.distinct_samples),
        "em-kmeans++": method("EM to convergence from k-means++ means", starts.kmeans_plus_plus),
        **{
            f"em-best-of-{restarts}": method(
                f"the most likely of {restarts} such runs", starts.kmeans_plus_plus, restarts
            )
            for restarts in RESTARTS
        },
    }


_ADAM = f"{likelihood.STEPS} steps of Adam on the log-likelihood from k-means++ means"

METHODS: dict[str, Method] = {
    **_em(em.isotropic_step),
    "em-pruning": Method("two EM steps, from too many centres and from K of them", pruning.two_round_em),
    "adam": Method(_ADAM, likelihood.adam),
    "spectral": Method("moments, whitening and tensor power iterations; K <= d", moments.spectral_estimate),
    **{
        f"em-transformer-{steps}": Method(
            f"the hand-built transformer of {2 * steps} layers, {steps} EM steps from k-means++ means",
            partial(transformer.estimate, steps=steps),
        )
        for steps in (10, 50)
    },
}
"""For mixtures of N(μ_k, I)."""

ANISOTROPIC_METHODS: dict[str, Method] = {
    **_em(em.anisotropic_step),
    "adam": Method(_ADAM, partial(likelihood.adam, anisotropic=True)),
}
"""For mixtures of N(μ_k, diag(σ_k²)), whose scales are estimated as well."""
