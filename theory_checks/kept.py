"""The worst instance found of every bound (`python -m theory_checks.falsify`), and how a check replays it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from constructions.algorithms.sampling import Mixture
from theory_checks.instances import Task
from theory_checks.ledger import Verdict

WORST = Path(__file__).parent / "worst"
Instance = dict[str, np.ndarray]


def read(bound: str) -> dict[str, Any] | None:
    """What is kept for a bound: how it was found, slack, `exceeds` and the instance; None if nothing is."""
    path = WORST / f"{bound}.json"
    if not path.exists():
        return None
    kept: dict[str, Any] = json.loads(path.read_text())
    kept["instance"] = {name: np.array(values, dtype=float) for name, values in kept["instance"].items()}
    return kept


def replay(judge: Callable[[Instance], Iterable[Verdict]], *bounds: str) -> Iterator[Verdict]:
    """The verdicts on the kept instances, marked as such; none where nothing is kept."""
    for bound in bounds:
        kept = read(bound)
        if kept is not None:
            yield from (replace(v, kept=True) for v in judge(kept["instance"]))


def replay_tasks(judge: Callable[[Task], Iterable[Verdict]], *bounds: str) -> Iterator[Verdict]:
    """The same for a judge of mixture tasks."""
    return replay(lambda instance: judge(task(instance)), *bounds)


def just_below(bound: str) -> float:
    """A factor c with error > c·bound certified on the kept instance; 1, which refutes nothing, if nothing is kept."""
    kept = read(bound)
    return 1.0 if kept is None else float(kept["exceeds"])


def task(instance: Instance) -> Task:
    """Samples, each as often as `copies` says, with weights and means to start from."""
    copies = instance.get("copies", np.ones(len(instance["samples"]))).astype(int)
    start = Mixture(instance["weights"], instance["means"])
    return Task("the worst kept", np.repeat(instance["samples"], copies, axis=0), start)
