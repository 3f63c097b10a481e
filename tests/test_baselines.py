"""All methods by name: what they return, what they refuse, and what becomes of tasks on which they fail."""

import numpy as np
import pytest
import torch

from constructions import bounds
from constructions.algorithms import diagonal_em
from constructions.algorithms.em import em as isotropic_em
from constructions.algorithms.metrics import align, l2_error
from constructions.algorithms.sampling import Mixture
from constructions.algorithms.spectral import spectral
from constructions.errors import InputError
from tgmm.baselines import ANISOTROPIC_METHODS, METHODS, em, failed, likelihood, starts, transformer
from tgmm.tasks import TaskDistribution, draw

EVERY = [(False, name) for name in METHODS] + [(True, name) for name in ANISOTROPIC_METHODS]


def method(anisotropic, name):
    return (ANISOTROPIC_METHODS if anisotropic else METHODS)[name]


def separated(anisotropic=False, count=5, dim=3, k=2, samples=101):
    """Means 8 apart, around 0: components do not overlap."""
    distribution = TaskDistribution(
        dim=dim, components=(k,), samples=(samples, samples), separation=8.0, anisotropic=anisotropic
    )
    return draw(distribution, count, np.random.default_rng(11))


def test_the_names():
    em_names = {"em-normal", "em-samples", "em-kmeans++", *(f"em-best-of-{runs}" for runs in (3, 10, 30))}
    others = {"em-pruning", "adam", "spectral", "em-transformer-10", "em-transformer-50"}
    assert set(METHODS) == em_names | others
    assert set(ANISOTROPIC_METHODS) == em_names | {"adam"}
    for listed, step in ((METHODS, em.isotropic_step), (ANISOTROPIC_METHODS, em.anisotropic_step)):
        assert all("\n" not in one.description and len(one.description) < 90 for one in listed.values())
        assert {name: listed[name].estimate.keywords for name in em_names} == {
            "em-normal": {"starts": starts.standard_normal, "step": step, "restarts": 1},
            "em-samples": {"starts": starts.distinct_samples, "step": step, "restarts": 1},
            "em-kmeans++": {"starts": starts.kmeans_plus_plus, "step": step, "restarts": 1},
            **{
                f"em-best-of-{runs}": {"starts": starts.kmeans_plus_plus, "step": step, "restarts": runs}
                for runs in (3, 10, 30)
            },
        }
    assert (em.CHANGE, em.STEPS) == (1e-8, 500)


@pytest.mark.parametrize(
    ("anisotropic", "name"), [pair for pair in EVERY if pair[1] not in ("adam", "em-transformer-10")]
)
def test_a_method_finds_separated_components(anisotropic, name):
    """Adam has its own test below; ten steps of the transformer are the first of fifty."""
    tasks = separated(anisotropic)
    shift = np.array([3.0, -2.0, 5.0]) if name == "spectral" else np.zeros(3)  # which is not for centred means
    found = method(anisotropic, name)(tasks.samples + shift, 2, np.random.default_rng(13))
    assert found.weights.shape == (5, 2)
    assert found.means.shape == found.scales.shape == (5, 2, 3)
    assert not failed(found).any()
    assert np.abs(found.weights.sum(axis=1) - 1).max() <= 1e-9
    assert (found.weights > 0).all()
    assert (found.scales == 1).all() == (not anisotropic)
    # A component has some 20 to 80 samples: coordinates of its mean are off by at most about 0.2.
    limit = 0.3 if name == "spectral" else 0.1
    for task in range(5):
        truth = Mixture(tasks.truth.weights[task], tasks.truth.means[task] + shift)
        assert l2_error(align(found.one(task), truth), truth) <= limit
    if anisotropic:
        assert np.abs(np.sort(found.scales, axis=1) - np.sort(tasks.truth.scales, axis=1)).max() <= 0.4


@pytest.mark.parametrize(("anisotropic", "name"), [pair for pair in EVERY if "transformer" not in pair[1]])
def test_the_generator_decides(anisotropic, name, monkeypatch):
    monkeypatch.setattr(likelihood, "ADAM_STEPS", 20)
    monkeypatch.setattr(em, "STEPS", 20)
    x = separated(anisotropic, count=3, samples=23).samples + 1
    first, same, other = (method(anisotropic, name)(x, 2, np.random.default_rng(seed)) for seed in (17, 17, 18))
    for part in ("weights", "means", "scales"):
        assert np.array_equal(getattr(first, part), getattr(same, part))
    assert not np.array_equal(first.means, other.means)


@pytest.mark.parametrize(("anisotropic", "name"), EVERY)
@pytest.mark.parametrize(
    ("entry", "k", "message"),
    [
        (0.0, 0, "there are 0 components and 7 samples; K must be between 1 and N"),
        (0.0, 8, "there are 8 components and 7 samples; K must be between 1 and N"),
        (np.nan, 2, "a sample has the entry nan; it must be between ±1e\\+90"),
        (-np.inf, 2, "a sample has the entry -inf"),
        (-2e90, 2, "a sample has the entry -2e\\+90"),
    ],
)
def test_what_no_method_takes(anisotropic, name, entry, k, message, rng):
    samples = rng.standard_normal((3, 7, 2))
    samples[1, 4, 1] = entry
    with pytest.raises(InputError, match=message):
        method(anisotropic, name)(samples, k, rng)


@pytest.mark.parametrize(("anisotropic", "name"), [pair for pair in EVERY if "transformer" not in pair[1]])
def test_no_data_in_range_breaks_a_batch(anisotropic, name, rng, monkeypatch):
    """Equal samples, one sample a component, and the largest entries, beside a common task."""
    monkeypatch.setattr(likelihood, "ADAM_STEPS", 30)
    monkeypatch.setattr(em, "STEPS", 10)
    samples = rng.standard_normal((5, 5, 5))
    samples[1] = 2.5
    samples[2, 3:] = samples[2, 0]
    samples[3] *= 1e89
    found = method(anisotropic, name)(samples, 5, rng)
    assert len(found) == 5
    if name != "spectral":
        assert not failed(found).any()


def test_more_components_than_dimensions_are_not_for_the_spectral_method(rng):
    with pytest.raises(InputError, match="there are 4 components in dimension 3; the spectral method needs K <= d"):
        METHODS["spectral"](rng.standard_normal((2, 11, 3)), 4, rng)


def test_a_task_without_a_spectral_decomposition_is_nan_and_the_others_are_what_they_are_alone():
    tasks = separated(dim=5, k=3)
    samples = tasks.samples + np.arange(5.0)
    samples[2] = samples[2, :, :1] * np.arange(1.0, 6.0)  # on a line: M2 has one eigenvalue that is not 0
    found = METHODS["spectral"](samples, 3, np.random.default_rng(19))
    assert failed(found).tolist() == [False, False, True, False, False]
    assert np.isnan(found.weights[2]).all()
    assert np.isnan(found.means[2]).all()
    rng = np.random.default_rng(19)
    for task in (0, 1, 3, 4):
        expected = spectral(samples[task], 3, rng).mixture
        assert np.array_equal(found.means[task], expected.means)
        assert found.weights[task] == pytest.approx(expected.weights / expected.weights.sum(), rel=1e-14, abs=0)


def test_failed_sees_every_part(rng):
    found = METHODS["em-samples"](rng.standard_normal((5, 7, 2)), 3, rng)
    found.weights[1, 2], found.means[2, 0, 1], found.scales[4, 1, 0] = np.nan, np.inf, np.nan
    assert failed(found).tolist() == [False, True, True, False, True]


def test_the_class_of_the_transformer():
    for dim, radius in ((2, 16.5), (8, 25.0)):
        served = transformer.task_class(dim, 3)
        assert (served.max_dim, served.max_components, served.min_weight) == (dim, 5, 0.01)
        assert round(served.radius, 1) == radius
        excess = (served.radius - 5 * dim**0.5) / dim**0.5 - 1
        assert 128 * bounds.norm_tail(dim, excess) == pytest.approx(1e-12, rel=1e-9, abs=0)
    assert transformer.task_class(2, 7).max_components == 7


def test_the_transformer_makes_its_steps_of_em_on_the_samples_it_keeps(monkeypatch):
    """101 samples, K = 3: the first 99. Seven tasks, four at a time."""
    monkeypatch.setattr(transformer, "NUMBERS", 4 * 101 * 31)
    distribution = TaskDistribution(components=(3,), samples=(101, 101), separation=5.0)
    x = draw(distribution, 7, np.random.default_rng(2)).samples
    found = transformer.estimate(x, 3, np.random.default_rng(29), steps=3)
    means, equal = starts.kmeans_plus_plus(x, 3, np.random.default_rng(29)), np.full((7, 3), 1 / 3)

    def distance(samples, steps):
        weights, exact = isotropic_em(samples, equal, means, steps)
        return np.maximum(np.abs(found.means - exact).max(axis=(1, 2)), np.abs(found.weights - weights).max(axis=1))

    kept = distance(x[:, :99], 3)
    assert kept.max() <= 3 * transformer.TOLERANCE
    assert (kept <= distance(x, 3) / 10).all()
    assert (kept <= distance(x[:, :99], 2) / 10).all()
    for steps in (10, 50):
        assert METHODS[f"em-transformer-{steps}"].estimate.keywords == {"steps": steps}


def test_a_task_with_a_sample_outside_the_class_is_nan():
    x = separated(dim=2).samples
    inside = transformer.estimate(x, 2, np.random.default_rng(31), steps=1)
    moved = x.copy()
    moved[3, 99] = [16.0, 5.0]  # of norm 16.8; the starts of the other tasks stay the same
    outside = transformer.estimate(moved, 2, np.random.default_rng(31), steps=1)
    assert failed(outside).tolist() == [False, False, False, True, False]
    assert np.isnan(outside.means[3]).all()
    assert np.isnan(outside.weights[3]).all()
    others = [0, 1, 2, 4]
    assert np.abs(outside.means[others] - inside.means[others]).max() <= 1e-12
    assert np.abs(outside.weights[others] - inside.weights[others]).max() <= 1e-12


def test_adams_objective_is_the_average_log_likelihood(rng):
    x, means, scales = rng.standard_normal((3, 11, 2)), rng.standard_normal((3, 5, 2)), rng.uniform(0.5, 2, (3, 5, 2))
    log_weights = np.log(rng.dirichlet(np.ones(5), size=3))
    got = likelihood.average_log_likelihood(*(torch.from_numpy(a) for a in (x, log_weights, means, np.log(scales))))
    assert got.numpy() == pytest.approx(diagonal_em.average_log_likelihood(x, log_weights, means, scales), rel=1e-12)


@pytest.mark.parametrize("anisotropic", [False, True])
def test_adam_ends_where_em_does(anisotropic):
    """From the same starts, on components that do not overlap: one maximum in reach."""
    x = separated(anisotropic).samples
    listed = ANISOTROPIC_METHODS if anisotropic else METHODS
    adam, em_found = (listed[name](x, 2, np.random.default_rng(37)) for name in ("adam", "em-kmeans++"))
    assert np.abs(adam.means - em_found.means).max() <= 0.01  # a fifth of Adam's first step
    assert np.abs(adam.weights - em_found.weights).max() <= 0.01
    assert np.abs(adam.scales - em_found.scales).max() <= 0.01


def test_adams_scales_stay_above_the_floor(rng, monkeypatch):
    monkeypatch.setattr(likelihood, "ADAM_STEPS", 80)
    samples = rng.standard_normal((3, 11, 2))
    samples[1, :, 1] = 0.25
    found = likelihood.adam(samples, 2, rng, anisotropic=True)
    assert found.scales[1, :, 1] == pytest.approx([0.1, 0.1], rel=1e-12, abs=0)
    assert found.scales.min() >= 0.1 * (1 - 1e-12)
    assert (likelihood.adam(samples, 2, rng).scales == 1).all()
