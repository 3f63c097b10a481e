"""A spectral run as text and as JSON."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from constructions.algorithms import metrics
from constructions.algorithms.em import log_responsibilities
from constructions.datasets import Dataset
from constructions.outputs import finite, versions
from constructions.run_warnings import spectral_warnings
from constructions.spectral_transformer import SpectralRun


def text(result: SpectralRun, data: Dataset, content: dict[str, Any], options: argparse.Namespace) -> str:
    """Moments, then both estimates component by component, then what the data's labels or truth say."""
    count, dim = data.samples.shape
    range_, components = result.iterate.range, len(result.components)
    eigenvalues = ", ".join(f"{value:.3g}" for value in result.reference.eigenvalues[: components + 1])
    dots = ", ..." if dim > components + 1 else ""
    lines = [
        f"data          {data.name}: {count} samples, d = {dim}, K = {components}; {data.preparation}",
        f"moments       sigma^2 = {result.reference.noise_variance:.4g}; eigenvalues of M2: {eigenvalues}{dots}",
        f"transformer   d0 = {result.iterate.model.max_dim}, {range_.low:g} <= |T(I,v,v)| <= {range_.high:g}, "
        f"{range_.segments} chords of 1/sqrt; {options.restarts} restarts x {options.iterations} iterations x 4 layers",
        "",
        "component by component: power iterations by the transformer against the reference iteration",
        "   k      pi   |mu|   |mean difference|   <= tolerance   |pi difference|/pi   <= tolerance   verdict",
    ]
    for k, row in enumerate(content["components"]):
        lines.append(
            f"{k + 1:4d}  {row['weight']:6.4f}  {row['mean_norm']:5.2f}  {row['mean_error']:18.3e}  "
            f"{_shown(row['mean_tolerance'])}  {row['weight_error']:19.3e}  {_shown(row['weight_tolerance'])}   "
            f"{row['status']}" + (f": {row['reason']}" if row["reason"] else "")
        )
    lines.append(f"\nweights sum to {content['sum_of_weights']:.4f} (1/lambda^2: the method does not normalise them)")
    if data.affine is not None:
        means = data.affine.restore(result.transformer.mixture.means)
        lines.append("means in the file's units (the first coordinates):")
        lines += [f"  ({', '.join(f'{value:.4g}' for value in mean[:5])})" for mean in means]
    if "clustering_accuracy" in content:
        lines.append(f"clustering accuracy {content['clustering_accuracy']:.4f}")
    if "mean_error_against_truth" in content:
        lines.append(f"largest error of a mean against the truth {content['mean_error_against_truth']:.4f}")
    return "\n".join(lines)


def as_json(result: SpectralRun, data: Dataset, options: argparse.Namespace) -> dict[str, Any]:
    """The result with everything needed to reproduce it; infinite tolerances are null."""
    mixture, reference = result.transformer.mixture, result.reference.mixture
    rows = []
    for component, weight, mean in zip(result.components, mixture.weights, mixture.means, strict=True):
        rows.append(
            {
                "weight": float(weight),
                "mean_norm": float(np.linalg.norm(mean)),
                "mean_error": component.mean_error,
                "mean_tolerance": finite(component.mean_tolerance),
                "weight_error": component.weight_error,
                "weight_tolerance": finite(component.weight_tolerance),
                "status": component.status,
                "reason": component.reason,
            }
        )
    content: dict[str, Any] = {
        "versions": versions(),
        "weights": mixture.weights.tolist(),
        "means": mixture.means.tolist(),
        "reference": {"weights": reference.weights.tolist(), "means": reference.means.tolist()},
        "components": rows,
        "sum_of_weights": float(mixture.weights.sum()),
        "noise_variance": result.reference.noise_variance,
        "eigenvalues": result.reference.eigenvalues.tolist(),
        "warnings": spectral_warnings(
            mixture, result.reference.eigenvalues, result.reference.noise_variance, data.samples, data
        ),
        "rest_on": ["spectral", "remark-g2"],
        "data": {"name": data.name, "dim": data.samples.shape[1], "preparation": data.preparation},
        "restarts": options.restarts,
        "iterations": options.iterations,
        "seed": options.seed,
    }
    if data.labels is not None:
        responsibilities = log_responsibilities(data.samples, mixture.weights, mixture.means)
        content["clustering_accuracy"] = metrics.clustering_accuracy(data.labels, responsibilities.argmax(axis=1))
    if data.truth is not None:
        content["mean_error_against_truth"] = metrics.mean_error(metrics.align(mixture, data.truth), data.truth)
    return content


def _shown(tolerance: float | None) -> str:
    return f"{'none':>13s}" if tolerance is None else f"{tolerance:13.3e}"
