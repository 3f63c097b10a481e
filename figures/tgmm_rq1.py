"""RQ1: errors, accuracy and likelihood of the trained model and of classical methods, for K = 2 ... 5.

Rows: d = 2 and d = 8; columns: the paper's ℓ2-error, the accuracy of the clustering, and the average log-likelihood
less that of the true mixture.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from figures import style, tgmm_results
from tgmm.evaluation import MODELS

METHODS = (
    "em-truth",
    "em-normal",
    "em-samples",
    "em-kmeans++",
    "em-best-of-10",
    "em-pruning",
    "adam",
    "spectral",
    "em-transformer-10",
    "em-transformer-50",
)


def row(axes: np.ndarray, found: np.ndarray, model: str) -> None:
    """Three panels of one dimension."""
    error, accuracy, likelihood = axes
    for method in (*(method for method in METHODS if method in found["method"]), model):
        for panel, metric in zip(axes, ("l2_error", "clustering_accuracy", "log_likelihood_gain"), strict=True):
            tgmm_results.draw(panel, found, method, "K", metric)
    error.set(yscale="log", ylabel="ℓ2-error")
    accuracy.set(ylabel="clustering accuracy")
    likelihood.set(ylabel="log-likelihood − truth's")
    for panel in axes:
        panel.set(xlabel="components K", xticks=[2, 3, 4, 5])


def _titles(axes: np.ndarray) -> None:
    for letter, panel, (d, what) in zip(
        "abcdef",
        axes.ravel(),
        ((d, what) for d in (2, 8) for what in ("error", "accuracy", "likelihood")),
        strict=True,
    ):
        style.panel_title(panel, letter, f"d = {d}: {what}")


@style.styled
def figure() -> Figure:
    """Effectiveness of the trained model (RQ1), d = 2 and 8."""
    picture = style.new_figure(5.2)
    axes = picture.subplots(2, 3)
    both = {2: tgmm_results.rows("rq1-d2"), 8: tgmm_results.rows("rq1-d8")}
    for panels, (d, found) in zip(axes, both.items(), strict=True):
        row(panels, found, MODELS[d])
    _titles(axes)
    tgmm_results.legend(picture, *axes.ravel())
    (spectral,) = tgmm_results.rows("rq1-d2-spectral")
    style.caption(
        picture,
        f"{tgmm_results.small_print(both[2])} The spectral method needs K ≤ d; at d = K = 2 its mean error, "
        f"{style.number(spectral['l2_error'])}, is off the scale (median {style.number(spectral['l2_error_median'])}).",
    )
    return picture
