"""Networks of ReLU units of one variable, and what they compute, as rationals."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch

from constructions.piecewise_linear import Unit
from constructions.relu_networks import (
    ReluNetwork,
    inverse_sqrt_network,
    log_network,
    square_network,
)

W, B, A = np.random.default_rng(23).standard_normal((3, 5))
NETWORKS = {
    "log left": log_network(-2.0, 3.0, 13, "left"),
    "log right": log_network(-2.0, 3.0, 17, "right"),
    "inverse sqrt": inverse_sqrt_network(-3.0, 2.0, 11),
    "random": ReluNetwork(W, -np.abs(B) * np.sign(W), A),
    "square": square_network(5.0, 7),
    "random both": ReluNetwork(W, B, A),
}
SEARCHED = ("square", "random both")  # breakpoints of both signs
DTYPES = [torch.float64, torch.float32, torch.bfloat16]
Units = list[tuple[float, float, float]]

each_network = pytest.mark.parametrize("name", NETWORKS)
each_sign = pytest.mark.parametrize("sign", [1, -1])
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def units_of(network: ReluNetwork, sign: int = 1, dtype: torch.dtype = torch.float64) -> Units:
    """The units in floats of a format, of f(x) or of f(−x)."""
    w, b, a = (torch.from_numpy(part).to(dtype).tolist() for part in (sign * network.w, network.b, network.a))
    return list(zip(w, b, a, strict=True))


def fractions(units: Iterable[Unit]) -> list[tuple[Fraction, Fraction, Fraction]]:
    return [(Fraction(w), Fraction(b), Fraction(a)) for w, b, a in units]


def exact(units: Iterable[Unit], x: Fraction) -> Fraction:
    """Σ a·relu(w·x + b)."""
    return sum((a * max(w * x + b, Fraction(0)) for w, b, a in fractions(units)), Fraction(0))


def size(units: Iterable[Unit], x: Fraction) -> Fraction:
    """Σ |a|(|w·x| + |b|)."""
    return sum((abs(a) * (abs(w * x) + abs(b)) for w, b, a in fractions(units)), Fraction(0))


def around(points: Sequence[Fraction]) -> list[Fraction]:
    """Points, between them, to either side of all of them, and 0."""
    between = [(low + high) / 2 for low, high in pairwise(points)]
    return [Fraction(0), *points, *between, *(edge + side for edge in points[:1] + points[-1:] for side in (-1, 1))]
