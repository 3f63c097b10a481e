"""`python -m tgmm tasks --out PATH`: draw tasks and freeze them to a file, so that every method sees the same."""

from __future__ import annotations

import argparse

from constructions.command_line import require_writable, write_all
from constructions.errors import InputError
from tgmm.tasks import TaskDistribution, TaskSet

MOST = 2**28
"""Numbers in the samples of a set: 2 GiB."""


def run(options: argparse.Namespace) -> int:
    """Draw and write; 0 on success."""
    if options.seed < 0:
        raise InputError(f"--seed is {options.seed}; it must not be negative")
    if not 1 <= len(options.samples) <= 2:
        raise InputError(f"--samples has {len(options.samples)} numbers; it takes one or two")
    if options.out.suffix != ".safetensors":
        raise InputError(f"--out is {str(options.out)!r}; it must end in .safetensors")
    distribution = TaskDistribution(
        dim=options.dim,
        components=tuple(options.components),
        samples=(options.samples[0], options.samples[-1]),
        anisotropic=options.anisotropic,
        perturbation=options.perturbation,
        separation=options.separation,
    )
    numbers = distribution.samples[1] * distribution.dim
    if numbers > MOST:
        raise InputError(f"a task of --samples and --dim holds {numbers} numbers; a file holds at most {MOST}")
    limit = MOST // numbers
    if not 1 <= options.count <= limit:
        raise InputError(f"--count is {options.count}; it must lie between 1 and {limit}")
    require_writable(options.out)
    drawn = TaskSet.drawn(distribution, options.count, options.seed)
    write_all({options.out: drawn.serialise()})
    print(f"{options.count} tasks: {options.out}")
    return 0
