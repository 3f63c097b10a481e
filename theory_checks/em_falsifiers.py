"""One attack for every bound on the EM transformer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from math import log

import numpy as np
import torch
from torch import Tensor

from constructions import bounds
from constructions.em_class import Approximation, Construction
from constructions.em_transformer import EmTransformer
from constructions.relu_networks import chord_slope
from theory_checks import kept, subjects, test_e_step, test_m_step
from theory_checks.em_steps import judge_run
from theory_checks.falsify import Attack, Tensors
from theory_checks.kept import Instance
from theory_checks.ledger import Verdict
from theory_checks.subjects import GRID_CLASS, SMALL_CLASS

LEAST = 1e-290  # below it a double has lost digits
Verdicts = Iterable[Verdict]


def containing(text: str, verdicts: Verdicts) -> Iterator[Verdict]:
    """The verdicts whose name says so."""
    return (v for v in verdicts if text in v.instance)


def task(raw: Tensors, radius: float) -> dict[str, Tensor]:
    """Samples and means drawn in to the ball, weights from logits; `copies` is whole and has no gradient."""
    found = {
        "samples": within(raw["samples"], radius),
        "weights": raw["shares"].softmax(dim=0),
        "means": within(raw["means"], radius),
    }
    if "copies" in raw:
        found["copies"] = raw["copies"].detach().round()
    return found


def within(points: Tensor, radius: float) -> Tensor:
    """Points outside of the ball are moved radially to just inside it."""
    norms = points.norm(dim=1, keepdim=True).clamp_min(1e-300)
    return points * torch.clamp((1 - 1e-12) * radius / norms, max=1.0)


def copied(instance: Tensors, name: str) -> Tensor:
    """Each row as often as `copies` says."""
    rows = instance[name]
    return torch.repeat_interleave(rows, instance["copies"].long(), 0) if "copies" in instance else rows


def tokens(em: EmTransformer, parts: Mapping[str, Tensor], count: int) -> Tensor:
    """A stream that holds the parts, and what never changes; em_transformer.encode for tensors with gradients."""
    components = len(parts["weights"])
    carried = torch.arange(count) % components
    held = {
        "x": parts["samples"],
        "log_pi": parts["weights"].log().expand(count, -1),
        "mu": parts["means"][carried],
        "sq_norm": (parts["means"] ** 2).sum(dim=1)[carried, None],
        "one": torch.ones(count, 1, dtype=em.dtype),
        "component": torch.eye(components, dtype=em.dtype)[carried],
        **{name: part.expand(count, -1) for name, part in parts.items() if name in ("pi", "w")},
    }
    stream = torch.zeros(count, em.stream.width, dtype=em.dtype)
    for name, part in held.items():
        begin = em.stream[name].start
        stream[:, begin : begin + part.shape[1]] = part
    return stream


def log_responsibilities(x: Tensor, weights: Tensor, means: Tensor) -> Tensor:
    """Exact EM's, in floats."""
    return (weights.log() + x @ means.T - (means**2).sum(dim=1) / 2).log_softmax(dim=1)


def diameter(x: Tensor) -> Tensor:
    """The largest distance; its gradient is that of one farthest pair."""
    with torch.no_grad():
        farthest = int(torch.cdist(x, x).argmax())
    difference = x[farthest // len(x)] - x[farthest % len(x)]
    return (difference**2).sum().clamp_min(1e-300).sqrt()


# --- one half step ---


def e_step_ratio(em: EmTransformer, log_w: bool, instance: Tensors) -> Tensor:
    """The M-step layer's MLP makes log π and ‖μ‖², the E-step's attention makes ŵ; against exact EM."""
    x, weights, means = instance["samples"], instance["weights"], instance["means"]
    e_layer, m_layer = em.transformer.stored_layers
    assert m_layer.mlp is not None
    assert e_layer.attention is not None
    stream = tokens(em, {**instance, "pi": weights}, len(x))
    blank = torch.ones(em.stream.width, dtype=em.dtype)
    blank[em.stream["log_pi"]] = blank[em.stream["sq_norm"]] = 0.0
    h = e_layer.attention(m_layer.mlp(stream * blank))
    begin = em.stream["w"].start
    found, exact = h[:, begin : begin + len(weights)], log_responsibilities(x, weights, means)
    logit_error = em.approximation.logit_error(x.shape[1])
    if log_w:
        return (found.clamp_min(LEAST).log() - exact.clamp_min(log(LEAST))).abs().max() / logit_error
    return (found - exact.exp()).abs().sum(dim=1).max() / 2 / bounds.tilt(logit_error)


def e_step(log_w: bool) -> Attack:
    """Three components: one weight on a knot, one within a chord, the third takes up what is missing to 1."""
    em, balls = subjects.sound(GRID_CLASS), subjects.in_balls_sound(GRID_CLASS, 0.5)

    def judge(instance: Instance, factor: float) -> Verdicts:
        found = test_e_step.later_e_step(
            balls, kept.task(instance), lambda u: factor * bounds.tilt(u), lambda u: factor * u
        )
        return containing("log w" if log_w else "TV", found)

    shapes = [{"samples": (k, d), "shares": (k,), "means": (k, d)} for d, k in ((1, 3), (1, 5), (2, 3), (3, 2))]
    return Attack(
        "e-step-log-w" if log_w else "e-step-tv",
        "GRID_CLASS, tolerance 0.5, floor; a later step",
        {"samples": (-11.0, 11.0), "shares": (-4.0, 0.0), "means": (-11.0, 11.0)},
        shapes,
        judge,
        partial(task, radius=GRID_CLASS.radius),
        partial(e_step_ratio, em, log_w),
        effort=1.2,
    )


def m_step_bound(approximation: Approximation, reach: Tensor, weight: Tensor, logit_error: float) -> Tensor:
    """bounds.m_step for tensors."""
    share = bounds.tilt(logit_error) + bounds.tilt(approximation.log_error)
    if approximation.construction == "floor":
        slope = chord_slope(approximation.chord_width)
        share = share + 1 / (1 + float(np.exp(approximation.log_a + slope)) * weight)
    return reach * share


def m_step_ratio(em: EmTransformer, instance: Tensors) -> Tensor:
    """The E-step's MLP makes log ŵ, the M-step's attention the means; against the weighted means of ŵ."""
    x, first = copied(instance, "samples"), copied(instance, "w")
    w = torch.stack([first, 1 - first], dim=1)
    e_layer, m_layer = em.transformer.stored_layers
    assert e_layer.mlp is not None
    assert m_layer.attention is not None
    means = torch.zeros(2, x.shape[1], dtype=em.dtype)
    parts = {"samples": x, "weights": torch.full((2,), 0.5, dtype=em.dtype), "means": means}
    h = m_layer.attention(e_layer.mlp(tokens(em, {**parts, "w": w}, len(x))))
    begin = em.stream["mu"].start
    found, weight = h[:2, begin : begin + x.shape[1]], w.mean(dim=0)
    exact = (w.T @ x) / w.sum(dim=0)[:, None]
    return of_means(em.approximation, found, exact, weight, diameter(x), 0.0)


def of_means(
    approximation: Approximation, found: Tensor, exact: Tensor, weight: Tensor, reach: Tensor, logit_error: float
) -> Tensor:
    """The largest error/bound of a mean; a vacuous bound counts as 0, and so does one that doubles cannot resolve."""
    limit = m_step_bound(approximation, reach, weight, logit_error)
    ratio = ((found - exact) ** 2).sum(dim=1).clamp_min(1e-300).sqrt() / limit
    return torch.where((limit < reach) & (reach > 1e-6), ratio, 0.0).max()


def m_step() -> Attack:
    """Samples on a line and log responsibilities of the first of two components, few of them in many copies."""
    em, balls = subjects.sound(GRID_CLASS), subjects.in_balls_sound(GRID_CLASS, 0.5)

    def judge(instance: Instance, factor: float) -> Verdicts:
        x, w = test_m_step.expanded(instance)
        return test_m_step.given_m_step(balls, "m-step", x, w, lambda *parts: factor * bounds.m_step(*parts))

    lone = {"samples": np.array([[1.0], [0.0]]), "log_w": np.array([-9.0, -24.0]), "copies": np.array([1.0, 399.0])}
    return Attack(
        "m-step",
        "GRID_CLASS, tolerance 0.5, floor; at most 400 copies of a sample",
        {"samples": (-11.0, 11.0), "log_w": (-25.0, -1e-6), "copies": (1.0, 399.0)},
        [{"samples": (4, 1), "log_w": (4,), "copies": (4,)}, {"samples": (2, 2), "log_w": (2,), "copies": (2,)}],
        judge,
        even_copies,
        partial(m_step_ratio, em),
        [lone],
        effort=0.3,
    )


def even_copies(raw: Tensors) -> dict[str, Tensor]:
    """An even number of samples in all, since there are two components."""
    copies = raw["copies"].detach().round()
    copies = torch.cat([copies[:1] + copies.sum() % 2, copies[1:]])
    return {"samples": within(raw["samples"], GRID_CLASS.radius), "w": raw["log_w"].exp(), "copies": copies}


# --- whole steps ---


def run_ratio(em: EmTransformer, steps: tuple[int, ...], of_weights: bool, instance: Tensors) -> Tensor:
    """The largest error/bound of the named steps of a run; 0 where the class's condition is broken."""
    x, weights, means = copied(instance, "samples"), instance["weights"], instance["means"]
    stream = tokens(em, {**instance, "samples": x}, len(x))
    begin, where = em.stream["pi"].start, em.stream["mu"].start
    components, dim = means.shape
    found, reach = [torch.zeros((), dtype=em.dtype)], diameter(x)
    for done, h in enumerate(em.transformer.trace(stream), start=1):
        if done % 2:
            continue
        step, new_weights = done // 2, h[0, begin : begin + components]
        new_means = h[:components, where : where + dim]
        inside = bool((weights >= em.task_class.min_weight).all() and (means.abs() <= em.task_class.radius).all())
        inside = inside or (step == 1 and em.approximation.construction == "floor")
        if step in steps and inside:
            log_w = log_responsibilities(x, weights, means)
            exact_weights = log_w.exp().mean(dim=0)
            logit_error = 0.0 if step == 1 else em.approximation.logit_error(dim)
            if of_weights:
                found.append((new_weights.log() - exact_weights.log()).abs().max() / logit_error)
            else:
                exact = (log_w.exp().T @ x) / log_w.exp().sum(dim=0)[:, None]
                found.append(of_means(em.approximation, new_means, exact, new_weights, reach, logit_error))
        if not inside or step == max(steps):
            break
        weights, means = new_weights, new_means
    return torch.stack(found).max()


def em_step(
    bound: str, construction: Construction, steps: tuple[int, ...], of_weights: bool, effort: float = 1.0
) -> Attack:
    """Runs of the small class from samples, weights and means of one or two dimensions."""
    em = subjects.sound(SMALL_CLASS, 0.5, construction)
    balls = subjects.in_balls_sound(SMALL_CLASS, 0.5, construction)

    def judge(instance: Instance, factor: float) -> Iterator[Verdict]:
        run = judge_run(balls, kept.task(instance), *((1.0, factor) if of_weights else (factor, 1.0)))
        for v in containing("weights" if of_weights else "mean ", run):
            if any(f"step {step} " in v.instance for step in steps):
                yield v

    shapes = [{"samples": (n, d), "shares": (k,), "means": (k, d)} for d, k, n in ((1, 2, 6), (1, 3, 9), (2, 3, 6))]
    known = []
    if 1 in steps and construction == "floor":
        lone = {"samples": np.array([[-4.0], [0.0]]), "copies": np.array([399.0, 1.0])}
        known = [{**lone, "shares": np.array([0.0, -0.5]), "means": np.array([[0.0], [2.5]])}]
    return Attack(
        bound,
        f"SMALL_CLASS, tolerance 0.5, {construction}; step {' or '.join(map(str, steps))}",
        {"samples": (-4.0, 4.0), "shares": (-4.0, 0.0), "means": (-4.0, 4.0), "copies": (1.0, 400.0)},
        shapes,
        judge,
        partial(task, radius=SMALL_CLASS.radius),
        partial(run_ratio, em, steps, of_weights),
        known,
        effort,
    )


EM_ATTACKS: dict[str, Callable[[], Attack]] = {
    "e-step-tv": partial(e_step, False),
    "e-step-log-w": partial(e_step, True),
    "m-step": m_step,
    "em-step-floor": partial(em_step, "em-step-floor", "floor", (1,), False),
    "em-step-floor-later": partial(em_step, "em-step-floor-later", "floor", (2, 3), False),
    "em-step-floor-weights": partial(em_step, "em-step-floor-weights", "floor", (2, 3), True),
    "em-step-paper": partial(em_step, "em-step-paper", "paper", (1, 2, 3), False, 0.5),
    "em-step-paper-weights": partial(em_step, "em-step-paper-weights", "paper", (2, 3), True, 0.5),
}
