"""Samples to run on: data sets that scikit-learn ships, synthetic mixtures, the user's files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from constructions import strict_json
from constructions.algorithms.sampling import Mixture, random_mixture, sample
from constructions.errors import InputError
from constructions.sample_files import SUFFIXES, read_samples


@dataclass(frozen=True)
class Dataset:
    """Samples (N×d), the classes or components they come from where known, and how they were prepared."""

    name: str
    samples: Float[np.ndarray, "N d"]
    labels: Int[np.ndarray, " N"] | None
    truth: Mixture | None
    preparation: str


@dataclass(frozen=True)
class _Bundled:
    load: str  # of sklearn.datasets
    components: int
    principal_components: int | None  # kept by default; None keeps all dimensions
    standardise: bool  # columns in different units are first divided by their standard deviations


BUNDLED = {
    "iris": _Bundled("load_iris", 3, None, True),
    "wine": _Bundled("load_wine", 3, None, True),
    "digits": _Bundled("load_digits", 10, 7, False),
}
PREPARATION = (
    "Real data (iris, wine, digits) is centred; columns in different units (iris, wine) are divided by their standard "
    "deviations; --dim keeps that many principal components (digits: 7 unless given); then every column is divided by "
    "its root-mean-square distance from the centres of k-means with K clusters, so that the noise is about unit. "
    "Files are taken as they are."
)


def load_bundled(
    name: str,
    components: int,
    dim: int | None,
    count: int | None,
    rng: np.random.Generator,
    centred: bool = True,
    classes: int | None = None,
) -> Dataset:
    """A data set that scikit-learn ships, prepared as PREPARATION says; `count` takes a random subset.

    `centred` False adds the mean again, transformed like the samples: the spectral method needs independent means.
    `classes` keeps the samples of the first so many classes only.

    Raises
    ------
    InputError
        If `dim`, `count` or `components` exceed what the data set has.
    """
    from sklearn import cluster, datasets

    bundled = BUNDLED[name]
    loaded = getattr(datasets, bundled.load)()
    x = np.asarray(loaded.data, dtype=np.float64)
    labels = np.asarray(loaded.target, dtype=np.int64)
    if classes is not None:
        x, labels = x[labels < classes], labels[labels < classes]
    if count is not None:
        if not 1 <= count <= len(x):
            raise InputError(f"--samples is {count}; {name} has {len(x)} samples")
        chosen = rng.permutation(len(x))[:count]
        x, labels = x[chosen], labels[chosen]
    if not 1 <= components <= len(x):
        raise InputError(f"there are {components} components but only {len(x)} samples; K must be at most N")
    mean = x.mean(axis=0)
    x = x - mean
    if bundled.standardise:
        scale = _scale(x.std(axis=0), np.abs(loaded.data).max(axis=0))
        x, mean = x / scale, mean / scale
    kept = dim if dim is not None else bundled.principal_components
    if kept is not None:
        if not 1 <= kept <= x.shape[1]:
            raise InputError(f"--dim is {kept}; {name} has {x.shape[1]} dimensions")
        _, _, directions = np.linalg.svd(x, full_matrices=False)
        if kept > len(directions):
            raise InputError(f"--dim is {kept}; {len(x)} samples have {len(directions)} principal components")
        x, mean = x @ directions[:kept].T, directions[:kept] @ mean
    clusters = cluster.KMeans(components, n_init=10, random_state=0).fit(x)
    residual = x - clusters.cluster_centers_[clusters.labels_]
    scale = _scale(np.sqrt((residual**2).mean(axis=0)), x.std(axis=0))
    x = x / scale if centred else x / scale + mean / scale
    steps = ["centred" if centred else "not centred"]
    steps += ["divided by standard deviations"] if bundled.standardise else []
    steps += [f"first {kept} principal components"] if kept is not None else []
    steps += ["scaled by the k-means residual to about unit noise"]
    return Dataset(name, x, labels, None, ", ".join(steps))


def load_synthetic(components: int, dim: int, count: int, separation: float, rng: np.random.Generator) -> Dataset:
    """A random mixture with smallest mean distance `separation`, and N samples of it."""
    truth = random_mixture(dim, components, separation, rng)
    samples, labels = sample(truth, count, rng)
    preparation = f"drawn from a mixture with smallest distance {separation:g} between means"
    return Dataset("synthetic", samples, labels, truth, preparation)


def load_file(path: Path) -> Dataset:
    """N×d numbers from a .csv (header optional) or .npy file, taken as they are; InputError as read_samples says."""
    if path.suffix not in SUFFIXES:
        raise InputError(f"--data is {str(path)!r}; it must be iris, wine, digits, synthetic, a .csv or a .npy file")
    return Dataset(str(path), read_samples(path), None, None, "taken as it is")


def load_start(init: str, components: int, samples: Float[np.ndarray, "N d"], rng: np.random.Generator) -> Mixture:
    """Initial parameters: k-means++ means among the samples with equal weights, or a JSON file.

    Raises
    ------
    InputError
        If the file is missing or is not {"weights": [K numbers], "means": [K lists of d numbers]}.
    """
    if init == "kmeans++":
        if not 1 <= components <= len(samples):
            raise InputError(f"there are {components} components but only {len(samples)} samples; K must be at most N")
        from sklearn.cluster import kmeans_plusplus

        means, _ = kmeans_plusplus(samples, components, random_state=int(rng.integers(2**31)))
        return Mixture(np.full(components, 1 / components), means)
    start = read_mixture(Path(init))
    if len(start.weights) != components:
        raise InputError(f"--init has {len(start.weights)} components but --components is {components}")
    return start


def read_mixture(path: Path) -> Mixture:
    """Weights and means from a JSON file, checked for their kinds and shapes only."""
    if not path.is_file():
        raise InputError(f"--init is {str(path)!r}; it must be kmeans++ or an existing JSON file")
    names = ("weights", "means")
    content = strict_json.fields(strict_json.read(path), repr(str(path)), names)
    weights, means = (strict_json.numbers(content[name], f"{str(path)!r}: {name}") for name in names)
    if weights.ndim != 1 or means.ndim != 2 or len(weights) != len(means):
        raise InputError(
            f"{str(path)!r} has weights of shape {weights.shape} and means of shape {means.shape}; "
            "(K,) and (K, d) are needed"
        )
    return Mixture(weights, means)


def _scale(noise: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """What to divide columns by: their noise, or 1 where it is nothing but rounding."""
    return np.where(noise > 1e-9 * spread, noise, 1.0)
