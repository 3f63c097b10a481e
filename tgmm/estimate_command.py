"""`python -m tgmm estimate --data PATH --components K`: a trained model's estimate of the mixture behind a sample."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from constructions.command_line import answer
from constructions.errors import InputError
from constructions.sample_files import read_samples
from tgmm import checkpoints
from tgmm.checkpoints import Checkpoint
from tgmm.densities import log_density, log_joint_density, log_likelihood
from tgmm.estimation import estimate
from tgmm.mixtures import Mixtures
from tgmm.names import SHIPPED
from tgmm.tasks import TaskDistribution

REACH = 5.0
"""Standard deviations of the noise: beyond them lies a share of 6e-7 of a coordinate's samples."""
UNIT = 0.5, 2.0
"""Between what an estimated variance of the noise counts as 1."""
CHANCE = 4.75
"""Standard deviations: an estimate from unit noise is further off, to one side, with probability 1e-6."""


def run(options: argparse.Namespace) -> int:
    """Estimate; 0 on success."""
    samples = read_samples(options.data)
    path = options.checkpoint or shipped(samples.shape[1])
    checkpoint = checkpoints.read(path)
    _require_task(checkpoint, samples, options.components, path)
    found = estimate(checkpoint.model(), samples[None], options.components)
    if not (np.isfinite(found.means).all() and np.isfinite(found.weights).all()):
        raise InputError(
            f"the model's estimate is not finite: a sample has an entry of size {np.abs(samples).max():.3g}, far from "
            f"the means that it was trained on, within ±{checkpoint.config.tasks.mean_range:g}"
        )
    warnings = outside(checkpoint.config.tasks, samples) + strange_noise(found, samples)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    content = _content(found, samples, checkpoint, path, warnings)
    answer(content, _table(content, samples), options.json)
    return 0


def shipped(dim: int) -> Path:
    """The shipped checkpoint for samples in R^d; an InputError if there is none."""
    path = SHIPPED / f"d{dim}.safetensors"
    if not path.exists():
        have = sorted(int(each.stem.removeprefix("d")) for each in SHIPPED.glob("d*.safetensors"))
        raise InputError(
            f"the samples have dimension {dim}; the shipped checkpoints are for {', '.join(map(str, have))}: train one "
            "with `python -m tgmm train`, and name it with --checkpoint"
        )
    return path


def _require_task(checkpoint: Checkpoint, samples: np.ndarray, components: int, path: Path) -> None:
    tasks = checkpoint.config.tasks
    if components not in tasks.components:
        raise InputError(
            f"--components is {components}; the checkpoint {str(path)!r} estimates "
            f"{', '.join(map(str, tasks.components))}"
        )
    if samples.shape[1] != tasks.dim:
        raise InputError(
            f"the samples have dimension {samples.shape[1]}; the checkpoint {str(path)!r} is for dimension {tasks.dim}"
        )
    if components > len(samples):
        raise InputError(f"there are {components} components but only {len(samples)} samples; K must be at most N")


def outside(tasks: TaskDistribution, samples: Float[np.ndarray, "N d"]) -> list[str]:
    """A sentence for each way in which the samples leave the distribution that the model was trained on."""
    said = []
    least, most = tasks.samples
    if not least <= len(samples) <= most:
        said.append(f"there are {len(samples)} samples; the model was trained on {least} to {most}")
    largest, limit = float(np.abs(samples).max()), tasks.mean_range + REACH
    if largest > limit:
        said.append(
            f"a coordinate is {largest:.3g} in size; means were trained within ±{tasks.mean_range:g}, so that samples "
            f"lie within ±{limit:g}"
        )
    return said


def strange_noise(found: Mixtures, samples: Float[np.ndarray, "N d"]) -> list[str]:
    """A sentence if the samples do not lie around their estimated means as the noise does.

    In each coordinate, the variance around each mean that has samples, and around all of them, must lie within
    `variance_limits`. The sentence is about the one that is furthest off.
    """
    joint = log_joint_density(found, samples[None])
    posterior = np.exp(joint - log_density(joint)[..., None])[0]
    squared = ((samples[:, None] - found.means[0]) / found.scales[0]) ** 2
    sums = np.einsum("nk,nkd->kd", posterior, squared)
    each = posterior.sum(axis=0)
    counts, sums = np.append(each, len(samples)), np.vstack([sums, sums.sum(axis=0)])
    counts, sums = counts[counts >= 1], sums[counts >= 1]
    variances = sums / counts[:, None]
    low, high = variance_limits(counts)
    wrong = (variances < low[:, None]) | (variances > high[:, None])
    if not wrong.any():
        return []
    row, coordinate = np.unravel_index(np.where(wrong, np.abs(np.log(variances)), 0).argmax(), wrong.shape)
    where = "the estimated means" if row == len(counts) - 1 else "one of the estimated means"
    return [
        f"around {where} the samples' variance in coordinate {coordinate} is {variances[row, coordinate]:.3g} times "
        "the noise's that the model assumes: the noise is another, or a mean is far off"
    ]


def variance_limits(counts: Float[np.ndarray, " R"]) -> tuple[Float[np.ndarray, " R"], Float[np.ndarray, " R"]]:
    """Between what the variance of m normals of unit variance lies: within UNIT, or no further off than by chance.

    Its quantile at that of z standard deviations is about (1 − 2/(9m) + z √(2/(9m)))³ (Wilson & Hilferty 1931).
    """
    spread = 2 / (9 * counts)
    low, high = ((1 - spread + sign * CHANCE * np.sqrt(spread)) ** 3 for sign in (-1, 1))
    return np.minimum(low, UNIT[0]), np.maximum(high, UNIT[1])


def _content(
    found: Mixtures, samples: np.ndarray, checkpoint: Checkpoint, path: Path, warnings: list[str]
) -> dict[str, Any]:
    order = np.argsort(-found.weights[0])
    content = {"weights": found.weights[0][order].tolist(), "means": found.means[0][order].tolist()}
    if checkpoint.config.tasks.anisotropic:
        content["scales"] = found.scales[0][order].tolist()
    return content | {
        "average_log_likelihood": float(log_likelihood(log_joint_density(found, samples[None]))[0]),
        "samples": len(samples),
        "checkpoint": {"name": path.name, "steps": checkpoint.step, "config": checkpoint.config.as_dict()},
        "warnings": warnings,
    }


def _table(content: dict[str, Any], samples: np.ndarray) -> str:
    def vector(values: list[float]) -> str:
        return f"({', '.join(f'{value:.4g}' for value in values)})"

    checkpoint = content["checkpoint"]
    lines = [
        f"samples       {len(samples)}, d = {samples.shape[1]}",
        f"model         {checkpoint['name']}, trained for {checkpoint['steps']} steps",
        f"likelihood    {content['average_log_likelihood']:.4f}, average log of a sample's density under the estimate",
        "",
    ]
    scales = content.get("scales", [None] * len(content["weights"]))
    for weight, mean, scale in zip(content["weights"], content["means"], scales, strict=True):
        lines.append(f"pi {weight:.4f}  mu {vector(mean)}" + (f"  sigma {vector(scale)}" if scale else ""))
    return "\n".join(lines)
