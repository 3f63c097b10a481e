"""Definitions 4-8 in real balls: enclosures of the stream, for weights and tokens that are floats or balls.

Rigorous for floats, since every float is exact, and for weights that no format holds. Zeros are not multiplied, hidden
units that read the same coordinates are taken together, and tokens that agree on what is read are evaluated once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import flint
import numpy as np
from jaxtyping import Int, Shaped

from constructions import interval_softmax
from constructions.ball_curve import BallCurve, relu_ball
from constructions.balls import ZERO, codes, equal_rows, fill, matrix, product
from constructions.evaluation import exact_weights
from constructions.number_system import Balls
from constructions.transformer import Transformer
from constructions.weights import Activation, Array, HeadWeights, TransformerWeights

BLOCK = 2**18
"""Hidden units held at a time."""
FEW = 4
"""Up to as many units, or rows, are evaluated one by one."""


@dataclass(frozen=True, eq=False)
class BallHead:
    """Query reads `asked`, key and value read `shown`; output writes `targets`."""

    asked: Int[np.ndarray, " asked"]
    shown: Int[np.ndarray, " shown"]
    targets: Int[np.ndarray, " targets"]
    query: flint.arb_mat  # r × asked
    key: flint.arb_mat  # r × shown
    value: flint.arb_mat  # s × shown
    output: flint.arb_mat  # targets × s


@dataclass(frozen=True, eq=False)
class BallUnits:
    """Hidden units that read the same coordinates: relu(w1·h[sources]) moves by w2 to `targets`."""

    sources: Int[np.ndarray, " sources"]
    targets: Int[np.ndarray, " targets"]
    w1: flint.arb_mat  # units × sources
    w2: flint.arb_mat  # targets × units


@dataclass(frozen=True, eq=False)
class BallLayer:
    """Heads, then hidden units; there may be none of either."""

    heads: tuple[BallHead, ...]
    activation: Activation
    units: tuple[BallUnits, ...]


@dataclass(frozen=True, eq=False)
class BallTransformer:
    """Stored layers and the order in which they run."""

    layers: tuple[BallLayer, ...]
    schedule: tuple[int, ...]


def from_transformer(transformer: Transformer) -> BallTransformer:
    """The weights that the modules hold, each float exactly."""
    return from_weights(exact_weights(transformer, Balls()))


def from_weights(weights: TransformerWeights) -> BallTransformer:
    """Weights that are balls; only entries that are exactly 0 are left out."""
    layers = []
    for layer in weights.layers:
        units = _units(layer.w1, layer.w2) if layer.w1 is not None and layer.w2 is not None else ()
        layers.append(BallLayer(tuple(_head(head) for head in layer.heads), layer.activation, units))
    return BallTransformer(tuple(layers), weights.schedule)


def trace(transformer: BallTransformer, tokens: Shaped[np.ndarray, "N D"]) -> Iterator[Shaped[np.ndarray, "N D"]]:
    """Enclosures of the stream after every layer of the schedule, in turn."""
    h = tokens
    for index in transformer.schedule:
        layer = transformer.layers[index]
        after, same = h.copy(), codes(h)
        for head in layer.heads:
            after[:, head.targets] = after[:, head.targets] + attend(head, layer.activation, h, same)
        h, same = after.copy(), codes(after)
        for units in layer.units:
            h[:, units.targets] = h[:, units.targets] + activate(units, after, same)
        yield h


def attend(
    head: BallHead, activation: Activation, h: Shaped[np.ndarray, "N D"], same: Int[np.ndarray, "N D"]
) -> Shaped[np.ndarray, "N t"]:
    """What one head adds to its targets: Σ_j a(⟨Q h_i, K h_j⟩) V h_j with a = softmax over j or relu/N.

    `same` are the codes of h.
    """
    (queries, label), (keys, kind) = equal_rows(same[:, head.asked]), equal_rows(same[:, head.shown])
    sizes = np.bincount(kind, minlength=len(keys)).tolist()
    asked = head.query * matrix(h[np.ix_(queries, head.asked)]).transpose()
    shown = matrix(h[np.ix_(keys, head.shown)]).transpose()
    scores = product(asked.transpose(), head.key * shown)
    if activation == "softmax":
        weights = interval_softmax.softmax(scores, sizes)
    else:
        weights = relu(scores) * fill(sizes, (1, len(sizes))) / len(h)
    pooled = matrix(weights) * (head.value * shown).transpose()
    return product(pooled, head.output.transpose())[label]


def activate(units: BallUnits, h: Shaped[np.ndarray, "N D"], same: Int[np.ndarray, "N D"]) -> Shaped[np.ndarray, "N t"]:
    """What the units add to their targets: w2·relu(w1·h[sources]). `same` are the codes of h."""
    read = same[:, units.sources]
    first, label = equal_rows(read)
    rows = h[np.ix_(first, units.sources)]
    varying = np.flatnonzero((read != read[0]).any(axis=0)).tolist()
    if len(varying) == 1 and min(len(rows), units.w1.nrows()) > FEW:
        return _curve(units, rows, varying[0])[label]
    size = max(1, BLOCK // max(1, units.w1.nrows()))
    blocks = [_hidden(units, rows[start : start + size]) for start in range(0, len(rows), size)]
    return np.concatenate(blocks)[label]


def relu(values: Array) -> Array:
    """Enclosures of max(x, 0)."""
    entries = values.ravel().tolist()
    return fill((v if v >= ZERO else ZERO if v <= ZERO else relu_ball(v) for v in entries), values.shape)


def _hidden(units: BallUnits, rows: Shaped[np.ndarray, "c n"]) -> Shaped[np.ndarray, "c t"]:
    """Every unit for every row."""
    hidden = relu(product(units.w1, matrix(rows).transpose()))
    return product(units.w2, matrix(hidden)).T


def _curve(units: BallUnits, rows: Shaped[np.ndarray, "c n"], varying: int) -> Shaped[np.ndarray, "c t"]:
    """All other numbers that the units read are the same in all rows: they are a function of one number."""
    w1 = fill(units.w1.entries(), (units.w1.nrows(), units.w1.ncols()))
    a = fill(units.w2.entries(), (units.w2.nrows(), units.w2.ncols()))
    fixed = rows[0].copy()
    fixed[varying] = ZERO
    offsets = product(matrix(w1), matrix(fixed[:, None]))[:, 0]
    return BallCurve(w1[:, varying].tolist(), offsets.tolist(), a)(rows[:, varying].tolist())


def _head(head: HeadWeights) -> BallHead:
    asked, shown = _used(head.query), _used(np.concatenate([head.key, head.value]))
    targets = _used(head.output.T)
    return BallHead(
        asked,
        shown,
        targets,
        matrix(head.query[:, asked]),
        matrix(head.key[:, shown]),
        matrix(head.value[:, shown]),
        matrix(head.output[targets]),
    )


def _units(w1: Array, w2: Array) -> tuple[BallUnits, ...]:
    reads = _nonzero(w1)
    keys = [tuple(np.flatnonzero(row).tolist()) for row in reads]
    groups = []
    for sources, members in groupby(sorted(range(len(keys)), key=lambda unit: keys[unit]), key=lambda unit: keys[unit]):
        chosen, columns = np.array(list(members)), np.array(sources, dtype=np.int64)
        targets = _used(w2[:, chosen].T)
        first, second = matrix(w1[np.ix_(chosen, columns)]), matrix(w2[np.ix_(targets, chosen)])
        groups.append(BallUnits(columns, targets, first, second))
    return tuple(groups)


def _used(rows: Array) -> Int[np.ndarray, " used"]:
    """The columns that are not zero throughout."""
    return np.flatnonzero(_nonzero(rows).any(axis=0))


def _nonzero(array: Array) -> Shaped[np.ndarray, "m n"]:
    return ~np.asarray(np.frompyfunc(flint.arb.is_zero, 1, 1)(array), dtype=bool)
