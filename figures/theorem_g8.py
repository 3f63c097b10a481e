"""Theorem G.8 in one picture: heads × attention × value are the three dimensions of T.

T(I,v,v)_a = Σ_j Σ_m v_j v_m T_{ajm} has three indices, and an even layer has three dimensions to put them in: j runs
over the heads, m over the tokens that a head sums over, a over the value that it adds up. (a) What the tokens hold
when the layer begins: token m has the sheet T[:,:,m], the whole vector v, and v_m, its own coordinate, which the odd
layer put into `scalar`. (b) The layer, head by head. Heads j+ and j− score key m with ±v_j·v_m and read the same
column T[:,j,m] of its sheet, with opposite signs. ReLU attention keeps positive scores only, so for every key one of
the two heads is silent and the other has the size right, and the sign comes from its value: relu(s) − relu(−s) = s, and
the sum over the keys is exact. Two heads for each of the d₀ values of j: 2·d₀ heads. Framed: one column on its way.

All numbers are read off the lowered matrices and the real tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from constructions.algorithms.tensor_power import power_step
from constructions.number_system import Rationals
from constructions.tensor_power_exact import compare_layers
from constructions.tensor_power_transformer import build, encode
from constructions.tensors import as_rationals, random_start, random_tensor
from constructions.transformer import AttentionHead
from figures import style

DIM, MAX_DIM, SEED = 3, 4, 36
TRACKED = (1, 2)
"""j and m, from 0, of the column that is framed on its way."""

DIVERGING = LinearSegmentedColormap.from_list(
    "diverging", [style.VERMILLION, "#F4CFB5", "white", "#B9D7EA", style.BLUE]
)
HEADS, TOKENS, VALUE = style.GREEN, style.PURPLE, "#B87700"
"""The colours of the indices j, m and a wherever they run."""
WIDTH, HEIGHT, CELL_HEIGHT, CELL_WIDTH = 6.9, 6.05, 0.2, 0.255
"""All drawing is in inches, downwards from 0."""
FRAME: dict[str, Any] = {"fill": False, "edgecolor": "black", "linewidth": 1.3, "zorder": 4}
OUTLINE: dict[str, Any] = {"fill": False, "edgecolor": "#AAAAAA", "linewidth": 0.5, "zorder": 3}
PADDING: dict[str, Any] = {"facecolor": "white", "hatch": "//////", "edgecolor": "#CCCCCC", "linewidth": 0}
SILENT = "#E8E8E8"
"""The background of a weight that ReLU made 0."""


@dataclass(frozen=True)
class HeadTrace:
    """One head of the even layer, seen from the first token's query."""

    weights: Float[np.ndarray, " N"]  # relu(score) of every key
    values: Float[np.ndarray, "N d0"]  # what every key sends, /N included
    output: Float[np.ndarray, " d0"]  # what the module adds to `new`
    same_for_all_queries: bool


@dataclass(frozen=True)
class Trace:
    """The even layer: its tokens, its heads in pairs, and what comes out."""

    tensor: Float[np.ndarray, "d d d"]
    start: Float[np.ndarray, " d"]
    sheets: Float[np.ndarray, "N d0 d0"]  # token, a, j
    vec: Float[np.ndarray, " d0"]
    scalars: Float[np.ndarray, " N"]
    heads: tuple[tuple[HeadTrace, HeadTrace], ...]
    new: Float[np.ndarray, " d0"]
    exact: bool  # every layer equals the proof's stream in rational arithmetic


def trace_head(head: AttentionHead, h: Float[torch.Tensor, "N D"], new: slice) -> HeadTrace:
    """Weights and values from the head's matrices, output from the module."""
    scores = (h @ head.query.mT) @ (h @ head.key.mT).mT
    values = (h @ (head.output @ head.value).mT)[:, new] / len(h)
    output = head(h, "relu")[:, new]
    weights = scores.relu().numpy()
    assert np.allclose(weights[0] @ values.numpy(), output[0].numpy(), atol=1e-15)
    return HeadTrace(weights[0], values.numpy(), output[0].numpy(), bool((weights == weights[0]).all()))


def trace() -> Trace:
    """Encode, run the odd layer, and take the even one apart."""
    rng = np.random.default_rng(SEED)
    tensor, start = random_tensor(DIM, rng), random_start(DIM, rng)
    model = build(MAX_DIM, 1)
    where, (odd, even) = model.stream, model.transformer.stored_layers
    h = odd(torch.tensor(encode(model, tensor, start)))
    assert even.attention is not None
    heads = [trace_head(head, h, where["new"]) for head in even.attention.stored_heads]
    pairs = tuple(zip(heads[::2], heads[1::2], strict=True))
    assert all((plus.values == -minus.values).all() for plus, minus in pairs)  # one of them is drawn
    exact_tensor, exact_start = (
        np.vectorize(Rationals().number, otypes=[object])(as_rationals(array)) for array in (tensor, start)
    )
    return Trace(
        tensor=tensor,
        start=start,
        sheets=h[:, where["slice"]].numpy().reshape(MAX_DIM, MAX_DIM, MAX_DIM).transpose(0, 2, 1),
        vec=h[0, where["vec"]].numpy(),
        scalars=h[:, where["scalar"]].numpy()[:, 0],
        heads=pairs,
        new=even.attention(h)[0, where["new"]].numpy(),
        exact=all(report.equal for report in compare_layers(model, exact_tensor, exact_start)),
    )


@dataclass(frozen=True)
class Cells:
    """A matrix to be drawn: its values, the size that has the full colour, and what of it the task uses."""

    values: Float[np.ndarray, "rows columns"]
    largest: float
    used_rows: int
    used_columns: int
    rectified: bool = False  # a 0 is a weight that ReLU cut off

    def draw(self, axes: Axes, x: float, y: float) -> None:
        """Coloured numbers, the upper left corner at (x, y); padding is hatched."""
        rows, columns = self.values.shape
        for row in range(rows):
            for column in range(columns):
                place = (x + column * CELL_WIDTH, y + row * CELL_HEIGHT)
                if row < self.used_rows and column < self.used_columns:
                    self._number(axes, place, float(self.values[row, column]))
                else:
                    axes.add_patch(Rectangle(place, CELL_WIDTH, CELL_HEIGHT, **PADDING))
        axes.add_patch(Rectangle((x, y), columns * CELL_WIDTH, rows * CELL_HEIGHT, **OUTLINE))

    def _number(self, axes: Axes, place: tuple[float, float], value: float) -> None:
        silent = self.rectified and value == 0
        colour = SILENT if silent else DIVERGING(0.5 + 0.5 * value / self.largest)
        axes.add_patch(Rectangle(place, CELL_WIDTH, CELL_HEIGHT, facecolor=colour, edgecolor="white", linewidth=0.4))
        shade = style.GREY if silent else "white" if abs(value) > 0.8 * self.largest else "black"
        middle = place[0] + CELL_WIDTH / 2, place[1] + 0.52 * CELL_HEIGHT
        label(axes, *middle, "0" if silent else short(value), fontsize=5.5, color=shade)


def short(value: float) -> str:
    """Two decimals, without the 0 before the point."""
    return f"{value:.2f}".replace("0.", ".").replace("-", "−") if abs(value) < 1 else f"{value:.1f}".replace("-", "−")


def label(axes: Axes, x: float, y: float, text: str, **options: Any) -> None:
    """Small text, centred by default."""
    axes.text(x, y, text, **{"ha": "center", "va": "center", "fontsize": 7, "linespacing": 1.25, **options})


def arrow(axes: Axes, tail: tuple[float, float], tip: tuple[float, float], colour: str) -> None:
    """A thin arrow."""
    look = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.0, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 7}
    axes.annotate("", tip, tail, arrowprops=look)


def frame(axes: Axes, x: float, y: float, rows: int = 1) -> None:
    """A black frame around one or more cells, one above the other."""
    axes.add_patch(Rectangle((x, y), CELL_WIDTH, rows * CELL_HEIGHT, **FRAME))


def draw_cube(axes: Axes, seen: Trace, x: float, y: float) -> None:
    """T in oblique view, its sheets m one behind the other, its three indices named."""
    side, back, used = 0.2, np.array([0.2, -0.13]), len(seen.tensor)
    largest = float(np.abs(seen.tensor).max())
    for m in reversed(range(used)):
        left, top = np.array([x, y]) + m * back
        for a in range(used):
            for j in range(used):
                colour = DIVERGING(0.5 + 0.5 * seen.sheets[m, a, j] / largest)
                place = (left + j * side, top + a * side)
                axes.add_patch(Rectangle(place, side, side, facecolor=colour, edgecolor="white", linewidth=0.4))
        axes.add_patch(Rectangle((left, top), used * side, used * side, **{**OUTLINE, "zorder": 1}))
    end = used * side
    arrow(axes, (x - 0.07, y), (x - 0.07, y + end), VALUE)
    label(axes, x - 0.16, y + end / 2, "a: value", rotation=90, color=VALUE)
    arrow(axes, (x, y + end + 0.07), (x + end, y + end + 0.07), HEADS)
    label(axes, x + end / 2, y + end + 0.18, "j: heads", color=HEADS)
    tail, reach = np.array([x + end + 0.08, y + end]), back * (used - 1)
    arrow(axes, (tail[0], tail[1]), (tail[0] + reach[0], tail[1] + reach[1]), TOKENS)
    label(axes, tail[0] + reach[0] / 2 + 0.06, tail[1] + reach[1] / 2 + 0.1, "m: tokens", ha="left", color=TOKENS)


def draw_tokens(axes: Axes, seen: Trace, x: float, y: float) -> None:
    """What each token holds when the even layer begins."""
    largest, size, used = float(np.abs(seen.tensor).max()), float(np.abs(seen.vec).max()), len(seen.tensor)
    pitch = MAX_DIM * CELL_WIDTH + 0.14
    vec, scalar = y + 4.6 * CELL_HEIGHT, y + 6.2 * CELL_HEIGHT
    for m in range(MAX_DIM):
        left = x + m * pitch
        name = f"token m = {m + 1}" + (": padding" if m >= used else "")
        label(axes, left + MAX_DIM * CELL_WIDTH / 2, y - 0.11, name, color=TOKENS)
        held = used if m < used else 0
        Cells(seen.sheets[m], largest, held, used).draw(axes, left, y)
        Cells(seen.vec[None], size, 1, used).draw(axes, left, vec)
        Cells(seen.scalars[m : m + 1, None], size, min(1, held), 1).draw(axes, left, scalar)
        if m == TRACKED[1]:
            for top, column, rows in ((y, TRACKED[0], MAX_DIM), (vec, TRACKED[0], 1), (scalar, 0, 1)):
                frame(axes, left + column * CELL_WIDTH, top, rows)
    for text, middle in (("T[:, j, m]", y + 2 * CELL_HEIGHT), ("v", vec + 0.1), ("v$_m$", scalar + 0.1)):
        label(axes, x - 0.07, middle, text, ha="right")


WEIGHTS, VALUES, PLUS, MINUS, BOTH, SUM, REFERENCE = 0.75, 2.2, 3.62, 4.12, 4.62, 5.62, 6.4
"""Where the columns of (b) begin."""
ROW = 1.0
"""From one pair of heads to the next."""


def draw_pair(axes: Axes, seen: Trace, j: int, y: float) -> None:
    """A row of (b): the weights of heads j+ and j−, the columns that the keys send, and what comes out."""
    used, pair = len(seen.tensor), seen.heads[j]
    plus, minus = pair
    weight = max(float(head.weights.max()) for heads in seen.heads for head in heads)
    largest, size = float(np.abs(seen.tensor).max()), largest_output(seen)
    rows = [y + offset * CELL_HEIGHT for offset in (0.6, 2.4)]
    for sign, head, top in zip("+−", pair, rows, strict=True):
        label(axes, WEIGHTS - 0.06, top + 0.1, f"head {j + 1}{sign}", ha="right", color=HEADS)
        Cells(head.weights[None], weight, 1, used, rectified=True).draw(axes, WEIGHTS, top)
    label(axes, (WEIGHTS + MAX_DIM * CELL_WIDTH + VALUES) / 2, y + 2 * CELL_HEIGHT, "×", fontsize=9)
    Cells(plus.values.T, largest, used, used).draw(axes, VALUES, y)
    for place, values in ((PLUS, plus.output), (MINUS, minus.output), (BOTH, plus.output + minus.output)):
        Cells(values[:, None], size, used, 1).draw(axes, place, y)
    for left, right, sign in ((PLUS, MINUS, "+"), (MINUS, BOTH, "=")):
        label(axes, (left + CELL_WIDTH + right) / 2, y + 2 * CELL_HEIGHT, sign, fontsize=9)
    arrow(axes, (VALUES + MAX_DIM * CELL_WIDTH + 0.08, y + 0.4), (PLUS - 0.08, y + 0.4), TOKENS)
    if j == TRACKED[0]:
        for top in rows:
            frame(axes, WEIGHTS + TRACKED[1] * CELL_WIDTH, top)
        frame(axes, VALUES + TRACKED[1] * CELL_WIDTH, y, MAX_DIM)


def draw_padding_pair(axes: Axes, seen: Trace, j: int, y: float) -> None:
    """The heads of a coordinate that the task does not use."""
    label(axes, WEIGHTS - 0.06, y + 0.1, f"head {j + 1}±", ha="right", color=HEADS)
    for look in (PADDING, OUTLINE):
        axes.add_patch(Rectangle((WEIGHTS, y), MAX_DIM * CELL_WIDTH, CELL_HEIGHT, **look))
    weight = max(float(head.weights.max()) for head in seen.heads[j])
    output = max(float(np.abs(head.output).max()) for head in seen.heads[j])
    text = f"padding: $v_{j + 1}$ = {seen.vec[j]:g}; largest weight {weight:g}, largest output {output:g}"
    label(axes, VALUES, y + 0.1, text, ha="left", color=style.GREY)


def largest_output(seen: Trace) -> float:
    """The size that has the full colour among all heads' outputs and their sum."""
    return float(max(np.abs(vector).max() for vector in (seen.new, *(h.output for pair in seen.heads for h in pair))))


def draw_heads(axes: Axes, seen: Trace, y: float) -> None:
    """(b): all heads, and their sum."""
    used, size = len(seen.tensor), largest_output(seen)
    top = y + 0.45
    strip = MAX_DIM * CELL_WIDTH
    for x, width, text in (
        (WEIGHTS, strip, "weight of key m\nrelu(±$v_j\\cdot v_m$)"),
        (VALUES, strip, "what key m sends\n±T[:, j, m]"),
        (PLUS, CELL_WIDTH, "head j+"),
        (MINUS, CELL_WIDTH, "head j−"),
        (BOTH, CELL_WIDTH, "pair j"),
    ):
        label(axes, x + width / 2, top - 0.25, text)
    for x in (WEIGHTS, VALUES):
        arrow(axes, (x, top - 0.06), (x + strip, top - 0.06), TOKENS)
        label(axes, x + strip + 0.06, top - 0.06, "m", color=TOKENS)
    arrow(axes, (VALUES - 0.07, top), (VALUES - 0.07, top + 0.8), VALUE)
    label(axes, VALUES - 0.15, top + 0.72, "a", color=VALUE)
    arrow(axes, (0.13, top), (0.13, top + (used - 1) * ROW + 1.05), HEADS)
    label(axes, 0.04, top + 1.5, "j", color=HEADS)
    label(axes, (VALUES + strip + PLUS) / 2, top + 0.27, "$\\sum_m$", color=TOKENS)
    for j in range(used):
        draw_pair(axes, seen, j, top + j * ROW)
    for j in range(used, MAX_DIM):
        draw_padding_pair(axes, seen, j, top + used * ROW + (j - used) * 0.3)
    draw_sum(axes, seen, top, size)


def draw_sum(axes: Axes, seen: Trace, top: float, size: float) -> None:
    """The sum over the heads, beside the reference."""
    used = len(seen.tensor)
    reference = np.append(power_step(seen.tensor, seen.start), np.zeros(MAX_DIM - used))
    middle, edge = top + (used - 1) / 2 * ROW, BOTH + CELL_WIDTH + 0.1
    axes.plot([edge, edge], [top, top + (used - 1) * ROW + 0.8], color=HEADS, linewidth=1.0)
    arrow(axes, (edge, middle + 0.4), (SUM - 0.08, middle + 0.4), HEADS)
    label(axes, (edge + SUM) / 2, middle + 0.27, "$\\sum_j$", color=HEADS)
    for place, values, text in ((SUM, seen.new, "new"), (REFERENCE, reference, "T(I, v, v)")):
        Cells(values[:, None], size, used, 1).draw(axes, place, middle)
        label(axes, place + CELL_WIDTH / 2, middle - 0.1, text)
    relation = "=" if seen.exact else "≠"
    label(axes, (SUM + CELL_WIDTH + REFERENCE) / 2, middle + 0.4, relation, fontsize=11)
    text = "Of each pair one head is\nsilent at each key (grey 0):\nrelu(s) − relu(−s) = s."
    label(axes, SUM - 0.45, top - 0.02, text, ha="left", va="top", fontsize=6.5)
    label(axes, SUM - 0.45, middle + 1.0, tracked_sum(seen), ha="left", va="top", fontsize=6.5)


def tracked_sum(seen: Trace) -> str:
    """The framed column in numbers: which of the two heads speaks, and with what."""
    j, m = TRACKED
    weights = [short(float(head.weights[m])) if head.weights[m] else "0" for head in seen.heads[j]]
    product = short(float(seen.vec[j] * seen.scalars[m]))
    return (
        f"Framed: the column j = {j + 1}, m = {m + 1}.\n$s = v_{j + 1}\\cdot v_{m + 1}$ = {product}\n"
        f"head {j + 1}+ adds {weights[0]} times it,\nhead {j + 1}− adds −{weights[1]} times it:\n"
        f"together {product} = s, the sign\nincluded."
    )


def small_print(seen: Trace) -> str:
    """The instance, and what was compared."""
    queries = all(head.same_for_all_queries for pair in seen.heads for head in pair)
    error = float(np.abs(seen.new[:DIM] - power_step(seen.tensor, seen.start)).max())
    return (
        f"Random tensor and start, seed {SEED}; d = {DIM}, d₀ = {MAX_DIM}, float64, first iteration. Weights, values "
        f"and outputs are those of the lowered matrices; key m sends ±d₀·T[:,j,m], whose d₀ undoes ReLU attention's "
        f"1/N = 1/d₀. {'Every' if queries else 'Not every'} token asks the same, so all receive the same vector. In "
        f"float64 the largest |new − T(I,v,v)| is {style.number(error)}; in rational arithmetic all coordinates of all "
        f"tokens are {'equal to' if seen.exact else 'DIFFERENT from'} the proof's after both layers. Blue is positive, "
        "red negative; each kind of number has a scale of its own."
    )


@style.styled
def figure() -> Figure:
    """Theorem G.8: heads, attention and value are the three dimensions of T."""
    seen = trace()
    picture = style.new_figure(HEIGHT + 0.75)
    axes = picture.subplots()
    axes.axis("off")
    axes.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0), aspect="equal")
    title: dict[str, Any] = {"ha": "left", "fontsize": 8}
    label(
        axes,
        0,
        0.08,
        "(a) the tokens cut the cube of T along m: token m holds the sheet m, v, and its own v$_m$",
        **title,
    )
    draw_cube(axes, seen, 0.35, 0.8)
    draw_tokens(axes, seen, 2.35, 0.42)
    text = (
        f"(b) the heads cut it along j: {2 * MAX_DIM} heads, two for each j; attention sums over m, the value carries a"
    )
    label(axes, 0, 2.08, text, **title)
    draw_heads(axes, seen, 2.22)
    style.caption(picture, small_print(seen))
    return picture
