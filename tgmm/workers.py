"""Processes that train one model together, through Hugging Face Accelerate (extra `hf`); by default there is one.

A launcher starts them, on GPUs `accelerate launch -m tgmm train --config PATH`; on CPUs, where Accelerate's starts only
one (version 1.15, whatever --num_processes says), torch's: `torchrun --nproc_per_node P -m tgmm train --config PATH`.
Accelerate chooses the device of each and connects them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from constructions.errors import InputError
from tgmm import extras
from tgmm.loss import Loss
from tgmm.tasks import Tasks

LAUNCHED = {"LOCAL_RANK", "ACCELERATE_MIXED_PRECISION"}
"""Variables of the environment that a launcher sets: the first for several processes, the second also for one."""


@dataclass(frozen=True)
class Workers:
    """The process at work among those that train the model: without an accelerator alone, on the CPU.

    Every process holds the whole model, draws the whole batch and keeps its share. Losses are sums over tasks, divided
    by the size of the whole batch; so the sums over the processes are those of one process, up to rounding, and all of
    them take the same step.
    """

    accelerator: Any = None

    @property
    def index(self) -> int:
        """The number of this process, from 0."""
        return int(self.accelerator.process_index) if self.accelerator else 0

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.accelerator.num_processes) if self.accelerator else 1

    @property
    def device(self) -> torch.device:
        """Where this one computes."""
        return torch.device(self.accelerator.device if self.accelerator else "cpu")

    @property
    def main(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.index == 0

    def share(self, tasks: Tasks) -> Tasks:
        """Its part of a batch.

        Raises
        ------
        InputError
            If the parts cannot be equal.
        """
        self.require_share(len(tasks))
        size = len(tasks) // self.count
        return tasks[self.index * size : (self.index + 1) * size]

    def require_share(self, batch: int) -> None:
        """Refuse a batch that the processes cannot divide into equal parts."""
        if batch % self.count:
            raise InputError(f"batch is {batch}; it must be a multiple of the number of processes, {self.count}")

    def add(self, model: nn.Module, parts: Loss) -> Loss:
        """Sum the gradients and the losses over the processes, in one message; the sums of the losses.

        A read-out whose K no task has gets the gradient 0 and so makes every step of the optimiser, as checkpoints
        assume, which know one number of steps.
        """
        gradients: list[Tensor] = []
        for parameter in model.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        if self.count == 1:
            return parts
        losses = torch.cat([parts.means, parts.weights, parts.scales]).detach()
        pieces = [losses, *(gradient.flatten() for gradient in gradients)]
        summed: Tensor = self.accelerator.reduce(torch.cat(pieces), "sum")
        losses, *sums = summed.split([len(piece) for piece in pieces])
        for gradient, total in zip(gradients, sums, strict=True):
            gradient.copy_(total.view_as(gradient))
        return Loss(*losses.split(1))

    def leave(self) -> None:
        """Wait for the others, and close the connection to them."""
        if self.accelerator:
            self.accelerator.wait_for_everyone()
            self.accelerator.end_training()


ALONE = Workers()


def join() -> Workers:
    """The processes that a launcher started together with this one; without a launcher, this one alone.

    Training is in float32, whatever precision the launcher was told. Without a GPU Accelerate connects processes only
    if it is told to compute on the CPU.

    Raises
    ------
    InputError
        If they are launched, and Accelerate is not installed or has not connected them.
    """
    if not LAUNCHED & os.environ.keys():
        return ALONE
    accelerate = extras.require("accelerate", "training by several processes")
    on_cpu = not torch.accelerator.is_available()
    workers = Workers(accelerate.Accelerator(mixed_precision="no", cpu=on_cpu))
    started = int(os.environ.get("WORLD_SIZE", 1))
    if workers.count != started:
        raise InputError(f"{started} processes were launched and {workers.count} are connected: they train apart")
    return workers
