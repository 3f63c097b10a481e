"""`python -m theory_checks.explicit_radii`: from how many samples on Theorem F.1 with constants says something."""

from __future__ import annotations

if __name__ == "__main__":  # before what --help does not need is loaded
    from constructions.process import start

    start("theory_checks.explicit_radii_command")

from collections.abc import Iterator

import numpy as np

from constructions.em_class import split_tolerance
from theory_checks.test_theorem_f1_explicit import HALF, Case, mixture, radii, task_class

SIZES = ((1, 2), (2, 2), (5, 2), (3, 3), (5, 5), (10, 10))
"""(d, K)."""
CONSTANTS = (4.0, 8.0, 16.0, 32.0, 64.0)
LEAST, MOST = 8, 24
"""log₂ n."""


def plateau(constant: float, dim: int, components: int, count: int) -> float | None:
    """The bound after every number of steps that the recursion ends at; None where it is vacuous. Equal weights."""
    case = Case(constant, dim, components, count, 1 / components)
    truth = mixture(case, np.random.default_rng(0))
    found = radii(case, truth, split_tolerance(task_class(case, truth), case.tolerance, "floor"))
    return found[-1] if len(found) > 1 else None


def samples_from(constant: float, dim: int, components: int) -> int | None:
    """The power of two from which on, up to 2^MOST, the bound is below ½; None if it is not at 2^MOST."""
    least = None
    for exponent in range(MOST, LEAST - 1, -1):
        if plateau(constant, dim, components, 2**exponent) is None:
            return least
        least = 2**exponent
    return least


def table() -> Iterator[str]:
    """The least number of samples for each size and C, line by line."""
    yield f"least n, a power of two up to 2^{MOST}, from which on the bound is below {HALF:g}; equal weights, eps 0.05"
    yield f"{'d':>3s} {'K':>3s}" + "".join(f"{f'C = {constant:g}':>10s}" for constant in CONSTANTS)
    for dim, components in SIZES:
        found = [samples_from(constant, dim, components) for constant in CONSTANTS]
        yield f"{dim:3d} {components:3d}" + "".join(f"{'none' if n is None else n:>10}" for n in found)
