"""Power iterations and the robust tensor power method: plain loops, closed forms, known eigenpairs, TensorLy."""

from itertools import product

import numpy as np
import pytest
import tensorly
from tensorly.decomposition import symmetric_parafac_power_iteration, symmetric_power_iteration

from constructions.algorithms.tensor_power import (
    Eigenpairs,
    cubic_form,
    normalised,
    normalised_power_iteration,
    power_iteration,
    power_step,
    robust_tensor_power,
)
from constructions.errors import InputError
from constructions.rounding_error import gamma

UNIT = 2.0**-53


def tensor_of(values, vectors):
    return np.einsum("k,ka,kb,kc->abc", np.asarray(values, dtype=float), vectors, vectors, vectors)


def orthonormal(count, dim, rng):
    return np.linalg.qr(rng.standard_normal((dim, dim)))[0][:count]


def rounding(tensor):
    """ε such that forming T, a power step, a deflation and T(v, v, v) are each off by a tensor of norm at most ε.

    No entry takes more than d² + 3d + 8 roundings of terms whose absolute values add up to at most d^{3/2}‖T‖_F
    (a form in |T| at vectors of absolute values of norm 1 is at most ‖T‖_F; the rest covers d sums of it).
    """
    dim = len(tensor)
    return gamma(dim**2 + 3 * dim + 8, UNIT) * dim**1.5 * float(np.linalg.norm(tensor))


def assert_pairs(pairs, values, vectors, epsilon):
    """Theorem 5.1 of Anandkumar et al.: |λ̂ − λ| ≤ 5ε and ‖v̂ − v‖ ≤ 8ε/λ, here with the largest found first."""
    assert pairs.values.shape == (len(values),)
    assert pairs.vectors.shape == vectors.shape
    assert np.abs(pairs.values - values).max() <= 5 * epsilon
    assert (np.linalg.norm(pairs.vectors - vectors, axis=1) <= 8 * epsilon / np.asarray(values)).all()


@pytest.fixture
def integers(rng):
    """An asymmetric tensor and a 2×3 batch of vectors of small integers: float64 makes no rounding."""
    tensor = rng.integers(-9, 10, (5, 5, 5)).astype(float)
    assert not np.array_equal(tensor, tensor.transpose(1, 0, 2))
    return tensor, rng.integers(-9, 10, (2, 3, 5)).astype(float)


@pytest.fixture
def orthogonal(rng):
    """Eigenvalues 7, 5, 3 of a tensor in R^5."""
    values, vectors = np.array([7.0, 5.0, 3.0]), orthonormal(3, 5, rng)
    return tensor_of(values, vectors), values, vectors


@pytest.fixture
def numpy_seed():
    """TensorLy draws from numpy's global generator: seeded, and put back as it was."""
    state = np.random.get_state()  # noqa: NPY002 - the generator TensorLy uses
    np.random.seed(23)  # noqa: NPY002
    yield
    np.random.set_state(state)  # noqa: NPY002


class Recorder:
    """An `iterate` that notes its calls and then does `run`."""

    def __init__(self, run=normalised_power_iteration):
        self.run, self.calls = run, []

    def __call__(self, tensor, starts, steps):
        self.calls.append((tensor.copy(), starts.copy(), steps))
        return self.run(tensor, starts, steps)


def test_a_power_step_is_the_double_sum(integers):
    tensor, vectors = integers
    got = power_step(tensor, vectors)
    for where in np.ndindex(2, 3):
        v, expected = vectors[where], np.zeros(5)
        for a, j, m in product(range(5), repeat=3):
            expected[a] += v[j] * v[m] * tensor[a, j, m]
        assert np.array_equal(got[where], expected)
        assert np.array_equal(power_step(tensor, v), expected)
        assert cubic_form(tensor, v) == (v * expected).sum()
        assert cubic_form(tensor, vectors)[where] == (v * expected).sum()


def test_a_power_step_is_tensorlys_contraction_of_the_last_two_modes(integers):
    tensor, vectors = integers
    expected = tensorly.tenalg.multi_mode_dot(tensor, [vectors[1, 2]] * 2, modes=[1, 2])
    assert np.array_equal(power_step(tensor, vectors)[1, 2], expected)


def test_unnormalised_iterations_of_a_diagonal_tensor():
    """T = Σ λ_a e_a⊗e_a⊗e_a: after t steps v_a is λ_a^(2^t − 1) v_a^(2^t), exact for powers of two."""
    values, start = np.array([2.0, 0.5, 4.0]), np.array([[1.0, -2.0, 0.5], [0.0, 4.0, -0.25]])
    tensor = tensor_of(values, np.eye(3))
    for steps in range(4):
        expected = values ** (2**steps - 1) * start ** (2**steps)
        assert np.array_equal(power_iteration(tensor, start, steps), expected)


def test_normalised_iterations_have_the_direction_of_unnormalised_ones(integers):
    tensor, vectors = integers
    got = normalised_power_iteration(tensor, vectors, 2)
    expected = power_iteration(tensor, vectors, 2)
    expected = expected / np.linalg.norm(expected, axis=-1, keepdims=True)
    # Unit vectors from sums of d² products twice over, whose cancellation the second factor measures.
    absolute = power_step(np.abs(tensor), power_step(np.abs(tensor), np.abs(vectors)))
    cancellation = np.linalg.norm(absolute, axis=-1) / np.linalg.norm(power_iteration(tensor, vectors, 2), axis=-1)
    assert cancellation.max() < 1e4
    tolerance = 2 * gamma(3 * (5**2 + 3 * 5 + 8), UNIT) * cancellation
    assert (np.linalg.norm(got - expected, axis=-1) <= tolerance).all()
    assert np.array_equal(normalised_power_iteration(tensor, vectors, 0), vectors)


@pytest.mark.parametrize("exponent", [-1074, -600, 0, 600, 1021])
def test_any_size_can_be_normalised(exponent):
    """3-4-5 triangles: squares of 2^600 overflow, of 2^-600 underflow, and 2^-1074 is the least subnormal."""
    vectors = np.ldexp(np.array([[3.0, 0.0, -4.0], [-4.0, 3.0, 0.0]]), exponent)
    expected = [[0.6, 0, -0.8], [-0.8, 0.6, 0]]
    np.testing.assert_allclose(normalised(vectors), expected, rtol=gamma(8, UNIT), atol=0)
    np.testing.assert_allclose(normalised(vectors[0]), expected[0], rtol=gamma(8, UNIT), atol=0)


@pytest.mark.parametrize(
    ("vector", "found"),
    [([0.0, 0.0, 0.0], "is 0"), ([1.0, np.nan, 0.0], "has the entry nan"), ([1.0, -np.inf, 2.0], "has the entry -inf")],
)
def test_what_has_no_direction_is_refused(vector, found):
    with pytest.raises(InputError, match=f"a vector that {found} cannot be normalised; it must be finite and not 0"):
        normalised(np.array([[1.0, 2.0, 3.0], vector]))


def test_vectors_without_a_next_direction_become_zero_or_nan_silently():
    tensor = np.zeros((3, 3, 3))
    tensor[0, 0, 0], tensor[1, 1, 1] = 1e200, 1
    got = normalised_power_iteration(tensor, np.array([[0, 0, 1.0], [1e200, 0, 0], [0, 2.0, 0]]), 3)
    assert np.array_equal(got, [[0, 0, 0], [np.nan] * 3, [0, 1, 0]], equal_nan=True)
    assert np.isinf(power_step(tensor, np.array([1e200, 0, 0]))).any()


@pytest.mark.parametrize(("rank", "dim"), [(1, 1), (3, 3), (3, 5), (5, 7)])
def test_known_eigenpairs_are_found(rank, dim, rng):
    values = np.array([11.0, 7.0, 5.0, 3.0, 2.0])[:rank]
    vectors = orthonormal(rank, dim, rng)
    tensor = tensor_of(values, vectors)
    pairs = robust_tensor_power(tensor, rank, rng)
    assert_pairs(pairs, values, vectors, rounding(tensor))
    # Fewer are the first of the same.
    assert_pairs(robust_tensor_power(tensor, 1, rng), values[:1], vectors[:1], rounding(tensor))


def test_equal_eigenvalues_are_found_once_each(rng):
    vectors = orthonormal(3, 5, rng)
    tensor = tensor_of([2, 2, 2], vectors)
    pairs = robust_tensor_power(tensor, 3, rng)
    order = np.abs(pairs.vectors @ vectors.T).argmax(axis=0)
    assert sorted(order) == [0, 1, 2]
    assert_pairs(Eigenpairs(pairs.values[order], pairs.vectors[order]), [2, 2, 2], vectors, rounding(tensor))


@pytest.mark.parametrize("size", [1e-2, 1e-4, 1e-7])
def test_a_perturbation_moves_the_pairs_as_theorem_5_1_allows(size, orthogonal, rng):
    tensor, values, vectors = orthogonal
    noise = rng.standard_normal((5, 5, 5))
    noise = sum(noise.transpose(axes) for axes in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
    noise *= size / np.linalg.norm(noise)  # the Frobenius norm bounds |E(u, u, u)|
    pairs = robust_tensor_power(tensor + noise, 3, rng)
    assert_pairs(pairs, values, vectors, size + rounding(tensor))
    assert np.abs(pairs.values - values).max() > size / 100  # the perturbation is seen


def test_each_component_is_subtracted_before_the_next(orthogonal, rng):
    tensor, *_ = orthogonal
    iterate = Recorder()
    pairs = robust_tensor_power(tensor, 3, rng, restarts=13, iterations=11, iterate=iterate)
    assert [(starts.shape, steps) for _, starts, steps in iterate.calls] == [((13, 5), 11), ((1, 5), 11)] * 3
    left = tensor
    for k in range(3):
        for seen, starts, _ in iterate.calls[2 * k : 2 * k + 2]:
            assert np.abs(seen - left).max() <= 3 * rounding(tensor)
            assert np.abs(np.linalg.norm(starts, axis=1) - 1).max() <= gamma(16, UNIT)
        left = left - tensor_of(pairs.values[k : k + 1], pairs.vectors[k : k + 1])
    assert np.linalg.norm(left) <= 3 * (5 + 3 * 8) * rounding(tensor)  # Σ of 5ε + λ · 3 · 8ε/λ over the components


def test_the_argument_is_left_alone(orthogonal, rng):
    tensor = orthogonal[0].copy()
    robust_tensor_power(tensor, 3, rng)
    assert np.array_equal(tensor, orthogonal[0])


def test_starts_are_uniform_on_the_sphere(rng):
    """In R³ a projection of a uniform unit vector is uniform on [−1, 1] (Archimedes).

    Dvoretzky–Kiefer–Wolfowitz: the distribution functions differ by more than t with probability 2 exp(−2nt²), here
    below 1e-7 for each of two projections and two components.
    """
    iterate = Recorder(lambda tensor, starts, steps: starts)
    robust_tensor_power(tensor_of([1, 1, 1], np.eye(3)), 2, rng, restarts=50021, iterations=1, iterate=iterate)
    first, second = (iterate.calls[call][1] for call in (0, 2))
    assert not np.array_equal(first, second)
    for starts in (first, second):
        for direction in ([1, 0, 0], [3**-0.5] * 3):
            expected = (np.sort(starts @ direction) + 1) / 2
            empirical = np.arange(1, 50022) / 50021
            distance = max((empirical - expected).max(), (expected - empirical + 1 / 50021).max())
            assert distance <= np.sqrt(np.log(2 / 1e-7) / (2 * 50021))


def test_lengths_that_iterate_returns_do_not_matter(orthogonal):
    """Powers of two scale exactly. Unless the host normalises, the longest and not the best restart is chosen."""
    tensor, values, _ = orthogonal
    lengths = np.ldexp(1.0, np.arange(-15, 16))[:, None]

    def stretched(tensor, starts, steps):
        return normalised_power_iteration(tensor, starts, steps) * lengths[-len(starts) :]

    plain, got = (
        robust_tensor_power(tensor, 3, np.random.default_rng(5), restarts=31, iterate=iterate)
        for iterate in (normalised_power_iteration, stretched)
    )
    assert np.array_equal(got.values, plain.values)
    assert np.array_equal(got.vectors, plain.vectors)
    assert np.abs(got.values - values).max() <= 5 * rounding(tensor)


@pytest.mark.parametrize(("excess", "chosen"), [(1e-9, 1), (1.2e-8, 1), (1.8e-8, 2), (1e-3, 2)])
def test_the_first_of_equal_restarts_is_taken(excess, chosen, rng):
    """Equal is within a relative 2^−26 ≈ 1.5e-8 of the largest; the restarts end in e_0, e_1, e_2."""
    tensor = tensor_of([0.5, 3, 3 * (1 + excess)], np.eye(3))

    def iterate(tensor, starts, steps):
        return np.eye(3) if len(starts) == 3 else starts

    pairs = robust_tensor_power(tensor, 1, rng, restarts=3, iterate=iterate)
    assert np.array_equal(pairs.vectors, np.eye(3)[[chosen]])
    assert np.array_equal(pairs.values, [tensor[chosen, chosen, chosen]])


def test_restarts_that_end_nowhere_are_skipped(rng):
    tensor = tensor_of([5, 3, 2], np.eye(3))
    ends = np.array([[np.nan, 1, 0], [0, 0, 0], [np.inf, 0, 0], [0, 0, 4.0], [0, 0.1, 0]])
    pairs = robust_tensor_power(
        tensor, 1, rng, restarts=5, iterate=lambda tensor, starts, steps: ends if len(starts) == 5 else starts
    )
    assert np.array_equal(pairs.vectors, [[0, 1, 0]])
    assert np.array_equal(pairs.values, [3])


def test_float32_iterates_are_evaluated_in_float64(orthogonal, rng):
    """Rounding v̂ to float32 moves it by u₃₂; the host's T(v, v, v) is then off by second order only: ≤ 6λu₃₂²."""
    tensor, values, _ = orthogonal

    def single(tensor, starts, steps):
        return normalised_power_iteration(tensor, starts.astype(np.float64), steps).astype(np.float32)

    pairs = robust_tensor_power(tensor, 1, rng, iterate=single)
    assert pairs.vectors.dtype == np.float64
    assert abs(pairs.values[0] - values[0]) <= 6 * 7 * (5**0.5 * 2.0**-24) ** 2 + 5 * rounding(tensor)


def zeros_from_the_second_call():
    calls = iter(range(9))
    return lambda tensor, starts, steps: starts if next(calls) == 0 else 0 * starts


@pytest.mark.parametrize(
    ("tensor", "iterate", "component"),
    [
        (np.zeros((3, 3, 3)), normalised_power_iteration, 1),
        (tensor_of([2], np.eye(3)[:1]), normalised_power_iteration, 2),
        (tensor_of([2, 2, 2], np.eye(3)), power_iteration, 1),
        (tensor_of([2, 2], np.eye(3)[:2]), lambda tensor, starts, steps: starts * np.nan, 1),
        (tensor_of([2, 2], np.eye(3)[:2]), zeros_from_the_second_call(), 1),
    ],
    ids=["zero", "one component only", "not normalised", "all not finite", "lost after the choice"],
)
def test_a_component_without_any_direction_is_reported(tensor, iterate, component, rng):
    # Without normalisation the coordinates become (2v)^(2^20)/2, which is 0 or infinite.
    message = f"none of 17 restarts for component {component} of 2 ended in a finite vector other than 0"
    with pytest.raises(InputError, match=message):
        robust_tensor_power(tensor, 2, rng, restarts=17, iterate=iterate)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "the rank is 0; a tensor of dimension 3 has 1 to 3 orthogonal eigenvectors"),
        ({"rank": 4}, "the rank is 4; a tensor of dimension 3 has 1 to 3"),
        ({"restarts": 0}, "there are 0 restarts of the power iteration; at least 1 is needed"),
        ({"iterations": -1}, "there are -1 iterations of the power iteration; at least 1 is needed"),
        ({"tensor": np.full((3, 3, 3), np.nan)}, "the tensor has the entry nan; all must be finite"),
    ],
)
def test_bad_arguments_are_refused(options, message, rng):
    arguments = {"tensor": tensor_of([1, 2, 3], np.eye(3)), "rank": 2, "rng": rng} | options
    with pytest.raises(InputError, match=message):
        robust_tensor_power(**arguments)


@pytest.mark.usefixtures("numpy_seed")
def test_tensorly_finds_the_same_eigenpairs(orthogonal, rng):
    tensor, values, vectors = orthogonal
    weights, factor = symmetric_parafac_power_iteration(tensor, 3, n_repeat=31, n_iteration=11)
    assert_pairs(Eigenpairs(weights, factor.T), values, vectors, rounding(tensor))
    ours = robust_tensor_power(tensor, 3, rng)
    assert np.abs(ours.values - weights).max() <= 2 * 5 * rounding(tensor)
    assert np.abs(ours.vectors - factor.T).max() <= 2 * 8 * rounding(tensor) / values.min()


@pytest.mark.usefixtures("numpy_seed")
def test_tensorly_finds_the_same_local_maximum_of_a_perturbed_tensor(orthogonal, rng):
    """No closed form here: a fixed point of v ← T(I, v, v)/‖·‖, reached linearly at a rate 2 · 0.3/7 < 1/10.

    It is off by at most ε/λ · 1/(1 − rate) for rounding of size ε, and so is TensorLy's; 31 steps leave 1e-31.
    """
    noise = rng.standard_normal((5, 5, 5))
    noise = sum(noise.transpose(axes) for axes in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
    tensor = orthogonal[0] + 0.3 * noise / np.linalg.norm(noise)
    value, vector, deflated = symmetric_power_iteration(tensor, n_repeat=31, n_iteration=31)
    iterate = Recorder()
    pairs = robust_tensor_power(tensor, 2, rng, iterations=31, iterate=iterate)
    tolerance = 4 * rounding(tensor)
    assert abs(pairs.values[0] - value) <= tolerance
    assert np.linalg.norm(pairs.vectors[0] - vector) <= tolerance / value
    assert np.abs(iterate.calls[2][0] - deflated).max() <= 4 * tolerance  # 3 factors v and λ
