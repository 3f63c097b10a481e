"""Sizes and norms read off matrices."""

import numpy as np
import pytest
import torch

from constructions.resources import log_norm, log_product_norm, measure
from constructions.transformer import AttentionHead, AttentionLayer, MlpLayer, Transformer, TransformerLayer

UNIT = 2.0**-53


def matrix(rng, *shape):
    return torch.tensor(rng.standard_normal(shape))


@pytest.mark.parametrize("shape", [(7, 7), (3, 11), (101, 5), (1, 13)])
@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e200, 1e300])
def test_log_norm_is_the_largest_singular_value(shape, scale, rng):
    """Squares of entries of size 1e200 overflow. eigvalsh of the Gram matrix is right to O(D'u)."""
    m = matrix(rng, *shape)
    expected = np.log(np.linalg.norm(m.numpy(), 2)) + np.log(scale)
    assert log_norm(m * scale) == pytest.approx(expected, abs=(100 * max(shape) + abs(np.log(scale))) * UNIT)


def test_the_norm_of_zero():
    assert log_norm(torch.zeros(3, 5)) == float("-inf")


def test_product_norm(rng):
    output, value = matrix(rng, 11, 3), matrix(rng, 3, 11)
    expected = np.log(np.linalg.norm((output @ value).numpy(), 2))
    assert log_product_norm(output, value) == pytest.approx(expected, abs=1000 * UNIT)
    assert log_product_norm(output.float(), value.float()) == pytest.approx(expected, abs=1000 * 2.0**-24)


def norm(m: torch.Tensor) -> float:
    return float(np.linalg.norm(m.numpy(), 2))


def test_all_resources_of_a_transformer(rng):
    """Layers of 2 heads without MLP, of 3 heads with MLP, of an MLP alone, and one that never runs."""

    def attention(heads: int, scale: float) -> AttentionLayer:
        shapes = ((3, 7), (3, 7), (5, 7), (7, 5))
        return AttentionLayer(
            [AttentionHead(*(scale * matrix(rng, *shape) for shape in shapes)) for _ in range(heads)], "softmax"
        )

    def mlp(units: int, scale: float) -> MlpLayer:
        return MlpLayer(scale * matrix(rng, units, 7), matrix(rng, 7, units))

    layers = [
        TransformerLayer(attention(2, 5.0), None),
        TransformerLayer(attention(3, 1.0), mlp(13, 1.0)),
        TransformerLayer(None, mlp(11, 1.0)),
        TransformerLayer(attention(5, 100.0), mlp(17, 100.0)),
    ]
    transformer = Transformer(layers, [0, 1, 2, 1, 0])
    totals = []
    for layer in layers[:3]:
        heads = layer.attention.stored_heads if layer.attention is not None else []
        total = max((max(norm(h.query), norm(h.key), norm(h.output @ h.value)) for h in heads), default=0.0)
        totals.append(total + (norm(layer.mlp.w1) + norm(layer.mlp.w2) if layer.mlp is not None else 0.0))
    measured = measure(transformer)
    assert (measured.layers, measured.stored_layers, measured.heads) == (5, 4, 3)
    assert (measured.width, measured.hidden_width) == (7, 13)
    assert measured.log_b_theta == pytest.approx(np.log(max(totals)), abs=2000 * UNIT)
    numbers = (2 + 3 + 5) * (2 * 3 * 7 + 2 * 5 * 7) + 2 * 7 * (13 + 11 + 17)
    assert measured.bytes == 8 * numbers


@pytest.mark.parametrize("large", ["query", "key", "output @ value", "w1", "w2"])
def test_every_norm_of_b_theta_counts(large, rng):
    """Each in turn is a thousand times the others, so that B_Theta without it is far below."""
    shapes = {"query": (3, 7), "key": (3, 7), "value": (5, 7), "output": (7, 5), "w1": (11, 7), "w2": (7, 11)}
    m = {name: matrix(rng, *shape) * (1000 if name in large.split(" @ ")[:1] else 1) for name, shape in shapes.items()}
    head = AttentionHead(m["query"], m["key"], m["value"], m["output"])
    layer = TransformerLayer(AttentionLayer([head], "softmax"), MlpLayer(m["w1"], m["w2"]))
    norms = {name: norm(m[name]) for name in ("query", "key", "w1", "w2")} | {
        "output @ value": norm(m["output"] @ m["value"])
    }
    assert norms[large] > 100 * sum(value for name, value in norms.items() if name != large)
    attention = max(norms[name] for name in ("query", "key", "output @ value"))
    expected = np.log(attention + norms["w1"] + norms["w2"])
    assert measure(Transformer([layer], [0])).log_b_theta == pytest.approx(expected, abs=2000 * UNIT)
