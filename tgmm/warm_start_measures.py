"""What is measured of a trained EM transformer: how far its weights moved, and whether it still does EM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from constructions.algorithms.em import em, log_em_step
from constructions.em_transformer import EmTransformer
from constructions.resources import log_norm
from constructions.transformer import Transformer
from tgmm.baselines.em import CHANGE, STEPS, from_means, isotropic_step, iterate, mixtures
from tgmm.baselines.starts import kmeans_plus_plus
from tgmm.densities import log_joint_density, log_likelihood
from tgmm.metrics import align, l2_error
from tgmm.mixtures import Mixtures
from tgmm.tasks import TaskDistribution, draw
from tgmm.trainable_em import named_matrices, run, tokens

TOGETHER = 128
"""Tasks evaluated at a time."""


@dataclass(frozen=True)
class Started:
    """Tasks of one K, all of n samples, a multiple of K, with the means that every method starts from."""

    samples: Float[np.ndarray, "B n d"]
    truth: Mixtures
    start: Float[np.ndarray, "B K d"]

    @classmethod
    def drawn(
        cls, components: int, samples: int, count: int, rng: np.random.Generator, perturbation: float = 0.0
    ) -> Started:
        """`count` tasks of Algorithm 1 in d = 2 with K⌊samples/K⌋ samples, and k-means++ means for each."""
        kept = samples // components * components
        distribution = TaskDistribution(2, (components,), (kept, kept), perturbation=perturbation)
        tasks = draw(distribution, count, rng)
        return cls(tasks.samples, tasks.truth, kmeans_plus_plus(tasks.samples, components, rng))

    def restarted(self, rng: np.random.Generator) -> Started:
        """The same tasks from other k-means++ means."""
        return Started(self.samples, self.truth, kmeans_plus_plus(self.samples, self.start.shape[1], rng))

    @property
    def initial(self) -> Mixtures:
        """Equal weights and the initial means."""
        return Mixtures.isotropic(np.full(self.start.shape[:2], 1 / self.start.shape[1]), self.start)

    def exact_em(self, steps: int | None) -> Mixtures:
        """Exact EM from the start, this many steps; None: to convergence."""
        if steps is None:
            return mixtures(iterate(self.samples, from_means(self.start), isotropic_step, CHANGE, STEPS))
        return Mixtures.isotropic(*em(self.samples, self.initial.weights, self.start, steps))


@torch.no_grad()
def estimates(em: EmTransformer, model: Transformer, tasks: Started) -> list[Mixtures]:
    """The read-out after every pair of layers, of all tasks."""
    parts: list[list[tuple[np.ndarray, np.ndarray]]] = []
    for first in range(0, len(tasks.samples), TOGETHER):
        which = slice(first, first + TOGETHER)
        found = run(em, model, tokens(em, tasks.samples[which], tasks.start[which]), tasks.start.shape[1])
        parts.append([(e.log_weights.double().exp().numpy(), e.means.double().numpy()) for e in found])
    pairs = zip(*parts, strict=True)
    return [Mixtures.isotropic(*(np.concatenate(each) for each in zip(*pair, strict=True))) for pair in pairs]


@dataclass(frozen=True)
class Agreement:
    """After each pair of layers, averaged over tasks: the transformer's step against exact EM's from the same point.

    From the parameters (π, μ) that entered, the transformer makes (π̂, μ̂) and an exact step makes (π⁺, μ⁺).
    `means`: max_k ‖μ̂_k − μ_k⁺‖, in the noise's unit; `weights`: max_k |π̂_k − π_k⁺|; `moved`: max_k ‖μ_k⁺ − μ_k‖, how
    far the exact step goes; `from_start`: max_k ‖μ̂_k − μ_k‖, μ being where as many exact steps from the start have led.
    """

    means: Float[np.ndarray, " L"]
    weights: Float[np.ndarray, " L"]
    moved: Float[np.ndarray, " L"]
    from_start: Float[np.ndarray, " L"]

    @property
    def ratio(self) -> float:
        """Σ_t means / Σ_t moved: 0 for EM, 1 for a transformer that leaves the parameters as they are."""
        return float(self.means.sum() / self.moved.sum())


def agreement(tasks: Started, after_each: list[Mixtures]) -> Agreement:
    """Judge what every pair of layers left (`estimates`) as constructions/em_run.py does, many tasks at once."""
    rows = []
    entering = reference = tasks.initial
    for found in after_each:
        exact, reference = exact_step(tasks.samples, entering), exact_step(tasks.samples, reference)
        rows.append(
            (
                farthest(found.means, exact.means),
                np.abs(found.weights - exact.weights).max(axis=1).mean(),
                farthest(exact.means, entering.means),
                farthest(found.means, reference.means),
            )
        )
        entering = found
    return Agreement(*np.array(rows).T.copy())


def exact_step(samples: Float[np.ndarray, "B n d"], entering: Mixtures) -> Mixtures:
    """EM from weights of which some may have underflowed: they count as the least positive number."""
    logs = np.log(np.maximum(entering.weights, np.finfo(float).tiny))
    log_weights, means = log_em_step(samples, logs, entering.means)
    return Mixtures.isotropic(np.exp(log_weights), means)


def farthest(first: Float[np.ndarray, "B K d"], second: Float[np.ndarray, "B K d"]) -> float:
    """The average over tasks of max_k ‖first_k − second_k‖."""
    return float(np.linalg.norm(first - second, axis=2).max(axis=1).mean())


def errors(found: Mixtures, tasks: Started) -> Float[np.ndarray, " B"]:
    """The ℓ2-error of every task, components matched."""
    return l2_error(align(found, tasks.truth), tasks.truth)


def likelihood(found: Mixtures, tasks: Started) -> float:
    """The average log-likelihood of a sample under the estimates."""
    return float(log_likelihood(log_joint_density(found, tasks.samples)).mean())


def spread(first: Mixtures, second: Mixtures) -> float:
    """The ℓ2-error of one start's estimates against another's, components matched: 0 if the start is forgotten."""
    return float(l2_error(align(first, second), second).mean())


@dataclass(frozen=True)
class Movement:
    """How far a matrix went: ‖W − W₀‖/‖W₀‖ (Frobenius), its part where W₀ is 0, and operator norms before and after."""

    relative: float | None  # None where W₀ = 0
    outside: float | None  # ‖(W − W₀) restricted to the zeros of W₀‖ / ‖W − W₀‖; None where W = W₀
    norm_before: float
    norm_after: float


@torch.no_grad()
def movements(before: Transformer, after: Transformer) -> dict[str, Movement]:
    """Of every stored matrix, by its name (trainable_em.named_matrices)."""
    old: Mapping[str, Tensor] = dict(named_matrices(before))
    return {name: _movement(old[name].double(), matrix.double()) for name, matrix in named_matrices(after)}


def _movement(old: Float[Tensor, "rows columns"], new: Float[Tensor, "rows columns"]) -> Movement:
    change = new - old
    size, far = float(old.norm()), float(change.norm())
    return Movement(
        far / size if size else None,
        float(change[old == 0].norm()) / far if far else None,
        float(np.exp(log_norm(old))),
        float(np.exp(log_norm(new))),
    )
