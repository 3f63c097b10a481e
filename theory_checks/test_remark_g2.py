"""Remark G.2: the normalised iteration, with a known range of ‖T(I,v,v)‖ and without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Literal

import numpy as np
import sympy
import torch
from flint import arb

from constructions import ball_evaluation, evaluation
from constructions.algorithms.ball_tensor_power import contract
from constructions.ball_evaluation import BallTransformer
from constructions.balls import norm, to_balls
from constructions.normalisation import Normalisation, normalisation
from constructions.number_system import Balls, Rationals
from constructions.relu_networks import ReluNetwork, inverse_sqrt_error, inverse_sqrt_network
from constructions.tensor_power_run import run
from constructions.tensor_power_transformer import (
    ATTENTION_ONLY,
    THEOREM,
    Form,
    TensorPowerTransformer,
    build,
    encode,
    normalised_form,
    read_out,
    softmax_form,
)
from theory_checks import kept
from theory_checks import tensor_instances as instances
from theory_checks import tensor_subjects as subjects
from theory_checks.coverage import covering
from theory_checks.enclosures import decided, enclose, equal
from theory_checks.identities import identity
from theory_checks.ledger import Verdict, compare, require, statement
from theory_checks.segments import larger, lines, pieces, smaller, times_root
from theory_checks.tensor_steps import judge_float_run, judge_kept
from theory_checks.tensor_subjects import built

Network = Callable[[arb, arb, int], ReluNetwork]


def inverse_sqrt_in_balls(low: arb, high: arb, segments: int) -> ReluNetwork:
    """Chords of 1/√x in balls."""
    return inverse_sqrt_network(low, high, segments, Balls())


@statement(
    "inverse-sqrt", source="chords of 1/√x for Remark G.2", text="ours", evidence="certified", coverage="interval"
)
def inverse_sqrt(
    rng: np.random.Generator,
    *,
    network: Network = inverse_sqrt_in_balls,
    error: Callable[[arb], arb] = inverse_sqrt_error,
) -> Iterator[Verdict]:
    """With n chords between the knots low·e^{ir}: 1/√x ≤ ρ(x) ≤ (1 + κ(r))/√x on [low, high], κ(r) is attained on every
    chord, and no unit has a negative weight; κ(r) = ((1 + 2cosh(r/2))/3)^{3/2}/cosh(r/4) − 1, at most 3r²/32·e^{r²/24}
    and (4/3)^{3/2}·sinh²(r/4). Every x of five intervals, r up to 160; on a chord also as an identity in r and x.
    """
    q, t, y = sympy.symbols("q t y", positive=True)
    chord = sympy.sqrt(y) * (1 - (y - 1) / (q * (q + 1)))  # times √x, at x = ty between t and q²t
    slope, top = -(t ** sympy.Rational(-3, 2)) / (q * (q + 1)), (q * q + q + 1) / 3
    largest = 2 * top ** sympy.Rational(3, 2) / (q * (q + 1))
    cosh_half, cosh_quarter = (q + 1 / q) / 2, (sympy.sqrt(q) + 1 / sympy.sqrt(q)) / 2
    kappa = ((1 + 2 * cosh_half) / 3) ** sympy.Rational(3, 2) / cosh_quarter - 1
    yield identity(slope * (q * q * t - t) - (1 / q - 1) / sympy.sqrt(t), "the slope between t and q^2 t")
    change = slope - slope.subs(t, t / q**2) - t ** sympy.Rational(-3, 2) * (q**3 - 1) / (q * (q + 1))
    yield identity(change, "its change at a knot t")
    yield identity(chord.subs(y, 1) - 1, "1 at the left end")
    yield identity(chord.subs(y, q * q) - 1, "1 at the right end")
    yield identity(chord.diff(y).subs(y, top), "stationary at t(q^2 + q + 1)/3")
    yield identity(chord.subs(y, top) - largest, "the value there")
    yield identity((largest / (1 + kappa)) ** 2 - 1, "it is 1 + kappa")
    for low, high in ((-1.0, 1.0), (-20.0, 3.0), (0.0, 60.0), (-90.0, 70.0), (-700.0, 700.0)):
        for segments in (9, 31, 211, 1009) if high - low > 200 else (1, 2, 7, 31, 211):
            yield from covering("interval", decided(partial(_inverse_sqrt, network, error, low, high, segments)))


def _inverse_sqrt(
    network: Network, error: Callable[[arb], arb], low: float, high: float, segments: int
) -> Iterator[Verdict]:
    name, r = f"[e^{low:g}, e^{high:g}] n={segments}", arb(high - low) / segments
    rho, kappa = network(arb(low), arb(high), segments), error(r)
    yield require(rho.units == segments + 1, f"{name}: {rho.units} units")
    yield enclose(-smaller.reduce(rho.a), arb(0), f"{name} weights")
    p = pieces(lines(rho), arb(low).exp(), arb(high).exp())
    ratio = times_root(p) - 1
    tops = np.append(larger.reduce(ratio[:, p.sure]), p.largest(ratio))
    yield equal(larger.reduce(abs(tops / kappa - 1)), arb(0), f"{name} at most kappa, attained on every chord")
    yield equal(p.least(ratio), arb(0), f"{name} never below, exact at knots")
    yield enclose(tops[-1], 3 * r * r / 32 * (r * r / 24).exp(), f"{name} at most 3r^2/32 e^(r^2/24)")
    root = (r / 4).sinh()
    yield enclose(tops[-1], (arb(4) / 3) ** 1.5 * root * root, f"{name} at most (4/3)^(3/2) sinh(r/4)^2")


inverse_sqrt.control(
    "a chord too few", network=lambda low, high, n: inverse_sqrt_in_balls(low, high, n + 1 if n == 1 else n - 1)
)
inverse_sqrt.control("knots between 0.99 of the ends", network=lambda a, b, n: inverse_sqrt_in_balls(0.99 * a, b, n))


def _scaled(factor: float) -> Network:
    def network(low: arb, high: arb, segments: int) -> ReluNetwork:
        rho = inverse_sqrt_in_balls(low, high, segments)
        return replace(rho, a=factor * rho.a)

    return network


inverse_sqrt.control("the weights scaled by 1.001", network=_scaled(1.001))
inverse_sqrt.control("0.1 % below kappa", error=lambda r: 0.999 * inverse_sqrt_error(r))
test_inverse_sqrt, test_inverse_sqrt_controls = inverse_sqrt.tests()

STEPS = 4
Squares = Literal["network", "attention"]
CASES: tuple[tuple[Squares, float], ...] = (
    ("network", 0.12),
    ("network", 0.03),
    ("attention", 0.03),
    ("attention", 1e-4),
)
Make = Callable[[Normalisation], Form]


def exact_range(task: instances.PowerTask, steps: int) -> tuple[float, float]:
    """The smallest and largest ‖T(I,v,v)‖ on the exact normalised trajectory (in float64)."""
    vector, sizes = task.start, []
    for _ in range(steps):
        new = task.tensor @ vector @ vector
        sizes.append(float(np.linalg.norm(new)))
        vector = new / sizes[-1]
    return min(sizes), max(sizes)


@statement(
    "remark-g2",
    source="Remark G.2 with c ≤ ‖T(I,v,v)‖ ≤ C",
    text="ours",
    evidence="certified",
    depends_on=("inverse-sqrt", "lemma-f5"),
    paper=("Remark G.2",),
)
def remark_g2(rng: np.random.Generator, *, make: Make = normalised_form, scale: float = 1.0) -> Iterator[Verdict]:
    """If c ≤ ‖T(I,v,v)‖ ≤ C along the exact normalised trajectory u_t, then after each step t of the 4L-layer
    transformer ‖v̂_t − u_t‖ ≤ max(κ, 1 − (1 + 2dδ_sq/c²)^{−1/2}) + rounding: the same for all t, as is proved, so
    nothing accumulates.

    Both errors of the norm are at most 0.15, the networks' margin. δ_sq = 0 when the squares come from attention. Four
    steps of drawn and kept instances; the range is that of the instance, widened by 1 %, and the exact trajectory is
    enclosed in balls.
    """
    yield from kept.replay(lambda found: judge_kept(kept_model(make), found, scale), "remark-g2")
    for task in instances.floats(rng, (1, 2, 5, 7)):
        low, high = exact_range(task, STEPS)
        for squares, error in CASES:
            for max_dim in (7, 11) if squares == "attention" else (7,):
                name = f"{task.name} d0={max_dim} {squares} {error}"
                if squares == "network" and high / low > 100:
                    yield compare(0.0, 0.0, name, excuse="C/c > 100: too many chords of the square")
                    continue
                range_ = normalisation(low / 1.01, high * 1.01, max_dim, error, squares)
                dtype = torch.float32 if squares == "attention" and error == 0.03 else torch.float64
                model = build(max_dim, STEPS, make(range_), dtype)
                found = run(model, task.tensor, task.start, execution="dense")
                yield from decided(partial(judge_float_run, found, scale, name))


def kept_model(make: Make = normalised_form) -> TensorPowerTransformer:
    """The transformer that the kept instance belongs to."""
    return built(3, 1, make(normalisation(0.5, 2.0, 3, 0.12)))


def _broken(fault: str) -> Make:
    return lambda range_: subjects.broken(normalised_form(range_), fault)


def _network(name: str, change: Callable[[ReluNetwork], ReluNetwork]) -> Make:
    def make(range_: Normalisation) -> Form:
        form = normalised_form(range_)
        return replace(form, networks={k: change(f) if k == name else f for k, f in form.networks.items()})

    return make


for fault in ("a sign dropped in the even layer", "vec not cleared", "scalar not cleared", "new not cleared"):
    remark_g2.control(fault, make=_broken(fault))
remark_g2.control("1/√· scaled by 1.01", make=_network("inverse_sqrt", lambda f: replace(f, a=1.01 * f.a)))
remark_g2.control("squares doubled", make=_network("square", lambda f: replace(f, a=2 * f.a)))
remark_g2.control("the bound lowered by 10 %", scale=0.9)
remark_g2.control("just under the worst kept", scale=kept.just_below("remark-g2"))
test_remark_g2, test_remark_g2_controls = remark_g2.tests()

COARSE = normalisation(0.25, 4.0, 3, error=0.15)
"""Few chords: the direction does not depend on how well the norm is known."""


@statement(
    "remark-g2-direction",
    source="Remark G.2, why errors do not accumulate",
    text="ours",
    evidence="exact",
    paper=("Remark G.2",),
)
def remark_g2_direction(rng: np.random.Generator, *, form: Form | None = None) -> Iterator[Verdict]:
    """Over the rationals the normalised transformer's v̂_t is a positive multiple of the unnormalised iterate v_t:
    T(I,av,av) = a²T(I,v,v), which proves that an error of the norm never turns the vector, whatever the networks.

    For four drawn tensors, d ≤ 3, and coarse networks.
    """
    numbers = Rationals()
    for dim, max_dim, steps in ((1, 2, 2), (2, 2, 3), (2, 3, 2), (3, 3, 2)):
        model = built(max_dim, steps, form or _COARSE_FORM)
        task = instances.rational(dim, rng)
        exact = instances.exact_trajectory(task, steps)
        weights = evaluation.exact_weights(model.transformer, numbers)
        layers = list(evaluation.trace(weights, encode(model, task.tensor, task.start, numbers), numbers))
        for step, stream in enumerate(layers[3::4], start=1):
            found, vector = instances.fractions(read_out(model, stream, dim)), exact[step]
            parallel = all(found[a] * vector[b] == found[b] * vector[a] for a in range(dim) for b in range(dim))
            forward = sum((f * v for f, v in zip(found, vector, strict=True)), start=Fraction(0)) > 0
            yield require(parallel and forward, f"{task.name} d0={max_dim}: the direction after step {step}")


_COARSE_FORM = normalised_form(COARSE)
for fault in ("a sign dropped in the odd layer", "vec not cleared", "new not cleared"):
    remark_g2_direction.control(fault, form=subjects.broken(_COARSE_FORM, fault))
test_direction, test_direction_controls = remark_g2_direction.tests()

Iteration = Callable[[TensorPowerTransformer, BallTransformer, np.ndarray, np.ndarray], np.ndarray]


def evaluated(
    model: TensorPowerTransformer, transformer: BallTransformer, tensor: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """The transformer's vector, in balls."""
    *_, output = ball_evaluation.trace(transformer, encode(model, tensor, start, Balls()))
    return read_out(model, output, len(tensor))


def discontinuous(
    model: TensorPowerTransformer, transformer: BallTransformer, tensor: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """The normalised step itself, which no transformer is."""
    return _unit(contract(tensor, start, start))


@statement(
    "remark-g2-impossible",
    source="Remark G.2, without a lower bound on ‖T(I,v,v)‖",
    text="ours",
    evidence="certified",
    paper=("Remark G.2",),
)
def remark_g2_impossible(rng: np.random.Generator, *, evaluate: Iteration = evaluated) -> Iterator[Verdict]:
    """No Θ approximates the normalised step for all T, as is proved: along T = ±tS, t ↓ 0, the step is ±u and the
    larger of the two errors is at least 1 − ‖f(tS) − f(−tS)‖/2, which tends to 1 because f is continuous. Six
    transformers tried, d = 2, 3, 5: above 0.99.

    Conversely, errors ≤ ε at ±cS force ‖f(cS) − f(−cS)‖ ≥ 2(1 − ε): Θ's Lipschitz constant is at least (1−ε)/(c‖S‖).
    The first inequality, which is the triangle's and may be an equality, is judged up to 2⁻⁶⁴.
    """
    for dim in (2, 3, 5):
        tensor, start = rng.standard_normal((dim, dim, dim)), np.eye(dim)[0]
        ranges = [normalised_form(normalisation(c, 2.0, 5, 1e-2, "attention")) for c in (1e-1, 1e-3, 1e-6)]
        for form in (*ranges, THEOREM, ATTENTION_ONLY, softmax_form(Fraction(1, 2**7))):
            yield from decided(partial(_along_a_line, built(5, 1, form), tensor, start, evaluate))


def _along_a_line(
    model: TensorPowerTransformer, tensor: np.ndarray, start: np.ndarray, evaluate: Iteration
) -> Iterator[Verdict]:
    """The two errors at ±tS for t from the known range, or 1, down to 2⁻⁵⁶ of it; S has ‖S(I,v,v)‖ = 1."""
    transformer, v = ball_evaluation.from_transformer(model.transformer), to_balls(start)
    direction = to_balls(tensor)
    along = direction / norm(contract(direction, v, v)[None])[0]
    unit = contract(along, v, v)
    known = model.form.normalisation
    low = known.low if known else 1.0
    name, worst = f"d={len(start)} {model.form.name} c={low:g}", arb(0)
    for exponent in (0, 4, 8, 20, 56):
        t = arb(low) * arb(2) ** -exponent
        plus, minus = (evaluate(model, transformer, sign * t * along, v) for sign in (1, -1))
        first, second, apart = norm(np.array([plus - unit, minus + unit, plus - minus]))
        error = first.max(second)
        worst = worst.max(error)
        yield enclose(1 - apart / 2 - arb(2) ** -64, error, f"{name} t={float(t):.3g}")
        if exponent == 0 and known:
            yield enclose(error, arb(1) / 100, f"{name}: inside the range it succeeds")
    yield enclose(arb(99) / 100, worst, f"{name}: the largest error")


def _unit(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector / norm(vector[None])[0])


remark_g2_impossible.control("the step itself, which is not continuous", evaluate=discontinuous)
test_impossible, test_impossible_controls = remark_g2_impossible.tests()
