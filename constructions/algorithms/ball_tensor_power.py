"""Tensor power steps in real balls: enclosures of what algorithms/tensor_power.py computes in floats."""

from __future__ import annotations

import numpy as np
from jaxtyping import Shaped

from constructions.balls import matrix, product
from constructions.weights import Array


def contract(tensor: Shaped[np.ndarray, "d d d"], left: Array, right: Array) -> Array:
    """T(I, x, y) = Σ_{j,m} x_j y_m T[:, j, m]; a power step is x = y = v."""
    dim = len(tensor)
    pairs = (left[:, None] * right[None, :]).reshape(dim * dim, 1)
    return product(matrix(tensor.reshape(dim, dim * dim)), matrix(pairs))[:, 0]
