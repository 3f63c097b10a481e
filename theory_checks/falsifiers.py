"""All attacks; here those on softmaxes, tails and weight bounds, which involve no transformer's data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from math import log

import numpy as np
import torch
from torch import Tensor

from constructions import bounds
from theory_checks import test_lemma_f6, test_softmax, test_theorem_f1
from theory_checks.em_falsifiers import EM_ATTACKS
from theory_checks.falsify import Attack, Tensors
from theory_checks.ledger import Verdict
from theory_checks.tensor_falsifiers import TENSOR_ATTACKS

Verdicts = Iterable[Verdict]


def softmax(
    bound: str, judge: Callable[..., Verdicts], ratio: Callable[..., Tensor], logit: float, move: float
) -> Attack:
    """Two vectors of logits that differ by `move`."""
    known = {"u": np.zeros(2), "move": np.array([1e-6, -1e-6])}
    if bound == "lemma-f7":
        known = {"u": np.array([-logit, logit]), "move": np.array([move, -move])}
    lowered = {"lemma-f7": bounds.log_ratio, "corollary-f1": bounds.softmax_difference}[bound]
    return Attack(
        bound,
        "all logits",
        {"u": (-logit, logit), "move": (-move, move)},
        [{"u": (n,), "move": (n,)} for n in (2, 3, 5)],
        lambda found, factor: judge(test_softmax.the_worst(found), lambda change: factor * lowered(change)),
        lambda raw: {"u": raw["u"], "v": raw["u"] + raw["move"]},
        lambda found: ratio(found["u"], found["v"]),
        [known],
    )


def f7_ratio(u: Tensor, v: Tensor) -> Tensor:
    """Lemma F.7."""
    return (u.log_softmax(0) - v.log_softmax(0)).abs().max() / (2 * (u - v).abs().max().clamp_min(1e-6))


def f1_ratio(u: Tensor, v: Tensor) -> Tensor:
    """Corollary F.1, with a move of at least 1e-6 so that the quotient keeps its digits."""
    allowed = torch.expm1(2 * (u - v).abs().max().clamp_min(1e-6))
    return torch.where(allowed < 1, (u.softmax(0) - v.softmax(0)).abs().max() / allowed, 0.0)


def tail(row: str, bound: test_lemma_f6.Tail, least_dim: int, farthest: float) -> Attack:
    """Dimensions up to 1e8 and t from 1e-5 on, by their logarithms; balls alone reach these tails."""
    return Attack(
        row,
        "all d and t",
        {"log_d": (log(least_dim), log(1e8)), "log_t": (log(1e-5), log(farthest))},
        [{"log_d": (1,), "log_t": (1,)}],
        lambda found, factor: test_lemma_f6.tail(
            float(found["d"][0]), float(found["t"][0]), lambda d, t: factor * bound(d, t), least_dim
        ),
        lambda raw: {"d": raw["log_d"].exp().round(), "t": raw["log_t"].exp()},
    )


def floor_weights() -> Attack:
    """Classes and tolerances, within sizes that are quickly built."""

    def decode(raw: Tensors) -> dict[str, Tensor]:
        dim, components = raw["sizes"].round()
        radius, share, accuracy = raw["logs"].exp()
        least, tolerance = share.clamp(max=0.5), accuracy.clamp(max=1.9) * radius
        return {"class": torch.stack([dim, components, radius, least, tolerance])}

    return Attack(
        "floor-weights",
        "d0, K0, B, pi_min, eps: d0, K0 <= 5, B <= 10",
        {"sizes": (1.0, 5.0), "logs": (log(1e-3), log(10.0))},
        [{"sizes": (2,), "logs": (3,)}],
        lambda found, factor: test_theorem_f1.below_limit(
            *test_theorem_f1.worst_class(found), test_theorem_f1.log_a_of_floor, factor
        ),
        decode,
        effort=0.3,
    )


ATTACKS: dict[str, Callable[[], Attack]] = {
    **EM_ATTACKS,
    "lemma-f7": partial(softmax, "lemma-f7", test_softmax.log_ratios, f7_ratio, 300.0, 1.0),
    "corollary-f1": partial(softmax, "corollary-f1", test_softmax.differences, f1_ratio, 1.0, 0.3),
    "lemma-f6": partial(tail, "lemma-f6", bounds.norm_tail, 1, 10.0),
    "lemma-f6-sharp": partial(tail, "lemma-f6-sharp", bounds.norm_tail_sharp, 1, 10.0),
    "lemma-f6-prefactor": partial(tail, "lemma-f6-prefactor", bounds.norm_tail_prefactor, 2, 10.0),
    "floor-weights": floor_weights,
    **TENSOR_ATTACKS,
}
SKIPPED = {
    "p1": "two-point distributions attain it, symbolically",
    "p2": "mass added where there was none attains it, symbolically",
    "corollary-f1-sharp": "two-point distributions attain it, symbolically",
    "lemma-f4": "its maximum over x is a closed form",
    "lemma-f5": "its maximum over x is a closed form",
    "remark-f6": "its maximum over x is a closed form",
    "inverse-sqrt": "its maximum over x is a closed form",
}
