"""A run of the EM transformer in balls: its estimates, exact EM and the bound, all enclosed, at every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import flint
import numpy as np
from jaxtyping import Float, Shaped

from constructions import ball_evaluation, bounds
from constructions.algorithms import ball_em
from constructions.algorithms.sampling import Mixture
from constructions.ball_evaluation import BallTransformer
from constructions.balls import ZERO, fill, largest, midpoints, norm, to_balls
from constructions.compiler import Layer, lower
from constructions.em_class import Approximation, TaskClass
from constructions.em_transformer import E_STEP, M_STEP, EmTransformer, residual_stream, validate
from constructions.number_system import Balls
from constructions.relu_networks import ReluNetwork
from constructions.residual_stream import ResidualStream
from constructions.rounding_error import gamma
from constructions.weights import Array


@dataclass(frozen=True, eq=False)
class BallEm:
    """The EM transformer in balls, with what is needed to feed, read and judge it; `approximation` holds balls."""

    transformer: BallTransformer
    stream: ResidualStream
    task_class: TaskClass
    approximation: Approximation


def from_floats(em: EmTransformer) -> BallEm:
    """The very weights that the float transformer holds."""
    transformer = ball_evaluation.from_transformer(em.transformer)
    return BallEm(transformer, em.stream, em.task_class, em.approximation.in_balls)


def build(
    task_class: TaskClass,
    approximation: Approximation,
    steps: int,
    layers: Sequence[Layer] = (E_STEP, M_STEP),
    networks: Mapping[str, ReluNetwork] | None = None,
) -> BallEm:
    """Weights as exact as the working precision: for those that no float format holds.

    `networks` are those of `approximation`, left-facing, unless given.
    """
    numbers, approximation = Balls(), approximation.in_balls
    stream = residual_stream(task_class.max_dim, task_class.max_components)
    units = networks if networks is not None else approximation.networks("left", numbers)
    transformer = ball_evaluation.from_weights(lower(layers, [0, 1] * steps, stream, units, numbers))
    return BallEm(transformer, stream, task_class, approximation)


@dataclass(frozen=True, eq=False)
class Parameters:
    """Enclosures of log π (K) and μ (K×d)."""

    log_weights: Shaped[np.ndarray, " K"]
    means: Shaped[np.ndarray, "K d"]

    @property
    def weights(self) -> Shaped[np.ndarray, " K"]:
        """Enclosures of π."""
        return fill((value.exp() for value in self.log_weights), self.log_weights.shape)

    def middle(self) -> Mixture:
        """The midpoints, for what is said without proof."""
        return Mixture(midpoints(self.weights), midpoints(self.means))


@dataclass(frozen=True, eq=False)
class StepEnclosure:
    """One EM step: the transformer's result against the exact step from the same parameters, all enclosed.

    Errors of a mean are Euclidean norms, one for each component with its bound; that of a weight is the largest
    difference of logarithms. `excuse` says why the bound does not apply, or may not; else it is empty. `left`: it
    certainly does not; otherwise more bits may decide it.
    """

    step: int
    estimate: Parameters
    exact: Parameters
    mean_errors: Shaped[np.ndarray, " K"]
    mean_bounds: Shaped[np.ndarray, " K"]
    log_weight_error: flint.arb
    log_weight_bound: flint.arb
    excuse: str
    left: bool


def parameters(start: Mixture) -> Parameters:
    """The floats of a mixture, exactly, and enclosures of the logarithms of its weights."""
    return Parameters(ball_em.logarithms(to_balls(start.weights)), to_balls(start.means))


def moved(before: Parameters, after: Parameters) -> tuple[flint.arb, flint.arb]:
    """How far the mean and the weight went that went furthest, as run_warnings.moved, enclosed."""
    return largest(iter(norm(after.means - before.means))), largest(iter(abs(after.weights - before.weights)))


def encode(em: BallEm, samples: Float[np.ndarray, "N d"], start: Mixture) -> Shaped[np.ndarray, "n D"]:
    """Samples and initial parameters in place like em_transformer.encode, with log π⁽⁰⁾ and ‖μ⁽⁰⁾‖² enclosed.

    Raises
    ------
    InputError
        If a shape, a number or a norm leaves the class.
    """
    validate(em.task_class, samples, start)
    components = len(start.means)
    kept = len(samples) // components * components
    carried = np.arange(kept) % components
    begun = parameters(start)
    parts: dict[str, Array] = {
        "x": to_balls(samples[:kept]),
        "log_pi": np.tile(begun.log_weights, (kept, 1)),
        "mu": begun.means[carried],
        "sq_norm": (begun.means * begun.means).sum(axis=1)[carried, None],
        "one": to_balls(np.ones((kept, 1))),
        "component": to_balls(np.eye(components)[carried]),
    }
    return em.stream.place(np.full((kept, em.stream.width), ZERO, dtype=object), parts)


def read_out(em: BallEm, tokens: Shaped[np.ndarray, "N D"], dim: int, components: int) -> Parameters:
    """π̂ of the first token, and μ̂_k of the first token that carries component k.

    In exact arithmetic all N/K tokens of a component carry one mean, so that one is the linear pooling of Remark F.3.
    """
    mu, pi = em.stream["mu"].start, em.stream["pi"].start
    weights = tokens[0, pi : pi + components]
    return Parameters(ball_em.logarithms(weights), tokens[:components, mu : mu + dim])


def run(
    em: BallEm,
    samples: Float[np.ndarray, "N d"],
    start: Mixture,
    observe: Callable[[int, Array], None] = lambda done, tokens: None,
) -> Iterator[StepEnclosure]:
    """Evaluate all layers, and enclose at every EM step what section 5's bound compares.

    `observe(done, tokens)` is called after each layer with the enclosed stream.
    """
    tokens = encode(em, samples, start)
    entering, (components, dim) = parameters(start), start.means.shape
    x, diameter = tokens[:, em.stream["x"]][:, :dim], enclose_diameter(samples[: len(tokens)])
    stopped, left = "", False
    for done, tokens in enumerate(ball_evaluation.trace(em.transformer, tokens), start=1):  # noqa: B020
        observe(done, tokens)
        if done % 2:
            continue
        estimate = read_out(em, tokens, dim, components)
        stopped = stopped or precondition(em, entering, done // 2)
        left = left or (bool(stopped) and leaves_class(em, entering))
        yield judge_step(em, x, entering, estimate, done // 2, diameter, stopped, left)
        entering = estimate


def judge_step(
    em: BallEm,
    x: Shaped[np.ndarray, "N d"],
    entering: Parameters,
    estimate: Parameters,
    step: int,
    diameter: flint.arb,
    excuse: str = "",
    left: bool = False,
) -> StepEnclosure:
    """The exact step from `entering` and the distances to it; the first step's logits are exact, so its U is 0."""
    exact = Parameters(*ball_em.em_step(x, entering.log_weights, entering.means))
    logit_error = ZERO if step == 1 else em.approximation.logit_error(x.shape[1])
    return StepEnclosure(
        step,
        estimate,
        exact,
        norm(estimate.means - exact.means),
        fill(
            (bounds.m_step(em.approximation, diameter, weight, logit_error) for weight in estimate.weights),
            estimate.log_weights.shape,
        ),
        largest(abs(one - other) for one, other in zip(estimate.log_weights, exact.log_weights, strict=True)),
        logit_error,
        excuse,
        left,
    )


def precondition(em: BallEm, entering: Parameters, step: int) -> str:
    """Why the bound does not apply to a step that starts from `entering`; empty only if it certainly does.

    As in em_run.precondition: the first step of the floor construction needs nothing. The log network must reach down
    to the weights: 1/A ≤ π_min in the class's own networks.
    """
    if step == 1 and em.approximation.construction == "floor":
        return ""
    return next((broken for met, _, broken in _conditions(em, entering) if not met), "")


def leaves_class(em: BallEm, entering: Parameters) -> bool:
    """Whether the parameters certainly break the bound's precondition; not certainly meeting it is less."""
    return any(left for _, left, _ in _conditions(em, entering))


def _conditions(em: BallEm, entering: Parameters) -> Iterator[tuple[bool, bool, str]]:
    """(certainly met, certainly broken, what is said if not met): π_k ≥ max(π_min, 1/A) and |μ_ka| ≤ B."""
    smallest = flint.arb(em.task_class.min_weight).max((-em.approximation.log_a).exp())
    for weight in entering.weights:
        broken = f"a weight fell to {float(weight.mid()):.2g}, below {float(smallest):g}"
        yield bool(weight >= smallest), bool(weight < smallest), broken
    for coordinate in entering.means.ravel():
        size, limit = abs(coordinate), em.approximation.radius
        yield bool(size <= limit), bool(size > limit), f"a mean has a coordinate of size {float(size.mid()):.4g}"


def enclose_diameter(samples: Float[np.ndarray, "N d"]) -> flint.arb:
    """A ball around diam(X): a float, and a factor 1 ± γ_{d+5} for the rounding of a subtraction and a norm.

    Around an upper bound of it for more than bounds.EXACT_DIAMETER_LIMIT samples.
    """
    if (samples == samples[0]).all():
        return flint.arb(0)
    value, _ = bounds.diameter(samples)
    off = gamma(samples.shape[1] + 5, 2.0**-53)
    return flint.arb(value) * (1 + flint.arb(0, off)) + flint.arb(0, 1e-150)  # the last: squares that underflow
