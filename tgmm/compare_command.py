"""`python -m tgmm compare --tasks PATH`: methods on a frozen set of tasks, side by side."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import numpy as np

from constructions.command_line import Progress, answer
from constructions.errors import InputError, meant
from tgmm import bootstrap, tasks
from tgmm.baselines import ANISOTROPIC_METHODS, METHODS, Method, failed
from tgmm.evaluation import method_of_checkpoint
from tgmm.metrics import score
from tgmm.probing import shared_components
from tgmm.tasks import TaskDistribution

SHOWN = {
    "l2_error": "l2-error",
    "error_of_means": "of means",
    "error_of_weights": "of weights",
    "log_likelihood": "log-likelihood",
    "clustering_accuracy": "accuracy",
}


def run(options: argparse.Namespace) -> int:
    """Compare; 0 on success."""
    if options.seed < 0:
        raise InputError(f"--seed is {options.seed}; it must not be negative")
    drawn = tasks.read(options.tasks)
    held = drawn.tasks
    components = shared_components(held)
    known = applicable(drawn.distribution, components)
    for name in options.methods or []:
        if name not in known:
            near = meant(name, known)
            raise InputError(f"there is no method {name!r} for these tasks{near}; there are {', '.join(known)}")
    estimators: dict[str, Any] = {
        str(path): method_of_checkpoint(path, drawn.distribution.dim, components) for path in options.checkpoint
    }
    estimators |= {name: known[name] for name in options.methods or known}
    rows: list[dict[str, Any]] = []
    refused: dict[str, str] = {}
    with Progress("method") as progress:
        for number, (name, method) in enumerate(estimators.items()):
            began = time.process_time()
            try:
                found = method(held.samples, components, np.random.default_rng([options.seed, 1]))
            except InputError as error:  # such as weights that are too large to build
                refused[name] = str(error)
                continue
            seconds = time.process_time() - began
            scores = score(found, held)
            metrics = {metric: bootstrap.mean(getattr(scores, metric)) for metric in SHOWN}
            rows.append({"method": name, "seconds": seconds, "failed": int(failed(found).sum()), "metrics": metrics})
            progress(number + 1, len(estimators))
    for name, reason in refused.items():
        print(f"{name} cannot estimate these tasks: {reason}", file=sys.stderr)
    if not rows:
        raise InputError(f"none of {len(refused)} methods can estimate these tasks")
    content = [row | {"metrics": {name: each.as_list() for name, each in row["metrics"].items()}} for row in rows]
    answer(content, _table(rows, len(held)), options.json)
    return 0


def applicable(distribution: TaskDistribution, components: int) -> dict[str, Method]:
    """The classical methods for tasks of this distribution: with scales where it has them, spectral where K ≤ d."""
    known = ANISOTROPIC_METHODS if distribution.anisotropic else METHODS
    return {name: method for name, method in known.items() if name != "spectral" or components <= distribution.dim}


def _table(rows: list[dict[str, Any]], count: int) -> str:
    """A line a method; the interval of the first metric is shown, the others are in the JSON."""
    width = max(len(row["method"]) for row in rows)
    header = "  ".join(f"{title:>14s}" for title in SHOWN.values())
    lines = [f"{'method':{width}s}  {header}  {'95 % of l2-error':>20s}  {'s':>8s}  failed of {count}"]
    for row in rows:
        values = "  ".join(f"{each.value:14.4f}" for each in row["metrics"].values())
        first = row["metrics"]["l2_error"]
        interval = f"[{first.low:.4f}, {first.high:.4f}]"
        lines.append(f"{row['method']:{width}s}  {values}  {interval:>20s}  {row['seconds']:8.2f}  {row['failed']}")
    return "\n".join(lines)
