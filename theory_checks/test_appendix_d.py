"""Appendix D: how many parameters the TGMM architecture spends outside its backbone, and what sharing it saves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

import numpy as np
import sympy
import torch
from torch import nn

from tgmm.backbones import Encoder
from tgmm.model import Tgmm, extra, parameters
from theory_checks import appendix_d
from theory_checks.ledger import Verdict, compare, require, statement

Build = Callable[[int, Sequence[int], int, int, int], Tgmm]


def build(dim: int, tasks: Sequence[int], embedding: int, width: int, layers: int) -> Tgmm:
    """The architecture without memory for its numbers: only shapes are counted."""
    with torch.device("meta"):
        return Tgmm(dim, tasks, embedding, width, Encoder(layers, 1, width))


def square_keys(dim: int, tasks: Sequence[int], embedding: int, width: int, layers: int) -> Tgmm:
    """Another reading: keys of the read-outs are D×D."""
    with torch.device("meta"):
        return Tgmm(dim, tasks, embedding, width, Encoder(layers, 1, width), inner=width)


def shared_read_out(dim: int, tasks: Sequence[int], embedding: int, width: int, layers: int) -> Tgmm:
    """Broken: one read-out serves all tasks."""
    model = build(dim, tasks, embedding, width, layers)
    model.read_outs = nn.ModuleList([model.read_outs[0]] * len(tasks))
    return model


def added_embedding(dim: int, tasks: Sequence[int], embedding: int, width: int, layers: int) -> Tgmm:
    """Broken: the embedding is added to the hidden state and not concatenated to the samples."""
    model = build(dim, tasks, embedding, width, layers)
    with torch.device("meta"):
        model.read_in = nn.Linear(dim, width)
        model.embedding = nn.Parameter(torch.zeros(len(tasks), width))
    return model


def own_backbones(dim: int, tasks: Sequence[int], embedding: int, width: int, layers: int) -> Tgmm:
    """Broken: a backbone for every task."""
    return build(dim, tasks, embedding, width, layers * len(tasks))


@statement(
    "appendix-d-counts",
    source="Appendix D, parameters of embedding, ReadIn, ReadOut and backbone",
    text="recovered",
    evidence="exact",
    paper=("Appendix D",),
)
def appendix_d_counts(rng: np.random.Generator, *, build: Build = build) -> Iterator[Verdict]:
    """s·e + (d+e+1)D + Σ_k [(2D + K_k)(d + K_k)] outside a backbone of L(12D² + 13D): the numbers that modules hold.

    Counted in four architectures. The read-out's shapes are a reading (values and keys (K+d)×D, queries (K+d)×K): the
    paper's are lost in our copy.
    """
    for dim, tasks, embedding, width, layers in (
        (2, (2, 3, 5, 7), 11, 13, 1),
        (3, (5,), 2, 17, 3),
        (7, (2, 3), 0, 19, 2),
        (31, (2, 3, 5, 7, 11, 13), 127, 131, 5),
    ):
        model = build(dim, tasks, embedding, width, layers)
        name = f"d={dim} K={tasks} e={embedding} D={width} L={layers}"
        count = model.embedding.numel()
        yield require(count == appendix_d.embedding_count(len(tasks), embedding), f"{name}: embedding {count}")
        count = parameters(model.read_in)
        yield require(count == appendix_d.read_in_count(dim, embedding, width), f"{name}: ReadIn {count}")
        count = parameters(model.read_outs)
        wanted = sum(appendix_d.read_out_count(dim, k, width, k + dim) for k in tasks)
        yield require(count == wanted, f"{name}: ReadOut {count}")
        count = parameters(model.backbone)
        yield require(count == appendix_d.backbone_count(layers, width), f"{name}: backbone {count}")


appendix_d_counts.control("one read-out for all tasks", build=shared_read_out)
appendix_d_counts.control("the embedding added", build=added_embedding)
appendix_d_counts.control("keys of shape D x D", build=square_keys)
test_appendix_d_counts, test_appendix_d_counts_controls = appendix_d_counts.tests()

Constant = Callable[[Fraction, Fraction], Fraction]


def overhead(embedding: Fraction, components: Fraction) -> Fraction:
    """C = 2 + 2α + (1 + κ)(2 + κ) for e ≤ αd and K ≤ κd."""
    return 2 + 2 * embedding + (1 + components) * (2 + components)


@statement(
    "appendix-d-saving",
    source="Appendix D, O(sdD) extra parameters and a saving of about s",
    text="recovered",
    evidence="exact",
    depends_on=("appendix-d-counts",),
    paper=("Appendix D",),
)
def appendix_d_saving(
    rng: np.random.Generator, *, build: Build = build, constant: Constant = overhead
) -> Iterator[Verdict]:
    """For d ≤ D, e ≤ αd, K ≤ κd: extra ≤ C s d D with C = 2 + 2α + (1+κ)(2+κ), so x = extra/backbone ≤ C s d/(12 L D),
    and s models of one task each are between s/(1+x) and s times as large as the shared one.

    The first is proved for all sizes: C s d D − extra has no negative coefficient in α, κ, s−1, d−1, D−d ≥ 0. All three
    are counted in 18 architectures.
    """
    a, k, s, d, w = sympy.symbols("alpha kappa s d w", nonnegative=True)
    tasks, dim, width = 1 + s, 1 + d, 1 + d + w
    read_out = appendix_d.read_out_count(dim, k * dim, width, (1 + k) * dim)
    outside = tasks * a * dim + (dim + a * dim) * width + width + tasks * read_out
    gap = sympy.Poly(sympy.expand(constant(a, k) * tasks * dim * width - outside), a, k, s, d, w)
    yield require(min(gap.coeffs()) >= 0, f"extra <= C s d D, least coefficient {min(gap.coeffs())}")
    for dim_, ks, e, least in ((2, (2, 3, 5), 4, 2), (8, (2, 3, 4, 5), 16, 8), (32, (2, 3, 5, 7, 11), 32, 32)):
        for layers in (1, 3):
            for width_ in (least, 128, 65536):
                model = build(dim_, ks, e, width_, layers)
                outside_, backbone, count = extra(model), parameters(model.backbone), len(ks)
                name = f"d={dim_} K={ks} e={e} D={width_} L={layers}"
                c = constant(Fraction(e, dim_), Fraction(max(ks), dim_))
                yield compare(outside_, float(c * count * dim_ * width_), f"{name}: extra")
                share = Fraction(outside_, backbone)
                limit = c * count * dim_ / (12 * layers * width_)
                yield require(share <= limit, f"{name}: extra/backbone {float(share):.3g}")
                alone = sum(parameters(build(dim_, (k_,), 0, width_, layers)) for k_ in ks)
                saving = Fraction(alone, outside_ + backbone)
                yield require(count / (1 + share) <= saving <= count, f"{name}: {float(saving):.4g} of {count}")


appendix_d_saving.control("keys of shape D x D", build=square_keys)
appendix_d_saving.control("C without the read-outs' queries", constant=lambda a, k: 2 + 2 * a + (1 + k) * 2)
appendix_d_saving.control("a backbone for every task", build=own_backbones)
test_appendix_d_saving, test_appendix_d_saving_controls = appendix_d_saving.tests()
