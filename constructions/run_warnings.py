"""What an estimate's own numbers say against it, though every row of its comparison holds: a sentence each."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from constructions.algorithms.em import log_responsibilities
from constructions.algorithms.sampling import Mixture
from constructions.datasets import Dataset
from constructions.noise_check import strange_noise

SUM_LIMITS = 0.9, 1.1
"""Between what the sum of the spectral method's weights counts as 1."""


def advice(data: Dataset) -> str:
    """The option that may help where a file is taken as it is."""
    return "; --scale unit-noise scales the columns of a file" if data.affine is None and data.labels is None else ""


def moved(before: Mixture, after: Mixture) -> tuple[float, float]:
    """How far the mean and the weight went that went furthest."""
    means = np.linalg.norm(after.means - before.means, axis=1)
    return float(means.max()), float(np.abs(after.weights - before.weights).max())


def em_warnings(
    before: Mixture, after: Mixture, samples: Float[np.ndarray, "N d"], tolerance: float, data: Dataset
) -> list[str]:
    """An EM step from `before` to `after` that is not at rest, means that coincide, noise that is not unit.

    The construction's `tolerance` for a mean is what both distances are measured against.
    """
    if not (np.isfinite(after.means).all() and (after.weights > 0).all()):
        return []  # the rows say so
    said = []
    step, _ = moved(before, after)
    if step > tolerance:
        said.append(
            f"EM is not at rest: the last step moved a mean by {step:.2g}, more than the tolerance of {tolerance:g}; "
            "more --layers take it further"
        )
    apart = np.linalg.norm(after.means[:, None] - after.means, axis=2)
    first, second = np.triu_indices(len(after.means), 1)
    if len(first) and apart[first, second].min() <= tolerance:
        nearest = int(apart[first, second].argmin())
        said.append(
            f"the means of components {first[nearest] + 1} and {second[nearest] + 1} coincide: they are "
            f"{apart[first, second][nearest]:.2g} apart, within the tolerance of {tolerance:g}{advice(data)}"
        )
    responsibilities = np.exp(log_responsibilities(samples, after.weights, after.means))
    return said + [sentence + advice(data) for sentence in strange_noise(samples, after.means, responsibilities)]


def eigenvalue_noise(samples: Float[np.ndarray, "N d"]) -> float:
    """About how far sampling alone moves an eigenvalue of M2 that is 0: ‖C‖ (√(d/N) + d/N).

    C is the second moment of the samples; the operator norm of an empirical covariance's error is of that size
    (Koltchinskii & Lounici 2017, with d for the effective rank). A size, no bound.
    """
    count, dim = samples.shape
    share = dim / count
    return float(np.linalg.eigvalsh(np.cov(samples.T, bias=True).reshape(dim, dim))[-1] * (share**0.5 + share))


def spectral_warnings(
    mixture: Mixture,
    eigenvalues: Float[np.ndarray, " d"],
    noise_variance: float,
    samples: Float[np.ndarray, "N d"],
    data: Dataset,
) -> list[str]:
    """A weight above 1, a sum of weights far from 1, an eigenvalue of the size of sampling noise, no noise."""
    said, components = [], len(mixture.weights)
    if mixture.weights.max() > 1:
        said.append(f"a weight is {mixture.weights.max():.4g}, above 1: this is no mixture's")
    total = float(mixture.weights.sum())
    if not SUM_LIMITS[0] <= total <= SUM_LIMITS[1]:
        said.append(f"the weights sum to {total:.4g}, far from 1: the moments are not those of such a mixture")
    last, noise = float(eigenvalues[components - 1]), eigenvalue_noise(samples)
    if last <= noise:
        said.append(
            f"eigenvalue {components} of M2 is {last:.3g}, of the size of sampling noise ({noise:.2g}): the means are "
            "hardly independent, as those of centred data or of too many components"
        )
    if noise_variance <= 1e-9 * float(samples.var(axis=0).max()):
        said.append(
            "sigma^2 is 0: a column is constant or depends on the others, which noise of one size in every direction "
            "does not do; leave it out with --columns"
        )
    return [sentence + (advice(data) if number == len(said) - 1 else "") for number, sentence in enumerate(said)]
