"""Power iterations v ← T(I, v, v) of third-order tensors, and the robust tensor power method built on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from constructions.errors import InputError

Tensor = Float[np.ndarray, "d d d"]
Vector = Float[np.ndarray, "*batch d"]
PowerIteration = Callable[[Float[np.ndarray, "d d d"], Float[np.ndarray, "R d"], int], Float[np.ndarray, "R d"]]
"""`iterate(tensor, starts, steps)`: what becomes of R unit vectors; only the results' directions are used."""

RESTARTS = 50
ITERATIONS = 20
TIE = float(np.sqrt(np.finfo(np.float64).eps))


@dataclass(frozen=True)
class Eigenpairs:
    """T ≈ Σ_k λ_k v_k ⊗ v_k ⊗ v_k: values λ of shape (K,), unit vectors v of shape (K, d), in the order found."""

    values: Float[np.ndarray, " K"]
    vectors: Float[np.ndarray, "K d"]


def power_step(tensor: Tensor, vector: Vector) -> Vector:
    """v⁺ = T(I, v, v) = Σ_{j,m} v_j v_m T_{:,j,m} for every vector of the batch (the paper's eq. 3).

    T need not be symmetric. What overflows comes out as an infinity or NaN, without a warning.
    """
    dim = len(tensor)
    with np.errstate(over="ignore", invalid="ignore"):
        products = vector[..., :, None] * vector[..., None, :]
        return products.reshape(*vector.shape[:-1], dim * dim) @ tensor.reshape(dim, dim * dim).T


def cubic_form(tensor: Tensor, vector: Vector) -> Float[np.ndarray, "*batch"]:
    """T(v, v, v) = Σ_{a,j,m} v_a v_j v_m T_{a,j,m}: the eigenvalue when v is a unit eigenvector."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray((vector * power_step(tensor, vector)).sum(axis=-1))


def normalised(vector: Vector) -> Vector:
    """v/‖v‖ for every vector of the batch, whatever the size of its entries.

    Raises
    ------
    InputError
        If a vector is 0 or not finite.
    """
    usable = _has_direction(vector)
    if not usable.all():
        offending = vector[~usable][0]
        found = "is 0" if not offending.any() else f"has the entry {offending[~np.isfinite(offending)][0]}"
        raise InputError(f"a vector that {found} cannot be normalised; it must be finite and not 0")
    return _unit(vector)


def power_iteration(tensor: Tensor, start: Vector, steps: int) -> Vector:
    """`steps` steps v ← T(I, v, v) without normalisation: the length is squared each time."""
    vector = start
    for _ in range(steps):
        vector = power_step(tensor, vector)
    return vector


def normalised_power_iteration(tensor: Tensor, start: Vector, steps: int) -> Vector:
    """`steps` steps v ← T(I, v, v)/‖T(I, v, v)‖ for every vector of the batch.

    A vector that T sends to 0 has no next direction: it comes out as 0, one that overflows as NaN.
    """
    vector = start
    for _ in range(steps):
        vector = _unit(power_step(tensor, vector))
    return vector


def robust_tensor_power(
    tensor: Tensor,
    rank: int,
    rng: np.random.Generator,
    restarts: int = RESTARTS,
    iterations: int = ITERATIONS,
    iterate: PowerIteration = normalised_power_iteration,
) -> Eigenpairs:
    """Eigenpairs of T ≈ Σ_k λ_k v_k⊗v_k⊗v_k (v_k orthonormal, λ_k > 0) by power iterations and deflation.

    Algorithm 1 of Anandkumar, Ge, Hsu, Kakade, Telgarsky, *Tensor decompositions for learning latent variable
    models*, JMLR 15 (2014), once per component: of `restarts` starts drawn uniformly from the unit sphere, each
    taken through `iterations` power iterations, the one with the largest T(v, v, v) goes through as many
    again; then λ = T(v, v, v) and T ← T − λ v⊗v⊗v. If T is symmetric and off such a sum by E with |E(u, u, u)| ≤ ε on
    the unit sphere, ε small against λ_min/K and the restarts many enough, then ‖v̂ − v‖ ≤ 8ε/λ and |λ̂ − λ| ≤ 5ε (their
    Theorem 5.1).

    The iterations converge quadratically: with exact arithmetic the ratio of two coefficients λ_k⟨v_k, v⟩ is squared at
    each step, so the default 20 separate, to float64's precision, even coefficients that agree to 2^−14; the default
    of 50 restarts is generous for the ranks (K ≤ 10) met here.

    Parameters
    ----------
    tensor
        T, of shape (d, d, d).
    rank
        Number K ≤ d of eigenpairs.
    rng
        Draws the starts, K times `restarts` vectors, whatever the tensor.
    restarts, iterations
        Starts per component, and power iterations for each of them (and again for the best).
    iterate
        Runs all power iterations: a transformer can take the place of `normalised_power_iteration`.

    Raises
    ------
    InputError
        If rank, restarts or iterations are out of range, T is not finite, or no start of a component ends in a finite
        vector other than 0.
    """
    dim = len(tensor)
    if not 1 <= rank <= dim:
        raise InputError(f"the rank is {rank}; a tensor of dimension {dim} has 1 to {dim} orthogonal eigenvectors")
    for name, value in (("restarts", restarts), ("iterations", iterations)):
        if value < 1:
            raise InputError(f"there are {value} {name} of the power iteration; at least 1 is needed")
    if not np.isfinite(tensor).all():
        raise InputError(f"the tensor has the entry {tensor[~np.isfinite(tensor)][0]}; all must be finite")
    values, vectors = np.empty(rank), np.empty((rank, dim))
    for k in range(rank):
        starts = normalised(rng.standard_normal((restarts, dim)))
        found, levels = _directions(tensor, iterate(tensor, starts, iterations))
        if len(found):
            # Equal eigenvalues, or one reached from many starts: rounding must not decide between them.
            first = int(np.argmax(levels >= levels.max() - TIE * abs(levels.max())))
            found, levels = _directions(tensor, iterate(tensor, found[first : first + 1], iterations))
        if not len(found):
            raise InputError(
                f"none of {restarts} restarts for component {k + 1} of {rank} ended in a finite vector other than 0; "
                "at least one must, so the tensor has too few components or is too large for the power iteration"
            )
        values[k], vectors[k] = levels[0], found[0]
        tensor = tensor - values[k] * np.multiply.outer(np.multiply.outer(found[0], found[0]), found[0])
    return Eigenpairs(values, vectors)


def _directions(
    tensor: Tensor, iterates: Float[np.ndarray, "R d"]
) -> tuple[Float[np.ndarray, "S d"], Float[np.ndarray, " S"]]:
    """Those iterates that have a direction, as unit vectors, and T(v, v, v) for each.

    They are normalised here whatever `iterate` did: a transformer normalises only approximately, and T(v, v, v) grows
    with ‖v‖³, so that errors of length, which say nothing about v, would decide which restart is the best.
    """
    iterates = np.asarray(iterates, dtype=np.float64)
    vectors = normalised(iterates[_has_direction(iterates)])
    levels = cubic_form(tensor, vectors)
    return vectors[np.isfinite(levels)], levels[np.isfinite(levels)]


def _has_direction(vector: Vector) -> np.ndarray:
    return np.asarray(np.isfinite(vector).all(axis=-1) & vector.any(axis=-1))


def _unit(vector: Vector) -> Vector:
    """v/‖v‖; 0 for 0 and NaN for what is not finite. The largest entry is made 1 before squaring."""
    largest = np.abs(vector).max(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        scaled = vector / np.where(largest == 0, 1, largest)
    length = np.linalg.norm(scaled, axis=-1, keepdims=True)
    return scaled / np.where(length == 0, 1, length)
