"""What the paper claims over prior work: layers, heads, and how its bounds grow with the dimension.

What the prior work needs (He et al. 2025b, arXiv 2502.06007: O(KL) layers, exponential in d) is cited, not checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from math import sqrt

import flint
import numpy as np
import torch

from constructions import bounds, resources
from constructions.compiler import Head, Layer, lower
from constructions.em_class import Approximation, Construction, TaskClass, split_tolerance
from constructions.em_transformer import E_STEP, M_STEP, predict_size, residual_stream
from constructions.number_system import Scalar
from constructions.weights import HeadWeights, TransformerWeights
from theory_checks import subjects
from theory_checks.enclosures import decided, enclose
from theory_checks.ledger import Verdict, compare, require, statement

COARSE = Approximation("floor", 1.0, 0.0, 2, 1.0, 1).networks()
"""Networks of a few units: layers and heads do not depend on them."""


def described(max_dim: int, max_components: int, steps: int) -> TransformerWeights:
    """The compiled matrices of `steps` EM steps for a class."""
    stream = residual_stream(max_dim, max_components)
    return lower([E_STEP, M_STEP], [0, 1] * steps, stream, COARSE)


def head_per_component(max_dim: int, max_components: int, steps: int) -> TransformerWeights:
    """Broken: the E-step has a head for every component."""
    heads = [Head(E_STEP.heads[0].score, [(f"component[{k}]", f"w[{k}]")]) for k in range(max_components)]
    stream = residual_stream(max_dim, max_components)
    return lower([replace(E_STEP, heads=heads), M_STEP], [0, 1] * steps, stream, COARSE)


def layers_per_component(max_dim: int, max_components: int, steps: int) -> TransformerWeights:
    """Broken: the layers are run once for every component."""
    return described(max_dim, max_components, steps * max_components)


def without_weights(max_dim: int, max_components: int, steps: int) -> TransformerWeights:
    """Broken: the M-step's head for the new weights is missing."""
    stream = residual_stream(max_dim, max_components)
    layers: Sequence[Layer] = (E_STEP, replace(M_STEP, heads=M_STEP.heads[:1]))
    return lower(layers, [0, 1] * steps, stream, COARSE)


def score_rank(head: HeadWeights) -> int:
    """The rank of QᵀK, over the integers: its entries are 0, ±1 and ±½."""
    form = 2 * head.query.T @ head.key
    return int(flint.fmpz_mat(form.astype(int).tolist()).rank())


@statement(
    "constant-heads",
    source="section 1, first and second comparison: O(L) layers, M = O(1) heads",
    text="recovered",
    evidence="exact",
    paper=("Comparison, layers", "Comparison, heads"),
)
def constant_heads(
    rng: np.random.Generator, *, build: Callable[[int, int, int], TransformerWeights] = described
) -> Iterator[Verdict]:
    """For d_0 = 1 … 7, K_0 = 2 … 7, L = 1 and 3 the compiled matrices are 2L layers, of 1 head and of 2 in turn.

    QᵀK has the rank d_0 + K_0 + 1 in the E-step, K_0 and 0 in the M-step: what stays constant is the number of heads,
    not their inner dimension. (Prior work is reported to need O(KL) layers; cited, not checked.)
    """
    for max_dim in range(1, 8):
        for max_components in range(2, 8):
            for steps in (1, 3):
                built = build(max_dim, max_components, steps)
                name = f"d0={max_dim} K0={max_components} L={steps}"
                yield require(len(built.schedule) == 2 * steps, f"{name}: {len(built.schedule)} layers")
                heads = [len(layer.heads) for layer in built.layers]
                yield require(heads == [1, 2], f"{name}: {heads} heads")
                ranks = [score_rank(head) for layer in built.layers for head in layer.heads]
                yield require(ranks == [max_dim + max_components + 1, max_components, 0], f"{name}: ranks {ranks}")


constant_heads.control("a head for each component", build=head_per_component)
constant_heads.control("layers for each component", build=layers_per_component)
constant_heads.control("no head for the new weights", build=without_weights)
test_constant_heads, test_constant_heads_controls = constant_heads.tests()

Units = Callable[[TaskClass, Approximation], int]


def hidden_units(task_class: TaskClass, approximation: Approximation) -> int:
    """D′: K_0 log networks, d_0 square networks, 2 units for every coordinate that is cleared; the larger MLP."""
    size = predict_size(task_class, approximation, torch.float64)
    return max(size.e_step_units, size.m_step_units)


def grid_units(task_class: TaskClass, approximation: Approximation) -> int:
    """Broken: a unit for every cell of a grid in R^d, two cells a side."""
    return hidden_units(task_class, approximation) + int(2 ** min(task_class.max_dim, 1000))


@statement(
    "width-in-dimension",
    source="section 1, third comparison: polynomial in d; D and D′ at a fixed tolerance",
    text="ours",
    evidence="exact",
    depends_on=("resources",),
    paper=("Comparison, dimension",),
)
def width_in_dimension(
    rng: np.random.Generator, *, units: Units = hidden_units, exponents: tuple[float, float, float] = (1, 1.5, 2.25)
) -> Iterator[Verdict]:
    """For a mean's tolerance ε, at fixed B: D(4d) ≤ 4 D(d) and D′(4d) ≤ 8 D′(d), exponents 1 and 3/2; with B = b√d:
    D′(16d) ≤ 512 D′(d), exponent 9/4. Both constructions, listed classes with d up to 10⁶; D′ is that of the matrices
    where they are built.
    """
    for dim, components in ((1, 2), (3, 5), (7, 3), (11, 2)):
        task_class = TaskClass(dim, components, 3.0, 0.05)
        approximation = split_tolerance(task_class, 1.0, "floor")
        built = resources.measure(subjects.sound(task_class, 1.0, "floor", 1).transformer)
        name = f"d0={dim} K0={components} as built"
        yield require(built.hidden_width == units(task_class, approximation), f"{name}: D' {built.hidden_width}")
        yield require(built.width == residual_stream(dim, components).width, f"{name}: D {built.width}")
    constructions: tuple[Construction, ...] = ("floor", "paper")
    for construction in constructions:
        for components, tolerance in ((2, 1.0), (5, 0.1), (13, 0.01)):
            for first in (1, 2, 3, 5, 7):
                name = f"{construction} K0={components} eps={tolerance}"
                fixed = [(first * 4**k, 3.0) for k in range(9)]
                growing = [(first * 16**k, 3.0 * 4**k) for k in range(5)]
                for sizes, step, exponent in ((fixed, 4, exponents[1]), (growing, 16, exponents[2])):
                    classes = [TaskClass(dim, components, radius, 0.05) for dim, radius in sizes]
                    widths = [units(c, split_tolerance(c, tolerance, construction)) for c in classes]
                    for task_class, (small, large) in zip(classes[:-1], pairwise(widths), strict=True):
                        at = f"{name} B={task_class.radius} d={task_class.max_dim}: D' {small}, {step}d: {large}"
                        yield compare(large, step**exponent * small, at)
                for small, large in pairwise(residual_stream(dim, components).width for dim, _ in fixed):
                    yield compare(large, 4 ** exponents[0] * small, f"{name}: D {small}, 4d: {large}")


width_in_dimension.control("exponent 0.99 of D", exponents=(0.99, 1.5, 2.25))
width_in_dimension.control("exponent 1.49 at fixed B", exponents=(1, 1.49, 2.25))
width_in_dimension.control("exponent 2.24 with B = b sqrt(d)", exponents=(1, 1.5, 2.24))
width_in_dimension.control("a unit for every cell of a grid", units=grid_units)
test_width_in_dimension, test_width_in_dimension_controls = width_in_dimension.tests()

LogitError = Callable[[Approximation, int], Scalar]


@statement(
    "error-in-dimension",
    source="section 1, third comparison: polynomial in d; the bound for fixed networks",
    text="ours",
    evidence="certified",
    depends_on=("em-step-floor", "em-step-paper"),
    paper=("Comparison, dimension",),
)
def error_in_dimension(
    rng: np.random.Generator,
    *,
    logit_error: LogitError = Approximation.logit_error,
    growth: Callable[[int], float] = float,
) -> Iterator[Verdict]:
    """With its networks fixed, one EM step's bound in dimension d is at most d times that in dimension 1, for the means
    (diam(X) fixed) and for the log weights; vacuous from where d times it is diam(X). For 18 pairs of networks and d
    from 2 to 10 007.
    """
    constructions: tuple[Construction, ...] = ("floor", "paper")
    for construction in constructions:
        for radius in (2.0, 5.0, 11.0):
            for tolerance in (1.0, 0.1, 1e-4):
                sizes = split_tolerance(TaskClass(1, 3, radius, 0.05), tolerance, construction)
                yield from decided(partial(judge_growth, sizes, tolerance, logit_error, growth))


def judge_growth(
    sizes: Approximation, tolerance: float, logit_error: LogitError, growth: Callable[[int], float]
) -> Iterator[Verdict]:
    """The bounds in dimension d against those in dimension 1, for one pair of networks."""
    a, weight = sizes.in_balls, flint.arb(1) / 20
    diameter = 2 * a.radius
    for d in (2, 3, 7, 31, 127, 997, 10007):
        name = f"{a.construction} B={sizes.radius} eps={tolerance} d={d}"
        errors = [logit_error(a, dim) for dim in (1, d)]
        means = [bounds.m_step(a, diameter, weight, error) for error in errors]
        yield enclose(means[1], flint.arb(growth(d)) * means[0], f"{name} mean", trivial=diameter)
        yield enclose(errors[1], flint.arb(growth(d)) * errors[0], f"{name} log weight")


error_in_dimension.control("sqrt(d) times", growth=sqrt)
error_in_dimension.control(
    "an error that doubles with every dimension", logit_error=lambda a, d: 2 ** (d - 1) * a.logit_error(1)
)
test_error_in_dimension, test_error_in_dimension_controls = error_in_dimension.tests()
