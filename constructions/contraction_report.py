"""What the demo says about the error after every number of steps: em_contraction's certificate for its own run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flint
import numpy as np
from jaxtyping import Float

from constructions.algorithms.sampling import Mixture
from constructions.em_class import Approximation, TaskClass
from constructions.em_contraction import RADII, Certificate, certify, fixed_point
from constructions.em_enclosure import Parameters
from constructions.precision import as_json as enclosed

BITS = 128
LARGEST = 2 * 10**7
"""N·(K(d+1))² up to which a certificate is sought: beyond, minutes."""


def seek(
    samples: Float[np.ndarray, "N d"], start: Mixture, task_class: TaskClass, approximation: Approximation
) -> Certificate | None:
    """The certificate around the fixed point that exact EM reaches from the start; None if the task is too large."""
    components, dim = start.means.shape
    if len(samples) * (components * (dim + 1)) ** 2 > LARGEST:
        return None
    with flint.ctx.workprec(BITS):
        return certify(samples, fixed_point(samples, start), task_class, approximation, RADII)


def entered(found: Certificate, estimates: Sequence[Parameters]) -> int | None:
    """The first step after which the run is certainly in the ball."""
    inside = (step for step, estimate in enumerate(estimates, start=1) if found.distance(estimate) <= found.rho)
    return next(inside, None)


def describe(found: Certificate | None, estimates: Sequence[Parameters]) -> list[str]:
    """The certificate in words, or why there is none."""
    if found is None:
        return ["every L       not tried: enclosing EM's Jacobian on so many samples and parameters takes minutes"]
    if not found.certified:
        why = found.excuse or (
            f"the step's error, s = {float(found.s):.2g}, leaves no room where EM's contraction can be certified; "
            "a smaller --tolerance makes s smaller"
        )
        return [f"every L       no bound for all numbers of steps is certified: {why}"]
    step = entered(found, estimates)
    where = f"is in it from step {step} on" if step else "has not entered it; more --layers may"
    return [
        f"every L       EM contracts by beta = {float(found.beta):.3f} on the ball of radius {float(found.rho):.3g} "
        f"around its fixed point; the transformer's step is off by at most {float(found.s):.2g} there:",
        f"              L steps after entering, a run is within beta^L * {float(found.rho):.3g} + "
        f"{float(found.plateau):.2g} of the fixed point, for every L; this run {where}",
        f"              (metric sum_k p_k (dlog pi_k^2 + |dmu_k|^2), condition number {float(found.condition):.2f})",
    ]


def as_json(found: Certificate | None, estimates: Sequence[Parameters]) -> dict[str, Any]:
    """The key "status": "holds" with β, ρ, s, η, the limit for L → ∞ and the step of entering; else "undecided"."""
    if found is None or not found.certified:
        return {"status": "undecided"}
    names = {"beta": found.beta, "radius": found.rho, "step_error": found.s, "residual": found.eta}
    numbers = {name: enclosed(ball) for name, ball in {**names, "limit": found.plateau}.items()}
    return {"status": "holds", "entered": entered(found, estimates), "rest_on": ["em-run"], **numbers}
