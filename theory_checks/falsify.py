"""`python -m theory_checks.falsify`: search for instances that come close to a bound, or violate it, and keep them."""

from __future__ import annotations

if __name__ == "__main__":  # before what --help does not need is loaded
    from constructions.process import start

    start("theory_checks.falsify_command")

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from zlib import crc32

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from constructions.command_line import Progress, write_all
from constructions.errors import InputError, meant
from theory_checks import kept
from theory_checks.kept import Instance
from theory_checks.ledger import Verdict
from theory_checks.search import searched

Tensors = Mapping[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]
SCREENED = 16
"""Random points, of which the best is a start."""
BELOW = 1 - 1e-6
"""`exceeds` is the certified error/bound, lowered by this factor."""


@dataclass(frozen=True)
class Attack:
    """A bound and the space in which it is attacked: coordinates, and the instance of the class that they stand for.

    `decode` maps every point of the box onto the class, in torch; `judge(instance, factor)` encloses error and
    factor·bound. `ratio`, error/bound in floats, is differentiable: without it coordinates are searched one by one.
    """

    bound: str
    setting: str  # class, tolerance and construction
    box: Mapping[str, tuple[float, float]]  # of each named array of coordinates
    shapes: Sequence[Shapes]
    judge: Callable[[Instance, float], Iterable[Verdict]]
    decode: Callable[[Tensors], Tensors] = lambda raw: raw
    ratio: Callable[[Tensors], Tensor] | None = None
    known: Sequence[Instance] = ()  # starts, in coordinates
    effort: float = 1.0  # share of the steps and examples that it is worth
    below: float = BELOW

    def instance(self, raw: Instance) -> Instance:
        """The instance at a point of the box."""
        with torch.no_grad():
            decoded = self.decode({name: torch.tensor(values) for name, values in raw.items()})
        return {name: values.numpy().astype(float) for name, values in decoded.items()}

    def score(self, raw: Instance) -> float:
        """Error/bound: in floats if there is a ratio, else the largest that enclosures give; 0 where none applies.

        What is not a number counts as infinite: the enclosures are asked about it first.
        """
        if self.ratio is None:
            verdicts = list(self.judge(self.instance(raw), 1.0))
            if any(v.outcome == "undecided" for v in verdicts):
                return inf
            return max((worth(1 - v.slack) for v in verdicts if v.slack is not None), default=0.0)
        with torch.no_grad():
            return worth(float(self.ratio({name: torch.tensor(v) for name, v in self.instance(raw).items()})))


def worth(ratio: float) -> float:
    """The ratio, infinite where it is not a number."""
    return ratio if isfinite(ratio) else inf


@dataclass(frozen=True)
class Found:
    """An instance with its certified slack, and a float c such that error > c·bound is certified."""

    method: str
    slack: float
    exceeds: float
    instance: Instance
    violated: str = ""  # the refutation, if there is one


def certified(attack: Attack, method: str, instance: Instance, left: list[str]) -> Found | None:
    """The slack of an instance by enclosures, and that the lowered bound is refuted on it; None if undecided.

    What is undecided about the bound itself is added to `left`.
    """
    verdicts = list(attack.judge(instance, 1.0))
    undecided = [v.instance for v in verdicts if v.outcome == "undecided"]
    left += undecided
    slacks = [v.slack for v in verdicts if v.slack is not None]
    if not slacks or undecided:
        return None
    slack = min(slacks)
    exceeds = (1 - slack) * attack.below
    if all(v.outcome != "refuted" for v in attack.judge(instance, exceeds)):
        return None
    violated = next((v.instance for v in verdicts if v.outcome == "refuted"), "")
    return Found(method, slack, exceeds, instance, violated)


def drawn(attack: Attack, shapes: Shapes, rng: np.random.Generator) -> Instance:
    """A point of the box; half of the coordinates lie on the box's corners or in its middle."""
    raw = {}
    for name, shape in shapes.items():
        low, high = attack.box[name]
        special = rng.choice([low, (low + high) / 2, high], shape)
        raw[name] = np.where(rng.random(shape) < 0.5, special, rng.uniform(low, high, shape))
    return raw


def promising(attack: Attack, count: int, rng: np.random.Generator) -> list[Instance]:
    """Random points, the best of SCREENED for each restart; the restarts take the shapes in turn."""
    rounds = [
        [drawn(attack, attack.shapes[i % len(attack.shapes)], rng) for _ in range(SCREENED)] for i in range(count)
    ]
    return [max(points, key=attack.score) for points in rounds]


def ascend(attack: Attack, start: Instance, steps: int) -> Instance:
    """Adam on error/bound from a start, clipped to the box, the step falling from 1e-2 of the box to 1e-7 of it."""
    assert attack.ratio is not None
    variables = {name: torch.tensor(values, requires_grad=True) for name, values in start.items()}
    widths = {name: attack.box[name][1] - attack.box[name][0] for name in variables}
    adam = torch.optim.Adam([{"params": [v], "lr": widths[name] / 100} for name, v in variables.items()])
    fall = torch.optim.lr_scheduler.ExponentialLR(adam, 1e-5 ** (1 / steps))
    best, best_ratio = start, attack.score(start)
    for _ in range(steps):
        adam.zero_grad()
        ratio = attack.ratio(attack.decode(variables))
        if ratio.requires_grad:
            (-ratio).backward()
        value = worth(float(ratio.detach()))
        if value > best_ratio:
            best, best_ratio = {name: v.detach().numpy().copy() for name, v in variables.items()}, value
        for v in variables.values():
            if v.grad is not None:
                v.grad.nan_to_num_(0.0, 0.0, 0.0)
        adam.step()
        fall.step()
        with torch.no_grad():
            for name, v in variables.items():
                v.clamp_(*attack.box[name])
    return best


def climb(attack: Attack, start: Instance, steps: int, rng: np.random.Generator, share: float = 0.25) -> Instance:
    """Coordinates in random order, each moved by up to a share of the box, halved when none of a round helped."""
    best, best_score, idle = start, attack.score(start), 0
    places = [(name, place) for name, values in start.items() for place in np.ndindex(values.shape)]
    for _ in range(steps):
        name, place = places[rng.integers(len(places))]
        low, high = attack.box[name]
        moved = {key: values.copy() for key, values in best.items()}
        move = share * (high - low) * rng.choice([-1, 1]) * rng.uniform(0.5, 1)
        moved[name][place] = np.clip(moved[name][place] + move, low, high)
        score = attack.score(moved)
        idle += 1
        if score > best_score:
            best, best_score, idle = moved, score, 0
        if idle >= 2 * len(places):
            share, idle = share / 2, 0
    return best


def by_hypothesis(attack: Attack, examples: int, rng: np.random.Generator) -> list[Instance]:
    """The points that hypothesis, climbing on the score, found best."""
    one_of = st.one_of([st.fixed_dictionaries(_arrays(attack, shapes)) for shapes in attack.shapes])
    found: list[tuple[float, Instance]] = []

    def judge(raw: Instance) -> Iterator[Verdict]:
        score = attack.score(raw)
        found.append((score, raw))
        yield Verdict("holds", "", 1 - score)

    searched(one_of, judge, rng, examples)
    return [raw for _, raw in sorted(found, key=lambda pair: -pair[0])[:3]]


def _arrays(attack: Attack, shapes: Shapes) -> dict[str, st.SearchStrategy[np.ndarray]]:
    def array(name: str, shape: tuple[int, ...]) -> st.SearchStrategy[np.ndarray]:
        low, high = attack.box[name]
        number = st.one_of(st.floats(low, high, allow_subnormal=False), st.sampled_from((low, (low + high) / 2, high)))
        size = int(np.prod(shape))
        return st.lists(number, min_size=size, max_size=size).map(lambda values: np.array(values).reshape(shape))

    return {name: array(name, shape) for name, shape in shapes.items()}


def attacked(attack: Attack, seed: int, steps: int, restarts: int, left: list[str] | None = None) -> dict[str, Found]:
    """The best certified instance of each method; the same seed finds the same instances.

    What enclosures leave undecided about an instance that a method found is added to `left`.
    """
    left = [] if left is None else left
    rng = np.random.default_rng([seed, crc32(attack.bound.encode())])
    steps = max(1, round(steps * attack.effort))
    starts = [*attack.known, *promising(attack, restarts, rng)]
    if attack.ratio is not None:
        candidates = {"gradient": [climb(attack, ascend(attack, s, steps), steps, rng, 1e-3) for s in starts]}
    else:
        candidates = {"coordinates": [climb(attack, start, steps, rng) for start in starts]}
    candidates["hypothesis"] = by_hypothesis(attack, 2 * steps, rng)
    best = {}
    for method, raws in candidates.items():
        ranked = sorted(raws, key=lambda raw: -attack.score(raw))[:3]
        found = [certified(attack, method, attack.instance(raw), left) for raw in ranked]
        sound = [one for one in found if one is not None]
        if sound:
            best[method] = min(sound, key=lambda one: one.slack)
    return best


def written(slack: float) -> str:
    """The slack as the file of a kept instance says it; two finds are compared as they are written."""
    return f"{slack:.6g}"


def content(attack: Attack, found: Found, searched_with: Mapping[str, int]) -> bytes:
    """The file of a kept instance, with what finds it again; floats as Python writes them, which is exact."""
    fields = {
        "bound": attack.bound,
        "setting": attack.setting,
        "method": found.method,
        **searched_with,
        "slack": written(found.slack),
        "exceeds": found.exceeds,
        "instance": {name: values.tolist() for name, values in found.instance.items()},
    }
    return (json.dumps(fields, indent=1, allow_nan=False) + "\n").encode()


def run(options: argparse.Namespace) -> int:
    """Attack as the options of `falsify_command` say; 1 when a bound is violated or left undecided."""
    from theory_checks.falsifiers import ATTACKS, SKIPPED

    searched_with = {name: getattr(options, name) for name in ("seed", "steps", "restarts")}
    chosen = options.ids or list(ATTACKS)
    for id in chosen:
        if id in SKIPPED:
            raise InputError(f"{id!r} is not attacked: {SKIPPED[id]}")
        if id not in ATTACKS:
            near = meant(id, ATTACKS)
            raise InputError(f"{id!r} names no bound{near and f'{near}, '} of {', '.join(ATTACKS)}")
    violated, lines = [], []
    left: list[str] = []
    with Progress("bound") as progress:
        for number, id in enumerate(chosen, start=1):
            attack = ATTACKS[id]()
            open_here: list[str] = []
            found = attacked(attack, **searched_with, left=open_here)
            left += [f"{id}: {one}" for one in dict.fromkeys(open_here)]
            line, refutation = _keep(attack, found, searched_with)
            lines.append(line)
            violated += refutation
            progress(number, len(chosen))
    columns = ["gradient", "coord.", "hypoth.", "certified", "kept", "loose by"]
    head = f"{'bound':22s} {'method':11s} {' '.join(f'{column:>9s}' for column in columns)}"
    print("\n".join([head, "-" * len(head), *lines]))
    if not options.ids:
        print("\n" + "\n".join(f"{id} is not attacked: {why}" for id, why in SKIPPED.items()))
    print("\n" + ("\n".join(f"VIOLATED: {one}" for one in violated) or "no bound is violated"))
    if left:
        print("\n".join(f"UNDECIDED: {one}" for one in left))
    return int(bool(violated or left))


def _keep(attack: Attack, found: Mapping[str, Found], searched_with: Mapping[str, int]) -> tuple[str, list[str]]:
    """Write the best instance if it is better than what is kept; the table's line, and refutations."""
    before = kept.read(attack.bound)
    best = min(found.values(), key=lambda one: one.slack, default=None)
    if best is not None and (before is None or float(written(best.slack)) < float(before["slack"])):
        kept.WORST.mkdir(exist_ok=True)
        write_all({kept.WORST / f"{attack.bound}.json": content(attack, best, searched_with)})
    now = kept.read(attack.bound)
    slacks = [found[m].slack if m in found else None for m in ("gradient", "coordinates", "hypothesis")]
    slacks += [best.slack if best else None, float(now["slack"]) if now else None]
    shown = " ".join("        -" if slack is None else f"{slack:9.2g}" for slack in slacks)
    loose = f"{1 / (1 - float(now['slack'])):9.4g}" if now else "        -"
    line = f"{attack.bound:22s} {best.method if best else '-':11s} {shown} {loose}"
    return line, [one.violated for one in found.values() if one.violated]
