"""The modules whose parameters Appendix D's rows count: they run, and every counted number takes part."""

from __future__ import annotations

import pytest
import torch

from theory_checks import tgmm
from theory_checks.tgmm import AttentivePooling, Tgmm


def test_pooling_against_loops() -> None:
    torch.manual_seed(5)
    dim, k, width, inner, tokens = 3, 2, 11, 7, 5
    pooling, h = AttentivePooling(dim, k, width, inner).double(), torch.randn(tokens, width, dtype=torch.float64)
    weights, means = pooling(h)
    for column in range(k):
        query = pooling.query[:, column]
        scores = torch.stack([pooling.key.weight @ token @ query for token in h])
        share = scores.exp() / scores.exp().sum()
        output = sum(share[i] * (pooling.value.weight @ h[i]) for i in range(tokens))
        assert means[column].tolist() == pytest.approx(output[k:].tolist(), rel=1e-12, abs=0)
    averages = pooling.value.weight[:k] @ h.mT @ (pooling.key(h) @ pooling.query).softmax(dim=0)
    assert weights.tolist() == pytest.approx(averages.mean(dim=1).tolist(), rel=1e-12, abs=0)


def test_every_parameter_takes_part_in_some_task() -> None:
    torch.manual_seed(7)
    model, x = Tgmm(3, (2, 5), 7, 13, 2), torch.randn(11, 3)
    for task, k in enumerate((2, 5)):
        weights, means = model(x, task)
        assert weights.shape == (k,)
        assert means.shape == (k, 3)
        (weights.sum() + (means**2).sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad != 0).any(), name


def test_the_task_changes_the_estimate() -> None:
    torch.manual_seed(11)
    model, x = Tgmm(3, (2, 2), 5, 7, 1), torch.randn(13, 3)
    model.read_outs[1].load_state_dict(model.read_outs[0].state_dict())
    assert not torch.equal(model(x, 0)[1], model(x, 1)[1])


def test_extra_is_what_is_outside_the_backbone() -> None:
    model = Tgmm(2, (3,), 5, 7, 2)
    held = 1 * 5 + (2 + 5) * 7 + 7 + (3 + 2) * 7 + 5 * 7 + 5 * 3
    assert tgmm.extra(model) == held
    assert tgmm.parameters(model) == held + 2 * (12 * 49 + 13 * 7)
