"""An EM run as text, as JSON and as the entries of an export."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from math import ceil, log10
from typing import Any

import numpy as np

from constructions import bounds, resources
from constructions.algorithms import metrics
from constructions.algorithms.em import log_responsibilities
from constructions.algorithms.sampling import Mixture
from constructions.datasets import Dataset
from constructions.em_class import Approximation, TaskClass
from constructions.em_run import EmRun
from constructions.em_transformer import EmTransformer, PredictedSize
from constructions.execution_report import execution_rows
from constructions.outputs import finite, versions
from constructions.preparation import Affine
from constructions.run_warnings import at_rest, em_warnings, how_far, moved, vacuous_warning
from constructions.units import in_bytes

SCHEMA = 1
RESTS_ON = {
    "floor": ["e-step", "m-step", "em-step-floor"],
    "paper": ["e-step", "m-step", "em-step-paper"],
}


def preamble(
    data: Dataset,
    components: int,
    task_class: TaskClass,
    approximation: Approximation,
    size: PredictedSize,
    options: argparse.Namespace,
) -> str:
    """Data, class and predicted size: printed before anything is built."""
    count, dim = data.samples.shape
    return "\n".join(
        [
            f"data          {data.name}: {count} samples, d = {dim}, K = {components}; {data.preparation}",
            f"class         d <= {task_class.max_dim}, K <= {task_class.max_components}, |x| <= {task_class.radius:g}, "
            f"every new weight >= {task_class.min_weight:g}; tolerance {options.tolerance:g} for a mean, per EM step",
            f"construction  {approximation.construction}: log A = {approximation.log_a:.2f}, "
            f"{approximation.segments} chords of log (error {approximation.log_error:.1e}), "
            f"{approximation.pieces} of the square (error {approximation.square_error:.1e})",
            f"size          {size.e_step_units} + {size.m_step_units} hidden units (each MLP {size.log_units} for log, "
            f"the second {size.square_units} for squares), {in_bytes(size.bytes)} of {options.dtype} weights",
        ]
    )


def tables(result: EmRun, data: Dataset, content: dict[str, Any], execution: str) -> str:
    """Steps against exact EM with bounds, the estimates side by side, resources against the theorem."""
    used, given = len(result.samples), len(data.samples)
    lines = [
        f"samples used  {used} of {given}"
        + (f" (the last {given - used} dropped: N must be a multiple of K)" if used < given else ""),
        f"diameter      {result.diameter:.4g} ({result.diameter_kind})",
        execution,
        "",
        "EM step by step: the transformer's two layers against one exact EM step from the same parameters",
        "step    |mean error|      <= bound   |log-weight error|   <= bound   against EM from the start   verdict",
    ]
    for step in result.steps:
        drift = metrics.mean_error(step.estimate, step.reference)
        verdict = step.status + (f": {step.reason}" if step.reason else "")
        lines.append(
            f"{step.step:4d}  {step.mean_error:14.3e}  {step.mean_bound:12.3e}  {step.log_weight_error:19.3e}  "
            f"{step.log_weight_bound:9.3e}  {drift:26.3e}   {verdict}"
        )
    lines += [
        "  (a bound for the error after every number of steps: --precision 128 certifies one where EM contracts)",
        "",
    ]
    final = result.steps[-1]
    ours, theirs = (_components(mixture) for mixture in (final.estimate, final.reference))
    column = max(len(line) for line in ours)
    lines.append(f"{'estimate of the transformer':{column}s}   exact EM from the same start")
    lines += [f"{left:{column}s}   {right}" for left, right in zip(ours, theirs, strict=True)]
    mean, weight = moved(_entering(result), final.estimate)
    lines.append(how_far(f"{mean:.1e}", f"{weight:.1e}", at_rest(mean, content["tolerance"])))
    if data.affine is not None:
        restored = Mixture(final.estimate.weights, data.affine.restore(final.estimate.means))
        lines += ["", "estimate of the transformer in the file's units", *_components(restored, data.affine)]
    lines += ["", "average log-likelihood   " + _beside(content["metrics"]["average_log_likelihood"])]
    if "clustering_accuracy" in content["metrics"]:
        lines.append("clustering accuracy      " + _beside(content["metrics"]["clustering_accuracy"]))
    if "l2_error_against_truth" in content["metrics"]:
        lines.append("l2-error against truth   " + _beside(content["metrics"]["l2_error_against_truth"]))
    lines += ["", f"resource            measured  {'formula':51s}  theorem F.1 (recovered, order only)"]
    for row in content["resources"]["table"]:
        lines.append(f"{row['resource']:14s}  {row['measured']:>12}  {row['formula']:51s}  {row['theorem']}")
    return "\n".join(lines)


def as_json(result: EmRun, data: Dataset, options: argparse.Namespace) -> dict[str, Any]:
    """The result with everything needed to reproduce it; infinite bounds are null."""
    final = result.steps[-1]
    return {
        "schema": SCHEMA,
        "versions": versions(),
        **_parameters(final.estimate),
        "reference": _parameters(final.reference),
        "errors": {
            "steps": [
                {"step": s.step, "mean": finite(s.mean_error), "log_weight": finite(s.log_weight_error)}
                for s in result.steps
            ],
            "final": {
                "mean": finite(metrics.mean_error(final.estimate, final.reference)),
                "weight": finite(metrics.weight_error(final.estimate, final.reference)),
                "l2": finite(metrics.l2_error(final.estimate, final.reference)),
            },
        },
        "bounds": {
            "steps": [
                {
                    "step": s.step,
                    "mean": finite(s.mean_bound),
                    "log_weight": finite(s.log_weight_bound),
                    "rounding": {
                        "mean": finite(s.rounding.mean),
                        "log_weight": finite(s.rounding.log_weight),
                    },
                    "status": s.status,
                    "reason": s.reason,
                }
                for s in result.steps
            ],
            "final": {"mean": None, "status": "undecided"},
            "diameter": {"value": result.diameter, "kind": result.diameter_kind},
            "rest_on": [*RESTS_ON[result.em.approximation.construction], "rounding", *execution_rows(result.plan)],
        },
        "last_step": dict(zip(("mean", "weight"), map(finite, moved(_entering(result), final.estimate)), strict=True)),
        "warnings": vacuous_warning([step.status for step in result.steps], result.diameter, options, data)
        + em_warnings(_entering(result), final.estimate, result.samples, options.tolerance, data),
        "metrics": _metrics(result, data),
        "resources": _resources(result.em),
        "samples_used": len(result.samples),
        "samples_given": len(data.samples),
        "data": {"name": data.name, "dim": data.samples.shape[1], "preparation": data.preparation},
        "start": _parameters(result.start),
        "construction": result.em.approximation.construction,
        "approximation": asdict(result.em.approximation),
        "tolerance": options.tolerance,
        "class": asdict(result.em.task_class),
        "layers": options.layers,
        "execution": options.execution,
        "dtype": options.dtype,
        "seed": options.seed,
    }


def construction_entry(em: EmTransformer, tolerance: float) -> dict[str, Any]:
    """What a weights file says of itself: a function of the class and the tolerance, never of data."""
    return {
        "name": f"em_transformer/{em.approximation.construction}",
        "class": asdict(em.task_class),
        "tolerance": tolerance,
        "arithmetic": str(em.dtype).removeprefix("torch."),
        "approximation": asdict(em.approximation),
        "layout": {name: list(where) for name, where in em.stream.layout.items()},
        "hidden_layout": [{block.name: [block.start, block.stop] for block in blocks} for blocks in em.hidden_layout],
        "read_out": {
            "means": {
                "formula": "means[k] = (K/N) * sum_i h[i, component[k]] * h[i, mu]",
                "indicator": "component",
                "value": "mu",
            },
            "weights": {"formula": "weights[k] = h[0, pi[k]]", "token": 0, "value": "pi"},
        },
    }


def _metrics(result: EmRun, data: Dataset) -> dict[str, Any]:
    final = result.steps[-1]
    sides = {"transformer": final.estimate, "reference": final.reference}
    proper = {name: mixture for name, mixture in sides.items() if _is_proper(mixture)}
    values: dict[str, Any] = {
        "average_log_likelihood": {
            name: metrics.average_log_likelihood(mixture, result.samples) for name, mixture in proper.items()
        }
    }
    if data.labels is not None:
        values["clustering_accuracy"] = {
            name: metrics.clustering_accuracy(
                data.labels[: len(result.samples)],
                log_responsibilities(result.samples, mixture.weights, mixture.means).argmax(axis=1),
            )
            for name, mixture in proper.items()
        }
    if data.truth is not None:
        values["l2_error_against_truth"] = {
            name: metrics.l2_error(metrics.align(mixture, data.truth), data.truth) for name, mixture in proper.items()
        }
    return values


def _resources(em: EmTransformer) -> dict[str, Any]:
    measured = resources.measure(em.transformer)
    d, k = em.task_class.max_dim, em.task_class.max_components
    parts = {"log": 0, "square": 0, "clear": 0}
    widest = max(em.hidden_layout, key=lambda blocks: blocks[-1].stop)
    for block in widest:
        parts[block.name.split("(")[0]] += block.stop - block.start
    a, cleared = em.approximation, parts["clear"] // 2
    total = k * a.log_units + 2 * d * a.pieces + 2 * cleared
    units = f"{k}*{a.log_units} log + 2*{d}*{a.pieces} square + 2*{cleared} clear = {total}"
    log_b = f"<= {bounds.log_b_theta(em.task_class, a):.2f}, with log A = {a.log_a:.2f}"
    table = [
        ("layers", measured.layers, "2L", "2(L+1), its first step apart"),
        ("heads M", measured.heads, "2", "O(1)"),
        ("width D", measured.width, f"2 d0 + 5 K0 + 2 = {2 * d + 5 * k + 2}", "O(d0 + K0)"),
        ("hidden D'", measured.hidden_width, units, "~O(K0 Rmax (Rmax + d0) / eps)"),
        ("log B_Theta", f"{measured.log_b_theta:.2f}", log_b, "~O(poly(Rmax, d0))"),
    ]
    columns = ("resource", "measured", "formula", "theorem")
    return {
        **asdict(measured),
        "hidden_parts": parts,
        "table": [dict(zip(columns, row, strict=True)) for row in table],
    }


def _entering(result: EmRun) -> Mixture:
    """The parameters that the last step starts from."""
    return result.steps[-2].estimate if len(result.steps) > 1 else result.start


def _is_proper(mixture: Mixture) -> bool:
    return bool(np.isfinite(mixture.means).all() and (mixture.weights > 0).all())


def _parameters(mixture: Mixture) -> dict[str, Any]:
    return {
        "weights": [finite(weight) for weight in mixture.weights],
        "means": [[finite(coordinate) for coordinate in mean] for mean in mixture.means],
    }


def _components(mixture: Mixture, affine: Affine | None = None) -> list[str]:
    units = None if affine is None else np.linalg.norm(affine.back, axis=0)
    return [f"pi {pi:.4f}  mu ({_vector(mu, units)})" for pi, mu in zip(mixture.weights, mixture.means, strict=True)]


def _vector(values: np.ndarray, units: np.ndarray | None) -> str:
    """Five coordinates with three decimals; where `units` are given, to a thousandth of these."""
    rows = zip(values[:5], np.ones(5) if units is None else units[:5], strict=False)
    shown = [f"{value:.3f}" if units is None else f"{value:.{_digits(value / unit)}g}" for value, unit in rows]
    return ", ".join(shown) + (", …" if len(values) > 5 else "")


def _digits(ratio: float) -> int:
    return 3 + max(0, ceil(log10(abs(ratio)))) if ratio else 1


def _beside(values: dict[str, float]) -> str:
    return "   ".join(f"{name} {value:.4f}" for name, value in values.items())
