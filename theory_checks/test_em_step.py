"""E-step, M-step and whole EM steps of the transformer against exact EM, on every instance of the class."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import flint
import numpy as np
from hypothesis import strategies as st

from constructions import ball_evaluation, bounds, em_enclosure
from constructions.algorithms import ball_em
from constructions.algorithms.sampling import Mixture
from constructions.ball_evaluation import BallLayer, BallTransformer
from constructions.balls import ZERO, largest, norm, to_balls
from constructions.em_class import TaskClass
from constructions.em_enclosure import BallEm, enclose_diameter
from theory_checks import instances, kept, subjects
from theory_checks.em_steps import judge_run
from theory_checks.enclosures import decided, enclose, equal
from theory_checks.instances import Task
from theory_checks.ledger import Verdict, statement
from theory_checks.search import searched
from theory_checks.subjects import DEMO_CLASS, GRID_CLASS, SMALL_CLASS

Build = Callable[[TaskClass, float], BallEm]
Bound = Callable[[flint.arb], flint.arb]
MStepBound = Callable[..., flint.arb]
NETWORKS = ("lemma-f4-sharp", "remark-f6", "lemma-f5")


def broken(fault: str) -> Build:
    """Builds the construction with one of subjects.FAULTS."""
    return lambda task_class, tolerance: subjects.in_balls(fault, task_class, tolerance)


@statement(
    "e-step",
    source="E-step, section 5",
    text="ours",
    evidence="certified",
    depends_on=("ball-evaluation", "p1", *NETWORKS),
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


@statement(
    "m-step",
    source="M-step, section 5",
    text="ours",
    evidence="certified",
    depends_on=("ball-evaluation", "p1", "p2", *NETWORKS),
)
def m_step(
    rng: np.random.Generator, *, build: Build = subjects.in_balls_sound, bound: MStepBound = bounds.m_step
) -> Iterator[Verdict]:
    """From any responsibilities ŵ: ‖μ̂_k − Σ_i ŵ_ik x_i/Σ_i ŵ_ik‖ ≤ diam(X)[tanh(g/4) + 1/(1 + A e^c π̂_k)].

    π̂_k = (1/N)Σ_i ŵ_ik (equality to half of the balls' digits).
    """
    em = build(GRID_CLASS, 0.5)
    yield from kept.replay(lambda found: given_m_step(em, "the worst kept", *expanded(found), bound), "m-step")
    for name, x, w in _m_step_instances(rng, float(em.approximation.log_a)):
        yield from given_m_step(em, name, x, w, bound)
    yield from searched(
        _responsibilities_drawn(),
        lambda drawn: given_m_step(em, f"drawn {drawn}", *_arrays(drawn), bound),
        rng,
        100,
    )


def _m_step_instances(rng: np.random.Generator, log_a: float) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Samples and responsibilities: Dirichlet ones; and one sample that owns a component, far from the others."""
    for dim in instances.DIMS:
        for k in instances.COMPONENTS:
            for concentration in (10.0, 1.0, 0.05):
                count = 3 * k
                w = rng.dirichlet(np.full(k, concentration), size=count)
                x = instances.within(4 * rng.standard_normal((count, dim)), GRID_CLASS.radius)
                yield f"dirichlet({concentration}) d={dim} K={k} N={count}", x, w
    for scale in (0.03, 0.3, 1.0, 3.0, 30.0, 300.0):
        for count in (4, 20, 200):
            first = np.full(count, 1e-9)
            first[0] = scale * np.exp(-log_a) * count
            if first[0] < 1:
                x = np.zeros((count, 1))
                x[0] = 1.0
                yield f"lone owner {scale}/A N={count}", x, np.c_[first, 1 - first]


@st.composite
def _responsibilities_drawn(draw: st.DrawFn) -> tuple[list[float], list[float]]:
    """N samples on a line and the logarithms of their responsibilities for the first of two components."""
    count = 2 * draw(st.integers(1, 8))
    points = draw(st.lists(st.sampled_from((-11.0, 0.0, 11.0)), min_size=count, max_size=count))
    logs = draw(st.lists(st.floats(-14, -1e-3), min_size=count, max_size=count))
    return points, logs


def _arrays(drawn: tuple[list[float], list[float]]) -> tuple[np.ndarray, np.ndarray]:
    first = np.exp(drawn[1])
    return np.array(drawn[0])[:, None], np.c_[first, 1 - first]


def expanded(instance: kept.Instance) -> tuple[np.ndarray, np.ndarray]:
    """Samples, and responsibilities of two components, each sample as often as `copies` says."""
    first = np.repeat(instance["w"], instance["copies"].astype(int))
    return np.repeat(instance["samples"], instance["copies"].astype(int), axis=0), np.c_[first, 1 - first]


def given_m_step(em: BallEm, name: str, x: np.ndarray, w: np.ndarray, bound: MStepBound) -> Iterator[Verdict]:
    """The new parameters from the responsibilities w: every mean within the bound, every weight the average."""
    return decided(partial(_m_step, em, name, x, w, bound))


def _m_step(em: BallEm, name: str, x: np.ndarray, w: np.ndarray, bound: MStepBound) -> Iterator[Verdict]:
    """The E-step layer's MLP, which takes the logarithms, and the M-step layer's attention, on given ŵ."""
    e_layer, m_layer = em.transformer.layers
    halves = BallTransformer(
        (BallLayer((), "softmax", e_layer.units), BallLayer(m_layer.heads, m_layer.activation, ())), (0, 1)
    )
    dim, k = x.shape[1], w.shape[1]
    tokens = em_enclosure.encode(em, x, Mixture(np.full(k, 1 / k), np.zeros((k, dim))))
    given, begin = to_balls(w), em.stream["w"].start
    tokens[:, begin : begin + k] = given
    *_, h = ball_evaluation.trace(halves, tokens)
    estimate = em_enclosure.read_out(em, h, dim, k)
    log_weights, means = ball_em.m_step(to_balls(x), given)
    errors, diameter = norm(estimate.means - means), enclose_diameter(x)
    for i in range(k):
        limit = bound(em.approximation, diameter, log_weights[i].exp(), ZERO)
        yield enclose(errors[i], limit, f"{name} mean {i}", trivial=diameter)
        yield equal(estimate.log_weights[i], log_weights[i], f"{name} weight {i}")


m_step.control("log network scaled by 0.1", build=broken("log network scaled by 0.1"))
m_step.control("E- and M-step exchanged", build=broken("E- and M-step exchanged"))
m_step.control("the floor term forgotten", bound=lambda a, diam, pi, u: diam * bounds.tilt(a.log_error))
m_step.control(
    "the chord term forgotten",
    bound=lambda a, diam, pi, u: bounds.m_step(a, diam, pi, u) - diam * bounds.tilt(a.log_error),
)
m_step.control("the bound lowered by 40 %", bound=lambda *parts: 3 * bounds.m_step(*parts) / 5)
m_step.control("just under the worst kept", bound=lambda *parts: kept.just_below("m-step") * bounds.m_step(*parts))
test_m_step, test_m_step_controls = m_step.tests()


@statement(
    "em-step-floor",
    source="one EM step, section 5, parametrisation `floor` (Theorems F.6, F.7)",
    text="ours",
    evidence="certified",
    depends_on=("e-step", "m-step", "one-theta"),
)
def em_step_floor(
    rng: np.random.Generator,
    *,
    build: Build = subjects.in_balls_sound,
    scale: float = 1.0,
    weights_scale: float = 1.0,
    full: bool = False,
) -> Iterator[Verdict]:
    """Each EM step of a run, from the parameters it starts from, has |log π̂_k − log π_k⁺| ≤ U and
    ‖μ̂_k − μ_k⁺‖ ≤ diam(X)[tanh(U/4) + tanh(g/4) + 1/(1 + A e^c π̂_k)], with one Θ for all tasks of the class.

    Polynomial weights: log A = log(6B/(ε π_min)), as float64 holds them; U = 0 in the first step.
    """
    worst = ("em-step-floor", "em-step-floor-later", "em-step-floor-weights")
    yield from kept.replay_tasks(lambda task: judge_run(build(SMALL_CLASS, 0.5), task, scale, weights_scale), *worst)
    for log_a in (5.0, 7.0, 9.0):
        for count in (6, 20, 200):
            yield from judge_run(subjects.fine_chords(log_a), instances.lone_owner(count), scale)
    strategy = instances.adversarial(SMALL_CLASS.radius, SMALL_CLASS.min_weight)
    yield from searched(strategy, lambda task: judge_run(build(SMALL_CLASS, 0.5), task, scale), rng, 80 if full else 30)
    dims, counts = (instances.DIMS, (0, 29, 211)) if full else ((1, 5, 13), (0, 29))
    for task in instances.grid(rng, GRID_CLASS.radius, dims, counts=counts):
        yield from judge_run(build(GRID_CLASS, 0.5), task, scale)
    for task in instances.real_data():
        if full or len(task.samples) < 1000:
            yield from judge_run(build(DEMO_CLASS, 0.1), task, scale)
    for k in instances.COMPONENTS if full else ():
        task = instances.overlapping(f"large d=13 K={k} N=1999", 13, k, 1999, GRID_CLASS.radius, rng)
        yield from judge_run(build(GRID_CLASS, 0.5), task, scale)


for fault in subjects.FAULTS:
    em_step_floor.control(fault, build=broken(fault))
em_step_floor.control("the bound lowered by 10 %", scale=0.9)
em_step_floor.control("just under the worst kept", scale=kept.just_below("em-step-floor"))
em_step_floor.control("just under the worst kept of a later step", scale=kept.just_below("em-step-floor-later"))
em_step_floor.control(
    "weights' bound just under the worst kept", weights_scale=kept.just_below("em-step-floor-weights")
)
test_em_step_floor, test_em_step_floor_controls = em_step_floor.tests()


def _paper(task_class: TaskClass, tolerance: float) -> BallEm:
    return subjects.in_balls_sound(task_class, tolerance, "paper")


@statement(
    "em-step-paper",
    source="one EM step, section 5, parametrisation `paper` (Theorems F.6, F.7)",
    text="ours",
    evidence="certified",
    depends_on=("e-step", "m-step", "one-theta"),
)
def em_step_paper(
    rng: np.random.Generator,
    *,
    build: Build = _paper,
    scale: float = 1.0,
    weights_scale: float = 1.0,
    full: bool = False,
) -> Iterator[Verdict]:
    """With log A = 2B² + log(1/π_min) + U no responsibility falls below 1/A, and each EM step of a run has
    ‖μ̂_k − μ_k⁺‖ ≤ diam(X)[tanh(U/4) + tanh(g/4)] and |log π̂_k − log π_k⁺| ≤ U; one Θ for all tasks of the class.

    Exponential weights, as float64 holds them; log networks at Lemma F.4's width; U = 0 in the first step.
    """
    em = build(SMALL_CLASS, 0.5)
    worst = ("em-step-paper", "em-step-paper-weights")
    yield from kept.replay_tasks(lambda task: judge_run(em, task, scale, weights_scale), *worst)
    strategy = instances.adversarial(SMALL_CLASS.radius, SMALL_CLASS.min_weight)
    yield from searched(strategy, lambda task: judge_run(em, task, scale), rng, 40 if full else 20)
    counts = (0, 29, 101) if full else (0, 13)
    for task in instances.grid(rng, SMALL_CLASS.radius, (1, 2, 3, 5), (2, 3, 5, 7), counts):
        yield from judge_run(em, task, scale)


for fault in ("E-step score x 1.5", "log network scaled by 0.1", "square network doubled", "w not cleared"):
    em_step_paper.control(
        fault, build=lambda task_class, tolerance, fault=fault: subjects.in_balls(fault, task_class, tolerance, "paper")
    )
em_step_paper.control("just under the worst kept", scale=kept.just_below("em-step-paper"))
em_step_paper.control(
    "weights' bound just under the worst kept", weights_scale=kept.just_below("em-step-paper-weights")
)
test_em_step_paper, test_em_step_paper_controls = em_step_paper.tests()
