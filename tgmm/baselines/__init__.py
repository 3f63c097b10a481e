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
from tgmm.names import DESCRIPTIONS, EM_STEPS, RESTARTS

LARGEST = 1e90
"""Entries of samples up to which no square, nor the sum of any, leaves float64's range."""
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


def _em(step: em.Step) -> dict[str, Estimator]:
    """EM from every kind of start."""
    estimate = partial(em.estimate, step=step, restarts=1)
    return {
        "em-normal": partial(estimate, starts=starts.standard_normal),
        "em-samples": partial(estimate, starts=starts.distinct_samples),
        "em-kmeans++": partial(estimate, starts=starts.kmeans_plus_plus),
        **{
            f"em-best-of-{restarts}": partial(estimate, starts=starts.kmeans_plus_plus, restarts=restarts)
            for restarts in RESTARTS
        },
    }


def _described(estimators: dict[str, Estimator]) -> dict[str, Method]:
    return {name: Method(DESCRIPTIONS[name], estimate) for name, estimate in estimators.items()}


METHODS: dict[str, Method] = _described(
    {
        **_em(em.isotropic_step),
        "em-pruning": pruning.two_round_em,
        "adam": likelihood.adam,
        "spectral": moments.spectral_estimate,
        **{f"em-transformer-{steps}": partial(transformer.estimate, steps=steps) for steps in EM_STEPS},
    }
)
"""For mixtures of N(μ_k, I)."""

ANISOTROPIC_METHODS: dict[str, Method] = _described(
    {**_em(em.anisotropic_step), "adam": partial(likelihood.adam, anisotropic=True)}
)
"""For mixtures of N(μ_k, diag(σ_k²)), whose scales are estimated as well."""
