"""The learning objective against its definition: the least over all matchings, or the order of the weights."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from tgmm.loss import loss
from tgmm.model import Estimate

B, K, D = 7, 4, 3


@pytest.fixture
def drawn() -> tuple[Estimate, Tensor, Tensor, Tensor]:
    torch.manual_seed(3)
    logits, weights = torch.randn(B, K, dtype=torch.float64), torch.rand(B, K, dtype=torch.float64) + 0.3
    means, scales = torch.randn(2, B, K, D, dtype=torch.float64), torch.rand(2, B, K, D, dtype=torch.float64) + 0.2
    estimate = Estimate(logits.log_softmax(dim=1), means[0], scales[0])
    return estimate, weights / weights.sum(dim=1, keepdim=True), means[1], scales[1]


def direct(estimate: Estimate, truth: tuple[Tensor, Tensor, Tensor], task: int, order: tuple[int, ...]) -> np.ndarray:
    """The three parts for one task whose j-th estimate is matched with the component order[j], in plain loops."""
    parts = np.zeros(3)
    weights, means, scales = (part[task] for part in truth)
    for j, k in enumerate(order):
        parts[0] += ((estimate.means[task, j] - means[k]) ** 2).sum().item() / (D * K)
        parts[1] -= weights[k].item() * estimate.log_weights[task, j].item()
        if estimate.scales is not None:
            parts[2] += ((estimate.scales[task, j] - scales[k]) ** 2).sum().item() / (D * K)
    return parts


@pytest.mark.parametrize("scaled", [True, False])
def test_assignment_is_the_least_over_all_matchings(
    drawn: tuple[Estimate, Tensor, Tensor, Tensor], scaled: bool
) -> None:
    estimate, weights, means, scales = drawn
    estimate = estimate if scaled else Estimate(estimate.log_weights, estimate.means, None)
    found = loss(estimate, weights, means, scales, "assignment")
    moved = 0
    for b in range(B):
        every = {order: direct(estimate, (weights, means, scales), b, order) for order in permutations(range(K))}
        best = min(every, key=lambda order: every[order].sum())
        moved += best != tuple(np.argsort(weights[b].numpy()))
        got = [found.means[b].item(), found.weights[b].item(), found.scales[b].item()]
        assert got == pytest.approx(every[best].tolist(), rel=1e-12, abs=0)
        assert found.total[b].item() == pytest.approx(every[best].sum(), rel=1e-12, abs=0)
    assert moved > 0  # else the other matching would pass as well


def test_sorted_matches_in_the_order_of_the_weights(drawn: tuple[Estimate, Tensor, Tensor, Tensor]) -> None:
    estimate, weights, means, scales = drawn
    found = loss(estimate, weights, means, scales, "sorted")
    for b in range(B):
        lightest_first = tuple(int(k) for k in np.argsort(weights[b].numpy()))
        parts = direct(estimate, (weights, means, scales), b, lightest_first)
        got = [found.means[b].item(), found.weights[b].item(), found.scales[b].item()]
        assert got == pytest.approx(parts.tolist(), rel=1e-12, abs=0)


def test_assignment_does_not_depend_on_the_order_of_the_truth(drawn: tuple[Estimate, Tensor, Tensor, Tensor]) -> None:
    estimate, weights, means, scales = drawn
    order = torch.tensor([2, 0, 3, 1])
    one = loss(estimate, weights, means, scales, "assignment").total
    other = loss(estimate, weights[:, order], means[:, order], scales[:, order], "assignment").total
    torch.testing.assert_close(one, other, rtol=1e-12, atol=0)


def test_gradients_are_those_of_the_matched_parts(drawn: tuple[Estimate, Tensor, Tensor, Tensor]) -> None:
    """The matching is constant near a point where it is unique: gradients against central differences."""
    estimate, weights, means, scales = drawn
    logits = estimate.log_weights.clone().requires_grad_()

    def total(logits: Tensor, located: Tensor) -> Tensor:
        built = Estimate(logits.log_softmax(dim=1), located, estimate.scales)
        return loss(built, weights, means, scales, "assignment").total.sum()

    located = estimate.means.clone().requires_grad_()
    assert torch.autograd.gradcheck(total, (logits, located))


def test_loss_of_a_diverged_estimate_is_not_finite_and_does_not_crash(
    drawn: tuple[Estimate, Tensor, Tensor, Tensor],
) -> None:
    estimate, weights, means, scales = drawn
    broken = estimate.means.clone()
    broken[2, 1, 0] = torch.nan
    found = loss(Estimate(estimate.log_weights, broken, estimate.scales), weights, means, scales, "assignment")
    assert found.total.isfinite().tolist() == [b != 2 for b in range(B)]
