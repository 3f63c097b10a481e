"""What the layers of a trained model hold: linear probes for the E-step's and the M-step's results along exact EM.

A probe is the best linear map, with a constant, from a sample's hidden state to a target, fitted on some tasks and
judged on others by R² = 1 − Σ‖target − prediction‖²/Σ‖target − its mean‖². Targets, at step t of exact EM:

responsibilities  w_ik, k = 1 … K, components in the order of the model's own estimate;
means             μ_c(i), the current mean of the component that token i stands for: in the hand-built transformer
                  the one whose parameters the token carries, r(i); in a trained model the sample's own, the most
                  probable one under the model's estimate.

Two controls that any claim about a layer has to beat: the same probes on the read-in (layer 0), which sees one sample
and no other, and on targets that are shuffled among the samples of their task, which leaves what is common to a task.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from constructions.algorithms.em import log_em_step, log_responsibilities
from constructions.errors import InputError
from tgmm import bootstrap
from tgmm.baselines.starts import kmeans_plus_plus
from tgmm.baselines.transformer import layer_streams
from tgmm.bootstrap import Interval
from tgmm.densities import log_joint_density
from tgmm.estimation import estimate
from tgmm.metrics import assign
from tgmm.model import Tgmm
from tgmm.tasks import Tasks

STEPS = (0, 1, 2, 3, 4, 8, 20, 50)
"""Steps of exact EM whose results are probed for."""
TARGETS = ("responsibilities", "means")
CONDITION = 1e-10
"""Singular values of the hidden states below this share of the largest count as none."""


@dataclass(frozen=True)
class Probe:
    """R² on held-out tasks: the probe of a target of EM step `step` after `layer` layers (0: read-in)."""

    target: str
    layer: int
    step: int
    r2: Interval
    shuffled: Interval


Path = dict[int, tuple[Float[np.ndarray, "B K"], Float[np.ndarray, "B K d"]]]
"""Log-weights and means by step."""
Targets = dict[tuple[str, int], Float[np.ndarray, "B N T"]]
"""By target and step."""


@dataclass(frozen=True)
class Observed:
    """The states of every layer (B, N, D) on some tasks, the read-in first, and the targets on the same tasks."""

    states: list[Float[np.ndarray, "B N D"]]
    targets: Targets


def trajectory(samples: Float[np.ndarray, "B N d"], start: Float[np.ndarray, "B K d"]) -> Path:
    """Exact EM at STEPS, from these means and equal weights."""
    means = start
    log_weights = np.full(means.shape[:2], -np.log(means.shape[1]))
    kept = {}
    for step in range(max(STEPS) + 1):
        if step in STEPS:
            kept[step] = log_weights, means
        log_weights, means = log_em_step(samples, log_weights, means)
    return kept


def targets(
    samples: Float[np.ndarray, "B N d"],
    path: Path,
    own: Float[np.ndarray, "B K d"],
    component: Int[np.ndarray, "B N"],
) -> Targets:
    """Every target of every step. The components' order is that of `own` means where EM ends, along the whole path.

    `component` says, in that order, which one each token stands for.
    """
    last = path[max(path)][1]
    order = assign(((own[:, :, None] - last[:, None]) ** 2).sum(axis=3))
    found = {}
    for step, (log_weights, means) in path.items():
        w = np.exp(log_responsibilities(samples, np.exp(log_weights), means))
        found["responsibilities", step] = np.take_along_axis(w, order[:, None], axis=2)
        found["means", step] = np.take_along_axis(
            means, np.take_along_axis(order, component, axis=1)[..., None], axis=1
        )
    return found


def observe_model(model: Tgmm, tasks: Tasks, rng: np.random.Generator) -> Observed:
    """A trained model, and EM from k-means++ means: the model has no start of its own."""
    components = shared_components(tasks)
    parameter = next(model.parameters())
    held = torch.from_numpy(tasks.samples).to(parameter.device, parameter.dtype)
    index = [model.tasks.index(components)] * len(held)
    mask = torch.ones(held.shape[:2], dtype=torch.bool, device=parameter.device)
    with torch.no_grad():
        states = model.backbone.trace(model.embed(held, index), mask)  # type: ignore[operator]
    path = trajectory(tasks.samples, kmeans_plus_plus(tasks.samples, components, rng))
    own = estimate(model, tasks.samples, components)
    component = log_joint_density(own, tasks.samples).argmax(axis=2)
    found = targets(tasks.samples, path, own.means, component)
    return Observed([state.double().cpu().numpy() for state in states], found)


def observe_construction(tasks: Tasks, steps: int, rng: np.random.Generator) -> Observed:
    """The hand-built EM transformer, and EM from the start that it is given.

    It holds w after every E-step's layer, and the mean of component r(i) before it.
    """
    components = shared_components(tasks)
    kept = tasks.samples[:, : tasks.samples.shape[1] // components * components]
    start = kmeans_plus_plus(kept, components, rng)
    states = [stream.numpy() for stream in layer_streams(kept, start, steps)]
    path = trajectory(kept, start)
    carried = np.tile(np.arange(kept.shape[1]) % components, (len(kept), 1))
    return Observed(states, targets(kept, path, path[max(path)][1], carried))


def shared_components(tasks: Tasks) -> int:
    """Their K; an InputError if they differ in it or have missing samples."""
    components = np.unique(tasks.components)
    if len(components) != 1:
        raise InputError(f"the tasks have {', '.join(map(str, components))} components; all need the same K")
    counts = tasks.mask.sum(axis=1)
    if counts.min() < tasks.mask.shape[1]:
        raise InputError(f"the tasks have {counts.min()} to {counts.max()} samples; all need the same number")
    return int(components[0])


def probes(fitted: Observed, judged: Observed, rng: np.random.Generator) -> list[Probe]:
    """Every probe of every layer, fitted on some tasks and judged on others."""
    found = []
    shuffled = [_shuffled(observed.targets, rng) for observed in (fitted, judged)]
    for layer, (states, held_out) in enumerate(zip(fitted.states, judged.states, strict=True)):
        fit = _Fit(states)
        for key in fitted.targets:
            r2 = fit.r2(fitted.targets[key], held_out, judged.targets[key])
            control = fit.r2(shuffled[0][key], held_out, shuffled[1][key])
            found.append(Probe(key[0], layer, key[1], r2, control))
    return found


def _shuffled(targets: Targets, rng: np.random.Generator) -> Targets:
    """The targets in another order of the samples of each task, the same for all."""
    batch, count, _ = next(iter(targets.values())).shape
    order = rng.permuted(np.tile(np.arange(count), (batch, 1)), axis=1)
    return {key: np.take_along_axis(values, order[..., None], axis=1) for key, values in targets.items()}


class _Fit:
    """Least squares on the states of some tasks, factorised once for all targets."""

    def __init__(self, states: Float[np.ndarray, "B N D"]) -> None:
        self.inverse = np.linalg.pinv(_with_one(states), rcond=CONDITION)

    def r2(
        self, fitted: Float[np.ndarray, "B N T"], states: Float[np.ndarray, "b N D"], judged: Float[np.ndarray, "b N T"]
    ) -> Interval:
        """R² on the tasks that are judged; its interval resamples them."""
        weights = self.inverse @ fitted.reshape(-1, fitted.shape[2])
        residual = judged - (_with_one(states) @ weights).reshape(judged.shape)
        spread = judged - judged.mean(axis=(0, 1))
        lost = bootstrap.ratio((residual**2).sum(axis=(1, 2)), (spread**2).sum(axis=(1, 2)))
        return Interval(1 - lost.value, 1 - lost.high, 1 - lost.low, lost.tasks, lost.excluded)


def _with_one(states: Float[np.ndarray, "B N D"]) -> Float[np.ndarray, "BN D1"]:
    flat = states.reshape(-1, states.shape[2])
    return np.concatenate([flat, np.ones((len(flat), 1))], axis=1)
