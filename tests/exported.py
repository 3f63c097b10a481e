"""An export read back and evaluated from its files alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open


@dataclass(frozen=True)
class Export:
    """The four files of an export."""

    tensors: dict[str, np.ndarray]
    construction: dict
    input: np.ndarray
    output: np.ndarray
    result: dict

    @classmethod
    def read(cls, path: Path) -> Export:
        with safe_open(path / "transformer.safetensors", framework="np") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            construction = json.loads(file.metadata()["construction"])
        result = json.loads((path / "result.json").read_text(), parse_constant=pytest.fail)
        return cls(tensors, construction, np.load(path / "input.npy"), np.load(path / "output.npy"), result)

    def part(self, tokens: np.ndarray, name: str) -> np.ndarray:
        start, stop = self.construction["layout"][name]
        return tokens[:, start:stop]

    def evaluate(self) -> np.ndarray:
        """Definitions 4-8 in numpy, in the format of the stored weights; ReLU attention divides by N."""
        h, t = self.input, self.tensors
        for layer in self.construction["schedule"]:
            update = np.zeros_like(h)
            for head in count():
                name = f"layers.{layer}.attention.{head}."
                if name + "query" not in t:
                    break
                scores = (h @ t[name + "query"].T) @ (h @ t[name + "key"].T).T
                if self.construction["activation"][layer] == "relu":
                    pooling = np.maximum(scores, 0) / len(h)
                else:
                    pooling = np.exp(scores - scores.max(axis=1, keepdims=True))
                    pooling /= pooling.sum(axis=1, keepdims=True)
                update += pooling @ (h @ t[name + "value"].T) @ t[name + "output"].T
            h = h + update
            if f"layers.{layer}.mlp.w1" in t:
                h = h + np.maximum(h @ t[f"layers.{layer}.mlp.w1"].T, 0) @ t[f"layers.{layer}.mlp.w2"].T
        return h
