"""The demo: `python -m constructions.em_transformer --layers 2L`."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from functools import partial
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from constructions import outputs
from constructions.command_line import Parser, Progress, run_command
from constructions.datasets import (
    BUNDLED,
    PREPARATION,
    Dataset,
    add_file_options,
    load_bundled,
    load_file,
    load_start,
    load_synthetic,
    read_mixture,
    refuse_file_options,
    require_source,
)
from constructions.errors import InputError

if TYPE_CHECKING:
    from constructions.em_class import TaskClass

LAYERS, RADIUS, MIN_WEIGHT, TOLERANCE = 40, 10.0, 0.01, 0.1
LARGEST_DIM, LARGEST_NUMBERS = 4096, 2**28  # the last: N·d of synthetic samples, 2 GiB


def parser() -> Parser:
    """All options, each with its default."""
    p = Parser(
        prog="python -m constructions.em_transformer",
        description="Build the EM transformer's weights by hand, run it as an ordinary transformer, and show at every "
        "EM step its estimate, exact EM, the error and the proven bound.",
        epilog=PREPARATION,
    )
    p.add_argument(
        "--layers",
        type=int,
        default=LAYERS,
        metavar="2L",
        help="layers: even, two for each EM step (%(default)s, after which EM on iris is at rest)",
    )
    p.add_argument(
        "--data", default="iris", help="iris (default), wine, digits, synthetic, or a file (-: standard input)"
    )
    p.add_argument("--components", type=int, metavar="K", help="components (iris, wine, synthetic: 3; digits: 10)")
    p.add_argument(
        "--dim", type=int, metavar="d", help="synthetic: dimension (2); real data: principal components kept"
    )
    p.add_argument(
        "--samples", type=int, metavar="n", help="synthetic: samples drawn (600); real data: a random subset"
    )
    p.add_argument("--separation", type=float, metavar="R", help="synthetic: smallest distance of two means (3)")
    p.add_argument(
        "--construction",
        choices=("floor", "paper"),
        default="floor",
        help="floor (ours, polynomial weights; default) or paper (A so large that no responsibility is below 1/A)",
    )
    p.add_argument(
        "--tolerance",
        type=float,
        default=TOLERANCE,
        metavar="ε",
        help="error of a mean per EM step (%(default)s)",
    )
    p.add_argument("--max-dim", type=int, metavar="d0", help="class: largest d (next power of two above d, at least 8)")
    p.add_argument("--max-components", type=int, metavar="K0", help="class: largest K (likewise)")
    p.add_argument(
        "--radius",
        type=float,
        default=RADIUS,
        metavar="B",
        help="class: largest norm of a sample (%(default)s)",
    )
    p.add_argument(
        "--min-weight",
        type=float,
        default=MIN_WEIGHT,
        metavar="P",
        help="class: smallest weight a run reaches (%(default)s)",
    )
    p.add_argument(
        "--init",
        default="kmeans++",
        help='kmeans++ (default) or a JSON file {"weights": [...], "means": [[...]]}',
    )
    p.add_argument("--seed", type=int, default=0, metavar="S", help="seed of synthetic data, subsets and k-means++ (0)")
    outputs.add_options(p, "draw errors and bounds, step by step")
    add_file_options(p)
    return p


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; 0 on success, 2 with one sentence on bad input."""
    return run_command(lambda: _run(parser().parse_args(arguments)))


def _run(options: argparse.Namespace) -> int:
    if options.layers < 2 or options.layers % 2:
        raise InputError(f"--layers is {options.layers}; it must be even and positive, two layers for each EM step")
    outputs.require(options, "em_transformer")
    _demonstrate(options)
    return 0


def _demonstrate(options: argparse.Namespace) -> None:
    from constructions import em_claims, em_precision, em_report, weights_file
    from constructions.dtypes import DTYPES
    from constructions.em_class import split_tolerance
    from constructions.em_run import run
    from constructions.em_transformer import build, require_size, validate, validate_samples
    from constructions.execution_report import execution

    report = sys.stderr if options.json == "-" else sys.stdout

    rng = np.random.default_rng(options.seed)
    data, components = _load(options, rng)
    task_class = _task_class(options, data.samples.shape[1], components)
    _require_near(data, components, options)
    validate_samples(task_class, data.samples, components)
    start = load_start(options.init, components, data.samples, rng)
    if data.affine is not None and options.init != "kmeans++":  # given in the file's units
        start = replace(start, means=data.affine.apply(start.means))
    validate(task_class, data.samples, start)
    approximation = split_tolerance(task_class, options.tolerance, options.construction)
    if options.precision is not None:
        say = partial(print, file=report, flush=True)
        enclosed = em_precision.demonstrate(data, start, task_class, approximation, options, say)
        _warn(enclosed)
        outputs.write_result(options, enclosed)
        return
    dtype = DTYPES[options.dtype]
    size = require_size(task_class, approximation, dtype)
    print(
        em_report.preamble(data, components, task_class, approximation, size, options),
        file=report,
        flush=True,
    )
    em = build(task_class, approximation, options.layers // 2, dtype)
    began = time.perf_counter()
    with Progress("layer") as progress:
        result = run(em, data.samples, start, progress, execution=options.execution)
    seconds = time.perf_counter() - began
    content = em_report.as_json(result, data, options)
    executed = execution(result.plan, options.plan, seconds)
    print(em_report.tables(result, data, content, executed), file=report)
    _warn(content)
    entry = em_report.construction_entry(em, options.tolerance)
    weights = partial(weights_file.serialise, em.transformer, entry)
    draw, claimed = partial(_picture, result), partial(em_claims.claimed, result)
    outputs.write(options, content, draw, weights, result.tokens, lambda: result.output, claimed)


def _warn(content: dict[str, Any]) -> None:
    for warning in content["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)


def _require_near(data: Dataset, components: int, options: argparse.Namespace) -> None:
    """InputError for a file with a sample outside the radius, that says what brings all of them within it."""
    from constructions.preparation import brought_within, sizes

    norms = sizes(data.samples)
    if norms.max() <= options.radius or data.labels is not None:
        return

    def fits(radius: int) -> bool:
        try:
            wider = argparse.Namespace(**vars(options) | {"radius": radius})
            _require_size(wider, data.samples.shape[1], components, len(data.samples))
        except InputError:
            return False
        return True

    untried = ["--centre"] * (data.affine is None) + ["--scale unit-noise"] * (options.scale != "unit-noise")
    helps = brought_within(data.samples, options.radius, components, untried, fits)
    where = int(norms.argmax())
    raise InputError(
        f"sample {where + 1} of {len(norms)} has norm {norms[where]:.4g}, outside the class's radius "
        f"{options.radius:g} (--radius); {helps}"
    )


def _picture(result: Any) -> bytes:
    from figures.em_step import png

    return png(result)


def default_limit(size: int) -> int:
    """The class's limit when none is given: the next power of two above the task's own size, at least 8."""
    return max(8, 1 << size.bit_length())


def _task_class(options: argparse.Namespace, dim: int, components: int) -> TaskClass:
    from constructions.em_class import TaskClass

    return TaskClass(
        options.max_dim if options.max_dim is not None else default_limit(dim),
        options.max_components if options.max_components is not None else default_limit(components),
        options.radius,
        options.min_weight,
    )


def _require_near_enough(options: argparse.Namespace, dim: int) -> None:
    """Refuse, before synthetic samples are drawn, a class that is too small for them.

    A sample has |x|^2 >= chi^2_d in law, which is below d - 2 sqrt(25 d) with probability e^-25 at most (Laurent and
    Massart 2000, Lemma 1): within a radius below that root no data set of one sample or more will be.
    """
    if options.radius > 0 and options.radius**2 < dim - 2 * sqrt(25 * dim):
        raise InputError(
            f"synthetic samples of dimension {dim} have norms of about {sqrt(dim):.0f}, outside the class's radius "
            f"{options.radius:g} (--radius)"
        )


def _require_size(options: argparse.Namespace, dim: int, components: int, count: int) -> None:
    """Refuse, before data is drawn or read, a class that is too large even for so little of it."""
    from constructions.em_class import split_tolerance

    task_class = _task_class(options, dim, components)
    approximation = split_tolerance(task_class, options.tolerance, options.construction)
    if options.precision is None:
        from constructions.dtypes import DTYPES
        from constructions.em_transformer import require_size

        require_size(task_class, approximation, DTYPES[options.dtype])
    else:
        from constructions.em_precision import require_fit

        require_fit(task_class, approximation, (count, dim), components, options.precision)


def _load(options: argparse.Namespace, rng: np.random.Generator) -> tuple[Dataset, int]:
    """The data set and K; options that do not apply to it are refused."""
    if options.separation is not None and options.data != "synthetic":
        raise InputError(f"--separation applies to --data synthetic only, not to {options.data!r}")
    if options.components is not None and options.components < 1:
        raise InputError(f"--components is {options.components}; it must be at least 1")
    if options.data not in (*BUNDLED, "synthetic"):
        require_source(options.data)
    if options.data != "synthetic":
        _require_size(options, options.dim or 1, options.components or 1, options.samples or 1)
    if options.data in (*BUNDLED, "synthetic"):
        refuse_file_options(options)
    if options.data in BUNDLED:
        components = _components(options, BUNDLED[options.data].components)
        return load_bundled(options.data, components, options.dim, options.samples, rng), components
    if options.data == "synthetic":
        components = _components(options, 3)
        dim = options.dim if options.dim is not None else 2
        count = options.samples if options.samples is not None else 600
        separation = options.separation if options.separation is not None else 3.0
        for name, value, limit in (("dim", dim, LARGEST_DIM), ("samples", count, LARGEST_NUMBERS // max(1, dim))):
            if not 1 <= value <= limit:
                raise InputError(f"--{name} is {value}; it must lie between 1 and {limit}")
        if components > count:
            raise InputError(f"there are {components} components but only {count} samples; K must be at most N")
        if not 0 <= separation < float("inf"):
            raise InputError(f"--separation is {separation}; it must be finite and not negative")
        _require_near_enough(options, dim)
        _require_size(options, dim, components, count)
        return load_synthetic(components, dim, count, separation, rng), components
    if options.samples is not None:
        raise InputError(f"--samples {options.samples} does not apply to a file")
    components = _components(options, None)
    return load_file(options, components), components


def _components(options: argparse.Namespace, default: int | None) -> int:
    if options.components is not None:
        return int(options.components)
    if options.init != "kmeans++":
        return len(read_mixture(Path(options.init)).weights)
    if default is None:
        raise InputError("--components is missing; a file does not say how many components to fit")
    return default
