"""Algorithm 2: meta-training on fresh tasks, from a seed, so that a run can be stopped anywhere and go on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import cos, inf, pi
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from constructions.command_line import write_all
from constructions.errors import InputError
from tgmm import checkpoints
from tgmm import config as configs
from tgmm.config import Config, TrainingConfig
from tgmm.estimation import estimate
from tgmm.loss import Loss, loss
from tgmm.metrics import align, l2_error
from tgmm.model import Tgmm
from tgmm.names import METRICS, MODEL, TRAINING
from tgmm.tasks import Tasks, draw
from tgmm.workers import ALONE, Workers

VALIDATION = 2**32
"""Added to a run's seed, so that no training step draws the tasks that it is validated on."""
Line = dict[str, object]


def learning_rate(training: TrainingConfig, step: int) -> float:
    """Of the step with this number, from 0: linear up to `warmup`, then half a cosine that reaches 0 after the last."""
    if step < training.warmup:
        return training.learning_rate * (step + 1) / training.warmup
    share = (step - training.warmup) / max(1, training.steps - training.warmup)
    return training.learning_rate * 0.5 * (1 + cos(pi * share))


def batch(config: Config, step: int) -> Tasks:
    """The tasks of a step: they depend on the seed and on its number alone."""
    return draw(config.tasks, config.training.batch, np.random.default_rng([config.training.seed, step]))


def losses(model: Tgmm, tasks: Tasks, config: Config) -> Loss:
    """The parts of the loss, summed over the tasks, in the model's format."""
    parameter = next(model.parameters())

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(parameter.device, parameter.dtype)

    samples, mask = tensor(tasks.samples), torch.from_numpy(tasks.mask).to(parameter.device)
    weights, means, scales = (tensor(part) for part in (tasks.truth.weights, tasks.truth.means, tasks.truth.scales))
    parts = []
    for chosen, found in model(samples, mask, tasks.components.tolist()):
        k = found.means.shape[1]
        truth = weights[chosen, :k], means[chosen, :k], scales[chosen, :k]
        each = loss(found, *truth, config.training.matching)
        parts.append(torch.stack([each.means.sum(), each.weights.sum(), each.scales.sum()]))
    return Loss(*torch.stack(parts).sum(dim=0)[:, None])


@dataclass
class Run:
    """A training run in its directory: model and optimiser after `step` steps, `seconds` of them altogether."""

    config: Config
    directory: Path
    model: Tgmm
    optimiser: torch.optim.AdamW
    step: int = 0
    seconds: float = 0.0
    workers: Workers = ALONE

    @property
    def done(self) -> bool:
        """Whether the last step is made."""
        return self.step >= self.config.training.steps

    def advance(self) -> dict[str, float]:
        """One step; what it measured."""
        began = time.perf_counter()
        training = self.config.training
        rate = learning_rate(training, self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        parts = losses(self.model, self.workers.share(batch(self.config, self.step)), self.config)
        self.optimiser.zero_grad()
        (parts.total.sum() / training.batch).backward()
        parts = self.workers.add(self.model, parts)
        total = parts.total.sum() / training.batch
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), training.clip)
        if not bool(total.isfinite() & norm.isfinite()):
            raise InputError(
                f"the loss is {total.item():g} and its gradient's norm {norm.item():g} in step {self.step + 1}: "
                f"training has diverged at learning_rate {training.learning_rate:g}; choose a smaller one"
            )
        self.optimiser.step()
        self.step += 1
        self.seconds += time.perf_counter() - began
        named = {"means": parts.means, "weights": parts.weights, "scales": parts.scales}
        measured = {f"{name}_loss": value.item() / training.batch for name, value in named.items()}
        return {"loss": total.item(), **measured, "gradient_norm": norm.item()}

    def save(self) -> None:
        """Write the checkpoint, from which a run goes on, and the model alone; the last ones survive a failure."""
        captured = checkpoints.capture(self.config, self.model, self.optimiser, self.step, self.seconds)
        write_all(
            {
                self.directory / MODEL: captured.serialise(training=False),  # first: a run that is done has its model
                self.directory / TRAINING: captured.serialise(training=True),
            }
        )


def begin(config: Config, directory: Path, workers: Workers = ALONE) -> Run:
    """A new run, or the one that the directory holds, where its last checkpoint left it.

    Raises
    ------
    InputError
        If the directory holds a run of another config, or a damaged checkpoint.
    """
    torch.manual_seed(config.training.seed)
    model = configs.build(config).to(workers.device)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=config.training.learning_rate, weight_decay=config.training.weight_decay
    )
    run = Run(config, directory, model, optimiser, workers=workers)
    if (directory / TRAINING).exists():
        found = checkpoints.read(directory / TRAINING, training=True)
        _require_same(found.config, config, directory)
        checkpoints.restore(found, model, optimiser)
        run.step, run.seconds = found.step, found.seconds
    elif (directory / MODEL).exists():  # the run's training state was removed: another run must not replace its model
        _require_same(checkpoints.read(directory / MODEL).config, config, directory)
    return run


def _require_same(found: Config, wanted: Config, directory: Path) -> None:
    """A run goes on under its own config; only `threads` may differ."""
    wanted = replace(wanted, training=replace(wanted.training, threads=found.training.threads))
    if found == wanted:
        return
    section, key, old, new = next(
        (section, key, old, wanted.as_dict()[section][key])
        for section, table in found.as_dict().items()
        for key, old in table.items()
        if old != wanted.as_dict()[section][key]
    )
    raise InputError(
        f"{str(directory)!r} holds a run with {key} = {old!r} in [{section}], and the config says {new!r}: use another "
        "--out, or the same config"
    )


def validate(run: Run) -> dict[str, float]:
    """Mean ℓ2-error on fixed tasks of the training distribution's largest n, for each K."""
    errors = {}
    for k in run.config.tasks.components:
        most = run.config.tasks.samples[1]
        distribution = replace(run.config.tasks, components=(k,), samples=(most, most))
        rng = np.random.default_rng([run.config.training.seed + VALIDATION, k])
        tasks = draw(distribution, run.config.training.validation, rng)
        found = estimate(run.model, tasks.samples, k)
        errors[str(k)] = float(l2_error(align(found, tasks.truth), tasks.truth).mean())
    return errors


def train(run: Run, report: Callable[[Line], None] = lambda line: None) -> None:
    """Advance to the last step, with a line of metrics and a checkpoint where the config says.

    Raises
    ------
    InputError
        If the disk does not take them: the last checkpoint that was written whole is kept.
    """
    training = run.config.training
    metrics = run.directory / METRICS
    if run.workers.main:
        _keep_lines(metrics, run.step)
    window: list[dict[str, float]] = []
    while not run.done:
        window.append(run.advance())
        if run.step % training.log and not run.done:
            continue
        line: Line = {"step": run.step, "seconds": round(run.seconds, 3)}
        line |= {name: float(np.mean([each[name] for each in window])) for name in window[0]}
        line["learning_rate"] = learning_rate(training, run.step - 1)
        window = []
        if not run.workers.main:
            continue
        saving = run.step % training.checkpoint == 0 or run.done
        if saving and training.validation:
            line["validation"] = validate(run)
        _append(metrics, line)
        report(line)
        if saving:
            run.save()


def _keep_lines(metrics: Path, step: int) -> None:
    """Drop what was measured after the checkpoint of this step: it is measured again."""
    if not metrics.exists():
        return
    try:
        lines = metrics.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise InputError(f"{str(metrics)!r} cannot be read: {error.strerror}") from error
    write_all({metrics: b"".join(line for line in lines if _step(line) <= step)})


def _step(line: bytes) -> float:
    """Of a line of metrics; infinite if it was not written whole."""
    try:
        return int(json.loads(line)["step"]) if line.endswith(b"\n") else inf
    except (ValueError, LookupError, TypeError):
        return inf


def _append(metrics: Path, line: Line) -> None:
    try:
        with metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise InputError(f"{str(metrics)!r} cannot be written: {error.strerror}") from error
