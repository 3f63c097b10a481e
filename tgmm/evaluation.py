"""What an evaluation measures in one cell: a method on drawn tasks, every metric with its bootstrap interval."""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from constructions.errors import InputError
from tgmm import bootstrap, checkpoints
from tgmm.baselines import ANISOTROPIC_METHODS, METHODS, Estimator, em, failed
from tgmm.estimation import estimate
from tgmm.metrics import align, l2_error, score
from tgmm.mixtures import Mixtures
from tgmm.names import SHIPPED
from tgmm.tasks import TaskDistribution, TaskSet
from theory_checks.sweeps.grid import Design

HERE = Path(__file__).parent
CONFIGS, RUNS = HERE / "configs", Path("runs")
MODELS = {2: "d2", 8: "d8"}
"""The shipped model for each d."""
ORACLE = "em-truth"
"""EM to convergence from the true parameters, a local maximum that no method can look for: its error is called the
statistical error."""
REFERENCE = "em-normal"
"""What the paper's public code compares with: EM from standard-normal starts."""
TRIVIAL = "sample-mean"
"""The sample's mean for every component: where means are close, few methods are better."""
SCALES = ("unit", "diagonal")


@dataclass(frozen=True, order=True)
class Cell:
    """A method on `tasks` tasks of K components in R^d with n samples each, drawn from `seed`.

    `method`: a classical method's name, or that of a trained model's config. `perturbation`, `separation`: as a
    TaskDistribution has them. `scales`: "unit" (equation 1) or "diagonal" (equation 25).
    """

    sweep: str
    method: str
    d: int
    K: int
    n: int
    perturbation: float
    separation: float
    scales: str
    seed: int
    tasks: int

    def __str__(self) -> str:
        """What tells it from others, on one line."""
        return ", ".join(f"{name} {value}" for name, value in asdict(self).items())

    @property
    def replications(self) -> int:
        """Its results are one row: means over the tasks, with intervals."""
        return 1

    @property
    def cost(self) -> float:
        """A guess at its work."""
        return float(self.n) * self.K * self.d * self.tasks

    @property
    def distribution(self) -> TaskDistribution:
        """What its tasks are drawn from."""
        return TaskDistribution(
            dim=self.d,
            components=(self.K,),
            samples=(self.n, self.n),
            anisotropic=self.scales == "diagonal",
            perturbation=self.perturbation,
            separation=self.separation,
        )


def trained_models() -> tuple[str, ...]:
    """The names of the configs, which are those of the models that they train."""
    return tuple(sorted(path.stem for path in CONFIGS.glob("*.toml")))


def _cell(name: str, values: dict[str, Any]) -> Cell:
    cell = Cell(sweep=name, **values)
    if cell.n < cell.K:
        raise InputError(f"sweep {name!r}: K is {cell.K} and n is {cell.n}; K must not be larger than n")
    if cell.scales == "diagonal" and cell.method in METHODS and cell.method not in ANISOTROPIC_METHODS:
        raise InputError(f"sweep {name!r}: the method {cell.method!r} does not estimate scales")
    return cell


DESIGN = Design(
    Cell,
    _cell,
    choices={"method": (*METHODS, ORACLE, TRIVIAL, *trained_models()), "scales": SCALES},
    integers={
        "d": (1, 4096),
        "K": (1, 64),
        "n": (1, 2**20),
        "seed": (0, 2**63 - 1),
        "tasks": (2, 2**20),
    },
    positive={},
    nonnegative={"perturbation": 1e6, "separation": 1e6},
)

SCORED = (
    "l2_error",
    "error_of_means",
    "error_of_weights",
    "error_of_scales",
    "weight_cross_entropy",
    "log_likelihood",
    "log_likelihood_gain",  # over the truth's
    "clustering_accuracy",
)
"""Metrics of one method's estimates alone."""
METRICS = (
    *SCORED,
    "oracle_distance",  # ℓ2-error of the estimate against the oracle's, not the truth
    "error_ratio",  # of the mean ℓ2-error to that of the reference on the same tasks
)
COLUMNS: dict[str, type] = {
    **{f"{metric}{end}": float for metric in METRICS for end in ("", "_low", "_high")},
    "l2_error_median": float,
    "excluded": int,  # tasks on which the method failed: no metric counts them, but the median takes its error as ∞
    "estimation_seconds": float,  # of one processor, for all tasks together
    "checkpoint": int,  # the digest of a trained model's file; 0 for other methods
}
"""The measured columns: means over tasks and the ends of their 95 % intervals."""


def measure(cell: Cell) -> list[dict[str, float | int]]:
    """One row. The tasks depend on the cell's distribution and seed, not on the method."""
    tasks = _drawn(cell.distribution, cell.tasks, cell.seed).tasks
    method = _method(cell)
    began = time.process_time()
    found = method(tasks.samples, cell.K, _generator(cell.seed))
    seconds = time.process_time() - began
    scores = score(found, tasks)
    intervals = {metric: bootstrap.mean(getattr(scores, metric)) for metric in SCORED}
    oracle = _oracle(cell.distribution, cell.tasks, cell.seed)
    intervals["oracle_distance"] = bootstrap.mean(l2_error(align(found, oracle), oracle))
    reference = _reference_errors(cell.distribution, cell.tasks, cell.seed)
    intervals["error_ratio"] = bootstrap.ratio(scores.l2_error, reference)
    row: dict[str, float | int] = {}
    for metric, interval in intervals.items():
        row |= {metric: interval.value, f"{metric}_low": interval.low, f"{metric}_high": interval.high}
    row["l2_error_median"] = float(np.median(np.where(np.isnan(scores.l2_error), np.inf, scores.l2_error)))
    row["excluded"] = int(failed(found).sum())
    row["estimation_seconds"] = seconds
    row["checkpoint"] = digest(trained(cell.method)) if cell.method in trained_models() else 0
    return [row]


def digest(path: Path) -> int:
    """48 bits of a file's SHA-256, by which a stored result tells of which checkpoint it is."""
    return int(hashlib.sha256(path.read_bytes()).hexdigest()[:12], 16)


@cache
def _drawn(distribution: TaskDistribution, tasks: int, seed: int) -> TaskSet:
    return TaskSet.drawn(distribution, tasks, seed)


@cache
def _oracle(distribution: TaskDistribution, tasks: int, seed: int) -> Mixtures:
    drawn = _drawn(distribution, tasks, seed).tasks
    return from_truth(drawn.samples, drawn.truth, distribution.anisotropic)


def _generator(seed: int) -> np.random.Generator:
    """The randomness of the methods, not that of the tasks."""
    return np.random.default_rng([seed, 1])


@cache
def _reference_errors(distribution: TaskDistribution, tasks: int, seed: int) -> Float[np.ndarray, " B"]:
    method = (ANISOTROPIC_METHODS if distribution.anisotropic else METHODS)[REFERENCE]
    drawn = _drawn(distribution, tasks, seed).tasks
    return score(method(drawn.samples, distribution.components[0], _generator(seed)), drawn).l2_error


def from_truth(samples: Float[np.ndarray, "B N d"], truth: Mixtures, anisotropic: bool) -> Mixtures:
    """EM to convergence from the true parameters."""
    start = np.log(truth.weights), truth.means, truth.scales
    step = em.anisotropic_step if anisotropic else em.isotropic_step
    return em.mixtures(em.iterate(samples, start, step, em.CHANGE, em.STEPS))


def sample_mean(samples: Float[np.ndarray, "B N d"], components: int, rng: np.random.Generator) -> Mixtures:
    """(1/N) Σ_i x_i for every mean, and equal weights."""
    means = np.repeat(samples.mean(axis=1, keepdims=True), components, axis=1)
    return Mixtures.isotropic(np.full(means.shape[:2], 1 / components), means)


def _method(cell: Cell) -> Estimator:
    """What estimates: the registered method, the oracle, or the trained model."""
    anisotropic = cell.scales == "diagonal"
    if cell.method == ORACLE:
        truth = _drawn(cell.distribution, cell.tasks, cell.seed).tasks.truth
        return lambda samples, k, rng: from_truth(samples, truth, anisotropic)
    if cell.method == TRIVIAL:
        return sample_mean
    known = ANISOTROPIC_METHODS if anisotropic else METHODS
    if cell.method in known:
        return known[cell.method]
    path = trained(cell.method)
    found = checkpoints.read(path)
    if found.step < found.config.training.steps:
        raise InputError(
            f"the model {str(path)!r} is not trained to the end: step {found.step} of {found.config.training.steps}"
        )
    return method_of_checkpoint(path, cell.d, cell.K)


def method_of_checkpoint(path: Path, dim: int, components: int) -> Estimator:
    """A trained model as a method, for tasks of this d and K; an InputError if it is not for them."""
    checkpoint = checkpoints.read(path)
    learnt = checkpoint.config.tasks
    if dim != learnt.dim or components not in learnt.components:
        raise InputError(
            f"the model {str(path)!r} is for d = {learnt.dim} and K in {list(learnt.components)}, not for d = {dim} "
            f"and K = {components}"
        )
    torch.set_num_threads(1)
    model = checkpoint.model()
    return lambda samples, k, rng: estimate(model, samples, k)


def outdated(rows: np.ndarray) -> np.ndarray:
    """Which results are of a checkpoint that has been trained anew since; one that is not there cannot be asked."""
    found = np.zeros(len(rows), dtype=bool)
    for name in set(rows["method"].tolist()) & set(trained_models()):
        try:
            now = digest(trained(name))
        except InputError:
            continue
        found |= (rows["method"] == name) & (rows["checkpoint"] != now)
    return found


def require_current(rows: np.ndarray) -> None:
    """Refuse outdated results."""
    for name in rows["method"][outdated(rows)].tolist():
        raise InputError(
            f"the results of {name!r} are of another checkpoint than {str(trained(name))!r}: "
            "`python -m tgmm evaluate` measures them anew"
        )


def trained(name: str) -> Path:
    """The checkpoint of a trained model: shipped, or in the directory of its run."""
    for path in (SHIPPED / f"{name}.safetensors", RUNS / name / "model.safetensors"):
        if path.exists():
            return path
    raise InputError(
        f"the model {name!r} is not trained: `python -m tgmm train --config tgmm/configs/{name}.toml` trains it"
    )
