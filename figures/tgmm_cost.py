"""Seconds against error: what each method costs for what it gives, and what EM pays for a better optimum."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style, tgmm_results
from figures.tgmm_rq1 import METHODS
from tgmm import checkpoints
from tgmm.evaluation import MODELS, ORACLE, trained

POINTS = tuple(method for method in METHODS if method not in (ORACLE, "em-kmeans++", "em-best-of-10"))


def panel(axes: Axes, d: int, k: int) -> None:
    """One d and K: a point a method, a line for EM's restarts, and the level of the trained model."""
    found = tgmm_results.rows(f"rq1-d{d}")
    found = found[found["K"] == k]
    for method in (*POINTS, MODELS[d]):
        for row in found[found["method"] == method]:
            label, colour, _, mark = tgmm_results.look(method)
            x, y = _place(row)
            axes.errorbar(x, y, yerr=_ends(row), fmt=mark, color=colour, label=label, linewidth=0.8)
    restarts = tgmm_results.rows("cost")
    restarts = np.sort(restarts[(restarts["d"] == d) & (restarts["K"] == k)], order="estimation_seconds")
    seconds, errors = np.array([_place(row) for row in restarts]).T
    ends = np.concatenate([_ends(row) for row in restarts], axis=1)
    label = "EM, k-means++: best of 1, 3, 10, 30"
    axes.errorbar(seconds, errors, yerr=ends, fmt="-^", color=style.ORANGE, label=label, linewidth=0.8)
    levels = {MODELS[d]: ("TGMM's error", style.BLUE, "--"), ORACLE: ("EM from the truth", style.GREY, ":")}
    for method, (label, colour, line) in levels.items():
        (level,) = found["l2_error"][found["method"] == method]
        axes.axhline(level, color=colour, linestyle=line, linewidth=0.8, label=label)
    axes.set(xscale="log", yscale="log", xlabel="seconds a task, one processor", ylabel="ℓ2-error")


def _place(row: np.void) -> tuple[float, float]:
    return row["estimation_seconds"] / row["tasks"], row["l2_error"]


def _ends(row: np.void) -> np.ndarray:
    return np.array([[row["l2_error"] - row["l2_error_low"]], [row["l2_error_high"] - row["l2_error"]]])


@style.styled
def figure() -> Figure:
    """Cost of each method: seconds a task against the error, K = 3 and 5."""
    picture = style.new_figure(5.2)
    axes = picture.subplots(2, 2)
    cells = [(d, k) for d in MODELS for k in (3, 5)]
    for letter, each, (d, k) in zip("abcd", axes.ravel(), cells, strict=True):
        panel(each, d, k)
        style.panel_title(each, letter, f"d = {d}, K = {k}")
    tgmm_results.legend(picture, *axes.ravel())
    runs = {d: checkpoints.read(trained(model)) for d, model in MODELS.items()}
    told = " and ".join(
        f"{run.seconds:.0f} s (d = {d}, threads: {run.config.training.threads})" for d, run in runs.items()
    )
    text = tgmm_results.small_print(tgmm_results.rows("cost"), "bars")
    style.caption(picture, f"{text} All tasks in batches. The steps of training, which are not counted, took {told}.")
    return picture
