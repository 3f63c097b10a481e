"""The errors of tensor-power iterations, restated from proofs_notes/tensor_rounding.md term by term.

A term that is dropped, halved or doubled is seen, also what only underflow or the reference's own rounding adds.
"""

from collections.abc import Callable
from fractions import Fraction
from math import cosh, exp, expm1, sinh, tanh

import numpy as np
import pytest
import torch
from terms import Terms, assert_terms

from constructions import tensor_power_bounds
from constructions.algorithms.tensor_power import power_step
from constructions.tensor_power_transformer import ATTENTION_ONLY, OVERWRITING, THEOREM, Form, softmax_form

SINGLE, REFERENCE = 2.0**-24, 2.0**-20
FORMS = {
    "theorem": THEOREM,
    "overwriting": OVERWRITING,
    "attention only": ATTENTION_ONLY,
    "softmax": softmax_form(Fraction(1, 2**4)),
}
State = tuple[list[float], float, list[float], list[float]]  # e_s, φ, |a|, what is left in `scalar`


@pytest.fixture(autouse=True)
def _coarse_reference(monkeypatch):
    """As if the reference ran in a format of 20 bits: what its own rounding adds is then no rounding of the test's."""
    monkeypatch.setattr(tensor_power_bounds, "REFERENCE_UNIT", REFERENCE)


def gamma(n: float, u: float) -> float:
    return n * u / (1 - n * u)


def own(t: Terms, d: int) -> float:
    return 1 + t("own rounding", gamma(4 * d * d + 40, REFERENCE))


def scalars(size, x, y) -> list[float]:
    d = len(size)
    return [sum(size[a, j, m] * x[j] * y[m] for j in range(d) for m in range(d)) for a in range(d)]


def reference(t: Terms, tensor, vectors) -> list[float]:
    """e⁺ = |T|(e, |r|) + |T|(|r| + e, e) + γ_{d²+3}|T|(|r|, |r|) + (d² + Σ|T| + (Σ|r|)²)·tiny."""
    size, d = abs(tensor), len(tensor)
    e, tiny = [0.0] * d, 2.0**-1022
    for r in vectors[:-1]:
        r = [abs(x) for x in r]
        far = [t("r of the second", x) + t("e of the second", y) for x, y in zip(r, e, strict=True)]
        parts = zip(scalars(size, e, r), scalars(size, far, e), scalars(size, r, r), size, strict=True)
        e = [
            own(t, d)
            * (
                t("first argument", x)
                + t("second argument", y)
                + t("rounding", gamma(d * d + t("3", 3), REFERENCE) * z)
                + tiny * (t("products", d * d) + t("T underflows", row.sum()) + t("r underflows", sum(r) ** 2))
            )
            for x, y, z, row in parts
        ]
    return e


def test_the_reference_errors_term_by_term(rng):
    tensor, start = rng.standard_normal((3, 3, 3)), np.array([0.5, -1.25, 0.75])
    vectors = [start]
    for _ in range(3):
        vectors.append(power_step(tensor, vectors[-1]))
    lost = [
        (np.full((3, 3, 3), size), [np.full(3, x)] * 2) for size, x in ((1e-300,) * 2, (1e10, 1e-200), (0.0, 1e100))
    ]
    assert_terms(lambda *given: tensor_power_bounds.reference_errors(*given)[-1], reference, [(tensor, vectors), *lost])


def relu(t: Terms, size, v, e, left, form: Form, d0: int) -> State:
    """`_relu_step`'s text, coordinate by coordinate."""
    u, tiny = SINGLE, 2.0**-126
    reach = [t("v in reach", x) + t("e in reach", y) for x, y in zip(v, e, strict=True)]
    sums = t("d_0 sums", d0) + (t("2 of them", 2) if form.attention_only else t("1 of them", 1))
    s = [
        t("e in e_s", y) + gamma(sums, u) * t("reach", r) + t("scalar underflows", (d0 + 1) * tiny)
        for y, r in zip(e, reach, strict=True)
    ]
    if form.attention_only:
        s = [x + t("left over", z) + gamma(sums, u) * t("left over, rounded", z) for x, z in zip(s, left, strict=True)]
        left = [
            gamma(t("6 left", 6), u) * (t("v left", x) + t("e_s left", y)) + t("left underflows", 2 * tiny)
            for x, y in zip(v, s, strict=True)
        ]
    absolute = [] if form is OVERWRITING else [t("vec", gamma(1 if form is THEOREM else 6, u) * r) for r in reach]
    phi = gamma(t("3 d_0", 3 * d0) + (t("2", 2) if form is OVERWRITING else t("4", 4)), u)
    return s, phi, absolute, left


def tanh_loss(z: float) -> float:
    return z * z / 3 if z < 1e-2 else 1 - tanh(z) / z


def sinh_gain(z: float) -> float:
    return z * z / 6 * cosh(z) if z < 1e-2 else sinh(z) / z - 1


def softmax(t: Terms, size, v, e, left, form: Form, d0: int) -> State:
    """`_softmax_step`'s text."""
    assert form.scale is not None
    u, scale, d = SINGLE, float(form.scale), len(v)
    reach = [t("v in reach", x) + t("e in reach", y) for x, y in zip(v, e, strict=True)]
    z = scale * max(reach)
    first = t("Z of scalar", 4 * u * z) + t("exp of scalar", 2 * 32 * u)
    first += gamma(t("N of scalar", 4 * d0) + t("4 of scalar", 4), u)
    s = [
        t("e in e_s", y) + t("tanh", r * tanh_loss(scale * r)) + t("omega in e_s", first / scale)
        for y, r in zip(e, reach, strict=True)
    ]
    far = max(t("v in Z", x) + t("e_s in Z", y) for x, y in zip(v, s, strict=True))
    z = t("Z", scale * max(reach) * far)
    apart = scale * max(reach) * max(t("e in D", x) + t("omega in D", first / scale) for x in e)
    phi = max(
        t("sinh", expm1(2 * t("D above", apart)) * (1 + sinh_gain(z)) + sinh_gain(z)),
        t("cosh", (cosh(z) - 1 - expm1(-2 * t("D below", apart))) / cosh(z)),
    )
    omega = t("Z of a product", 6 * u * z) + t("exp of a product", 2 * 32 * u)
    omega += gamma(t("N of a product", 4 * d0) + t("d_0 of a product", d0) + t("6 of a product", 6), u)
    pooled = [t("pooled", omega * exp(2 * z) / scale * float(size[a].sum())) for a in range(d)]
    new = scalars(size, reach, [t("v in new", x) + t("e_s in new", y) for x, y in zip(v, s, strict=True)])
    a = [
        p + gamma(2, u) * (t("new", (1 + t("phi of new", phi)) * n) + t("pooled, rounded", p) + t("vec", r))
        for p, n, r in zip(pooled, new, reach, strict=True)
    ]
    return s, phi, a, left


def iteration(t: Terms, tensor, vectors, form: Form, d0: int) -> list[float]:
    """e⁺ = |T|(e, |v| + e_s) + |T|(|v|, e_s) + φ|T|(|v| + e, |v| + e_s) + |a| + what underflows."""
    size, d, tiny = abs(tensor), len(tensor), 2.0**-126
    step: Callable[..., State] = softmax if form.twins else relu
    relu_only = Terms() if form.twins else t  # softmax: pooling's rounding is always more
    e, left = [0.0] * d, [0.0] * d
    for v in vectors[:-1]:
        s, phi, a, left = step(t, size, v, e, left, form, d0)
        scalar = [t("v of scalar", x) + t("e_s of scalar", y) for x, y in zip(v, s, strict=True)]
        reach = [t("v of vec", x) + t("e of vec", y) for x, y in zip(v, e, strict=True)]
        parts = zip(scalars(size, e, scalar), scalars(size, v, s), scalars(size, reach, scalar), size, strict=True)
        e = [
            own(t, d)
            * (
                t("first argument", x)
                + t("second argument", y)
                + t("products", phi * z)
                + relu_only("T underflows", tiny * 3 * d0 * row.sum())
                + relu_only("v underflows", tiny * sum(reach) * sum(scalar))
                + t("sums underflow", tiny * 3 * d0**2)
                + t("10 more", tiny * 10)
            )
            for x, y, z, row in parts
        ]
        if a:
            e = [x + own(t, d) * t("absolute", w) for x, w in zip(e, a, strict=True)]
    return e


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_iteration_errors_term_by_term(form, rng):
    """d = 2 of d_0 = 5, three steps in float32; large vectors; tensors and vectors of which underflow is all there is.

    tanh(z)/z and sinh(z)/z near 1 lose 2u/z² to cancellation, 1e-12 at z = 0.01; they are a part of the whole.
    """

    def along(tensor, start, steps=3):
        vectors = [np.array(start)]
        for _ in range(steps):
            vectors.append(power_step(tensor, vectors[-1]))
        return tensor, [abs(v) for v in vectors], form, 5

    def stated(tensor, vectors, form, d0):
        return tensor_power_bounds.iteration_errors(tensor, vectors, form, d0, torch.float32)[-1]

    tensor, one, kept = rng.standard_normal((2, 2, 2)), np.zeros((2, 2, 2)), np.zeros((2, 2, 2))
    one[:, 0, 1] = 1e15
    kept[0, 0] = 1e-3, 1e30
    instances = [along(tensor, [0.75, -1.5]), along(0.02 * tensor, [3.0, 4.0], 1), along(1e-5 * tensor, [1.0, 1.0])]
    instances += [along(np.full((2, 2, 2), size), [1e-60, 1e-60], 1) for size in (1e-60, 1e30)]
    if not form.twins:
        instances += [along(np.full((2, 2, 2), 1e-99), [1e30, 1e30], 1)]
        instances += [along(one, [1e10, 0.0], 1), along(kept, [1e3, 0.0], 2)]
    assert_terms(stated, iteration, instances, rel=1e-11 if form.twins else 1e-12)


def test_the_softmax_factor_term_by_term():
    """w = sV² and z = sV: large w, where sinh(w)/w − 1 decides, and V below 1, where the loss of tanh does."""

    def factor(t: Terms, scale: float, reach: float) -> float:
        z, w = scale * reach, scale * reach**2
        return max(t("sinh", sinh(w) / w - 1), 1 - t("tanh", tanh(z) / z) / t("cosh", cosh(w)))

    assert_terms(
        tensor_power_bounds.softmax_factor, factor, [(1.0, 3.0), (0.5, 0.4), (0.5, 6.0), (1.0, 1.0)], rel=1e-10
    )
