"""Data sets, EM's Jacobian, and the contraction's formula in floats, for test_em_contraction."""

import numpy as np
import torch
from terms import Terms

from constructions.algorithms import ball_em
from constructions.algorithms.em import log_em_step
from constructions.balls import midpoints, to_balls
from constructions.em_enclosure import Parameters

PLAIN = Terms()


def clusters(rng, count=23, components=3, dim=2, apart=3.0, spread=0.8):
    centres = apart * np.eye(5)[:components, :dim] + apart * np.arange(components)[:, None] / 3
    return centres[np.arange(count) % components] + spread * rng.standard_normal((count, dim)), centres


def near_fixed_point(samples, centres, steps=40):
    log_weights, means = np.full(len(centres), -np.log(len(centres))), centres
    for _ in range(steps):
        log_weights, means = log_em_step(samples, log_weights, means)
    return log_weights, means


def jacobian(samples, log_weights, means):
    """DF at (λ, μ) by automatic differentiation, the coordinates ordered like (λ, μ_1, …, μ_K)."""
    x, (components, dim) = torch.from_numpy(samples), means.shape

    def step(theta):
        centres = theta[components:].reshape(components, dim)
        log_w = torch.log_softmax(theta[:components] + x @ centres.T - (centres**2).sum(1) / 2, 1)
        totals = torch.logsumexp(log_w, 0)
        return torch.cat([totals, (torch.exp(log_w - totals).T @ x).reshape(-1)])

    theta = torch.from_numpy(np.concatenate([log_weights, means.ravel()]))
    return torch.autograd.functional.jacobian(step, theta).numpy()


def norm_in(shares, matrix, dim):
    roots = np.sqrt(np.concatenate([shares, np.repeat(shares, dim)]))
    return np.linalg.norm(roots[:, None] * matrix / roots, 2)


def somewhere(rng, shares, dim, rho):
    """A point of the ball's sphere, on every other call along one component: (δλ, δμ)."""
    away = rng.standard_normal((len(shares), dim + 1))
    if rng.random() < 0.5:
        away *= np.eye(len(shares))[rng.integers(len(shares))][:, None]
    away *= rho / np.sqrt((shares[:, None] * away**2).sum())
    return away[:, 0], away[:, 1:]


def parts(samples, log_weights, means):
    """What `contraction` and `grown` start from."""
    x, point = to_balls(samples), Parameters(to_balls(log_weights), to_balls(means))
    w = ball_em.responsibilities(x, point.log_weights, point.means)
    ones = to_balls(np.ones((*w.shape, 1)))
    return x, point, w, np.concatenate([x[:, None, :] - point.means, ones], axis=2)


def growth(t, w, features, shares, rho):
    """e^{t_ik} of the docstring of `grown`, in floats; t("name", value) marks a term (tests/terms.py)."""
    found = np.empty_like(w)
    for i, k in np.ndindex(w.shape):
        apart = t("1{k=l}", (np.arange(w.shape[1]) == k).astype(float)) - t("w_il", w[i])
        found[i, k] = t("first order", rho * np.sqrt((apart**2 * (features[i] ** 2).sum(axis=1) / shares).sum()))
        found[i, k] += t("second order", rho**2 / 2 * (w[i] / shares).max())
    return np.exp(found)


def reference(samples, log_weights, means, shares, rho, eta, t=PLAIN):
    """The formula of the docstring, written out in floats: (β of the first round, β)."""
    w = midpoints(parts(samples, log_weights, means)[2])
    phi = np.concatenate([samples[:, None, :] - means, np.ones((*w.shape, 1))], axis=2)
    count, components, _ = phi.shape
    e = t("growth", growth(PLAIN, w, phi, shares, rho)) * w

    def variance(f):
        total = 0
        for i in range(count):
            blocks = np.zeros((components, components, f.shape[2]))  # f_k as a function of v
            blocks[np.arange(components), np.arange(components)] = f[i]
            rows = blocks.reshape(components, -1)
            mean = e[i] @ rows
            total = total + t("squares", rows.T @ np.diag(e[i]) @ rows)
            total = total - t("square of the mean", np.outer(mean, mean) / e[i].sum())
        return np.linalg.eigvalsh(total / count).max()

    g = variance(phi / np.sqrt(shares)[:, None])
    q = variance(np.ones((*w.shape, 1)) / shares[:, None])
    betas = [1.0]
    while len(betas) < 3 and betas[-1] <= 1:
        reach = t("beta rho", betas[-1] * rho) + t("eta", eta)
        drift = t("log p", np.log(shares)) - t("log pi", log_weights)
        kappa = np.exp(drift + t("R of kappa", reach / np.sqrt(shares))).max()
        before = t("root of g", np.sqrt(g)) + t("shift of mu", rho * np.sqrt(q))
        betas.append(before * kappa * (t("root of g, after", np.sqrt(g)) + t("shift of mu+", reach * np.sqrt(q))))
    return betas[1], betas[-1]
