"""The error after L steps, for every L at once: EM contracts around its fixed point, certified on data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from math import inf

import flint
import numpy as np

from constructions import ball_evaluation, em_enclosure
from constructions.algorithms import ball_em
from constructions.algorithms.em import log_em_step
from constructions.algorithms.sampling import Mixture
from constructions.balls import midpoints, to_balls
from constructions.datasets import load_bundled, load_start, load_synthetic
from constructions.em_class import Approximation, TaskClass, split_tolerance
from constructions.em_contraction import RADII, Certificate, certify, distance, fixed_point
from constructions.em_enclosure import BallEm, Parameters
from theory_checks import subjects
from theory_checks.enclosures import decided, enclose
from theory_checks.ledger import Verdict, statement

BITS = 512  # enclosures of a run widen by about 7 bits a step
LONGEST, AFTER = 250, 5  # steps until the run must be in the ball; steps judged from then on


@dataclass(frozen=True)
class Instance:
    """A data set with the tolerance of the transformer's class that it is run with."""

    data: str  # a bundled data set, or "separation R"
    components: int
    tolerance: float
    excess: float  # β is at most so many times what F does along its slowest direction

    @property
    def name(self) -> str:
        """For verdicts."""
        return f"{self.data} eps={self.tolerance:g}"

    @property
    def task_class(self) -> TaskClass:
        """The smallest that holds it."""
        return TaskClass(self.samples.shape[1], self.components, 10.0, 0.01)

    @property
    def approximation(self) -> Approximation:
        """The networks' sizes."""
        return split_tolerance(self.task_class, self.tolerance, "floor")

    @property
    def samples(self) -> np.ndarray:
        """As the demo prepares them; a multiple of K."""
        return _samples(self.data, self.components)

    @property
    def start(self) -> Mixture:
        """Means by k-means++, equal weights."""
        return load_start("kmeans++", self.components, self.samples, np.random.default_rng(0))


@cache
def _samples(data: str, components: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    if data.startswith("separation"):
        loaded = load_synthetic(components, 2, 600, float(data.split()[1]), rng)
    else:
        loaded = load_bundled(data, components, None, None, rng)
    return loaded.samples[: len(loaded.samples) // components * components]


INSTANCES = (Instance("iris", 3, 0.01, 1.6), Instance("wine", 3, 0.01, 1.9), Instance("separation 6", 3, 0.01, 2.0))
FULL = (
    Instance("separation 4", 3, 0.01, 2.1),
    Instance("separation 3", 3, 0.003, 1.5),
    Instance("separation 2", 3, 3e-4, 1.2),
    Instance("separation 1", 3, 3e-4, inf),
    Instance("digits", 10, 3e-4, 1.4),
)
"""Each `excess` is what was measured, rounded up to a tenth: it says how loose β is and was no prediction."""


def claimed(certificate: Certificate, distance: flint.arb, steps: int) -> flint.arb:
    """β^L·dist + (s + η)/(1 − β)."""
    return certificate.beta**steps * distance + certificate.plateau


Bound = Callable[[Certificate, flint.arb, int], flint.arb]


@statement(
    "em-run",
    source="error after L steps, section 5 (the shape of Theorem F.1's right-hand side)",
    text="ours",
    evidence="certified",
    depends_on=("em-step-floor",),
    paper=("Theorem F.1", "Theorem 1"),
)
def em_run(
    rng: np.random.Generator,
    *,
    fault: str = "",
    bound: Bound = claimed,
    contraction: float = 1.0,
    full: bool = False,
) -> Iterator[Verdict]:
    """Let F be the data set's EM map, θ~ a point with residual η, and let F contract by β on the ball of radius ρ
    around θ~, where the transformer's step is off by at most s, s + η ≤ (1 − β)ρ. Then F has one fixed point in the
    ball, and a run that enters it is within β^L·dist + (s + η)/(1 − β) of θ~ L steps later: proved for every L.

    β, s, η are enclosed on listed data, in the metric Σ_k p_k(δλ_k² + ‖δμ_k‖²), and so are the first steps of a run,
    until it is in the ball, and five more. Not applicable where the contraction cannot be certified. β is at least what
    F does along its slowest direction at the fixed point, and at most a factor listed for the instance, 1.2 to 2.1.
    """
    for instance in INSTANCES + (FULL if full else ()):
        found = certificate(instance)
        yield from decided(partial(_judge, instance, found, contraction))
        if found.certified:
            inside = slowest(instance.samples, found)
            for name, start in (("from within", inside), ("from k-means++", instance.start)):
                yield from decided(partial(_run, instance, fault, found, start, bound, name), BITS, 4 * BITS)


@cache
def certificate(instance: Instance) -> Certificate:
    """With the largest of RADII that certifies."""
    with flint.ctx.workprec(128):
        point = fixed_point(instance.samples, instance.start)
        return certify(instance.samples, point, instance.task_class, instance.approximation, RADII)


def _judge(instance: Instance, found: Certificate, contraction: float) -> Iterator[Verdict]:
    numbers = (
        f"{instance.name}: beta {float(found.beta):.4g} on radius {float(found.rho):.3g}, s {float(found.s):.3g}, "
        f"eta {float(found.eta):.2g}, plateau {float(found.plateau):.3g}, condition {float(found.condition):.3g}"
    )
    if not found.certified:
        why = found.excuse or "beta < 1 and s + eta <= (1 - beta)*radius cannot be certified for any radius"
        yield Verdict("not applicable", f"{numbers}: {why}")
        return
    yield enclose(found.plateau, found.rho, numbers)
    moved = em_enclosure.parameters(slowest(instance.samples, found))
    image, still = (_step(instance.samples, parameters) for parameters in (moved, found.point))
    ratio = distance(still, image, to_balls(found.shares)) / found.distance(moved)
    along = f"{instance.name}: |F(p + v) - F(p)|/|v| along the slowest v"
    yield enclose(ratio, contraction * found.beta, f"{along}, against beta")
    most = flint.arb(instance.excess) * ratio
    yield enclose(contraction * found.beta, most, f"beta against {instance.excess:g} times {along}")


def _run(
    instance: Instance, fault: str, found: Certificate, start: Mixture, bound: Bound, name: str
) -> Iterator[Verdict]:
    """The transformer's and exact EM's steps until both are in the ball, then the bounds for the next ones."""
    em = _transformer(instance, fault, flint.ctx.prec)
    tokens = em_enclosure.encode(em, instance.samples, start)
    exact, shares = em_enclosure.parameters(start), to_balls(found.shares)
    estimate, entered, h = exact, -1, tokens
    for done in range(LONGEST + AFTER):
        if entered < 0 and found.distance(estimate) <= found.rho and found.distance(exact) <= found.rho:
            entered, away, apart = done, found.distance(estimate), distance(estimate, exact, shares)
        steps = done - entered
        if entered >= 0 and steps:
            label = f"{instance.name} {name}: {entered} + {steps} steps"
            yield enclose(found.distance(estimate), bound(found, away, steps), f"{label}, to the fixed point")
            parted = bound(found, apart, steps) - found.eta / (1 - found.beta)
            yield enclose(distance(estimate, exact, shares), parted, f"{label}, to exact EM")
            if steps == AFTER:
                return
        *_, h = ball_evaluation.trace(em.transformer, h)
        estimate = em_enclosure.read_out(em, h, *reversed(start.means.shape))
        exact = _step(instance.samples, exact)
    yield Verdict("not applicable", f"{instance.name} {name}: not in the ball after {LONGEST} steps")


def slowest(x: np.ndarray, found: Certificate) -> Mixture:
    """A point half-way to the ball's edge, in the direction in which F contracts least; by power iteration."""
    shares, reach = found.shares, float(found.rho) / 2
    log_weights, means = midpoints(found.point.log_weights), midpoints(found.point.means)
    image, rng = log_em_step(x, log_weights, means), np.random.default_rng(0)
    drift, shift = rng.standard_normal(log_weights.shape), rng.standard_normal(means.shape)
    for _ in range(100):
        size = reach / float(np.sqrt((shares * (drift**2 + (shift**2).sum(axis=1))).sum()))
        direction = size * drift, size * shift
        after = log_em_step(x, log_weights + 1e-3 * direction[0], means + 1e-3 * direction[1])
        drift, shift = after[0] - image[0], after[1] - image[1]
    weights = np.exp(log_weights + direction[0])
    return Mixture(weights / weights.sum(), means + direction[1])


def _step(x: np.ndarray, entering: Parameters) -> Parameters:
    return Parameters(*ball_em.em_step(to_balls(x), entering.log_weights, entering.means))


@cache
def _transformer(instance: Instance, fault: str, bits: int) -> BallEm:
    """One step's layers, with the weights of the proof as `bits` bits hold them; a broken one has float64's."""
    if fault:
        return subjects.in_balls(fault, instance.task_class, instance.tolerance, "floor", 1)
    return em_enclosure.build(instance.task_class, instance.approximation, 1)


for fault in ("mu not cleared", "log network scaled by 0.1", "square network doubled"):
    em_run.control(fault, fault=fault)
em_run.control("s forgotten: errors die out", bound=lambda found, distance, steps: found.beta**steps * distance)
em_run.control("half of beta", contraction=0.5)
em_run.control("1.4 times beta", contraction=1.4)
test_em_run, test_em_run_controls = em_run.tests()
