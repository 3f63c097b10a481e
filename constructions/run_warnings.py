"""What an estimate's own numbers say against it, though every row of its comparison holds: a sentence each."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import flint
import numpy as np
from jaxtyping import Float

from constructions.algorithms.em import log_responsibilities
from constructions.algorithms.sampling import Mixture
from constructions.datasets import Dataset
from constructions.noise_check import strange_noise

REST = 0.01
"""Of the tolerance for a mean: a last step that moves none further is at rest.

If every later step goes at most 1 − REST times as far as the one before, all of them together go less than a step's
move over REST: the run is within the tolerance of its end.
"""
ROUNDING = 1e-6
"""Of a weight: above what 7 digits show."""
SUM_LIMITS = 0.9, 1.1
"""Between what the sum of the spectral method's weights counts as 1."""


def advice(data: Dataset) -> str:
    """The option that may help where a file is taken as it is."""
    return "; --scale unit-noise scales the columns of a file" if data.affine is None and data.labels is None else ""


def moved(before: Mixture, after: Mixture) -> tuple[float, float]:
    """How far the mean and the weight went that went furthest."""
    means = np.linalg.norm(after.means - before.means, axis=1)
    return float(means.max()), float(np.abs(after.weights - before.weights).max())


def at_rest(mean: float | flint.arb, tolerance: float) -> bool:
    """Whether a step that moved no mean further than `mean` leaves EM at rest: of a ball, whether it certainly does."""
    return bool(mean <= REST * tolerance)


def how_far(mean: str, weight: str, rest: bool) -> str:
    """The line of a report that says how far the last step moved."""
    return f"the last step moved a mean by {mean} and a weight by {weight}, at most" + (": at rest" if rest else "")


def em_warnings(
    before: Mixture, after: Mixture, samples: Float[np.ndarray, "N d"], tolerance: float, data: Dataset
) -> list[str]:
    """An EM step from `before` to `after` that is not at rest, means that coincide, noise that is not unit.

    The construction's `tolerance` for a mean is what distances are measured against.
    """
    if not (np.isfinite(after.means).all() and (after.weights > 0).all()):
        return []  # the rows say so
    said = []
    step, _ = moved(before, after)
    if not at_rest(step, tolerance):
        said.append(
            f"EM is not at rest: the last step moved a mean by {step:.2g}, more than {REST * tolerance:g}, "
            f"{REST:.0%} of the tolerance; more --layers take it further"
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


def vacuous_warning(statuses: Sequence[str], diameter: float, options: argparse.Namespace, data: Dataset) -> list[str]:
    """A sentence where no step's bound says anything, with the option that helps."""
    if set(statuses) != {"vacuous"}:
        return []
    rounded = options.precision is None and options.dtype != "float64"
    if diameter == 0:
        return ["no bound says anything: all samples are equal" + f", as {options.dtype} holds them" * rounded]
    if rounded:
        helps = f"{options.dtype} rounds too coarsely for them, and --dtype float64 may do"
    elif data.affine is None and data.labels is None:
        helps = "--centre, or --scale unit-noise, leaves less to rounding"
    else:
        helps = "a smaller --tolerance makes them smaller"
    return [f"no bound says anything: each reaches the samples' diameter of {diameter:.2g}; {helps}"]


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
    if mixture.weights.max() > 1 + ROUNDING:
        said.append(f"a weight is {mixture.weights.max():.7g}, above 1: this is no mixture's")
    total = float(mixture.weights.sum())
    if not SUM_LIMITS[0] <= total <= SUM_LIMITS[1]:
        said.append(f"the weights sum to {total:.4g}, far from 1: the moments are not those of such a mixture")
    last, noise = float(eigenvalues[components - 1]), eigenvalue_noise(samples)
    if last <= noise:
        said.append(
            f"eigenvalue {components} of M2 is {last:.3g}, of the size of sampling noise ({noise:.2g}): the means are "
            "hardly independent, as those of centred data or of too many components"
        )
    if len(samples) <= samples.shape[1]:
        said.append(
            f"there are {len(samples)} samples in dimension {samples.shape[1]}: sigma^2, the least variance of any "
            "direction, is 0 then, whatever the noise"
        )
    elif noise_variance <= 1e-9 * float(samples.var(axis=0).max()):
        said.append(
            "sigma^2 is 0: a column is constant or depends on the others, which noise of one size in every direction "
            "does not do; leave it out with --columns"
        )
    return [sentence + (advice(data) if number == len(said) - 1 else "") for number, sentence in enumerate(said)]
