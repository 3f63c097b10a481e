"""`python -m tgmm probe`: does a trained model hold, layer by layer, what exact EM computes step by step?"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from constructions.command_line import Progress, answer
from constructions.errors import InputError
from tgmm import checkpoints
from tgmm.probing import STEPS, TARGETS, Probe, observe_construction, observe_model, probes
from tgmm.tasks import draw, held_out

LARGEST_TASKS = 2000


def run(options: argparse.Namespace) -> int:
    """Probe; 0 on success."""
    for name, least, most in (("tasks", 4, LARGEST_TASKS), ("steps", 1, 50), ("seed", 0, 2**63 - 1)):
        if not least <= getattr(options, name) <= most:
            raise InputError(f"--{name} is {getattr(options, name)}; it must lie between {least} and {most}")
    checkpoint = checkpoints.read(options.checkpoint)
    learnt = checkpoint.config.tasks
    if options.components not in learnt.components:
        raise InputError(
            f"--components is {options.components}; the checkpoint {str(options.checkpoint)!r} estimates "
            f"{', '.join(map(str, learnt.components))}"
        )
    most = learnt.samples[1]
    if not 2 <= options.components <= most or learnt.anisotropic:
        raise InputError(
            f"--components is {options.components}, of {most} samples, anisotropic: {learnt.anisotropic}; probes need "
            "2 <= K <= n and unit scales"
        )
    distribution = replace(learnt, components=(options.components,), samples=(most, most))
    rng = held_out(options.seed)
    parts = draw(distribution, options.tasks, rng), draw(distribution, options.tasks // 2, rng)
    model = checkpoint.model()
    subjects: dict[str, Any] = {
        "trained": lambda tasks: observe_model(model, tasks, rng),
        "construction": lambda tasks: observe_construction(tasks, options.steps, rng),
    }
    content: dict[str, Any] = {
        "checkpoint": options.checkpoint.name,
        "training_steps": checkpoint.step,
        "components": options.components,
        "dim": learnt.dim,
        "samples": most,
        "fitted_on": options.tasks,
        "judged_on": options.tasks // 2,
        "seed": options.seed,
    }
    with Progress("model") as progress:
        for number, (name, observe) in enumerate(subjects.items(), start=1):
            fitted, judged = (observe(tasks) for tasks in parts)
            content[name] = [_entry(each) for each in probes(fitted, judged, rng)]
            progress(number, len(subjects))
    tables = "\n\n".join(_table(name, target, content[name]) for name in subjects for target in TARGETS)
    answer(content, tables, options.json)
    return 0


def _entry(each: Probe) -> dict[str, Any]:
    where = {"target": each.target, "layer": each.layer, "step": each.step}
    return where | {"r2": each.r2.as_list(), "shuffled": each.shuffled.as_list()}


def _table(name: str, target: str, entries: list[dict[str, Any]]) -> str:
    """R² of a target, a line a layer and a column an EM step, and the largest that shuffled targets give."""
    own = [entry for entry in entries if entry["target"] == target]
    lines = [
        f"{name}: R² for the {target} of EM step",
        "layer  " + " ".join(f"{step:>7d}" for step in STEPS) + "  shuffled",
    ]
    for layer in sorted({entry["layer"] for entry in own}):
        here = {entry["step"]: entry for entry in own if entry["layer"] == layer}
        values = " ".join(f"{here[step]['r2'][0]:7.4f}" for step in STEPS)
        lines.append(f"{layer:5d}  {values}  {max(entry['shuffled'][0] for entry in here.values()):8.4f}")
    return "\n".join(lines)
