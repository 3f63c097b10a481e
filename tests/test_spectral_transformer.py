"""The transformer as the power iteration of Algorithm B.2."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from constructions.algorithms.sampling import sample, simplex_mixture
from constructions.algorithms.tensor_power import normalised, normalised_power_iteration
from constructions.errors import InputError
from constructions.spectral_transformer import Call, TransformerIteration, compare, run
from constructions.tensors import orthogonal_tensor


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    """2003 samples in R⁵ of three components, 5 apart."""
    rng = np.random.default_rng(3)
    return sample(simplex_mixture(5, 3, 5.0, rng), 2003, rng)[0]


@pytest.fixture(scope="module")
def result(samples):
    return run(samples, 3, seed=1, restarts=7, iterations=5)


def test_a_batch_is_iterated_like_each_start_alone(rng):
    tensor, starts = orthogonal_tensor(3, rng), normalised(rng.standard_normal((7, 3)))
    iterate = TransformerIteration(5)
    together = iterate(tensor, starts, 2)
    assert together.shape == (7, 3)
    for start, found in zip(starts, together, strict=True):
        alone = iterate(tensor, start[None], 2)[0]
        # A step's rounding is below (3d_0 + 4)u‖T‖_F and turns the direction by that over ‖T(I,v,v)‖.
        assert np.allclose(normalised(found), normalised(alone), rtol=0, atol=1e-12)
    assert [call.steps for call in iterate.calls] == [2] * 8


def test_directions_are_those_of_the_reference(rng):
    tensor, starts = orthogonal_tensor(3, rng), normalised(rng.standard_normal((7, 3)))
    found = TransformerIteration(3)(tensor, starts, 4)
    expected = normalised_power_iteration(tensor, starts, 4)
    assert np.allclose(normalised(found), expected, rtol=0, atol=1e-11)
    lengths = np.linalg.norm(found, axis=1)
    assert abs(lengths - 1).max() <= 1.1e-3  # NORM_ERROR, and rounding
    assert abs(lengths - 1).max() > 1e-5  # it is an approximation: an exact norm would not come from chords


def test_estimates_agree_within_the_tolerances(result):
    assert [component.status for component in result.components] == ["holds"] * 3
    assert all(0 < c.mean_tolerance < 1e-6 and 0 < c.weight_tolerance < 1e-6 for c in result.components)
    for k, component in enumerate(result.components):
        ours, theirs = result.transformer.mixture, result.reference.mixture
        assert component.mean_error == np.linalg.norm(ours.means[k] - theirs.means[k])
        off = abs(ours.weights[k] - theirs.weights[k]) / theirs.weights[k]
        assert component.weight_error == pytest.approx(off, rel=1e-15, abs=0)


def test_tolerances_grow_with_every_deflation(result):
    tolerances = [component.weight_tolerance for component in result.components]
    assert tolerances == sorted(tolerances)
    assert tolerances[2] > 2 * tolerances[0]


def test_every_iteration_is_done_by_the_transformer(result):
    calls = result.iterate.calls
    assert [call.starts.shape for call in calls] == [(7, 3), (1, 3)] * 3
    assert {call.steps for call in calls} == {5}


def test_an_estimate_that_is_off_is_refuted(result):
    mixture = result.transformer.mixture
    moved = replace(result.transformer, mixture=replace(mixture, means=mixture.means + 1e-4))
    reference = [Call(c.tensor, c.starts, c.steps, c.results) for c in result.iterate.calls]
    components = compare(moved, result.reference, result.iterate, reference)
    assert [component.status for component in components] == ["refuted"] * 3


def test_a_weight_that_is_off_is_refuted(result):
    mixture = result.transformer.mixture
    heavier = replace(result.transformer, mixture=replace(mixture, weights=mixture.weights * (1 + 1e-4)))
    reference = [Call(c.tensor, c.starts, c.steps, c.results) for c in result.iterate.calls]
    components = compare(heavier, result.reference, result.iterate, reference)
    assert [component.status for component in components] == ["refuted"] * 3


def test_a_mean_is_off_by_its_direction_too(result):
    """μ = λBθ: with |Δλ| recovered from the weight's tolerance, ‖B‖|Δλ| alone is not what the mean is allowed.

    |Δλ| is about ‖T‖_F·3δ and ‖T‖_F at most λ_1√K, so the direction's part λδ is more than a tenth of it.
    """
    largest = np.sqrt(result.reference.eigenvalues[0])
    for component, value in zip(result.components, result.reference.eigenpairs.values, strict=True):
        off = value * (1 - (1 + component.weight_tolerance) ** -0.5)
        assert component.mean_tolerance > 1.05 * largest * off


def test_another_direction_is_no_proof(result):
    """If the transformer had gone on from elsewhere, nothing is claimed, and the reason is given."""
    calls = [Call(c.tensor, c.starts, c.steps, c.results) for c in result.iterate.calls]
    result.iterate.calls[1] = replace(calls[1], starts=-calls[1].starts)
    components = compare(result.transformer, result.reference, result.iterate, calls)
    result.iterate.calls[1] = calls[1]
    assert components[0].status == "vacuous"
    assert "another direction" in components[0].reason


def test_a_range_that_is_left_is_said(samples):
    narrow = TransformerIteration(3, low=0.9, high=1.1)
    components = run(samples, 3, 1, 7, 5, narrow).components
    assert "leaves the range" in components[0].reason
    assert components[0].status == "not applicable"


def test_centred_samples_are_refused(samples):
    with pytest.raises(InputError, match="centred"):
        run(samples - samples.mean(axis=0), 3)
