"""Where tensors and starts come from: seeded draws, and files of integers, floats and decimals."""

from fractions import Fraction

import numpy as np
import pytest

from constructions import tensors
from constructions.algorithms.tensor_power import robust_tensor_power
from constructions.errors import InputError
from constructions.tensors import as_floats, as_rationals, load_array, orthogonal_tensor, random_start, random_tensor

HALF_A_DECIMAL = 0.0005 * (1 + 1e-12)


@pytest.mark.parametrize("draw", [random_tensor, orthogonal_tensor, random_start])
def test_draws_are_decimals_of_three_digits_and_reproducible(draw):
    first, second, other = (draw(7, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first.dtype == np.float64
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert all((1000 * entry).denominator == 1 for entry in as_rationals(first).ravel())


def test_random_tensors_have_no_symmetry_and_variance_1_over_d(rng):
    """29791 entries: the mean square deviates by 5 standard deviations √(2/n) with probability below 1e-6."""
    tensor = random_tensor(31, rng)
    assert tensor.shape == (31, 31, 31)
    deviation = 5 * np.sqrt(2 / 31**3)
    assert np.mean(31 * tensor**2) == pytest.approx(1, rel=deviation, abs=0)
    assert abs(np.sqrt(31) * tensor.mean()) <= 5 / np.sqrt(31**3)
    for axes in [(0, 2, 1), (1, 0, 2), (2, 1, 0)]:
        assert abs(np.mean(31 * tensor * tensor.transpose(axes))) < 0.1  # 1/31 on the diagonal


def test_orthogonal_tensors_have_orthonormal_eigenvectors_with_values_from_1_to_2(rng):
    """Rounding moves T by an E with |E(u,u,u)| ≤ ‖E‖_F ≤ 0.0005·d^{3/2}: λ by 5ε, v by 8ε/λ, and λ_k v_k³ by 29ε."""
    tensor = orthogonal_tensor(5, rng)
    for axes in [(0, 2, 1), (1, 0, 2), (2, 1, 0)]:
        assert np.array_equal(tensor, tensor.transpose(axes))
    pairs = robust_tensor_power(tensor, 5, rng)
    epsilon = HALF_A_DECIMAL * 5**1.5
    assert (pairs.values > 1 - 5 * epsilon).all()
    assert (pairs.values < 2 + 5 * epsilon).all()
    assert np.abs(pairs.vectors @ pairs.vectors.T - np.eye(5)).max() <= 2 * 8 * epsilon
    rebuilt = np.einsum("k,ka,kj,km->ajm", pairs.values, *3 * [pairs.vectors])
    assert np.linalg.norm(rebuilt - tensor) <= 5 * 29 * epsilon
    assert np.ptp(pairs.values) > 0.05


def test_starts_are_unit_vectors_before_rounding(rng):
    for dim in (1, 5, 31):
        start = random_start(dim, rng)
        assert start.shape == (dim,)
        assert abs(np.linalg.norm(start) - 1) <= HALF_A_DECIMAL * np.sqrt(dim)


def test_a_start_that_rounds_to_nothing_becomes_the_first_unit_vector(monkeypatch):
    """With no decimals kept, this unit vector of R^101 has no coordinate above 1/2."""
    monkeypatch.setattr(tensors, "DECIMALS", 0)
    assert random_start(101, np.random.default_rng(1)).tolist() == [1.0] + [0.0] * 100


@pytest.mark.parametrize(
    "array",
    [
        np.arange(27, dtype=np.int64).reshape(3, 3, 3),
        np.arange(5, dtype=np.uint8),
        np.linspace(-1, 1, 7).astype(np.float32),
        np.array(3.5),
        np.zeros((0, 2)),
    ],
)
def test_numbers_are_taken_as_they_are(array, tmp_path):
    np.save(tmp_path / "a.npy", array)
    loaded = load_array(tmp_path / "a.npy", "--tensor")
    assert loaded.dtype == array.dtype
    assert np.array_equal(loaded, array)


def test_decimals_and_fractions_as_strings(tmp_path):
    np.save(tmp_path / "a.npy", np.array([["0.1", "-2/3", "7"], ["1e-3", " 5 ", "-0"]]))
    loaded = load_array(tmp_path / "a.npy", "--tensor")
    expected = [[Fraction(1, 10), Fraction(-2, 3), Fraction(7)], [Fraction(1, 1000), Fraction(5), Fraction(0)]]
    assert loaded.tolist() == expected
    assert np.array_equal(as_rationals(loaded), loaded)
    assert as_floats(loaded).tolist() == [[0.1, -2 / 3, 7.0], [0.001, 5.0, 0.0]]


def test_floats_are_the_shortest_decimals_that_they_print():
    values = as_rationals(np.array([[0.1, -1e-300], [2.5, 1 / 3]]))
    assert values.tolist() == [
        [Fraction(1, 10), Fraction(-1, 10**300)],
        [Fraction(5, 2), Fraction(3333333333333333, 10**16)],
    ]
    assert as_rationals(np.array([0.1], dtype=np.float32)).tolist() == [Fraction(1, 10)]
    assert as_rationals(np.array([2**63 + 1], dtype=np.uint64)).tolist() == [Fraction(2**63 + 1)]


def test_as_floats_rounds_to_nearest_and_refuses_what_is_beyond_them():
    big = np.array([Fraction(2**53 + 1), Fraction(1, 3)], dtype=object)
    assert as_floats(big).tolist() == [2.0**53, 1 / 3]
    with pytest.raises(InputError, match=r"beyond the largest float64, 1\.8e\+308"):
        as_floats(np.array([Fraction(10**400)], dtype=object))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.array(["0.1", "x"]), "an entry is no decimal: .*'x'"),
        (np.array(["1/0"]), "an entry is no decimal"),
        (np.array(["nan"]), "an entry is no decimal: .*'nan'"),
        (np.array([[1.0, 2.0], [np.inf, np.nan]]), r"has inf at \[1, 0\]; its entries must be finite"),
        (np.array([1j]), "holds complex128; integers, floats or strings of decimals"),
        (np.array([True]), "holds bool"),
        (b"\x93NUMPY nonsense", "is not an array of numbers"),
        (b"", "is not an array of numbers"),
        (None, "there is no file"),
    ],
)
def test_files_that_hold_something_else(content, message, tmp_path):
    path = tmp_path / "a.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(InputError, match=message):
        load_array(path, "--tensor")


def test_objects_and_archives_are_refused(tmp_path):
    np.save(tmp_path / "pickled.npy", np.array([Fraction(1, 3)], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "archive.npz", a=np.ones(3))
    (tmp_path / "archive.npz").rename(tmp_path / "archive.npy")
    for name in ("pickled", "archive"):
        said = "(holds Python objects|is not an array of numbers: it holds NpzFile)"
        with pytest.raises(InputError, match=rf"{name}\.npy' {said}"):
            load_array(tmp_path / f"{name}.npy", "--tensor")
    with pytest.raises(InputError, match=r"--start is .*a\.csv'; it must be a \.npy file or one of the names"):
        load_array(tmp_path / "a.csv", "--start")
