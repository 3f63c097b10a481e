"""The demo: `python -m constructions.spectral_transformer`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from constructions.algorithms.sampling import sample, simplex_mixture
from constructions.algorithms.tensor_power import RESTARTS
from constructions.command_line import Parser, require_writable, run_command, write_all
from constructions.datasets import (
    BUNDLED,
    Dataset,
    add_file_options,
    load_bundled,
    load_file,
    refuse_file_options,
    require_source,
)
from constructions.errors import InputError

ITERATIONS = 10
LARGEST_COMPONENTS, LARGEST_NUMBERS, LARGEST_COUNT = 32, 2**28, 1000


def parser() -> Parser:
    """All options, each with its default."""
    p = Parser(
        prog="python -m constructions.spectral_transformer",
        description="Algorithm B.2 (moments, whitening, robust tensor power method) with its power iterations done by "
        "the normalised transformer, beside the same with the reference iteration; differences and proven tolerances.",
        epilog="The method needs K <= d linearly independent means, so real data is not centred: its columns are "
        "divided by standard deviations (iris, wine), --dim keeps principal directions (digits: 20 unless given), and "
        "the k-means residual sets the unit. Files are taken as they are, or prepared likewise (--scale).",
    )
    p.add_argument(
        "--data", default="wine", help="wine (default), iris, digits, synthetic, or a file (-: standard input)"
    )
    p.add_argument("--components", type=int, metavar="K", help="components (digits: 10, else 3)")
    p.add_argument(
        "--dim", type=int, metavar="d", help="synthetic: dimension (5); real data: principal directions kept"
    )
    p.add_argument("--samples", type=int, metavar="n", help="synthetic: samples drawn (20000); real data: a subset")
    p.add_argument("--restarts", type=int, default=RESTARTS, metavar="R", help="starts per component (%(default)s)")
    p.add_argument(
        "--iterations", type=int, default=ITERATIONS, metavar="L", help="iterations, four layers each (%(default)s)"
    )
    p.add_argument("--seed", type=int, default=0, metavar="S", help="seed of synthetic data, subsets and starts (0)")
    p.add_argument(
        "--json", metavar="PATH|-", help="write the result as JSON (-: to standard output, and nothing else there)"
    )
    add_file_options(p, centre=False)
    return p


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; 0 on success, 2 with one sentence on bad input."""
    return run_command(lambda: _run(parser().parse_args(arguments)))


def _run(options: argparse.Namespace) -> int:
    if options.seed < 0:
        raise InputError(f"--seed is {options.seed}; it must not be negative")
    if options.json not in (None, "-"):
        require_writable(Path(options.json))
    if options.components is not None and not 1 <= options.components <= LARGEST_COMPONENTS:
        raise InputError(f"--components is {options.components}; it must lie between 1 and {LARGEST_COMPONENTS}")
    for name, value in (("restarts", options.restarts), ("iterations", options.iterations)):
        if not 1 <= value <= LARGEST_COUNT:
            raise InputError(f"--{name} is {value}; it must lie between 1 and {LARGEST_COUNT}")
    from constructions.spectral_report import as_json, text
    from constructions.spectral_transformer import TransformerIteration, run

    rng = np.random.default_rng(options.seed)
    data, components = _load(options, rng)
    iterate = TransformerIteration(max(8, components))
    result = run(data.samples, components, options.seed, options.restarts, options.iterations, iterate)
    content = as_json(result, data, options)
    report = sys.stderr if options.json == "-" else sys.stdout
    print(text(result, data, content, options), file=report)
    for warning in content["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    encoded = json.dumps(content, indent=2, allow_nan=False) + "\n"
    if options.json == "-":
        sys.stdout.write(encoded)
    elif options.json is not None:
        write_all({Path(options.json): encoded.encode()})
    return 0


def _load(options: argparse.Namespace, rng: np.random.Generator) -> tuple[Dataset, int]:
    name = options.data
    if name in (*BUNDLED, "synthetic"):
        refuse_file_options(options)
    if name in BUNDLED:
        components = options.components or BUNDLED[name].components
        dim = options.dim if options.dim is not None or name != "digits" else 20
        return load_bundled(name, components, dim, options.samples, rng, centred=False), components
    if name == "synthetic":
        components, dim = options.components or 3, options.dim if options.dim is not None else 5
        count = options.samples if options.samples is not None else 20_000
        if not components <= dim <= 256:
            raise InputError(f"--dim is {dim}; for {components} components it must lie between {components} and 256")
        if not components <= count <= LARGEST_NUMBERS // dim:
            raise InputError(f"--samples is {count}; it must lie between {components} and {LARGEST_NUMBERS // dim}")
        truth = simplex_mixture(dim, components, 4.0, rng)
        samples, labels = sample(truth, count, rng)
        return Dataset("synthetic", samples, labels, truth, "means on orthogonal axes, 4 apart"), components
    require_source(name)
    if options.components is None:
        raise InputError("--components is missing; a file does not say how many components to fit")
    if options.samples is not None:
        raise InputError(f"--samples {options.samples} does not apply to a file")
    return load_file(options, options.components, centred=False), int(options.components)
