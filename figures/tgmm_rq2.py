"""RQ2: training on fewer samples than are tested, and means that are shifted by noise of scale σ_p."""

from __future__ import annotations

from matplotlib.figure import Figure

from figures import style, tgmm_results

SIZES = {
    "n32-d8": tgmm_results.named("TGMM trained on n₀ = 32", style.SKY, "v"),
    "n64-d8": tgmm_results.named("TGMM trained on n₀ = 64", style.PURPLE, "^"),
    "base-d8": tgmm_results.named("TGMM trained on n₀ = 128", style.BLUE),
}
SHIFTED = {
    "rq2-shift-d2": ("d2", "em-truth", "em-normal", "em-kmeans++"),
    "rq2-shift-d8": ("d8", "em-truth", "em-normal", "em-kmeans++", "spectral"),
}


@style.styled
def figure() -> Figure:
    """Robustness of the trained model (RQ2): sample sizes in training, shifted means."""
    picture = style.new_figure(4.8)
    axes = picture.subplots(2, 3).ravel()
    sizes = tgmm_results.rows("rq2-samples")
    sizes = tgmm_results.joined(sizes, tgmm_results.rows("rq1-d8"), ("em-kmeans++", "spectral"))
    for method, own in SIZES.items():
        tgmm_results.draw(axes[0], sizes, method, "K", named=own)
    for method in ("em-kmeans++", "spectral"):
        tgmm_results.draw(axes[0], sizes, method, "K")
    tgmm_results.components_axis(axes[0])
    style.panel_title(axes[0], "a", "d = 8, tested at n = 128")
    panels = iter(zip("bcde", axes[1:], strict=False))
    for sweep, methods in SHIFTED.items():
        found = tgmm_results.rows(sweep)
        for k in (3, 5):
            letter, panel = next(panels)
            own = found[found["K"] == k]
            for method in methods:
                tgmm_results.draw(panel, own, method, "perturbation")
            panel.set(xlabel="σ_p", ylabel="ℓ2-error", yscale="log")
            style.panel_title(panel, letter, f"d = {own['d'][0]}, K = {k}")
    axes[5].set_axis_off()
    tgmm_results.legend(picture, *axes[:5])
    style.caption(
        picture,
        f"{tgmm_results.small_print(found)} Trained for {tgmm_results.steps(*SIZES)} (a), "
        f"{tgmm_results.steps('d2', 'd8')} (b to e).",
    )
    return picture
