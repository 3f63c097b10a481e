"""von Oswald et al. 2023, Proposition 1: layers of linear attention (dots) beside gradient descent (lines)."""

from fractions import Fraction

import numpy as np
import torch
from matplotlib.figure import Figure

from constructions.number_system import FLOAT64
from constructions.transformer import Transformer
from figures import style
from theory_checks.test_gradient_step import descent, pair, transformer


@style.styled
def figure() -> Figure:
    """One layer of linear attention, L times, is gradient descent on least squares."""
    picture, rng = style.new_figure(2.4), np.random.default_rng(0)
    loss, prediction = picture.subplots(1, 2)
    x, w, noise = rng.standard_normal((21, 5)), rng.standard_normal((1, 5)), rng.standard_normal((21, 1)) / 4
    shown, y = x * (np.arange(21) < 20)[:, None], (x @ w.T + noise) * (np.arange(21) < 20)[:, None]
    for eta, colour in zip((Fraction(1, 8), Fraction(1, 2), Fraction(1)), style.CYCLE, strict=False):
        model = Transformer.from_weights(transformer(5, 1, 24, pair(eta), FLOAT64))
        layers = [h[:, -1].numpy() for h in model.trace(torch.tensor(np.hstack([x, shown, y])))]
        steps = [(y - x @ w_l.T)[:, 0] for w_l in descent(0 * w, x, shown, y, float(eta) / 21, 24)]
        for residuals, look in ((steps, "-"), (layers, "o")):
            loss.semilogy(range(1, 25), [r[:20] @ r[:20] / 42 for r in residuals], look, color=colour, markersize=3)
            prediction.plot(range(1, 25), [-r[20] for r in residuals], look, color=colour, markersize=3)
        prediction.plot([], [], color=colour, label=f"η = {eta}")
    loss.set(xlabel="layers = steps", title="loss on the tokens shown")
    prediction.set(xlabel="layers = steps", title="prediction for the query")
    prediction.legend()
    style.caption(
        picture, "Dots: the transformer, float64; lines: gradient descent from W = 0. d = 5, 20 tokens, seed 0."
    )
    return picture
