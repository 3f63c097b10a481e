"""How the precision map measures one step in a format, against its exact value, and how it predicts the error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import exp, inf, log
from weakref import WeakKeyDictionary

import flint
import numpy as np
import torch
from jaxtyping import Float

from constructions import ball_evaluation, bounds, em_enclosure, em_transformer
from constructions.algorithms import ball_em
from constructions.algorithms.sampling import Mixture
from constructions.ball_evaluation import BallLayer, BallTransformer
from constructions.balls import ZERO, fill, largest, midpoints, norm, to_balls
from constructions.em_enclosure import BallEm, Parameters, enclose_diameter
from constructions.em_transformer import EmTransformer, pool
from constructions.transformer import Transformer
from theory_checks.precision_settings import MIN_WEIGHT, STEPS, Status, Subject, Task, log_network


@dataclass(frozen=True, eq=False)
class Exact:
    """What exact arithmetic makes of one step, enclosed, and the proven bounds.

    `w`, `scores`: responsibilities and logits of exact EM. `guess`: the error over diam(X) of an estimate that needs
    neither, the mean of all samples, and that of a log weight of which only the class is known, log(1/π_min).
    """

    construction: Parameters
    em: Parameters
    w: Float[np.ndarray, "N K"]
    scores: Float[np.ndarray, "N K"]
    mean_bounds: Float[np.ndarray, " K"]
    weight_bound: float
    guess: tuple[float, float]
    diameter: float


_known: WeakKeyDictionary[Subject, dict[bytes, Exact]] = WeakKeyDictionary()  # while the subject is in use


def exact_step(subject: Subject, task: Task, step: int, entering: Mixture) -> Exact:
    """The exact step of construction and EM from `entering`; each is enclosed once."""
    known = _known.setdefault(subject, {})
    key = bytes([step]) + b"".join(a.tobytes() for a in (task.samples, entering.weights, entering.means))
    if key not in known:
        with flint.ctx.workprec(subject.bits):
            known[key] = enclosed(subject, task, step, entering)
    return known[key]


def one_step(em: BallEm, task: Task, step: int, entering: Mixture) -> Parameters:
    """E- and M-step in balls; in later steps the M-step's MLP makes log π and ‖μ‖² of what enters."""
    tokens, layers = em_enclosure.encode(em, task.samples, task.start), list(em.transformer.layers)
    components, dim = entering.means.shape
    if step > 1:
        mu, pi = em.stream["mu"].start, em.stream["pi"].start
        tokens[:, em.stream["log_pi"]] = tokens[:, em.stream["sq_norm"]] = ZERO
        tokens[:, mu : mu + dim] = to_balls(entering.means)[np.arange(len(tokens)) % components]
        tokens[:, pi : pi + components] = to_balls(entering.weights)
        layers.insert(0, BallLayer((), "softmax", layers[1].units))
    *_, last = ball_evaluation.trace(BallTransformer(tuple(layers), tuple(range(len(layers)))), tokens)
    return em_enclosure.read_out(em, last, dim, components)


def enclosed(subject: Subject, task: Task, step: int, entering: Mixture) -> Exact:
    """Construction and exact EM from the same parameters, to more digits than are compared."""
    sizes, (components, dim) = subject.sizes, entering.means.shape
    found = one_step(subject.reference, task, step, entering)
    kept = task.samples[: len(task.samples) // components * components]
    x, mu, log_pi = to_balls(kept), to_balls(entering.means), ball_em.logarithms(to_balls(entering.weights))
    w = ball_em.responsibilities(x, log_pi, mu)
    if not largest(ball.rad() for ball in (*found.means.flat, *found.log_weights)) < 2.0**-120:
        raise ArithmeticError(f"{subject.bits} bits are too few for {subject.setting}")
    diameter = float(enclose_diameter(kept))
    logit_error = 0.0 if step == 1 else sizes.logit_error(dim)
    return Exact(
        found,
        Parameters(*ball_em.m_step(x, w)),
        midpoints(w),
        midpoints(ball_em.log_joint(x, log_pi, mu)),
        diameter * np.array([share(subject, float(weight.mid()), logit_error) for weight in found.weights]),
        sizes.logit_error(dim),
        (float(largest(iter(norm(x.mean(axis=0) - found.means)))) / diameter, -log(MIN_WEIGHT)),
        diameter,
    )


def share(subject: Subject, weight: float, logit_error: float) -> float:
    """bounds.m_step over diam(X); for `floor` that faces right 1/(1 + Aπ̂): it is constant below 1/A, so c = 0."""
    sizes = subject.sizes
    if subject.setting.construction == "paper" or subject.setting.orientation == "left":
        return float(bounds.m_step(sizes, 1.0, weight, logit_error))
    return bounds.tilt(logit_error) + bounds.tilt(sizes.log_error) + 1 / (1 + exp(sizes.log_a) * weight)


@dataclass(frozen=True)
class Errors:
    """Of a mean over diam(X) and of a log weight, the largest; `ratio`: the larger of both over their bounds."""

    mean: float
    log_weight: float
    ratio: float

    def status(self, guess: tuple[float, float]) -> Status:
        """realisable: within the bounds; failed: no number, or no better than a guess; degraded: between."""
        if not (self.mean < guess[0] and self.log_weight < guess[1]):
            return "failed"
        return "realisable" if self.ratio <= 1 else "degraded"


def errors(exact: Exact, mean: Float[np.ndarray, " K"], log_weight: Float[np.ndarray, " K"]) -> Errors:
    """From those of every component; what is not a number is infinite."""
    mean, log_weight = (np.where(np.isnan(part), inf, part) for part in (mean, log_weight))
    ratio = max(float((mean / exact.mean_bounds).max()), float(log_weight.max()) / exact.weight_bound)
    return Errors(float(mean.max()) / exact.diameter, float(log_weight.max()), ratio)


def compare(subject: Subject, exact: Exact, found: Parameters) -> tuple[Errors, Errors]:
    """Against the construction's exact value, and against exact EM; of a ball, the farthest point counts."""

    def off(other: Parameters) -> Errors:
        with flint.ctx.workprec(subject.bits):
            parts = norm(found.means - other.means), found.log_weights - other.log_weights
        return errors(exact, *(np.array([float(ball.abs_upper()) for ball in part]) for part in parts))

    return off(exact.construction), off(exact.em)


@dataclass(frozen=True)
class Step:
    """One step of one task in one format. `cause`: the stage that adds most to a mean's error.

    `lost`: responsibilities that became 0; `off`: the farthest that one's log is from the exact network's value at 0.
    """

    found: Errors
    against_em: Errors
    predicted: Errors
    guess: tuple[float, float]
    cause: str
    lost: int = 0
    off: float = 0.0


@cache
def roundoff_of_sums(dtype: torch.dtype) -> float:
    """The format's, or float32's if products of matrices, sums and softmax all add 2^14 ones correctly.

    Added one by one in bfloat16, ones stop at 256.
    """
    ones, unit = torch.ones(2**14, dtype=dtype), torch.finfo(dtype).eps / 2
    totals = ones @ ones, (ones[None] @ ones[:, None])[0, 0], ones.sum(), 1 / (0 * ones).softmax(0)[0]
    return 2.0**-24 if unit > 2.0**-14 and all(float(total) == len(ones) for total in totals) else unit


def predict(subject: Subject, fmt: torch.dtype | int, task: Task, exact: Exact, step: int, entering: Mixture) -> Errors:
    """First-order worst case. u: unit roundoff, a: that of sums, r: a chord, M = max‖μ_k‖, m = 1.

    A logit is off by E_i = u(max_l |ℓ_il| + ½cM²) + (u|log π|, c = 1; in later steps f(π), c = 3: the square network's
    weights, units and sum), the log network by f(w) = ma(log A + log high) + u(min(|log w|, log A) + r + 1) if it faces
    left; if it faces right by muAw more and, exp making knots in float64, A(log A + log high)w/2^53. So log w_ik is off
    by 2(1 − w_ik)E_i, a log weight by its mean with weights w_ik and 3u + Na, and a mean by
    Σ_i w_ik[2(1 − w_ik)E_i + f(w_ik)]‖x_i − μ_k‖/Σ_i w_ik + (3u + Na)B.
    Balls add radii: m = chords + log A + log high, uA for uAw, the logit's terms for ℓ, x_i for x_i − μ_k.
    """
    sizes, facing_right = subject.sizes, subject.setting.orientation == "right"
    unit, sums = (2.0**-fmt,) * 2 if isinstance(fmt, int) else (torch.finfo(fmt).eps / 2, roundoff_of_sums(fmt))
    balls, x, w = isinstance(fmt, int), task.samples[: len(exact.w)], exact.w
    many = sizes.segments + sizes.log_a + sizes.log_high if balls else 1
    built = 0.0 if balls else 2.0**-53 * (sizes.log_a + sizes.log_high)
    slope = (many * unit + built) * exp(min(sizes.log_a, 600.0)) * facing_right

    def network(w: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        log_w = -np.log(np.maximum(w, exp(-min(sizes.log_a, 700.0))))
        rounding = many * sums * (sizes.log_a + sizes.log_high) + unit * (log_w + sizes.chord_width + 1)
        return rounding + slope * (np.ones_like(w) if balls else w)

    mean = float(np.linalg.norm(entering.means, axis=1).max())
    terms = np.linalg.norm(x, axis=1) * mean + mean**2 if balls else abs(exact.scores).max(axis=1)
    logits = unit * (terms + (0.5 if step == 1 else 1.5) * mean**2)
    logits += float((unit * -np.log(entering.weights) if step == 1 else network(entering.weights)).max())
    tilt = 2 * (1 - w) * logits[:, None]
    away = np.linalg.norm(x[:, None] - midpoints(exact.em.means) * (not balls), axis=2)
    shares, rest = w / w.sum(axis=0), 3 * unit + len(x) * sums
    off = (shares * (tilt + network(w)) * away).sum(axis=0) + rest * sizes.radius
    return errors(exact, off, (shares * tilt).sum(axis=0) + rest)


def run_floats(subject: Subject, transformer: Transformer, task: Task) -> Iterator[Step]:
    """Every step from the parameters that the one before has left, while these are in the class."""
    dim, components = subject.setting.dim, subject.setting.components
    stream = em_transformer.residual_stream(dim, components)
    em = EmTransformer(transformer, stream, subject.task_class, subject.sizes, ())
    task = task.cast(transformer.dtype)
    tokens = torch.tensor(em_transformer.encode(em, task.samples, task.start)).to(transformer.dtype)
    entering, where = task.start, em_transformer.read_subspaces(em, dim, components)
    streams = (h.double().numpy() for h in transformer.trace(tokens))
    for step in range(1, STEPS + 1):
        inner, outer = next(streams), next(streams)
        w, log_w = inner[:, stream["w"]], inner[:, stream["log_w"]]
        exact, estimate = exact_step(subject, task, step, entering), pool(*(outer[:, place] for place in where))
        weights, means = (fill(map(flint.arb, a.ravel().tolist()), a.shape) for a in (estimate.weights, estimate.means))
        lost = (w == 0) & (exact.w > 0)
        with np.errstate(all="ignore"):
            yield Step(
                *compare(subject, exact, Parameters(ball_em.logarithms(weights), means)),
                predict(subject, transformer.dtype, task, exact, step, entering),
                exact.guess,
                stage(subject, task, exact, w, log_w, estimate),
                int(lost.sum()),
                float(abs(log_w[lost] - log_network(subject, np.zeros(1))).max(initial=0.0)),
            )
        if not subject.contains(estimate):
            return
        entering = estimate


def run_balls(subject: Subject, em: BallEm, bits: int, task: Task) -> Iterator[Step]:
    """The same in balls; the next step enters with their midpoints, as floats."""
    entering = task.start
    for step in range(1, STEPS + 1):
        exact = exact_step(subject, task, step, entering)
        with flint.ctx.workprec(bits):
            found = one_step(em, task, step, entering)
        predicted = predict(subject, bits, task, exact, step, entering)
        yield Step(*compare(subject, exact, found), predicted, exact.guess, "enclosure")
        entering = Mixture(midpoints(found.weights), midpoints(found.means))
        if not subject.contains(entering):
            return


def stage(
    subject: Subject,
    task: Task,
    exact: Exact,
    w: Float[np.ndarray, "N K"],
    log_w: Float[np.ndarray, "N K"],
    estimate: Mixture,
) -> str:
    """Which stage moves a mean most if those after it are exact; the first that leaves no number."""
    x = task.samples[: len(w)]
    reached = [midpoints(exact.construction.means)]
    for logs in (log_network(subject, w), log_w):
        weights = np.exp(logs - logs.max(axis=0))
        reached.append((weights / weights.sum(axis=0)).T @ x)
    added = [float(np.linalg.norm(b - a, axis=1).max()) for a, b in pairwise([*reached, estimate.means])]
    wrong = "log network" if subject.setting.orientation == "left" else "cancellation"
    return ("logits", wrong, "sums")[int(np.argmax(added))]  # of NaNs, the first
