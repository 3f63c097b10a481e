"""Beyond the paper: the error as the means come close, at distance R of each other, K = 3."""

from __future__ import annotations

from matplotlib.figure import Figure

from figures import style, tgmm_results
from tgmm.evaluation import MODELS

METHODS = ("em-truth", "em-normal", "em-kmeans++", "em-best-of-10", "sample-mean")


@style.styled
def figure() -> Figure:
    """Small separation: the trained model and classical methods."""
    picture = style.new_figure(3.0)
    axes = picture.subplots(1, 2)
    for letter, panel, (d, model) in zip("ab", axes, MODELS.items(), strict=True):
        found = tgmm_results.rows(f"separation-d{d}")
        for method in (*METHODS, *(("spectral",) if d >= 3 else ()), model):  # it needs K <= d
            tgmm_results.draw(panel, found, method, "separation")
        panel.set(xscale="log", yscale="log", xlabel="separation R", ylabel="ℓ2-error")
        style.plain_ticks(panel.xaxis, [0.5, 1, 1.5, 2, 3, 4])
        style.panel_title(panel, letter, f"d = {d}, K = 3")
    tgmm_results.legend(picture, *axes, columns=6)
    style.caption(picture, tgmm_results.small_print(found) + " Means on a rotated grid of spacing R about the origin.")
    return picture
