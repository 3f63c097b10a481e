"""Theorem G.8 and Remarks G.1-G.3 as matrices: the encoding, what every layer leaves in the stream, sizes."""

from dataclasses import replace
from fractions import Fraction
from itertools import product

import flint
import numpy as np
import pytest
import torch

from constructions import evaluation
from constructions.algorithms.tensor_power import power_iteration, power_step
from constructions.errors import InputError
from constructions.normalisation import Normalisation
from constructions.number_system import Balls, Rationals
from constructions.relu_networks import ReluNetwork
from constructions.tensor_power_transformer import (
    ATTENTION_ONLY,
    OVERWRITING,
    SIZE_LIMIT,
    THEOREM,
    Form,
    TensorPowerTransformer,
    build,
    encode,
    normalised_form,
    predict_bytes,
    read_out,
    residual_stream,
    softmax_form,
    validate,
    with_steps,
)

RANGE = Normalisation(low=0.5, high=3.0, segments=7, pieces=11)
NORMALISED = normalised_form(RANGE)
BY_ATTENTION = normalised_form(replace(RANGE, pieces=1, squares="attention"))
SOFTMAX = softmax_form(Fraction(1, 4))
FORMS = [THEOREM, ATTENTION_ONLY, OVERWRITING, NORMALISED, BY_ATTENTION, SOFTMAX]
NAMES = ["theorem", "attention only", "overwriting", "normalised", "squares by attention", "softmax"]
EXACT, EXACT_NAMES = FORMS[:3], NAMES[:3]


def rationals(array: np.ndarray) -> np.ndarray:
    return np.vectorize(Rationals().number, otypes=[object])(array)


@pytest.fixture
def tensor(rng):
    """Integers, d = 3, no symmetry."""
    tensor = rng.integers(-5, 6, (3, 3, 3)).astype(float)
    assert not any(np.array_equal(tensor, tensor.transpose(axes)) for axes in [(0, 2, 1), (1, 0, 2), (2, 1, 0)])
    return tensor


@pytest.fixture
def start(rng):
    return np.array([2.0, -1.0, 3.0])


def literal_tokens(model: TensorPowerTransformer, tensor: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Section G.2 and Remark G.3 coordinate by coordinate: token m has T[a, j, m] at j·d_0 + a of `slice`."""
    dim, d0, layout = len(tensor), model.max_dim, model.stream.layout
    rows = []
    for m in range(d0):
        row = [0.0] * model.stream.width
        for a, j in product(range(dim), repeat=2):
            if m < dim:
                row[layout["slice"][0] + j * d0 + a] = tensor[a, j, m]
        for a in range(dim):
            row[layout["vec"][0] + a] = vector[a]
        row[layout["one"][0]] = 1.0
        row[layout["basis"][0] + m] = 1.0
        if model.form.twins:
            row[layout["sign"][0]] = 1.0
        rows.append(row)
    if model.form.twins:
        rows += [[1.0 if i == layout["one"][0] else -value for i, value in enumerate(row)] for row in rows]
    return np.array(rows)


@pytest.mark.parametrize("form", FORMS, ids=NAMES)
def test_the_encoding(form, tensor, rng):
    model = build(5, 1, form)
    starts = rng.standard_normal((2, 7, 3))
    tokens = encode(model, tensor, starts)
    assert tokens.shape == (2, 7, 10 if form.twins else 5, model.stream.width)
    for where in np.ndindex(2, 7):
        assert np.array_equal(tokens[where], literal_tokens(model, tensor, starts[where]))
    exact = encode(model, rationals(tensor), rationals(starts[1, 6]), Rationals())
    assert all(isinstance(entry, flint.fmpq) for entry in exact.ravel())
    assert np.array_equal(exact, rationals(tokens[1, 6]))


def test_the_vector_is_read_from_the_first_token_without_its_padding(rng):
    model = build(5, 1)
    tokens = rng.standard_normal((2, 7, 5, model.stream.width))
    where = model.stream.layout["vec"][0]
    read = read_out(model, tokens, 3)
    assert np.array_equal(read, tokens[:, :, 0, where : where + 3])
    tokens[:] = 0
    assert read.all()  # a copy


@pytest.mark.parametrize("form", EXACT, ids=EXACT_NAMES)
@pytest.mark.parametrize("max_dim", [3, 5, 7])
def test_over_the_rationals_a_step_is_exact(form, max_dim, tensor, start):
    """Every coordinate of every token, after the odd and after the even layer; T(I,v,v) from plain loops."""
    model = build(max_dim, 2, form)
    weights = evaluation.exact_weights(model.transformer, Rationals())
    vector, where = [Fraction(int(x)) for x in start], model.stream.layout["scalar"][0]
    tokens = encode(model, rationals(tensor), rationals(start), Rationals())
    for layer, stream in enumerate(evaluation.trace(weights, tokens, Rationals()), start=1):
        if layer % 2 == 0:
            vector = [
                sum(int(tensor[a, j, m]) * vector[j] * vector[m] for j, m in product(range(3), repeat=2))
                for a in range(3)
            ]
        expected = literal_tokens(model, tensor, np.array([float(x) for x in vector]))
        if form is OVERWRITING and layer % 2 == 0:  # the vector waits in `new`
            vec, new = model.stream["vec"], model.stream["new"]
            expected[:, vec], expected[:, new] = expected[:, new], expected[:, vec].copy()
        if layer % 2 == 1:
            expected[:3, where] = [float(x) for x in vector]
        assert all(float(x) == x for x in vector)  # small integers
        assert np.array_equal(stream, rationals(expected))


@pytest.mark.parametrize("form", EXACT, ids=EXACT_NAMES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_integers_and_a_power_of_two_tokens_leave_nothing_to_round(form, dtype, tensor, rng):
    """d_0 = 8: the average over the tokens is exact, and all sums stay below 2^24; a batch, and every d up to d_0."""
    model = build(8, 2, form, dtype)
    starts = rng.integers(-1, 2, (2, 7, 3)).astype(float)
    tokens = torch.tensor(encode(model, tensor, starts)).to(dtype)
    for steps, layer in enumerate(list(model.transformer.trace(tokens))[1::2], start=1):
        expected = power_iteration(tensor, starts, steps)
        assert np.abs(expected).max() < 2**12
        written = encode(model, tensor, expected)
        if form is OVERWRITING:
            vec, new = model.stream["vec"], model.stream["new"]
            written[..., vec], written[..., new] = 0, written[..., vec].copy()
        assert np.array_equal(layer.numpy(), written)
    for dim in (1, 2, 5, 7, 8):
        cube, v = rng.integers(-2, 3, (dim, dim, dim)).astype(float), rng.integers(-1, 2, dim).astype(float)
        output = model.transformer(torch.tensor(encode(model, cube, v)).to(dtype))
        assert np.array_equal(read_out(model, output.numpy(), dim), power_iteration(cube, v, 2))


def test_a_normalised_step_over_the_rationals(tensor):
    """v ← T(I,v,v)·ρ(Σ_a φ(T(I,v,v)_a)) with the stored float weights, and nothing else is left in the stream."""
    model = build(5, 2, NORMALISED)
    assert model.form.layers_per_step == 4
    square, rho = (RANGE.networks()[name] for name in ("square", "inverse_sqrt"))

    def applied(network, x: Fraction) -> Fraction:
        units = zip(network.w.tolist(), network.b.tolist(), network.a.tolist(), strict=True)
        return sum((Fraction(a) * max(Fraction(w) * x + Fraction(b), 0) for w, b, a in units), Fraction(0))

    tensor, vector = tensor / 16, np.array([0.5, -0.25, 0.75])
    tokens = encode(model, rationals(tensor), rationals(vector), Rationals())
    weights = evaluation.exact_weights(model.transformer, Rationals())
    current = [Fraction(x) for x in vector]
    for layer, stream in enumerate(evaluation.trace(weights, tokens, Rationals()), start=1):
        new = [
            sum(Fraction(tensor[a, j, m]) * current[j] * current[m] for j, m in product(range(3), repeat=2))
            for a in range(3)
        ]
        norm = sum((applied(square, x) for x in new), 2 * applied(square, Fraction(0)))
        columns = {"scalar": current, "new": new, "sq_norm": [norm], "inverse_norm": [applied(rho, norm)]}
        left = {1: ["scalar"], 2: ["new", "sq_norm"], 3: ["new", "inverse_norm"], 0: []}[layer % 4]
        if layer % 4 == 0:
            current = [x * applied(rho, norm) for x in new]
        kept = [Rationals().number(x) for x in (current if layer % 4 in (0, 1) else [Fraction(0)] * 3)]
        expected = encode(model, rationals(tensor), np.array(kept), Rationals())
        for name in left:
            values = [Rationals().number(x) for x in columns[name]]
            if name == "scalar":
                expected[:3, model.stream["scalar"].start] = values
            else:
                start = model.stream[name].start
                expected[:, start : start + len(values)] = values
        assert np.array_equal(stream, expected)
        if layer == 4:
            break  # two steps of the schedule were built; the fractions of one suffice


def test_the_squared_norm_from_attention_is_exact(tensor, start):
    """Score ⟨new, new⟩ with value `one`: ‖T(I,v,v)‖² without a square network, before ρ is applied."""
    form = replace(
        BY_ATTENTION, layers=lambda d: [*BY_ATTENTION.layers(d)[:2], replace(BY_ATTENTION.layers(d)[2], mlp=None)]
    )
    model = build(5, 1, form)
    weights = evaluation.exact_weights(model.transformer, Rationals())
    tokens = encode(model, rationals(tensor), rationals(start), Rationals())
    *_, stream = evaluation.trace(weights, tokens, Rationals())
    assert [int(x) for x in stream[:, model.stream["sq_norm"].start]] == [
        int((power_step(tensor, start) ** 2).sum())
    ] * 5
    assert "square" not in form.networks


def test_the_softmax_form_makes_tanh_and_sinh_over_cosh(tensor):
    """Remark G.3 in closed form, in balls of 2^-100: ŝ_m = tanh(s v_m)/s, then Σ_j Σ_m sinh T / Σ_m cosh.

    d_0 undoes neither average: Σ over d = 3 tokens of sinh, but Σ over d_0 = 5 of cosh, the padding's being 1.
    """
    with flint.ctx.workprec(128):
        numbers, s, d0 = Balls(), flint.arb(0.25), 5
        model = build(d0, 1, SOFTMAX)
        v = [flint.arb(x) for x in (0.5, -1.25, 2.0)]
        tokens = encode(model, balls(tensor), np.array(v, dtype=object), numbers)
        weights = evaluation.exact_weights(model.transformer, numbers)
        odd, even = evaluation.trace(weights, tokens, numbers)
        scalar = [(s * x).tanh() / s for x in v] + [flint.arb(0)] * 2
        new = [flint.arb(0)] * 3
        for j in range(3):
            total = sum(((s * v[j] * x).cosh() for x in scalar), flint.arb(0))
            for a, m in product(range(3), repeat=2):
                new[a] += d0 / s * (s * v[j] * scalar[m]).sinh() * flint.arb(tensor[a, j, m]) / total
        expected = encode(model, balls(tensor), np.array(v, dtype=object), numbers)
        expected[:, model.stream["scalar"].start] = [*scalar, *(-x for x in scalar)]
        assert_same_balls(odd, expected)
        assert_same_balls(even, encode(model, balls(tensor), np.array(new, dtype=object), numbers))


def balls(array: np.ndarray) -> np.ndarray:
    return np.vectorize(Balls().number, otypes=[object])(array)


def assert_same_balls(first: np.ndarray, second: np.ndarray) -> None:
    for x, y in zip(first.ravel(), second.ravel(), strict=True):
        assert x.overlaps(y)
        assert float(x.rad()) + float(y.rad()) < 2.0**-100


@pytest.mark.parametrize(
    ("form", "width", "heads", "hidden"),
    [
        (THEOREM, 25 + 15 + 2, [2, 10], [0, 6 * 5 + 2]),
        (ATTENTION_ONLY, 25 + 10 + 2, [2, 11], [0, 0]),
        (OVERWRITING, 25 + 15 + 2, [2, 10], [4 * 5, 2 * 5 + 2]),
        (NORMALISED, 25 + 15 + 4, [2, 10, 0, 1], [0, 5 * 22 + 12, 8 + 2, 12]),
        (BY_ATTENTION, 25 + 15 + 4, [2, 10, 1, 1], [0, 12, 8 + 2, 12]),
        (SOFTMAX, 25 + 15 + 3, [1, 5], [0, 32]),
    ],
    ids=NAMES,
)
def test_sizes(form, width, heads, hidden):
    """D = d_0² + 3d_0 + 2 and 2d_0 heads (Theorem G.8) for d_0 = 5, two layers a step; what the remarks change."""
    model = build(5, 3, form)
    assert model.stream.width == model.transformer.width == width
    layers = model.transformer.stored_layers
    assert model.transformer.schedule == tuple(range(len(heads))) * 3
    assert model.steps == 3
    assert [len(layer.attention.heads) if layer.attention else 0 for layer in layers] == heads
    assert [len(layer.mlp.w1) if layer.mlp else 0 for layer in layers] == hidden
    assert [blocks[-1].stop if blocks else 0 for blocks in model.hidden_layout] == hidden
    activation = "softmax" if form.twins else "relu"
    assert {layer.attention.activation for layer in layers if layer.attention} == {activation}


def test_the_layout_of_theorem_g8():
    assert residual_stream(3).layout == {
        "slice": (0, 9), "vec": (9, 12), "new": (12, 15), "scalar": (15, 16), "one": (16, 17), "basis": (17, 20),
    }  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=NAMES)
def test_the_same_layers_run_for_another_number_of_steps(form, tensor):
    """The weights are a function of d_0 alone: stored once, scheduled L times."""
    once, thrice = build(5, 1, form), build(5, 3, form)
    again = with_steps(once, 3)
    assert again.transformer.schedule == thrice.transformer.schedule
    assert again.transformer.stored_layers == once.transformer.stored_layers
    assert (again.steps, once.steps) == (3, 1)
    tokens = torch.tensor(encode(once, tensor / 8, np.array([0.5, -0.25, 0.75])))
    assert torch.equal(again.transformer(tokens), thrice.transformer(tokens))
    assert not torch.equal(again.transformer(tokens), once.transformer(tokens))


@pytest.mark.parametrize("form", FORMS, ids=NAMES)
@pytest.mark.parametrize("max_dim", [1, 2, 5, 11])
def test_the_predicted_size_is_enough_and_not_far_too_much(form, max_dim):
    model = build(max_dim, 1, form)
    measured = sum(matrix.numel() * 8 for matrix in model.transformer.parameters())
    assert measured <= predict_bytes(max_dim, form) <= 4 * measured


def test_a_build_beyond_the_limit_is_refused_before_it_begins():
    assert predict_bytes(73) < SIZE_LIMIT < predict_bytes(74)
    with pytest.raises(
        InputError, match=r"d0 = 74 needs 1\.0\d GiB .* limit of 1 GiB: choose a smaller --max-dim or --dim$"
    ):
        build(74, 1)
    wide = replace(NORMALISED, networks={"inverse_sqrt": ReluNetwork(*3 * [np.broadcast_to(1.0, (2**24,))])})
    with pytest.raises(
        InputError, match=r"choose a smaller --max-dim or --dim or a smaller C_HIGH/C_LOW \(--normalise\)$"
    ):
        build(2, 1, wide)
    with pytest.raises(InputError, match=r"d0 = 0 must lie between 1 and 4096"):
        build(0, 1)


@pytest.mark.parametrize(
    ("tensor", "start", "message"),
    [
        (np.ones((3, 3)), np.ones(3), r"tensor has shape \(3, 3\); it must be d×d×d"),
        (np.ones((3, 3, 2)), np.ones(3), r"tensor has shape \(3, 3, 2\)"),
        (np.ones((0, 0, 0)), np.ones(0), r"tensor has shape \(0, 0, 0\)"),
        (np.ones((7, 7, 7)), np.ones(7), r"dimension 7, above the largest, 5 \(--max-dim\)"),
        (np.ones((3, 3, 3)), np.ones(2), r"start has shape \(2,\); its length must be the tensor's dimension 3"),
        (np.ones((3, 3, 3)), np.ones((3, 2)), r"start has shape \(3, 2\)"),
        (np.ones((3, 3, 3)), np.array(1.0), r"start has shape \(\)"),
        (np.where(np.arange(27).reshape(3, 3, 3) > 13, np.nan, 1), np.ones(3), r"tensor has nan at \[1, 1, 2\]"),
        (np.ones((3, 3, 3)), np.array([1, 2, -np.inf]), r"start has -inf at \[2\]; its entries must be finite"),
    ],
)
def test_what_is_no_task_is_refused(tensor, start, message):
    with pytest.raises(InputError, match=message):
        validate(5, tensor, start)


def test_the_encoding_validates(tensor):
    with pytest.raises(InputError, match="above the largest, 2"):
        encode(build(2, 1), tensor, np.ones(3))
    with pytest.raises(InputError, match=r"start has nan at \[0\]"):
        encode(build(5, 1), tensor, np.array([np.nan, 1, 1]))


@pytest.mark.parametrize("scale", [Fraction(3, 8), Fraction(1, 3), Fraction(0), Fraction(-1, 2)])
def test_the_score_scale_is_a_power_of_two(scale):
    with pytest.raises(ValueError, match=f"the score scale is {scale}; it must be a power of two"):
        softmax_form(scale)
    assert softmax_form(Fraction(4)).scale == 4


def test_a_form_names_its_parts():
    assert [form.layers_per_step for form in FORMS] == [2, 2, 2, 4, 4, 2]
    names = ["relu", "attention-only", "overwriting", "normalised", "normalised", "softmax"]
    assert [form.name for form in FORMS] == names
    assert SOFTMAX.scale == Fraction(1, 4)
    assert Form("x", THEOREM.layers).networks == {}
    assert build(3, 1, dtype=torch.float32).dtype == torch.float32
