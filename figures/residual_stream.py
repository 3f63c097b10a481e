"""An X-ray of the EM transformer: every coordinate of every token after encode and after each sublayer of two steps.

Tokens run to the right, sorted by the component r(i) whose parameters they carry and then by the component that is
most responsible for their sample in the end; coordinates run downwards in the order of the residual stream, grouped
by subspace. White is zero. A solid frame marks what a sublayer wrote, a dotted one what it cleared, both found by
comparing the stream before and after; a triangle marks what the next sublayer reads, by its description. Padding
(dimensions and components of the class that the task does not use) is thin.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from constructions.compiler import Layer
from constructions.datasets import load_start, load_synthetic
from constructions.em_class import TaskClass, split_tolerance
from constructions.em_transformer import E_STEP, M_STEP, EmTransformer, build, encode
from figures import style

COMPONENTS, DIM, SAMPLES, SEPARATION, SEED, STEPS = 3, 2, 24, 4.0, 1, 2
TASK_CLASS, TOLERANCE = TaskClass(max_dim=3, max_components=4, radius=8.0, min_weight=0.1), 0.1

GAP, THIN = 0.5, 0.45
"""Heights of the gap between two subspaces and of a padding coordinate; a used coordinate has height 1."""
WRITTEN_LOOK: dict[str, Any] = {"edgecolor": "black", "linewidth": 1.1}
CLEARED_LOOK: dict[str, Any] = {"edgecolor": "black", "linewidth": 1.1, "linestyle": (0, (1, 1.2))}
PADDING_LOOK: dict[str, Any] = {"fill": False, "hatch": "//////", "edgecolor": "#999999", "linewidth": 0}


@dataclass(frozen=True)
class Sublayer:
    """One column of the picture: what ran, what it does in words, and the subspaces it reads to do so."""

    name: str
    doing: str
    reads: frozenset[str]


@dataclass(frozen=True)
class State:
    """The stream after a sublayer, tokens as rows."""

    after: Sublayer
    stream: Float[np.ndarray, "N D"]


@dataclass(frozen=True)
class Scale:
    """One kind of quantity: its subspaces share a colour scale, on which white is zero."""

    name: str
    subspaces: tuple[str, ...]
    colours: tuple[tuple[float, str], ...]  # from the lower to the upper end, at 0 to 1

    @property
    def map(self) -> LinearSegmentedColormap:
        """The colours in between."""
        return LinearSegmentedColormap.from_list(self.name, list(self.colours))


SCALES = (
    Scale("positions", ("x", "mu"), ((0.0, style.VERMILLION), (0.5, "white"), (1.0, style.BLUE))),
    Scale("squared norms", ("sq_norm",), ((0.0, "white"), (1.0, style.PURPLE))),
    Scale("probabilities", ("w", "pi", "one", "component"), ((0.0, "white"), (1.0, style.GREEN))),
    Scale("logarithms", ("log_pi", "log_w"), ((0.0, "#3D2A00"), (0.7, style.ORANGE), (1.0, "white"))),
)


def attention_reads(layer: Layer) -> frozenset[str]:
    """The subspaces that a layer's heads score and move."""
    pairs = [name for head in layer.heads for pair in head.score for name in pair[:2]]
    return frozenset(pairs + [move[0] for head in layer.heads for move in head.move])


def mlp_reads(layer: Layer) -> frozenset[str]:
    """The subspaces that a layer's MLP applies its networks to."""
    return frozenset(source for _, source, _ in layer.mlp.apply) if layer.mlp else frozenset()


ENCODE = Sublayer("encode", "samples and\ninitial parameters", frozenset())
SUBLAYERS = (
    (
        Sublayer("attention", "E-step: w ←\nresponsibilities", attention_reads(E_STEP)),
        Sublayer("MLP", "log_w ← log of w,\nparameters cleared", mlp_reads(E_STEP)),
    ),
    (
        Sublayer("attention", "M-step: mu ← weighted\nmean, pi ← mean of w", attention_reads(M_STEP)),
        Sublayer("MLP", "log_pi ← log of pi,\nsq_norm ← squares", mlp_reads(M_STEP)),
    ),
)
READ_OUT = Sublayer("read-out", "", frozenset(("component", "mu", "pi")))
"""For each stored layer, its attention and its MLP."""


def instance() -> tuple[EmTransformer, Float[np.ndarray, "N D"]]:
    """The transformer and the encoded tokens."""
    rng = np.random.default_rng(SEED)
    data = load_synthetic(COMPONENTS, DIM, SAMPLES, SEPARATION, rng)
    start = load_start("kmeans++", COMPONENTS, data.samples, rng)
    em = build(TASK_CLASS, split_tolerance(TASK_CLASS, TOLERANCE, "floor"), STEPS)
    return em, encode(em, data.samples, start)


def states(em: EmTransformer, tokens: Float[np.ndarray, "N D"]) -> Iterator[State]:
    """The stream after encode, then after every attention and every MLP of the schedule."""
    h = torch.tensor(tokens).to(em.dtype)
    yield State(ENCODE, h.double().numpy())
    for number, index in enumerate(em.transformer.schedule, start=1):
        layer = em.transformer.stored_layers[index]
        for described, sublayer in zip(SUBLAYERS[index], (layer.attention, layer.mlp), strict=True):
            h = sublayer(h) if sublayer is not None else h
            yield State(replace(described, name=f"layer {number}: {described.name}"), h.double().numpy())


def token_order(em: EmTransformer, run: list[State]) -> Int[np.ndarray, " N"]:
    """By the component carried, then by the most responsible component after the last E-step's attention."""
    last_w = run[-4].stream[:, em.stream["w"]]
    carried = run[0].stream[:, em.stream["component"]].argmax(axis=1)
    return np.lexsort((last_w.argmax(axis=1), carried))


def used(name: str, size: int) -> int:
    """How many coordinates of a subspace the task uses; the rest is padding."""
    if name in ("x", "mu"):
        return DIM
    return COMPONENTS if size == TASK_CLASS.max_components else size


def row_edges(em: EmTransformer) -> dict[str, Float[np.ndarray, " edges"]]:
    """For each subspace the upper edges of its rows and the lower edge of the last, downwards from 0."""
    edges, top = {}, 0.0
    for name, (start, stop) in em.stream.layout.items():
        size = stop - start
        heights = np.where(np.arange(size) < used(name, size), 1.0, THIN)
        edges[name] = top + np.append(0.0, np.cumsum(heights))
        top = float(edges[name][-1]) + GAP
    return edges


def norms(em: EmTransformer, run: list[State]) -> dict[str, Normalize]:
    """For each kind of quantity its range over the whole run; positions symmetric about 0."""
    ranges = {}
    for scale in SCALES:
        values = np.concatenate([state.stream[:, em.stream[name]].ravel() for state in run for name in scale.subspaces])
        low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
        if scale.name == "positions":
            low, high = -max(-low, high), max(-low, high)
        ranges[scale.name] = Normalize(low, high)
    return ranges


@dataclass(frozen=True)
class Canvas:
    """What all panels share."""

    em: EmTransformer
    edges: dict[str, Float[np.ndarray, " edges"]]
    norms: dict[str, Normalize]
    order: Int[np.ndarray, " N"]


def cells(values: Float[np.ndarray, "N size"], edges: Float[np.ndarray, " edges"]) -> PolyCollection:
    """A heat map of one subspace, a rectangle for every run of equal values in a row."""
    corners, shades = [], []
    for row, (top, bottom) in zip(values.T, pairwise(edges), strict=True):
        changes = np.flatnonzero(np.diff(row)) + 1
        for left, right in pairwise([0, *changes, len(row)]):
            corners.append([(left, top), (right, top), (right, bottom), (left, bottom)])
            shades.append(row[left])
    return PolyCollection(corners, array=np.array(shades), antialiased=False, linewidth=0, zorder=1)


def draw_subspace(axes: Axes, canvas: Canvas, scale: Scale, name: str, states: tuple[State | None, State]) -> None:
    """One subspace of one state, its padding hatched; framed where it differs from the state before."""
    before, state = states
    where, edges, count = canvas.em.stream[name], canvas.edges[name], len(canvas.order)
    values = state.stream[canvas.order, where]
    heat = cells(values, edges)
    heat.set(cmap=scale.map, norm=canvas.norms[scale.name])
    axes.add_collection(heat, autolim=False)
    padding = edges[used(name, len(edges) - 1)]
    if padding < edges[-1]:
        axes.add_patch(Rectangle((0.0, padding), count, edges[-1] - padding, **PADDING_LOOK))
    look: dict[str, Any] = {"edgecolor": "#BBBBBB", "linewidth": 0.4}
    if before is not None and not np.array_equal(before.stream[:, where], state.stream[:, where]):
        look = WRITTEN_LOOK if values.any() else CLEARED_LOOK
    axes.add_patch(Rectangle((0.0, edges[0]), count, edges[-1] - edges[0], fill=False, zorder=3, clip_on=False, **look))


def draw_state(axes: Axes, canvas: Canvas, before: State | None, state: State, following: Sublayer) -> None:
    """All subspaces of one state, with triangles where the next sublayer reads."""
    count = len(canvas.order)
    for scale in SCALES:
        for name in scale.subspaces:
            draw_subspace(axes, canvas, scale, name, (before, state))
    for name in sorted(following.reads):
        axes.plot(count * 1.05, canvas.edges[name][[0, -1]].mean(), ">", color="black", markersize=3, clip_on=False)
    group = count // COMPONENTS
    for k in range(1, COMPONENTS):
        axes.axvline(k * group, color="white", linewidth=1.2, zorder=2)
    axes.set(xlim=(0, count), ylim=(max(edges[-1] for edges in canvas.edges.values()), 0))
    axes.set_xticks([(k + 0.5) * group for k in range(COMPONENTS)], [f"r = {k + 1}" for k in range(COMPONENTS)])
    axes.set_yticks([])
    axes.tick_params(length=0, labelsize=6.5)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_title(state.after.doing, fontsize=6.5, linespacing=1.25, pad=4)
    heading: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "va": "bottom", "fontweight": "bold"}
    axes.text(0.5, 1.105, state.after.name, **heading)


def name_rows(axes: Axes, canvas: Canvas) -> None:
    """The subspaces' names at their middles."""
    axes.set_yticks([(edges[0] + edges[-1]) / 2 for edges in canvas.edges.values()], list(canvas.edges))
    axes.tick_params(axis="y", labelsize=7, length=0)


def draw_key(axes: Axes, canvas: Canvas) -> None:
    """The colour scales, and what frames and triangles mean."""
    axes.axis("off")
    for row, scale in enumerate(SCALES):
        bar = axes.inset_axes((0.0, 0.86 - 0.16 * row, 0.8, 0.04))
        norm = canvas.norms[scale.name]
        assert norm.vmin is not None
        assert norm.vmax is not None
        gradient = np.linspace(norm.vmin, norm.vmax, 64)
        bar.pcolormesh(np.linspace(norm.vmin, norm.vmax, 65), [0, 1], gradient[None], cmap=scale.map, norm=norm)
        bar.set_title(scale.name, fontsize=6.5, loc="left", pad=2)
        bar.set_yticks([])
        bar.spines[:].set_visible(False)
        bar.grid(visible=False)
        bar.set_xticks([norm.vmin, norm.vmax], [f"{value:.2g}" for value in (norm.vmin, norm.vmax)], fontsize=6)
        bar.tick_params(length=0, pad=1)
    handles = [
        Patch(fill=False, label="written", **WRITTEN_LOOK),
        Patch(fill=False, label="cleared", **CLEARED_LOOK),
        Line2D([], [], linestyle="", marker=">", color="black", markersize=3, label="read next"),
        Patch(label="padding", **PADDING_LOOK),
    ]
    axes.legend(handles=handles, loc="lower left", borderaxespad=0, handlelength=1.4)


def small_print(canvas: Canvas) -> str:
    """The instance."""
    limits, stream = canvas.em.task_class, canvas.em.stream
    return (
        f"Synthetic mixture, d = {DIM}, K = {COMPONENTS}, distance {SEPARATION:g}, seed {SEED}; N = {SAMPLES} samples "
        f"= tokens, k-means++ start; {STEPS} EM steps = {2 * STEPS} layers. Built for d ≤ {limits.max_dim}, "
        f"K ≤ {limits.max_components} (D = {stream.width}); floor construction, tolerance {TOLERANCE:g}, float64. Each "
        "column of a panel is a token, sorted by the component r(i) = 1, 2, 3 whose parameters it carries, then by the "
        "one most responsible for its sample at the end. In padding, log_w and log_pi hold the network's value at 0, "
        "which every score multiplies by a zero of component."
    )


@style.styled
def figure() -> Figure:
    """The residual stream after encode and after each sublayer of two EM steps."""
    em, tokens = instance()
    run = list(states(em, tokens))
    canvas = Canvas(em, row_edges(em), norms(em, run), token_order(em, run))
    picture = style.new_figure(7.4)
    panels = picture.subplots(STEPS, 5)
    places = [panels[0, 0], *(axes for row in panels for axes in row[1:])]
    for index, (axes, state) in enumerate(zip(places, run, strict=True)):
        following = run[index + 1].after if index + 1 < len(run) else READ_OUT
        draw_state(axes, canvas, run[index - 1] if index else None, state, following)
    for axes in (panels[0, 0], *panels[1:, 1]):
        name_rows(axes, canvas)
    draw_key(panels[1, 0], canvas)
    style.caption(picture, small_print(canvas))
    return picture
