from __future__ import annotations

from math import exp, log, sqrt

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import chi2, norm

from constructions.algorithms.em import log_responsibilities
from constructions.algorithms.sampling import Mixture, sample
from constructions.concentration_bounds import (
    SUB_GAUSSIAN,
    TILTS,
    Region,
    bounded_generating,
    chernoff,
    gaussian_generating,
    lemma_f1_deviation,
    moment_deviation,
    one_step_radius,
    population_offsets,
    responsibility_deviation,
    samples_needed,
    step_deviation,
    uniform_step_deviation,
)
from constructions.errors import InputError

DELTA = 1e-3
TRUTH = Mixture(np.array([0.2, 0.3, 0.5]), np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 7.0]]))
REGION = Region(TRUTH, 0.25, 0.5)


def points(region: Region, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the box of weights, and means on the balls' spheres."""
    truth = region.truth
    signs = rng.choice([-1.0, 1.0], size=(count, len(truth.weights)))
    u = rng.standard_normal((count, *truth.means.shape))
    means = truth.means + region.radius * u / np.linalg.norm(u, axis=-1, keepdims=True)
    return truth.weights * (1 + region.slack * signs), means


def responsibilities(x: np.ndarray, weights: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Of every sample at every θ."""
    return np.exp(log_responsibilities(np.broadcast_to(x, (len(weights), *x.shape)), weights, means))


def test_overlaps_bound_the_responsibilities_of_the_other_components(rng):
    for component in range(3):
        x = TRUTH.means[component] + rng.standard_normal((5003, 2))
        weights, means = points(REGION, 17, rng)
        averages = responsibilities(x, weights, means).mean(axis=1) * TRUTH.weights[component]
        others = np.arange(3) != component
        assert (averages[:, others] < REGION.overlaps[component, others]).all()
    assert (np.diag(REGION.overlaps) == 0).all()
    assert REGION.overlaps == pytest.approx(REGION.overlaps.T, rel=1e-14)


def test_a_tilt_by_half_the_log_ratio_is_what_the_overlap_is_made_of():
    """E e^{U/2} for the worst θ of K = 2, d = 1, a = 0: attained by both means moved from k to j."""
    distance, radius = 5.0, 0.25
    region = Region(Mixture(np.array([0.3, 0.7]), np.array([[0.0], [distance]])), radius, 0.0)
    a, b = -radius, distance - radius

    def integrand(z: float) -> float:
        u = log(0.7 / 0.3) + (z - (a + b) / 2) * (b - a)
        return float(exp(u / 2) * norm.pdf(z))

    assert 0.3 * quad(integrand, -20, 20)[0] == pytest.approx(region.overlaps[0, 1], rel=1e-9)


def test_a_net_step_bounds_the_change_of_the_responsibilities(rng):
    """|Δw| ≤ ½(ε_b + ε(‖z‖ + R_max)), where a and b are the differences of means and offsets to the first component."""
    x, labels = sample(TRUTH, 211, rng)
    size = np.linalg.norm(x - TRUTH.means[labels], axis=1)
    middle = (TRUTH.means + TRUTH.means[0]) / 2
    (weights, means), coordinates = points(REGION, 53, rng), []
    for pi_k, mu_k in zip(weights, means, strict=True):
        a = mu_k - mu_k[0]
        coordinates.append((a, np.log(pi_k / pi_k[0]) - (((mu_k + mu_k[0]) / 2 - middle) * a).sum(axis=1)))
    w = responsibilities(x, weights, means)
    for first, second in ((0, 1), (5, 11), (23, 41)):
        (a, b), (c, d) = coordinates[first], coordinates[second]
        width, offset = np.linalg.norm(a - c, axis=1).max(), np.abs(b - d).max()
        assert offset <= 2 * (log(3) + 0.25 * 7.5)
        allowed = (offset + width * (size + REGION.distances.max())) / 2
        assert (np.abs(w[first] - w[second]).max(axis=1) <= allowed).all()


def test_reach_covers_the_root_mean_square_of_the_noise():
    dim, count = 2, 7
    root = REGION.reach(count, DELTA) - REGION.distances.max()
    assert chi2.sf(count * root**2, count * dim) <= DELTA / 2
    assert root == pytest.approx(sqrt(2) + sqrt(2 * log(2 / DELTA) / 7), rel=1e-14)


def test_chernoff_is_exact_for_a_gaussian_exponent():
    assert chernoff(lambda s: s**2 / 2, 5.0, 1000) == pytest.approx(sqrt(2 * 5 / 1000), rel=1e-3)
    assert chernoff(lambda s: s**2 / 2, np.array([5.0, 7.0]), 1000)[1] == pytest.approx(sqrt(0.014), rel=1e-3)


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.9])
def test_bounded_generating_bounds_a_bernoulli_variable_on_both_sides(p):
    for sign in (1, -1):
        exact = np.log1p(p * np.expm1(sign * TILTS)) - sign * TILTS * p
        assert (exact <= bounded_generating(p, 1.0)(TILTS) * (1 + 1e-9) + 1e-15).all()
    assert bounded_generating(0.01, 1.0)(np.array([0.5]))[0] == pytest.approx(0.01 * (exp(0.5) - 1.5), rel=1e-13)
    assert bounded_generating(1.0, 2.0)(np.array([3.0]))[0] == pytest.approx(4.5, rel=1e-13)


def test_gaussian_generating_is_the_sum_of_the_expectations():
    """E(e^{s(g+h)} − 1 − s(g+h)), integrated."""
    s, shares, offsets = 0.7, np.array([0.2, 0.05]), np.array([1.5, 3.0])
    terms = [
        quad(lambda z, h=h: (exp(s * (z + h)) - 1 - s * (z + h)) * norm.pdf(z), -20, 20)[0] for h in (0.0, *offsets)
    ]
    expected = 0.3 * terms[0] + shares @ terms[1:]
    assert gaussian_generating(shares, offsets, 0.3)(np.array([s]))[0] == pytest.approx(expected, rel=1e-9)


def test_gaussian_generating_is_infinite_beyond_the_format():
    far = gaussian_generating(np.array([0.0]), np.array([1e3]))(TILTS)
    assert not np.isnan(far).any()
    assert far[-1] == np.inf


def test_labels_alone_are_left_far_apart():
    """With no overlap the split bound is Chernoff's for 1{y = k}, and there is no net."""
    far = Region(Mixture(np.array([0.1, 0.9]), np.array([[0.0], [120.0]])), 0.5, 0.5)
    count = 10**6
    bound = responsibility_deviation(far, count, DELTA)[0]
    label = chernoff(bounded_generating(0.1, 1.0), log(2 * 2) + log(4 / DELTA), count)
    assert label < bound < 1.05 * label
    moment = moment_deviation(far, count, DELTA)[0]
    assert moment == pytest.approx(8 / 7 * sqrt(2 * 0.1 * (log(2 * 5) + log(4 / DELTA)) / count), rel=0.05)


def test_bounds_fall_with_n_and_rise_with_confidence():
    for bound in (responsibility_deviation, moment_deviation, uniform_step_deviation, one_step_radius):
        values = [np.max(bound(REGION, n, delta)) for n, delta in ((10**5, 1e-9), (10**5, 1e-3), (10**7, 1e-3))]
        assert values[0] > values[1] > values[2]
    ratio = responsibility_deviation(REGION, 10**5, DELTA) / responsibility_deviation(REGION, 10**7, DELTA)
    assert ((ratio > 7) & (ratio < 10)).all()  # √100 but for the logarithm


def test_bounds_hold_at_single_points(rng):
    """At one θ, n = 64, δ = 1e-3: none of 97 data sets exceeds the bounds."""
    weights, means = points(REGION, 1, rng)
    sets, count = 97, 64
    x, _ = sample(TRUTH, sets * count, rng)
    many, _ = sample(TRUTH, 10**5, rng)
    w, expected = (np.exp(log_responsibilities(s, weights[0], means[0])) for s in (x, many))
    values = np.abs(w.reshape(sets, count, 3).mean(axis=1) - expected.mean(axis=0)).max(axis=0)
    assert (values < responsibility_deviation(REGION, count, DELTA)).all()
    sums = np.einsum("rnk,rnd->rkd", w.reshape(sets, count, 3), x.reshape(sets, count, 2)) / count
    exact = expected.T @ many / len(many)
    off = sums - exact - (w.reshape(sets, count, 3).mean(axis=1) - expected.mean(axis=0))[..., None] * TRUTH.means
    assert (np.linalg.norm(off, axis=-1).max(axis=0) < moment_deviation(REGION, count, DELTA)).all()


def test_population_offsets_bound_those_of_population_em(rng):
    from constructions.algorithms.population_em import population_error

    weights, means = points(REGION, 7, rng)
    off_weights, off_means = population_error(TRUTH, weights / weights.sum(axis=1, keepdims=True), means, nodes=65)
    q, v = population_offsets(REGION)
    assert q == pytest.approx(REGION.overlaps.sum(axis=1), rel=1e-14)
    expected = [
        2 * sum(REGION.overlaps[j, k] * sqrt(1 + REGION.offsets[j, k] ** 2) for j in range(3)) for k in range(3)
    ]
    assert v == pytest.approx(expected, rel=1e-14)
    assert (np.abs(off_weights) < q).all()
    assert (np.linalg.norm(off_means, axis=-1) * (TRUTH.weights + off_weights) < v).all()


def test_step_deviation_is_the_largest_an_average_can_be_off():
    true, first, second = np.array([0.4, 0.6]), np.array([0.1, 0.01]), np.array([0.02, 0.03])
    new, offsets = np.array([0.5, 0.5]), np.array([0.3, 0.0])
    found = step_deviation(true, (first, second), new, offsets)
    assert found == pytest.approx([0.25, 0.03 / 0.49], rel=1e-14)
    found = step_deviation(true, (first, 10 * second), new, offsets)
    assert found[0] == pytest.approx((0.2 + 0.03) / 0.4, rel=1e-14)  # p̂ = 0.4: V̂/p̂ − V/p with V = 0.15, V̂ = 0.15 − 0.2
    assert step_deviation(true, (5 * first, second), new, offsets)[0] == np.inf


@pytest.mark.parametrize("distance", [0.0, 2.0, 1e3])
@pytest.mark.parametrize("radius", [1.0, 11.0, 101.0])
def test_where_nothing_can_be_said_bounds_are_infinite_without_a_warning(distance, radius):
    """Overlaps beyond the weights, and beyond the format: e^{r²/2} at r = 101."""
    region = Region(Mixture(np.array([0.4, 0.6]), np.array([[0.0, 0.0], [distance, 0.0]])), radius, 0.5)
    said = distance - 4 * radius > 8
    assert (np.diag(region.overlaps) == 0).all()
    assert np.isfinite(responsibility_deviation(region, 101, DELTA)).all()
    for bound in (uniform_step_deviation, one_step_radius):
        assert np.isfinite(bound(region, 10**6, DELTA)) == said


def test_one_step_radius_and_samples_needed():
    far = Region(Mixture(np.array([0.5, 0.5]), np.array([[0.0], [9.0]])), 9 / 16, 0.5)
    n = samples_needed(one_step_radius, far, 0.5, DELTA, 2**20)
    assert n is not None
    assert one_step_radius(far, n, DELTA) <= 0.5 < one_step_radius(far, n - 1, DELTA)
    q, v = population_offsets(far)
    first, second = responsibility_deviation(far, n, DELTA), moment_deviation(far, n, DELTA)
    expected = max(((q + first) / 0.5).max(), ((v + second) / (0.5 - q - first)).max())
    assert one_step_radius(far, n, DELTA) == pytest.approx(expected, rel=1e-14)
    near = Region(Mixture(np.array([0.5, 0.5]), np.array([[0.0], [4.0]])), 0.25, 0.5)
    assert samples_needed(one_step_radius, near, 0.5, DELTA, 2**20) is None


@pytest.mark.parametrize(("sign", "norm_2"), [("two points", 1 / sqrt(log(2))), ("Gaussian", sqrt(8 / 3))])
def test_the_sub_gaussian_constant_covers_two_laws(sign, norm_2):
    s = np.geomspace(1e-2, 10, 50)
    exact = np.log(np.cosh(s)) if sign == "two points" else s**2 / 2
    assert (exact <= SUB_GAUSSIAN * (s * norm_2) ** 2).all()


def test_bad_input_is_named():
    truth = Mixture(np.array([0.5, 0.5]), np.array([[0.0], [4.0]]))
    with pytest.raises(InputError, match=r"radius is -1; it must not be negative"):
        Region(truth, -1.0, 0.5)
    with pytest.raises(InputError, match=r"slack of weights is 1; it must lie in \[0, 1\)"):
        Region(truth, 0.1, 1.0)
    with pytest.raises(InputError, match="1 component; responsibilities need two"):
        Region(Mixture(np.array([1.0]), np.array([[0.0]])), 0.1, 0.5)
    with pytest.raises(InputError, match="0 samples; at least one"):
        responsibility_deviation(Region(truth, 0.1, 0.5), 0, DELTA)
    with pytest.raises(InputError, match=r"failure probability is 1; it must lie in \(0, 1\)"):
        moment_deviation(Region(truth, 0.1, 0.5), 7, 1.0)
    with pytest.raises(InputError, match="failure probability is 0"):
        lemma_f1_deviation(np.ones(2), 3, 1.0, 1.0, 7, 0.0)
