"""Bounds on the distance of transformer and iteration: against exact arithmetic, and against their own formulas."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, product
from math import cosh, exp, inf, log, sinh, sqrt, tanh

import numpy as np
import pytest
import torch

from constructions import tensor_power_bounds as bounds
from constructions.algorithms.tensor_power import normalised, power_step
from constructions.normalisation import Normalisation
from constructions.rounding_error import gamma
from constructions.tensor_power_bounds import DirectionBound
from constructions.tensor_power_transformer import (
    ATTENTION_ONLY,
    OVERWRITING,
    THEOREM,
    Form,
    TensorPowerTransformer,
    build,
    encode,
    read_out,
    softmax_form,
)

UNIT = 2.0**-53
DTYPES = [torch.float64, torch.float32, torch.bfloat16]
RANGE = Normalisation(low=0.5, high=2.0, segments=53, pieces=211)
SOFTMAX = softmax_form(Fraction(1, 2**4))
FORMS = {"theorem": THEOREM, "overwriting": OVERWRITING, "attention only": ATTENTION_ONLY, "softmax": SOFTMAX}


def unit_of(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps / 2


def exact_step(tensor: np.ndarray, vector: list[Fraction]) -> list[Fraction]:
    dim = len(tensor)
    return [
        sum((Fraction(tensor[a, j, m]) * vector[j] * vector[m] for j, m in product(range(dim), repeat=2)), Fraction(0))
        for a in range(dim)
    ]


def trajectory(tensor: np.ndarray, start: np.ndarray, steps: int) -> list[np.ndarray]:
    vectors = [start]
    for _ in range(steps):
        vectors.append(power_step(tensor, vectors[-1]))
    return vectors


@pytest.fixture
def tensor(rng):
    return rng.standard_normal((3, 3, 3))


def test_a_contraction_is_the_double_sum(rng):
    tensor = rng.integers(-9, 10, (5, 5, 5)).astype(float)
    x, y = rng.integers(-9, 10, (2, 5)).astype(float)
    expected = [sum(tensor[a, j, m] * x[j] * y[m] for j, m in product(range(5), repeat=2)) for a in range(5)]
    assert np.array_equal(bounds.contraction(tensor, x, y), expected)


def test_the_reference_is_as_near_to_the_exact_iteration_as_its_bound_says(rng):
    """Coordinate by coordinate in exact fractions; on the last step the bound is met within a factor of 1000."""
    largest = 0.0
    for _ in range(31):
        tensor, start = rng.standard_normal((3, 3, 3)), rng.standard_normal(3)
        vectors = trajectory(tensor, start, 3)
        exact = [Fraction(x) for x in start]
        errors = bounds.reference_errors(tensor, vectors)
        assert not errors[0].any()
        for vector, error in zip(vectors[1:], errors[1:], strict=True):
            exact = exact_step(tensor, exact)
            off = [abs(Fraction(x) - y) for x, y in zip(vector, exact, strict=True)]
            assert all(a <= b for a, b in zip(off, error, strict=True))
        largest = max(largest, *(float(a / Fraction(b)) for a, b in zip(off, error, strict=True)))
    assert 1e-3 < largest <= 1


def test_the_reference_errors_are_those_of_their_formula(tensor):
    """e⁺ = |T|(e, |r|) + |T|(|r| + e, e) + γ_{d²+3}|T|(|r|, |r|) + (d² + Σ|T|)·tiny, up to its own rounding."""
    vectors = trajectory(tensor, np.array([0.5, -1.25, 0.75]), 3)
    size, e = np.abs(tensor), [Fraction(0)] * 3
    for r, got in zip(vectors, bounds.reference_errors(tensor, vectors)[1:], strict=False):
        r = [abs(Fraction(x)) for x in r]
        e = [
            sum(
                Fraction(size[a, j, m]) * (e[j] * r[m] + (r[j] + e[j]) * e[m] + Fraction(gamma(12, UNIT)) * r[j] * r[m])
                for j, m in product(range(3), repeat=2)
            )
            + (9 + Fraction(size[a].sum())) * Fraction(2.0**-1022)
            for a in range(3)
        ]
        for ours, theirs in zip(got, e, strict=True):
            assert theirs <= ours <= theirs * (1 + 4 * Fraction(gamma(4 * 9 + 40, UNIT)))


def test_a_reference_that_underflows_is_covered():
    """v² = 1.21e-320 has three digits left, which T = 1e300 makes visible; and 1e-340 is lost altogether."""
    for size, start in ((1e300, 1.1e-160), (1e300, 1e-170), (1.0, 1e-170)):
        tensor, vector = np.full((1, 1, 1), size), np.array([start])
        reached = power_step(tensor, vector)
        (exact,) = exact_step(tensor, [Fraction(start)])
        off = abs(Fraction(float(reached[0])) - exact)
        relative = gamma(20, UNIT) * float(exact)
        assert relative < off <= bounds.reference_errors(tensor, [vector, reached])[1][0]


def scalars(size, x, y):
    return [sum(size[a, j, m] * x[j] * y[m] for j, m in product(range(2), repeat=2)) for a in range(2)]


def relu_formula(size, v, e, left, form: Form, d0: int, u: float, tiny: float):
    """`_relu_step`'s text, coordinate by coordinate: (e_s, φ, |a|, what is left in `scalar`)."""
    reach = [x + y for x, y in zip(v, e, strict=True)]
    roundings = d0 + (2 if form.attention_only else 1)
    s = [y + z + gamma(roundings, u) * (r + z) + (d0 + 1) * tiny for y, z, r in zip(e, left, reach, strict=True)]
    if form.attention_only:
        left = [gamma(6, u) * (x + y) + 2 * tiny for x, y in zip(v, s, strict=True)]
    added = {"theorem": gamma(1, u), "overwriting": 0.0, "attention only": gamma(6, u)}
    phi = gamma(3 * d0 + (2 if form is OVERWRITING else 4), u)
    return s, phi, [next(added[name] for name in FORMS if FORMS[name] is form) * r for r in reach], left


def softmax_formula(size, v, e, left, form: Form, d0: int, u: float, tiny: float):
    """`_softmax_step`'s text."""
    scale, reach = float(form.scale), [x + y for x, y in zip(v, e, strict=True)]
    z = scale * max(reach)
    first = 4 * u * z + 2 * 32 * u + gamma(2 * 2 * d0 + 4, u)
    s = [y + r - tanh(scale * r) / scale + first / scale for y, r in zip(e, reach, strict=True)]
    z = scale * max(reach) * max(x + y for x, y in zip(v, s, strict=True))
    d = scale * max(reach) * (max(e) + first / scale)
    phi = max(exp(2 * d) * sinh(z) / z - 1, 1 - exp(-2 * d) / cosh(z))
    omega = (6 * u * z + 2 * 32 * u + gamma(2 * 2 * d0 + d0 + 6, u)) * exp(2 * z) / scale
    pooled = [omega * float(size[a].sum()) for a in range(2)]
    new = scalars(size, reach, [x + y for x, y in zip(v, s, strict=True)])
    a = [p + gamma(2, u) * ((1 + phi) * n + p + r) for p, n, r in zip(pooled, new, reach, strict=True)]
    return s, phi, a, left


@pytest.mark.parametrize("dtype", DTYPES[:2])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_iteration_errors_are_those_of_their_formula(form, dtype, rng):
    """e⁺ = |T|(e, |v| + e_s) + |T|(|v|, e_s) + φ|T|(|v| + e, |v| + e_s) + |a| for three steps, d = 2 of d_0 = 5.

    The formulas again, in plain sums. tanh(z)/z and sinh(z)/z near 1 lose 2u/z² ≤ 1e-11 to cancellation, z > 0.01.
    """
    tensor, d0 = rng.standard_normal((2, 2, 2)), 5
    u, tiny = unit_of(dtype), torch.finfo(dtype).tiny
    vectors = [abs(v) for v in trajectory(tensor, np.array([0.75, -1.5]), 3)]
    got = bounds.iteration_errors(tensor, vectors, form, d0, dtype)
    assert not got[0].any()
    e, left = [0.0, 0.0], [0.0, 0.0]
    for v, ours in zip(vectors, got[1:], strict=False):
        formula = softmax_formula if form.twins else relu_formula
        s, phi, a, left = formula(abs(tensor), v, e, left, form, d0, u, tiny)
        scalar, reach = [x + y for x, y in zip(v, s, strict=True)], [x + y for x, y in zip(v, e, strict=True)]
        parts = (scalars(abs(tensor), e, scalar), scalars(abs(tensor), v, s), scalars(abs(tensor), reach, scalar))
        e = [x + y + phi * z + w for x, y, z, w in zip(*parts, a, strict=True)]
        assert ours == pytest.approx(e, rel=1e-9, abs=0)


def test_underflow_is_covered_and_matters():
    """float32, T = 1e30, v = 1e-20: the score 1e-40 has 5 digits left; without `tiny` the bound would be refuted."""
    tensor, start = np.full((1, 1, 1), 1e30), np.array([1e-20])
    for form in (THEOREM, OVERWRITING, ATTENTION_ONLY):
        model = build(7, 1, form, torch.float32)
        held, vector = held_by(model, tensor, start)
        (exact,) = exact_step(held[0], [Fraction(float(held[1][0]))])
        off = abs(float(Fraction(float(vector[0])) - exact))
        (error,) = bounds.iteration_errors(held[0], [abs(held[1]), abs(vector)], form, 7, torch.float32)[1]
        relative = 2 * gamma(3 * 7 + 20, 2.0**-24) * float(exact)
        assert relative < off <= error


def held_by(model: TensorPowerTransformer, tensor: np.ndarray, start: np.ndarray):
    """Tensor and start as the dtype holds them, and the transformer's vector in float64."""
    round_trip = [torch.tensor(x).to(model.dtype).double().numpy() for x in (tensor, start)]
    tokens = torch.tensor(encode(model, *round_trip)).to(model.dtype)
    return round_trip, read_out(model, model.transformer(tokens).double().numpy(), len(tensor))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "least"), [("theorem", 0.02), ("overwriting", 0.02), ("attention only", 0.005), ("softmax", 0.0)]
)
def test_transformers_are_within_their_bounds(name, least, dtype, rng):
    """Against exact fractions for 31 tensors of every size and sparsity; the bounds of ReLU are not far off either.

    d = d_0 = 1 with few roundings comes nearest. (`least` is a floor for how loose a bound may be, not a tolerance.)
    """
    form, nearest = FORMS[name], 0.0
    models = {d0: build(d0, 2, form, dtype) for d0 in (1, 2, 3, 7)}
    for instance in range(31):
        dim = 1 + instance % 3
        tensor, start = rng.standard_normal((dim, dim, dim)), rng.standard_normal(dim)
        tensor *= (rng.random((dim, dim, dim)) < 0.7) * 10.0 ** rng.uniform(-3, 1, (dim, 1, 1))
        model = models[(dim, 7)[instance % 2]]
        held, vector = held_by(model, tensor, start)
        exact = exact_step(held[0], exact_step(held[0], [Fraction(x) for x in held[1]]))
        reach = [np.nextafter(abs(v) * (1 + 1e-12), inf) for v in trajectory(*held, 2)]
        error = bounds.iteration_errors(held[0], reach, form, model.max_dim, dtype)[2]
        off = np.array([float(abs(Fraction(x) - y)) for x, y in zip(vector, exact, strict=True)])
        assert (off <= error).all()
        nearest = max(nearest, *(off / error))
    assert nearest > least or (form.twins and dtype == torch.bfloat16)  # nothing is claimed there


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_what_cannot_be_bounded_is_infinite(form, rng):
    """γ_n is infinite from nu = 1 on: bfloat16 and d_0 = 127. And the errors of a step that overflows."""
    tensor, vector = np.ones((2, 2, 2)), np.ones(2)
    assert bounds.iteration_errors(tensor, [vector] * 2, form, 127, torch.bfloat16)[1].tolist() == [inf, inf]
    far = bounds.iteration_errors(tensor, [vector * 1e200] * 4, form, 5, torch.float64)
    assert far[-1].tolist() == [inf, inf]


def closed_form(d0: int, v: float, s: float) -> float:
    """One softmax step in exact arithmetic with T = (1), d = 1: Σ sinh / Σ cosh over d_0 tokens."""
    scalar = tanh(s * v) / s
    return d0 / s * sinh(s * v * scalar) / (cosh(s * v * scalar) + d0 - 1)


@pytest.mark.parametrize("scale", [2.0**-11, 2.0**-4, 0.5, 1.0])
@pytest.mark.parametrize("reach", [0.1, 1.0, 3.0, 6.0])
@pytest.mark.parametrize("max_dim", [1, 2, 1009])
def test_the_softmax_factor_bounds_the_exact_step(scale, reach, max_dim):
    """One token too few (cosh z) and many zeros beside it (sinh z): both sides of the maximum are needed."""
    got = abs(closed_form(max_dim, reach, scale) / reach**2 - 1)
    assert got <= bounds.softmax_factor(scale, reach) + 1e-11  # what the closed form loses to cancellation


def test_the_softmax_factor_is_of_second_order_and_sharp():
    """d_0 = 1: z²/3 + w²/3, bounded by z²/3 + w²/2. d_0 large, w = 36: only sinh(w)/w − 1 is above it."""
    for reach in (0.1, 1.0, 1.5):
        for scale in (2.0**-6, 2.0**-9, 2.0**-12):
            got = bounds.softmax_factor(scale, reach)
            assert got == pytest.approx(
                scale**2 * (reach**2 / 3 + reach**4 / 2), rel=4 * scale**2 * (1 + reach**4) + 4 * UNIT / got, abs=0
            )
            if scale > 1e-3:
                assert 0.6 * got < abs(closed_form(1, reach, scale) / reach**2 - 1)
    assert bounds.softmax_factor(0.5, 0.0) == 0
    assert bounds.softmax_factor(1.0, 6.0) == pytest.approx(sinh(36) / 36 - 1, rel=1e-12, abs=0)
    assert closed_form(1009, 6.0, 1.0) / 36 - 1 > 1
    # continuous where the formulas change hands
    assert all(
        0 < (b - a) / a < 1e-2 for a, b in pairwise(bounds.softmax_factor(s, 1.0) for s in (9.99e-5, 1e-4, 1.001e-4))
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("max_dim", [1, 5, 31])
def test_the_best_scale(dtype, max_dim):
    """The power of two nearest to the minimum (6ω/5)^{1/3} of s²·5/6 + 2ω/s, ω = 2·32u + γ_{5d_0+6}; at most 1."""
    u = unit_of(dtype)
    omega = 2 * 32 * u + gamma(5 * max_dim + 6, u)
    s = bounds.best_scale(max_dim, dtype)
    assert (s.numerator & (s.numerator - 1), s.denominator & (s.denominator - 1)) == (0, 0)
    optimum = min(1.0, (6 * omega / 5) ** (1 / 3))
    assert 1 / sqrt(2) <= float(s) / optimum <= sqrt(2)
    if optimum < 0.5:
        value = [5 / 6 * x * x + 2 * omega / x for x in (optimum / 1.01, optimum, optimum * 1.01)]
        assert min(value) == value[1]


def test_the_best_scale_without_any_bound():
    assert bounds.best_scale(101, torch.bfloat16) == 1


def test_the_distance_of_two_vectors_of_known_direction_and_norm(rng):
    for low, high in ((0.9, 1.0), (0.99, 1.05)):
        bound = DirectionBound(0.25, low, high)
        assert bound.distance == pytest.approx(0.25 * high + max(1 - low, high - 1), rel=4 * UNIT, abs=0)
        for _ in range(101):
            r = normalised(rng.standard_normal(5))
            near = normalised(r + 0.125 * normalised(rng.standard_normal(5)))
            assert np.linalg.norm(rng.uniform(low, high) * near - r) <= bound.distance


@pytest.fixture
def one_step(tensor, rng):
    """A unit vector r and T scaled to ‖T(I,r,r)‖ = 1."""
    reference = normalised(rng.standard_normal(3))
    return tensor / np.linalg.norm(power_step(tensor, reference)), reference


def step(before, one_step, spread=0.0, range_=RANGE, max_dim=5, dtype=torch.float64) -> DirectionBound:
    return bounds.normalised_step(before, *one_step, spread, range_, max_dim, dtype)


@pytest.mark.parametrize("epsilon", [1e-6, 1e-3])
def test_a_step_turns_no_vector_further_than_its_bound(epsilon, one_step, rng):
    """Two copies x and y of the vector, both ε off: T(I, x, y). Rounding (1e-13) is nothing beside ε."""
    tensor, r = one_step
    made = step(DirectionBound(epsilon, 1.0, 1.0), one_step)
    x, y = normalised(r + epsilon * normalised(rng.standard_normal((2, 50021, 3))))
    turned = normalised(np.einsum("ajm,ij,im->ia", tensor, x, y))
    farthest = np.linalg.norm(turned - normalised(power_step(tensor, r)), axis=1).max()
    assert 0.5 * made.direction < farthest <= made.direction
    assert made.excuse == ""


def test_an_error_of_second_order_counts():
    """T(I,x,x) = x_1²·e_1 + 10x_3²·e_2 at e_1: an error in x_3 turns it by 10ε², and nothing is of first order."""
    tensor, r, epsilon = np.zeros((3, 3, 3)), np.eye(3)[0], 0.03
    tensor[0, 0, 0], tensor[1, 2, 2] = 1, 10
    made = step(DirectionBound(epsilon, 1.0, 1.0), (tensor, r))
    turned = normalised(power_step(tensor, normalised(np.array([1, 0, 0.99 * epsilon]))))
    assert 0.5 * made.direction < np.linalg.norm(turned - r) <= made.direction


def test_tokens_that_differ_scale_each_others_vectors(one_step, rng):
    """A token's vector is the mean of all tokens', scaled by its own inverse norm: the lengths differ by ε's order."""
    tensor, r = one_step
    below, above = RANGE.norm_errors(3)
    made = step(DirectionBound(1e-3, 1.0, 1.0), one_step)
    x, y = normalised(r + 1e-3 * normalised(rng.standard_normal((2, 10007, 3))))
    lengths = np.linalg.norm(np.einsum("ajm,ij,im->ia", tensor, x, y), axis=1)
    longest = lengths.max() / lengths.min()
    assert longest <= made.norm_high / (1 + above)
    assert 1 / longest >= made.norm_low / (1 - below)
    assert longest - 1 > 0.1 * (made.norm_high / (1 + above) - 1)


def test_the_spread_of_the_copies_counts_like_an_error_of_the_direction(one_step):
    by_spread = step(DirectionBound(0.0, 1.0, 1.0), one_step, spread=1e-3)
    by_direction = step(DirectionBound(1e-3, 1.0, 1.0), one_step)
    assert by_spread == by_direction
    both = step(DirectionBound(1e-3, 1.0, 1.0), one_step, spread=1e-3)
    assert both == step(DirectionBound(2e-3, 1.0, 1.0), one_step)
    assert both.direction > 1.9 * by_direction.direction


def test_a_step_from_an_exact_vector_has_only_rounding(one_step):
    """The direction is right to rounding, in every format; the norm to the networks' errors."""
    below, above = RANGE.norm_errors(3)
    for dtype, largest in ((torch.float64, 1e-13), (torch.float32, 1e-4)):
        made = step(DirectionBound(0.0, 1.0, 1.0), one_step, dtype=dtype)
        assert 10 * unit_of(dtype) < made.direction < largest
        rounding = bounds.inverse_norm_rounding(RANGE, 5, unit_of(dtype))
        for got, exact in ((1 - made.norm_low, below), (made.norm_high - 1, above)):
            assert rounding < got - exact < 10 * rounding
    wider = step(DirectionBound(0.0, 1.0, 1.0), one_step, max_dim=7)
    assert wider.direction > step(DirectionBound(0.0, 1.0, 1.0), one_step).direction


@pytest.mark.parametrize("dtype", DTYPES[:2])
def test_the_rounding_of_a_direction_by_its_formula(dtype, one_step):
    """From an exact vector, ‖T(I,r,r)‖ = 1: p/(1 − E) + γ_{d+5}, the last for r's own normalisation in float64."""
    tensor, r = one_step
    u = unit_of(dtype)
    y, second = power_step(tensor, r), np.einsum("ajm,j->am", tensor, r)
    across = np.eye(3) - np.outer(y, y)
    scalar, magnitude = gamma(6, u), np.linalg.norm(power_step(abs(tensor), abs(r)))
    rounding = gamma(17, u) * (magnitude + np.linalg.norm(tensor) * scalar) + gamma(20, UNIT) * magnitude
    product = gamma(8, u) * (1 + np.linalg.norm(second, 2) * scalar + rounding)
    turned = np.linalg.norm(across @ second, 2) * scalar + rounding + product
    off = np.linalg.norm(second, 2) * scalar + rounding + product
    made = step(DirectionBound(0.0, 1.0, 1.0), one_step, dtype=dtype)
    assert made.direction == pytest.approx(turned / (1 - off) + gamma(8, UNIT), rel=1e-12, abs=0)


def test_softmax_in_bfloat16_is_not_bounded():
    """Errors of exp of 32u are counted to first order: not for u = 2^-8."""
    for dtype, bounded in ((torch.float32, True), (torch.bfloat16, False)):
        form = softmax_form(bounds.best_scale(2, dtype))
        (error,) = bounds.iteration_errors(np.ones((1, 1, 1)), [np.ones(1) / 8] * 2, form, 2, dtype)[1]
        assert (error < inf) == bounded


def test_only_the_last_norm_is_approximate(one_step):
    """v̂ of norm 0.9 to 1.1 has the same direction, and a norm that ρ corrects."""
    assert step(DirectionBound(1e-6, 0.9, 1.1), one_step) == step(DirectionBound(1e-6, 1.0, 1.0), one_step)


def test_a_range_that_the_exact_trajectory_leaves_is_an_excuse(one_step):
    """‖T(I,v,v)‖ = ‖v‖²: exact norms, so also that of a start which is no unit vector."""
    exact = DirectionBound(0.0, 1.0, 1.0)
    for low, high, fits in ((0.5, 0.99, False), (1.01, 2.0, False), (0.99, 1.01, True)):
        made = step(exact, one_step, range_=Normalisation(low, high, 53, 211))
        assert made.excuse == ("" if fits else "|T(I,v,v)| = 1 leaves the range")
        assert (made.distance < 0.1) == fits
    start = DirectionBound(0.0, 3.0, 3.0, 3.0)
    assert step(start, one_step).excuse == "|T(I,v,v)| = 9 leaves the range"
    inside = step(start, one_step, range_=Normalisation(8.0, 10.0, 53, 211))
    assert inside.excuse == ""
    assert inside.exact_norm == 1.0


def test_a_transformer_that_was_given_another_tensor(one_step, rng):
    """E of Frobenius norm ε turns T(I,r,r) by at most ε/(1 − ε), and the bound adds little more."""
    tensor, r = one_step
    noise = rng.standard_normal((3, 3, 3))
    noise *= 1e-3 / np.linalg.norm(noise)
    exact = DirectionBound(0.0, 1.0, 1.0)
    made = bounds.normalised_step(exact, tensor, r, 0.0, RANGE, 5, torch.float64, 1e-3)
    turned = normalised(power_step(tensor + noise, r)) - normalised(power_step(tensor, r))
    assert np.linalg.norm(turned) <= made.direction
    assert 1e-3 < made.direction - step(exact, one_step).direction < 1.1e-3


def test_an_excuse_is_kept_by_all_later_steps(one_step):
    excused = DirectionBound(inf, 0.0, inf, excuse="a reason")
    assert step(excused, one_step) == excused


@pytest.mark.parametrize(
    "before",
    [
        DirectionBound(0.3, 1.0, 1.0),  # too far off: off ≥ size/8
        DirectionBound(1e-6, 0.5, 1.0),  # ‖T(I,v̂,v̂)‖ may be 1/4 < c/√2
        DirectionBound(1e-6, 1.0, 1.9),  # or 3.6 > √2·C
        DirectionBound(inf, 0.0, inf),
    ],
)
def test_an_approximate_trajectory_that_may_leave_the_networks_range_is_not_bounded(before, one_step):
    made = step(before, one_step)
    assert (made.direction, made.norm_low, made.norm_high, made.excuse) == (inf, 0.0, inf, "")
    assert made.distance == inf
    assert step(made, one_step) == made  # nor are the steps after it


@pytest.mark.parametrize(("part", "bounded"), [(0.2, False), (0.05, True)])
def test_a_step_that_is_off_by_an_eighth_is_not_bounded(part, bounded, one_step):
    """To first order ‖T(I,·,r)‖ε + ‖T(I,r,·)‖ε = 0.2 of ‖T(I,r,r)‖, in a range that would allow much more."""
    tensor, r = one_step
    norms = [np.linalg.norm(np.einsum(contracted, tensor, r), 2) for contracted in ("ajm,m->aj", "ajm,j->am")]
    before = DirectionBound(part / sum(norms), 1.0, 1.0)
    assert (step(before, one_step, range_=Normalisation(1e-3, 1e3, 997, 211)).direction < inf) == bounded


@pytest.mark.parametrize("u", [UNIT, 2.0**-24])
def test_the_rounding_of_the_inverse_norm_by_its_formula(u):
    """Squares (γ_{d_0n′+8} + 16u)·max(1, S); ρ: γ_{n+6} + (6Λ + 1.5r + 105)u + (1 + S)(3Λ + 34)u, S = q²/(q + 1).

    Λ = log(2C²) = log 8 and r = log(64)/n; one chord has q = 8 and S = 64/9.
    """
    for chords in (53, 1):
        range_, r, largest = replace(RANGE, segments=chords), log(64) / chords, log(8)
        steepest = exp(r) / (exp(r / 2) + 1)
        network = gamma(chords + 6, u) + (6 * largest + 1.5 * r + 105) * u + (1 + steepest) * (3 * largest + 34) * u
        for squares, roundings in (("network", 5 * 211 + 8), ("attention", 2 * 5 + 8)):
            got = bounds.inverse_norm_rounding(replace(range_, squares=squares), 5, u)
            expected = (gamma(roundings, u) + 16 * u) * max(1, steepest) + network
            assert got == pytest.approx(expected, rel=100 * UNIT, abs=0)
    low = bounds.inverse_norm_rounding(replace(RANGE, low=0.01), 5, u)
    assert low > bounds.inverse_norm_rounding(RANGE, 5, u)  # Λ = |log(c²/2)| then
