"""`python -m tgmm tasks --out PATH`: draw tasks and freeze them to a file, so that every method sees the same."""

from __future__ import annotations

from pathlib import Path

from constructions.command_line import Parser, require_writable, write_all
from constructions.errors import InputError
from tgmm.tasks import TaskDistribution, TaskSet

MOST = 2**28
"""Numbers in the samples of a set: 2 GiB."""


def parser() -> Parser:
    """All options, each with its default."""
    d = TaskDistribution()
    p = Parser(
        prog="python -m tgmm tasks",
        description="Draw tasks (Algorithm 1) and write them to a file with their distribution and seed, so that every "
        "method sees the same tasks: `python -m tgmm compare --tasks PATH`.",
    )
    p.add_argument("--out", type=Path, required=True, metavar="PATH.safetensors", help="the file")
    p.add_argument("--dim", type=int, default=d.dim, metavar="d", help="dimension (%(default)s)")
    p.add_argument(
        "--components",
        type=int,
        nargs="+",
        default=[3],
        metavar="K",
        help="K is drawn from these (3; methods need one)",
    )
    p.add_argument(
        "--samples",
        type=int,
        nargs="+",
        default=[128],
        metavar="n",
        help="samples: one number, or least and most (128)",
    )
    p.add_argument("--anisotropic", action="store_true", help="diagonal scales softplus(u), u uniform on [-1, 1]^d")
    p.add_argument(
        "--perturbation", type=float, default=d.perturbation, metavar="σ", help="noise added to the means (%(default)g)"
    )
    p.add_argument(
        "--separation",
        type=float,
        default=d.separation,
        metavar="R",
        help="the means lie on a grid of this spacing (%(default)g: they are drawn uniformly)",
    )
    p.add_argument("--count", type=int, default=1280, metavar="B", help="tasks (%(default)s)")
    p.add_argument("--seed", type=int, default=0, metavar="S", help="seed (%(default)s)")
    return p


def run(arguments: list[str]) -> int:
    """Draw and write; 0 on success."""
    options = parser().parse_args(arguments)
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
