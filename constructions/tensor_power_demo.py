"""What the tensor-power demo does: load or draw a task, build the weights, run them, report."""

from __future__ import annotations

import argparse
import sys
import time
from decimal import Decimal
from functools import partial
from pathlib import Path

import numpy as np
import torch

from constructions import outputs, tensor_power_claims, tensor_power_precision, tensor_power_report, weights_file
from constructions.command_line import Progress
from constructions.dtypes import DTYPES
from constructions.errors import InputError
from constructions.execution_report import execution
from constructions.normalisation import normalisation, require_representable
from constructions.number_system import Rationals
from constructions.tensor_power_bounds import best_scale
from constructions.tensor_power_command import DIM, default_max_dim
from constructions.tensor_power_exact import LayerReport, compare_layers
from constructions.tensor_power_run import PowerRun, run
from constructions.tensor_power_transformer import (
    ATTENTION_ONLY,
    THEOREM,
    Form,
    build,
    normalised_form,
    require_max_dim,
    require_size,
    softmax_form,
    validate,
)
from constructions.tensors import as_floats, as_rationals, load_array, orthogonal_tensor, random_start, random_tensor

LARGEST_DIGITS = 10**5
DRAWN = {"random": random_tensor, "orthogonal": orthogonal_tensor}


def demonstrate(options: argparse.Namespace) -> None:
    """Run and report as the options of `tensor_power_command` say."""
    report = sys.stderr if options.json == "-" else sys.stdout
    dtype = DTYPES["float64" if options.precision is not None else options.dtype]

    rng = np.random.default_rng(options.seed)
    drawn = options.tensor in DRAWN
    dim = options.dim if options.dim is not None else DIM
    if not drawn:
        tensor, start = _load(options, dim, rng)
        dim = max(tensor.shape, default=1)
    max_dim = options.max_dim if options.max_dim is not None else default_max_dim(dim)
    require_max_dim(max_dim)
    if not drawn:
        _require_task(max_dim, tensor, start)
    form = _require_size(options, max_dim, dim, dtype)
    if drawn:  # after its size is judged
        tensor, start = _load(options, dim, rng)
        _require_task(max_dim, tensor, start)
    rationals = _rationals(options, form, tensor, start) if options.exact else None
    model = build(max_dim, options.layers // form.layers_per_step, form, dtype)

    def begin() -> None:
        print(tensor_power_report.preamble(model, len(tensor), options), file=report, flush=True)

    if options.precision is not None:
        begin()
        say = partial(print, file=report, flush=True)
        outputs.write_result(options, tensor_power_precision.demonstrate(model, tensor, start, options, say))
        return
    began = time.perf_counter()
    with Progress("layer") as progress:
        result = run(model, as_floats(tensor), as_floats(start), progress, options.execution, begin)
    seconds = time.perf_counter() - began
    layers = _exact(result, *rationals) if rationals is not None else None
    content = tensor_power_report.as_json(result, layers, options)
    executed = execution(result.plan, options.plan, seconds)
    print(tensor_power_report.tables(result, layers, content, executed), file=report)
    entry = tensor_power_report.construction_entry(model)
    weights = partial(weights_file.serialise, model.transformer, entry)
    draw, claimed = partial(_picture, result), partial(tensor_power_claims.claimed, result)
    outputs.write(options, content, draw, weights, result.tokens, lambda: result.output, claimed)


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


def _load(options: argparse.Namespace, dim: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    draw = DRAWN.get(options.tensor)
    tensor = draw(dim, rng) if draw else load_array(Path(options.tensor), "--tensor", DRAWN)
    if options.start != "random":
        return tensor, load_array(Path(options.start), "--start", ("random",))
    return tensor, random_start(tensor.shape[-1] if tensor.ndim and tensor.shape[-1] else 1, rng)


def _require_task(max_dim: int, tensor: np.ndarray, start: np.ndarray) -> None:
    validate(max_dim, tensor, start)
    if start.ndim != 1:
        raise InputError(f"the start has shape {start.shape}; a vector of length {len(tensor)} is needed")


def _require_size(options: argparse.Namespace, max_dim: int, dim: int, dtype: torch.dtype) -> Form:
    """The form; refuse layers, weights, balls and rationals that will not do, before anything is drawn or built."""
    form = choose_form(options, max_dim, dtype)
    if options.layers % form.layers_per_step:
        raise InputError(
            f"--layers is {options.layers}; it must be a multiple of {form.layers_per_step}, the layers of a step"
        )
    require_size(max_dim, form)
    if options.precision is not None:
        tensor_power_precision.require_size(form, max_dim, dim, options.precision)
    if options.exact:
        _require_digits(options.layers, form, 2)
    return form


def _require_digits(layers: int, form: Form, bits: int) -> None:
    """Refuse --exact where entries with so many bits above and below the line grow too long."""
    digits = Decimal(2) ** (layers // form.layers_per_step) * 2 * bits * Decimal("0.302")
    if digits > LARGEST_DIGITS:
        raise InputError(
            f"--exact with --layers {layers} needs rationals of about {digits:.2g} digits, which double with every "
            f"iteration; the limit is {LARGEST_DIGITS}"
        )


def _rationals(options: argparse.Namespace, form: Form, tensor: np.ndarray, start: np.ndarray) -> list[np.ndarray]:
    """Tensor and start; an InputError if the last vector's rationals would be too long."""
    rationals = [as_rationals(array) for array in (tensor, start)]
    bits = max(value.numerator.bit_length() + value.denominator.bit_length() for a in rationals for value in a.ravel())
    _require_digits(options.layers, form, bits)
    return rationals


def _exact(result: PowerRun, tensor: np.ndarray, start: np.ndarray) -> list[LayerReport]:
    numbers = Rationals()
    exact_tensor, exact_start = (np.vectorize(numbers.number, otypes=[object])(array) for array in (tensor, start))
    with Progress("exact layer") as progress:
        reports = []
        for report in compare_layers(result.model, exact_tensor, exact_start, numbers):
            reports.append(report)
            progress(report.layer, len(result.model.transformer.schedule))
    return reports


def _picture(result: PowerRun) -> bytes:
    from figures.tensor_power import png

    return png(result)
