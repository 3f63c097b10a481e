"""Algorithm 1: tasks drawn from a distribution over mixtures, many at once, and task sets frozen to a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError

from constructions.algorithms.sampling import random_mixture
from constructions.errors import InputError
from tgmm.mixtures import Mixtures

FORMAT = "tgmm tasks 1"
MOST_REJECTED = 100_000
"""Draws of K means in a row, none of them accepted, after which a distribution counts as empty."""
MOST_PROPOSED = 2**22
"""Numbers held at a time while means are proposed, of the means and of their cosines each."""
LARGEST_DIM, LARGEST_COMPONENTS, LARGEST_SAMPLES = 4096, 64, 2**20


@dataclass(frozen=True)
class TaskDistribution:
    """The distributions of Algorithm 1 (section 3.1) and of the tasks that depart from it.

    K is uniform on `components`, n on the integers between the two of `samples`. Means are uniform on
    [−mean_range, mean_range]^d, drawn again while two of them have a cosine above `max_cosine`; weights uniform on
    `weights`, then normalised. `anisotropic`: scales σ_k = softplus(u), u uniform on [−1, 1]^d (equation 25), else 1.
    `perturbation` σ_p: N(0, σ_p² I) is added to every mean that was accepted (RQ2). `separation`: 0, or the least
    distance of two means, which are then not drawn as above but lie on a randomly rotated grid of that spacing.
    """

    dim: int = 2
    components: tuple[int, ...] = (2, 3, 4, 5)
    samples: tuple[int, int] = (64, 128)
    mean_range: float = 5.0
    max_cosine: float = 0.8
    weights: tuple[float, float] = (0.2, 0.8)
    anisotropic: bool = False
    perturbation: float = 0.0
    separation: float = 0.0

    def __post_init__(self) -> None:
        least, most = self.samples
        for name, wrong, limit in (
            ("dim", not 1 <= self.dim <= LARGEST_DIM, f"between 1 and {LARGEST_DIM}"),
            (
                "components",
                not self.components or not all(1 <= k <= LARGEST_COMPONENTS for k in self.components),
                f"numbers between 1 and {LARGEST_COMPONENTS}",
            ),
            ("components", len(set(self.components)) < len(self.components), "numbers that differ"),
            ("samples", not 1 <= least <= most <= LARGEST_SAMPLES, f"1 <= least <= most <= {LARGEST_SAMPLES}"),
            ("mean_range", not 1e-6 <= self.mean_range <= 1e6, "between 1e-6 and 1e6"),
            ("max_cosine", not -1 <= self.max_cosine <= 1, "between -1 and 1"),
            ("weights", not 0 < self.weights[0] <= self.weights[1] <= 1, "0 < least <= most <= 1"),
            ("perturbation", not 0 <= self.perturbation <= 1e6, "between 0 and 1e6"),
            ("separation", not 0 <= self.separation <= 1e6, "between 0 and 1e6"),
        ):
            if wrong:
                raise InputError(f"{name} is {getattr(self, name)}; it must be {limit}")


@dataclass(frozen=True)
class Tasks:
    """B tasks, padded to the largest K and n of their distribution.

    `samples` (B, N, d) are 0 where `mask` (B, N) is False; `labels` (B, N), the components they came from, are −1
    there. `truth` has weights and means 0 and scales 1 beyond a task's own K, which `components` (B,) names.
    """

    samples: Float[np.ndarray, "B N d"]
    mask: Bool[np.ndarray, "B N"]
    labels: Int[np.ndarray, "B N"]
    components: Int[np.ndarray, " B"]
    truth: Mixtures

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: slice | np.ndarray) -> Tasks:
        return Tasks(
            self.samples[index], self.mask[index], self.labels[index], self.components[index], self.truth[index]
        )

    def alike(self) -> Iterator[tuple[int, np.ndarray]]:
        """Each K that occurs, with the indices of its tasks."""
        for k in np.unique(self.components):
            yield int(k), np.flatnonzero(self.components == k)


def held_out(seed: int) -> np.random.Generator:
    """A stream for tasks that are tested on: none that a training step draws from, whose streams have no spawn key."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))


def draw(distribution: TaskDistribution, count: int, rng: np.random.Generator) -> Tasks:
    """Draw `count` tasks (Algorithm 1).

    Raises
    ------
    InputError
        If hardly any draw of K means meets the cosine limit, as for three means in dimension 1.
    """
    largest, most = max(distribution.components), distribution.samples[1]
    components = rng.choice(np.array(distribution.components), size=count)
    weights, means = np.zeros((count, largest)), np.zeros((count, largest, distribution.dim))
    for k in distribution.components:
        alike = np.flatnonzero(components == k)
        means[alike, :k] = _means(distribution, len(alike), k, rng)
        drawn = rng.uniform(*distribution.weights, size=(len(alike), k))
        weights[alike, :k] = drawn / drawn.sum(axis=1, keepdims=True)
    present = np.arange(largest) < components[:, None]
    if distribution.perturbation:
        means += present[..., None] * distribution.perturbation * rng.standard_normal(means.shape)
    scales = np.ones_like(means)
    if distribution.anisotropic:
        softplus = np.logaddexp(0, rng.uniform(-1, 1, size=means.shape))
        scales = np.where(present[..., None], softplus, scales)
    sizes = rng.integers(distribution.samples[0], most, size=count, endpoint=True)
    mask = np.arange(most) < sizes[:, None]
    labels = _labels(weights, most, components, rng)
    task = np.arange(count)[:, None]
    samples = means[task, labels] + scales[task, labels] * rng.standard_normal((count, most, distribution.dim))
    return Tasks(
        np.where(mask[..., None], samples, 0.0),
        mask,
        np.where(mask, labels, -1),
        components,
        Mixtures(weights, means, scales),
    )


def _means(distribution: TaskDistribution, count: int, k: int, rng: np.random.Generator) -> Float[np.ndarray, "B K d"]:
    """Accepted draws: whole tasks are drawn again, so that the accepted ones are uniform under the condition."""
    if distribution.separation:
        grids = [random_mixture(distribution.dim, k, distribution.separation, rng).means for _ in range(count)]
        return np.array(grids).reshape(count, k, distribution.dim)
    accepted: list[np.ndarray] = []
    missing, rejected, share = count, 0, 1.0
    while missing > 0:
        proposed = min(int(1.2 * missing / share) + 8, MOST_PROPOSED // (k * max(k, distribution.dim)))
        drawn = rng.uniform(-distribution.mean_range, distribution.mean_range, size=(proposed, k, distribution.dim))
        good = drawn[_largest_cosine(drawn) <= distribution.max_cosine][:missing]
        accepted.append(good)
        missing -= len(good)
        rejected = 0 if len(good) else rejected + proposed
        share = max(len(good) / proposed, 1e-3)
        if rejected > MOST_REJECTED:
            raise InputError(
                f"components is {k} and dim is {distribution.dim}: of {rejected} draws of {k} means none had all "
                f"cosines at most max_cosine = {distribution.max_cosine:g}; fewer components or more dimensions are "
                "needed"
            )
    return np.concatenate(accepted) if accepted else np.zeros((0, k, distribution.dim))


def _largest_cosine(means: Float[np.ndarray, "B K d"]) -> Float[np.ndarray, " B"]:
    """The largest ⟨μ_j, μ_k⟩/(‖μ_j‖‖μ_k‖) of two means; −1 for a single mean."""
    unit = means / np.linalg.norm(means, axis=2, keepdims=True)
    cosines = unit @ np.swapaxes(unit, 1, 2)
    diagonal = np.arange(means.shape[1])
    cosines[:, diagonal, diagonal] = -1.0
    return np.asarray(cosines.max(axis=(1, 2)))


def _labels(
    weights: Float[np.ndarray, "B K"], count: int, components: Int[np.ndarray, " B"], rng: np.random.Generator
) -> Int[np.ndarray, "B N"]:
    """Components by inversion: how many of the partial sums of π a uniform number exceeds."""
    uniform = rng.random((len(weights), count))
    labels = np.zeros((len(weights), count), dtype=np.int64)
    for partial in np.cumsum(weights, axis=1).T:
        labels += uniform >= partial[:, None]
    return np.minimum(labels, components[:, None] - 1)  # the last partial sum may be rounded below 1


@dataclass(frozen=True)
class TaskSet:
    """Tasks with what reproduces them: drawn anew from the distribution and the seed they are the same."""

    distribution: TaskDistribution
    seed: int
    tasks: Tasks

    @classmethod
    def drawn(cls, distribution: TaskDistribution, count: int, seed: int) -> TaskSet:
        """`count` tasks from the held-out stream of this seed."""
        return cls(distribution, seed, draw(distribution, count, held_out(seed)))

    def serialise(self) -> bytes:
        """A safetensors file: the arrays, and the distribution and seed as one JSON text."""
        tasks = self.tasks
        arrays = {
            "samples": tasks.samples,
            "mask": tasks.mask,
            "labels": tasks.labels,
            "components": tasks.components,
            "weights": tasks.truth.weights,
            "means": tasks.truth.means,
            "scales": tasks.truth.scales,
        }
        entry = {"format": FORMAT, "seed": self.seed, "distribution": asdict(self.distribution)}
        return safetensors.numpy.save(
            {name: np.ascontiguousarray(array) for name, array in arrays.items()}, {"tgmm": json.dumps(entry)}
        )


def read(path: Path) -> TaskSet:
    """A frozen task set; an InputError says what is wrong with the file."""
    if not path.is_file():
        raise InputError(f"there is no file {str(path)!r}")
    try:
        with safetensors.safe_open(path, "numpy") as file:
            entry: dict[str, Any] = json.loads((file.metadata() or {}).get("tgmm", "{}"))
            if entry.get("format") != FORMAT:
                raise ValueError(f"its format is {entry.get('format')!r}; {FORMAT!r} is needed")
            distribution = _stored(entry["distribution"])
            layout = _layout(distribution, len(file.get_tensor("components")))
            array = {name: file.get_tensor(name) for name in layout}
        for name, (kind, shape) in layout.items():
            if (array[name].dtype, array[name].shape) != (kind, shape):
                raise ValueError(
                    f"{name} is {array[name].dtype} of shape {array[name].shape}; {np.dtype(kind)} of {shape} is needed"
                )
        _require_consistent(distribution, array)
        truth = Mixtures(array["weights"], array["means"], array["scales"])
        tasks = Tasks(array["samples"], array["mask"], array["labels"], array["components"], truth)
        return TaskSet(distribution, int(entry["seed"]), tasks)
    except (SafetensorError, AttributeError, LookupError, TypeError, ValueError, OSError) as error:
        raise InputError(f"{str(path)!r} is not a task set: {str(error).splitlines()[0]}") from error


def _stored(entry: dict[str, Any]) -> TaskDistribution:
    """JSON has lists where the distribution has tuples."""
    tuples: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
    return TaskDistribution(**tuples)


def _require_consistent(distribution: TaskDistribution, array: dict[str, np.ndarray]) -> None:
    """A ValueError if no task of the distribution has such numbers."""
    components, labels, mask, weights = (array[name] for name in ("components", "labels", "mask", "weights"))
    counts = mask.sum(axis=1)
    own = np.arange(weights.shape[1]) < components[:, None]
    for wrong, what in (
        (not len(components), "it holds no task"),
        (not np.isin(components, distribution.components).all(), "a task's K is none of the distribution's"),
        (not (counts >= distribution.samples[0]).all(), "a task has fewer samples than the distribution says"),
        (not np.array_equal(mask, np.arange(mask.shape[1]) < counts[:, None]), "a task's samples are not its first"),
        (
            not np.where(mask, (labels >= 0) & (labels < components[:, None]), labels == -1).all(),
            "a sample's label is none of its task's components",
        ),
        (not all(np.isfinite(each).all() for each in array.values()), "it holds numbers that are not finite"),
        (not np.where(own, weights > 0, weights == 0).all(), "a weight is not positive, or beyond its task's K"),
        (not (array["scales"] > 0).all(), "a scale is not positive"),
    ):
        if wrong:
            raise ValueError(what)


def _layout(distribution: TaskDistribution, count: int) -> dict[str, tuple[type, tuple[int, ...]]]:
    """The kind of number and the shape of every array of a file."""
    most, largest, dim = distribution.samples[1], max(distribution.components), distribution.dim
    return {
        "samples": (np.float64, (count, most, dim)),
        "mask": (np.bool_, (count, most)),
        "labels": (np.int64, (count, most)),
        "components": (np.int64, (count,)),
        "weights": (np.float64, (count, largest)),
        "means": (np.float64, (count, largest, dim)),
        "scales": (np.float64, (count, largest, dim)),
    }
