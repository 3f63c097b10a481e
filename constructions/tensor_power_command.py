"""The demo: `python -m constructions.tensor_power_transformer --layers 2L`."""

from __future__ import annotations

import argparse

from constructions import outputs
from constructions.command_line import Parser, run_command
from constructions.errors import InputError

DIM, LARGEST_DIM = 5, 256
TENSORS = ("random", "orthogonal")


def parser() -> Parser:
    """All options, each with its default."""
    p = Parser(
        prog="python -m constructions.tensor_power_transformer",
        description="Build the tensor-power transformer's weights by hand, run it as an ordinary transformer, and show "
        "after every iteration v <- T(I,v,v) its vector, the reference, the difference and the proven bound.",
        epilog="A step takes 2 layers, with --normalise 4. --exact evaluates the same matrices in rational arithmetic; "
        "floats of a file count as the decimals they print. The softmax form's scale is the best power of two "
        "for the dtype (least bound of one step for |v_j| <= 1), with --precision BITS 2^-(BITS/4).",
    )
    p.add_argument("--layers", type=int, required=True, metavar="2L", help="layers: 2 a step (4 to normalise)")
    p.add_argument("--dim", type=int, metavar="d", help=f"dimension of a random or orthogonal tensor ({DIM})")
    p.add_argument(
        "--max-dim", type=int, metavar="d0", help="largest d the weights serve (a power of two from d on, at least 8)"
    )
    p.add_argument("--tensor", default="random", metavar="PATH.npy|random|orthogonal", help="d×d×d (default: random)")
    p.add_argument("--start", default="random", metavar="PATH.npy|random", help="start vector (default: random)")
    p.add_argument("--attention", choices=("relu", "softmax"), default="relu", help="default: relu (Theorem G.8)")
    p.add_argument(
        "--normalise",
        type=float,
        nargs=2,
        metavar=("C_LOW", "C_HIGH"),
        help="v <- T(I,v,v)/|T(I,v,v)|, if that norm is known to lie between these (Remark G.2)",
    )
    p.add_argument("--attention-only", action="store_true", help="without MLPs (Remark G.1)")
    p.add_argument("--exact", action="store_true", help="check equality in rational arithmetic, layer by layer")
    p.add_argument("--seed", type=int, default=0, metavar="S", help="seed of random tensors and starts (0)")
    outputs.add_options(p, "draw difference and bound, step by step")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; 0 on success, 2 with one sentence on bad input."""
    return run_command(lambda: _run(parser().parse_args(arguments)))


def _run(options: argparse.Namespace) -> int:
    _require_consistent(options)
    outputs.require(options, "tensor_power_transformer")
    from constructions.tensor_power_demo import demonstrate  # with torch and all that --help does without

    demonstrate(options)
    return 0


def _require_consistent(options: argparse.Namespace) -> None:
    """Refuse what does not go together."""
    if options.layers < 2 or options.layers % 2:
        raise InputError(f"--layers is {options.layers}; it must be even and positive, two layers for each iteration")
    special = [
        name
        for name, given in (
            ("--attention softmax", options.attention == "softmax"),
            ("--normalise", options.normalise is not None),
            ("--attention-only", options.attention_only),
        )
        if given
    ]
    if len(special) > 1:
        raise InputError(f"{special[0]} and {special[1]} do not go together: choose one form of the iteration")
    if options.exact and special and special[0] != "--attention-only":
        why = "e^x is irrational" if options.attention == "softmax" else "its norm is approximate"
        raise InputError(f"--exact does not go with {special[0]}: {why}, so there is no equality to check")
    if options.exact and options.precision is not None:
        raise InputError(
            f"--precision {options.precision} and --exact do not go together: equality in rational arithmetic is the "
            "stronger evidence, and needs no balls"
        )
    if options.dim is not None:
        if options.tensor not in TENSORS:
            raise InputError(f"--dim {options.dim} does not apply to a file, which is taken as it is")
        if not 1 <= options.dim <= LARGEST_DIM:
            raise InputError(f"--dim is {options.dim}; it must lie between 1 and {LARGEST_DIM}")


def default_max_dim(dim: int) -> int:
    """The d_0 when none is given: the smallest power of two that is at least d and 8; d itself above 64.

    A power of two makes /N and d_0·T exact; above 64 the next one would be too large to build.
    """
    return max(8, 1 << (dim - 1).bit_length()) if dim <= 64 else dim
