"""A small matrix as the first factor of a product."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

LEAST_COLUMNS = 2**10
"""Columns of the second factor from which the first is worth looking at."""


class Factor:
    """A (…, r, m), to be multiplied as Aᵀ·B; where A only chooses rows of B, they are copied or left where they are.

    `columns` is how many B's there are to be multiplied with have together.
    """

    def __init__(self, matrix: Float[Tensor, "*batch r m"], columns: int) -> None:
        self.transposed = matrix.mT
        self.rows = chosen_rows(matrix) if columns >= LEAST_COLUMNS and matrix.numel() else None

    def __call__(self, other: Float[Tensor, "*batch r n"]) -> Float[Tensor, "*batch m n"]:
        """The product; it may be `other` itself."""
        if self.rows is None:
            return self.transposed @ other
        return other if isinstance(self.rows, slice) else other.index_select(-2, self.rows)


def chosen_rows(matrix: Float[Tensor, "*batch r m"]) -> slice | Tensor | None:
    """Where the only entry of every column is, if it is 1 and the same in the whole batch; a slice: all in order."""
    held = matrix.double().numpy()
    held = held.reshape(-1, *held.shape[-2:])
    first = held[0]
    rows, columns = first.argmax(axis=0), np.arange(first.shape[1])
    if np.count_nonzero(first) != len(columns) or not (first[rows, columns] == 1).all() or (held != first).any():
        return None
    if len(rows) == len(first) and (rows == columns).all():
        return slice(None)
    return torch.from_numpy(rows)
