"""EM transformers to check, sound and broken; each is built once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import torch

from constructions.compiler import Head, Layer
from constructions.em_class import Approximation, Construction, TaskClass, split_tolerance
from constructions.em_enclosure import BallEm, from_floats
from constructions.em_transformer import E_STEP, M_STEP, EmTransformer, build
from constructions.relu_networks import ReluNetwork

GRID_CLASS = TaskClass(max_dim=17, max_components=11, radius=11.0, min_weight=0.005)
SMALL_CLASS = TaskClass(max_dim=5, max_components=7, radius=4.0, min_weight=0.02)
DEMO_CLASS = TaskClass(max_dim=16, max_components=16, radius=10.0, min_weight=0.01)
STEPS = 3
Change = Callable[[ReluNetwork], ReluNetwork]


@cache
def sound(
    task_class: TaskClass,
    tolerance: float = 0.5,
    construction: Construction = "floor",
    steps: int = STEPS,
    dtype: torch.dtype = torch.float64,
) -> EmTransformer:
    """The construction as it is meant."""
    return build(task_class, split_tolerance(task_class, tolerance, construction), steps, dtype)


@cache
def fine_chords(log_a: float) -> BallEm:
    """`floor` with chords so fine that the floor alone makes the M-step's error, in balls."""
    approximation = Approximation("floor", log_a, 0.0, int(100 * log_a), 8.0, 64)
    return from_floats(build(TaskClass(1, 2, 8.0, 0.001), approximation, 1))


@cache
def broken(
    fault: str,
    task_class: TaskClass,
    tolerance: float = 0.5,
    construction: Construction = "floor",
    steps: int = STEPS,
    dtype: torch.dtype = torch.float64,
) -> EmTransformer:
    """The same construction with one of FAULTS."""
    layers, networks = FAULTS[fault]
    approximation = split_tolerance(task_class, tolerance, construction)

    def units(sizes: Approximation) -> dict[str, ReluNetwork]:
        return {name: networks[name](f) if name in networks else f for name, f in sizes.networks().items()}

    return build(task_class, approximation, steps, dtype, layers(task_class), units)


@cache
def in_balls(
    fault: str,
    task_class: TaskClass,
    tolerance: float = 0.5,
    construction: Construction = "floor",
    steps: int = STEPS,
    dtype: torch.dtype = torch.float64,
) -> BallEm:
    """The float weights with one of FAULTS (none: ""), to be evaluated in balls."""
    if not fault:
        return from_floats(sound(task_class, tolerance, construction, steps, dtype))
    return from_floats(broken(fault, task_class, tolerance, construction, steps, dtype))


def in_balls_sound(task_class: TaskClass, tolerance: float = 0.5, construction: Construction = "floor") -> BallEm:
    """The construction as it is meant, in balls."""
    return in_balls("", task_class, tolerance, construction)


def _scaled_score(scale: float) -> tuple[Layer, Layer]:
    head = E_STEP.heads[0]
    score = [(pair[0], pair[1], scale * float(pair[2] if len(pair) == 3 else 1)) for pair in head.score]
    return replace(E_STEP, heads=[Head(score, head.move)]), M_STEP


def _without_clear(name: str) -> tuple[Layer, Layer]:
    def keep(layer: Layer) -> Layer:
        assert layer.mlp is not None
        return replace(layer, mlp=replace(layer.mlp, clear=[z for z in layer.mlp.clear if z != name]))

    return keep(E_STEP), keep(M_STEP)


def _scaled_network(scale: float) -> dict[str, Change]:
    return {"log": lambda f: replace(f, a=scale * f.a)}


FAULTS: dict[str, tuple[Callable[[TaskClass], tuple[Layer, Layer]], dict[str, Change]]] = {
    "E-step score x 1.5": (lambda c: _scaled_score(1.5), {}),
    "1/sqrt(d) slipped into the E-step score": (lambda c: _scaled_score(float(c.max_dim**-0.5)), {}),
    "log network scaled by 0.1": (lambda c: (E_STEP, M_STEP), _scaled_network(0.1)),
    "|mu|^2/2 forgotten in the score": (
        lambda c: (replace(E_STEP, heads=[Head(E_STEP.heads[0].score[:2], E_STEP.heads[0].move)]), M_STEP),
        {},
    ),
    "mu not cleared": (lambda c: _without_clear("mu"), {}),
    "w not cleared": (lambda c: _without_clear("w"), {}),
    "square network doubled": (lambda c: (E_STEP, M_STEP), {"square": lambda f: replace(f, a=2 * f.a)}),
    "E- and M-step exchanged": (lambda c: (M_STEP, E_STEP), {}),
}
