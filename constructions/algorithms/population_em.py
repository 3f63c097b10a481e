"""Population EM: one EM step when the sample is the mixture of N(μ_j*, I_d) itself, by quadrature or Monte Carlo.

The responsibilities depend on x only through its projection on the span of the differences μ_k − μ_0, because

    ℓ_k − ℓ_0 = log(π_k/π_0) + ⟨x − μ_0, μ_k − μ_0⟩ − ½‖μ_k − μ_0‖².

The span has an orthonormal basis of r = min(d, K−1) vectors, the columns of Q; under component j, x = μ_j* + g, the
coordinates Qᵀg are standard normal and the rest of g has mean 0 given them. So integrals over R^r suffice: K = 2 needs
one dimension whatever d is. And since E[1{Z=k}] = π_k*, E[1{Z=k}(X − μ_k*)] = 0 for the component Z of X,

    π_k⁺ − π_k* = E[v_k],   π_k⁺(μ_k⁺ − μ_k*) = E[v_k (X − μ_k*)],   v_k = w_k(X) − 1{Z=k},

where nothing cancels: the errors are as accurate, relative to themselves, as v is, which is tiny for separated means.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import cos, exp, expm1, inf, pi, sin, sqrt

import numpy as np
from jaxtyping import Float

from constructions.algorithms.em import Means, Weights, log_responsibilities
from constructions.algorithms.sampling import Mixture, sample

REACH = 9.0
"""The trapezoid rule's nodes reach from −REACH to REACH standard deviations in every dimension."""
NODES = 129
"""Nodes a dimension unless told."""
BLOCK = 2**20
"""At most so many responsibilities are held at once, in blocks of the batch (never less than one step's)."""


def population_step(truth: Mixture, weights: Weights, means: Means, nodes: int = NODES) -> tuple[Weights, Means]:
    """π_k⁺ = E[w_k(X)], μ_k⁺ = E[w_k(X)X]/E[w_k(X)] for X from `truth` and w_k at the given parameters, by quadrature.

    Arguments and errors as in `population_error`.
    """
    off_weights, off_means = population_error(truth, weights, means, nodes)
    return truth.weights + off_weights, truth.means + off_means


def population_error(truth: Mixture, weights: Weights, means: Means, nodes: int = NODES) -> tuple[Weights, Means]:
    """(π⁺ − π*, μ⁺ − μ*) after one step, by the product trapezoid rule with `nodes` points in each of r dimensions.

    weights (*batch, K), positive with sum 1, and means (*batch, K, d) are the parameters that enter, many at once.
    `quadrature_error` bounds the rule's error; v is of the order of the mass between components, and so is the result.
    A component that no node gives any weight has no mean: NaN.

    Raises
    ------
    ValueError
        If r = min(d, K−1) exceeds 2, where `monte_carlo_error` is the tool.
    """
    batch, (components, dim) = weights.shape[:-1], truth.means.shape
    if min(dim, components - 1) > 2:
        raise ValueError(f"quadrature is for min(d, K-1) <= 2, not for d = {dim}, K = {components}")
    off_weights, off_means = np.empty((*batch, components)), np.empty((*batch, components, dim))
    flat = weights.reshape(-1, components), means.reshape(-1, components, dim)
    found = off_weights.reshape(-1, components), off_means.reshape(-1, components, dim)
    points, masses = rule(min(dim, components - 1), nodes)
    size = max(1, BLOCK // (len(points) * components**2))
    for start in range(0, len(flat[0]), size):
        block = slice(start, start + size)
        found[0][block], found[1][block] = _error(truth, flat[0][block], flat[1][block], points, masses)
    return off_weights, off_means


def rule(axes: int, nodes: int) -> tuple[Float[np.ndarray, "n r"], Float[np.ndarray, " n"]]:
    """Points and masses of the product trapezoid rule for N(0, I_r); n = nodes^r."""
    line = np.linspace(-REACH, REACH, nodes)
    points = np.stack(np.meshgrid(*[line] * axes, indexing="ij"), axis=-1).reshape(nodes**axes, axes)
    step = 2 * REACH / (nodes - 1)
    return points, (step / sqrt(2 * pi)) ** axes * np.exp(-0.5 * (points**2).sum(axis=1))


def quadrature_error(components: int, spread: float, axes: int = 1, nodes: int = NODES) -> float:
    """Bound on |E[w_k(x)f(x)] − its trapezoid sum| for a component j, f = 1 or a coordinate of g, in exact arithmetic.

    spread = max‖μ_k − μ_l‖. Where the imaginary part of a coordinate of g is a ≤ θ/spread, the terms e^{ℓ_l−ℓ_k} of
    1/w_k have arguments within θ of 0 and one of them is 1, so |w_k| ≤ 1/cos θ for θ < π/2; if K = 2, |1 + e^z| ≥ sin θ
    for π/2 ≤ θ < π. The density there is e^{a²/2} times the real one. So in each dimension the sum over all multiples
    of the step h is off by at most 2 E|f| |w| e^{a²/2}/(e^{2πa/h} − 1), E|f| ≤ 1 + a, and the terms beyond REACH, which
    the integral of tφ(t) bounds, add up to 2φ(REACH) at most. The dimensions' errors add up. Where v is tiny, the bound
    is far too large; doubling the nodes shows the error itself.
    """
    step = 2 * REACH / (nodes - 1)
    angle, growth = (2.8, 1 / sin(2.8)) if components == 2 else (1.3, 1 / cos(1.3))
    shift = min(angle / spread if spread > 0 else inf, 2 * pi / step)
    discretised = 2 * (1 + shift) * growth * exp(shift**2 / 2 - 2 * pi * shift / step)
    discretised /= -expm1(-2 * pi * shift / step)
    cut = 2 * exp(-(REACH**2) / 2) / sqrt(2 * pi)
    return axes * (discretised + cut)


@dataclass(frozen=True)
class Estimate:
    """A Monte Carlo estimate and its standard error, entry by entry."""

    value: Float[np.ndarray, "*shape"]
    standard_error: Float[np.ndarray, "*shape"]


def monte_carlo_error(
    truth: Mixture, weights: Weights, means: Means, samples: int, rng: np.random.Generator
) -> tuple[Estimate, Estimate]:
    """(π⁺ − π*, μ⁺ − μ*) from `samples` draws, the same for the whole batch; for every d and K.

    v_k is averaged as in quadrature; the mean's standard error is that of the ratio to first order,
    sd(v_k(X − μ_k*) − (μ_k⁺ − μ_k*)w_k)/(π_k⁺√n).
    """
    count, n = np.zeros(weights.shape), 0
    sums = [np.zeros(weights.shape), np.zeros(means.shape)]
    squares = [np.zeros(weights.shape), np.zeros(means.shape)]
    cross, own = np.zeros(means.shape), np.zeros(weights.shape)
    for x, labels in _draws(truth, samples, weights.size, rng):
        w = np.exp(log_responsibilities(np.broadcast_to(x, (*weights.shape[:-1], *x.shape)), weights, means))
        v = w - np.eye(len(truth.weights))[labels]
        scaled = v[..., None] * (x[:, None, :] - truth.means)
        count, n = count + w.sum(axis=-2), n + len(x)
        for place, values in enumerate((v, scaled)):
            axis = -2 - place
            sums[place] += values.sum(axis=axis)
            squares[place] += (values**2).sum(axis=axis)
        cross += (scaled * w[..., None]).sum(axis=-3)
        own += (w**2).sum(axis=-2)
    off_weights, new, off = sums[0] / n, count / n, sums[1] / count[..., None]
    spread = squares[1] / n - 2 * off * cross / n + off**2 * own[..., None] / n
    weight_spread = squares[0] / n - off_weights**2
    return (
        Estimate(off_weights, np.sqrt(np.maximum(weight_spread, 0) / n)),
        Estimate(off, np.sqrt(np.maximum(spread, 0) / n) / new[..., None]),
    )


def _draws(
    truth: Mixture, samples: int, width: int, rng: np.random.Generator
) -> Iterator[tuple[Float[np.ndarray, "n d"], np.ndarray]]:
    """The samples with their components, in blocks that keep n·(numbers in the weights' batch)·d within BLOCK."""
    size = max(1, BLOCK // (width * truth.means.shape[1]))
    for start in range(0, samples, size):
        yield sample(truth, min(size, samples - start), rng)


def _error(
    truth: Mixture,
    weights: Float[np.ndarray, "b K"],
    means: Float[np.ndarray, "b K d"],
    points: Float[np.ndarray, "n r"],
    masses: Float[np.ndarray, " n"],
) -> tuple[Float[np.ndarray, "b K"], Float[np.ndarray, "b K d"]]:
    """`population_error` of one block; axes k (component), b (batch), j (true component), n (node), r, d.

    The components come first and the nodes last: maxima and sums over few long rows, integrals as matrix products.
    """
    base = means[:, :1]
    basis = np.linalg.qr(np.swapaxes(means[:, 1:] - base, 1, 2)).Q  # b d r
    inner = (means - base) @ basis  # b k r
    centres = (truth.means - base) @ basis  # b j r
    fixed = np.log(weights)[:, None, :] + centres @ np.swapaxes(inner, 1, 2) - 0.5 * (inner**2).sum(-1)[:, None, :]
    w = np.moveaxis(fixed, 2, 0)[..., None] + (np.moveaxis(inner, 1, 0) @ points.T)[:, :, None, :]  # k b j n
    w -= w.max(axis=0)
    np.exp(w, out=w)
    w /= w.sum(axis=0)
    new = (w @ masses @ truth.weights).T
    own = np.arange(len(truth.weights))
    w[own, :, own] = 0  # now v: w_k off the diagonal j = k, w_k − 1 = −Σ_l≠k w_l on it
    w[own, :, own] = -np.moveaxis(w.sum(axis=0), 1, 0)
    shares = w @ masses * truth.weights  # k b j
    along = np.einsum("kbjr,j->bkr", w @ (masses[:, None] * points), truth.weights)
    between = np.einsum("kbj,jkd->bkd", shares, truth.means[:, None] - truth.means)
    off_means = (between + along @ np.swapaxes(basis, 1, 2)) / np.where(new > 0, new, np.nan)[..., None]
    return shares.sum(axis=-1).T, off_means
