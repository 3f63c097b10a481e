"""The spectral method for mixtures of N(μ_k, σ²I_d): moments, whitening, tensor power iterations (Algorithm B.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from constructions.algorithms.sampling import Mixture
from constructions.algorithms.tensor_power import (
    ITERATIONS,
    RESTARTS,
    Eigenpairs,
    PowerIteration,
    normalised_power_iteration,
    robust_tensor_power,
)
from constructions.errors import InputError

Samples = Float[np.ndarray, "N d"]

BLOCK = 2**20
"""Numbers of x⊗x in memory at a time while the third moment is summed."""
SMALLEST, LARGEST = 1e-90, 1e90
"""Entries between which neither cubes nor the whitening leave float64's range."""
EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Moments:
    """σ², M1 (d,), M2 = Σ_k π_k μ_k⊗μ_k (d, d) and M3 = Σ_k π_k μ_k⊗μ_k⊗μ_k (d, d, d), or estimates of them."""

    noise_variance: float
    m1: Float[np.ndarray, " d"]
    m2: Float[np.ndarray, "d d"]
    m3: Float[np.ndarray, "d d d"]


@dataclass(frozen=True)
class Estimate:
    """The mixture and the steps to it: all eigenvalues of M2 (decreasing), T = M3(W, W, W) and its eigenpairs.

    The weights are what the eigenvalues give, π_k = 1/λ_k²; on samples they need not sum to 1.
    """

    mixture: Mixture
    noise_variance: float
    eigenvalues: Float[np.ndarray, " d"]
    whitened: Float[np.ndarray, "K K K"]
    eigenpairs: Eigenpairs


def empirical_moments(samples: Samples) -> Moments:
    """Moments of the samples, corrected for the noise as Algorithm B.2 says (E is the mean over the samples).

    σ̂² is the smallest eigenvalue of the covariance and v its eigenvector; M1 = E[x (vᵀ(x − Ex))²];
    M2 = E[x⊗x] − σ̂² I; M3 = E[x⊗x⊗x] − Σ_a (M1⊗e_a⊗e_a + e_a⊗M1⊗e_a + e_a⊗e_a⊗M1)
    (Hsu and Kakade, *Learning mixtures of spherical Gaussians*, ITCS 2013, Theorem 2).

    Raises
    ------
    InputError
        If there is no sample, or one is not finite, or the numbers are too large or too small to be cubed.
    """
    _check_samples(samples)
    count, dim = samples.shape
    centred = samples - samples.mean(axis=0)
    variances, directions = np.linalg.eigh(centred.T @ centred / count)
    noise_variance = max(float(variances[0]), 0.0)  # a covariance has no negative eigenvalue: that is rounding
    m1 = samples.T @ (centred @ directions[:, 0]) ** 2 / count
    m2 = samples.T @ samples / count - noise_variance * np.eye(dim)
    m3 = _third_moment(samples)
    noise = np.multiply.outer(m1, np.eye(dim))
    m3 = m3 - noise - noise.transpose(1, 0, 2) - noise.transpose(1, 2, 0)
    return Moments(noise_variance, m1, m2, m3)


def population_moments(mixture: Mixture, noise_variance: float = 1.0) -> Moments:
    """What the empirical moments tend to: M1 = σ² Σπμ, M2 = Σ π μ⊗μ, M3 = Σ π μ⊗μ⊗μ.

    That σ² is the covariance's smallest eigenvalue takes means in an affine subspace other than R^d, as K ≤ d gives;
    then vᵀ(x − Ex) = σz with z standard normal and independent of k, hence M1 = σ² Ex.
    """
    weighted = mixture.weights[:, None] * mixture.means
    m3 = np.einsum("ka,kb,kc->abc", weighted, mixture.means, mixture.means)
    return Moments(noise_variance, noise_variance * weighted.sum(axis=0), weighted.T @ mixture.means, m3)


def decompose(
    moments: Moments,
    components: int,
    rng: np.random.Generator,
    restarts: int = RESTARTS,
    iterations: int = ITERATIONS,
    iterate: PowerIteration = normalised_power_iteration,
) -> Estimate:
    """The mixture of K components that has these moments.

    With the top K eigenpairs S, U of M2 and W = U S^{−1/2} the vectors √π_k Wᵀμ_k are orthonormal, so
    T = M3(W, W, W) = Σ_k π_k^{−1/2} (√π_k Wᵀμ_k)^{⊗3}: for an eigenpair (λ, u), π = 1/λ² and μ = λ U S^{1/2} u.

    Parameters
    ----------
    moments
        M1 to M3, population or empirical.
    components
        K ≤ d.
    rng, restarts, iterations, iterate
        As in `robust_tensor_power`: `iterate` runs all power iterations.

    Raises
    ------
    InputError
        If K is not in 1..d, M2 has fewer than K positive eigenvalues, or an eigenvalue of T is not positive.
    """
    eigenvalues, directions = _top_eigenpairs(moments, components)
    roots = np.sqrt(eigenvalues[:components])
    whitening = directions / roots
    whitened = np.einsum("abc,ai,bj,ck->ijk", moments.m3, whitening, whitening, whitening, optimize=True)
    pairs = robust_tensor_power(whitened, components, rng, restarts, iterations, iterate)
    # A fixed point v = T(I, v, v)/‖T(I, v, v)‖ has λ = ‖T(I, v, v)‖ > 0: flipping a negative pair would hide
    # that it is not one (and change nothing, as π and μ depend on λ² and λu).
    if not (pairs.values > 0).all():
        raise InputError(
            f"the whitened third moment has the eigenvalue {pairs.values.min():.3g} among {components}; all must be "
            "positive, so the moments are not those of such a mixture, or more restarts or iterations are needed"
        )
    means = pairs.values[:, None] * pairs.vectors @ (directions * roots).T
    return Estimate(Mixture(pairs.values**-2, means), moments.noise_variance, eigenvalues, whitened, pairs)


def spectral(
    samples: Samples,
    components: int,
    rng: np.random.Generator,
    restarts: int = RESTARTS,
    iterations: int = ITERATIONS,
    iterate: PowerIteration = normalised_power_iteration,
) -> Estimate:
    """Algorithm B.2: a mixture of K components N(μ_k, σ²I) from the first three moments of the samples.

    The means must be linearly independent, so K ≤ d and the samples must not be centred. If they are, M2 is the
    covariance less its smallest eigenvalue, d − 1 of whose eigenvalues are positive whatever K is: for K < d only
    the mean of the samples tells. Dependence of another kind shows in `Estimate.eigenvalues`: the Kth is then of
    the size of sampling error.

    Parameters
    ----------
    samples
        N×d with N ≥ K.
    components
        K ≤ d.
    rng, restarts, iterations, iterate
        As in `robust_tensor_power`: `iterate` runs all power iterations.

    Raises
    ------
    InputError
        As `empirical_moments` and `decompose` do, and if K > N or the samples are centred.
    """
    _check_samples(samples)
    count, dim = samples.shape
    _check_components(components, dim)
    if components > count:
        raise InputError(f"there are {components} components but only {count} samples; K must be at most N")
    mean, spread, largest = samples.mean(axis=0), samples.std(axis=0), np.abs(samples).max()
    # A hundredth of its standard error catches data centred before it was printed; then a mean's own rounding.
    if (np.abs(mean) <= 0.01 * spread / np.sqrt(count) + count * EPS * largest).all():
        raise InputError(
            f"the mean of the samples is 0 (no entry above {np.abs(mean).max():.1e}), so Σ π_k μ_k = 0 and M2 has at "
            f"most K − 1 = {components - 1} positive eigenvalues besides noise; K = {components} linearly independent "
            "means are needed: the data must not be centred"
        )
    return decompose(empirical_moments(samples), components, rng, restarts, iterations, iterate)


def _top_eigenpairs(moments: Moments, components: int) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d K"]]:
    """All eigenvalues of M2, decreasing, and the eigenvectors of the K largest, which must be positive."""
    dim = len(moments.m2)
    _check_components(components, dim)
    values, vectors = np.linalg.eigh(moments.m2)
    values, vectors = values[::-1], vectors[:, ::-1]
    # Whitening multiplies rounding in M3, of size eps·scale^{3/2}, by s_K^{−3/2}, while the eigenvalues of T are
    # at least 1: below s_K = eps^{2/3}·scale nothing but rounding would be left.
    positive = int((values > EPS ** (2 / 3) * (np.abs(values).max() + moments.noise_variance)).sum())
    if positive < components:
        raise InputError(
            f"M2 has {positive} positive eigenvalue{'' if positive == 1 else 's'} (beyond rounding); "
            f"K = {components} are needed: the means must be linearly independent, so the data must not be centred"
        )
    return values, vectors[:, :components]


def _third_moment(samples: Samples) -> Float[np.ndarray, "d d d"]:
    """E[x⊗x⊗x], with at most BLOCK (or d²) products x_b x_c in memory."""
    count, dim = samples.shape
    rows = max(1, BLOCK // dim**2)
    total = np.zeros((dim, dim**2))
    for first in range(0, count, rows):
        block = samples[first : first + rows]
        total += block.T @ (block[:, :, None] * block[:, None, :]).reshape(len(block), dim**2)
    return total.reshape(dim, dim, dim) / count


def _check_samples(samples: Samples) -> None:
    if not samples.size:
        raise InputError(f"the samples have shape {samples.shape}; N×d with N, d ≥ 1 is needed")
    if not np.isfinite(samples).all():
        raise InputError(f"a sample has the entry {samples[~np.isfinite(samples)][0]}; all must be finite")
    largest = np.abs(samples).max()
    if not SMALLEST <= largest <= LARGEST:
        raise InputError(
            f"the largest entry of the samples is {largest:.3g}; it must be within {SMALLEST:g} and {LARGEST:g} for "
            "third moments"
        )


def _check_components(components: int, dim: int) -> None:
    if not 1 <= components <= dim:
        raise InputError(f"there are {components} components in dimension {dim}; the spectral method needs 1 ≤ K ≤ d")
