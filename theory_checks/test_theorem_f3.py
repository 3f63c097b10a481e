"""Theorem F.3 and Remark F.4: population EM contracts near the true parameters; with which constant for K = 2."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import numpy as np

from constructions import population_bounds
from theory_checks.coverage import covering
from theory_checks.enclosures import decided, enclose
from theory_checks.ledger import Verdict, compare, statement
from theory_checks.population_instances import climb, contraction_rate, contraction_region, mixture
from theory_checks.test_theorem_f2 import BITS, COARSE, FAR, FINE, Ball, covered, instances, worst

RADII = (0.5, 0.9)
"""a of Theorem F.3."""
LEAST = {0.5: 4.0, 0.9: 6.0}
"""The least C with which it is checked, by a."""
PROVED = {0.5: 9.0, 0.9: 11.0}
"""The C with which it is proved for two components."""
CORNER = 0.5
"""What β is below at the smallest R and equal weights, where it is largest."""


@statement(
    "theorem-f3",
    source="Theorem F.3 (Kwon & Caramanis 2020, Theorem 1), K = 2, 3",
    text="recovered",
    evidence="sampled",
    paper=("Theorem F.3",),
    note="theorem_f2",
)
def theorem_f3(
    rng: np.random.Generator,
    *,
    full: bool = False,
    constants: tuple[float, ...] = (),
    radii: tuple[float, ...] = RADII,
    rate: float = 1.0,
) -> Iterator[Verdict]:
    """If R_min ≥ C√log(ρ_π K) and D ≤ a < 1, one population-EM step gives D⁺ < D: C ≥ 4 for a = 0.5, C ≥ 6 for a = 0.9.

    For these C, 16 and 128, and listed weights and d, the worst D⁺/D of the region is looked for; at the point found,
    the inequality is certified for K = 2.
    """
    for radius in radii:
        for constant, shares, dim, name in instances(full, constants or (LEAST[radius], 16.0, 128.0)):
            region = contraction_region(mixture(constant, shares, dim), f"a={radius:g} {name}", radius)
            yield from worst(region, contraction_rate, rng, lambda before, after: after / before, rate)


theorem_f3.control("C lowered to 1", constants=(1.0,))
theorem_f3.control("a rate of 1/10 at C = 4, a = 1/2", constants=(4.0,), radii=(0.5,), rate=0.1)
test_theorem_f3, test_theorem_f3_controls = theorem_f3.tests()


def squared(constant: float) -> Ball:
    """R_0² = C² log 2."""
    return Ball(constant) * Ball(constant) * Ball(2).log()


@statement(
    "theorem-f3-two",
    source="Theorem F.3 and Remark F.4 for two components, with constant and rate",
    text="ours",
    evidence="certified",
    coverage="interval",
    paper=("Theorem F.3", "Remark F.4"),
    note="theorem_f2",
)
def theorem_f3_two(
    rng: np.random.Generator,
    *,
    constant: dict[float, float] = PROVED,
    slower: float = 1 / 16,
    corner: float = CORNER,
) -> Iterator[Verdict]:
    """K = 2, R ≥ C√log(2ρ_π) with C = 9 for a = 1/2, 11 for a = 0.9: D ≤ a gives D⁺ ≤ βD in every dimension, for all
    weights, with β ≤ ½e^{−(R² − C² log 2)/16} ≤ ½, and β ≤ ½·2^{−(c² − C²)/16} if R ≥ c√log(2ρ_π): β → 0.

    D⁺/D is at most b(R, log 2ρ_π, a), which is proved on paper (population-bounds compares). b ≤ ½e^{…} is enclosed for
    every R and ρ_π allowed.
    """
    for radius, least in constant.items():

        def bound(separation: Ball, log_ratio: Ball, radius: float = radius) -> Ball:
            return population_bounds.contraction(separation, log_ratio, Ball(radius))

        def target(separation: Ball, least: float = least) -> Ball:
            return corner * ((squared(least) - separation * separation) * slower).exp()

        def end(radius: float = radius, least: float = least) -> list[Verdict]:
            beyond = population_bounds.contraction_tail(Ball(FAR), Ball(least), Ball(radius), Ball(slower))
            return [enclose(beyond, corner * (squared(least) * slower).exp(), f"a={radius:g} all R >= {FAR:g}")]

        yield from covering("interval", decided(partial(covered, bound, target, least), BITS, BITS))
        yield from covering("interval", decided(end, BITS))


theorem_f3_two.control("C = 8 for a = 1/2", constant={0.5: 8.0})
theorem_f3_two.control("a rate that falls twice as fast", slower=1 / 8)
theorem_f3_two.control("0.43 at the smallest R, a = 1/2", constant={0.5: 9.0}, corner=0.43)
theorem_f3_two.control("0.43 at the smallest R, a = 0.9", constant={0.9: 11.0}, corner=0.43)
test_theorem_f3_two, test_theorem_f3_two_controls = theorem_f3_two.tests()


@statement(
    "remark-f4",
    source="Remark F.4, K = 2, 3",
    text="recovered",
    evidence="sampled",
    depends_on=("theorem-f3-two",),
    paper=("Remark F.4",),
    note="theorem_f2",
)
def remark_f4(
    rng: np.random.Generator, *, constants: tuple[float, ...] = (6.0, 8.0, 10.0, 14.0), small: float = 1e-3
) -> Iterator[Verdict]:
    """For fixed a the worst D⁺/D found over D ≤ a falls to less than half from each of C = 6, 8, 10, 14 to the next,
    and is below 1/1000 at C = 14.

    For a = 0.5 and 0.9, K = 2, 3 and listed weights. That it falls below every β > 0 is proved for K = 2
    (theorem-f3-two).
    """
    for radius in RADII:
        for shares, dim in (((1, 1), 2), ((1, 10), 1), ((1, 1, 1), 2)):
            regions = [contraction_region(mixture(c, shares, dim), "", radius) for c in constants]
            search = (FINE, 24, 50) if len(shares) == 2 else (COARSE, 8, 30)
            rates = [climb(region, contraction_rate, rng, *search)[0] for region in regions]
            name = f"a={radius:g} weights {':'.join(map(str, shares))} d={dim}"
            for (low, slow), (high, fast) in pairwise(zip(constants, rates, strict=True)):
                yield compare(fast, slow / 2, f"{name}: half the rate from C={low:g} to {high:g}")
            yield compare(rates[-1], small, f"{name}: C={constants[-1]:g}")


remark_f4.control("C kept below 2", constants=(1.0, 1.3, 1.6, 1.9))
remark_f4.control("below 1/1000 at C = 6", constants=(3.0, 4.0, 5.0, 6.0))
test_remark_f4, test_remark_f4_controls = remark_f4.tests()
