"""A Transformer in one safetensors file: its matrices by name, its schedule and layout as one JSON string."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from constructions import strict_json, tensor_header
from constructions.exact_arrays import exact
from constructions.residual_stream import ResidualStream
from constructions.sample_files import first_line
from constructions.strict_json import refuse, short
from constructions.tensor_header import Header
from constructions.transformer import AttentionHead, AttentionLayer, MlpLayer, Transformer, TransformerLayer
from constructions.weights import Activation

FORMAT = 1
MOST_LAYERS = 10_000
"""Stored, and scheduled."""
_NUMBER = "(0|[1-9][0-9]{0,5})"
_TENSOR = re.compile(rf"layers\.{_NUMBER}\.(?:attention\.{_NUMBER}\.(?:query|key|value|output)|mlp\.(?:w1|w2))")
_MATRICES = ("query", "key", "value", "output")
_PARTNER = {"query": "key", "key": "query", "value": "output", "output": "value", "w1": "w2", "w2": "w1"}
"""Whose inner dimension a matrix shares."""


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

    In float32 if all tensors are, else in float64, which must hold their numbers unchanged.

    Raises
    ------
    InputError
        If the file is missing, damaged, of another format, lacks a tensor or holds one too many, a tensor has another
        shape or numbers that are not finite or no float64, or an entry says what cannot be.
    """
    told = repr(str(path))
    header = tensor_header.read(path)
    if "construction" not in header.metadata:
        refuse(told, "has no entry 'construction' in its '__metadata__'")
    entry = f"the entry 'construction' of {told}"
    construction = strict_json.parse(header.metadata["construction"], entry)
    activation, schedule = _layers(construction, entry)
    heads = _heads(header, len(activation), told)
    width = _width(header, told)
    if "layout" in construction:
        _require_layout(construction["layout"], width, entry)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in header.tensors}
    except SafetensorError as error:
        refuse(told, f"is damaged: {first_line(error)}")
    narrow = all(stored.format == "F32" for stored in header.tensors.values())
    tensors = {name: _numbers(tensor, f"{told}: {name}") for name, tensor in tensors.items()}
    if not narrow:
        tensors = {name: tensor.double() for name, tensor in tensors.items()}
    layers = [_layer(tensors, number, heads[number], activation[number]) for number in range(len(activation))]
    return Transformer(layers, schedule), construction


def _layers(construction: Any, told: str) -> tuple[list[Activation], list[int]]:
    """The activation of every stored layer, and the schedule."""
    if not isinstance(construction, dict):
        refuse(told, f"is {short(construction)}; an object is needed")
    for field in ("format", "schedule", "activation"):
        if field not in construction:
            refuse(told, f"has no field {strict_json.short(field)}")
    if type(construction["format"]) is not int or construction["format"] != FORMAT:
        refuse(told, f"has format {short(construction['format'])}; this version reads {FORMAT}")
    activation, schedule = construction["activation"], construction["schedule"]
    for field, value in (("activation", activation), ("schedule", schedule)):
        if not isinstance(value, list) or not 1 <= len(value) <= MOST_LAYERS:
            shown = f"{len(value)} entries" if isinstance(value, list) else short(value)
            refuse(told, f"has {shown} as its {field}; a list of 1 to {MOST_LAYERS} layers is needed")
    for number, name in enumerate(activation):
        if name not in get_args(Activation):
            refuse(told, f"has activation[{number}] {short(name)}; it must be one of {', '.join(get_args(Activation))}")
    for place, layer in enumerate(schedule):
        if type(layer) is not int or not 0 <= layer < len(activation):
            refuse(
                told,
                f"has schedule[{place}] {short(layer)}; 'activation' names the layers 0 to {len(activation) - 1}",
            )
    return activation, schedule


def _heads(header: Header, layers: int, told: str) -> list[int]:
    """How many heads every layer has; all its tensors are there, and no others."""
    named: list[set[str | None]] = [set() for _ in range(layers)]  # of every layer its heads; None for the MLP
    for name in header.tensors:
        match = _TENSOR.fullmatch(name)
        if match is None:
            refuse(told, f"holds the tensor {short(name)}; Definitions 4-8 have none of that name")
        if int(match[1]) >= layers:
            refuse(told, f"holds the tensor {name!r}, but 'activation' names the layers 0 to {layers - 1}")
        named[int(match[1])].add(match[2])
    counts = []
    for number, parts in enumerate(named):
        if not parts:
            refuse(told, f"holds no tensor of layer {number}, which 'activation' names")
        count = len(parts - {None})
        wanted = [f"layers.{number}.attention.{head}.{name}" for head in range(count) for name in _MATRICES]
        wanted += [f"layers.{number}.mlp.{name}" for name in ("w1", "w2")] if None in parts else []
        for name in wanted:
            if name not in header.tensors:
                refuse(told, f"lacks the tensor {name!r}")
        counts.append(count)
    return counts


def _width(header: Header, told: str) -> int:
    """D; every tensor is a matrix of the shape that the others ask for."""
    shapes = {name: stored.shape for name, stored in header.tensors.items()}
    for name, shape in shapes.items():
        if len(shape) != 2:
            refuse(told, f"has {name} of shape {shape}; a matrix is needed")
    first = next(iter(shapes))
    outer, _ = _outer_inner(first, shapes)
    if not outer:
        refuse(told, f"has {first} of shape {shapes[first]}; tokens of width 0 are none")
    for name, shape in shapes.items():
        stem, part = name.rsplit(".", 1)
        for other, which in ((first, 0), (f"{stem}.{_PARTNER[part]}", 1)):
            mine, theirs = _outer_inner(name, shapes)[which], _outer_inner(other, shapes)[which]
            if mine != theirs:
                fit = "read and write tokens of one width" if which == 0 else "be of one rank"
                refuse(told, f"has {name} of shape {shape} and {other} of shape {shapes[other]}; they must {fit}")
    return outer


def _outer_inner(name: str, shapes: dict[str, tuple[int, ...]]) -> tuple[int, int]:
    """Of a matrix that reads tokens (inner × outer) or writes them (outer × inner); outer must be D."""
    inner, outer = shapes[name] if name.endswith((".query", ".key", ".value", ".w1")) else shapes[name][::-1]
    return outer, inner


def _require_layout(layout: Any, width: int, told: str) -> None:
    spans = list(layout.values()) if isinstance(layout, dict) else [layout]
    for span in spans:
        if not isinstance(span, list) or [type(end) for end in span] != [int, int] or not 0 <= span[0] < span[1]:
            refuse(told, f"has {short(span)} in its layout; [start, stop) of every subspace is needed")
    try:
        found = ResidualStream.from_layout({name: (start, stop) for name, (start, stop) in layout.items()}).width
    except ValueError as error:
        refuse(told, f"has a layout in which {first_line(error)}")
    if found != width:
        refuse(told, f"has a layout of {found} coordinates; the tokens have {width}")


def _numbers(tensor: torch.Tensor, told: str) -> torch.Tensor:
    """The tensor, whose numbers float64 holds."""
    if tensor.dtype.is_floating_point and tensor.dtype not in (torch.float32, torch.float64):
        tensor = tensor.double()  # narrower formats, of which numpy does not know all
    exact(tensor.numpy(), told)
    return tensor


def _layer(tensors: dict[str, torch.Tensor], number: int, count: int, activation: Activation) -> TransformerLayer:
    prefix = f"layers.{number}."
    heads = [AttentionHead(*(tensors[f"{prefix}attention.{m}.{name}"] for name in _MATRICES)) for m in range(count)]
    mlp = MlpLayer(tensors[prefix + "mlp.w1"], tensors[prefix + "mlp.w2"]) if f"{prefix}mlp.w1" in tensors else None
    return TransformerLayer(AttentionLayer(heads, activation) if heads else None, mlp)
