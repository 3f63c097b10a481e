"""The spectral method: moments against dense formulas and closed forms, recovered mixtures, refusals."""

import tracemalloc
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from scipy import stats

from constructions import reordered_sums
from constructions.algorithms import metrics, spectral
from constructions.algorithms.sampling import Mixture, sample
from constructions.algorithms.spectral import Moments, decompose, empirical_moments, population_moments
from constructions.algorithms.tensor_power import normalised_power_iteration, robust_tensor_power
from constructions.datasets import load_bundled
from constructions.errors import InputError
from constructions.rounding_error import gamma

UNIT = 2.0**-53
COUNTS = [1, 2, 4]  # weights 1/7, 2/7, 4/7
MEANS = np.array([[4.0, 0, -1, 2, 0], [1, -3, 0, 0, 2], [0, 1, 5, -1, 3]])


def mixture_of(counts, means):
    return Mixture(np.array(counts) / sum(counts), means)


def sigma_points(counts, means, step):
    """For every mean the 2d points μ ± step·e_a, as often as `counts` says.

    Their first three moments are those of the mixture of N(μ_k, σ²I) with σ² = step²/d: the covariance is
    Σ_a 2 step² e_a e_aᵀ/(2d), and odd central moments vanish. So is M1, as Σ_a v_a² = 1.
    """
    dim = means.shape[1]
    offsets = step * np.concatenate([np.eye(dim), -np.eye(dim)])
    return np.concatenate([mean + offsets for count, mean in zip(counts, means, strict=True) for _ in range(count)])


def random_mixture(components, dim, rng):
    """Weights at least 1/(3K), means that are not near a common hyperplane through 0."""
    directions = np.linalg.qr(rng.standard_normal((dim, dim)))[0][:components]
    weights = rng.uniform(1, 3, components)
    return Mixture(weights / weights.sum(), 4 * directions + rng.uniform(-0.5, 0.5, (components, dim)))


def closed_form_errors(mixture):
    """Bounds on the Frobenius norms of the rounding in M2 and M3 as sums over K components."""
    norms, sums = np.linalg.norm(mixture.means, axis=1), gamma(len(mixture.weights) + 4, UNIT)
    return sums * mixture.weights @ norms**2, sums * mixture.weights @ norms**3


def sample_errors(mixture, points):
    """Bounds on the Frobenius norms of the rounding in M2 (and in σ̂²) and in M3 (and in M1) from samples.

    A mean of N products is off by γ_{2N} times that of their absolute values, an eigenvalue of a d×d matrix by 10d
    units of its norm (LAPACK's modest p(d)): σ̂² I by √d times that. The eigenvector v is off by √2 times the
    covariance's error over the gap to the variance of the means, (vᵀy)² with y = x − Ex by twice that times ‖y‖²,
    and M1 enters M3 three times, each with norm √d ‖M1‖.
    """
    (components, dim), centred = mixture.means.shape, mixture.means - mixture.weights @ mixture.means
    norms = np.linalg.norm(points, axis=1)
    reach = norms + np.linalg.norm(points.mean(axis=0))  # at least ‖x‖ and ‖y‖
    sums = gamma(2 * len(points) + 10 * dim + 8, UNIT)
    # K − 1 eigenvalues of the means' covariance are positive; with K = 1 every v is an eigenvector.
    gap = np.linalg.eigvalsh(centred.T * mixture.weights @ centred)[1 - components] if components > 1 else np.inf
    m1 = (3 * sums * (reach**2).mean() / gap + sums) * (reach**3).mean()
    return 2 * dim**0.5 * sums * (reach**2).mean(), sums * (norms**3).mean() + 3 * dim**0.5 * m1


def tolerances(mixture, errors):
    """Bounds on the relative error of a weight and on the error of a mean, from errors (Δ2, Δ3) of M2 and M3.

    Whitening with M2 off by Δ2 makes the vectors √π Wᵀμ orthonormal up to δ = (Δ2 + 10d·u‖M2‖)/s_K, so T is off
    a sum of λ_k o_k^{⊗3} (o_k orthonormal) by 4λ_max δ, by Δ3 s_K^{-3/2} from M3, and by the contraction's and the
    iteration's rounding: ε in all. Theorem 5.1 of Anandkumar et al.: |λ̂ − λ| ≤ 5ε, ‖û − o‖ ≤ 8ε/λ. Hence
    π = λ^{-2} is off by a relative 10ε/λ + O(ε²), λ ≥ 1, and μ = λUS^{1/2}u by √s_1 (5 + 8 + λδ/ε)ε and the part
    of μ outside the perturbed span, 2δ‖μ‖ ≤ 2δλ√s_1 (πμμᵀ ≤ M2), with λδ ≤ ε/4: less than 14ε√s_1.
    """
    weights, means = mixture.weights, mixture.means
    components, dim = means.shape
    s = np.linalg.svd(np.sqrt(weights)[:, None] * means)[1] ** 2
    largest = weights.min() ** -0.5
    delta = (errors[0] + 10 * dim * UNIT * s[0]) / s[-1]
    size = weights @ np.linalg.norm(means, axis=1) ** 3
    contraction = gamma(3 * dim + 9, UNIT) * size * components**1.5 / s[-1] ** 1.5
    iteration = gamma(components**2 + 3 * components + 8, UNIT) * components**2.5 * largest
    epsilon = errors[1] / s[-1] ** 1.5 + 4 * largest * delta + contraction + iteration
    assert epsilon < 1e-7  # a wrong step is off by a number of order 1, and O(ε²) is nothing
    return 11 * epsilon, 15 * epsilon * s[0] ** 0.5


def assert_recovered(estimate, mixture, errors):
    weight_tolerance, mean_tolerance = tolerances(mixture, errors)
    aligned = metrics.align(estimate, mixture)
    assert metrics.mean_error(aligned, mixture) <= mean_tolerance
    assert np.abs(aligned.weights / mixture.weights - 1).max() <= weight_tolerance


def stein(m1, dim):
    """Σ_a (M1⊗e_a⊗e_a + e_a⊗M1⊗e_a + e_a⊗e_a⊗M1), term by term."""
    total = np.zeros((dim, dim, dim))
    for a, b in product(range(dim), repeat=2):
        total[b, a, a] += m1[b]
        total[a, b, a] += m1[b]
        total[a, a, b] += m1[b]
    return total


@pytest.fixture
def mixture():
    return mixture_of(COUNTS, MEANS)


@pytest.fixture
def points():
    """70 samples with the moments of the mixture and σ² = 5."""
    return sigma_points(COUNTS, MEANS, 5)


@pytest.mark.parametrize("block", [1, 25 * 7, 2**20], ids=["a sample at a time", "7 samples at a time", "all"])
def test_empirical_moments_are_the_dense_formula(block, monkeypatch, rng):
    """N = 101, d = 5; M1 with the eigenvector of the covariance that an SVD of the samples gives."""
    monkeypatch.setattr(spectral, "BLOCK", block)
    x = rng.standard_normal((101, 5)) * [1, 2, 3, 0.5, 4] @ rng.standard_normal((5, 5)) + [1, -2, 0, 3, 1]
    _, roots, directions = np.linalg.svd(x - x.mean(axis=0))
    variances = roots**2 / 101
    projections = (x - x.mean(axis=0)) @ directions[-1]
    m1 = (x * projections[:, None] ** 2).mean(axis=0)
    second = np.einsum("na,nb->ab", x, x) / 101
    third = np.einsum("na,nb,nc->abc", x, x, x) / 101
    got = empirical_moments(x)
    # As in sample_errors: sums of N terms, eigenvalues, and the eigenvector of the smallest.
    norms, sums = np.linalg.norm(x, axis=1), gamma(2 * 101 + 10 * 5 + 8, UNIT)
    vector = sums * variances[0] / (variances[-2] - variances[-1])
    m1_error = (4 * vector + 2 * sums) * (norms**3).mean()
    assert abs(got.noise_variance - variances[-1]) <= 2 * sums * variances[0]
    assert np.abs(got.m1 - m1).max() <= m1_error
    assert np.abs(got.m2 - (second - variances[-1] * np.eye(5))).max() <= 4 * sums * (norms**2).mean()
    assert np.abs(got.m3 - (third - stein(m1, 5))).max() <= 2 * sums * (norms**3).mean() + 3 * m1_error


def test_population_moments_are_the_sums_over_the_components(mixture):
    """Sums of three terms of size at most 5, 5² and 5³, against rational arithmetic; σ² is 3, and 1 by default."""
    got, unit = population_moments(mixture, noise_variance=3.0), population_moments(mixture)
    parts = [(Fraction(count, 7), mean) for count, mean in zip(COUNTS, MEANS.astype(int).tolist(), strict=True)]
    assert (got.noise_variance, unit.noise_variance) == (3, 1)
    for a, b, c in product(range(5), repeat=3):
        first, second, third = (
            float(sum(weight * np.prod([mean[i] for i in indices]) for weight, mean in parts))
            for indices in ([a], [a, b], [a, b, c])
        )
        assert abs(got.m1[a] - 3 * first) <= gamma(16, UNIT) * 3 * 5
        assert abs(unit.m1[a] - first) <= gamma(16, UNIT) * 5
        assert abs(got.m2[a, b] - second) <= gamma(16, UNIT) * 5**2
        assert abs(got.m3[a, b, c] - third) <= gamma(16, UNIT) * 5**3


def test_a_noise_variance_is_never_negative(rng):
    """Samples in a plane of R^5: rounding often makes the covariance's smallest eigenvalue negative."""
    samples = [rng.standard_normal((11, 2)) @ rng.standard_normal((2, 5)) + 1 for _ in range(53)]
    smallest = [np.linalg.eigh(np.cov(x.T, bias=True))[0][0] for x in samples]
    assert min(smallest) < 0
    assert min(empirical_moments(x).noise_variance for x in samples) == 0


def test_the_correction_is_the_third_moment_of_the_noise(mixture, points):
    """E[x⊗x⊗x] of a mixture of N(μ, σ²I) is Σ π (μ⊗μ⊗μ + σ² Σ_a (μ⊗e_a⊗e_a + …)); the points share it exactly."""
    third = np.einsum("na,nb,nc->abc", points, points, points)  # integers
    exact = sum(
        10 * count * (np.einsum("a,b,c->abc", mean, mean, mean) + 5 * stein(mean, 5))
        for count, mean in zip(COUNTS, MEANS, strict=True)
    )
    assert np.array_equal(third, exact)
    population = population_moments(mixture, noise_variance=5.0)
    raw = third / 70 - stein(population.m1, 5)
    assert np.abs(raw - population.m3).max() <= gamma(16, UNIT) * (np.abs(points) ** 3).sum(axis=1).mean()


def test_empirical_moments_of_points_with_the_mixtures_moments(mixture, points):
    got, expected = empirical_moments(points), population_moments(mixture, noise_variance=5.0)
    second, third = sample_errors(mixture, points)
    assert third < 1e-6  # a wrong moment is off by a number of order 1
    assert abs(got.noise_variance - 5) <= second
    assert np.linalg.norm(got.m1 - expected.m1) <= third
    assert np.linalg.norm(got.m2 - expected.m2) <= second
    assert np.linalg.norm(got.m3 - expected.m3) <= third


@pytest.mark.parametrize(("components", "dim"), [(1, 1), (1, 3), (2, 2), (3, 5), (5, 5), (5, 11)])
def test_population_moments_give_the_mixture_back(components, dim, rng):
    mixture = random_mixture(components, dim, rng)
    estimate = decompose(population_moments(mixture), components, rng)
    assert_recovered(estimate.mixture, mixture, closed_form_errors(mixture))


@pytest.mark.parametrize(
    ("counts", "means", "step"), [(COUNTS, MEANS, 5), ([3, 2], MEANS[:2, :2], 0.5), ([1], MEANS[:1], 3)]
)
def test_samples_with_the_mixtures_moments_give_the_mixture_back(counts, means, step, rng):
    """Consistency without chance: the estimate depends on the first three moments and M1 only. K = d is among them."""
    mixture, points = mixture_of(counts, means), sigma_points(counts, means, step)
    estimate = spectral.spectral(points, len(counts), rng)
    assert_recovered(estimate.mixture, mixture, sample_errors(mixture, points))
    assert abs(estimate.noise_variance - step**2 / means.shape[1]) <= sample_errors(mixture, points)[0]


@pytest.mark.parametrize("exponent", [-290, 280])
def test_the_scale_of_the_data_does_not_matter(exponent, mixture, points, rng):
    """A power of two scales exactly; the cubes of 2^±290 are near the ends of float64's range."""
    scaled = spectral.spectral(np.ldexp(points, exponent), 3, rng).mixture
    unscaled = Mixture(scaled.weights, np.ldexp(scaled.means, -exponent))
    assert_recovered(unscaled, mixture, sample_errors(mixture, points))


def test_the_estimate_shows_its_steps(mixture, points, rng):
    estimate = spectral.spectral(points, 3, rng)
    errors = sample_errors(mixture, points)
    tolerance = max(tolerances(mixture, errors))
    expected = np.linalg.eigvalsh(population_moments(mixture).m2)[::-1]
    assert estimate.eigenvalues.shape == (5,)
    assert np.abs(estimate.eigenvalues - expected).max() <= 2 * errors[0]  # Weyl, and both eigenvalues' rounding
    # T is Σ λ u⊗u⊗u with λ = 1/√π; its pairs are those in the estimate.
    pairs = estimate.eigenpairs
    rebuilt = np.einsum("k,ka,kb,kc->abc", pairs.values, pairs.vectors, pairs.vectors, pairs.vectors)
    assert estimate.whitened.shape == (3, 3, 3)
    assert np.abs(estimate.whitened - rebuilt).max() <= tolerance
    assert np.array_equal(estimate.mixture.weights, pairs.values**-2)
    assert np.abs(pairs.values - [7**0.5, 3.5**0.5, 1.75**0.5]).max() <= tolerance  # largest first


def test_the_raw_weights_need_not_add_up_to_one(mixture, rng):
    """M3 scaled by 2 scales every λ by 2: the weights by 1/4 and the means by 2."""
    moments = population_moments(mixture)
    doubled = Moments(moments.noise_variance, moments.m1, moments.m2, 2 * moments.m3)
    got = decompose(doubled, 3, rng).mixture
    assert_recovered(Mixture(4 * got.weights, got.means / 2), mixture, closed_form_errors(mixture))


def test_estimates_from_samples_are_unbiased_up_to_their_standard_error(rng):
    """17 estimates from 20011 samples each: student's t of every parameter, false alarm below 1e-6 in all.

    The bias is of order 1/n, far below the standard error of order 1/√(17n).
    """
    truth = Mixture(np.array([0.4, 0.6]), np.array([[4.0, 0, 1], [0, 3, -2]]))
    errors = []
    for _ in range(17):
        samples, _ = sample(truth, 20011, rng)
        got = metrics.align(spectral.spectral(samples, 2, rng).mixture, truth)
        errors.append(np.concatenate([got.weights - truth.weights, (got.means - truth.means).ravel()]))
    standard_error = np.std(errors, axis=0, ddof=1) / 17**0.5
    assert standard_error.max() < 0.02  # a wrong moment moves the means by more
    assert np.abs(np.mean(errors, axis=0) / standard_error).max() <= stats.t.isf(1e-6 / 2 / 8, 16)


def test_all_power_iterations_go_through_iterate(mixture, points):
    calls = []

    def iterate(tensor, starts, steps):
        calls.append((tensor.copy(), starts.shape, steps))
        return normalised_power_iteration(tensor, starts, steps)

    estimate = spectral.spectral(points, 3, np.random.default_rng(3), restarts=13, iterations=11, iterate=iterate)
    assert [(shape, steps) for _, shape, steps in calls] == [((13, 3), 11), ((1, 3), 11)] * 3
    assert np.array_equal(calls[0][0], estimate.whitened)
    alone = robust_tensor_power(estimate.whitened, 3, np.random.default_rng(3), 13, 11)
    assert np.array_equal(alone.vectors, estimate.eigenpairs.vectors)
    assert_recovered(estimate.mixture, mixture, sample_errors(mixture, points))


def test_memory_does_not_hold_a_matrix_for_every_sample(rng):
    samples = rng.standard_normal((20011, 17)) + 1  # 46 MB of x⊗x
    with reordered_sums.applied(False):  # which copies what it sums
        tracemalloc.start()
        empirical_moments(samples)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak <= 8 * (spectral.BLOCK + 3 * samples.size + 9 * 17**3)


@pytest.mark.parametrize("name", ["iris", "wine"])
@pytest.mark.parametrize("decimals", [16, 4])
def test_centred_data_is_refused(name, decimals, rng):
    """Even if it was printed with four decimals since."""
    samples = load_bundled(name, 3, None, None, rng).samples.round(decimals)
    message = r"the mean of the samples is 0 .* at most K − 1 = 2 positive .* the data must not be centred"
    with pytest.raises(InputError, match=message):
        spectral.spectral(samples, 3, rng)
    with pytest.raises(InputError, match=message):  # a 200th of a standard error
        spectral.spectral(samples + 0.005 * samples.std(axis=0) / len(samples) ** 0.5, 3, rng)
    # A fiftieth of a standard error in one column is not called centred. (K = 1: T is a number, and λ its modulus.)
    samples[:, 1] += 0.02 * samples[:, 1].std() / len(samples) ** 0.5
    assert spectral.spectral(samples, 1, rng).mixture.means.shape == (1, samples.shape[1])


def test_the_size_of_a_column_does_not_matter_to_whether_data_is_centred(points, rng):
    """The second column's mean is 0 to rounding, the first's a thousandth of the second's standard error."""
    centred = points - points.mean(axis=0)
    samples = np.column_stack([np.full(70, 1e-3), 10 * centred[:, 0]])
    assert abs(spectral.spectral(samples, 1, rng).mixture.means[0, 1]) > 1  # not refused
    constant = np.column_stack([np.full(70, 1e-15), centred[:, 0]])  # what subtracting the mean of a constant leaves
    with pytest.raises(InputError, match="the data must not be centred"):
        spectral.spectral(constant, 1, rng)


@pytest.mark.parametrize(
    ("means", "positive"),
    [
        (MEANS - np.array([1, 2, 4]) @ MEANS / 7, "2 positive eigenvalues"),
        (MEANS[[0, 1, 1]], "2 positive eigenvalues"),
        (np.outer([1, 2, 3], [1.0, 0, 2, -1, 0]), "1 positive eigenvalue"),
        (np.zeros((3, 5)), "0 positive eigenvalues"),
    ],
    ids=["centred", "equal", "multiples", "zero"],
)
def test_linearly_dependent_means_are_refused(means, positive, rng):
    moments = population_moments(mixture_of(COUNTS, means))
    message = rf"M2 has {positive} \(beyond rounding\); K = 3 are needed: .*linearly independent.*must not be centred"
    with pytest.raises(InputError, match=message):
        decompose(moments, 3, rng)


@pytest.mark.parametrize(("ratio", "noise", "positive"), [(1e-10, 0, 2), (1e-10, 4.5, 1), (1e-11, 0, 1)])
def test_eigenvalues_below_rounding_after_whitening_do_not_count(ratio, noise, positive, rng):
    """Eigenvalues ½ and ½·ratio; eps^(2/3) = 3.7e-11 times (½ + σ²) lies between."""
    moments = population_moments(mixture_of([1, 1], np.diag([1, ratio**0.5])), noise)
    if positive == 2:
        assert decompose(moments, 2, rng).eigenvalues[1] == pytest.approx(ratio / 2, abs=0, rel=gamma(8, UNIT))
    else:
        with pytest.raises(InputError, match="M2 has 1 positive eigenvalue "):
            decompose(moments, 2, rng)


def test_an_eigenvalue_of_the_wrong_sign_is_refused(points, rng):
    """The negative of an eigenvector is no fixed point of the iteration, and has eigenvalue −λ."""
    with pytest.raises(InputError, match=r"the eigenvalue -2\.65 among 3; all must be positive"):
        spectral.spectral(points, 3, rng, iterate=lambda *arguments: -normalised_power_iteration(*arguments))


@pytest.mark.parametrize("components", [0, 6])
def test_the_number_of_components_is_limited_by_the_dimension(components, mixture, points, rng):
    message = f"there are {components} components in dimension 5; the spectral method needs 1 ≤ K ≤ d"
    with pytest.raises(InputError, match=message):
        spectral.spectral(points, components, rng)
    with pytest.raises(InputError, match=message):
        decompose(population_moments(mixture), components, rng)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.ones((2, 5)), "there are 3 components but only 2 samples; K must be at most N"),
        (np.zeros((0, 5)), r"the samples have shape \(0, 5\); N×d with N, d ≥ 1 is needed"),
        (np.array([[1.0, 2, np.nan]] * 7), "a sample has the entry nan; all must be finite"),
        (np.array([[1.0, -np.inf, 2]] * 7), "a sample has the entry -inf; all must be finite"),
        (
            np.array([[1.0, -1e91, 2]] * 7),
            r"the largest entry of the samples is 1e\+91; it must be within 1e-90 and 1e\+90",
        ),
        (np.full((7, 3), -1e-91), r"the largest entry of the samples is 1e-91; it must be within"),
        (np.zeros((7, 3)), r"the largest entry of the samples is 0; it must be within"),
    ],
    ids=["N < K", "empty", "nan", "inf", "huge", "tiny", "zero"],
)
def test_bad_samples_are_refused(samples, message, rng):
    with pytest.raises(InputError, match=message):
        spectral.spectral(samples, 3, rng)
    if "components" not in message:
        with pytest.raises(InputError, match=message):
            empirical_moments(samples)


def test_a_single_sample_is_its_own_mixture(rng):
    got = spectral.spectral(np.array([[-3.0]]), 1, rng)
    assert got.noise_variance == 0
    assert got.mixture.weights == pytest.approx([1], abs=0, rel=gamma(64, UNIT))
    assert got.mixture.means == pytest.approx(np.array([[-3.0]]), abs=0, rel=gamma(64, UNIT))
