"""What the precision map measures: formats, settings, their data, and the transformers made for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import ceil, log, sqrt
from typing import Literal

import flint
import numpy as np
import torch
from jaxtyping import Float

from constructions import em_enclosure, em_transformer
from constructions.algorithms.sampling import Mixture
from constructions.balls import midpoints
from constructions.compiler import lower
from constructions.em_class import Construction, TaskClass, split_tolerance
from constructions.em_enclosure import BallEm
from constructions.em_transformer import E_STEP, M_STEP
from constructions.number_system import Balls
from constructions.relu_networks import Orientation, ReluNetwork, chord_slope
from constructions.transformer import Transformer
from theory_checks.a1_instances import Case, instance

Status = Literal["realisable", "degraded", "failed", "overflow"]
STATUSES: tuple[Status, ...] = "realisable", "degraded", "failed", "overflow"  # best first
FORMATS: dict[str, torch.dtype | int] = {  # a number: balls of so many bits, whose exponents have no limit
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float32": torch.float32,
    "float64": torch.float64,
    "24 bits": 24,
    "53 bits": 53,
    "113 bits": 113,
}
SEPARATIONS = 2, 4, 8, 16, 32
CONSTRUCTIONS: tuple[Construction, ...] = "paper", "floor"
ORIENTATIONS: tuple[Orientation, ...] = "left", "right"
MIN_WEIGHT, TOLERANCE = 0.1, 0.5
"""π_min, and ε/B."""
SEEDS = range(3)
STEPS = 2


@dataclass(frozen=True)
class Setting:
    """All of a cell but its format: `separation` is the distance of the means, N = drawn + contested."""

    separation: float
    construction: Construction
    orientation: Orientation
    centred: bool
    components: int = 2
    dim: int = 2
    drawn: int = 24
    contested: int = 12

    @property
    def name(self) -> str:
        """What varies in the map."""
        place = "centred" if self.centred else "not centred"
        return f"{self.construction} {self.orientation} {place} R={self.separation:g}"


SETTINGS = [
    Setting(r, c, o, z) for c in CONSTRUCTIONS for o in ORIENTATIONS for z in (True, False) for r in SEPARATIONS
]


@dataclass(frozen=True, eq=False)
class Task:
    """Samples and start as a format holds them."""

    samples: Float[np.ndarray, "N d"]
    start: Mixture

    def cast(self, dtype: torch.dtype) -> Task:
        """The numbers that the format holds; the weights are multiples of 1/256, which all formats hold."""
        samples, means = (torch.tensor(x).to(dtype).double().numpy() for x in (self.samples, self.start.means))
        return Task(samples, Mixture(self.start.weights, means))


class Subject:
    """One class, made for what the data of a setting and of all seeds need."""

    def __init__(self, setting: Setting, seeds: Iterable[int] = SEEDS) -> None:
        self.setting = setting
        constant = setting.separation / sqrt(log(setting.components))
        case = Case(
            constant, setting.components, setting.dim, True, setting.centred, "F.6", setting.drawn, setting.contested
        )
        self.tasks = [Task(given.samples, given.start) for given in (instance(case, seed) for seed in seeds)]
        points = np.concatenate([part for task in self.tasks for part in (task.samples, task.start.means)])
        radius = 1.01 * float(np.linalg.norm(points, axis=1).max())  # room for what a cast adds
        self.task_class = TaskClass(setting.dim, setting.components, radius, MIN_WEIGHT)
        self.sizes = split_tolerance(self.task_class, TOLERANCE * radius, setting.construction)
        self.bits = 192 + ceil(2 * self.sizes.log_a / log(2))  # products of matrices with right-facing units lose A²

    def networks(self) -> dict[str, ReluNetwork]:
        """Log and square, at the working precision."""
        return self.sizes.in_balls.networks(self.setting.orientation, Balls())

    def in_balls(self, bits: int) -> BallEm:
        """The transformer, built at a precision."""
        with flint.ctx.workprec(bits):
            return em_enclosure.build(self.task_class, self.sizes, 1, networks=self.networks())

    @cached_property
    def reference(self) -> BallEm:
        """At a precision that the cancellation of right-facing units does not use up."""
        return self.in_balls(self.bits)

    def contains(self, estimate: Mixture) -> bool:
        """Whether a step may start from it: numbers in the class."""
        within = (np.linalg.norm(estimate.means, axis=1) <= self.task_class.radius).all()
        return bool(within and (estimate.weights >= MIN_WEIGHT).all())


def build(subject: Subject, dtype: torch.dtype) -> Transformer:
    """The float transformer; raises InputError like `em_transformer.build`."""
    facing = subject.setting.orientation
    return em_transformer.build(
        subject.task_class, subject.sizes, STEPS, dtype, networks=lambda sizes: sizes.networks(facing)
    ).transformer


def rounded(subject: Subject, dtype: torch.dtype) -> tuple[Transformer, tuple[int, int, int]]:
    """What `build` refuses: its weights built in balls and really rounded.

    With it, how many of the log network's knots and slopes become infinite, how many 0, of how many.
    """
    with flint.ctx.workprec(subject.bits):
        floats = {
            name: ReluNetwork(*(midpoints(part) for part in (f.w, f.b, f.a))) for name, f in subject.networks().items()
        }
    exact = np.concatenate([floats["log"].b, floats["log"].a])
    held = torch.tensor(exact).to(dtype)
    stream = em_transformer.residual_stream(subject.setting.dim, subject.setting.components)
    weights = lower((E_STEP, M_STEP), (0, 1) * STEPS, stream, floats)
    return Transformer.from_weights(weights, dtype), (int(held.isinf().sum()), int((held == 0).sum()), len(held))


def log_network(subject: Subject, w: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """The exact network on [0, 1], by its chords instead of its units: accurate in float64."""
    sizes = subject.sizes
    logs = np.linspace(-sizes.log_a, sizes.log_high, sizes.segments + 1)
    knots = np.exp(logs)
    if subject.setting.orientation == "left":  # the first chord goes on to 0
        knots, logs = np.append(0.0, knots), np.append(logs[0] - chord_slope(sizes.chord_width), logs)
    return np.interp(w, knots, logs)
