"""EM to convergence for many tasks at once, from several kinds of start, once or the best of some restarts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from constructions.algorithms import diagonal_em
from constructions.algorithms.em import log_em_step
from tgmm.baselines.starts import Starts
from tgmm.mixtures import Mixtures

Samples = Float[np.ndarray, "B N d"]
Parameters = tuple[Float[np.ndarray, "B K"], Float[np.ndarray, "B K d"], Float[np.ndarray, "B K d"]]
"""(log π, μ, σ). With log π in the place of π a component that loses all its weight keeps finite parameters."""
Step = Callable[[Float[np.ndarray, "B N d"], Parameters], Parameters]

CHANGE, STEPS = 1e-8, 500
"""A task stops when no parameter (π_k, μ_ka, σ_ka) changes by this much in a step, or after so many steps."""
BLOCK = 2**20
"""Numbers in the responsibilities of the tasks that are worked on together."""


def isotropic_step(samples: Samples, parameters: Parameters) -> Parameters:
    """An exact EM step for unit covariances."""
    log_weights, means, scales = parameters
    return *log_em_step(samples, log_weights, means), scales


def anisotropic_step(samples: Samples, parameters: Parameters) -> Parameters:
    """An exact EM step for diagonal covariances with scales of at least diagonal_em.LEAST_SCALE."""
    return diagonal_em.log_em_step(samples, *parameters)


def from_means(means: Float[np.ndarray, "B K d"]) -> Parameters:
    """The start with these means, equal weights and scales 1."""
    return np.full(means.shape[:2], -np.log(means.shape[1])), means, np.ones_like(means)


def mixtures(parameters: Parameters) -> Mixtures:
    """The same with weights for logarithms."""
    log_weights, means, scales = parameters
    return Mixtures(np.exp(log_weights), means, scales)


def iterate(samples: Samples, start: Parameters, step: Step, change: float, most_steps: int) -> Parameters:
    """What each task has after the first step that changes no parameter by `change` or more, or after `most_steps`.

    Tasks that have stopped leave the batch, so that the cost is that of the slow ones. A task whose parameters become
    NaN counts as stopped, and NaN is its estimate.
    """
    result = _at(start, slice(None))
    block = max(1, BLOCK // (samples.shape[1] * start[0].shape[1]))
    for first in range(0, len(samples), block):
        places = np.arange(len(samples))[first : first + block]
        x, now = samples[places], _at(start, places)
        for left in reversed(range(most_steps)):
            after = step(x, now)
            moving = (_change(now, after) >= change) & (left > 0)  # False for NaN
            if not moving.all():
                for whole, part in zip(result, after, strict=True):
                    whole[places] = part  # of those still moving, for the time being
                x, places, after = x[moving], places[moving], _at(after, moving)
            if not len(places):
                break
            now = after
    return result


def _at(parameters: Parameters, index: slice | np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A copy of the parameters of some tasks."""
    log_weights, means, scales = (part[index].copy() for part in parameters)
    return log_weights, means, scales


def _change(before: Parameters, after: Parameters) -> Float[np.ndarray, " B"]:
    """The largest absolute change of a parameter of each task."""
    weights = np.abs(np.exp(after[0]) - np.exp(before[0])).max(axis=1)
    others = [np.abs(new - old).max(axis=(1, 2)) for old, new in zip(before[1:], after[1:], strict=True)]
    return np.max([weights, *others], axis=0)


def estimate(
    samples: Samples, components: int, rng: np.random.Generator, starts: Starts, step: Step, restarts: int = 1
) -> Mixtures:
    """EM to convergence from `starts`; of several runs, each task's one of the largest average log-likelihood."""
    best, level = _run(samples, components, rng, starts, step)
    for _ in range(restarts - 1):
        run, likelihood = _run(samples, components, rng, starts, step)
        better = (likelihood > level) | np.isnan(level)
        for whole, part in zip((*best, level), (*run, likelihood), strict=True):
            whole[better] = part[better]
    return mixtures(best)


def _run(
    samples: Samples, components: int, rng: np.random.Generator, starts: Starts, step: Step
) -> tuple[Parameters, Float[np.ndarray, " B"]]:
    """One run and its average log-likelihoods."""
    end = iterate(samples, from_means(starts(samples, components, rng)), step, CHANGE, STEPS)
    return end, diagonal_em.average_log_likelihood(samples, *end)
