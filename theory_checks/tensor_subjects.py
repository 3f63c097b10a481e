"""Tensor-power transformers to check, sound and broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import torch

from constructions.compiler import Head, Layer
from constructions.tensor_power_transformer import THEOREM, Form, TensorPowerTransformer, build

Change = Callable[[list[Layer], int], list[Layer]]


@cache
def built(max_dim: int, steps: int, form: Form = THEOREM, dtype: torch.dtype = torch.float64) -> TensorPowerTransformer:
    """Each transformer is built once."""
    return build(max_dim, steps, form, dtype)


def broken(form: Form, fault: str) -> Form:
    """The form with one of FAULTS in its layers."""
    return replace(form, layers=lambda max_dim: FAULTS[fault](list(form.layers(max_dim)), max_dim))


def _odd_without_sign(layers: list[Layer], max_dim: int) -> list[Layer]:
    return [replace(layers[0], heads=layers[0].heads[:1]), *layers[1:]]


def _even_without_sign(layers: list[Layer], max_dim: int) -> list[Layer]:
    heads = [head for head in layers[1].heads if not _is_negative_product(head)]
    return [layers[0], replace(layers[1], heads=heads), *layers[2:]]


def _is_negative_product(head: Head) -> bool:
    return head.score[0][1] == "scalar" and len(head.score[0]) == 3 and head.score[0][2] == -1


def _factor(offset: int) -> Change:
    def change(layers: list[Layer], max_dim: int) -> list[Layer]:
        def scaled(head: Head) -> Head:
            if head.score[0][1] != "scalar":
                return head
            ((source, target, scale),) = head.move  # type: ignore[misc]
            return Head(head.score, [(source, target, scale / max_dim * (max_dim + offset))])

        return [layers[0], replace(layers[1], heads=[scaled(head) for head in layers[1].heads]), *layers[2:]]

    return change


def _odd_values_doubled(layers: list[Layer], max_dim: int) -> list[Layer]:
    heads = [
        Head(head.score, [(move[0], move[1], 2 * (move[2] if len(move) == 3 else 1)) for move in head.move])
        for head in layers[0].heads
    ]
    return [replace(layers[0], heads=heads), *layers[1:]]


def _without_head(layers: list[Layer], max_dim: int) -> list[Layer]:
    return [layers[0], replace(layers[1], heads=layers[1].heads[1:]), *layers[2:]]


def without_clear(name: str) -> Change:
    """The MLPs leave a subspace as it is."""

    def keep(layer: Layer) -> Layer:
        if layer.mlp is None:
            return layer
        return replace(layer, mlp=replace(layer.mlp, clear=[z for z in layer.mlp.clear if z != name]))

    return lambda layers, max_dim: [keep(layer) for layer in layers]


def _without_clearing_head(target: str) -> Change:
    def change(layers: list[Layer], max_dim: int) -> list[Layer]:
        *products, clear = layers[1].heads
        kept = Head(clear.score, [move for move in clear.move if move[1] != target])
        return [layers[0], replace(layers[1], heads=[*products, kept])]

    return change


FAULTS: dict[str, Change] = {
    "a sign dropped in the odd layer": _odd_without_sign,
    "a sign dropped in the even layer": _even_without_sign,
    "d0 + 1 in place of d0": _factor(1),
    "d0 - 1 in place of d0": _factor(-1),
    "one head missing": _without_head,
    "the odd layer's values doubled": _odd_values_doubled,
    "vec not cleared": without_clear("vec"),
    "new not cleared": without_clear("new"),
    "scalar not cleared": without_clear("scalar"),
    "no head clears vec": _without_clearing_head("vec"),
    "no head clears scalar": _without_clearing_head("scalar"),
}
THEOREM_FAULTS = tuple(name for name in FAULTS if not name.startswith("no head"))
ATTENTION_ONLY_FAULTS = tuple(name for name in FAULTS if "not cleared" not in name)
