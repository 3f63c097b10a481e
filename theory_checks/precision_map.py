"""In which number formats the EM transformer carries EM steps: errors against the exact value of its construction.

`python -m theory_checks.precision_map` prints the map; proofs_notes/precision_map.md says what it shows.
"""

from __future__ import annotations

if __name__ == "__main__":  # before what --help does not need is loaded
    from constructions.process import start

    start("theory_checks.precision_map_command")

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf, log

import torch

from constructions.command_line import Progress
from constructions.errors import InputError
from theory_checks.precision_settings import (
    FORMATS,
    SEEDS,
    SETTINGS,
    STATUSES,
    Setting,
    Status,
    Subject,
    build,
    rounded,
)
from theory_checks.precision_steps import Errors, Step, run_balls, run_floats


@dataclass(frozen=True)
class Cell:
    """One cell of the map. `spoilt`: of a refused one, weights that become infinite, that become 0, and all."""

    setting: Setting
    name: str
    log_a: float
    steps: tuple[Step, ...]
    spoilt: tuple[int, int, int] | None = None

    def worst(self, side: Callable[[Step], Errors]) -> Status:
        """Over steps and seeds."""
        return max((side(step).status(step.guess) for step in self.steps), key=STATUSES.index)

    @property
    def measured(self) -> Status:
        """overflow: refused, and rightly so: rounded weights are infinite or 0."""
        return "overflow" if self.spoilt and sum(self.spoilt[:2]) > 0 else self.worst(lambda step: step.found)

    @property
    def predicted(self) -> Status:
        """By log A against the format's, and the first-order errors."""
        fmt = FORMATS[self.name]
        if not isinstance(fmt, int) and self.log_a >= -log(torch.finfo(fmt).tiny):
            return "overflow"
        return self.worst(lambda step: step.predicted)

    @property
    def error(self) -> float:
        """The largest error of a mean, over diam(X)."""
        return max(step.found.mean for step in self.steps)

    @property
    def ratios(self) -> tuple[float, float]:
        """The largest measured and the largest predicted ratio of error and bound."""
        return max(step.found.ratio for step in self.steps), max(step.predicted.ratio for step in self.steps)

    @property
    def cause(self) -> str:
        """Of the first step beyond its bound, as what follows takes its garbage in; else of the largest ratio."""
        if self.measured == "overflow":
            return "overflow"
        beyond = [step for step in self.steps if step.found.ratio > 1]
        return (beyond[0] if beyond else max(self.steps, key=lambda step: step.found.ratio)).cause


def cell(subject: Subject, name: str) -> Cell:
    """All tasks of the subject in one format; a refused transformer runs the first."""
    fmt, spoilt, tasks = FORMATS[name], None, subject.tasks
    if isinstance(fmt, int):
        em = subject.in_balls(fmt)
        steps = [step for task in tasks for step in run_balls(subject, em, fmt, task)]
    else:
        try:
            transformer = build(subject, fmt)
        except InputError:
            (transformer, spoilt), tasks = rounded(subject, fmt), tasks[:1]
        steps = [step for task in tasks for step in run_floats(subject, transformer, task)]
    return Cell(subject.setting, name, subject.sizes.log_a, tuple(steps), spoilt)


def measure(seed: int = 0) -> list[Cell]:
    """The whole map."""
    cells = []
    with Progress("setting") as progress:
        for done, setting in enumerate(SETTINGS, start=1):
            subject = Subject(setting, range(seed, seed + len(SEEDS)))
            cells += [cell(subject, name) for name in FORMATS]
            progress(done, len(SETTINGS))
    return cells


def table(cells: Sequence[Cell]) -> str:
    """A line for each setting; then the cells that are not as predicted, and totals."""
    lines = [f"{'':28s}{'log A':>6s}" + "".join(f"{name:>15s}" for name in FORMATS)]
    for i in range(0, len(cells), len(FORMATS)):
        row = cells[i : i + len(FORMATS)]
        shown = (f"{c.measured[:5]} {c.error:7.1e}{'*' if c.measured != c.predicted else ' '}" for c in row)
        lines.append(f"{row[0].setting.name:28s}{row[0].log_a:6.4g}" + "".join(f"{text:>15s}" for text in shown))
    lines.append("\nLargest |mean - exact|/diam(X) over steps and seeds. *: not the predicted status; error/bound is")
    for c in (c for c in cells if c.measured != c.predicted):
        found, predicted = c.ratios
        lines.append(
            f"  {c.setting.name} {c.name}: {c.measured}, {found:.2g}, most of it {c.cause}; "
            f"predicted {c.predicted}, {predicted:.2g}"
        )
    lines.append("\n" + _counted(c.measured for c in cells))
    lines.append("why not: " + _counted(f"{c.measured} by {c.cause}" for c in cells if c.measured != "realisable"))
    refused, run = [c for c in cells if c.spoilt], [c for c in cells if not c.spoilt]
    other = [c for c in run if c.measured != c.worst(lambda step: step.against_em)]
    lines.append(f"another status against exact EM: {len(other)}")
    lines.append(
        f"refused: {len(refused)}, with infinite or 0 weights {sum(c.measured == 'overflow' for c in refused)}, "
        f"no number if run all the same {sum(c.error == inf for c in refused)}"
    )
    for name in FORMATS:
        held = [c for c in run if c.name == name and c.measured != "failed"]
        under = [step for c in held for step in c.steps if step.lost]
        lines.append(
            f"{name:9s} measured/predicted at most {max((c.ratios[0] / c.ratios[1] for c in held), default=0):.2g} "
            "if not failed; "
            f"{sum(s.lost for s in under)} w became 0, log_w then off by {max((s.off for s in under), default=0):.2g}"
        )
    return "\n".join(lines)


def _counted(words: Iterable[str]) -> str:
    return "; ".join(f"{count} {word}" for word, count in Counter(words).most_common())
