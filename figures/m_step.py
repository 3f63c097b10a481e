"""The M-step's error against the floor A, beside its bound diam(X)·[tanh(g/4) + 1/(1 + A e^c π̂)].

Below 1/A the network for log continues its first chord, so that a responsibility of 0 counts as e^{−c}/A. (a) A
component whose whole weight is a sum of tiny responsibilities is dragged to the samples far from it, until every
responsibility is above 1/A and the floor stops acting. (b) A component that owns one sample, the others being out
of reach, follows the bound as far as it goes. (c) Where all responsibilities are moderate the floor never acts, and
its term is slack. With the weight that went in, 1/2, in place of the new π̂ the bound would be false: (a), (b).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from constructions import bounds
from constructions.algorithms.em import log_responsibilities
from constructions.algorithms.sampling import Mixture
from constructions.em_class import Approximation, TaskClass
from constructions.em_run import StepReport, run
from constructions.em_transformer import build
from figures import style

FLOORS = np.geomspace(2, 1e12, 48)
"""A, from 1/π = 2 on."""
CHORD_WIDTH = 0.01
RADIUS = 8.0


@dataclass(frozen=True)
class Instance:
    """Samples on the line and the two means that enter the step, with equal weights."""

    title: str
    samples: tuple[float, ...]
    means: tuple[float, float]

    @property
    def x(self) -> Float[np.ndarray, "N 1"]:
        """The samples as a matrix."""
        return np.array(self.samples)[:, None]

    @property
    def start(self) -> Mixture:
        """The parameters that enter the step."""
        return Mixture(np.array([0.5, 0.5]), np.array(self.means)[:, None])

    @property
    def smallest_responsibility(self) -> float:
        """min_ik w_ik: the floor acts as long as this is below 1/A."""
        return float(np.exp(log_responsibilities(self.x, self.start.weights, self.start.means).min()))


INSTANCES = (
    Instance("19 zeros and a one, μ = (0, 6)", (0.0,) * 19 + (1.0,), (0.0, 6.0)),
    Instance("19 zeros and an eight, μ = (0, 8)", (0.0,) * 19 + (8.0,), (0.0, 8.0)),
    Instance("20 samples from 0 to 1, μ = (0, 1)", tuple(i / 19 for i in range(20)), (0.0, 1.0)),
)


@dataclass(frozen=True)
class Measurement:
    """At one A, all divided by diam(X): the largest error of a mean, its bound, the same with the old weight."""

    error: float
    bound: float
    old_weight_bound: float
    weight: float  # the smallest new weight π̂


def approximation_at(floor: float) -> Approximation:
    """Fine chords of log on [1/A, 1]. A first step never reads the square network, so one piece will do."""
    return Approximation("floor", log(floor), 0.0, ceil(log(floor) / CHORD_WIDTH), RADIUS, pieces=1)


def step_at(instance: Instance, approximation: Approximation) -> StepReport:
    """One EM step of the transformer, beside the exact one."""
    task_class = TaskClass(max_dim=1, max_components=2, radius=RADIUS, min_weight=1e-9)
    return run(build(task_class, approximation, 1), instance.x, instance.start, execution="dense").steps[0]


def measure(instance: Instance, floor: float) -> Measurement:
    """Run the step at one A; the logits of a first step are exact, so U = 0."""
    approximation = approximation_at(floor)
    step = step_at(instance, approximation)
    diameter, _ = bounds.diameter(instance.x)
    new, old = float(step.estimate.weights.min()), float(instance.start.weights.min())
    bound, old_weight_bound = (bounds.m_step(approximation, 1.0, weight, 0.0) for weight in (new, old))
    return Measurement(step.mean_error / diameter, bound, old_weight_bound, new)


def draw_instance(axes: Axes, letter: str, instance: Instance) -> None:
    """Error, bound and slack against A; where the bound with the old weight is false, that too."""
    measured = [measure(instance, float(floor)) for floor in FLOORS]
    error = np.array([m.error for m in measured])
    bound = np.array([m.bound for m in measured])
    old = np.array([m.old_weight_bound for m in measured])
    axes.fill_between(FLOORS, error, bound, color=style.SLACK, linewidth=0, label="slack")
    axes.loglog(FLOORS, bound, color=style.BLACK, label="bound")
    axes.loglog(FLOORS, old, color=style.VERMILLION, linestyle="--", linewidth=0.9, label="false: old weight for π̂")
    axes.loglog(FLOORS, error, color=style.BLUE, marker="o", markersize=2, linewidth=0.8, label="measured")
    stop = 1 / instance.smallest_responsibility
    if stop < FLOORS[-1]:
        axes.axvline(stop, color=style.GREY, linestyle=":", linewidth=0.8)
        rightwards = stop < np.sqrt(FLOORS[-1])
        shift, side = (1.6, "left") if rightwards else (1 / 1.6, "right")
        axes.text(stop * shift, 3e-8, "A = 1/min w", color=style.GREY, fontsize=7, va="bottom", ha=side)
    facts = f"π̂ = {style.number(measured[-1].weight)}, error/bound ≤ {(error / bound).max():.2f}"
    style.panel_title(axes, letter, f"{instance.title}\n{facts}")
    axes.set(xlabel="floor A")


def small_print() -> str:
    """What was run."""
    return (
        f"One EM step (two layers, float64) from π = (1/2, 1/2), K = 2, d = 1, N = 20 fixed samples, no seed; "
        f"{len(FLOORS)} values of A from {FLOORS[0]:g} to {style.number(FLOORS[-1])}, each with its own chords of "
        f"log, of width r ≤ {CHORD_WIDTH:g} on [1/A, 1]. The error is the larger of the two means', against exact EM."
    )


@style.styled
def figure() -> Figure:
    """The M-step's error and bound against the floor A, on unfavourable and on contested samples."""
    picture = style.new_figure(3.0)
    panels = picture.subplots(1, 3, sharex=True, sharey=True)
    for axes, letter, instance in zip(panels, "abc", INSTANCES, strict=True):
        draw_instance(axes, letter, instance)
    panels[0].set(ylabel="error of a mean / diam(X)", ylim=(2e-8, 3))
    panels[2].legend(loc="upper right", borderaxespad=0)
    style.caption(picture, small_print())
    return picture
