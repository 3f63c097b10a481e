"""Theorem G.8's word "exactly": the same matrices in rational arithmetic, compared with the proof layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped

from constructions import evaluation
from constructions.number_system import NumberSystem, Rationals
from constructions.tensor_power_transformer import TensorPowerTransformer, encode, read_out
from constructions.weights import Array


@dataclass(frozen=True)
class LayerReport:
    """The residual stream after a layer beside what the proof says it is, in some number system."""

    layer: int
    stream: Shaped[np.ndarray, "N D"]
    expected: Shaped[np.ndarray, "N D"]
    vector: Shaped[np.ndarray, " d"]  # read out
    reference: Shaped[np.ndarray, " d"]

    @property
    def equal(self) -> bool:
        """Every coordinate of every token is the same; for symbols, written the same."""
        return bool(np.all(self.stream == self.expected))


def compare_layers(
    model: TensorPowerTransformer, tensor: Array, start: Array, numbers: NumberSystem | None = None
) -> Iterator[LayerReport]:
    """Every layer of Theorem G.8's form (or Remark G.1's) against its proof, from entries of a number system.

    After t steps the stream is encode(T, v_t), v_{t+1} = T(I, v_t, v_t); an odd layer adds v_m to `scalar` of token m.
    The matrices are those that the torch modules hold.
    """
    numbers = Rationals() if numbers is None else numbers
    weights = evaluation.exact_weights(model.transformer, numbers)
    dim, d0, where = len(tensor), model.max_dim, model.stream["scalar"].start
    vector = start
    for layer, stream in enumerate(evaluation.trace(weights, encode(model, tensor, start, numbers), numbers), start=1):
        if layer % 2 == 0:
            vector = tensor @ vector @ vector  # over m, then over j
        expected = encode(model, tensor, vector, numbers)
        if layer % 2:
            padded = numbers.zeros((d0,))
            padded[:dim] = vector
            expected[:, where] = padded
        yield LayerReport(layer, stream, expected, read_out(model, stream, dim), vector)
