"""Equality over the rationals, for all symbols at once, and what a wrong entry does to it."""

from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import sympy
import torch

from constructions.number_system import FLOAT64, Rationals, Symbols
from constructions.tensor_power_exact import compare_layers
from constructions.tensor_power_transformer import ATTENTION_ONLY, THEOREM, build, softmax_form

FORMS = {"theorem": THEOREM, "attention only": ATTENTION_ONLY}


def rationals(array) -> np.ndarray:
    return np.vectorize(Rationals().number, otypes=[object])(array)


@pytest.fixture
def fractions(rng):
    """A tensor without symmetry and a start, both with denominators 2, 3, 5, 7."""

    def draw(*shape: int) -> np.ndarray:
        pairs = zip(rng.integers(-9, 10, np.prod(shape)), rng.choice([2, 3, 5, 7], np.prod(shape)), strict=True)
        values = np.empty(int(np.prod(shape)), dtype=object)
        values[:] = [Fraction(int(p), int(q)) for p, q in pairs]
        return values.reshape(shape)

    return lambda dim: (draw(dim, dim, dim), draw(dim))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize(("dim", "max_dim"), [(1, 1), (2, 3), (3, 3), (3, 7), (5, 5)])
def test_the_stream_equals_the_proofs_in_every_layer(form, dim, max_dim, fractions):
    """And the reference is the iteration: plain sums of fractions."""
    tensor, start = fractions(dim)
    model = build(max_dim, 3, form)
    vector = list(start)
    reports = list(compare_layers(model, rationals(tensor), rationals(start)))
    assert [report.layer for report in reports] == [1, 2, 3, 4, 5, 6]
    for report in reports:
        if report.layer % 2 == 0:
            vector = [
                sum((tensor[a, j, m] * vector[j] * vector[m] for j, m in product(range(dim), repeat=2)), Fraction(0))
                for a in range(dim)
            ]
        assert report.equal
        assert np.array_equal(report.vector, rationals(vector))
        assert np.array_equal(report.reference, rationals(vector))
        assert report.stream.shape == report.expected.shape == (max_dim, model.stream.width)
    odd = reports[0].expected[:, model.stream["scalar"].start]
    assert np.array_equal(odd, rationals([*start, *[0] * (max_dim - dim)]))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_for_all_real_tensors_and_vectors(form):
    """Symbols in place of numbers: two layers make T(I,v,v) of any T and v, d = 2 of d_0 = 3, whatever the signs."""
    tensor = np.array(sympy.symbols("t:8", real=True), dtype=object).reshape(2, 2, 2)
    start = np.array(sympy.symbols("v:2", real=True), dtype=object)
    for report in compare_layers(build(3, 1, form), tensor, start, Symbols()):
        difference = report.stream - report.expected
        assert all(sympy.expand(entry) == 0 for entry in difference.ravel())
    new = [sum(tensor[a, j, m] * start[j] * start[m] for j, m in product(range(2), repeat=2)) for a in range(2)]
    assert [sympy.expand(x - y) for x, y in zip(report.vector, new, strict=True)] == [0, 0]


def test_floats_are_exact_on_integers_and_not_elsewhere(rng):
    tensor, start = rng.integers(-3, 4, (3, 3, 3)).astype(float), np.array([1.0, -2.0, 3.0])
    assert all(report.equal for report in compare_layers(build(8, 2), tensor, start, FLOAT64))
    reports = compare_layers(build(7, 2), tensor / 10, start / 10, FLOAT64)
    assert not all(report.equal for report in reports)


@pytest.mark.parametrize(
    ("matrix", "first_wrong"),
    [("layers.0.attention.heads.1.output", 1), ("layers.1.attention.heads.3.key", 2), ("layers.1.mlp.w2", 2)],
)
def test_one_wrong_entry_is_seen_in_its_layer(matrix, first_wrong, fractions):
    """By one unit in the last place; the matrices are those that the modules hold."""
    model = build(3, 2)
    with torch.no_grad():
        entries = model.transformer.get_parameter(matrix).view(-1)
        place = torch.nonzero(entries)[0]
        entries[place] = torch.nextafter(entries[place], torch.tensor(torch.inf, dtype=torch.float64))
    tensor, start = (rationals(abs(x) + 1) for x in fractions(3))
    start[0] = -start[0]  # both signs, so that every head has something to do
    reports = list(compare_layers(model, tensor, start))
    assert [report.equal for report in reports[:2]] == [first_wrong > 1, False]
    assert not np.array_equal(reports[-1].vector, reports[-1].reference)  # read out of the stream


def test_equality_is_of_every_coordinate_of_every_token(fractions):
    tensor, start = map(rationals, fractions(2))
    report = next(compare_layers(build(3, 1), tensor, start))
    for place in np.ndindex(report.stream.shape):
        stream = report.stream.copy()
        stream[place] += Rationals().number(Fraction(1, 10**30))
        assert not replace(report, stream=stream).equal


def test_the_softmax_form_has_no_rational_values(fractions):
    tensor, start = map(rationals, fractions(2))
    with pytest.raises(TypeError, match="not rational"):
        list(compare_layers(build(3, 1, softmax_form(Fraction(1, 4))), tensor, start))
