"""`python -m tgmm estimate --data PATH --components K`: a trained model's estimate of the mixture behind a sample."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from constructions.command_line import answer
from constructions.datasets import Dataset, load_file
from constructions.errors import InputError
from constructions.noise_check import strange_noise
from tgmm import checkpoints
from tgmm.checkpoints import Checkpoint
from tgmm.densities import log_density, log_joint_density, log_likelihood
from tgmm.estimation import estimate
from tgmm.mixtures import Mixtures
from tgmm.names import SHIPPED
from tgmm.tasks import TaskDistribution

REACH = 5.0
"""Standard deviations of the noise: beyond them lies a share of 6e-7 of a coordinate's samples."""


def run(options: argparse.Namespace) -> int:
    """Estimate; 0 on success."""
    data = load_file(options, options.components, bundled=False)
    samples = data.samples
    path = options.checkpoint or shipped(samples.shape[1])
    checkpoint = checkpoints.read(path)
    _require_task(checkpoint, samples, options.components, path)
    found = estimate(checkpoint.model(), samples[None], options.components)
    if not (np.isfinite(found.means).all() and np.isfinite(found.weights).all()):
        raise InputError(
            f"the model's estimate is not finite: a sample has an entry of size {np.abs(samples).max():.3g}, far from "
            f"the means that it was trained on, within ±{checkpoint.config.tasks.mean_range:g}"
        )
    joint = log_joint_density(found, samples[None])
    posterior = np.exp(joint - log_density(joint)[..., None])[0]
    noise = strange_noise(samples, found.means[0], posterior, found.scales[0])
    warnings = outside(checkpoint.config.tasks, samples, advice(data)) + [f"{said}{advice(data)}" for said in noise]
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    content = _content(found, data, float(log_likelihood(joint)[0]), checkpoint, path, warnings)
    answer(content, _table(content, data), options.json)
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


def advice(data: Dataset) -> str:
    """What may help where samples taken as they are will not do."""
    return "" if data.affine is not None else "; --scale unit-noise centres and scales the columns"


def outside(tasks: TaskDistribution, samples: Float[np.ndarray, "N d"], advice: str) -> list[str]:
    """A sentence for each way in which the samples leave the distribution that the model was trained on."""
    said = []
    least, most = tasks.samples
    if not least <= len(samples) <= most:
        said.append(f"there are {len(samples)} samples; the model was trained on {least} to {most}")
    largest, limit = float(np.abs(samples).max()), tasks.mean_range + REACH
    if largest > limit:
        said.append(
            f"a coordinate is {largest:.3g} in size; means were trained within ±{tasks.mean_range:g}, so that samples "
            f"lie within ±{limit:g}{advice}"
        )
    return said


def _content(
    found: Mixtures, data: Dataset, likelihood: float, checkpoint: Checkpoint, path: Path, warnings: list[str]
) -> dict[str, Any]:
    """The estimate in the file's units: prepared data has standard deviations there as well, and another density."""
    means, scales, affine = found.means[0], found.scales[0], data.affine
    if affine is not None:
        units = np.diag(affine.back)
        means, scales, likelihood = affine.restore(means), scales * units, likelihood - float(np.log(units).sum())
    order = np.argsort(-found.weights[0])
    content: dict[str, Any] = {"weights": found.weights[0][order].tolist(), "means": means[order].tolist()}
    if checkpoint.config.tasks.anisotropic or affine is not None:
        content["scales"] = scales[order].tolist()
    return content | {
        "average_log_likelihood": likelihood,
        "samples": len(data.samples),
        "data": {"name": data.name, "dim": data.samples.shape[1], "preparation": data.preparation},
        "checkpoint": {"name": path.name, "steps": checkpoint.step, "config": checkpoint.config.as_dict()},
        "warnings": warnings,
    }


def _table(content: dict[str, Any], data: Dataset) -> str:
    def vector(values: list[float]) -> str:
        return f"({', '.join(f'{value:.4g}' for value in values)})"

    checkpoint = content["checkpoint"]
    lines = [
        f"samples       {len(data.samples)}, d = {data.samples.shape[1]}; {data.preparation}",
        f"model         {checkpoint['name']}, trained for {checkpoint['steps']} steps",
        f"likelihood    {content['average_log_likelihood']:.4f}, average log of a sample's density under the estimate",
        "",
    ]
    scales = content.get("scales", [None] * len(content["weights"]))
    for weight, mean, scale in zip(content["weights"], content["means"], scales, strict=True):
        lines.append(f"pi {weight:.4f}  mu {vector(mean)}" + (f"  sigma {vector(scale)}" if scale else ""))
    return "\n".join(lines)
