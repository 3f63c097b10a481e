"""The architecture: its parts against loops, what it may not depend on, and that every counted number takes part."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tgmm.backbones import Encoder, EncoderLayer
from tgmm.model import AttentivePooling, Tgmm, extra, parameters
from theory_checks import appendix_d


def model(dim: int = 3, tasks: tuple[int, ...] = (2, 5), scaled: bool = False) -> Tgmm:
    torch.manual_seed(7)
    return Tgmm(dim, tasks, 7, 22, Encoder(2, 2, 22), scaled=scaled).double()


def batch(count: int = 5, samples: int = 11, dim: int = 3) -> tuple[Tensor, Tensor]:
    """Tasks of which every one lacks some samples."""
    torch.manual_seed(11)
    mask = torch.arange(samples) < torch.tensor([samples - 1 - task for task in range(count)])[:, None]
    return torch.randn(count, samples, dim, dtype=torch.float64), mask


def test_pooling_against_loops() -> None:
    torch.manual_seed(5)
    dim, k, width, inner, tokens, present = 3, 2, 11, 7, 5, 4
    pooling, h = AttentivePooling(dim, k, width, inner).double(), torch.randn(1, tokens, width, dtype=torch.float64)
    found = pooling(h, torch.arange(tokens)[None] < present)
    output = torch.zeros(k + dim, k, dtype=torch.float64)
    for column in range(k):
        scores = torch.stack([pooling.key.weight @ h[0, i] @ pooling.query[:, column] for i in range(present)])
        share = scores.exp() / scores.exp().sum()
        output[:, column] = sum(share[i] * (pooling.value.weight @ h[0, i]) for i in range(present))
    assert found.means[0].tolist() == [pytest.approx(mean, rel=1e-12, abs=0) for mean in output[k:].mT.tolist()]
    logits = output[:k].mean(dim=1)
    weights = (logits.exp() / logits.exp().sum()).tolist()
    assert found.log_weights[0].exp().tolist() == pytest.approx(weights, rel=1e-12, abs=0)
    assert found.scales is None


def test_scales_are_the_softplus_of_the_last_rows() -> None:
    torch.manual_seed(5)
    pooling, h = AttentivePooling(3, 2, 11, 7, scaled=True).double(), torch.randn(2, 5, 11, dtype=torch.float64)
    mask = torch.ones(2, 5, dtype=torch.bool)
    pooled = (pooling.key(h) @ pooling.query).softmax(dim=1).mT @ pooling.value(h)
    scales = pooling(h, mask).scales
    assert scales is not None
    torch.testing.assert_close(scales, (1 + pooled[:, :, 5:].exp()).log(), rtol=1e-12, atol=0)


def test_encoder_layer_against_its_formula() -> None:
    """Softmax over the present keys only, scores over √(D/heads); the norms come first."""
    torch.manual_seed(13)
    width, heads, tokens = 6, 2, 5
    layer, h = EncoderLayer(width, heads).double(), torch.randn(1, tokens, width, dtype=torch.float64)
    mask = torch.tensor([[True, True, False, True, True]])
    normed = layer.attention_norm(h[0])
    split = [parameter.chunk(3) for parameter in layer.query_key_value.parameters()]
    q, k, v = (normed @ w.mT + b for w, b in zip(*split, strict=True))
    heads_out = []
    for part in (slice(0, 3), slice(3, 6)):
        scores = (q[:, part] @ k[:, part].mT / 3**0.5).exp() * mask
        heads_out.append(scores / scores.sum(dim=1, keepdim=True) @ v[:, part])
    after = h[0] + layer.output(torch.cat(heads_out, dim=1))
    expected = after + layer.down(layer.up(layer.mlp_norm(after)).clamp(min=0))
    torch.testing.assert_close(layer(h, mask)[0], expected, rtol=1e-11, atol=1e-13)


def test_estimates_do_not_depend_on_the_order_of_the_samples() -> None:
    """A sum of n numbers in another order: relative differences of some n·2⁻⁵³, grown by the layers' condition."""
    network, (samples, mask) = model(), batch()
    order = torch.randperm(samples.shape[1])
    for (_, one), (_, other) in zip(
        network(samples, mask, [2, 5, 5, 2, 5]),
        network(samples[:, order], mask[:, order], [2, 5, 5, 2, 5]),
        strict=True,
    ):
        torch.testing.assert_close(one.means, other.means, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(one.log_weights, other.log_weights, rtol=1e-10, atol=1e-12)


def test_estimates_do_not_depend_on_padding_nor_on_the_other_tasks() -> None:
    network, (samples, mask) = model(), batch()
    components = [2, 5, 5, 2, 5]
    read = network(samples.masked_fill(~mask[..., None], 1e3), mask, components)
    assert [chosen for chosen, _ in read] == [[0, 3], [1, 2, 4]]
    for chosen, found in read:
        for position, task in enumerate(chosen):
            own = samples[task : task + 1, mask[task]]
            ((_, alone),) = network(own, torch.ones(own.shape[:2], dtype=torch.bool), components[task : task + 1])
            torch.testing.assert_close(found.means[position], alone.means[0], rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(found.log_weights[position], alone.log_weights[0], rtol=1e-10, atol=1e-12)


def test_every_parameter_takes_part_in_some_task() -> None:
    network, (samples, mask) = model(scaled=True), batch()
    for k in (2, 5):
        ((_, found),) = network(samples, mask, [k] * len(samples))
        assert found.means.shape == found.scales.shape == (len(samples), k, 3)
        assert found.log_weights.exp().sum(dim=1).tolist() == pytest.approx([1.0] * len(samples), rel=1e-12, abs=0)
        ((found.log_weights**2).sum() + (found.means**2).sum() + (found.scales**2).sum()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad != 0).any(), name


def test_the_task_changes_the_estimate() -> None:
    """Also where both tasks read out with the same numbers: by the embedding."""
    network, (samples, _) = model(tasks=(2, 3)), batch(1)
    with torch.no_grad():
        embedding = network.embedding.clone()
        one = network.embed(samples, [0])
        network.embedding[0] = embedding[1]
        assert not torch.equal(network.embed(samples, [0]), one)
        assert torch.equal(network.embed(samples, [0]), network.embed(samples, [1]))


def test_the_read_out_begins_at_the_means_size() -> None:
    """On normalised H, of covariance C: entries of V H have the variance reach²/3, scores 1/3.

    A row v gives vᵀCv, whose relative standard deviation is at most √(2 tr C²)/tr C = 0.2 (tr C = D = 101 and
    tr C² ≈ D + D²/107); over 200 rows that is 0.014. A query q gives qᵀMq with M = K C Kᵀ and tr M²/(tr M)² ≈
    (1 + 89/101 + 89/107)/89: 0.25, over 97 queries 0.025, and tr M itself varies by 0.2/√89. The tolerances are six
    standard deviations; without `reach` the first is off by 25, without 1/√inner the second by 89.
    """
    torch.manual_seed(3)
    pooling = AttentivePooling(103, 97, 101, 89, reach=5.0)
    h = torch.nn.functional.layer_norm(torch.randn(1, 107, 101), (101,))
    assert pooling.value(h).square().mean().item() == pytest.approx(25 / 3, rel=6 * 0.014, abs=0)
    assert (pooling.key(h) @ pooling.query).square().mean().item() == pytest.approx(1 / 3, rel=6 * 0.033, abs=0)


def test_extra_is_what_is_outside_the_backbone() -> None:
    network = Tgmm(2, (3,), 5, 7, Encoder(2, 1, 7))
    held = 1 * 5 + (2 + 5) * 7 + 7 + (3 + 2) * 7 + 5 * 7 + 5 * 3
    assert extra(network) == held
    assert parameters(network) == held + 2 * (12 * 49 + 13 * 7)
    assert appendix_d.backbone_count(2, 7) == 2 * (12 * 49 + 13 * 7)


def test_trace_holds_every_state() -> None:
    network, (samples, mask) = model(), batch()
    hidden = network.embed(samples, [0] * len(samples))
    states = network.backbone.trace(hidden, mask)
    assert len(states) == 3
    assert torch.equal(states[0], hidden)
    assert torch.equal(states[2], network.backbone(hidden, mask))
    last = network.backbone.layers[1](states[1], mask)
    centred = last - last.mean(dim=2, keepdim=True)
    expected = centred / (centred.square().mean(dim=2, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(states[2], expected, rtol=1e-12, atol=0)
    assert torch.equal(states[1], network.backbone.layers[0](hidden, mask))
