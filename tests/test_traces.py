"""The stream of an export after every layer: in float64, in balls, in rationals; and what it costs."""

import json
from dataclasses import replace
from fractions import Fraction

import flint
import numpy as np
import pytest
import torch
from exported import foreign
from safetensors.numpy import save_file

from constructions import claims
from constructions.transformer import AttentionHead, AttentionLayer, MlpLayer, Transformer, TransformerLayer
from theory_checks import traces, verify
from theory_checks.traces import BallTrace, FloatTrace, Operations, RationalTrace


def test_rationals(tmp_path, monkeypatch):
    """relu/N over three tokens: thirds, which balls enclose and rationals are."""
    foreign(tmp_path)
    construction = {"format": 1, "schedule": [0], "activation": ["relu"]}
    one = np.array([[1.0, 0]])
    names = ("query", "key", "value", "output")
    tensors = {f"layers.0.attention.0.{n}": m for n, m in zip(names, (one, one, one, one.T.copy()), strict=True)}
    save_file(tensors, tmp_path / "transformer.safetensors", metadata={"construction": json.dumps(construction)})
    total = Fraction(1 * 1 * 1 + 4 * 4 + 1 * 1)  # Σ_j h_j², times h_0 = 1, by 3
    entry = {"name": "c", "tokens": [0], "coordinates": [0], "reference": [[str(1 + total / 3)]], "bound": 0}
    (tmp_path / "claims.json").write_text(json.dumps({"format": 1, "claims": [entry]}))
    (found,) = verify.verify(*claims.read(tmp_path))
    assert (found.verdict, found.evidence, found.found) == ("holds", "exact", 0.0)
    transformer, (claim,) = claims.read(tmp_path)
    assert Operations(transformer)(3, 0, 1) == 3 * (4 * 2) + 9 * (1 + 1)
    (stream,) = RationalTrace(transformer)(claim.input, 0, 1)
    two = replace(claim, coordinates=np.array([0, 1]), reference=np.array([[4 + total / 3, 6]], dtype=object))
    for norm, bound in (("euclidean", [5.0]), ("absolute", [[3.0, 4.0]])):  # the differences are 3 and 4
        attained = replace(two, norm=norm, bound=np.array(bound))
        assert verify.judge_rationals(attained, stream).verdict == "holds"
        just_below = replace(attained, bound=np.nextafter(attained.bound, 0))
        assert verify.judge_rationals(just_below, stream).verdict == "false"
    for limit, value in (("MOST_BITS", 2), ("MOST_EXACT_WORK", 2 * (3 * 4 + 9 * 2))):  # numbers of up to 3 bits: 4
        with monkeypatch.context() as lowered:
            lowered.setattr(traces, limit, value)
            assert list(RationalTrace(transformer)(claim.input, 0, 1)) == []


def test_the_literal_evaluation(rng, monkeypatch):
    """Softmax and ReLU, several blocks, a layer without attention and one without MLP, against the torch modules."""

    def head(rank: int, size: int) -> AttentionHead:
        shapes = (rank, 5), (rank, 5), (size, 5), (5, size)
        return AttentionHead(*(torch.tensor(rng.standard_normal(shape) / 3) for shape in shapes))

    mlp = MlpLayer(*(torch.tensor(rng.standard_normal(shape) / 3) for shape in ((7, 5), (5, 7))))
    layers = [
        TransformerLayer(AttentionLayer([head(2, 3), head(3, 2)], "softmax"), mlp),
        TransformerLayer(AttentionLayer([head(2, 3)], "relu"), None),
        TransformerLayer(None, mlp),
    ]
    transformer, tokens = Transformer(layers, [1, 0, 2, 0]), rng.standard_normal((11, 5))
    streams = [h.numpy() for h in transformer.trace(torch.tensor(tokens))]
    for block in (traces.BLOCK, 23):
        monkeypatch.setattr(traces, "BLOCK", block)
        for ours, theirs in zip(FloatTrace(transformer)(tokens, 0, 4), streams, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-12, abs=1e-12)
    (part,) = FloatTrace(transformer)(streams[0], 1, 2)
    assert part == pytest.approx(streams[1], rel=1e-12, abs=1e-12)
    with flint.ctx.workprec(128):
        (enclosed,) = BallTrace(transformer)(streams[0], 1, 2)
    assert np.vectorize(float)(enclosed) == pytest.approx(streams[1], rel=1e-12, abs=1e-12)


def test_what_leaves_the_range_of_float64_decides_nothing(rng):
    """A sum of five products whose first leaves the range: in this order -inf, of which relu and exp would make 0."""
    large = np.full((1, 5), 1e308)
    large[0, 0] = -1e308
    tokens = np.array([[10.0, 1, 1, 1, 1]])
    assert sum(a * b for a, b in zip(tokens[0].tolist(), large[0].tolist(), strict=True)) == -np.inf
    with np.errstate(over="ignore", invalid="ignore"):
        assert not np.isfinite((tokens @ large.T)[0, 0])  # in a library's order it may be another
    mlp = MlpLayer(torch.tensor(large), torch.tensor(np.ones((5, 1))))
    (h,) = FloatTrace(Transformer([TransformerLayer(None, mlp)], [0]))(tokens, 0, 1)
    assert np.isnan(h).all()
    one = torch.tensor(np.eye(5)[:1])
    for activation in ("relu", "softmax"):
        head = AttentionHead(torch.tensor(large), one, one, one.T.contiguous())
        layer = TransformerLayer(AttentionLayer([head], activation), None)
        (h,) = FloatTrace(Transformer([layer], [0]))(tokens, 0, 1)
        assert np.isnan(h[0, 0])
