"""The demo: `python -m constructions.tensor_power_transformer --layers 2L`."""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from constructions import outputs, tensor_power_claims, tensor_power_precision, tensor_power_report
from constructions.command_line import Parser, Progress, run_command
from constructions.errors import InputError
from constructions.normalisation import normalisation, require_representable
from constructions.number_system import Rationals
from constructions.tensor_power_bounds import best_scale
from constructions.tensor_power_exact import LayerReport, compare_layers
from constructions.tensor_power_run import PowerRun, run
from constructions.tensor_power_transformer import (
    ATTENTION_ONLY,
    THEOREM,
    Form,
    build,
    normalised_form,
    require_max_dim,
    softmax_form,
    validate,
)
from constructions.tensors import as_floats, as_rationals, load_array, orthogonal_tensor, random_start, random_tensor

DIM, LARGEST_DIM, LARGEST_DIGITS = 5, 256, 10**5
TENSORS = {"random": random_tensor, "orthogonal": orthogonal_tensor}


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
    outputs.require(options)
    report = sys.stderr if options.json == "-" else sys.stdout
    dtype = outputs.DTYPES["float64" if options.precision is not None else options.dtype]

    rng = np.random.default_rng(options.seed)
    tensor, start = _load(options, rng)
    max_dim = options.max_dim if options.max_dim is not None else default_max_dim(max(tensor.shape, default=1))
    require_max_dim(max_dim)
    validate(max_dim, tensor, start)
    if start.ndim != 1:
        raise InputError(f"the start has shape {start.shape}; a vector of length {len(tensor)} is needed")
    form = choose_form(options, max_dim, dtype)
    if options.layers % form.layers_per_step:
        raise InputError(
            f"--layers is {options.layers}; it must be a multiple of {form.layers_per_step}, the layers of a step"
        )
    model = build(max_dim, options.layers // form.layers_per_step, form, dtype)
    print(tensor_power_report.preamble(model, len(tensor), options), file=report, flush=True)
    if options.precision is not None:
        say = partial(print, file=report, flush=True)
        outputs.write_result(options, tensor_power_precision.demonstrate(model, tensor, start, options, say))
        return 0
    began = time.perf_counter()
    with Progress("layer") as progress:
        result = run(model, as_floats(tensor), as_floats(start), progress, execution=options.execution)
    seconds = time.perf_counter() - began
    layers = _exact(result, tensor, start) if options.exact else None
    content = tensor_power_report.as_json(result, layers, options)
    execution = outputs.execution(result.plan, options, seconds)
    print(tensor_power_report.tables(result, layers, content, execution), file=report)
    entry = tensor_power_report.construction_entry(model)
    draw, output = lambda: _picture(result), lambda: result.output
    claimed = partial(tensor_power_claims.claimed, result)
    outputs.write(options, content, draw, model.transformer, entry, result.tokens, output, claimed)
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


def choose_form(options: argparse.Namespace, max_dim: int, dtype: torch.dtype) -> Form:
    """The form of the iteration that the options name."""
    if options.attention == "softmax":
        bits = options.precision
        return softmax_form(best_scale(max_dim, dtype) if bits is None else tensor_power_precision.scale(bits))
    if options.normalise is not None:
        low, high = options.normalise
        range_ = normalisation(low, high, max_dim)
        require_representable(range_, dtype)
        return normalised_form(range_)
    return ATTENTION_ONLY if options.attention_only else THEOREM


def _load(options: argparse.Namespace, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    dim = options.dim if options.dim is not None else DIM
    tensor = (
        TENSORS[options.tensor](dim, rng) if options.tensor in TENSORS else load_array(Path(options.tensor), "--tensor")
    )
    if options.start != "random":
        return tensor, load_array(Path(options.start), "--start")
    return tensor, random_start(tensor.shape[-1] if tensor.ndim and tensor.shape[-1] else 1, rng)


def _exact(result: PowerRun, tensor: np.ndarray, start: np.ndarray) -> list[LayerReport]:
    numbers = Rationals()
    rationals = [as_rationals(array) for array in (tensor, start)]
    bits = max(value.numerator.bit_length() + value.denominator.bit_length() for a in rationals for value in a.ravel())
    digits = (2**result.model.steps) * 2 * bits * 0.302
    if digits > LARGEST_DIGITS:
        raise InputError(
            f"--exact with --layers {len(result.model.transformer.schedule)} needs rationals of about {digits:.2g} "
            f"digits, which double with every iteration; the limit is {LARGEST_DIGITS}"
        )
    exact_tensor, exact_start = (np.vectorize(numbers.number, otypes=[object])(array) for array in rationals)
    with Progress("exact layer") as progress:
        reports = []
        for report in compare_layers(result.model, exact_tensor, exact_start, numbers):
            reports.append(report)
            progress(report.layer, len(result.model.transformer.schedule))
    return reports


def _picture(result: PowerRun) -> bytes:
    from figures.tensor_power import png

    return png(result)
