"""Two-round EM with pruning, after Dasgupta and Schulman (JMLR 8, 2007)."""

from __future__ import annotations

from math import ceil, log

import numpy as np
from jaxtyping import Float

from tgmm.baselines.em import from_means, isotropic_step, iterate, mixtures
from tgmm.baselines.starts import distinct_samples, farthest_first
from tgmm.mixtures import Mixtures
from tgmm.tasks import TaskDistribution

Samples = Float[np.ndarray, "B N d"]


def smallest_weight(components: int) -> float:
    """0.2/(0.2 + 0.8(K−1)): the smallest weight that Algorithm 1 can draw, uniform on [0.2, 0.8] and normalised."""
    least, most = TaskDistribution.weights
    return least / (least + most * (components - 1))


def centres(components: int, count: int) -> int:
    """The l = ⌈(4/π_min) ln K⌉ centres of the first round, at least K and at most the N samples there are."""
    return min(count, max(components, ceil(4 / smallest_weight(components) * log(components))))


def two_round_em(samples: Samples, components: int, rng: np.random.Generator) -> Mixtures:
    """The first round from too many centres, pruning, the second round from K of them.

    1. l centres, distinct random samples, of weight 1/l; one EM step.
    2. Centres whose weight is now below 1/(4l) are dropped.
    3. K of the others are kept: a random one, then each time the one farthest from those kept (farthest-first). Where
       fewer than K are left, the farthest of the dropped ones complete them.
    4. From these K, of weight 1/K, one EM step.

    S. Dasgupta and L. Schulman, *A probabilistic analysis of EM for mixtures of separated, spherical Gaussians*,
    analyse such a method for d ≫ ln K. Their text was not at hand: l, the threshold and the weights of step 4 are as
    the method is commonly quoted. They estimate variances, and measure distances in their unit; here covariances are
    known to be I, as for the other methods. With N = 128 samples l is of the order of N and hardly a centre is dropped,
    because most keep the sample that they started from: the farthest-first choice does the work.
    """
    drawn = centres(components, samples.shape[1])
    start = from_means(distinct_samples(samples, drawn, rng))
    log_weights, means, _ = iterate(samples, start, isotropic_step, change=0.0, most_steps=1)
    kept = farthest_first(means, log_weights >= -log(4 * drawn), components, rng)
    start = from_means(means[np.arange(len(samples))[:, None], kept])
    return mixtures(iterate(samples, start, isotropic_step, change=0.0, most_steps=1))
