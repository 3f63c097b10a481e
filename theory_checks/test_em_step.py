"""Whole EM steps of the transformer against exact EM, on every instance of the class, in balls."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from constructions.em_class import TaskClass
from constructions.em_enclosure import BallEm
from theory_checks import instances, kept, subjects
from theory_checks.em_steps import Build, broken, judge_run
from theory_checks.ledger import Verdict, statement
from theory_checks.search import searched
from theory_checks.subjects import DEMO_CLASS, GRID_CLASS, SMALL_CLASS


@statement(
    "em-step-floor",
    source="one EM step, section 5, parametrisation `floor` (Theorems F.6, F.7)",
    text="ours",
    evidence="certified",
    depends_on=("e-step", "m-step", "one-theta"),
    paper=("Theorem F.6", "Theorem F.7", "Remark 2"),
)
def em_step_floor(
    rng: np.random.Generator,
    *,
    build: Build = subjects.in_balls_sound,
    scale: float = 1.0,
    weights_scale: float = 1.0,
    full: bool = False,
) -> Iterator[Verdict]:
    """Each EM step of a run, from the parameters it starts from, has |log π̂_k − log π_k⁺| ≤ U and ‖μ̂_k − μ_k⁺‖ ≤
    diam(X)[tanh(U/4) + tanh(g/4) + 1/(1 + A e^c π̂_k)], with one Θ for the tasks of a class.

    Polynomial weights: log A = log(6B/(ε π_min)), as float64 holds them; U = 0 in the first step. Proved for all data
    of the class; enclosed on drawn, searched, kept and bundled data sets.
    """
    worst = ("em-step-floor", "em-step-floor-later", "em-step-floor-weights")
    yield from kept.replay_tasks(lambda task: judge_run(build(SMALL_CLASS, 0.5), task, scale, weights_scale), *worst)
    for log_a in (5.0, 7.0, 9.0):
        for count in (6, 20, 200):
            yield from judge_run(subjects.fine_chords(log_a), instances.lone_owner(count), scale)
    strategy = instances.adversarial(SMALL_CLASS.radius, SMALL_CLASS.min_weight)
    yield from searched(strategy, lambda task: judge_run(build(SMALL_CLASS, 0.5), task, scale), rng, 80 if full else 30)
    dims, counts = (instances.DIMS, (0, 29, 211)) if full else ((1, 5, 13), (0, 29))
    for task in instances.grid(rng, GRID_CLASS.radius, dims, counts=counts):
        yield from judge_run(build(GRID_CLASS, 0.5), task, scale)
    for task in instances.real_data():
        if full or len(task.samples) < 1000:
            yield from judge_run(build(DEMO_CLASS, 0.1), task, scale)
    for k in instances.COMPONENTS if full else ():
        task = instances.overlapping(f"large d=13 K={k} N=1999", 13, k, 1999, GRID_CLASS.radius, rng)
        yield from judge_run(build(GRID_CLASS, 0.5), task, scale)


for fault in subjects.FAULTS:
    em_step_floor.control(fault, build=broken(fault))
em_step_floor.control("the bound lowered by 10 %", scale=0.9)
em_step_floor.control("just under the worst kept", scale=kept.just_below("em-step-floor"))
em_step_floor.control("just under the worst kept of a later step", scale=kept.just_below("em-step-floor-later"))
em_step_floor.control(
    "weights' bound just under the worst kept", weights_scale=kept.just_below("em-step-floor-weights")
)
test_em_step_floor, test_em_step_floor_controls = em_step_floor.tests()


def _paper(task_class: TaskClass, tolerance: float) -> BallEm:
    return subjects.in_balls_sound(task_class, tolerance, "paper")


@statement(
    "em-step-paper",
    source="one EM step, section 5, parametrisation `paper` (Theorems F.6, F.7)",
    text="ours",
    evidence="certified",
    depends_on=("e-step", "m-step", "one-theta"),
    paper=("Theorem F.6", "Theorem F.7"),
)
def em_step_paper(
    rng: np.random.Generator,
    *,
    build: Build = _paper,
    scale: float = 1.0,
    weights_scale: float = 1.0,
    full: bool = False,
) -> Iterator[Verdict]:
    """With log A = 2B² + log(1/π_min) + U no responsibility falls below 1/A, and each EM step of a run has ‖μ̂_k −
    μ_k⁺‖ ≤ diam(X)[tanh(U/4) + tanh(g/4)] and |log π̂_k − log π_k⁺| ≤ U; one Θ for the tasks of a class.

    Exponential weights, as float64 holds them; log networks at Lemma F.4's width; U = 0 in the first step. Proved for
    all data of the class; enclosed on drawn, searched and kept data sets.
    """
    em = build(SMALL_CLASS, 0.5)
    worst = ("em-step-paper", "em-step-paper-weights")
    yield from kept.replay_tasks(lambda task: judge_run(em, task, scale, weights_scale), *worst)
    strategy = instances.adversarial(SMALL_CLASS.radius, SMALL_CLASS.min_weight)
    yield from searched(strategy, lambda task: judge_run(em, task, scale), rng, 40 if full else 20)
    counts = (0, 29, 101) if full else (0, 13)
    for task in instances.grid(rng, SMALL_CLASS.radius, (1, 2, 3, 5), (2, 3, 5, 7), counts):
        yield from judge_run(em, task, scale)


for fault in ("E-step score x 1.5", "log network scaled by 0.1", "square network doubled", "w not cleared"):
    em_step_paper.control(
        fault, build=lambda task_class, tolerance, fault=fault: subjects.in_balls(fault, task_class, tolerance, "paper")
    )
em_step_paper.control("just under the worst kept", scale=kept.just_below("em-step-paper"))
em_step_paper.control(
    "weights' bound just under the worst kept", weights_scale=kept.just_below("em-step-paper-weights")
)
test_em_step_paper, test_em_step_paper_controls = em_step_paper.tests()
