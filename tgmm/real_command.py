"""`python -m tgmm real`: trained models and classical methods on data that no mixture has drawn."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from constructions.command_line import Progress, answer
from constructions.datasets import load_bundled
from constructions.errors import InputError
from tgmm import bootstrap
from tgmm.baselines import METHODS, failed
from tgmm.densities import log_joint_density, log_likelihood
from tgmm.evaluation import MODELS, method_of_checkpoint, trained
from tgmm.metrics import clustering_accuracy
from tgmm.names import SUBSET

CASES = (("iris", 3, 2), ("wine", 3, 2), ("wine", 3, 8), ("digits", 3, 2), ("digits", 3, 8), ("digits", 5, 8))
"""Data set, classes (the first so many; as many components), and principal components kept (iris has only 4)."""


def run(options: argparse.Namespace) -> int:
    """Measure; 0 on success."""
    for name, least, most in (("subsets", 2, 10_000), ("seed", 0, 2**63 - 1)):
        if not least <= getattr(options, name) <= most:
            raise InputError(f"--{name} is {getattr(options, name)}; it must lie between {least} and {most}")
    models = {case: method_of_checkpoint(trained(MODELS[case[2]]), case[2], case[1]) for case in CASES}
    rows: list[dict[str, Any]] = []
    with Progress("data set") as progress:
        for number, (name, classes, dim) in enumerate(CASES, start=1):
            samples, labels = subsets(name, classes, dim, options.subsets, np.random.default_rng(options.seed))
            methods: dict[str, Any] = {MODELS[dim]: models[name, classes, dim]}
            methods |= {key: method for key, method in METHODS.items() if key != "spectral" or classes <= dim}
            for key, method in methods.items():
                found = method(samples, classes, np.random.default_rng([options.seed, 1]))
                joint = log_joint_density(found, samples)
                usable = ~failed(found)
                accuracy = clustering_accuracy(labels, joint.argmax(axis=2), classes)
                rows.append(
                    {
                        "data": name,
                        "classes": classes,
                        "dim": dim,
                        "method": key,
                        "failed": int((~usable).sum()),
                        "accuracy": bootstrap.mean(np.where(usable, accuracy, np.nan)).as_list(),
                        "log_likelihood": bootstrap.mean(np.where(usable, log_likelihood(joint), np.nan)).as_list(),
                    }
                )
            progress(number, len(CASES))
    content = {"subsets": options.subsets, "samples": SUBSET, "seed": options.seed, "rows": rows}
    answer(content, _table(rows), options.json)
    return 0


def subsets(
    name: str, classes: int, dim: int, count: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "B N d"], Int[np.ndarray, "B N"]]:
    """Random subsets of SUBSET samples each, with their classes: principal components, scaled to about unit noise."""
    data = load_bundled(name, classes, dim, None, rng, classes=classes)
    if data.labels is None or len(data.samples) < SUBSET:
        raise InputError(f"{name} with {classes} classes has {len(data.samples)} samples; {SUBSET} are needed")
    chosen = rng.permuted(np.tile(np.arange(len(data.samples)), (count, 1)), axis=1)[:, :SUBSET]
    return data.samples[chosen], data.labels[chosen]


def _table(rows: list[dict[str, Any]]) -> str:
    """Accuracies, a line a method and a column a data set."""
    cases = list(dict.fromkeys((row["data"], row["classes"], row["dim"]) for row in rows))
    titles = [f"{name} K={classes} d={dim}" for name, classes, dim in cases]
    names = list(dict.fromkeys("TGMM" if row["method"] in MODELS.values() else row["method"] for row in rows))
    width = max(map(len, names))
    lines = [f"{'accuracy':{width}s}  " + "  ".join(f"{title:>16s}" for title in titles)]
    for name in names:
        cells = []
        for case in cases:
            own = [
                row
                for row in rows
                if (row["data"], row["classes"], row["dim"]) == case
                and (row["method"] == name or (name == "TGMM" and row["method"] in MODELS.values()))
            ]
            value = own[0]["accuracy"][0] if own else None
            cells.append("-" if value is None else f"{value:.4f}" + "*" * bool(own[0]["failed"]))
        lines.append(f"{name:{width}s}  " + "  ".join(f"{cell:>16s}" for cell in cells))
    failed = [f"{row['method']} on {row['failed']} of {row['data']}, d={row['dim']}" for row in rows if row["failed"]]
    if failed:
        lines.append(f"* without the subsets that a method fails on: {'; '.join(failed)}")
    return "\n".join(lines)
