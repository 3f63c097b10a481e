"""Data sets and initial parameters. What is refused is in test_em_command_input.py."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, load_iris, load_wine

from constructions.datasets import BUNDLED, load_bundled, load_start, load_synthetic
from constructions.preparation import unit_noise
from constructions.rounding_error import gamma

UNIT = 2.0**-53
SHAPES = {"iris": (150, 4), "wine": (178, 13), "digits": (1797, 7)}


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_data_is_centred_and_has_about_unit_noise(name):
    data = load_bundled(name, BUNDLED[name].components, None, None, rng_of(0))
    assert (data.name, data.samples.shape, data.truth) == (name, SHAPES[name], None)
    assert np.abs(data.samples.mean(axis=0)).max() < 1e-12
    # k-means of the unscaled data made the noise exactly 1 in every column; it hardly changes with the scale.
    clusters = KMeans(BUNDLED[name].components, n_init=3, random_state=1).fit(data.samples)
    residual = data.samples - clusters.cluster_centers_[clusters.labels_]
    assert 0.5 < np.sqrt((residual**2).mean(axis=0)).min() < np.sqrt((residual**2).mean(axis=0)).max() < 1.5


@pytest.mark.parametrize(("name", "load"), [("iris", load_iris), ("wine", load_wine)])
def test_columns_are_rescaled_and_shifted_and_nothing_else(name, load):
    data, raw = load_bundled(name, 3, None, None, rng_of(0)), load()
    assert np.array_equal(data.labels, raw.target)
    for column in range(raw.data.shape[1]):
        assert np.corrcoef(data.samples[:, column], raw.data[:, column])[0, 1] == pytest.approx(1, abs=1e-12)


def test_principal_components_are_those_of_the_standardised_data():
    data = load_bundled("wine", 3, 2, None, rng_of(0))
    raw = load_wine().data
    standard = (raw - raw.mean(axis=0)) / raw.std(axis=0)
    values, vectors = np.linalg.eigh(standard.T @ standard)
    assert data.samples.shape == (178, 2)
    for column in range(2):
        expected = standard @ vectors[:, np.argsort(values)[-1 - column]]
        assert abs(np.corrcoef(data.samples[:, column], expected)[0, 1]) == pytest.approx(1, abs=1e-10)
    assert "first 2 principal components" in data.preparation


def test_a_subset_is_random_and_reproducible():
    first, again, other = (load_bundled("digits", 10, None, 97, rng_of(seed)) for seed in (1, 1, 2))
    assert first.samples.shape == (97, 7)
    assert np.array_equal(first.samples, again.samples)
    assert np.array_equal(first.labels, again.labels)
    assert not np.array_equal(first.labels, other.labels)
    assert np.bincount(first.labels).sum() == 97
    assert set(first.labels) <= set(load_digits().target)


def test_synthetic_data():
    data = load_synthetic(3, 5, 97, 4.0, rng_of(1))
    assert data.samples.shape == (97, 5)
    assert data.truth.means.shape == (3, 5)
    assert set(data.labels) == {0, 1, 2}
    nearest = np.linalg.norm(data.samples[:, None] - data.truth.means, axis=2).argmin(axis=1)
    assert (nearest == data.labels).mean() > 0.9  # labels belong to samples
    assert np.array_equal(data.samples, load_synthetic(3, 5, 97, 4.0, rng_of(1)).samples)


def test_kmeans_plus_plus_starts_at_samples(rng):
    samples = rng.standard_normal((53, 3))
    start = load_start("kmeans++", 5, samples, rng_of(1))
    assert np.array_equal(start.weights, np.full(5, 0.2))
    chosen = {tuple(mean) for mean in start.means}
    assert len(chosen) == 5
    assert chosen <= {tuple(sample) for sample in samples}
    assert np.array_equal(start.means, load_start("kmeans++", 5, samples, rng_of(1)).means)
    assert not np.array_equal(start.means, load_start("kmeans++", 5, samples, rng_of(2)).means)


def write_start(path: Path, content: object) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def test_a_start_from_a_file(tmp_path, rng):
    init = write_start(tmp_path / "init.json", {"weights": [0.25, 0.75], "means": [[1, 2, 3], [4, 5, 6]]})
    start = load_start(init, 2, rng.standard_normal((7, 3)), rng)
    assert np.array_equal(start.weights, [0.25, 0.75])
    assert np.array_equal(start.means, [[1, 2, 3], [4, 5, 6]])


def test_a_start_in_another_order_with_a_byte_order_mark(tmp_path, rng):
    """And with weights that float32 has rounded."""
    weights = [float(np.float32(weight)) for weight in (0.1, 0.2, 0.7)]
    assert sum(weights) != 1
    content = json.dumps({"means": [[-4, 0], [4, 0], [0, 5]], "weights": weights})
    (tmp_path / "init.json").write_bytes(content.encode("utf-8-sig"))
    start = load_start(str(tmp_path / "init.json"), 3, rng.standard_normal((7, 2)), rng)
    assert np.array_equal(start.weights, weights)
    assert np.array_equal(start.means, [[-4, 0], [4, 0], [0, 5]])


def test_the_noise_of_one_column_is_one():
    """With a single column the k-means clusters do not depend on the scale: the residual is 1 to rounding."""
    data = load_bundled("iris", 3, 1, None, rng_of(0))
    clusters = KMeans(3, n_init=10, random_state=0).fit(data.samples)
    residual = data.samples - clusters.cluster_centers_[clusters.labels_]
    assert np.sqrt((residual**2).mean()) == pytest.approx(1, rel=gamma(1000, UNIT), abs=0)


@pytest.mark.parametrize(("name", "dim"), [("iris", None), ("wine", 5), ("digits", 11)])
def test_data_that_is_not_centred_is_the_centred_data_moved(name, dim):
    centred, moved = (load_bundled(name, 3, dim, None, np.random.default_rng(0), c) for c in (True, False))
    offset = moved.samples - centred.samples
    # Numbers below 100, moved by sums and differences of such: some hundred roundings of 1e-14.
    assert np.abs(offset - offset[0]).max() < 1e-11
    assert np.linalg.norm(offset[0]) > 1
    assert "not centred" in moved.preparation
    assert "not centred" not in centred.preparation


def test_the_mean_is_transformed_like_the_samples():
    """Wine without principal components: a positive column stays positive and keeps its coefficient of variation."""
    moved = load_bundled("wine", 3, None, None, np.random.default_rng(0), centred=False).samples
    raw = load_wine().data
    assert np.allclose(moved.std(axis=0) / moved.mean(axis=0), raw.std(axis=0) / raw.mean(axis=0), rtol=1e-10, atol=0)


@pytest.mark.parametrize("dim", [None, 2])
@pytest.mark.parametrize("centred", [True, False])
def test_the_map_of_a_preparation_is_what_was_done_and_its_inverse(centred, dim):
    """Samples far from the origin; with all dimensions kept, prepared points come back."""
    x = np.array([100.0, -7.0, 3.0]) + np.array([1.0, 5.0, 0.2]) * rng_of(3).standard_normal((101, 3))
    prepared, affine, _ = unit_noise(x, 2, dim, True, centred, "x")
    assert np.abs(affine.apply(x) - prepared).max() < 1e-11
    assert (np.abs(prepared.mean(axis=0)).max() < 1e-11) == centred
    back = affine.restore(prepared)
    if dim is None:
        assert np.abs(back - x).max() < 1e-11
    assert np.abs(affine.apply(back) - prepared).max() < 1e-11
