"""A trained model, and a training run that can go on, as safetensors files: written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from constructions.errors import InputError
from constructions.sample_files import first_line
from tgmm import config as configs
from tgmm.config import Config
from tgmm.model import Tgmm

"""Trained models that come with the package, d2.safetensors for d = 2."""
FORMAT = "tgmm checkpoint 1"
KEY = "tgmm"
"""One metadata key, since with more of them the bytes of a file are not determined."""
PREFIX = "model."
STATE = ("exp_avg", "exp_avg_sq")
"""AdamW's two moments of every parameter."""


@dataclass(frozen=True)
class Checkpoint:
    """A model's tensors (`model.…`), in a run's checkpoint also AdamW's moments; and after how much training."""

    config: Config
    step: int
    seconds: float
    tensors: dict[str, Tensor]

    def serialise(self, training: bool) -> bytes:
        """With the state of training, or the model alone."""
        kept = {name: t for name, t in self.tensors.items() if training or name.startswith(PREFIX)}
        entry = {"format": FORMAT, "step": self.step, "seconds": self.seconds, "config": self.config.as_dict()}
        return safetensors.torch.save(
            {name: tensor.detach().cpu().contiguous() for name, tensor in kept.items()}, {KEY: json.dumps(entry)}
        )

    def model(self) -> Tgmm:
        """The model, in evaluation mode."""
        model = _untrained(self.config)
        model.load_state_dict(self.parameters, assign=True)
        return model.eval()

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The model's tensors by the names that it has for them."""
        return {name.removeprefix(PREFIX): t for name, t in self.tensors.items() if name.startswith(PREFIX)}


def capture(config: Config, model: Tgmm, optimiser: torch.optim.AdamW, step: int, seconds: float) -> Checkpoint:
    """All that the next step depends on; tasks and learning rate depend on the step's number alone."""
    tensors = {PREFIX + name: tensor for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for moment in STATE:
            tensors[f"{moment}.{name}"] = optimiser.state[parameter][moment]
    return Checkpoint(config, step, seconds, tensors)


def restore(checkpoint: Checkpoint, model: Tgmm, optimiser: torch.optim.AdamW) -> None:
    """Put a captured state into a model and its optimiser."""
    model.load_state_dict(checkpoint.parameters)
    for name, parameter in model.named_parameters():
        state: dict[str, Any] = {
            moment: checkpoint.tensors[f"{moment}.{name}"].to(parameter.device, copy=True) for moment in STATE
        }
        optimiser.state[parameter] = {"step": torch.tensor(float(checkpoint.step)), **state}


def read(path: Path, training: bool = False) -> Checkpoint:
    """A checkpoint from its file, whose tensors are those of its config's model (and of its training, if asked for).

    Raises
    ------
    InputError
        If the file is missing, damaged, of another format, or lacks a tensor or holds one of another shape.
    """
    told = f"the checkpoint {str(path)!r}"
    if not path.is_file():
        raise InputError(f"{told} does not exist")
    try:
        with safetensors.safe_open(path, "pt") as file:
            entry = _entry(told, file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise InputError(f"{told} is damaged or no checkpoint: {str(error).splitlines()[0]}") from error
    try:
        config = configs.parse(dict(entry["config"]))
        checkpoint = Checkpoint(config, int(entry["step"]), float(entry["seconds"]), tensors)
        if checkpoint.step < 0 or not 0 <= checkpoint.seconds < inf:
            raise ValueError(f"step is {checkpoint.step} and seconds {checkpoint.seconds}")
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise InputError(f"{told} does not describe its model: {error}") from error
    _require_tensors(told, checkpoint, training)
    return checkpoint


def _entry(told: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        entry = json.loads(metadata.get(KEY, "{}"))
    except ValueError:
        entry = {}
    if not isinstance(entry, dict) or entry.get("format") != FORMAT:
        raise InputError(f"{told} is no checkpoint of this program: it does not say {FORMAT!r}")
    return entry


def _require_tensors(told: str, checkpoint: Checkpoint, training: bool) -> None:
    try:
        model = _untrained(checkpoint.config)
    except (MemoryError, RuntimeError) as error:  # torch's allocator raises the latter
        raise InputError(f"{told} describes a model that cannot be built: {first_line(error)}") from error
    wanted = {PREFIX + name: tensor.shape for name, tensor in model.state_dict().items()}
    if training:
        wanted |= {f"{moment}.{name}": p.shape for name, p in model.named_parameters() for moment in STATE}
    for name, shape in wanted.items():
        found = checkpoint.tensors.get(name)
        if found is None:
            raise InputError(f"{told} lacks the tensor {name!r}")
        if found.shape != shape:
            raise InputError(f"{told}: {name!r} has shape {tuple(found.shape)}; {tuple(shape)} is needed")
        if found.dtype != torch.float32:
            raise InputError(f"{told}: {name!r} holds {found.dtype}; torch.float32 is needed")
        if not bool(found.isfinite().all()):
            raise InputError(f"{told}: {name!r} holds numbers that are not finite")
    unknown = [name for name in checkpoint.tensors if name.startswith(PREFIX) and name not in wanted]
    if unknown:
        raise InputError(f"{told} holds the tensor {unknown[0]!r}, which its model has not")


def _untrained(config: Config) -> Tgmm:
    """A model of these shapes, at no cost to torch's generator; the device "meta" would take a second to load."""
    with torch.random.fork_rng(devices=[]):
        return configs.build(config)
