"""Samples made ready for unit noise: centred, scaled, projected, and the way back to the file's units."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import ceil

import numpy as np
from jaxtyping import Float

from constructions.errors import InputError

LARGEST = 1e150
"""Entries whose squares float64 can add."""
FEW = 0.05
"""A share of samples that may be outliers."""


@dataclass(frozen=True)
class Affine:
    """y = (x − shift) forward, and back x = y back + shift (in the space of the principal components kept)."""

    shift: Float[np.ndarray, " p"]
    forward: Float[np.ndarray, "p d"]
    back: Float[np.ndarray, "d p"]

    def apply(self, x: Float[np.ndarray, "K p"]) -> Float[np.ndarray, "K d"]:
        """Points in the file's units, prepared as its samples were."""
        return (x - self.shift) @ self.forward

    def restore(self, y: Float[np.ndarray, "K d"]) -> Float[np.ndarray, "K p"]:
        """Prepared points in the file's units."""
        return y @ self.back + self.shift


def centre(x: Float[np.ndarray, "N d"], name: str) -> tuple[Float[np.ndarray, "N d"], Affine]:
    """Samples less their mean, and the map that does it; an InputError if their entries are beyond LARGEST."""
    _largest(x, name)
    mean, same = x.mean(axis=0), np.eye(x.shape[1])
    return x - mean, Affine(mean, same, same)


def unit_noise(
    x: Float[np.ndarray, "N p"], components: int, dim: int | None, standardise: bool, centred: bool, name: str
) -> tuple[Float[np.ndarray, "N d"], Affine, list[str]]:
    """Samples centred and scaled so that their noise is about unit, the map that does it, and what was done.

    Columns are first divided by their standard deviations if `standardise`; `dim` keeps so many principal components;
    then every column is divided by its root-mean-square distance from the centres of k-means with K clusters. A column
    that does not vary keeps its unit. `centred` False adds the mean again, transformed like the samples.

    Raises
    ------
    InputError
        If `dim` or `components` exceed what x has, or x cannot be squared in float64.
    """
    from sklearn import cluster, exceptions

    if not 1 <= components <= len(x):
        raise InputError(f"there are {components} components but only {len(x)} samples; K must be at most N")
    largest = _largest(x, name)
    shift = mean = x.mean(axis=0)
    x = x - mean
    forward = back = np.eye(x.shape[1])
    if standardise:
        scale = scales(x.std(axis=0), largest)
        x, mean, forward, back = x / scale, mean / scale, forward / scale, back * scale
    if dim is not None:
        if not 1 <= dim <= x.shape[1]:
            raise InputError(f"--dim is {dim}; {name} has {x.shape[1]} dimensions")
        _, _, directions = np.linalg.svd(x, full_matrices=False)
        if dim > len(directions):
            raise InputError(f"--dim is {dim}; {len(x)} samples have {len(directions)} principal components")
        x, mean = x @ directions[:dim].T, directions[:dim] @ mean
        forward, back = forward @ directions[:dim].T, directions[:dim] @ back
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)  # fewer points than clusters
        clusters = cluster.KMeans(components, n_init=10, random_state=0).fit(x)
    residual = x - clusters.cluster_centers_[clusters.labels_]
    scale = scales(np.sqrt((residual**2).mean(axis=0)), x.std(axis=0))
    x = x / scale if centred else x / scale + mean / scale
    affine = Affine(shift if centred else np.zeros_like(shift), forward / scale, back * scale[:, None])
    steps = ["centred" if centred else "not centred"]
    steps += ["divided by standard deviations"] if standardise else []
    steps += [f"first {dim} principal components"] if dim is not None else []
    return x, affine, [*steps, "scaled by the k-means residual to about unit noise"]


def sizes(x: Float[np.ndarray, "N d"]) -> Float[np.ndarray, " N"]:
    """Norms of the samples, also of those whose squares leave float64."""
    with np.errstate(over="ignore"):
        return np.asarray(np.hypot.reduce(x, axis=1))


def _largest(x: Float[np.ndarray, "N d"], name: str) -> Float[np.ndarray, " d"]:
    """The largest entry of each column; an InputError if one is beyond LARGEST."""
    largest = np.abs(x).max(axis=0)
    if largest.max() > LARGEST:
        raise InputError(
            f"{name} holds a number of size {largest.max():.3g}; to be centred or scaled it must be below {LARGEST:g}"
        )
    return largest


def brought_within(
    x: Float[np.ndarray, "N d"], radius: float, components: int, ways: Sequence[str], fits: Callable[[int], bool]
) -> str:
    """What brings all samples within a radius: the first of the `ways` (options) that does.

    Where none does it is the least whole radius for which a transformer `fits`, of the samples as they are or of those
    of a way that halves it at least. A few samples outside are told, as they may be outliers.
    """
    prepared = {"--centre": lambda: centre(x, "the file")[0], "--scale unit-noise": lambda: _scaled(x, components)}
    does = {"--centre": "subtracts the mean, which EM follows", "--scale unit-noise": "centres and scales the columns"}
    best, norms = "", sizes(x)
    least, outside = norms.max() / 2, int((norms > radius).sum())
    for way in ways:
        with suppress(InputError):  # samples too large to be scaled
            after = sizes(prepared[way]())
            if after.max() <= radius:
                return f"{way} {does[way]}: then the largest norm is {after.max():.4g}"
            outside = min(outside, int((after > radius).sum()))
            if after.max() < least:
                best, norms, least = f"{way} with ", after, after.max()
    said = "a transformer for a --radius that holds all samples is too large to build"
    if norms.max() <= LARGEST and fits(needed := ceil(norms.max())):
        said = f"{best}--radius {needed} holds all samples"
    if outside <= FEW * len(x):
        said += (
            f"; {outside} of {len(x)} samples {'is an outlier, perhaps' if outside == 1 else 'are outliers, perhaps'}"
        )
    return said


def _scaled(x: Float[np.ndarray, "N p"], components: int) -> Float[np.ndarray, "N p"]:
    return unit_noise(x, components, None, True, True, "the file")[0]


def scales(noise: Float[np.ndarray, " d"], spread: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
    """What to divide columns by: their noise, or 1 where it is nothing but rounding."""
    return np.where(noise > 1e-9 * spread, noise, 1.0)
