"""A transformer written and read back, byte for byte; damaged files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from constructions.errors import InputError
from constructions.transformer import AttentionHead, AttentionLayer, MlpLayer, Transformer, TransformerLayer
from constructions.weights_file import load, serialise

DESCRIPTION = {"name": "test", "layout": {"x": [0, 4], "one": [4, 5]}, "class": {"radius": 0.1, "dim": 3}}


def random_transformer(rng: np.random.Generator, dtype: torch.dtype = torch.float64) -> Transformer:
    def matrix(*shape: int) -> torch.Tensor:
        return torch.tensor(rng.standard_normal(shape)).to(dtype)

    def head(r: int, s: int) -> AttentionHead:
        return AttentionHead(matrix(r, 5), matrix(r, 5), matrix(s, 5), matrix(5, s))

    layers = [
        TransformerLayer(AttentionLayer([head(2, 3), head(7, 2)], "relu"), MlpLayer(matrix(11, 5), matrix(5, 11))),
        TransformerLayer(AttentionLayer([head(3, 2)], "softmax"), None),
        TransformerLayer(None, MlpLayer(matrix(13, 5), matrix(5, 13))),
    ]
    return Transformer(layers, [1, 0, 2, 0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_every_bit_comes_back(dtype, rng, tmp_path):
    """Formats narrower than float32 are stored as float32, which holds them exactly."""
    transformer, path = random_transformer(rng, dtype), tmp_path / "t.safetensors"
    path.write_bytes(serialise(transformer, DESCRIPTION))
    again, construction = load(path)
    assert again.dtype == (torch.float32 if dtype == torch.bfloat16 else dtype)
    assert again.schedule == (1, 0, 2, 0)
    before, after = transformer.state_dict(), again.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name].to(again.dtype), after[name]) for name in before)
    assert [layer.attention and layer.attention.activation for layer in again.stored_layers] == [
        "relu",
        "softmax",
        None,
    ]
    assert {name: construction[name] for name in DESCRIPTION} == DESCRIPTION
    tokens = torch.tensor(rng.standard_normal((7, 5))).to(again.dtype)
    assert torch.equal(again(tokens), transformer.to(again.dtype)(tokens))


def test_the_file_as_documented(rng, tmp_path):
    path = tmp_path / "t.safetensors"
    path.write_bytes(serialise(random_transformer(rng), DESCRIPTION))
    heads = {f"layers.{place}.{part}" for place in ("0.attention.0", "0.attention.1", "1.attention.0")
             for part in ("query", "key", "value", "output")}  # fmt: skip
    mlps = {f"layers.{layer}.mlp.{part}" for layer in (0, 2) for part in ("w1", "w2")}
    with safe_open(path, framework="np") as file:
        assert set(file.keys()) == heads | mlps
        assert file.get_tensor("layers.0.attention.1.output").shape == (5, 2)
        assert file.get_tensor("layers.2.mlp.w1").shape == (13, 5)
        assert list(file.metadata()) == ["construction"]  # with two entries the bytes would not be deterministic
        construction = json.loads(file.metadata()["construction"])
    assert construction["format"] == 1
    assert construction["schedule"] == [1, 0, 2, 0]
    assert construction["activation"] == ["relu", "softmax", "softmax"]


def test_the_description_keeps_its_order(rng, tmp_path):
    """The layout is read in the order of the coordinates; equal descriptions give equal bytes."""
    transformer = random_transformer(rng)
    reordered = {name: DESCRIPTION[name] for name in reversed(DESCRIPTION)}
    path = tmp_path / "t.safetensors"
    path.write_bytes(serialise(transformer, reordered))
    kept = [name for name in load(path)[1] if name in reordered]
    assert kept == list(reordered) != list(DESCRIPTION)
    assert serialise(transformer, dict(DESCRIPTION)) == serialise(transformer, DESCRIPTION)
    assert serialise(transformer, DESCRIPTION | {"name": "other"}) != serialise(transformer, DESCRIPTION)


def rewrite(path: Path, construction: dict | str | None = None, drop: str = "", **tensors: torch.Tensor) -> None:
    """Change one thing in a good file."""
    with safe_open(path, framework="pt") as file:
        entry = json.loads(file.metadata()["construction"])
    stored = {name: tensor for name, tensor in load_file(path).items() if name != drop} | tensors
    if isinstance(construction, dict):
        construction = json.dumps({name: value for name, value in (entry | construction).items() if value is not None})
    save_file(stored, path, {"construction": json.dumps(entry) if construction is None else construction})


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"construction": {"format": 2}}, "has format 2; this version reads 1"),
        ({"construction": {"format": None}}, 'has no field "format"'),
        ({"construction": {"schedule": None}}, 'has no field "schedule"'),
        ({"construction": {"schedule": [0, 3]}}, r"has schedule\[1\] 3; 'activation' names the layers 0 to 2"),
        ({"construction": {"activation": ["softmax", "softmax", "tanh"]}}, r'has activation\[2\] "tanh"'),
        ({"construction": "{"}, "is no JSON from line 1, column 2 on"),
        ({"construction": "[1]"}, r"is \[1\]; an object is needed"),
        ({"drop": "layers.0.attention.1.key"}, "lacks the tensor 'layers.0.attention.1.key'"),
        ({"drop": "layers.2.mlp.w2"}, "lacks the tensor 'layers.2.mlp.w2'"),
        (
            {"layers.2.mlp.w2": torch.zeros(5, 12)},
            r"\(13, 5\) and .*w2 of shape \(5, 12\); they must be of one rank",
        ),
        ({"layers.0.attention.0.key": torch.zeros(2, 6)}, "they must read and write tokens of one width"),
    ],
)
def test_damaged_files_are_refused(changes, fault, rng, tmp_path):
    path = tmp_path / "t.safetensors"
    path.write_bytes(serialise(random_transformer(rng), DESCRIPTION))
    load(path)
    rewrite(path, **changes)
    with pytest.raises(InputError, match=fault) as caught:
        load(path)
    assert "t.safetensors" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_other_files_are_refused(content, tmp_path):
    path = tmp_path / "t.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"t\.safetensors"):
        load(path)


def test_a_truncated_file_is_refused(rng, tmp_path):
    path = tmp_path / "t.safetensors"
    path.write_bytes(serialise(random_transformer(rng), DESCRIPTION)[:-8])
    with pytest.raises(InputError, match="bytes of tensors, but its header tells of"):
        load(path)


def test_a_file_without_the_entry_is_refused(tmp_path):
    save_file({"layers.0.mlp.w1": torch.zeros(3, 5)}, tmp_path / "t.safetensors")
    with pytest.raises(InputError, match="'construction'"):
        load(tmp_path / "t.safetensors")
