"""Mixture tasks to check on: a grid over d, K, N, real data, and adversarial ones by hypothesis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from jaxtyping import Float

from constructions.algorithms.sampling import Mixture, random_mixture, sample
from constructions.datasets import load_bundled, load_start

DIMS = (1, 2, 3, 5, 7, 13)
COMPONENTS = (2, 3, 5, 7)


@dataclass(frozen=True)
class Task:
    """Samples and initial parameters, with a name that says how to get them again."""

    name: str
    samples: Float[np.ndarray, "N d"]
    start: Mixture


def grid(
    rng: np.random.Generator,
    radius: float,
    dims: tuple[int, ...] = DIMS,
    components: tuple[int, ...] = COMPONENTS,
    counts: tuple[int, ...] = (0, 29, 211),
) -> Iterator[Task]:
    """Overlapping mixtures (separation 2) with contested points midway between means; N = 0 stands for N = K.

    Samples outside the class's radius are drawn in to it, so that every task belongs to the class.
    """
    for dim in dims:
        for k in components:
            for count in counts:
                yield overlapping(f"grid d={dim} K={k} N={count or k}", dim, k, count or k, radius, rng)


def overlapping(name: str, dim: int, k: int, count: int, radius: float, rng: np.random.Generator) -> Task:
    """A third of the samples lies midway between two means: there a broken M-step is seen."""
    mixture = random_mixture(dim, k, 2.0, rng)
    samples, _ = sample(mixture, count, rng)
    for i in range(0, count, 3):
        first, second = rng.choice(k, size=2, replace=False)
        samples[i] = (mixture.means[first] + mixture.means[second]) / 2 + 0.1 * rng.standard_normal(dim)
    start = Mixture(np.full(k, 1 / k), mixture.means + 0.3 * rng.standard_normal((k, dim)))
    return Task(name, within(samples, radius), Mixture(start.weights, within(start.means, radius)))


def real_data() -> Iterator[Task]:
    """The data sets that scikit-learn ships, prepared and started as the demo does."""
    for name, components in (("iris", 3), ("wine", 3), ("digits", 10)):
        rng = np.random.default_rng(0)
        data = load_bundled(name, components, None, None, rng)
        yield Task(name, data.samples, load_start("kmeans++", components, data.samples, rng))


def lone_owner(count: int) -> Task:
    """All samples but one at 0, that one at 8 and almost alone in its component: the worst case of the floor."""
    samples = np.zeros((count, 1))
    samples[-1] = 8.0
    return Task(f"lone owner N={count}", samples, Mixture(np.array([0.5, 0.5]), np.array([[0.0], [8.0]])))


@st.composite
def adversarial(draw: st.DrawFn, radius: float, min_weight: float) -> Task:
    """Duplicated points, far outliers, tiny weights, coincident means, N = K, contested points: any mix of them."""
    dim, k = draw(st.sampled_from((1, 2, 3))), draw(st.sampled_from((2, 3, 5)))
    count = k * draw(st.sampled_from((1, 2, 5, 11)))
    reach = radius / np.sqrt(dim)
    coordinate = st.floats(-reach, reach, allow_subnormal=False).map(lambda value: round(value, 3))
    point = st.lists(coordinate, min_size=dim, max_size=dim)
    means = np.array(draw(st.lists(point, min_size=k, max_size=k)))
    if draw(st.booleans()):
        means *= 0.2  # close means: contested responsibilities
    if draw(st.booleans()):
        means[1] = means[0]
    pool = [*means, means[:2].mean(axis=0), *(np.array(p) for p in draw(st.lists(point, min_size=1, max_size=4)))]
    if draw(st.booleans()):
        pool.append(np.full(dim, reach))  # an outlier on the class's sphere
    chosen = draw(st.lists(st.integers(0, len(pool) - 1), min_size=count, max_size=count))
    samples = np.array([pool[index] for index in chosen])
    share = np.array(draw(st.lists(st.floats(-6, 0), min_size=k, max_size=k)))
    weights = np.exp(share) / np.exp(share).sum()
    if draw(st.booleans()):
        weights = np.maximum(weights, min_weight)
        weights /= weights.sum()
    start = Mixture(weights, within(means, radius))
    name = f"adversarial samples={samples.tolist()} weights={weights.tolist()} means={start.means.tolist()}"
    return Task(name, within(samples, radius), start)


def within(points: np.ndarray, radius: float) -> np.ndarray:
    """Points outside the ball are moved radially to just inside it."""
    norms = np.linalg.norm(points, axis=1, keepdims=True)
    return points * np.minimum(1.0, (1 - 1e-12) * radius / np.maximum(norms, 1e-300))
