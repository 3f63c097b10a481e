"""Definitions 1-8 evaluated literally, token by token and head by head, against the torch modules."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Tensor

from constructions import transformer as module
from constructions.rounding_error import EXP_UNITS, gamma
from constructions.transformer import AttentionHead, AttentionLayer, MlpLayer, Transformer, TransformerLayer
from constructions.weights import Activation, HeadWeights, LayerWeights, TransformerWeights

UNIT = 2.0**-53


def literal_attention(layer: LayerWeights, h: np.ndarray) -> np.ndarray:
    """Definitions 4 and 7."""
    tokens = len(h)
    result = h.copy()
    for head in layer.heads:
        value = head.output @ head.value
        for i in range(tokens):
            scores = np.array([np.dot(head.query @ h[i], head.key @ h[j]) for j in range(tokens)])
            if layer.activation == "softmax":
                weights = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
            else:
                weights = np.maximum(scores, 0) / tokens
            for j in range(tokens):
                result[i] += weights[j] * (value @ h[j])
    return result


def literal_mlp(layer: LayerWeights, h: np.ndarray) -> np.ndarray:
    """Definition 5."""
    if layer.w1 is None or layer.w2 is None:
        return h.copy()
    return np.array([token + layer.w2 @ np.maximum(layer.w1 @ token, 0) for token in h])


def attention_error(layer: LayerWeights, h: np.ndarray) -> np.ndarray:
    """By how much two orders of evaluation of an attention layer may differ, entry by entry.

    A score is a product of three factors with inner lengths D, r, D, evaluated twice (with |·| for the
    magnitudes); an error e of all scores multiplies softmax weights by at most exp(2e), and moves relu ones by e.
    """
    tokens, width = h.shape
    total = np.abs(h) * gamma(len(layer.heads) + 1, UNIT)
    for head in layer.heads:
        queries, keys = np.abs(h) @ np.abs(head.query).T, np.abs(h) @ np.abs(head.key).T
        score_error = 2 * gamma(2 * width + len(head.query), UNIT) * (queries @ keys.T)
        pooling = gamma(2 * (2 * width + len(head.value) + 2 * tokens + 4 * EXP_UNITS), UNIT)
        scores = (h @ head.query.T) @ (h @ head.key.T).T
        if layer.activation == "softmax":
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            weights /= weights.sum(axis=1, keepdims=True)
            # Subtracting the largest score rounds once more.
            error = 2 * score_error.max() + 4 * UNIT * np.abs(scores).max()
            weights_error = weights * (np.expm1(error) + pooling)
        else:
            weights_error = (score_error + np.abs(scores) * pooling) / tokens
        values = np.abs(h) @ np.abs(head.value).T @ np.abs(head.output).T
        total += 2 * weights_error @ values
    return total


def mlp_error(layer: LayerWeights, h: np.ndarray) -> np.ndarray:
    """The same for an MLP layer: two products with inner lengths D and D'."""
    if layer.w1 is None or layer.w2 is None:
        return np.zeros_like(h)
    operations = 2 * (len(layer.w1) + h.shape[1] + 1)
    return gamma(operations, UNIT) * (np.abs(h) + np.abs(h) @ np.abs(layer.w1).T @ np.abs(layer.w2).T)


def random_layer(
    rng: np.random.Generator, activation: Activation, heads: int = 2, width: int = 11, hidden: int = 17
) -> LayerWeights:
    """Ranks 3, 5, … for query and key, 7, 13, … for value and output; no MLP if `hidden` is 0."""
    ranks = [(3, 7), (5, 13)][:heads]

    def matrix(rows: int, columns: int) -> np.ndarray:
        return rng.standard_normal((rows, columns)) / 4

    return LayerWeights(
        tuple(HeadWeights(matrix(r, width), matrix(r, width), matrix(s, width), matrix(width, s)) for r, s in ranks),
        activation,
        matrix(hidden, width) if hidden else None,
        matrix(width, hidden) if hidden else None,
    )


def only(layer: LayerWeights) -> TransformerLayer:
    return Transformer.from_weights(TransformerWeights((layer,), (0,))).stored_layers[0]


@pytest.mark.parametrize("block", [2**22, 40, 1])  # 40: two or five rows of 19 scores, two tokens of 17 units
@pytest.mark.parametrize("activation", ["softmax", "relu"])
def test_attention_and_mlp_are_definitions_4_5_and_7(activation, block, rng, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", block)
    layer, h = random_layer(rng, activation), 2 * rng.standard_normal((19, 11))
    built = only(layer)
    attended = built.attention(torch.tensor(h)).numpy()
    assert (np.abs(attended - literal_attention(layer, h)) <= attention_error(layer, h)).all()
    mixed = built.mlp(torch.tensor(h)).numpy()
    assert (np.abs(mixed - literal_mlp(layer, h)) <= mlp_error(layer, h)).all()
    assert torch.equal(built(torch.tensor(h)), built.mlp(built.attention(torch.tensor(h))))


def test_the_allowances_are_small(rng):
    """So that the comparisons above and below cannot pass for a wrong formula."""
    for activation in ("softmax", "relu"):
        layer, h = random_layer(rng, activation), 2 * rng.standard_normal((19, 11))
        assert attention_error(layer, h).max() < 1e-10
        assert mlp_error(layer, h).max() < 1e-10


@pytest.mark.parametrize("activation", ["softmax", "relu"])
def test_every_layer_of_a_schedule_of_stored_layers(activation, rng):
    layers = (
        random_layer(rng, activation),
        random_layer(rng, activation, heads=0),
        random_layer(rng, activation, heads=1, hidden=0),
    )
    weights = TransformerWeights(layers, (2, 0, 1, 0))
    transformer = Transformer.from_weights(weights)
    before = rng.standard_normal((13, 11))
    tokens = torch.tensor(before)
    for index, after in zip(weights.schedule, transformer.trace(tokens), strict=True):
        layer, attended = layers[index], literal_attention(layers[index], before)
        # The MLP multiplies what attention may differ by, by at most |w2||w1| + 1.
        allowed = attention_error(layer, before)
        if layer.w1 is not None and layer.w2 is not None:
            allowed = allowed + allowed @ np.abs(layer.w1).T @ np.abs(layer.w2).T
        allowed = 2 * (allowed + mlp_error(layer, attended))
        assert (np.abs(after.numpy() - literal_mlp(layer, attended)) <= allowed).all()
        before = after.numpy()
    assert torch.equal(transformer(tokens), torch.tensor(before))
    assert sum(1 for _ in transformer.parameters()) == (8 + 2) + 2 + 4  # tied layers are stored once
    assert not any(parameter.requires_grad for parameter in transformer.parameters())


@pytest.mark.parametrize("block", [2**22, 100])
@pytest.mark.parametrize("activation", ["softmax", "relu"])
def test_batches_are_independent(activation, block, rng, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", block)
    layer = random_layer(rng, activation)
    h = rng.standard_normal((2, 3, 7, 11))
    attended = only(layer).attention(torch.tensor(h)).numpy()
    mixed = only(layer).mlp(torch.tensor(h)).numpy()
    for where in np.ndindex(2, 3):
        assert (np.abs(attended[where] - literal_attention(layer, h[where])) <= attention_error(layer, h[where])).all()
        assert (np.abs(mixed[where] - literal_mlp(layer, h[where])) <= mlp_error(layer, h[where])).all()


def test_large_scores_and_equal_scores():
    """exp(1000) overflows a softmax that does not shift; a score of zero gives the mean over the keys."""
    one, row = torch.ones(1, 1, dtype=torch.float64), torch.tensor([[1000.0], [-1000.0], [0.0]], dtype=torch.float64)
    picked = AttentionLayer([AttentionHead(one, one, one, one)], "softmax")(row)
    assert torch.equal(picked[:2, 0], torch.tensor([2000.0, -2000.0], dtype=torch.float64))
    zero = AttentionHead(0 * one, 0 * one, one, one)
    shifted = AttentionLayer([zero], "softmax")(row + 3)
    assert torch.allclose(shifted, row + 6, rtol=4 * 2.0**-53, atol=3000 * gamma(8, UNIT))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_weights_are_rounded_to_the_dtype(dtype, rng):
    weights = TransformerWeights((random_layer(rng, "softmax"),), (0,))
    transformer = Transformer.from_weights(weights, dtype)
    assert transformer.dtype == dtype
    assert transformer.width == weights.width == 11
    stored = transformer.stored_layers[0].attention.stored_heads[1].output
    assert torch.equal(stored, torch.tensor(weights.layers[0].heads[1].output).to(dtype))
    assert transformer(torch.zeros(5, 11, dtype=dtype)).dtype == dtype


def test_inconsistent_weights_are_refused():
    def zeros(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.float64)

    def head(width: int) -> AttentionHead:
        return AttentionHead(zeros(3, width), zeros(3, width), zeros(5, width), zeros(width, 5))

    good = (zeros(3, 7), zeros(3, 7), zeros(5, 7), zeros(7, 5))
    for place, wrong in ((0, zeros(2, 7)), (1, zeros(3, 11)), (2, zeros(5, 11)), (2, zeros(2, 7)), (3, zeros(5, 7))):
        with pytest.raises(ValueError, match="must be"):
            AttentionHead(*good[:place], wrong, *good[place + 1 :])
    with pytest.raises(ValueError, match="must be"):
        MlpLayer(zeros(5, 7), zeros(5, 7))
    with pytest.raises((ValueError, TypeCheckError), match="activation"):
        AttentionLayer([head(7)], "sigmoid")
    layer = TransformerLayer(AttentionLayer([head(7)], "relu"), None)
    with pytest.raises(ValueError, match=r"\[7, 11\]"):
        Transformer([layer, TransformerLayer(None, MlpLayer(zeros(3, 11), zeros(11, 3)))], [0])
    for wrong_index in (1, -1):  # torch would take a negative one, from the end
        with pytest.raises(ValueError, match=f"layer {wrong_index}, but 1"):
            Transformer([layer], [0, wrong_index])
    with pytest.raises(ValueError, match="no width"):
        _ = TransformerWeights((LayerWeights((), "softmax", None, None),), (0,)).width


def test_shapes_are_checked_at_run_time():
    """Without this, the annotations of the library would not be tested anywhere."""
    with pytest.raises(TypeCheckError):
        TransformerLayer(None, None)(torch.zeros(3, 5, dtype=torch.int64))


LONG_INPUT = """
import torch
from constructions.transformer import AttentionHead, AttentionLayer, MlpLayer
h = torch.linspace(-1, 1, 40_000)[:, None]
one = torch.ones(1, 1)
attended = AttentionLayer([AttentionHead(one, one, one, one)], "softmax")(h) - h
i, exact = 31_337, h[:, 0].double()
expected = (exact[i] * exact).softmax(dim=0) @ exact
assert abs(attended[i, 0] - expected) < 0.02 < expected, (attended[i], expected)
units = torch.ones(7919, 1)
assert torch.equal(MlpLayer(units, 0 * units.mT)(h), h)
print(next(int(line.split()[1]) / 2**20 for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the peak of one process alone")
def test_memory_is_linear_in_the_number_of_tokens():
    """40 000² scores in float32 take 6 GiB and 40 000 × 7919 hidden units 1.2 GiB; the process stays below 1 GiB.

    Four sums over N = 40 000 terms of size at most 1 (two softmax denominators, two poolings), each γ_N = 2.4e-3
    in float32 at worst, make the 0.02 inside. The peak is VmHWM: getrusage's counts that of the process which started
    this one, too.
    """
    done = subprocess.run([sys.executable, "-c", LONG_INPUT], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.0
