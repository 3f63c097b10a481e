"""Training of the shipped models: the error on validation tasks along the steps, and what EM's best of ten reaches."""

from __future__ import annotations

import json
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style, tgmm_results
from tgmm import checkpoints
from tgmm.evaluation import MODELS, trained
from tgmm.names import SHIPPED


def validations(model: str) -> list[dict[str, Any]]:
    """The lines of the run's metrics that tell of a validation."""
    lines = (SHIPPED / f"{model}.jsonl").read_text(encoding="utf-8").splitlines()
    return [line for line in map(json.loads, lines) if "validation" in line]


def panel(axes: Axes, d: int) -> None:
    """One model: a line for every K, and the level of EM's best of ten."""
    found = validations(MODELS[d])
    stored = tgmm_results.rows(f"rq1-d{d}")
    for k, colour in tgmm_results.COMPONENTS.items():
        errors = [line["validation"][str(k)] for line in found]
        axes.plot([line["step"] for line in found], errors, color=colour, label=f"K = {k}")
        (level,) = stored["l2_error"][(stored["method"] == "em-best-of-10") & (stored["K"] == k)]
        axes.axhline(level, color=colour, linestyle=":", linewidth=0.8)
    axes.set(yscale="log", xlabel="step", ylabel="ℓ2-error")
    axes.locator_params(axis="x", nbins=5)


@style.styled
def figure() -> Figure:
    """Training of the shipped models: error on validation tasks."""
    picture = style.new_figure(2.9)
    axes = picture.subplots(1, 2)
    for letter, each, d in zip("ab", axes, MODELS, strict=True):
        panel(each, d)
        style.panel_title(each, letter, f"d = {d}")
    tgmm_results.legend(picture, axes[0])
    (validated,) = {
        (config.training.validation, config.tasks.samples[1])
        for config in (checkpoints.read(trained(model)).config for model in MODELS.values())
    }
    style.caption(
        picture,
        f"Lines: {validated[0]} validation tasks for each K, n = {validated[1]}, the same at every step. Dotted: EM, "
        "the best of 10 runs from k-means++ means, on the tasks of RQ1.",
    )
    return picture
