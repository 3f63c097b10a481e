"""The checks of the definitions: the broken evaluations differ from a sound one by their fault alone."""

from __future__ import annotations

from dataclasses import replace

import flint
import numpy as np
import pytest
import torch

from constructions.weights import Activation
from theory_checks import definition_instances as broken
from theory_checks import literal, test_definitions
from theory_checks.definition_instances import SHAPES, integer_instances, real_instances
from theory_checks.ledger import Statement
from theory_checks.test_definitions import (
    SOUND,
    judge_balls,
    judge_floats,
    judge_integers,
    judge_rationals,
    layer_error,
)

ROWS = [getattr(test_definitions, f"definition_{n}") for n in (4, 5, 7, 8)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_without_a_fault_the_numpy_evaluation_is_accepted(row: Statement) -> None:
    outcomes = {v.outcome for v in row.verdicts(0, on=replace(SOUND, modules=broken.evaluated("")))}
    assert outcomes == {"holds"}


def test_instances_have_the_sizes_that_they_name(rng: np.random.Generator) -> None:
    for (tokens, width, hidden), instance in zip(SHAPES, integer_instances(rng, "layer", (1, 0)), strict=True):
        assert instance.tokens.shape == (2, 3, tokens, width)
        assert instance.transformer.schedule == (1, 0)
        for layer in instance.transformer.stored_layers:
            assert layer.mlp is not None
            assert layer.mlp.w1.shape == (hidden, width)
            assert layer.attention is not None
            assert all((head.query % tokens == 0).all() for head in layer.attention.stored_heads)


def test_kinds_have_the_parts_that_they_name(rng: np.random.Generator) -> None:
    for kind, parts in (("attention", (True, False)), ("mlp", (False, True)), ("layer", (True, True))):
        for instance in real_instances(rng, kind, "softmax"):
            (layer,) = instance.transformer.stored_layers
            assert (layer.attention is not None, layer.mlp is not None) == parts


def test_a_unit_in_the_last_place_is_enough_to_be_refuted_on_integers(rng: np.random.Generator) -> None:
    def off(transformer, tokens):
        first, *rest = SOUND.modules(transformer, tokens)
        moved = first.copy()
        moved[1, 2, -1, -1] = np.nextafter(moved[1, 2, -1, -1], np.inf)
        return [moved, *rest]

    instance = next(integer_instances(rng, "layer", (0, 0)))
    verdicts = list(judge_integers(instance, replace(SOUND, modules=off)))
    assert [v.outcome for v in verdicts] == ["holds"] * 5 + ["refuted"]


@pytest.mark.parametrize("activation", ["relu", "softmax"])
@pytest.mark.parametrize("name", ["arrays", "plan", "balls"])
def test_one_entry_off_is_refuted_in_rationals_and_in_balls(rng, name: str, activation: Activation) -> None:
    """The last entry after the second layer is moved by 2⁻²⁰."""

    def off(*arguments):
        first, second = getattr(SOUND, name)(*arguments)
        moved = second.copy()
        moved[-1, -1] = moved[-1, -1] + 1 / flint.fmpq(2**20)
        return [first, moved]

    judge = judge_rationals if activation == "relu" else judge_balls
    instance = next(real_instances(rng, "layer", activation, (1, 0)))
    for verdict in judge(instance, replace(SOUND, **{name: off})):
        assert verdict.outcome == ("refuted" if verdict.instance.startswith(name) else "holds"), verdict


@pytest.mark.parametrize("executor", [False, True])
def test_an_entry_off_by_the_bound_is_refuted_in_floats(rng: np.random.Generator, executor: bool) -> None:
    """The entry is moved by 1.01 of its bound plus what the sound evaluation may be off, at the second layer."""
    name = "executor" if executor else "modules"
    instance = next(real_instances(rng, "layer", "softmax", (0, 1)))

    def off(transformer, tokens):
        first, second = getattr(SOUND, name)(transformer, tokens)
        layer = transformer.stored_layers[1]
        exact = literal.stored(transformer, flint.arb)[1]
        moved = second.copy()
        bound, _ = layer_error(
            layer, exact, first.reshape(-1, *first.shape[-2:])[0], torch.finfo(torch.float64).eps / 2
        )
        moved.reshape(-1, *moved.shape[-2:])[0, 2, 3] += 2.01 * bound[2, 3]
        return [first, moved]

    outcomes = [v.outcome for v in judge_floats(instance, replace(SOUND, **{name: off}))]
    assert outcomes == (["holds", "holds", "holds", "refuted"] if executor else ["holds", "refuted", "holds", "holds"])
