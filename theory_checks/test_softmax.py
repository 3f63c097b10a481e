"""Lemma F.7, Corollary F.1, P1 and P2: what a change of the logits, or of the weights, does to a softmax.

Each row has two parts. Symbolic identities are the steps of the proof, written so that they cover every size: the
coordinates that do not matter enter as one positive symbol, their sum. Then instances, logits that are exact floats,
are enclosed in balls; those of P2 are rational and judged exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import reduce

import flint
import numpy as np
import sympy
from scipy.special import logsumexp

from constructions import bounds
from constructions.balls import to_balls
from constructions.number_system import Balls, Rationals, Scalar
from theory_checks import kept
from theory_checks.enclosures import decided, enclose, equal
from theory_checks.identities import identity
from theory_checks.ledger import Verdict, require, statement

BALLS, RATIONALS = Balls(), Rationals()
to_rationals = np.vectorize(RATIONALS.number, otypes=[object])

Bound = Callable[[Scalar], Scalar]
Pairs = Iterable[tuple[str, np.ndarray, np.ndarray]]  # of logits, with a name
Measure = Callable[[np.ndarray, np.ndarray], flint.arb]  # of two vectors of balls


def logit_pairs(rng: np.random.Generator, low: float = -1.0) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Moves within D·[low, 1] of random logits, and opposite ones: one logit by D, all others by D·low.

    The odds of the moved one against the rest are the instance's position: as they vanish F.7 is approached, at
    e^{−(1−low)D/2}·(1 + small) P1 and the corollary's sharp form are. Logits reach 1e4.
    """
    for size in (2, 3, 7, 101):
        for step in (1e-3, 0.1, 1.0, 10.0):
            for spread in (3.0, 1e4):
                for repetition in range(5):
                    u = spread * rng.uniform(-1, 1, size)
                    name = f"random n={size} D={step} spread={spread} #{repetition}"
                    yield name, u, u + step * rng.uniform(low, 1, size)
    for size in (2, 5, 101):
        for step in (1e-6, 1e-3, 0.05, 0.3, 2.0, 20.0):
            for offset in (0.0, 1e4):
                near = [(low - 1) * step / 2 + away for away in (0.1, 1e-3, 1e-6)]
                for log_odds in (-300.0, -30.0, -3.0, *near):
                    rest = 3 * rng.standard_normal(size - 1)
                    u = np.r_[logsumexp(rest) + log_odds, rest] + offset
                    name = f"opposite n={size} D={step} log-odds={log_odds:.7g} offset={offset}"
                    yield name, u, u + step * np.r_[1.0, np.full(size - 1, low)]


def log_softmax(u: np.ndarray) -> np.ndarray:
    """Enclosures of u_k − log Σ_j e^{u_j}."""
    return u - BALLS.exp(u).sum().log()


def softmax(u: np.ndarray) -> np.ndarray:
    """Enclosures of e^{u_k}/Σ_j e^{u_j}."""
    weights = BALLS.exp(u)
    return weights / weights.sum()


def distance(u: np.ndarray, v: np.ndarray) -> flint.arb:
    """‖u − v‖_∞."""
    return reduce(flint.arb.max, abs(u - v))


def span(u: np.ndarray, v: np.ndarray) -> flint.arb:
    """Range of v − u."""
    return reduce(flint.arb.max, v - u) - reduce(flint.arb.min, v - u)


def variation(u: np.ndarray, v: np.ndarray) -> flint.arb:
    """TV(softmax(u), softmax(v)) = ½ Σ_j|p_j − q_j|."""
    return abs(softmax(u) - softmax(v)).sum() / 2


def enclosed(
    pairs: Pairs,
    error: Measure,
    change: Measure,
    bound: Bound,
    trivial: int | None = None,
) -> Iterator[Verdict]:
    """Judge error(u, v) ≤ bound(change(u, v)) for every pair."""
    for name, one, other in pairs:

        def judge(name: str = name, one: np.ndarray = one, other: np.ndarray = other) -> Iterator[Verdict]:
            u, v = to_balls(one), to_balls(other)
            limit = None if trivial is None else flint.arb(trivial)
            yield enclose(error(u, v), bound(change(u, v)), name, limit)

        yield from decided(judge)


def attained(change: Measure, bound: Bound) -> Iterator[Verdict]:
    """TV = bound for the two points with logits ∓t/2: the function `bound` is the value that the symbols find."""
    for step in (1e-3, 0.05, 0.3, 2.0, 40.0):

        def judge(step: float = step) -> Iterator[Verdict]:
            u = to_balls(np.array([-step, step]) / 2)
            yield equal(variation(u, -u), bound(change(u, -u)), f"attained, logits -+{step / 2}")

        yield from decided(judge)


def log_ratios(pairs: Pairs, bound: Bound) -> Iterator[Verdict]:
    """Judge Lemma F.7's quantity."""
    return enclosed(pairs, lambda u, v: distance(log_softmax(u), log_softmax(v)), distance, bound)


def differences(pairs: Pairs, bound: Bound) -> Iterator[Verdict]:
    """Judge Corollary F.1's quantity."""
    return enclosed(pairs, lambda u, v: distance(softmax(u), softmax(v)), distance, bound, trivial=1)


def the_worst(found: kept.Instance) -> Pairs:
    """The pair of logits that is kept."""
    return [("the worst kept", found["u"], found["v"])]


@statement(
    "lemma-f7",
    source="Lemma F.7 (Lin et al. 2024, Lemma 18)",
    text="recovered",
    evidence="certified",
    paper=("Lemma F.7",),
)
def lemma_f7(rng: np.random.Generator, *, bound: Bound = bounds.log_ratio) -> Iterator[Verdict]:
    """‖log softmax(u) − log softmax(v)‖_∞ ≤ 2‖u − v‖_∞ for u, v in R^n; a supremum, never attained for u ≠ v.

    The steps of the proof are checked as identities for all sizes; the inequality is enclosed on drawn and kept pairs.
    """
    yield from kept.replay(lambda found: log_ratios(the_worst(found), bound), "lemma-f7")
    u, v, shift = sympy.symbols("u v D", real=True)
    others, p = sympy.symbols("others p", positive=True)  # Σ_{j≠k} e^{u_j}, and the moved logit's probability
    lse = sympy.log(sympy.exp(u) + others)
    ratio = sympy.log(sympy.exp(u) / (sympy.exp(u) + others)) - sympy.log(sympy.exp(v) / (sympy.exp(v) + others))
    split = (u - v) - (lse - lse.subs(u, v))
    yield identity(ratio - split, "log p_k - log q_k = (u_k - v_k) - (lse u - lse v)")
    grows = sympy.exp(u) / (sympy.exp(u) + others)
    yield identity(lse.diff(u) - grows, "the derivative of lse is softmax")
    yield require(bool(grows.is_positive), "so lse increases in every logit")
    moved = sympy.log(sympy.exp(u + shift) + sympy.exp(shift) * others)
    yield identity(moved - lse - shift, "lse(u + D) = lse(u) + D")
    # One logit moves by D, all others by −D; it has probability p before: lse moves by log(p e^D + (1 − p)e^{−D}).
    opposite = shift - sympy.log(p * sympy.exp(shift) + (1 - p) * sympy.exp(-shift))
    missing = sympy.log(1 + p * (sympy.exp(2 * shift) - 1))
    yield identity(
        (bound(shift) - opposite - missing).subs(p, 1 / (1 + others)),
        "opposite moves: what is missing to the bound is log(1 + p(e^2D - 1)) > 0",
    )
    yield from log_ratios(logit_pairs(rng), bound)


lemma_f7.control("factor 1.99 instead of 2", bound=lambda difference: 199 * difference / 100)
lemma_f7.control("just under the worst kept", bound=lambda u: kept.just_below("lemma-f7") * bounds.log_ratio(u))
test_lemma_f7, test_lemma_f7_controls = lemma_f7.tests()


@statement(
    "corollary-f1",
    source="Corollary F.1",
    text="recovered",
    evidence="certified",
    depends_on=("lemma-f7",),
    paper=("Corollary F.1",),
)
def corollary_f1(rng: np.random.Generator, *, bound: Bound = bounds.softmax_difference) -> Iterator[Verdict]:
    """‖softmax(u) − softmax(v)‖_∞ ≤ exp(2‖u − v‖_∞) − 1 for u, v in R^n.

    What it takes beside Lemma F.7 is checked as identities; the inequality is enclosed on drawn and kept pairs.
    """
    yield from kept.replay(lambda found: differences(the_worst(found), bound), "corollary-f1")
    size, q = sympy.symbols("D q", positive=True)
    p = q * sympy.exp(size)
    yield identity(p - q - q * (sympy.exp(sympy.log(p) - sympy.log(q)) - 1), "p - q = q(e^(log p - log q) - 1)")
    up, down = sympy.exp(2 * size) - 1, 1 - sympy.exp(-2 * size)
    yield identity(up - down - (sympy.exp(size) - sympy.exp(-size)) ** 2, "e^2D - 1 - (1 - e^-2D) is a square")
    yield require(sympy.limit(sympy.tanh(size / 2) / up, size, 0) == sympy.Rational(1, 4), "four times P1 as D -> 0")
    yield from differences(logit_pairs(rng), bound)


# At most a quarter of the bound is reached, near u = v.
corollary_f1.control("a fifth of the bound", bound=lambda difference: bounds.softmax_difference(difference) / 5)
corollary_f1.control(
    "just under the worst kept", bound=lambda u: kept.just_below("corollary-f1") * bounds.softmax_difference(u)
)
test_corollary_f1, test_corollary_f1_controls = corollary_f1.tests()


@statement(
    "p1",
    source="P1 (tilt): total variation against Hilbert's metric, Cohen & Fausti 2023",
    text="ours",
    evidence="certified",
)
def p1(
    rng: np.random.Generator,
    *,
    bound: Bound = bounds.tilt,
    mass: Callable[[sympy.Expr], sympy.Expr] = lambda root: 1 / (1 + root),
) -> Iterator[Verdict]:
    """If q ∝ p·exp(η) with η in [a, b] then TV(p, q) ≤ tanh((b − a)/4); two-point distributions attain it.

    The steps of the proof are checked as identities for all sizes; the inequality is enclosed on drawn pairs.
    """
    # A set S of mass s; e^η has the averages α on S and β off it, whatever the size; ρ = α/β ≤ e^{b−a} = κ².
    s, other, alpha, beta, rho, more = sympy.symbols("s other alpha beta rho more", positive=True)
    root = 1 + more  # κ > 1
    tilted = s * alpha / (s * alpha + other * beta)
    yield identity(tilted / (1 - tilted) - alpha / beta * s / other, "the odds of S are multiplied by rho")
    gain = rho * s / (1 + (rho - 1) * s) - s
    yield identity(gain - (tilted.subs(other, 1 - s) - s).subs(alpha, rho * beta), "the gain q(S) - p(S)")
    yield identity(gain.diff(rho) - s * (1 - s) / (1 + (rho - 1) * s) ** 2, "the gain increases with rho")
    best = (root - 1) / (root + 1)
    missing = best * (1 - s / mass(root)) ** 2 / (1 + (root**2 - 1) * s)
    yield identity(best - gain.subs(rho, root**2) - missing, "what is missing to the best gain is a square")
    yield identity(gain.subs({rho: root**2, s: mass(root)}) - best, "two points attain it")
    yield identity(best - sympy.tanh(sympy.log(root) / 2).rewrite(sympy.exp), "it is tanh((b - a)/4)")
    yield from attained(span, bound)
    yield from enclosed(logit_pairs(rng, low=0.0), variation, span, bound)


p1.control("1 % below the bound", bound=lambda spread: 99 * bounds.tilt(spread) / 100)
p1.control("half the range", bound=lambda spread: bounds.tilt(spread / 2))
p1.control("the extremal mass 1/2", mass=lambda root: sympy.Rational(1, 2))
test_p1, test_p1_controls = p1.tests()


@statement(
    "corollary-f1-sharp",
    source="Corollary F.1, sharpened by P1",
    text="ours",
    evidence="certified",
    depends_on=("p1",),
    paper=("Corollary F.1",),
)
def corollary_f1_sharp(rng: np.random.Generator, *, bound: Bound = bounds.softmax_variation) -> Iterator[Verdict]:
    """TV(softmax(u), softmax(v)) ≤ tanh(‖u − v‖_∞/2), below 1 whatever u, v; two-point distributions attain it.

    That q is p tilted is checked as an identity, which proves it for all sizes by P1; it is enclosed on drawn pairs.
    """
    u, v = sympy.symbols("u v", real=True)
    before, after = sympy.symbols("before after", positive=True)  # Σ_{j≠k} e^{u_j}, Σ_{j≠k} e^{v_j}
    p, q = sympy.exp(u) / (sympy.exp(u) + before), sympy.exp(v) / (sympy.exp(v) + after)
    total = p * sympy.exp(v - u) + (1 - p) * after / before  # Σ_j p_j e^{v_j − u_j}
    yield identity(q - p * sympy.exp(v - u) / total, "q is p tilted by v - u, whose range is at most 2D")
    yield from attained(distance, bound)
    yield from enclosed(logit_pairs(rng), variation, distance, bound)


corollary_f1_sharp.control(
    "1 % below the bound", bound=lambda difference: 99 * bounds.softmax_variation(difference) / 100
)
test_corollary_f1_sharp, test_corollary_f1_sharp_controls = corollary_f1_sharp.tests()


def weight_pairs(rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Rational weights: moved at random, with mass added where there was none (attained), of equal sums (half)."""
    for size in (2, 3, 7, 101):
        for scale in (1e-6, 1e-3, 0.1, 1.0):
            for repetition in range(10):
                a = rng.exponential(size=size) ** 3
                name, near = f"n={size} scale={scale} #{repetition}", 1 + scale * a
                yield f"random {name}", a, np.maximum(a + scale * rng.standard_normal(size), 0.0)
                new = scale * np.r_[np.zeros(size - 1), 1.0]
                yield f"added {name}", np.r_[a[:-1], 0.0], np.r_[a[:-1], 0.0] + new
                yield f"permuted {name}", near, np.roll(near, 1)
    yield "nothing left", np.ones(3), np.zeros(3)


@statement("p2", source="P2 (floor)", text="ours", evidence="exact")
def p2(rng: np.random.Generator, *, bound: Callable[[Scalar, Scalar], Scalar] = bounds.floor) -> Iterator[Verdict]:
    """For a, b ≥ 0 with positive sums, TV(a/Σa, b/Σb) ≤ Σ_j|a_j − b_j| / max(Σa, Σb).

    The steps of the proof are checked as identities for all sizes; the inequality is judged on drawn rational pairs.
    """
    a, b, total, more = sympy.symbols("a b total more", positive=True)  # Σa, and Σb − Σa ≥ 0
    larger = total + more
    missing = (b - a) / larger - (b / larger - a / total)
    yield identity(missing - a * more / (total * larger), "b/Σb - a/Σa <= (b - a)/Σb")
    yield identity(1 - total / larger - bound(more, larger), "attained: b adds mass where a has none")
    for name, one, other in weight_pairs(rng):
        yield _floored(name, to_rationals(one), to_rationals(other), bound)


def _floored(name: str, a: np.ndarray, b: np.ndarray, bound: Callable[[Scalar, Scalar], Scalar]) -> Verdict:
    if not (a.sum() > 0 and b.sum() > 0):
        return Verdict("not applicable", f"{name}: a sum is zero")
    error, allowed = abs(a / a.sum() - b / b.sum()).sum() / 2, bound(abs(a - b).sum(), max(a.sum(), b.sum()))
    if allowed >= 1:
        return Verdict("vacuous", name)
    shown = f"{name}: error {float(error):.6g}, bound {float(allowed):.6g}"
    return Verdict("holds" if error <= allowed else "refuted", shown, float(1 - error / allowed))


p2.control("1 % below the bound", bound=lambda difference, total: 99 * bounds.floor(difference, total) / 100)
p2.control("the sum of both totals", bound=lambda difference, total: bounds.floor(difference, 2 * total))
test_p2, test_p2_controls = p2.tests()
