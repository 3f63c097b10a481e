"""Ball evaluation encloses: random points of wide inputs, evaluated at a higher precision, lie in its enclosures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from unittest.mock import patch

import flint
import numpy as np
import torch

from constructions import ball_curve, ball_evaluation, interval_softmax
from constructions.ball_evaluation import BallTransformer
from constructions.balls import fill, to_balls
from constructions.transformer import AttentionHead, AttentionLayer, MlpLayer, Transformer, TransformerLayer
from constructions.weights import Activation, Array
from theory_checks.enclosures import enclose
from theory_checks.execution_instances import Instance, random_instances
from theory_checks.ledger import Verdict, require, statement

Softmax = Callable[[Array, Sequence[int]], Array]
Evaluate = Callable[[BallTransformer, Array], Iterator[Array]]
BITS, HIGHER = 64, 256
SOUND = interval_softmax.softmax
BOXES, POINTS = 300, 5


def inside(box: Array, rng: np.random.Generator) -> Array:
    """Random numbers of the balls, exact; every third an end of its ball."""
    away = np.where(rng.random(box.shape) < 1 / 3, rng.choice([-1.0, 1.0], box.shape), rng.uniform(-1, 1, box.shape))
    points = zip(box.ravel(), away.ravel().tolist(), strict=True)
    return fill((ball.mid() + ball.rad() * share for ball, share in points), box.shape)


def contained(points: Array, enclosures: Array) -> int:
    """How many enclosures of points certainly lie in the given ones."""
    return sum(wide.contains(point) for point, wide in zip(points.ravel(), enclosures.ravel(), strict=True))


@statement("ball-softmax", source="softmax by its monotone corners", text="ours", evidence="certified")
def ball_softmax(rng: np.random.Generator, *, softmax: Softmax = SOUND) -> Iterator[Verdict]:
    """The softmax of any point of a box of scores lies in the enclosure, whose ends are attained at the corners (U_j,
    L_l for l ≠ j) and (L_j, U_l).

    It is monotone in each score, which proves it. Checked at 64 bits against 256: random points of drawn boxes, more
    than 10⁵ entries, and the corners of three boxes.
    """
    for size in (2, 3, 5, 7):
        for width in (0.0, 1e-15, 1e-3, 1.0, 30.0):
            found, checked = 0, POINTS * size * BOXES
            for _ in range(BOXES):
                scores = fill(map(flint.arb, (30 * rng.standard_normal(size)).tolist(), [width] * size), (1, size))
                copies = rng.integers(1, 4, size).tolist()
                with flint.ctx.workprec(BITS):
                    enclosures = softmax(scores, copies)
                with flint.ctx.workprec(HIGHER):
                    points = np.concatenate([inside(scores, rng) for _ in range(POINTS)])
                    found += contained(_exact(points, copies), np.repeat(enclosures, POINTS, axis=0))
            yield require(found == checked, f"n={size} radius {width}: {found} of {checked} contained")
    yield from _corners(softmax)


def _exact(points: Array, copies: Sequence[int]) -> Array:
    terms = fill((m * s.exp() for row in points for m, s in zip(copies, row, strict=True)), points.shape)
    return terms / terms.sum(axis=1, keepdims=True)


def _corners(softmax: Softmax) -> Iterator[Verdict]:
    """The box on which a softmax that adds 1e-12 to a denominator is unsound, and the ends of some others."""
    for low, high in (([-30, -60], [-30, 0]), ([-1, 2, 0], [1, 2, 5]), ([-9, -9, -9], [9, 9, 9])):
        with flint.ctx.workprec(BITS):
            box = fill((flint.arb(a).union(flint.arb(b)) for a, b in zip(low, high, strict=True)), (1, len(low)))
            enclosures = softmax(box, [1] * len(low))[0]
        with flint.ctx.workprec(HIGHER):
            for j, enclosure in enumerate(enclosures):
                best, worst = (
                    1
                    / sum(
                        ((flint.arb(o if k != j else mine[j]) - mine[j]).exp() for k, o in enumerate(others)),
                        flint.arb(0),
                    )
                    for mine, others in ((high, low), (low, high))
                )
                name = f"box {low} to {high}, entry {j}: in [{float(worst):.3g}, {float(best):.3g}]"
                beyond = (best - enclosure.upper()).max(enclosure.lower() - worst)
                yield enclose(beyond, flint.arb(0), name)
                spare = (enclosure.upper() - best).max(worst - enclosure.lower())
                spared = enclose(spare, flint.arb(2) ** (8 - BITS // 2), f"{name}, and no wider")
                yield replace(spared, slack=None)  # no bound to be close to


def _with_epsilon(scores: Array, copies: Sequence[int]) -> Array:
    """The fault of a library: 1e-12 added to the denominator of the upper bound."""
    rows = []
    for row in scores:
        low = [m * s.lower().exp() for m, s in zip(copies, row, strict=True)]
        high = [m * s.upper().exp() for m, s in zip(copies, row, strict=True)]
        for j in range(len(row)):
            rest_low = sum((v for i, v in enumerate(low) if i != j), flint.arb(0))
            rest_high = sum((v for i, v in enumerate(high) if i != j), flint.arb(0))
            most = high[j] / (high[j] + rest_low + flint.arb("1e-12"))
            rows.append((low[j] / (low[j] + rest_high)).lower().union(most.upper()))
    return fill(rows, scores.shape)


def _corners_exchanged(scores: Array, copies: Sequence[int]) -> Array:
    """All scores at their upper end, then all at their lower: (U_j, U_l) in place of (U_j, L_l)."""
    ends = [SOUND(fill(map(end, scores.ravel()), scores.shape), copies) for end in (_low, _high)]
    return fill((a.union(b) for a, b in zip(ends[0].ravel(), ends[1].ravel(), strict=True)), scores.shape)


def _low(ball: flint.arb) -> flint.arb:
    return ball.lower()


def _high(ball: flint.arb) -> flint.arb:
    return ball.upper()


def _inward(scores: Array, copies: Sequence[int]) -> Array:
    """The wrong rounding direction: the ends are taken for a little less than they are."""
    sound = SOUND(scores, copies)
    return fill((ball.mid() + (ball - ball.mid()) * (1 - flint.arb(2) ** -20) for ball in sound.ravel()), sound.shape)


ball_softmax.control("1e-12 in the denominator of the upper bound", softmax=_with_epsilon)
ball_softmax.control("the corners (U, U) and (L, L)", softmax=_corners_exchanged)
ball_softmax.control("ends rounded inward, to 20 bits", softmax=_inward)
test_ball_softmax, test_ball_softmax_controls = ball_softmax.tests()


@statement(
    "ball-evaluation",
    source="Definitions 4-8 in balls",
    text="ours",
    evidence="certified",
    depends_on=("ball-softmax",),
)
def ball_evaluation_row(
    rng: np.random.Generator, *, evaluate: Evaluate = ball_evaluation.trace, full: bool = False
) -> Iterator[Verdict]:
    """After each layer of random transformers, softmax and ReLU, on tokens that are balls, the enclosures contain the
    stream of random points of these balls. At 64 bits, against 256; 10⁴ entries, in full more than 10⁵.
    """
    activations: tuple[Activation, ...] = ("softmax", "relu")
    instances = [i for activation in activations for i in random_instances(rng, activation, 9 if full else 3)]
    for instance, wide_from in [*((i, None) for i in instances), *((i, 1) for i in tight_instances(rng))]:
        transformer = ball_evaluation.from_transformer(instance.transformer)
        for width in (0.0, 1e-18, 1e-6, 0.05):
            tokens = to_balls(instance.tokens.numpy())
            tokens[:, :wide_from] = tokens[:, :wide_from] + flint.arb(0, width)
            with flint.ctx.workprec(BITS):
                enclosures = np.concatenate(list(evaluate(transformer, tokens)))
            with flint.ctx.workprec(HIGHER):
                points = [inside(tokens, rng) for _ in range(POINTS if full else 1)]
                streams = [np.concatenate(list(ball_evaluation.trace(transformer, point))) for point in points]
            found, checked = sum(contained(stream, enclosures) for stream in streams), len(points) * enclosures.size
            yield require(found == checked, f"{instance.name} radius {width}: {found} of {checked} contained")


def tight_instances(rng: np.random.Generator) -> Iterator[Instance]:
    """Only coordinate 0 is a ball, and each of its effects goes to a coordinate of its own: nothing hides a fault.

    Coordinates x, 1, key, value, relu, softmax. x lies on breakpoints; a head asks with x and reads exact values. Keys
    are ±1, so that at the corners (U, U) and (L, L) all scores move alike, and a softmax of these does not move at all.
    """
    for units in (2, 11):
        breaks = rng.choice(np.arange(-8, 9), units, replace=False) / 8
        w1, w2 = np.zeros((units, 6)), np.zeros((6, units))
        w1[:, 0], w1[:, 1], w2[4] = 1.0, -breaks, 1.0
        one = torch.eye(6, dtype=torch.float64)
        attention = AttentionLayer([AttentionHead(one[[0]], one[[2]], one[[3]], one[:, [5]])], "softmax")
        layer = TransformerLayer(attention, MlpLayer(torch.from_numpy(w1), torch.from_numpy(w2)))
        tokens = rng.standard_normal((7, 6))
        tokens[:, 0], tokens[:, 1], tokens[:, 4:] = np.resize(breaks, 7), 1.0, 0.0
        tokens[:, 2] = np.resize([1.0, -1.0], 7)
        yield Instance(f"tight, {units} units", Transformer([layer], (0,)), torch.from_numpy(tokens))


def _patched(module: object, name: str, fault: Callable[..., object]) -> Evaluate:
    def evaluate(transformer: BallTransformer, tokens: Array) -> Iterator[Array]:
        with patch.object(module, name, fault):
            streams = list(ball_evaluation.trace(transformer, tokens))
        yield from streams

    return evaluate


def _centres(transformer: BallTransformer, tokens: Array) -> Iterator[Array]:
    return ball_evaluation.trace(transformer, fill((ball.mid() for ball in tokens.ravel()), tokens.shape))


def _upper_relu(x: flint.arb) -> flint.arb:
    return x if x.mid() > 0 else flint.arb(0)


ball_evaluation_row.control("the radii of the tokens forgotten", evaluate=_centres)
ball_evaluation_row.control(
    "relu decided by the midpoint", evaluate=_patched(ball_evaluation, "relu_ball", _upper_relu)
)
ball_evaluation_row.control("the same in curves", evaluate=_patched(ball_curve, "relu_ball", _upper_relu))
ball_evaluation_row.control(
    "the corners (U, U) and (L, L)", evaluate=_patched(interval_softmax, "softmax", _corners_exchanged)
)
test_ball_evaluation, test_ball_evaluation_controls = ball_evaluation_row.tests()
