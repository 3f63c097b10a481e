"""What the checks of an EM step share: broken constructions in balls, and a run judged at every step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from constructions import em_enclosure
from constructions.balls import ZERO
from constructions.em_class import TaskClass
from constructions.em_enclosure import BallEm, enclose_diameter
from theory_checks import subjects
from theory_checks.enclosures import decided, enclose, equal
from theory_checks.instances import Task
from theory_checks.ledger import Verdict

Build = Callable[[TaskClass, float], BallEm]
NETWORKS = ("lemma-f4-sharp", "remark-f6", "lemma-f5")
"""The rows of the networks, on which both steps rest."""


def broken(fault: str) -> Build:
    """Builds the construction with one of subjects.FAULTS."""
    return lambda task_class, tolerance: subjects.in_balls(fault, task_class, tolerance)


def judge_run(em: BallEm, task: Task, scale: float = 1.0, weights_scale: float = 1.0) -> Iterator[Verdict]:
    """A verdict for every mean and for the weights, at every step of a run; the scales lower the bounds."""

    def judge() -> Iterable[Verdict]:
        components = len(task.start.weights)
        diameter = enclose_diameter(task.samples[: len(task.samples) // components * components])
        for step in em_enclosure.run(em, task.samples, task.start):
            name = f"{task.name} step {step.step}"
            if step.excuse and not step.left:
                yield Verdict("undecided", f"{name}: whether {step.excuse}")
                continue
            for k, (error, bound) in enumerate(zip(step.mean_errors, step.mean_bounds, strict=True)):
                yield enclose(error, scale * bound, f"{name} mean {k}", trivial=diameter, excuse=step.excuse)
            if step.step == 1:
                yield equal(step.log_weight_error, ZERO, f"{name} weights")
            else:
                yield enclose(
                    step.log_weight_error, weights_scale * step.log_weight_bound, f"{name} weights", excuse=step.excuse
                )

    return decided(judge)
