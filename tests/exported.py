"""An export read back and evaluated from its files alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file


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


def foreign(folder: Path, **claim: object) -> None:
    """One softmax head without scores: every token gets the mean of the tokens. Ten lines, no project of ours."""
    zeros, one = np.zeros((1, 2)), np.eye(2)
    names = ("query", "key", "value", "output")
    tensors = {f"layers.0.attention.0.{n}": m for n, m in zip(names, (zeros, zeros, one, one), strict=True)}
    construction = {"format": 1, "schedule": [0, 0], "activation": ["softmax"]}
    save_file(tensors, folder / "transformer.safetensors", metadata={"construction": json.dumps(construction)})
    np.save(folder / "input.npy", np.array([[1.0, 2], [4, 0], [1, 1]]))
    entry = {"name": "h + mean + 2 mean", "tokens": [1], "reference": [[10, 3]], "bound": 1e-12} | claim
    (folder / "claims.json").write_text(json.dumps({"format": 1, "claims": [entry]}))
