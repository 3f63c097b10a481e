"""A bound against its formula, written down again term by term, and every term of it missed when it is dropped.

A test restates a bound from its page in proofs_notes/ as `formula(t, *instance)`, in which t("name", value) marks a
term or a factor and returns it. `assert_terms` compares it with the code and scales every mark in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

SCALES = (0.0, 0.5, 2.0)


class Terms:
    """t("name", value) is the value, but for the one term that is scaled."""

    def __init__(self, name: str = "", factor: float = 1.0) -> None:
        self.scaled, self.factor, self.names = name, factor, dict[str, None]()

    def __call__(self, name: str, value: Any) -> Any:
        """Mark a term."""
        self.names[name] = None
        return self.factor * value if name == self.scaled else value


def assert_terms(
    code: Callable[..., Any], formula: Callable[..., Any], instances: Sequence[tuple[Any, ...]], rel: float = 1e-12
) -> None:
    """code(*instance) is formula(Terms(), *instance) to `rel`, and each term dropped, halved or doubled is seen.

    Seen: on one of the instances the value moves by more than 100 rel, so that the comparison would have failed there.
    `rel` is what rounding of the two evaluations may come to: numbers of operations times 2^−53, with room.
    """
    exact, names = [], dict[str, None]()
    for instance in instances:
        marks = Terms()
        exact.append(np.asarray(formula(marks, *instance), dtype=float))
        names |= marks.names
        np.testing.assert_allclose(np.asarray(code(*instance), dtype=float), exact[-1], rtol=rel, atol=0)
    unseen = [
        (name, factor)
        for name in names
        for factor in SCALES
        if not any(
            moved(formula, instance, value, name, factor, rel) for instance, value in zip(instances, exact, strict=True)
        )
    ]
    assert not unseen, f"no instance misses these terms: {unseen}"


def moved(
    formula: Callable[..., Any], instance: tuple[Any, ...], value: Any, name: str, factor: float, rel: float
) -> bool:
    """Whether scaling one term moves the formula's value by more than 100 rel; to what is no number as well."""
    with np.errstate(all="ignore"):
        try:
            other = np.asarray(formula(Terms(name, factor), *instance), dtype=float)
        except (ValueError, ZeroDivisionError, OverflowError):  # out of a function's domain
            return True
        same = (other == value) | (np.abs(other - value) <= 100 * rel * np.abs(value))
    return not bool(same.all())
