"""How far L steps of the transformer are from EM's fixed point, for every L: measured, and certified.

(a) Runs from k-means++, each on its own data set: the distance to the fixed point after every step, and, from the step
on at which the run is in the ball on which EM is certified to contract, the bound β^L·dist + (s + η)/(1 − β), which
holds for all later steps at once. (b) The certified β against the ball's radius ρ; at ρ = 0 it is EM's own rate, the
largest eigenvalue of its Jacobian, which is self-adjoint in the metric used. (c) What the ball leaves for the
transformer: the error s of one step may be up to (1 − β)ρ; the horizontal lines are the s of the runs in (a).
"""

from __future__ import annotations

import flint
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from constructions.balls import midpoints, to_balls
from constructions.em_contraction import Certificate, contraction
from constructions.em_run import run as run_em
from constructions.em_transformer import build
from figures import style
from theory_checks.test_em_run import FULL, INSTANCES, Instance, certificate

DRAWN: dict[Instance, tuple[str, int]] = {
    instance: (colour, steps)
    for instance, colour, steps in zip(
        [i for i in (*INSTANCES, *FULL) if i.data in ("iris", "wine", "separation 6", "separation 3", "digits")],
        (style.BLUE, style.GREEN, style.ORANGE, style.PURPLE, style.VERMILLION),
        (40, 30, 20, 40, 60),
        strict=True,
    )
}
"""Instances of the row em-run with their colour and the steps drawn."""
RADII = np.geomspace(1e-4, 0.1, 10)
BITS = 128


def distances(instance: Instance, found: Certificate, steps: int) -> Float[np.ndarray, " steps+1"]:
    """‖θ̂_t − fixed point‖ for t = 0..steps, of a run in float64."""
    em = build(instance.task_class, instance.approximation, steps)
    result = run_em(em, instance.samples, instance.start)
    point, shares = found.point, found.shares
    log_weights, means = midpoints(point.log_weights), midpoints(point.means)
    states = [instance.start, *(step.estimate for step in result.steps)]
    squares = [
        (shares * ((np.log(s.weights) - log_weights) ** 2 + ((s.means - means) ** 2).sum(axis=1))).sum() for s in states
    ]
    return np.sqrt(np.array(squares))


def rates(instance: Instance, found: Certificate) -> Float[np.ndarray, " radii"]:
    """The certified β on RADII; NaN from where on it is not below 1."""
    x, shares = to_balls(instance.samples), to_balls(found.shares)
    with flint.ctx.workprec(BITS):
        betas = [float(contraction(x, found.point, shares, flint.arb(float(rho)), found.eta)) for rho in RADII]
    return np.array([beta if beta < 1 else np.nan for beta in betas])


def draw_runs(axes: Axes) -> None:
    """(a) the distances and the bound."""
    for instance, (colour, steps) in DRAWN.items():
        found = certificate(instance)
        away = distances(instance, found, steps)
        inside = int(np.argmax(away <= float(found.rho)))
        beta, plateau = float(found.beta), float(found.plateau)
        later = np.arange(steps + 1 - inside)
        axes.semilogy(away, color=colour)
        axes.semilogy(inside + later, beta**later * away[inside] + plateau, "--", color=colour, linewidth=0.9)
        axes.plot([inside], [away[inside]], "o", color=colour, markersize=3)
    axes.set(xlabel="EM step", ylabel="distance to the fixed point")
    style.panel_title(axes, "a", "runs from k-means++")


def draw_rates(axes: Axes, room: Axes) -> None:
    """(b) β and (c) the room that it leaves, against the radius."""
    for instance, (colour, _) in DRAWN.items():
        found = certificate(instance)
        betas = rates(instance, found)
        axes.semilogx(RADII, betas, color=colour, marker="o", markersize=2.5, label=instance.data)
        axes.plot([float(found.rho)], [float(found.beta)], "s", color=colour, markersize=4, fillstyle="none")
        room.loglog(RADII, (1 - betas) * RADII, color=colour)
        room.axhline(float(found.s), color=colour, linestyle=":", linewidth=0.9)
        room.plot([float(found.rho)], [float((1 - found.beta) * found.rho)], "s", color=colour, fillstyle="none")
    axes.plot([], [], "--", color=style.BLACK, linewidth=0.9, label="bound in (a)")
    axes.legend(loc="lower left", bbox_to_anchor=(0.02, 0.1), borderaxespad=0, labelspacing=0.3)
    axes.set(xlabel="radius ρ", ylabel="β", ylim=(0, 1))
    room.set(xlabel="radius ρ", ylabel="(1 − β)ρ, and s (dotted)")
    style.panel_title(axes, "b", "contraction certified")
    style.panel_title(room, "c", "room for the step's error")


def small_print() -> str:
    """Every instance with its numbers."""
    lines = []
    for instance in DRAWN:
        found = certificate(instance)
        count, dim = instance.samples.shape
        lines.append(
            f"{instance.data}: N = {count}, d = {dim}, K = {instance.components}, ε = {instance.tolerance:g}; ρ = "
            f"{float(found.rho):.3g}, β = {float(found.beta):.3g}, s = {style.number(float(found.s), 2)}, bound for "
            f"L → ∞ {float(found.plateau):.2g}, metric's condition number {float(found.condition):.2f}"
        )
    return (
        "Distances are in the metric Σ p_k(δλ_k² + ‖δμ_k‖²), measured in float64; β, s and the residual are enclosed "
        f"in balls of {BITS} bits (squares: the ball that is used, the largest that certifies). Separation R: 600 "
        "samples of a mixture, seed 0. Separation 1 could not be certified.\n" + "\n".join(lines)
    )


@style.styled
def figure() -> Figure:
    """The error of L steps against its certified bound."""
    picture = style.new_figure(3.9)
    runs, rate, room = picture.subplots(1, 3)
    draw_runs(runs)
    draw_rates(rate, room)
    style.caption(picture, small_print())
    return picture
