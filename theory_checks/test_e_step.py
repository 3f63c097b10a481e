"""The E-step of the transformer against exact responsibilities, in balls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import flint
import numpy as np

from constructions import ball_evaluation, bounds, em_enclosure
from constructions.algorithms import ball_em
from constructions.algorithms.sampling import Mixture
from constructions.ball_evaluation import BallLayer, BallTransformer
from constructions.balls import ZERO, largest, to_balls
from constructions.em_enclosure import BallEm
from theory_checks import instances, kept, subjects
from theory_checks.em_steps import NETWORKS, Build, broken
from theory_checks.enclosures import decided, enclose, equal
from theory_checks.instances import Task
from theory_checks.ledger import Verdict, statement
from theory_checks.search import searched
from theory_checks.subjects import GRID_CLASS, SMALL_CLASS

Bound = Callable[[flint.arb], flint.arb]


@statement(
    "e-step",
    source="E-step, section 5",
    text="ours",
    evidence="certified",
    depends_on=("ball-evaluation", "p1", *NETWORKS),
    paper=("Theorem F.6", "Theorem F.7"),
)
def e_step(
    rng: np.random.Generator,
    *,
    build: Build = subjects.in_balls_sound,
    tilt: Bound = bounds.tilt,
    drift: Bound = lambda spread: spread,
) -> Iterator[Verdict]:
    """From equal parameters, for each token TV(ŵ_i, w_i) ≤ tanh(U/4) and |log ŵ_ik − log w_ik| ≤ U, U = g + dδ_sq/2.

    U = 0 in the first step: ŵ = w (equality to half of the balls' digits). Later steps need π_k ≥ 1/A and |μ_a| ≤ B.
    Proved for all data of the class; enclosed on drawn, searched and kept data sets.
    """
    em = build(GRID_CLASS, 0.5)
    yield from kept.replay_tasks(lambda task: later_e_step(em, task, tilt, drift), "e-step-tv", "e-step-log-w")
    for task in instances.grid(rng, GRID_CLASS.radius, counts=(0, 29)):
        yield from decided(partial(_first_e_step, em, task))
        yield from later_e_step(em, task, tilt, drift)
    for dim in instances.DIMS:
        yield from later_e_step(em, _worst_e_step(dim), tilt, drift)
    strategy, small = instances.adversarial(SMALL_CLASS.radius, SMALL_CLASS.min_weight), build(SMALL_CLASS, 0.5)
    yield from searched(strategy, lambda task: later_e_step(small, task, tilt, drift), rng, 60)


def _first_e_step(em: BallEm, task: Task) -> Iterator[Verdict]:
    """The first layer on the encoded tokens, whose logits are exact."""
    tokens = em_enclosure.encode(em, task.samples, task.start)
    first = BallTransformer(em.transformer.layers, em.transformer.schedule[:1])
    (h,) = ball_evaluation.trace(first, tokens)
    w, exact = _responsibilities(em, task, h)
    worst = largest(abs(one - other) for one, other in zip(w.ravel(), exact.ravel(), strict=True))
    yield equal(worst, ZERO, f"{task.name} first step")


def later_e_step(em: BallEm, task: Task, tilt: Bound, drift: Bound) -> Iterator[Verdict]:
    """TV ≤ tilt(U) and |log ŵ − log w| ≤ drift(U), for the later steps' route to the logits."""
    return decided(partial(_later_e_step, em, task, tilt, drift))


def _later_e_step(em: BallEm, task: Task, tilt: Bound, drift: Bound) -> Iterator[Verdict]:
    """The M-step layer's MLP, which takes log π and ‖μ‖², then the E-step layer."""
    e_layer, m_layer = em.transformer.layers
    tokens = em_enclosure.encode(em, task.samples, task.start)
    components, dim = task.start.means.shape
    tokens[:, em.stream["log_pi"]] = ZERO
    tokens[:, em.stream["sq_norm"]] = ZERO
    tokens[:, em.stream["pi"].start : em.stream["pi"].start + components] = to_balls(task.start.weights)
    pair = BallTransformer((BallLayer((), "softmax", m_layer.units), e_layer), (0, 1))
    *_, h = ball_evaluation.trace(pair, tokens)
    excuse = ""
    if not min(task.start.weights) >= (-em.approximation.log_a).exp():
        excuse = f"a weight is {task.start.weights.min():.2g}, below 1/A"
    logit_error = em.approximation.logit_error(dim)
    w, exact = _responsibilities(em, task, h)
    variation = largest((abs(one - other)).sum() / 2 for one, other in zip(w, exact, strict=True))
    trivial = flint.arb(1)
    yield enclose(variation, tilt(logit_error), f"{task.name} later step TV", trivial=trivial, excuse=excuse)
    off = largest(abs((one / other).log()) for one, other in zip(w.ravel(), exact.ravel(), strict=True))
    yield enclose(off, drift(logit_error), f"{task.name} later step log w", excuse=excuse)


def _responsibilities(em: BallEm, task: Task, h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the stream holds in `w`, and exact EM's."""
    begin, components = em.stream["w"].start, len(task.start.weights)
    begun, x = em_enclosure.parameters(task.start), to_balls(task.samples[: len(h)])
    return h[:, begin : begin + components], ball_em.responsibilities(x, begun.log_weights, begun.means)


def _worst_e_step(dim: int) -> Task:
    """One component in the middle of its chords, the other on knots, and samples everywhere between them."""
    approximation = subjects.sound(GRID_CLASS).approximation
    networks = approximation.networks()
    weight = np.linspace(0.01, 0.99, 4001)
    gap = np.log(weight) - networks["log"](weight)
    best = weight[(gap - gap[::-1]).argmax()]
    means = np.zeros((2, dim))
    means[0] = approximation.radius / approximation.pieces / 2
    along = np.linspace(-GRID_CLASS.radius, GRID_CLASS.radius, 1000)[:, None] * (1 - 1e-12)
    samples = np.repeat(along, dim, axis=1) / np.sqrt(dim)
    return Task(f"mid-chord d={dim} pi={best:.6g}", samples, Mixture(np.array([best, 1 - best]), means))


for fault in (
    "E-step score x 1.5",
    "1/sqrt(d) slipped into the E-step score",
    "|mu|^2/2 forgotten in the score",
    "square network doubled",
):
    e_step.control(fault, build=broken(fault))
e_step.control("TV bound lowered to tanh(U/5)", tilt=lambda spread: bounds.tilt(4 * spread / 5))
e_step.control(
    "TV bound just under the worst kept", tilt=lambda spread: kept.just_below("e-step-tv") * bounds.tilt(spread)
)
e_step.control("log w bound just under the worst kept", drift=lambda spread: kept.just_below("e-step-log-w") * spread)
test_e_step, test_e_step_controls = e_step.tests()
