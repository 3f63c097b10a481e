"""Seconds against error: what each method costs for what it gives, K = 5."""

from __future__ import annotations

from matplotlib.figure import Figure

from figures import style, tgmm_results
from figures.tgmm_rq1 import METHODS

MODELS = {2: "d2", 8: "base-d8"}


@style.styled
def figure() -> Figure:
    """Cost of each method: seconds a task against the error, K = 5."""
    picture = style.new_figure(3.2)
    axes = picture.subplots(1, 2)
    for letter, panel, (d, model) in zip("ab", axes, MODELS.items(), strict=True):
        found = tgmm_results.rows(f"rq1-d{d}")
        for method in (*METHODS[1:], model):
            for row in found[(found["method"] == method) & (found["K"] == 5)]:
                label, colour, _, mark = tgmm_results.look(method)
                seconds = row["estimation_seconds"] / row["tasks"]
                ends = [[row["l2_error"] - row["l2_error_low"]], [row["l2_error_high"] - row["l2_error"]]]
                panel.errorbar(seconds, row["l2_error"], ends, fmt=mark, color=colour, label=label, linewidth=0.8)
        floor = found[(found["method"] == "em-truth") & (found["K"] == 5)]["l2_error"][0]
        panel.axhline(floor, color=style.GREY, linestyle=":", label="EM from the truth")
        panel.set(xscale="log", yscale="log", xlabel="seconds a task, one thread", ylabel="ℓ2-error")
        style.panel_title(panel, letter, f"d = {d}, K = 5")
    tgmm_results.legend(picture, *axes)
    style.caption(picture, tgmm_results.small_print(found) + " Seconds without training, all tasks in batches.")
    return picture
