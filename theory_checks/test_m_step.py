"""The M-step of the transformer against exact means, from any responsibilities, in balls."""

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
from constructions.balls import ZERO, norm, to_balls
from constructions.em_enclosure import BallEm, enclose_diameter
from theory_checks import instances, kept, subjects
from theory_checks.em_steps import NETWORKS, Build, broken
from theory_checks.enclosures import decided, enclose, equal
from theory_checks.ledger import Verdict, statement
from theory_checks.search import searched
from theory_checks.subjects import GRID_CLASS

MStepBound = Callable[..., flint.arb]


@statement(
    "m-step",
    source="M-step, section 5",
    text="ours",
    evidence="certified",
    depends_on=("ball-evaluation", "p1", "p2", *NETWORKS),
    paper=("Theorem F.6", "Theorem F.7"),
)
def m_step(
    rng: np.random.Generator, *, build: Build = subjects.in_balls_sound, bound: MStepBound = bounds.m_step
) -> Iterator[Verdict]:
    """From any responsibilities ŵ: ‖μ̂_k − Σ_i ŵ_ik x_i/Σ_i ŵ_ik‖ ≤ diam(X)[tanh(g/4) + 1/(1 + A e^c π̂_k)].

    π̂_k = (1/N)Σ_i ŵ_ik (equality to half of the balls' digits). Proved for all of them; enclosed on drawn, searched
    and kept samples and responsibilities.
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
