"""von Oswald et al. 2023, Proposition 1: a layer of linear attention is a step of gradient descent on least squares."""

from collections.abc import Iterator, Sequence
from fractions import Fraction

import flint
import numpy as np

from constructions.compiler import Head, Layer, lower
from constructions.evaluation import trace
from constructions.number_system import NumberSystem, Rationals, Scalar
from constructions.residual_stream import ResidualStream
from constructions.weights import Array, TransformerWeights
from theory_checks.ledger import Verdict, require, statement


def pair(eta: Fraction = Fraction(1, 2), key: str = "shown") -> list[Head]:
    """Adds −(η/M) Σ_j ⟨x_i, shown_j⟩ residual_j to residual_i, as relu(s) − relu(−s) = s."""
    return [Head([("x", key, sign)], [("residual", "residual", -sign * eta)]) for sign in (1, -1)]


def transformer(dim: int, targets: int, steps: int, heads: Sequence[Head], numbers: NumberSystem) -> TransformerWeights:
    """One ReLU-attention layer, `steps` times; a token holds x (d), shown (d), residual (k)."""
    stream = ResidualStream({"x": dim, "shown": dim, "residual": targets})
    return lower([Layer(heads, activation="relu")], [0] * steps, stream, {}, numbers)


def descent(w: Array, x: Array, shown: Array, y: Array, rate: Scalar, steps: int) -> Iterator[Array]:
    """W ← W − rate · Σ_j (W x_j − y_j) shown_jᵀ: gradient descent on ½ Σ ‖W x_j − y_j‖² over the tokens shown."""
    for _ in range(steps):
        w = w - rate * ((x @ w.T - y).T @ shown)
        yield w


@statement("gradient-step", source="von Oswald et al. 2023, Proposition 1", text="ours", evidence="exact")
def gradient_step(rng: np.random.Generator, *, heads: Sequence[Head] = tuple(pair())) -> Iterator[Verdict]:
    """L layers turn y_i − W_0 x_i into y_i − W_L x_i on all M tokens, where W_L is W_0 after L steps η of gradient
    descent on Σ ‖W x_j − y_j‖²/(2M) over the tokens shown; equal as rationals, for drawn data and W_0 of four sizes.
    """
    numbers = Rationals()
    for dim, targets, training, queries, steps in ((3, 2, 7, 5, 3), (1, 1, 2, 1, 5), (5, 3, 2, 0, 2), (2, 1, 3, 2, 1)):
        count = training + queries
        shapes = (targets, dim), (count, dim), (count, targets)
        w, x, y = (np.vectorize(flint.fmpq, otypes=[object])(rng.integers(-9, 10, shape)) for shape in shapes)
        shown = x * (np.arange(count) < training).astype(object)[:, None]
        rate = numbers.number(Fraction(1, 2 * count))
        matrices = descent(w, x, shown, y, rate, steps)
        layers = trace(transformer(dim, targets, steps, heads, numbers), np.hstack([x, shown, y - x @ w.T]), numbers)
        for layer, (h, w_l) in enumerate(zip(layers, matrices, strict=True), start=1):
            equal = bool((h == np.hstack([x, shown, y - x @ w_l.T])).all())
            yield require(equal, f"d={dim} k={targets}, {training} of {count} tokens shown, after layer {layer}")


gradient_step.control("without its negative half", heads=pair()[:1])
gradient_step.control("uphill", heads=pair(Fraction(-1, 2)))
gradient_step.control("twice the step", heads=pair(Fraction(1)))
gradient_step.control("every token is a key", heads=pair(key="x"))
test_gradient_step, test_gradient_step_controls = gradient_step.tests()
