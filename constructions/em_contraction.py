"""An a-posteriori theorem for L steps: on a ball around EM's fixed point the map contracts, so errors stay bounded.

Parameters are θ = (λ, μ) with λ = log π unnormalised; F is the exact EM map of the data set. The metric is
‖(δλ, δμ)‖² = Σ_k p_k(δλ_k² + ‖δμ_k‖²), p the weights at the fixed point: there F's Jacobian is self-adjoint in it, so
that its norm is its spectral radius (Dempster, Laird & Rubin 1977; Meng & Rubin 1994: it is the information of the
complete data; proofs_notes/em_run.md). Everything is enclosed in balls.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import flint
import numpy as np
from jaxtyping import Float, Shaped

from constructions import bounds
from constructions.algorithms import ball_em
from constructions.algorithms.em import log_em_step
from constructions.algorithms.sampling import Mixture
from constructions.balls import ONE, fill, largest, matrix, midpoints, norm, product, to_balls
from constructions.elementary import sqrt
from constructions.em_class import Approximation, TaskClass
from constructions.em_enclosure import Parameters, enclose_diameter

LARGEST_STEPS = 20_000
RADII = tuple(0.1 * 2 ** (-j / 2) for j in range(16))
"""Radii to try for a certificate, largest first."""


@dataclass(frozen=True, eq=False)
class Certificate:
    """On the ball of radius `rho` around `point` F contracts by `beta`, and the transformer's step is off by ≤ `s`.

    `eta` is the residual ‖F(point) − point‖. It certifies when beta < 1 and s + eta ≤ (1 − beta)·rho: then F has one
    fixed point in the ball, within eta/(1 − beta) of `point`, and every run of the transformer that enters the ball
    stays within beta^L·(its distance on entering) + (s + eta)/(1 − beta) of `point`.
    """

    point: Parameters
    shares: Float[np.ndarray, " K"]  # p, the metric's weights
    rho: flint.arb
    beta: flint.arb
    eta: flint.arb
    s: flint.arb
    excuse: str  # why the step's error bound does not hold on the ball; else empty

    @property
    def certified(self) -> bool:
        """Whether the conditions certainly hold."""
        return not self.excuse and bool(self.beta < 1) and bool(self.s + self.eta <= (1 - self.beta) * self.rho)

    @property
    def plateau(self) -> flint.arb:
        """(s + eta)/(1 − beta): how far from `point` every run ends up at most."""
        return (self.s + self.eta) / (1 - self.beta)

    @property
    def condition(self) -> flint.arb:
        """√(max p/min p): the metric against the plain Euclidean norm."""
        return sqrt(flint.arb(float(self.shares.max())) / flint.arb(float(self.shares.min())))

    def distance(self, other: Parameters) -> flint.arb:
        """‖other − point‖ in the metric."""
        return distance(self.point, other, to_balls(self.shares))


def distance(one: Parameters, other: Parameters, shares: Shaped[np.ndarray, " K"]) -> flint.arb:
    """(Σ_k p_k(δλ_k² + ‖δμ_k‖²))^{1/2}."""
    drift, moved = other.log_weights - one.log_weights, norm(other.means - one.means)
    return sqrt((shares * (drift * drift + moved * moved)).sum())


def fixed_point(samples: Float[np.ndarray, "N d"], start: Mixture) -> Parameters:
    """Where EM in float64 stops moving, as exact balls; nothing is claimed of it but its residual."""
    log_weights, means = np.log(start.weights), start.means
    for _ in range(LARGEST_STEPS):
        before = log_weights, means
        log_weights, means = log_em_step(samples, log_weights, means)
        if max(np.abs(log_weights - before[0]).max(), np.abs(means - before[1]).max()) < 1e-14:
            break
    return Parameters(to_balls(log_weights), to_balls(means))


def certify(
    samples: Float[np.ndarray, "N d"],
    point: Parameters,
    task_class: TaskClass,
    approximation: Approximation,
    radii: Iterable[float],
) -> Certificate:
    """The certificate of the first radius that certifies; of the last one if none does."""
    shares = np.exp(midpoints(point.log_weights))
    samples = samples[: len(samples) // len(shares) * len(shares)]  # what the transformer keeps
    x = to_balls(samples)
    image = Parameters(*ball_em.em_step(x, point.log_weights, point.means))
    eta = distance(point, image, to_balls(shares)).upper()
    diameter = enclose_diameter(samples)
    for radius in radii:
        rho = flint.arb(radius)
        beta = contraction(x, point, to_balls(shares), rho, eta)
        s, excuse = step_error(task_class, approximation.in_balls, diameter, point, to_balls(shares), rho, eta)
        found = Certificate(point, shares, rho, beta, eta, s, excuse)
        if found.certified:
            break
    return found


def contraction(
    x: Shaped[np.ndarray, "N d"], point: Parameters, shares: Shaped[np.ndarray, " K"], rho: flint.arb, eta: flint.arb
) -> flint.arb:
    """An upper bound of ‖DF(θ)‖ over the ball; 1 or more when it does not certify a contraction.

    β ≤ (√g + ρ√q)·κ·(√g + R√q) with R ≥ ‖F(θ) − point‖. For all θ of the ball w_ik(θ) ≤ e_ik = e^{t_ik} w_ik(point)
    (`grown`), so that variances under w_i(θ) are at most Σ_k e_ik f_k² − (Σ_k e_ik f_k)²/Σ_k e_ik. g is the largest
    eigenvalue of their mean over the samples for f_k = ⟨v_k, (x_i − μ_k, 1)⟩/√p_k; q that for f_k = v_k/p_k, which a
    shift of μ_k by ρ/√p_k (of μ_k⁺ by R/√p_k) adds; κ ≥ max_k p_k/π_k⁺. R = ρ + η while β ≤ 1, because F cannot leave
    faster than it moves; then R = βρ + η.
    """
    w = ball_em.responsibilities(x, point.log_weights, point.means)
    features = np.concatenate([x[:, None, :] - point.means, np.full((*w.shape, 1), ONE)], axis=2)
    e = grown(w, features, shares, rho) * w
    totals = e.sum(axis=1)
    roots = fill((sqrt(share) for share in shares), shares.shape)
    g = largest_eigenvalue(_variances(e, totals, features / roots[:, None]))
    q = largest_eigenvalue(_variances(e, totals, np.full((*w.shape, 1), ONE) / shares[:, None]))
    drifts = fill((share.log() for share in shares), shares.shape) - point.log_weights
    beta = flint.arb(1)
    for _ in range(2):  # the second time with the R that the first one proves
        reach = beta * rho + eta
        kappa = largest(value.exp() for value in reach / roots + drifts)
        beta = ((sqrt(g) + rho * sqrt(q)) * kappa * (sqrt(g) + reach * sqrt(q))).upper()
        if not beta < 1:
            break
    return beta


def grown(
    w: Shaped[np.ndarray, "N K"],
    features: Shaped[np.ndarray, "N K f"],
    shares: Shaped[np.ndarray, " K"],
    rho: flint.arb,
) -> Shaped[np.ndarray, "N K"]:
    """e^{t_ik} ≥ w_ik(θ)/w_ik on the ball: t_ik = ρ(Σ_l (1{k=l} − w_il)²‖φ_il‖²/p_l)^{1/2} + ½ρ² max_l w_il/p_l.

    `features` are φ_il = (x_i − μ_l, 1). By Jensen log w_ik(θ) − log w_ik ≤ δℓ_ik − Σ_l w_il δℓ_il, where
    δℓ_il = ⟨φ_il, (δμ_l, δλ_l)⟩ − ½‖δμ_l‖².
    """
    sizes = (features * features).sum(axis=2) / shares
    others = (w * w * sizes).sum(axis=1)
    squares = others[:, None] + (1 - 2 * w) * sizes
    curved = fill((largest(row) for row in w / shares), (len(w),)) * rho * rho / 2
    exponents = [rho * sqrt(square) for square in squares.ravel()]
    return fill((value.exp() for value in (fill(exponents, w.shape) + curved[:, None]).ravel()), w.shape)


def _variances(
    e: Shaped[np.ndarray, "N K"], totals: Shaped[np.ndarray, " N"], f: Shaped[np.ndarray, "N K f"]
) -> Shaped[np.ndarray, "Kf Kf"]:
    """(1/N) Σ_i [Σ_k e_ik f_ik f_ikᵀ − (Σ_k e_ik f_ik)(…)ᵀ/Σ_k e_ik], f_ik in the k-th block of coordinates."""
    count, components, size = f.shape
    weighted = e[:, :, None] * f
    flat = weighted.reshape(count, components * size)
    result = -product(matrix(flat).transpose(), matrix(flat / totals[:, None]))
    for k in range(components):
        block = slice(k * size, (k + 1) * size)
        result[block, block] = result[block, block] + product(matrix(weighted[:, k]).transpose(), matrix(f[:, k]))
    return result / count


def largest_eigenvalue(symmetric: Shaped[np.ndarray, "n n"]) -> flint.arb:
    """An upper bound of the largest eigenvalue, if that is ≥ 0: Gershgorin's discs of QᵀGQ for nearly orthogonal Q.

    Q holds eigenvectors in floats. xᵀGx = yᵀ(QᵀGQ)y for x = Qy, and ‖y‖² ≤ ‖x‖²/(1 − ‖I − QᵀQ‖).
    """
    known = midpoints((symmetric + symmetric.T) / 2)  # any Q will do
    q = matrix(to_balls(np.linalg.eigh(known)[1] if np.isfinite(known).all() else np.eye(len(known))))
    turned = product(q.transpose() * matrix(symmetric), q)
    discs = [row[k] + sum(abs(row)) - abs(row[k]) for k, row in enumerate(turned)]
    off = product(q.transpose(), q) - to_balls(np.eye(len(turned)))
    defect = largest(abs(off).sum(axis=1))
    return (largest(discs) / (1 - defect).nonnegative_part()).upper()


def step_error(
    task_class: TaskClass,
    approximation: Approximation,
    diameter: flint.arb,
    point: Parameters,
    shares: Shaped[np.ndarray, " K"],
    rho: flint.arb,
    eta: flint.arb,
) -> tuple[flint.arb, str]:
    """(s, excuse): ‖transformer's step − F(θ)‖ ≤ s = (Σ_k p_k(s_k² + U²))^{1/2} on the ball, s_k the M-step's bound.

    On the ball log π_k ≥ λ_k − ρ/√p_k and |μ_ka| moves by at most ρ/√p_k; the new weight that the bound needs is at
    least exp(λ_k − (ρ + η)/√p_k − U) while F contracts. The log network must reach down to every weight of the ball.
    The bound is that of `floor`, which holds for both constructions whatever the norms of samples and means are.
    """
    approximation = replace(approximation, construction="floor")
    smallest = flint.arb(task_class.min_weight).max((-approximation.log_a).exp())
    reach = fill((rho / sqrt(share) for share in shares), shares.shape)
    dim = point.means.shape[1]
    logit_error = approximation.logit_error(dim)
    excuse = ""
    for k, (log_weight, mean) in enumerate(zip(point.log_weights, point.means, strict=True)):
        if not log_weight - reach[k] >= smallest.log():
            excuse = f"a weight of the ball may be below {float(smallest):g}"
        if not largest(abs(mean)) + reach[k] <= approximation.radius:
            excuse = f"a mean of the ball may have a coordinate above {task_class.radius:g}"
    total = flint.arb(0)
    for share, log_weight in zip(shares, point.log_weights, strict=True):
        new = (log_weight - (rho + eta) / sqrt(share) - logit_error).exp()
        mean_error = bounds.m_step(approximation, diameter, new, logit_error)
        total = total + share * (mean_error * mean_error + logit_error * logit_error)
    return sqrt(total).upper(), excuse
