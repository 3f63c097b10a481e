"""Bounds on the distance of transformer and iteration: against exact arithmetic, and against their own formulas."""

from fractions import Fraction
from itertools import pairwise, product
from math import cosh, inf, sinh, sqrt, tanh

import numpy as np
import pytest
import torch
from terms import Terms, assert_terms

from constructions import tensor_power_bounds as bounds
from constructions.algorithms.tensor_power import power_step
from constructions.normalisation import Normalisation
from constructions.rounding_error import gamma
from constructions.tensor_power_transformer import (
    ATTENTION_ONLY,
    OVERWRITING,
    THEOREM,
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


def test_a_reference_that_underflows_is_covered():
    """v² = 1.21e-320 has three digits left, which T = 1e300 makes visible; and 1e-340 is lost altogether."""
    for size, start in ((1e300, 1.1e-160), (1e300, 1e-170), (1.0, 1e-170)):
        tensor, vector = np.full((1, 1, 1), size), np.array([start])
        reached = power_step(tensor, vector)
        (exact,) = exact_step(tensor, [Fraction(start)])
        off = abs(Fraction(float(reached[0])) - exact)
        relative = gamma(20, UNIT) * float(exact)
        assert relative < off <= bounds.reference_errors(tensor, [vector, reached])[1][0]


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


def left_over(t: Terms, tensor: np.ndarray, reach: list[np.ndarray], max_dim: int, dtype: torch.dtype) -> np.ndarray:
    """ℓ after two steps: γ_6(|v| + e_s) + 2tiny, with e_s = e + ℓ + γ_{d_0+2}(|v| + e + ℓ) + (d_0 + 1)tiny."""
    u, tiny = unit_of(dtype), float(torch.finfo(dtype).tiny)
    errors, ell = bounds.iteration_errors(tensor, reach, ATTENTION_ONLY, max_dim, dtype), np.zeros(len(tensor))
    for v, e in zip(reach[:2], errors, strict=False):
        scalar = t("the vector's error", e) + t("the old one", ell) + t("tiny in scalar", (max_dim + 1) * tiny)
        scalar = scalar + t("rounding of scalar", gamma(max_dim + 2, u)) * (v + e + t("the old one, rounded", ell))
        ell = t("clearing", gamma(6, u)) * (v + scalar) + t("tiny", 2 * tiny)
    return ell


def test_what_clearing_leaves_term_by_term(tensor):
    """In bfloat16 roundings are large; vectors of the size of tiny."""
    ordinary, small = ([np.full(3, size)] * 3 for size in (1.0, 1e-38))
    instances = [(tensor, ordinary, 5, torch.bfloat16), (tensor, small, 5, torch.float32)]
    assert_terms(
        lambda *given: bounds.left_over_errors(*given[:2], ATTENTION_ONLY, *given[2:])[2], left_over, instances
    )
    for form in (THEOREM, OVERWRITING, SOFTMAX):
        assert not np.any(bounds.left_over_errors(tensor, ordinary, form, 5, torch.float64))


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_clearing_leaves_is_within_its_bound(dtype, rng):
    """In `scalar` after one and two steps; the second half of the coordinates is padding, which leaves nothing."""
    nearest, found = 0.0, 0
    for _ in range(13):
        tensor, start = rng.standard_normal((2, 2, 2)), rng.standard_normal(2)
        for steps in (1, 2):
            model = build(5, steps, ATTENTION_ONLY, dtype)
            held, _ = held_by(model, tensor, start)
            tokens = torch.tensor(encode(model, *held)).to(dtype)
            scalar = model.transformer(tokens).double().numpy()[:, model.stream["scalar"]].ravel()
            reach = [np.nextafter(abs(v) * (1 + 1e-12), inf) for v in trajectory(*held, steps)]
            allowed = bounds.left_over_errors(held[0], reach, ATTENTION_ONLY, 5, dtype)[steps]
            assert (abs(scalar[:2]) <= allowed).all()
            assert not scalar[2:].any()
            nearest, found = max(nearest, *(abs(scalar[:2]) / allowed)), found + bool(scalar.any())
    assert found > 5  # something is left
    assert nearest > 0.05


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


def test_softmax_in_bfloat16_is_not_bounded():
    """Errors of exp of 32u are counted to first order: not for u = 2^-8."""
    for dtype, bounded in ((torch.float32, True), (torch.bfloat16, False)):
        form = softmax_form(bounds.best_scale(2, dtype))
        (error,) = bounds.iteration_errors(np.ones((1, 1, 1)), [np.ones(1) / 8] * 2, form, 2, dtype)[1]
        assert (error < inf) == bounded
