"""A Transformer in one safetensors file: its matrices by name, its schedule and layout as one JSON string."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from constructions.errors import InputError
from constructions.residual_stream import ResidualStream
from constructions.transformer import AttentionHead, AttentionLayer, MlpLayer, Transformer, TransformerLayer

FORMAT = 1
_MATRICES = ("query", "key", "value", "output")


def serialise(transformer: Transformer, description: dict[str, Any]) -> bytes:
    """The file's bytes: a function of the weights and of `description` alone.

    Tensors `layers.{l}.attention.{m}.query` (r×D), `.key` (r×D), `.value` (s×D), `.output` (D×s),
    `layers.{l}.mlp.w1` (D′×D), `.w2` (D×D′); stored layers and heads count from 0. Formats narrower than
    float32 are stored as float32. One metadata entry `construction`, JSON: `format`, `schedule`, `activation`
    (one per stored layer), `layout` and whatever else `description` holds.
    """
    tensors: dict[str, torch.Tensor] = {}
    activations = []
    for number, layer in enumerate(transformer.stored_layers):
        activations.append(layer.attention.activation if layer.attention is not None else "softmax")
        for index, head in enumerate(layer.attention.stored_heads if layer.attention is not None else ()):
            for name in _MATRICES:
                tensors[f"layers.{number}.attention.{index}.{name}"] = getattr(head, name)
        if layer.mlp is not None:
            tensors[f"layers.{number}.mlp.w1"] = layer.mlp.w1
            tensors[f"layers.{number}.mlp.w2"] = layer.mlp.w2
    stored = torch.float64 if transformer.dtype == torch.float64 else torch.float32
    tensors = {name: tensor.detach().to(stored).contiguous() for name, tensor in tensors.items()}
    construction = {
        "format": FORMAT,
        "schedule": list(transformer.schedule),
        "activation": activations,
        **description,
    }
    return save(tensors, metadata={"construction": json.dumps(construction)})


def load(path: Path) -> tuple[Transformer, dict[str, Any]]:
    """The Transformer in a file and its `construction` entry.

    Raises
    ------
    InputError
        If the file is missing, damaged, of another format, or lacks a tensor.
    """
    if not path.is_file():
        raise InputError(f"there is no file {str(path)!r}")
    try:
        with safe_open(path, framework="pt") as file:
            construction = json.loads((file.metadata() or {})["construction"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        if construction["format"] != FORMAT:
            raise InputError(f"{str(path)!r} has format {construction['format']}; this version reads {FORMAT}")
        if "layout" in construction:
            ResidualStream.from_layout({name: (start, stop) for name, (start, stop) in construction["layout"].items()})
        layers = [_layer(tensors, number, a) for number, a in enumerate(construction["activation"])]
        return Transformer(layers, construction["schedule"]), construction
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise InputError(f"{str(path)!r} is not a transformer file: {error}") from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{str(path)!r} holds no consistent transformer: {error}") from error


def _layer(tensors: dict[str, torch.Tensor], number: int, activation: Any) -> TransformerLayer:
    prefix = f"layers.{number}."
    heads: list[AttentionHead] = []
    while any(name.startswith(f"{prefix}attention.{len(heads)}.") for name in tensors):
        heads.append(AttentionHead(*(tensors[f"{prefix}attention.{len(heads)}.{name}"] for name in _MATRICES)))
    mlp = None
    if any(name.startswith(f"{prefix}mlp.") for name in tensors):
        mlp = MlpLayer(tensors[prefix + "mlp.w1"], tensors[prefix + "mlp.w2"])
    return TransformerLayer(AttentionLayer(heads, activation) if heads else None, mlp)
