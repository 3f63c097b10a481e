"""Adversarial instances: hypothesis draws them and climbs towards the least slack."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import isfinite
from typing import TypeVar

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings, target
from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider
from hypothesis.internal.constants_ast import Constants
from hypothesis.strategies import SearchStrategy

from theory_checks.ledger import Verdict

Instance = TypeVar("Instance")


class SeedOnly(HypothesisProvider):
    """Hypothesis's own draws, without the constants that it collects from the source of loaded modules.

    With them the instances would change with every edit and with what else is imported, not with the seed alone.
    """

    _local_constants = Constants()


AVAILABLE_PROVIDERS["seed-only"] = f"{__name__}.SeedOnly"


def searched(
    strategy: SearchStrategy[Instance],
    judge: Callable[[Instance], Iterable[Verdict]],
    rng: np.random.Generator,
    examples: int,
) -> list[Verdict]:
    """Verdicts on `examples` instances or more, drawn to maximise error/bound; reproducible from `rng`."""
    verdicts: list[Verdict] = []

    @seed(int(rng.integers(2**32)))
    @settings(
        max_examples=examples,
        database=None,
        backend="seed-only",
        deadline=None,
        phases=(Phase.generate, Phase.target),
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def draw(instance: Instance) -> None:
        found = list(judge(instance))
        verdicts.extend(found)
        ratios = [1 - v.slack for v in found if v.slack is not None and isfinite(v.slack)]
        if ratios:
            target(max(ratios))

    draw()
    return verdicts
