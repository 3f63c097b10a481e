"""The bound of one sublayer: where it is positive, how it grows, what it allows and what it does not."""

from copy import deepcopy
from math import exp, expm1, log

import numpy as np
import pytest
import torch
from terms import Terms, assert_terms

from constructions import execution_error, executor
from constructions.execution_error import attention_error, mlp_error, sublayer_error
from constructions.rounding_error import gamma
from constructions.transformer import AttentionHead, AttentionLayer, MlpLayer, Transformer, TransformerLayer
from constructions.weights import Activation, Array, HeadWeights
from theory_checks.execution_instances import STYLES, random_layer, random_tokens

SINGLE, DOUBLE = 2.0**-24, 2.0**-53  # unit roundoffs
each_activation = pytest.mark.parametrize("activation", ["relu", "softmax"])
each_style = pytest.mark.parametrize("style", STYLES)


def bound(layer: AttentionLayer | MlpLayer, h: torch.Tensor, unit: float) -> Array:
    return sublayer_error(layer, h.double().numpy(), unit)


def float32_layers(rng: np.random.Generator, activation: Activation, style: str) -> tuple[AttentionLayer, MlpLayer]:
    layer = random_layer(rng, activation, style).float()
    return layer.attention, layer.mlp


def float32_tokens(rng: np.random.Generator) -> torch.Tensor:
    return torch.from_numpy(random_tokens(rng)).float()


def off(layer: AttentionLayer | MlpLayer, exact: AttentionLayer | MlpLayer, h: torch.Tensor) -> Array:
    """|float32 − float64| of two layers that hold float32 numbers."""
    single, double = layer(h), deepcopy(exact).double()(h.double())
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    return (single.double() - double).abs().numpy()


@each_style
@each_activation
def test_float32_is_within_half_of_the_bound(activation, style, rng):
    """And float64 within half of its own. Nor is the bound too wide: it is small, and errors reach 1e-4 of it."""
    h = float32_tokens(rng)
    for layer in float32_layers(rng, activation, style):
        allowed, found = bound(layer, h, SINGLE), off(layer, layer, h)
        assert (found <= (allowed + bound(layer, h, DOUBLE)) / 2).all()
        assert (found[found > 0] / allowed[found > 0]).max() > 1e-4
        assert allowed.max() < 1e-2


@each_style
@each_activation
def test_a_weight_that_moves_one_entry_by_ten_times_the_bound_is_noticed(activation, style, rng):
    h = float32_tokens(rng)
    attention, mlp = float32_layers(rng, activation, style)
    head = attention.stored_heads[5]  # its value is one number
    pooled = (AttentionLayer([head], activation)(h) - h)[:, -1] / head.output[-1, 0]
    hidden = (h @ mlp.w1.mT).relu()
    unit = int(hidden.sum(dim=0).argmax())
    for layer, matrix, column, factors in ((attention, head.output, 0, pooled), (mlp, mlp.w2, unit, hidden[:, unit])):
        exact, allowed, token = deepcopy(layer), bound(layer, h, SINGLE), int(factors.abs().argmax())
        with torch.no_grad():
            matrix[-1, column] += 10 * float(allowed[token, -1]) / abs(float(factors[token]))
        ratio = off(layer, exact, h)[token, -1] / allowed[token, -1]
        assert 9 < ratio < 11


@each_activation
def test_the_bound_is_linear_in_the_unit(activation, rng):
    """Up to terms of second order: counts and scores are far below 1e-3 of 1/unit. Above that it grows faster."""
    h = float32_tokens(rng)
    for layer in float32_layers(rng, activation, "dense"):
        tiny, one, two = (bound(layer, h, unit) for unit in (SINGLE / 1024, SINGLE, 2 * SINGLE))
        assert (2 * one < two).all()
        assert (two < 2 * one * 1.001).all()
        assert (1024 * tiny < one).all()
        assert (one < 1024 * tiny * 1.001).all()
        assert (bound(layer, h, 0.0) < 1e-290).all()  # what underflow may add


def head(query: list[float], key: list[float], value: list[float], output: list[float]) -> HeadWeights:
    """One row of each."""
    return HeadWeights(*(np.array([row]) for row in (query, key, value)), np.array([output]).T)


def test_the_bound_is_positive_where_numbers_only_cancel():
    """1 − 1 in a score or in a value may be rounded, 0 + 0 not."""
    h = np.array([[1.0, 1.0, 0.0, 0.0], [3.0, 3.0, 0.0, 0.0]])
    plain, cancelled, zero = [1.0, 0.0, 0.0, 0.0], [1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]
    for scored, valued in ((cancelled, plain), (plain, cancelled), (cancelled, cancelled)):
        found = attention_error([head(plain, scored, valued, [0.0, 0.0, 1.0, 0.0])], "relu", h, SINGLE)
        assert (found[:, :3] > 0).all()
        assert not found[:, 3].any()
    for scored, valued in ((zero, plain), (plain, zero)):
        found = attention_error([head(plain, scored, valued, [0.0, 0.0, 1.0, 0.0])], "relu", h, SINGLE)
        assert (found[:, :2] > 0).all()
        assert not found[:, 2:].any()
    assert (attention_error([head(plain, zero, plain, [0.0, 0.0, 1.0, 0.0])], "softmax", h, SINGLE)[:, 2] > 0).all()
    units = mlp_error(np.array([cancelled]), np.array([zero]).T, h, SINGLE)
    assert (units[:, :3] > 0).all()
    assert not units[:, 3].any()


def test_the_bound_of_an_mlp_by_hand():
    """|h| + |w2||w1||h| = (2, 1 + 11·(2·3 + 5)), and D + D' + 8 = 2 + 1 + 8."""
    found = mlp_error(np.array([[-3.0, 5.0]]), np.array([[0.0], [-11.0]]), np.array([[2.0, -1.0]]), SINGLE)
    assert found.tolist() == [[2 * gamma(11, SINGLE) * 2, 2 * gamma(11, SINGLE) * 122]]


@each_activation
def test_without_heads_only_the_residual_is_rounded(activation, rng):
    h = random_tokens(rng)
    assert np.array_equal(attention_error([], activation, h, DOUBLE), 2 * (gamma(2, DOUBLE) * np.abs(h)))


@each_activation
def test_every_head_adds_to_the_bound(activation, rng):
    h = float32_tokens(rng)
    attention, _ = float32_layers(rng, activation, "dense")
    bounds = [bound(AttentionLayer(attention.stored_heads[:count], activation), h, SINGLE) for count in (1, 2, 3)]
    assert (bounds[0] < bounds[1]).all()
    assert (bounds[1] < bounds[2]).all()


def test_blocks_of_keys_rescale_softmax_only(rng, monkeypatch):
    h = float32_tokens(rng)
    layers = [float32_layers(rng, activation, "dense")[0] for activation in ("relu", "softmax")]
    relu, softmax = (bound(layer, h, SINGLE) for layer in layers)
    monkeypatch.setattr(execution_error, "LEAST_BLOCK", len(h))
    assert np.array_equal(bound(layers[1], h, SINGLE), softmax)  # one block either way
    monkeypatch.setattr(execution_error, "LEAST_BLOCK", len(h) - 1)
    assert np.array_equal(bound(layers[0], h, SINGLE), relu)
    assert (bound(layers[1], h, SINGLE) > softmax).all()


@pytest.mark.parametrize(("unit", "dtype", "gap"), [(SINGLE, torch.float32, -103.0), (DOUBLE, torch.float64, -744.7)])
def test_weights_that_underflow_are_within_the_bound(unit, dtype, gap):
    """Merged keys may leave a subnormal number where single ones leave 0; the bound is positive nevertheless."""
    tokens = torch.zeros((13, 4), dtype=dtype)
    tokens[:, 3], tokens[:5, 0], tokens[:5, 1] = 1.0, gap, 1.0
    weights = head([0.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0])
    parts = (torch.from_numpy(m).to(dtype) for m in (weights.query, weights.key, weights.value, weights.output))
    transformer = Transformer([TransformerLayer(AttentionLayer([AttentionHead(*parts)], "softmax"), None)], (0,))
    off = (transformer(tokens) - executor.run(transformer, tokens)).abs().double().numpy()
    found = attention_error([weights], "softmax", tokens.double().numpy(), unit)
    assert (off <= found).all()
    assert (found[:, 2] > 0).all()
    assert found[:, 2].max() < 1e-30


def test_a_bound_beyond_use_is_no_nan():
    """A score of 1e11 in float32: nothing is known of the weights, but that they lie between 0 and 1."""
    h = np.array([[3000.0, 0.0], [1.0, 0.0]])
    one = HeadWeights(np.array([[1e8, 0.0]]), np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]), np.array([[0.0], [1.0]]))
    assert np.isfinite(attention_error([one], "softmax", h, SINGLE)).all()


def formula(
    t: Terms, heads: list[HeadWeights], activation: Activation, h: Array, unit: float, block: int = 256
) -> Array:
    """The bound as the note states it, number by number."""
    tokens, width = h.shape
    tiny = 2.0**-1022 if unit == DOUBLE else 2.0**-126

    def gamma(n: float) -> float:
        return n * unit / (1 - n * unit)

    size = t("residual", np.abs(h))
    wrong = np.zeros(h.shape)
    for head in heads:

        def read(matrix: Array) -> tuple[Array, Array]:
            exact, error = np.zeros((tokens, len(matrix))), np.zeros((tokens, len(matrix)))
            for i, j in np.ndindex(exact.shape):
                exact[i, j] = sum(matrix[j, a] * h[i, a] for a in range(width))
                error[i, j] = gamma(width + t("2 of D + 2", 2)) * sum(abs(matrix[j, a] * h[i, a]) for a in range(width))
            return exact, error

        (q, e_q), (k, e_k), (v, e_v) = map(read, (head.query, head.key, head.value))
        e_q, e_k, e_v = t("E_q", e_q), t("E_k", e_k), t("E_v", e_v)
        s, e_s, most = (np.zeros((tokens, tokens)) for _ in range(3))
        for i, j in np.ndindex(s.shape):
            s[i, j] = sum(x * y for x, y in zip(q[i], k[j], strict=True))
            parts = list(zip(abs(q[i]), e_q[i], abs(k[j]), e_k[j], strict=True))
            most[i, j] = sum((x + e) * (y + f) for x, e, y, f in parts)  # S
            e_s[i, j] = sum(x * f + e * y + t("second order", e * f) for x, e, y, f in parts)
            e_s[i, j] += t("rounding of a score", gamma(len(q[i]) + t("2 of r + 2", 2)) * most[i, j])
        p, e_p = np.zeros(s.shape), np.zeros(s.shape)
        for i in range(tokens):
            if activation == "relu":
                for j in range(tokens):
                    p[i, j], off = max(s[i, j], 0) / tokens, t("E_s of ReLU", e_s[i, j] / tokens)
                    e_p[i, j] = off + t("weight", gamma(2 * tokens + t("8 of a weight", 8)) * (p[i, j] + off))
                continue
            normaliser, blocks = sum(exp(x - max(s[i])) for x in s[i]), -(-tokens // block)
            scores = 4 * (t("S", max(most[i])) + t("log N", log(tokens)))
            eta = t("E_s of softmax", max(e_s[i]))
            eta += (t("1 + blocks", 1) + t("blocks", blocks)) * unit * (scores + t("exp and log", 64))
            moved = 2 * t("eta", eta) + t("sums of softmax", gamma(2 * tokens + t("8 of softmax", 8)))
            for j in range(tokens):
                p[i, j], most_of_all = exp(s[i, j] - max(s[i])) / normaliser, t("at most 1", 1.0)
                e_p[i, j] = most_of_all if moved > 100 else min(p[i, j] * expm1(moved), most_of_all)
                e_p[i, j] += t("tiny", tokens * tiny)
        large, error = (np.zeros((tokens, len(head.value))) for _ in range(2))
        for i, j in np.ndindex(large.shape):
            for token in range(tokens):
                reach = abs(v[token, j]) + t("E_v at most", e_v[token, j])
                large[i, j] += (p[i, token] + t("E_p at most", e_p[i, token])) * reach
                error[i, j] += t("p E_v", p[i, token] * e_v[token, j]) + t("E_p v", e_p[i, token] * reach)
            error[i, j] += t("pooling", gamma(2 * tokens + t("8 of pooling", 8)) * large[i, j])
        for i, c in np.ndindex(h.shape):
            output = sum(abs(head.output[c, b]) * large[i, b] for b in range(len(head.value)))
            size[i, c] += t("outputs", output)
            wrong[i, c] += t("wrong pool", sum(abs(head.output[c, b]) * error[i, b] for b in range(len(head.value))))
            wrong[i, c] += t("output matrix", gamma(len(head.value) + t("4 of s + 4", 4)) * output)
    return 2 * (t("heads", wrong) + gamma(len(heads) + t("2 of H + 2", 2)) * (size + t("wrong twice", wrong)))


def drawn_head(rng: np.random.Generator, scale: float = 1.0) -> HeadWeights:
    """Two rows of a score, three of a value, five coordinates."""
    shapes = ((2, 5), (2, 5), (3, 5), (5, 3))
    return HeadWeights(
        *(size * rng.standard_normal(shape) for size, shape in zip((scale, 1, 1, 1), shapes, strict=True))
    )


@each_activation
def test_the_bound_of_attention_term_by_term(activation, rng, monkeypatch):
    """In a format of 2^-13, so that what is of second order counts as well; then underflow and overflow alone."""
    monkeypatch.setattr(execution_error, "LEAST_BLOCK", 3)
    unit, h = 2.0**-13, rng.standard_normal((7, 5))
    heads = [drawn_head(rng), drawn_head(rng, 0.01)]
    instances = [(heads, activation, h, unit), ([drawn_head(rng, 0.0)], activation, h, unit)]
    if activation == "softmax":
        far = np.array([[0.0, 0.0, 1.0, 0.0], [-900.0, 5.0, 1.0, 0.0]])  # the only value has a weight of e^−900
        one = head([0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0])
        instances += [([one], activation, far, unit) for unit in (SINGLE, DOUBLE)]
        instances += [([drawn_head(rng, 1e9)], activation, h, unit)]  # nothing is known of the weights
    assert_terms(attention_error, lambda t, *instance: formula(t, *instance, block=3), instances, rel=1e-11)
