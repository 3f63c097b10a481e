"""Data sets, EM's Jacobian, and the contraction's formula in floats, for test_em_contraction."""

import numpy as np
import torch

from constructions.algorithms import ball_em
from constructions.algorithms.em import log_em_step
from constructions.balls import midpoints, to_balls
from constructions.em_enclosure import Parameters


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


def reference(samples, log_weights, means, shares, rho, eta):
    """The formula of the docstring, written out in floats: (β of the first round, β)."""
    w = midpoints(parts(samples, log_weights, means)[2])
    phi = np.concatenate([samples[:, None, :] - means, np.ones((*w.shape, 1))], axis=2)
    count, components, _ = phi.shape
    t = np.empty_like(w)
    for i in range(count):
        for k in range(components):
            apart = (np.arange(components) == k) - w[i]
            t[i, k] = rho * np.sqrt((apart**2 * (phi[i] ** 2).sum(axis=1) / shares).sum())
            t[i, k] += rho**2 / 2 * (w[i] / shares).max()
    e = np.exp(t) * w

    def variance(f):
        total = 0
        for i in range(count):
            blocks = np.zeros((components, components, f.shape[2]))  # f_k as a function of v
            blocks[np.arange(components), np.arange(components)] = f[i]
            rows = blocks.reshape(components, -1)
            mean = e[i] @ rows
            total = total + rows.T @ np.diag(e[i]) @ rows - np.outer(mean, mean) / e[i].sum()
        return np.linalg.eigvalsh(total / count).max()

    g = variance(phi / np.sqrt(shares)[:, None])
    q = variance(np.ones((*w.shape, 1)) / shares[:, None])
    betas = [1.0]
    while len(betas) < 3 and betas[-1] <= 1:
        reach = betas[-1] * rho + eta
        kappa = np.exp(np.log(shares) - log_weights + reach / np.sqrt(shares)).max()
        betas.append((np.sqrt(g) + rho * np.sqrt(q)) * kappa * (np.sqrt(g) + reach * np.sqrt(q)))
    return betas[1], betas[-1]
