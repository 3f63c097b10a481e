"""Algorithm B.1: the reference that the EM transformer is compared with, against loops over samples and components."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import flint
import numpy as np
import torch
from scipy.special import log_softmax

from constructions import bounds
from constructions.algorithms import ball_em, em
from constructions.balls import fill, largest, norm, to_balls
from constructions.rounding_error import allowance
from constructions.weights import Array
from theory_checks import instances
from theory_checks.enclosures import decided, enclose, equal
from theory_checks.instances import Task
from theory_checks.ledger import Verdict, statement

Floats = Callable[[Array, Array, Array], tuple[Array, Array]]
Balls = Callable[[Array, Array, Array], tuple[Array, Array]]
BELOW = 1 - 2.0**-40  # the allowance is evaluated in floats: lowered by more than that can be off


def literal_step(x: Array, weights: list[flint.arb], means: Array) -> tuple[list[flint.arb], list[list[flint.arb]]]:
    """One EM step from its definition: w_ik = π_k φ(x_i; μ_k)/Σ_l π_l φ(x_i; μ_l), new weights and means."""
    w = []
    for sample in x:
        densities = []
        for weight, mean in zip(weights, means, strict=True):
            square = flint.arb(0)
            for a in range(len(sample)):
                square += (sample[a] - mean[a]) * (sample[a] - mean[a])
            densities.append(weight * (-square / 2).exp() / (2 * flint.arb.pi()) ** (flint.arb(len(sample)) / 2))
        total = sum(densities, flint.arb(0))
        w.append([density / total for density in densities])
    new_weights, new_means = [], []
    for k in range(len(means)):
        total = sum((shares[k] for shares in w), flint.arb(0))
        new_weights.append(total / len(x))
        mean = []
        for a in range(x.shape[1]):
            mean.append(sum((w[i][k] * x[i][a] for i in range(len(x))), flint.arb(0)) / total)
        new_means.append(mean)
    return new_weights, new_means


@statement(
    "algorithm-b1",
    source="Algorithm B.1, EM for Gaussian mixtures",
    text="recovered",
    evidence="certified",
    paper=("Algorithm B.1",),
    note="definitions",
)
def algorithm_b1(
    rng: np.random.Generator, *, floats: Floats = em.em_step, balls: Balls = ball_em.em_step
) -> Iterator[Verdict]:
    """The reference's E- and M-step in balls equal those written with the densities φ(x_i; μ_k), to half of the digits;
    in float64 they differ from them by at most the rounding allowance. On drawn data sets, d up to 5, K up to 7.
    """
    for task in instances.grid(rng, 4.0, (1, 2, 5), (2, 3, 7), (0, 29)):
        ours = floats(task.samples, task.start.weights, task.start.means)
        yield from decided(partial(judge, task, ours, balls))


def judge(task: Task, ours: tuple[Array, Array], balls: Balls) -> Iterator[Verdict]:
    """Both references on one task at the working precision."""
    x, weights, means = (to_balls(values) for values in (task.samples, task.start.weights, task.start.means))
    exact_weights, exact_means = literal_step(x, weights.tolist(), means)
    log_weights, new_means = balls(x, ball_em.logarithms(weights), means)
    for k, (log_weight, weight) in enumerate(zip(log_weights, exact_weights, strict=True)):
        yield equal(log_weight.exp(), weight, f"{task.name}: weight {k} in balls")
        for a, (entry, exact) in enumerate(zip(new_means[k], exact_means[k], strict=True)):
            yield equal(entry, exact, f"{task.name}: mean {k}, {a} in balls")
    diameter, _ = bounds.diameter(task.samples)
    smallest = float(min(task.start.weights.min(), *(weight.mid() for weight in exact_weights)))
    limit = allowance(None, task.samples, task.start.means, smallest, diameter, torch.float64)
    reached = fill((entry for mean in exact_means for entry in mean), means.shape)
    off = largest(norm(to_balls(ours[1]) - reached))
    yield enclose(off, flint.arb(limit.mean * BELOW), f"{task.name}: means in float64", trivial=flint.arb(diameter))
    pairs = zip(to_balls(ours[0]), exact_weights, strict=True)
    off = largest(abs((weight / exact).log()) for weight, exact in pairs)
    yield enclose(off, flint.arb(limit.log_weight * BELOW), f"{task.name}: weights in float64")


def _over_samples(x: Array, weights: Array, means: Array) -> tuple[Array, Array]:
    return em.m_step(x, log_softmax(em.log_joint(x, np.log(weights), means), axis=-2))


def _without_norm(x: Array, weights: Array, means: Array) -> tuple[Array, Array]:
    return em.m_step(x, log_softmax(np.log(weights) + x @ means.T, axis=-1))


def _without_norm_in_balls(x: Array, log_weights: Array, means: Array) -> tuple[Array, Array]:
    squares = (means * means).sum(axis=1) / 2
    return ball_em.em_step(x, log_weights + squares, means)


def _old_weights(x: Array, weights: Array, means: Array) -> tuple[Array, Array]:
    return weights, em.em_step(x, weights, means)[1]


def _equal_weights(x: Array, weights: Array, means: Array) -> tuple[Array, Array]:
    return em.em_step(x, np.full(len(weights), 1 / len(weights)) + 1e-9 * np.arange(len(weights)), means)


algorithm_b1.control("responsibilities normalised over the samples", floats=_over_samples)
algorithm_b1.control("|mu|^2/2 forgotten", floats=_without_norm)
algorithm_b1.control("|mu|^2/2 forgotten in balls", balls=_without_norm_in_balls)
algorithm_b1.control("the weights not updated", floats=_old_weights)
algorithm_b1.control("initial weights off by 1e-9", floats=_equal_weights)
test_algorithm_b1, test_algorithm_b1_controls = algorithm_b1.tests()
