"""Samples to run on: data sets that scikit-learn ships, synthetic mixtures, the user's files."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from constructions import sample_files, strict_json
from constructions.algorithms.sampling import Mixture, random_mixture, sample
from constructions.errors import InputError, meant
from constructions.preparation import Affine, centre, unit_noise


@dataclass(frozen=True)
class Dataset:
    """Samples (N×d), the classes or components they come from where known, and how they were prepared."""

    name: str
    samples: Float[np.ndarray, "N d"]
    labels: Int[np.ndarray, " N"] | None
    truth: Mixture | None
    preparation: str
    affine: Affine | None = None  # of a file that was not taken as it is


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
    "Files are taken as they are; with --scale unit-noise they are prepared like iris and wine."
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
    from sklearn import datasets

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
    kept = dim if dim is not None else bundled.principal_components
    x, _, steps = unit_noise(x, components, kept, bundled.standardise, centred, name)
    return Dataset(name, x, labels, None, ", ".join(steps))


def load_synthetic(components: int, dim: int, count: int, separation: float, rng: np.random.Generator) -> Dataset:
    """A random mixture with smallest mean distance `separation`, and N samples of it."""
    truth = random_mixture(dim, components, separation, rng)
    samples, labels = sample(truth, count, rng)
    preparation = f"drawn from a mixture with smallest distance {separation:g} between means"
    return Dataset("synthetic", samples, labels, truth, preparation)


def add_file_options(parser: argparse.ArgumentParser, centre: bool = True) -> None:
    """How a file is read and prepared; `centre` False where centred samples will not do."""
    group = sample_files.add_options(parser)
    group.add_argument(
        "--scale",
        choices=("none", "unit-noise"),
        help="none (default), or unit-noise: prepared as iris and wine are, --dim too; --init and the estimates shown "
        "last are in the file's units",
    )
    if centre:
        group.add_argument("--centre", action="store_true", help="subtract the mean")


def refuse_file_options(options: argparse.Namespace) -> None:
    """InputError for an option that only a file has."""
    named = sample_files.given(options) + [f"--{name}" for name in ("scale", "centre") if getattr(options, name, None)]
    if named:
        raise InputError(f"{named[0]} applies to files only, not to --data {options.data}")


def load_file(options: argparse.Namespace, components: int, centred: bool = True, bundled: bool = True) -> Dataset:
    """A file's samples, taken as they are unless --scale or --centre say otherwise.

    `centred` False: unit noise without centring; `bundled`: whether --data could have been a name too. Raises
    InputError as `read_table` and `unit_noise` do.
    """
    source, dim = str(options.data), getattr(options, "dim", None)
    if bundled:
        require_source(source)
    scaled = options.scale == "unit-noise"
    if dim is not None and not scaled:
        raise InputError(f"--dim {dim} does not apply to a file that is taken as it is; --scale unit-noise allows it")
    table = sample_files.read_table(source, options.columns, options.drop_missing, options.header)
    name = "standard input" if source == "-" else source
    if scaled:
        x, affine, steps = unit_noise(table.values, components, dim, True, centred, repr(name))
    elif getattr(options, "centre", False):
        (x, affine), steps = centre(table.values, repr(name)), ["centred"]
    else:
        x, affine, steps = table.values, None, ["taken as it is"]
    return Dataset(name, x, None, None, "; ".join([", ".join(steps), *table.notes]), affine)


def require_source(source: str) -> None:
    """InputError for what is neither a data set's name, -, nor looks like a file or is one."""
    if source != "-" and not re.search(r"[/.]", source) and not Path(source).exists():
        known = (*BUNDLED, "synthetic")
        raise InputError(f"--data is {source!r}{meant(source, known)}; it is {', '.join(known)}, - or a file")


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
        near = meant(str(path), ("kmeans++",))
        raise InputError(f"--init is {str(path)!r}; it must be kmeans++ or an existing JSON file{near}")
    names = ("weights", "means")
    content = strict_json.fields(strict_json.read(path), repr(str(path)), names)
    weights, means = (strict_json.numbers(content[name], f"{str(path)!r}: {name}") for name in names)
    if weights.ndim != 1 or means.ndim != 2 or len(weights) != len(means):
        raise InputError(
            f"{str(path)!r} has weights of shape {weights.shape} and means of shape {means.shape}; "
            "(K,) and (K, d) are needed"
        )
    return Mixture(weights, means)
