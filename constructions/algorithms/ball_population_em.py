"""Population EM with two components in real balls: enclosures of what algorithms/population_em.py computes in floats.

With e = (μ_2 − μ_1)/δ, δ = ‖μ_2 − μ_1‖, w_2(x) = σ(δ(⟨x, e⟩ − τ)): a sample belongs to the side of a threshold on which
it lies. With g standard normal, ξ logistic, p = τ − ⟨μ_1*, e⟩ and q = ⟨μ_2*, e⟩ − τ, under the true components

    E_1[w_2] = A(p), E_2[w_1] = A(q),   A(s) = E σ(δ(g − s)) = P(g + ξ/δ > s),
    E_1[w_2 ⟨X − μ_1*, e⟩] = B(p), E_2[w_1 ⟨X − μ_2*, e⟩] = −B(q),   B(s) = E g σ(δ(g − s)) = −A′(s),

the latter by parts; and across e, X − μ_j* has mean 0 given w. This is all that a step needs in any dimension.
"""

from __future__ import annotations

import flint
import numpy as np
from jaxtyping import Shaped

from constructions.balls import fill, norm


def trapezoid_error(shift: flint.arb, step: flint.arb, reach: flint.arb) -> flint.arb:
    """What the trapezoid rule on h·(−n, ..., n) misses of A and B: a = `shift` ≤ π/(2δ), h = `step`, nh = `reach`.

    Where |Im g| ≤ a, |σ| ≤ 1 and |φ(g)| = e^{a²/2} φ(Re g), so that it is off by at most
    2(1 + a)e^{a²/2}/(e^{2πa/h} − 1); beyond nh both lack at most 2φ(nh) (see `population_em.quadrature_error`).
    """
    pi = flint.arb.pi()
    spaced = 2 * (1 + shift) * (shift * shift / 2).exp() / ((2 * pi * shift / step).exp() - 1)
    return spaced + 2 * (-reach * reach / 2).exp() / (2 * pi).sqrt()


def misplaced(threshold: flint.arb, gap: flint.arb) -> tuple[flint.arb, flint.arb]:
    """(A(s), B(s)) for s = `threshold` and δ = `gap` > 0, which may be wide balls.

    By the trapezoid rule, whose two errors are about 2^−bits.
    """
    digits = flint.ctx.prec * flint.arb.const_log2()
    pi = flint.arb.pi()
    shift = (pi / (2 * gap.upper())).min(digits.sqrt())
    step = (2 * pi * shift / (digits + shift * shift / 2 + 4)).mid()
    count = int(float(((2 * digits).sqrt() / step).mid())) + 1
    mass, moment = flint.arb(0), flint.arb(0)
    for n in range(-count, count + 1):
        g = n * step
        w = (-g * g / 2).exp() / (1 + (gap * (threshold - g)).exp())
        mass, moment = mass + w, moment + g * w
    scale = step / (2 * pi).sqrt()
    error = flint.arb(0, trapezoid_error(shift, step, count * step).upper())
    return mass * scale + error, moment * scale + error


def population_error(
    true_weights: Shaped[np.ndarray, " 2"],
    true_means: Shaped[np.ndarray, "2 d"],
    weights: Shaped[np.ndarray, " 2"],
    means: Shaped[np.ndarray, "2 d"],
) -> tuple[Shaped[np.ndarray, " 2"], Shaped[np.ndarray, "2 d"]]:
    """(π⁺ − π*, μ⁺ − μ*) after one step from `weights`, `means`, whose two means differ; all are balls."""
    apart = means[1] - means[0]
    gap = norm(apart).item()
    direction = apart / gap
    prior = (weights[0] / weights[1]).log() / gap
    middle = means.sum(axis=0) / 2
    p = ((middle - true_means[0]) * direction).sum() + prior
    q = ((true_means[1] - middle) * direction).sum() - prior
    (lost_p, pull_p), (lost_q, pull_q) = misplaced(p, gap), misplaced(q, gap)
    from_1, from_2 = true_weights[0] * lost_p, true_weights[1] * lost_q
    pull = true_weights[0] * pull_p + true_weights[1] * pull_q
    off = from_1 - from_2
    between = true_means[1] - true_means[0]
    first = (from_2 * between - pull * direction) / (true_weights[0] - off)
    second = (pull * direction - from_1 * between) / (true_weights[1] + off)
    return fill((-off, off), (2,)), np.stack([first, second])
