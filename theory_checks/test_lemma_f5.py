"""Lemma F.5: a ReLU network for the square, in rationals, for every x of the interval."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from math import ceil, isqrt

import numpy as np
from flint import fmpq

from constructions.number_system import Rationals
from constructions.relu_networks import ReluNetwork, square_network
from theory_checks.coverage import covering
from theory_checks.ledger import Verdict, require, statement
from theory_checks.segments import above_square, larger, lines, pieces

SquareNetwork = Callable[[fmpq, int], ReluNetwork]
RADII = ("3/10", "1", "7", "100", "2000/3")
DELTAS = ("1", "1/10", "1/100", "1/1000", "1/10000", "1/1000000")


def exact_network(radius: fmpq, count: int) -> ReluNetwork:
    """The network of the square in rationals."""
    return square_network(radius, count, Rationals())


@statement(
    "lemma-f5",
    source="Lemma F.5, with constants of ours",
    text="ours",
    evidence="exact",
    coverage="interval",
    paper=("Lemma F.5",),
)
def lemma_f5(rng: np.random.Generator, *, network: SquareNetwork = exact_network) -> Iterator[Verdict]:
    """For A, δ > 0, 2⌈A/(2√δ)⌉ units with |a_j| ≤ 2A, |w_j| ≤ 1, |b_j| ≤ A give 0 ≤ φ(x) − x² ≤ h²/4 ≤ δ on [−A, A].

    φ(jh) = (jh)² at all knots, h²/4 is attained between any two; φ is even and non-decreasing in |x|. Every x of [−A,
    A], for listed A from 3/10 to 2000/3 and δ from 1 to 10⁻⁶. (The paper's constants are not legible in our copy.)
    """
    for a, d in ((a, d) for a in RADII for d in DELTAS):
        # The least integer n with n² ≥ A²/(4δ).
        count = isqrt(ceil(Fraction(a) ** 2 / (4 * Fraction(d))) - 1) + 1
        if count > 10_000:
            continue
        (radius, delta), name = (Rationals().number(Fraction(v)) for v in (a, d)), f"A={a} delta={d}"
        yield from covering("interval", _as_stated(network, radius, delta, count, name))


def _as_stated(network: SquareNetwork, radius: fmpq, delta: fmpq, count: int, name: str) -> Iterator[Verdict]:
    h, phi = radius / count, network(radius, count)
    yield require(phi.units == 2 * count, f"{name}: {phi.units} units")
    yield require(max(abs(phi.a)) <= 2 * radius, f"{name} |a|")
    yield require(max(abs(phi.w)) <= 1, f"{name} |w|")
    yield require(max(abs(phi.b)) <= radius, f"{name} |b|")
    yield require(h * h / 4 <= delta, f"{name} h^2/4 <= delta")
    p = pieces(lines(phi), -radius, radius)
    ends = np.append(p.left, p.right[-1:])
    yield require(list(ends) == [j * h for j in range(-count, count + 1)], f"{name} the multiples of h are the knots")
    gaps = above_square(p)
    yield require(bool((gaps[:2] == 0).all()), f"{name} the square at every knot")
    yield require(bool((larger.reduce(gaps) == h * h / 4).all()), f"{name} h^2/4 on every chord, at most")
    yield require(p.least(gaps) == 0, f"{name} never below the square")
    even = (p.slopes == -p.slopes[::-1]).all() and (p.offsets == p.offsets[::-1]).all()
    yield require(bool(even), f"{name} even")
    yield require(bool((p.slopes[p.left >= 0] >= 0).all()), f"{name} monotone")


def _broken(change: Callable[[ReluNetwork], ReluNetwork]) -> SquareNetwork:
    return lambda radius, count: change(exact_network(radius, count))


lemma_f5.control("a chord too few", network=lambda radius, count: exact_network(radius, max(1, count - 1)))
lemma_f5.control("all weights scaled by 101/100", network=_broken(lambda phi: replace(phi, a=fmpq(101, 100) * phi.a)))
lemma_f5.control("a_0 = 2h instead of h", network=_broken(lambda phi: replace(phi, a=np.full_like(phi.a, max(phi.a)))))
lemma_f5.control("one half missing", network=_broken(lambda phi: replace(phi, w=abs(phi.w))))
test_lemma_f5, test_lemma_f5_controls = lemma_f5.tests()
