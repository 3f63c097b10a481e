"""Lemma F.5: a ReLU network for the square."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from constructions.relu_networks import ReluNetwork, square_network, square_pieces
from constructions.rounding_error import gamma
from theory_checks.ledger import Verdict, compare, require, statement

UNIT = 2.0**-53


@statement("lemma-f5", source="Lemma F.5, with constants of ours", text="ours", evidence="sampled")
def lemma_f5(
    rng: np.random.Generator, *, network: Callable[[float, int], ReluNetwork] = square_network
) -> Iterator[Verdict]:
    """For A, δ > 0, 2⌈A/(2√δ)⌉ units with |a_j| ≤ 2A, |w_j| ≤ 1, |b_j| ≤ A give 0 ≤ φ(x) − x² ≤ h²/4 ≤ δ on [−A, A].

    φ is even and non-decreasing in |x|. (The paper's constants are not legible in our copy.)
    """
    for radius in (0.3, 1.0, 7.0, 100.0):
        for delta in (1.0, 0.1, 1e-2, 1e-4):
            pieces = square_pieces(radius, delta)
            if pieces > 10_000:
                continue
            phi, h = network(radius, pieces), radius / pieces
            name = f"A={radius} delta={delta}"
            yield require(phi.units == 2 * pieces, f"{name}: {phi.units} units")
            yield require(bool(np.abs(phi.a).max() <= 2 * radius), f"{name} |a|")
            yield require(bool(np.abs(phi.w).max() <= 1), f"{name} |w|")
            yield require(bool(np.abs(phi.b).max() <= radius), f"{name} |b|")
            yield require(h**2 / 4 <= delta * (1 + 8 * UNIT), f"{name} h^2/4 <= delta")
            middles = (np.arange(-pieces, pieces) + 0.5) * h
            x = np.sort(np.concatenate([middles, rng.uniform(-radius, radius, 500), [-radius, 0.0, radius]]))
            allowance = gamma(pieces + 8, UNIT) * phi(x) + 16 * UNIT * x**2
            excess = phi(x) - x**2
            yield compare(float((excess - allowance).max()), h**2 / 4, f"{name} above")
            yield compare(float((-excess - allowance).max()), 0.0, f"{name} below")
            yield compare(float((np.abs(phi(x) - phi(-x)) - 2 * allowance).max()), 0.0, f"{name} even")
            right = x >= 0
            drop = -np.diff(phi(x[right])) - allowance[right][1:] - allowance[right][:-1]
            yield compare(float(drop.max()), 0.0, f"{name} monotone")


def _broken(change: Callable[[ReluNetwork], ReluNetwork]) -> Callable[[float, int], ReluNetwork]:
    return lambda radius, pieces: change(square_network(radius, pieces))


lemma_f5.control("a chord too few", network=lambda radius, pieces: square_network(radius, max(1, pieces - 1)))
lemma_f5.control("all weights scaled by 1.01", network=_broken(lambda phi: replace(phi, a=1.01 * phi.a)))
lemma_f5.control("a_0 = 2h instead of h", network=_broken(lambda phi: replace(phi, a=np.full_like(phi.a, phi.a.max()))))
lemma_f5.control("one half missing", network=_broken(lambda phi: replace(phi, w=np.abs(phi.w))))
test_lemma_f5, test_lemma_f5_controls = lemma_f5.tests()
