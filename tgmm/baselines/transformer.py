"""The hand-built EM transformer (section F.2) on many tasks at once: one Θ for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import log, sqrt

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from constructions import executor
from constructions.algorithms.sampling import Mixture
from constructions.em_class import TaskClass, split_tolerance
from constructions.em_transformer import EmTransformer, build, encode, pool, read_subspaces
from constructions.execution_plan import plan
from tgmm.baselines.starts import kmeans_plus_plus
from tgmm.mixtures import Mixtures
from tgmm.tasks import TaskDistribution

ESCAPE = 1e-12
"""Probability, at most, that a task as Algorithm 1 draws them (unit noise, n ≤ 128) has a sample outside the class."""
MIN_WEIGHT, TOLERANCE = 0.01, 0.01
"""π_min of the class, about one sample of 128, and the error of a mean that its networks add in one step at most."""
NUMBERS = 2**22
"""Numbers in the tokens that are evaluated together."""


def task_class(dim: int, components: int) -> TaskClass:
    """The class of Algorithm 1's tasks: d_0 = d, K_0 = max(5, K), π_min = 0.01 and, for means in [−5, 5]^d,

    B = 5√d + √d(1 + t) with n e^{−dt²/2} = ESCAPE for n = 128 (Lemma F.6): 16.5 for d = 2 and 25.0 for d = 8.
    """
    excess = sqrt(2 * log(TaskDistribution.samples[1] / ESCAPE) / dim)
    radius = sqrt(dim) * (TaskDistribution.mean_range + 1 + excess)
    return TaskClass(dim, max(components, *TaskDistribution.components), radius, MIN_WEIGHT)


@lru_cache(maxsize=4)
def em_transformer(served: TaskClass, steps: int) -> EmTransformer:
    """Θ of 2·steps layers for the class, by the floor construction in float64: a function of nothing else."""
    return build(served, split_tolerance(served, TOLERANCE, "floor"), steps)


def estimate(samples: Float[np.ndarray, "B N d"], components: int, rng: np.random.Generator, steps: int) -> Mixtures:
    """2·steps layers from k-means++ means and equal weights, read out linearly (Remark F.3).

    As its theorem requires, it keeps the first K⌊N/K⌋ samples. The weights are those of `task_class`, whatever the
    data: a task with a sample beyond B lies outside the class and gets NaN. Where a weight falls below π_min during
    the run, the theorem no longer says how accurate the steps are, and the estimate is what the layers give.

    Raises
    ------
    InputError
        If the weights for d and K are too large to build.
    """
    em = em_transformer(task_class(samples.shape[2], components), steps)
    start = kmeans_plus_plus(samples, components, rng)
    result = Mixtures.isotropic(np.full(start.shape[:2], np.nan), np.full_like(start, np.nan))
    inside = np.flatnonzero((np.linalg.norm(samples, axis=2) <= em.task_class.radius).all(axis=1))
    together = max(1, NUMBERS // (samples.shape[1] * em.stream.width))
    for first in range(0, len(inside), together):
        which = inside[first : first + together]
        for task, found in zip(which, _run(em, samples[which], start[which]), strict=True):
            result.weights[task], result.means[task] = found.weights, found.means
    return result


def _run(em: EmTransformer, samples: Float[np.ndarray, "B N d"], start: Float[np.ndarray, "B K d"]) -> list[Mixture]:
    """What the last layer holds, read out."""
    components, dim = start.shape[1:]
    tokens = _tokens(em, samples, start)
    for last in executor.trace(plan(em.transformer, tokens), tokens):  # noqa: B007 - only the last one is wanted
        pass
    parts = [last.tokens(where).double().numpy() for where in read_subspaces(em, dim, components)]
    return [pool(*part) for part in zip(*parts, strict=True)]


def layer_streams(
    samples: Float[np.ndarray, "B N d"], start: Float[np.ndarray, "B K d"], steps: int
) -> Iterator[Float[Tensor, "B N D"]]:
    """The residual stream before the first layer and after each, of EM from these means and equal weights."""
    em = em_transformer(task_class(samples.shape[2], start.shape[1]), steps)
    tokens = _tokens(em, samples, start)
    yield tokens
    for stream in executor.trace(plan(em.transformer, tokens), tokens):
        yield stream.tokens()


def _tokens(
    em: EmTransformer, samples: Float[np.ndarray, "B N d"], start: Float[np.ndarray, "B K d"]
) -> Float[Tensor, "B n D"]:
    components = start.shape[1]
    equal = np.full(components, 1 / components)
    encoded = [encode(em, x, Mixture(equal, means)) for x, means in zip(samples, start, strict=True)]
    return torch.from_numpy(np.stack(encoded)).to(em.dtype)
