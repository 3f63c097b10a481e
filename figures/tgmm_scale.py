"""H.3 and H.4: more samples, wider and deeper backbones; and the order of the components in training."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style, tgmm_results

SAMPLES = {"n32-d8": 32, "n64-d8": 64, "base-d8": 128}
WIDTHS = {"width32-d8": 32, "base-d8": 64, "width128-d8": 128}
MATCHING = {
    "base-d2": tgmm_results.named("by the best assignment", style.BLUE),
    "sorted-d2": tgmm_results.named("by their weights", style.VERMILLION, "s"),
}
LAYERS = {"layers2-d8": 2, "base-d8": 4, "layers8-d8": 8}


def panel(letter: str, axes: Axes, found: np.ndarray, models: dict[str, int], label: str) -> None:
    """A line for every K through the models, each at its value of what varies; `found` has one row a model and K."""
    for k, colour in tgmm_results.COMPONENTS.items():
        own = found[found["K"] == k]
        chosen = np.concatenate([own[own["method"] == model] for model in models])
        values = list(models.values())
        axes.fill_between(
            values, chosen["l2_error_low"], chosen["l2_error_high"], color=colour, alpha=0.15, linewidth=0
        )
        axes.plot(values, chosen["l2_error"], "-o", color=colour, label=f"K = {k}")
    style.panel_title(axes, letter, "d = 8")
    axes.set(xscale="log", yscale="log", xlabel=label, ylabel="ℓ2-error")
    style.plain_ticks(axes.xaxis, list(models.values()))


@style.styled
def figure() -> Figure:
    """Sample size, width and depth of the trained model (H.3, H.4), and the order of its components."""
    picture = style.new_figure(5.2)
    axes = picture.subplots(2, 2).ravel()
    backbones = tgmm_results.rows("backbone-size")
    sizes = tgmm_results.rows("sample-size-32", "sample-size-64")
    sizes = tgmm_results.joined(sizes[sizes["method"] != "base-d8"], backbones, ("base-d8",))
    sizes = sizes[np.isin(sizes["method"], list(SAMPLES))]
    panel("a", axes[0], sizes, SAMPLES, "samples, in training and in estimation")
    panel("b", axes[1], backbones, WIDTHS, "width D")
    panel("c", axes[2], backbones, LAYERS, "layers")
    for method, look in MATCHING.items():
        tgmm_results.draw(axes[3], tgmm_results.rows("matching"), method, "K", named=look)
    tgmm_results.components_axis(axes[3])
    axes[3].legend()
    style.panel_title(axes[3], "d", "d = 2: order of the components in training")
    tgmm_results.legend(picture, axes[0])
    trained = tgmm_results.steps(*SAMPLES, *WIDTHS, *LAYERS, *MATCHING)
    style.caption(picture, f"{tgmm_results.small_print(sizes)} In (b) to (d) n = 128. Trained for {trained}.")
    return picture
