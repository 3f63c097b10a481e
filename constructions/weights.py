"""The matrices of Definitions 4-8 as plain arrays, in any number system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Activation = Literal["softmax", "relu"]
Array = NDArray[Any]


@dataclass(frozen=True)
class HeadWeights:
    """One attention head: query and key (r×D), value (s×D), output (D×s); V_m = output·value."""

    query: Array
    key: Array
    value: Array
    output: Array


@dataclass(frozen=True)
class LayerWeights:
    """Attention with its heads (there may be none), then an MLP h + w2·relu(w1·h) (there may be none)."""

    heads: tuple[HeadWeights, ...]
    activation: Activation
    w1: Array | None
    w2: Array | None


@dataclass(frozen=True)
class TransformerWeights:
    """Stored layers, and the order in which they run: tied layers are stored once and scheduled often."""

    layers: tuple[LayerWeights, ...]
    schedule: tuple[int, ...]

    @property
    def width(self) -> int:
        """D, read off the first matrix there is."""
        for layer in self.layers:
            if layer.heads:
                return int(layer.heads[0].query.shape[1])
            if layer.w1 is not None:
                return int(np.shape(layer.w1)[1])
        raise ValueError("a transformer without heads and without MLPs has no width")
