"""Theorems F.6 and F.7 under their own assumption (A1): the weights that no float format holds, run in balls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from math import ceil, log

import flint
import numpy as np

from constructions import ball_evaluation, em_enclosure, em_transformer
from constructions.ball_evaluation import BallLayer, BallTransformer
from constructions.balls import ZERO, largest, to_balls
from constructions.em_enclosure import BallEm, StepEnclosure, enclose_diameter
from constructions.em_transformer import E_STEP, M_STEP
from constructions.number_system import Balls
from constructions.relu_networks import Orientation
from theory_checks import a1_instances
from theory_checks.a1_instances import Case, Instance, cases, instance, outside
from theory_checks.enclosures import decided, enclose, equal
from theory_checks.ledger import Verdict, statement

Build = Callable[[Instance], BallEm]
Mutant = Callable[[BallEm], BallEm]


def paper(given: Instance, orientation: Orientation = "left") -> BallEm:
    """The paper's weights for the instance, built in balls; F.6's without the last MLP, of which nothing is read."""
    task_class, sizes = a1_instances.paper(given)
    last = replace(M_STEP, mlp=None) if given.case.theorem == "F.6" else M_STEP
    return em_enclosure.build(task_class, sizes, 1, (E_STEP, last), sizes.in_balls.networks(orientation, Balls()))


def floor(given: Instance) -> BallEm:
    """The float64 weights of `floor` for the same class."""
    return em_enclosure.from_floats(em_transformer.build(*a1_instances.floor(given), 1))


def scaled_score(em: BallEm, scale: float) -> BallEm:
    """The E-step's score times `scale`."""
    e_layer, m_layer = em.transformer.layers
    heads = tuple(replace(head, key=head.key * flint.arb(scale)) for head in e_layer.heads)
    return replace(em, transformer=replace(em.transformer, layers=(replace(e_layer, heads=heads), m_layer)))


def scaled_log(em: BallEm, scale: float) -> BallEm:
    """The E-step's log networks times `scale`."""
    e_layer, m_layer = em.transformer.layers
    written = range(em.stream["log_w"].start, em.stream["log_w"].stop)
    units = tuple(
        replace(u, w2=u.w2 * flint.arb(scale)) if set(u.targets.tolist()) <= set(written) else u for u in e_layer.units
    )
    return replace(em, transformer=replace(em.transformer, layers=(replace(e_layer, units=units), m_layer)))


MUTANTS: dict[str, Mutant] = {
    "log_w x 0.1": lambda em: scaled_log(em, 0.1),
    "E-step score x 1.5": lambda em: scaled_score(em, 1.5),
}


def step(em: BallEm, given: Instance) -> StepEnclosure:
    """F.6: the first step. F.7: a later one, log π and ‖μ‖² of the entering parameters made by the M-step's MLP."""
    if given.case.theorem == "F.6":
        return next(em_enclosure.run(em, given.samples, given.start))
    e_layer, m_layer = em.transformer.layers
    tokens = em_enclosure.encode(em, given.samples, given.start)
    begin, (components, dim) = em.stream["pi"].start, given.start.means.shape
    tokens[:, em.stream["log_pi"]] = ZERO
    tokens[:, em.stream["sq_norm"]] = ZERO
    tokens[:, begin : begin + components] = to_balls(given.start.weights)
    layers = BallLayer((), "softmax", m_layer.units), e_layer, m_layer
    *_, after = ball_evaluation.trace(BallTransformer(layers, (0, 1, 2)), tokens)
    entering, x = em_enclosure.parameters(given.start), tokens[:, em.stream["x"]][:, :dim]
    estimate = em_enclosure.read_out(em, after, dim, components)
    excuse = em_enclosure.precondition(em, entering, 2)
    left = em_enclosure.leaves_class(em, entering)
    return em_enclosure.judge_step(em, x, entering, estimate, 2, enclose_diameter(given.samples), excuse, left)


def judge(given: Instance, build: Build, mutants: Mapping[str, Mutant], lowered: bool = False) -> Iterator[Verdict]:
    """No responsibility below 1/A (`paper`); every mean; the weights; and that the mutants' means are rejected."""
    name, excuse, em = given.case.name, outside(given), build(given)
    found = step(em, given)
    if found.excuse and not found.left:
        yield Verdict("undecided", f"{name}: whether {found.excuse}")
    if em.approximation.construction == "paper":
        smallest = largest(-w.log() for w in a1_instances.responsibilities(given).ravel())
        yield enclose(smallest + found.log_weight_bound, em.approximation.log_a, f"{name} log 1/w", excuse=excuse)
    yield from judge_means(found, given, excuse, lowered)
    if given.case.theorem == "F.6":
        yield equal(found.log_weight_error, ZERO, f"{name} weights")
    else:
        yield enclose(found.log_weight_error, found.log_weight_bound, f"{name} weights", excuse=excuse or found.excuse)
    for fault, mutate in mutants.items():
        wrong = step(mutate(em), given)
        pairs = list(zip(wrong.mean_bounds, wrong.mean_errors, strict=True))
        bound, error = max(pairs, key=lambda pair: float((pair[1] / pair[0]).mid()))
        yield enclose(bound, error, f"{name}: bound below the error of {fault}", excuse=excuse)


def judge_means(found: StepEnclosure, given: Instance, excuse: str, lowered: bool = False) -> Iterator[Verdict]:
    """‖μ̂_k − μ_k⁺‖ against its bound, which `lowered` sets 1 % below the largest error of the instance."""
    ratio = largest(error / bound for error, bound in zip(found.mean_errors, found.mean_bounds, strict=True))
    factor = ratio.mid() * 99 / 100 if lowered else flint.arb(1)
    diameter, excuse = enclose_diameter(given.samples), excuse or found.excuse
    for k, (error, bound) in enumerate(zip(found.mean_errors, found.mean_bounds, strict=True)):
        yield enclose(error, factor * bound, f"{given.case.name} mean {k}", trivial=diameter, excuse=excuse)


def drawn(rng: np.random.Generator, full: bool) -> Iterator[Instance]:
    """The instances of the run's seed."""
    return (instance(case, seed_of(rng)) for case in cases(full))


def seed_of(rng: np.random.Generator) -> int:
    """The first of the numbers that seeded the generator: the same in all rows of a run."""
    return int(np.atleast_1d(rng.bit_generator.seed_seq.entropy)[0])  # type: ignore[attr-defined]


@statement(
    "theorem-f6",
    source="Theorems F.6, F.7, approximation part, under (A1)",
    text="recovered",
    evidence="certified",
    depends_on=("e-step", "m-step"),
    paper=("Theorem F.6", "Theorem F.7"),
)
def theorem_f6(
    rng: np.random.Generator,
    *,
    full: bool = False,
    build: Build = paper,
    mutants: Mapping[str, Mutant] = MUTANTS,
    lowered: bool = False,
) -> Iterator[Verdict]:
    """Under (A1) with log A = ½(B_X+B_μ)² + log(2/min π*) + U no responsibility is below 1/A and a step has ‖μ̂_k −
    μ_k⁺‖ ≤ diam(X)[tanh(U/4) + tanh(g/4)], |log π̂_k − log π_k⁺| ≤ U; first step (F.6): U = 0.

    Drawn instances with C = 1, 8, 64, 128 (in full all powers of two up to 128). (A1) and contested samples are
    verified, and on each instance two broken transformers are refuted.
    """
    for given in drawn(rng, full):
        yield from decided(partial(judge, given, build, mutants, lowered))
    if full:  # facing right, networks need more than log₂ A bits
        given = instance(Case(128, 2, 1, True, False, "F.6", 4, 2, delta=2.0), seed_of(rng))
        bits = ceil(a1_instances.paper(given)[1].log_a / log(2)) + 64
        for v in decided(partial(judge, given, partial(paper, orientation="right"), {}), bits, bits):
            yield replace(v, instance=f"right-facing {v.instance}")


theorem_f6.control("log_w x 0.1", build=lambda given: scaled_log(paper(given), 0.1), mutants={})
theorem_f6.control("E-step score x 1.5", build=lambda given: scaled_score(paper(given), 1.5), mutants={})
theorem_f6.control("bound lowered just under the largest error", lowered=True, mutants={})
theorem_f6.control("sound weights taken for a mutant", mutants={"none": lambda em: em})
test_theorem_f6, test_theorem_f6_controls = theorem_f6.tests()


@statement(
    "theorem-f6-floor",
    source="the same step, parametrisation `floor`",
    text="ours",
    evidence="certified",
    depends_on=("e-step", "m-step"),
    paper=("Theorem F.6", "Theorem F.7"),
)
def theorem_f6_floor(
    rng: np.random.Generator,
    *,
    full: bool = False,
    build: Build = floor,
    mutants: Mapping[str, Mutant] = MUTANTS,
    lowered: bool = False,
) -> Iterator[Verdict]:
    """On the instances of theorem-f6 the float64 weights of `floor` have, in exact arithmetic,
    ‖μ̂_k − μ_k⁺‖ ≤ diam(X)[tanh(U/4) + tanh(g/4) + 1/(1 + A e^c π̂_k)] and |log π̂_k − log π_k⁺| ≤ U.

    Its log A does not grow with C; its tolerance is what `paper`'s first step has.
    """
    for given in drawn(rng, full):
        yield from decided(partial(judge, given, build, mutants, lowered))


theorem_f6_floor.control("log_w x 0.1", build=lambda given: scaled_log(floor(given), 0.1), mutants={})
theorem_f6_floor.control("E-step score x 1.5", build=lambda given: scaled_score(floor(given), 1.5), mutants={})
theorem_f6_floor.control("bound lowered just under the largest error", lowered=True, mutants={})
theorem_f6_floor.control("sound weights taken for a mutant", mutants={"none": lambda em: em})
test_theorem_f6_floor, test_theorem_f6_floor_controls = theorem_f6_floor.tests()
