"""Three errors apart: statistical (EM from the truth), and what an estimate is from that estimate.

The distance of an estimate from the oracle is optimisation for EM (another start, a local optimum), and approximation
for the hand-built transformer and for the trained model.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from figures import style, tgmm_results
from tgmm.evaluation import MODELS

LEAST = 1e-3
"""The axis begins here: where EM finds the same optimum, the distance is that of two roundings."""
METHODS = ("em-normal", "em-kmeans++", "em-best-of-10", "em-transformer-50")


@style.styled
def figure() -> Figure:
    """Statistical, optimisation and approximation error of the trained model and of EM."""
    picture = style.new_figure(3.0)
    axes = picture.subplots(1, 2)
    for letter, panel, (d, model) in zip("ab", axes, MODELS.items(), strict=True):
        found = tgmm_results.rows(f"rq1-d{d}")
        statistical = ("statistical: EM from the truth", style.GREY, ":", "")
        tgmm_results.draw(panel, found, "em-truth", "K", named=statistical)
        for method in (*METHODS, model):
            tgmm_results.draw(panel, found, method, "K", "oracle_distance")
        panel.set(xlabel="components K", xticks=[2, 3, 4, 5], yscale="log", ylim=(LEAST, None), ylabel="ℓ2-distance")
        style.panel_title(panel, letter, f"d = {d}: distance from EM from the truth")
    tgmm_results.legend(picture, *axes, columns=3)
    style.caption(
        picture,
        tgmm_results.small_print(found) + " Dotted: the error of EM from the truth itself, against the true mixture. "
        f"Distances below {style.number(LEAST)} are not shown: there EM ends in the same optimum.",
    )
    return picture
