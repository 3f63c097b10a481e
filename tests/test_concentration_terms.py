"""Uniform deviations, restated from lemma_f1.md, lemma_f2.md and theorem_f4.md; a term that is dropped is seen."""

from __future__ import annotations

from functools import partial
from math import exp, expm1, log, sqrt

import numpy as np
from terms import Terms, assert_terms

from constructions import concentration_bounds
from constructions.algorithms.sampling import Mixture
from constructions.concentration_bounds import (
    TILTS,
    WIDTHS,
    Region,
    bounded_generating,
    gaussian_generating,
    lemma_f1_deviation,
    moment_deviation,
    one_step_radius,
    population_offsets,
    responsibility_deviation,
    step_deviation,
    uniform_step_deviation,
)

DELTA = 1e-3
TRUTH = Mixture(np.array([0.2, 0.3, 0.5]), np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 7.0]]))
REGION = Region(TRUTH, 0.25, 0.5)
NEAR = Region(Mixture(np.array([0.3, 0.7]), np.array([[0.0], [1.0]])), 0.8, 0.2)  # regions that overlap: s = 0
LIGHT = Region(Mixture(np.array([0.02, 0.98]), np.array([[0.0], [3.0]])), 0.1, 0.1)
FAR = Region(Mixture(TRUTH.weights, 2 * TRUTH.means), 0.25, 0.5)
REGIONS = [(REGION,), (NEAR,), (FAR,)]


def apart(region: Region, j: int, k: int) -> float:
    means = region.truth.means
    return sqrt(sum((x - y) ** 2 for x, y in zip(means[j], means[k], strict=True)))


def overlap(t: Terms, region: Region, j: int, k: int) -> float:
    """E_j w_k by a tilt with half the log ratio, both means moved towards each other."""
    r, a = region.radius, region.slack
    odds = t("1 + slack", 1 + a) / t("1 - slack", 1 - a)
    s = max(t("R", apart(region, j, k)) - t("2r", 2 * r), 0)
    pair = t("weights", region.truth.weights[j] * region.truth.weights[k])
    return sqrt(odds * pair) * exp((t("4r^2", 4 * r * r) - t("s^2", s * s)) / 8)


def table(formula, region: Region) -> list[list[float]]:
    size = range(len(region.truth.weights))
    return [[0.0 if j == k else formula(region, j, k) for k in size] for j in size]


def test_overlaps_and_offsets_term_by_term():
    assert_terms(lambda region: region.overlaps, lambda t, region: table(partial(overlap, t), region), REGIONS)

    def offsets(t: Terms, region: Region) -> list[list[float]]:
        size = range(len(region.truth.weights))
        return [[t("R/2", apart(region, j, k) / 2) + t("r", region.radius) for k in size] for j in size]

    assert_terms(lambda region: region.offsets, offsets, REGIONS)

    def population(t: Terms, region: Region) -> list[list[float]]:
        c, size = table(partial(overlap, Terms()), region), range(len(region.truth.weights))
        h = offsets(Terms(), region)
        lengths = [[sqrt(t("1", 1) + t("h^2", h[j][k] ** 2)) for k in size] for j in size]
        return [
            [sum(t("c of q", c[j][k]) for j in size) for k in size],
            [2 * sum(t("c of v", c[j][k]) * lengths[j][k] for j in size) for k in size],
        ]

    assert_terms(population_offsets, population, REGIONS)


def log_net(t: Terms, region: Region, width: float, reach: float) -> float:
    """Means in balls of radius 2r around their differences to the first, offsets in intervals of length 2β_j."""
    d, r = region.truth.means.shape[1], region.radius
    kappa = (1 + region.slack) / (1 - region.slack)
    total = 0.0
    for j in range(1, len(region.truth.weights)):
        beta = t("log kappa", log(kappa)) + t("rR", r * apart(region, 0, j)) + t("2r^2", 2 * r * r)
        total += t("means", d * log(1 + t("4r/eps", 4 * r / width)))
        total += t("offsets", log(1 + t("2 beta", 2 * beta / (width * reach))))
    return total


def reach(t: Terms, region: Region, count: int, delta: float) -> float:
    means, size = region.truth.means, range(len(region.truth.weights))
    noise = t("mean norm", sqrt(means.shape[1])) + t("deviation", sqrt(2 * log(2 / t("delta", delta)) / count))
    return noise + t("R_max", max(apart(region, j, k) for j in size for k in size))


def test_the_net_and_its_reach_term_by_term():
    given = [(region, width, 7.0) for (region,) in REGIONS for width in (0.1, 0.01)]
    assert_terms(lambda region, width, reach: region.log_net(np.array([width]), reach)[0], log_net, given)
    assert_terms(Region.reach, reach, [(region, 7, delta) for (region,) in REGIONS for delta in (DELTA, 1e-9)])


def bounded(t: Terms, s: float, mean: float, spread: float) -> float:
    return min(mean * (t("e^s", exp(s)) - t("1", 1) - t("s", s)), t("spread", (s * spread) ** 2 / 8))


def gaussian(t: Terms, s: float, shares: list[float], offsets: list[float], share: float) -> float:
    total = share * t("label", expm1(s * s / 2))
    for c, h in zip(shares, offsets, strict=True):
        total += c * (exp(t("s^2/2", s * s / 2) + t("sh", s * h)) - t("1", 1) - t("linear", s * h))
    return total


def test_generating_functions_term_by_term():
    def of_bounded(s, mean, spread):
        return bounded_generating(mean, spread)(np.array([s]))[0]

    def of_gaussian(s, shares, offsets, share):
        return gaussian_generating(np.array(shares), np.array(offsets), share)(np.array([s]))[0]

    assert_terms(of_bounded, bounded, [(0.5, 0.01, 1.0), (3.0, 1.0, 2.0), (1.7, 0.3, 1.0)])
    assert_terms(of_gaussian, gaussian, [(0.7, [0.2, 0.05], [1.5, 3.0], 0.3), (2.0, [0.1], [0.5], 0.0)])


def deviation(t: Terms, region: Region, k: int, count: int, delta: float, moment: bool) -> float:
    """The direct and the split bound, ε and s on the module's grids; 8/7 and 5^d for the directions of a moment."""
    weights, d = region.truth.weights, region.truth.means.shape[1]
    others = [j for j in range(len(weights)) if j != k]
    c, h = [region.overlaps[j, k] for j in others], [region.offsets[j, k] for j in others]
    s, a = TILTS[TILTS < 20], reach(Terms(), region, count, delta)  # beyond, the format overflows
    nets = np.array([log_net(Terms(), region, width, a) for width in WIDTHS])
    components = t("K", len(weights))
    if moment:
        labels = np.array([gaussian(Terms(), x, [], [], weights[k]) for x in s])
        rest = np.array([gaussian(Terms(), x, c, h, 0.0) for x in s])
        direct, split = t("label", labels) + t("others", rest), 2 * t("others, split", rest)
        loss, last, events = t("8/7", 8 / 7), t("2 eps A^2", 2 * a * a), components * t("5^d", 5**d)
    else:
        q = sum(c)
        labels = np.array([bounded(Terms(), x, weights[k], 1.0) for x in s])
        direct = [bounded(Terms(), x, t("label", weights[k]) + t("others", q), t("length 1", 1.0)) for x in s]
        split = [bounded(Terms(), x, 2 * t("others, split", q), 2.0) for x in s]  # where 2 decides, direct is less
        loss, last, events = 1.0, t("2 eps A", 2 * a), components * t("both signs", 2)
    log_direct = log(t("2 of direct", 2) * events / delta) + t("net", nets)
    log_split = log(t("4 of split", 4) * events / delta) + t("net, split", nets)
    fixed = ((labels + log(t("4 of labels", 4) * events / delta) / count) / s).min()
    forms = [
        (loss * ((np.asarray(psi) + events[:, None] / count) / s).min(axis=1) + last * WIDTHS).min()
        for psi, events in ((direct, log_direct), (split, log_split))
    ]
    return min(forms[0], t("fixed", loss * fixed) + t("split", forms[1]))


def test_deviations_term_by_term():
    """Near, the direct form is the lesser; far apart the split one; a probability of 0.3, where ε's part counts."""
    for moment, bound in enumerate((responsibility_deviation, moment_deviation)):
        given = [(region, k, n, DELTA) for region in (REGION, FAR) for k in (0, 2) for n in (1009, 100_003)]
        given += [(NEAR, 1, 7, 0.3), (LIGHT, 0, 10**5, DELTA)]
        assert_terms(
            lambda region, k, count, delta, bound=bound: bound(region, count, delta)[k],
            partial(deviation, moment=bool(moment)),
            given,
            rel=1e-11,
        )


def step(t: Terms, true, deviations, new, offsets) -> list[float]:
    (first, second), found = deviations, []
    for k, weight in enumerate(true):
        mean = t("sum", second[k]) + t("offset", offsets[k] * first[k])
        found.append(max(t("weight", first[k] / weight), mean / (new[k] - t("left", first[k]))))
    return found


def test_steps_term_by_term():
    true, new, offsets = np.array([0.4, 0.6]), np.array([0.5, 0.45]), np.array([0.3, 0.2])
    sizes = [(np.array([0.1, 0.01]), size * np.array([0.02, 0.03])) for size in (1.0, 10.0)]
    assert_terms(step_deviation, step, [(true, deviations, new, offsets) for deviations in sizes])


def radius(t: Terms, region: Region, count: int) -> float:
    (q, v), (first, second) = concentration_bounds.population_offsets(region), deviations(region, count)
    found = []
    for k, weight in enumerate(region.truth.weights):
        off = t("q", q[k]) + t("epsilon", first[k])
        found += [t("weight", off / weight), (t("v", v[k]) + t("eta", second[k])) / (weight - t("left", off))]
    return max(found)


def uniform(t: Terms, region: Region, count: int) -> float:
    (q, v), weights = concentration_bounds.population_offsets(region), region.truth.weights
    least = [weight - t("q", off) for weight, off in zip(weights, q, strict=True)]
    offsets = [t("v", off) / t("least", weight) for off, weight in zip(v, least, strict=True)]
    return max(step(Terms(), weights, deviations(region, count), least, offsets))


def deviations(region: Region, count: int) -> tuple[np.ndarray, np.ndarray]:
    names = ("responsibility_deviation", "moment_deviation")
    first, second = (getattr(concentration_bounds, name)(region, count, DELTA) for name in names)
    return first, second


def test_radii_term_by_term(monkeypatch):
    """As they are, where means decide; then with sums that are hardly off, so that weights do."""
    near = Region(TRUTH, 0.1, 0.1)
    sizes = {"responsibility_deviation": 0.05, "moment_deviation": 1e-9, "population_offsets": (0.01, 0.0)}
    given = {name: getattr(concentration_bounds, name) for name in sizes}

    def patched(region: Region, name: str, *rest: object):
        if region is not near:
            return given[name](region, *rest)
        size = sizes[name]
        return tuple(np.full(3, x) for x in size) if isinstance(size, tuple) else np.full(3, size)

    for name in sizes:
        monkeypatch.setattr(concentration_bounds, name, lambda region, *rest, name=name: patched(region, name, *rest))
    for bound, formula in ((one_step_radius, radius), (uniform_step_deviation, uniform)):
        assert_terms(
            lambda region, count, bound=bound: bound(region, count, DELTA), formula, [(FAR, 10**6), (near, 10**6)]
        )


def test_lemma_f1_term_by_term():
    def lemma(t: Terms, radii, dim, norm, lipschitz, count, delta) -> float:
        width = t("delta of eps", delta) * t("R of eps", norm) / (3 * t("L", lipschitz) * t("n of eps", sqrt(count)))
        net = dim * sum(log(1 + t("2r/eps", 2 * r / width)) for r in radii)
        kappa = t("1/2", 0.5) + t("2 log 2", 2 * log(2))
        events = t("net", net) + log(4 / t("delta", delta))
        return norm * (sqrt(4 * kappa * events / t("n", count)) + t("width", 1 / sqrt(count)))

    assert_terms(lemma_f1_deviation, lemma, [(np.array([0.5, 0.7]), 3, 2.0, 5.0, n, DELTA) for n in (7, 1009)])
