"""H.3 and H.4: more samples, wider and deeper backbones."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from figures import style, tgmm_results

COLOURS = dict(zip((2, 3, 4, 5), (style.SKY, style.BLUE, style.PURPLE, style.VERMILLION), strict=True))
SAMPLES = {"n32-d8": 32, "n64-d8": 64, "base-d8": 128}
WIDTHS = {"width32-d8": 32, "base-d8": 64, "width128-d8": 128}
LAYERS = {"layers2-d8": 2, "base-d8": 4, "layers8-d8": 8}


@style.styled
def figure() -> Figure:
    """Sample size, width and depth of the trained model (H.3, H.4)."""
    picture = style.new_figure(2.9)
    axes = picture.subplots(1, 3)
    base = tgmm_results.rows("rq1-d8")
    sizes = np.concatenate([tgmm_results.rows("sample-size-32", "sample-size-64"), base])
    backbones = tgmm_results.joined(tgmm_results.rows("backbone-size"), base, ("base-d8",))
    for panel, letter, found, models, label in (
        (axes[0], "a", sizes, SAMPLES, "samples, in training and in estimation"),
        (axes[1], "b", backbones, WIDTHS, "width D"),
        (axes[2], "c", backbones, LAYERS, "layers"),
    ):
        for k, colour in COLOURS.items():
            own = [
                found[(found["method"] == method) & (found["K"] == k) & ((found["n"] == x) | (label[0] != "s"))][0]
                for method, x in models.items()
            ]
            mean, low, high = (np.array([row[f"l2_error{end}"] for row in own]) for end in ("", "_low", "_high"))
            panel.fill_between(list(models.values()), low, high, color=colour, alpha=0.15, linewidth=0)
            panel.plot(list(models.values()), mean, "-o", color=colour, label=f"K = {k}")
        panel.set(xscale="log", yscale="log", xlabel=label, ylabel="ℓ2-error")
        style.plain_ticks(panel.xaxis, list(models.values()))
        style.panel_title(panel, letter, "d = 8")
    tgmm_results.legend(picture, axes[0])
    style.caption(picture, tgmm_results.small_print(sizes))
    return picture
