"""How many parameters each part of a TGMM has (appendix D; recovered, its counts are lost in our copy)."""

from __future__ import annotations


def embedding_count(tasks: int, embedding: int) -> int:
    """s·e: one vector for every task."""
    return tasks * embedding


def read_in_count(dim: int, embedding: int, width: int) -> int:
    """(d + e)·D + D: a linear layer with its bias."""
    return (dim + embedding) * width + width


def read_out_count(dim: int, components: int, width: int, inner: int) -> int:
    """(K + d)·D values, q·D keys and q·K queries, where q = `inner` is the dimension of the scores."""
    return (components + dim) * width + inner * width + inner * components


def backbone_count(layers: int, width: int) -> int:
    """L·(12 D² + 13 D): attention 4D² + 4D, an MLP of width 4D with 8D² + 5D, two normalisations with 4D."""
    return layers * (12 * width**2 + 13 * width)
