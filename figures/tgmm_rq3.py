"""RQ3: other backbones of about equal size, and scales that are to be estimated as well."""

from __future__ import annotations

from matplotlib.figure import Figure

from figures import style, tgmm_results

BACKBONES = {
    "base-d8": tgmm_results.named("encoder", style.BLUE),
    "gpt2-d8": tgmm_results.named("GPT-2", style.GREEN, "s"),
    "mamba2-d8": tgmm_results.named("Mamba2", style.PURPLE, "D"),
}
ANISOTROPIC = ("em-truth", "em-normal", "em-kmeans++", "em-best-of-10", "adam")


@style.styled
def figure() -> Figure:
    """Flexibility of the trained model (RQ3): backbones, anisotropic mixtures."""
    picture = style.new_figure(2.9)
    axes = picture.subplots(1, 3)
    found = tgmm_results.joined(tgmm_results.rows("rq3-backbone"), tgmm_results.rows("rq1-d8"), ("em-kmeans++",))
    for method, own in BACKBONES.items():
        tgmm_results.draw(axes[0], found, method, "K", named=own)
    tgmm_results.draw(axes[0], found, "em-kmeans++", "K")
    style.panel_title(axes[0], "a", "d = 8: backbones")
    for letter, panel, d in zip("bc", axes[1:], (2, 8), strict=True):
        found = tgmm_results.rows(f"rq3-anisotropic-d{d}")
        for method in (*ANISOTROPIC, f"anisotropic-d{d}"):
            tgmm_results.draw(panel, found, method, "K")
        style.panel_title(panel, letter, f"d = {d}: diagonal scales")
    for panel in axes:
        tgmm_results.components_axis(panel)
    tgmm_results.legend(picture, *axes, columns=5)
    trained = tgmm_results.steps(*BACKBONES, "anisotropic-d2", "anisotropic-d8")
    style.caption(
        picture,
        f"{tgmm_results.small_print(found)} Trained for {trained}. In (b) and (c) the error counts the scales too.",
    )
    return picture
