"""A run judged step by step: what each number is, every verdict, and constructions broken on purpose."""

from dataclasses import replace
from fractions import Fraction
from math import inf

import numpy as np
import pytest
import torch

from constructions import executor
from constructions import tensor_power_bounds as bounds
from constructions.algorithms.tensor_power import normalised, normalised_power_iteration, power_iteration, power_step
from constructions.compiler import Head, Layer, Mlp
from constructions.errors import InputError
from constructions.normalisation import normalisation
from constructions.rounding_error import gamma
from constructions.tensor_power_run import copies_spread, magnitude, run
from constructions.tensor_power_transformer import (
    ATTENTION_ONLY,
    OVERWRITING,
    THEOREM,
    Form,
    build,
    normalised_form,
    products,
    softmax_form,
)

UNIT = 2.0**-53
SOFTMAX = softmax_form(Fraction(1, 2**15))
NORMALISED = normalised_form(normalisation(0.3, 3.0, 5, squares="attention"))
FORMS = {
    "theorem": THEOREM,
    "attention only": ATTENTION_ONLY,
    "overwriting": OVERWRITING,
    "softmax": SOFTMAX,
    "normalised": NORMALISED,
    "squares by a network": normalised_form(normalisation(0.3, 3.0, 5)),
}


@pytest.fixture
def task(rng):
    """d = 3 (of d_0 = 5), no symmetry, and ‖T(I,v,v)‖ between 0.3 and 3 for all unit vectors met."""
    return rng.standard_normal((3, 3, 3)) / np.sqrt(3), normalised(rng.standard_normal(3))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_step_is_compared_with_the_float64_iteration(form, task):
    tensor, start = task
    result = run(build(5, 4, form), tensor, start)
    iterate = power_iteration if form.normalisation is None else normalised_power_iteration
    assert np.array_equal(result.tensor, tensor)
    assert np.array_equal(result.start, start)
    assert [step.step for step in result.steps] == [1, 2, 3, 4]
    for number, step in enumerate(result.steps, start=1):
        assert np.array_equal(step.reference, iterate(tensor, start, number))
        off = float(np.linalg.norm(step.vector - step.reference))
        assert step.difference == pytest.approx(off, rel=gamma(8, UNIT), abs=0)
        assert (step.status, step.reason) == ("holds", "")
        assert step.difference <= step.bound < np.linalg.norm(step.reference) / 100
    model = result.model
    where = model.stream[form.result].start
    assert np.array_equal(result.steps[-1].vector, result.output[0, where : where + 3])
    tokens = torch.tensor(result.tokens)
    assert np.array_equal(result.output, executor.run(model.transformer, tokens).numpy())
    literal = run(model, tensor, start, execution="dense")
    assert np.array_equal(literal.output, model.transformer(tokens).numpy())
    assert (result.plan is None, literal.plan is None) == (False, True)
    assert {step.status for step in literal.steps} == {"holds"}
    one = run(build(5, 1, form), tensor, start).steps[0]
    assert np.array_equal(one.vector, result.steps[0].vector)  # the steps are read in between
    assert (one.bound, one.difference) == (result.steps[0].bound, result.steps[0].difference)


def test_the_bound_is_that_of_both_sides(task):
    """Transformer against exact iteration, whose trajectory the reference knows up to an error, and that error."""
    tensor, start = task
    result = run(build(5, 3), tensor, start)
    vectors = [start, *(step.reference for step in result.steps)]
    slack = bounds.reference_errors(tensor, vectors)
    reach = [abs(vector) + error for vector, error in zip(vectors, slack, strict=True)]
    ours = bounds.iteration_errors(tensor, reach, THEOREM, 5, torch.float64)
    for step, first, second in zip(result.steps, ours[1:], slack[1:], strict=True):
        assert step.bound == pytest.approx(np.linalg.norm(first + second), rel=8 * UNIT, abs=0)
        assert np.linalg.norm(first) < step.bound


def test_the_layers_report_their_progress(task):
    for form, layers in ((THEOREM, 4), (NORMALISED, 8)):
        seen = []
        run(build(5, 2, form), *task, progress=lambda done, of, seen=seen: seen.append((done, of)))
        assert seen == [(done, layers) for done in range(1, layers + 1)]


@pytest.mark.parametrize("form", [THEOREM, NORMALISED, SOFTMAX], ids=["theorem", "normalised", "softmax"])
def test_tensor_and_start_are_those_the_dtype_holds(form, task):
    tensor, start = task
    result = run(build(5, 1, form, torch.float32), tensor, start)
    single = [array.astype(np.float32).astype(np.float64) for array in task]
    assert np.array_equal(result.tensor, single[0])
    assert np.array_equal(result.start, single[1])
    expected = power_step(*single)
    assert np.array_equal(result.steps[0].reference, expected if form is not NORMALISED else normalised(expected))
    assert not np.array_equal(single[0], tensor)
    assert result.tokens.dtype == result.output.dtype == np.float64


@pytest.mark.parametrize(
    ("form", "dtype", "statuses"),
    [
        ("theorem", torch.float32, ["holds"] * 3),
        ("attention only", torch.float32, ["holds"] * 3),
        ("squares by a network", torch.float32, ["holds"] * 3),
        ("softmax", torch.float32, ["vacuous"] * 3),  # built for float64's scale
        ("theorem", torch.bfloat16, ["holds", "vacuous", "vacuous"]),
        ("squares by a network", torch.bfloat16, ["vacuous"] * 3),
    ],
)
def test_verdicts_by_dtype(form, dtype, statuses, task):
    steps = run(build(5, 3, FORMS[form], dtype), *task).steps
    assert [step.status for step in steps] == statuses
    for step in steps:
        if step.status == "vacuous":
            assert step.reason == "the zero vector would meet the bound"
            assert step.bound >= np.linalg.norm(step.reference)


def test_a_zero_vector_can_only_be_vacuous(task):
    """The transformer is exact there, but 0 is no evidence."""
    for step in run(build(5, 2), task[0], np.zeros(3)).steps:
        assert (step.difference, step.status) == (0, "vacuous")


@pytest.mark.parametrize(
    ("dtype", "start", "step", "magnitude", "limit"),
    [
        (torch.float64, 10.0, 9, "1.0e+512", "1.8e+308"),
        (torch.float32, 10.0, 6, "1.0e+64", "3.4e+38"),
        (torch.bfloat16, 4.0, 6, "3.4e+38", "3.4e+38"),
        (torch.float64, -20.0, 8, "1.2e+333", "1.8e+308"),
        (torch.float64, 1e200, 1, "1.0e+400", "1.8e+308"),
    ],
)
def test_an_iteration_that_overflows_names_step_and_magnitude(dtype, start, step, magnitude, limit):
    """d = 1, T = (1): v_t = v_0^(2^t), and 20^256 = 1.2e333. (4^64 = 2^128 is just above the largest bfloat16.)"""
    tensor, vector = np.ones((1, 1, 1)), np.array([start])
    with pytest.raises(InputError) as caught:
        run(build(1, 11, dtype=dtype), tensor, vector)
    name = str(dtype).removeprefix("torch.")
    assert str(caught.value).startswith(f"step {step} reaches a magnitude of {magnitude}, beyond {name}'s")
    assert f"largest number {limit}:" in str(caught.value)
    assert "--normalise" in str(caught.value)
    if step == 1:
        return
    finite = run(build(1, step - 1, dtype=dtype), tensor, vector)
    assert np.isfinite(finite.steps[-1].vector).all()
    assert finite.steps[-1].status in ("holds", "vacuous")
    # Normalised there is nothing to overflow.
    assert run(build(1, 11, normalised_form(normalisation(0.5, 500.0, 1)), dtype), tensor, vector).steps


def test_a_partial_sum_that_overflows_is_named():
    """The vector is 3e38, within float32; but d_0·T = 7·3e38 is not."""
    with pytest.raises(InputError, match=r"step 1 reaches a magnitude of 2\.1e\+39, beyond"):
        run(build(7, 1, dtype=torch.float32), np.full((1, 1, 1), 3e38), np.ones(1))


@pytest.mark.parametrize("size", [1e-100, 1e100])
def test_lengths_whose_squares_no_float_holds(size):
    """v = size² is judged like vectors of size 1, though ‖v‖² over- or underflows."""
    model = build(1, 1, OVERWRITING)  # the theorem's vec + (new − vec) loses a new vector of 1e-200 beside 1e-100
    step, ordinary = (run(model, np.ones((1, 1, 1)), np.full(1, x)).steps[0] for x in (size, 1.0))
    assert (step.status, ordinary.status) == ("holds", "holds")
    assert step.bound / size / size == pytest.approx(ordinary.bound, rel=0.5, abs=0)
    assert step.difference <= step.bound
    assert magnitude(np.array([3e200, -4e200])) == pytest.approx(5e200, rel=gamma(8, UNIT), abs=0)
    assert magnitude(np.array([3e-200, -4e-200])) == pytest.approx(5e-200, rel=gamma(8, UNIT), abs=0)
    assert magnitude(np.array([1.0, -inf])) == inf
    assert magnitude(np.zeros(3)) == 0


@pytest.mark.parametrize("which", ["tensor", "start"])
def test_what_the_dtype_cannot_hold_is_refused(which):
    tensor, start = (
        np.full((1, 1, 1), 1e39 if which == "tensor" else 1.0),
        np.array([1e39 if which == "start" else 1.0]),
    )
    with pytest.raises(InputError, match="beyond the largest number of float32"):
        run(build(1, 1, dtype=torch.float32), tensor, start)


def test_nothing_is_normalised_to_a_vector_of_zeros():
    """T(I, e_1, e_1) = e_2, which T sends to 0."""
    tensor = np.zeros((3, 3, 3))
    tensor[1, 0, 0] = 1
    with pytest.raises(InputError, match=r"^T\(I,v,v\) is 0 in step 2; it cannot be normalised$"):
        run(build(5, 3, NORMALISED), tensor, np.eye(3)[0])
    unnormalised = run(build(5, 3), tensor, np.eye(3)[0])
    assert [step.reference.any() for step in unnormalised.steps] == [True, False, False]


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_a_step_outside_the_range_is_not_judged_nor_are_later_ones(factor, task):
    """Every later step has ‖T(I,v,v)‖ in the range again."""
    tensor, start = task
    first = factor * np.linalg.norm(power_step(tensor, start))
    steps = run(build(5, 3, NORMALISED), tensor, np.sqrt(factor) * start).steps
    assert [step.status for step in steps] == ["not applicable"] * 3
    assert {step.reason for step in steps} == {f"in step 1 |T(I,v,v)| = {first:.4g} leaves the range"}
    assert {step.bound for step in steps} == {inf}
    again = run(build(5, 3, NORMALISED), tensor, 1.1 * start).steps  # a start need not be a unit vector
    assert [step.status for step in again] == ["holds"] * 3


def test_a_range_left_later_stops_the_judgement_there():
    """diag(2, 1/8, 0): e_2 + a bit of e_1 is at 1/8 first, at nearly 2 in the end; the range ends at 1."""
    tensor = np.zeros((3, 3, 3))
    tensor[0, 0, 0], tensor[1, 1, 1] = 2, 0.125
    steps = run(build(5, 7, normalised_form(normalisation(0.1, 1.0, 5))), tensor, np.array([0.1, 1, 0])).steps
    statuses = [step.status for step in steps]
    left = statuses.index("not applicable")
    assert statuses == ["holds"] * left + ["not applicable"] * (7 - left)
    assert 2 <= left <= 5
    size = np.linalg.norm(power_step(tensor, steps[left - 1].reference))
    assert {step.reason for step in steps[left:]} == {f"in step {left + 1} |T(I,v,v)| = {size:.4g} leaves the range"}


def test_the_start_of_a_normalised_run_may_not_be_zero(task):
    with pytest.raises(InputError, match=r"cannot be normalised"):
        run(build(5, 1, NORMALISED), task[0], np.zeros(3))


def test_the_spread_of_the_copies(task):
    """The farthest token counts, relative to the first; of 0 there is none."""
    model = build(7, 1)
    tokens, where = np.zeros((7, model.stream.width)), model.stream["vec"]
    assert copies_spread(model, tokens) == 0
    tokens[:, where] = [3.0, 0, 4.0, 0, 0, 0, 0]
    assert copies_spread(model, tokens) == 0
    tokens[2, where.start + 1] += 0.25
    tokens[5, where] += [0.0, 0.3, 0.0, -0.4, 0, 0, 0]
    assert copies_spread(model, tokens) == pytest.approx(0.5 / 5, rel=8 * UNIT, abs=0)
    tokens[:, model.stream["new"]] = 1.0
    overwriting = build(7, 1, OVERWRITING)
    assert copies_spread(overwriting, tokens) == 0


def test_copies_that_differ_widen_the_bound_of_the_next_step(task, monkeypatch):
    plain = run(build(5, 2, NORMALISED), *task).steps
    monkeypatch.setattr("constructions.tensor_power_run.copies_spread", lambda model, tokens: 1e-3)
    steps = run(build(5, 2, NORMALISED), *task).steps
    assert steps[0].bound == plain[0].bound  # the tokens of a start are equal
    assert steps[1].bound > plain[1].bound + 1e-4


def test_a_start_of_zero_cannot_be_normalised(task):
    with pytest.raises(InputError, match="the start is 0"):
        run(build(5, 1, NORMALISED), task[0], np.zeros(3))


def broken(form: Form, change) -> Form:
    return replace(form, layers=lambda d0: change(list(form.layers(d0)), d0))


def with_heads(index: int, change):
    def apply(layers: list[Layer], d0: int) -> list[Layer]:
        layers[index] = replace(layers[index], heads=change(list(layers[index].heads), d0))
        return layers

    return apply


def with_mlp(index: int, **changes):
    def apply(layers: list[Layer], d0: int) -> list[Layer]:
        layers[index] = replace(layers[index], mlp=replace(layers[index].mlp, **changes))
        return layers

    return apply


def moving(head: Head, index: int) -> Head:
    """One of the head's moves."""
    return replace(head, move=[head.move[index]])


def swapped(heads: list[Head], d0: int) -> list[Head]:
    """The first two columns of a slice in the other order."""
    order = [2, 3, 0, 1, *range(4, 2 * d0)] if d0 > 1 else [0, 1]
    return [replace(head, move=heads[other].move) for head, other in zip(heads, order, strict=True)]


BROKEN = {
    "no negative part of a coordinate": broken(THEOREM, with_heads(0, lambda heads, d0: heads[:1])),
    "coordinate with the wrong sign": broken(
        THEOREM, with_heads(0, lambda heads, d0: [replace(h, score=[("basis", "vec", 1)]) for h in heads])
    ),
    "one product missing": broken(THEOREM, with_heads(1, lambda heads, d0: heads[2:])),
    "products without negative parts": broken(THEOREM, with_heads(1, lambda heads, d0: heads[::2])),
    "columns in another order": broken(THEOREM, with_heads(1, swapped)),
    "average not undone": broken(
        THEOREM,
        with_heads(1, lambda h, d0: [replace(x, move=[(*x.move[0][:2], x.move[0][2] / d0)]) for x in h]),
    ),
    "average undone for d0 - 1 tokens": broken(
        THEOREM,
        with_heads(1, lambda h, d0: [replace(x, move=[(*x.move[0][:2], x.move[0][2] / d0 * (d0 - 1))]) for x in h]),
    ),
    "vec not cleared": broken(THEOREM, with_mlp(1, clear=["new", "scalar"])),
    "new not cleared": broken(THEOREM, with_mlp(1, clear=["vec", "scalar"])),
    "scalar not cleared": broken(THEOREM, with_mlp(1, clear=["vec", "new"])),
    "softmax instead of relu": broken(THEOREM, lambda layers, d0: [replace(x, activation="softmax") for x in layers]),
    "alone: nothing taken off": broken(ATTENTION_ONLY, with_heads(1, lambda heads, d0: heads[:-1])),
    "alone: vec not taken off": broken(ATTENTION_ONLY, with_heads(1, lambda h, d0: [*h[:-1], moving(h[-1], 1)])),
    "alone: scalar not taken off": broken(ATTENTION_ONLY, with_heads(1, lambda h, d0: [*h[:-1], moving(h[-1], 0)])),
    "overwriting: new not in the score": broken(
        OVERWRITING, with_heads(0, lambda heads, d0: [replace(h, score=list(h.score)[:1]) for h in heads])
    ),
    "overwriting: vec not cleared": broken(OVERWRITING, with_mlp(1, clear=["scalar"])),
    "softmax: values not scaled back": broken(
        SOFTMAX, with_heads(1, lambda h, d0: [replace(x, move=[(*x.move[0][:2], d0)]) for x in h])
    ),
    "softmax: scale forgotten in a score": broken(
        SOFTMAX, with_heads(1, lambda heads, d0: [replace(h, score=[h.score[0][:2]]) for h in heads])
    ),
    "softmax: twins of equal sign": broken(
        SOFTMAX,
        with_heads(0, lambda heads, d0: [replace(heads[0], move=[("one", "scalar", heads[0].move[0][2])])]),
    ),
    "normalised: squared norm of the vector": broken(
        NORMALISED, with_heads(2, lambda heads, d0: [replace(heads[0], score=[("vec", "vec")])])
    ),
    "normalised: no inverse": broken(NORMALISED, with_mlp(2, apply=[])),
    "normalised: not scaled": broken(
        NORMALISED, with_heads(3, lambda heads, d0: [replace(heads[0], score=[("one", "one")])])
    ),
    "normalised: old norm kept": broken(NORMALISED, with_mlp(2, clear=[])),
    "normalised: old inverse kept": broken(NORMALISED, with_mlp(3, clear=["new"])),
    "normalised: new kept": broken(NORMALISED, with_mlp(3, clear=["inverse_norm"])),
    "normalised: vec kept": broken(NORMALISED, with_mlp(1, clear=["scalar"])),
}  # fmt: skip


@pytest.mark.parametrize("form", BROKEN.values(), ids=BROKEN)
def test_a_broken_construction_is_refuted(form, task):
    """Negative control: the same bounds must reject every one of them within three steps."""
    tensor, start = task
    assert "refuted" in {step.status for step in run(build(5, 3, form), 1.5 * tensor, start).steps}
    refuted = next(step for step in run(build(5, 3, form), 1.5 * tensor, start).steps if step.status == "refuted")
    assert refuted.reason == "the difference exceeds the bound"


def test_the_unbroken_constructions_hold_on_that_task(task):
    for form in (THEOREM, ATTENTION_ONLY, OVERWRITING, SOFTMAX, NORMALISED):
        assert {step.status for step in run(build(5, 3, form), 1.5 * task[0], task[1]).steps} == {"holds"}
    same = broken(THEOREM, with_mlp(1, clear=["vec", "new", "scalar"]))
    assert run(build(5, 3, same), *task).steps[2].difference == run(build(5, 3), *task).steps[2].difference


def test_a_vector_that_is_not_finite_refutes_a_normalised_run(task):
    """An inverse root without a constant for large norms, times infinity."""
    infinite = Mlp(move=[("one", "inverse_norm", 1e308), ("one", "inverse_norm", 1e308)], clear=["sq_norm"])
    form = broken(NORMALISED, lambda layers, d0: [*layers[:2], replace(layers[2], mlp=infinite), layers[3]])
    step = run(build(5, 1, form), *task).steps[0]
    assert not np.isfinite(step.vector).all()
    assert step.status == "refuted"


def test_products_have_two_heads_for_each_coordinate():
    heads = products(3, "new")
    assert [head.score for head in heads] == [[(f"vec[{j}]", "scalar", sign)] for j in range(3) for sign in (1, -1)]
    assert [head.move for head in heads[2:4]] == [[("slice[3:6]", "new", 3)], [("slice[3:6]", "new", -3)]]
