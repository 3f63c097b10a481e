"""Encode, the layers of section F.2 and the read-out, each against what it stands for."""

import numpy as np
import pytest
import torch

from constructions import bounds, em_transformer, resources, rounding_error
from constructions.algorithms.em import em_step, log_responsibilities
from constructions.algorithms.sampling import Mixture
from constructions.em_class import TaskClass, split_tolerance
from constructions.em_transformer import build, encode, predict_size, read_out, residual_stream
from constructions.errors import InputError

UNIT = 2.0**-53


def test_the_stream_has_2d_plus_5k_plus_2_coordinates():
    stream = residual_stream(7, 11)
    assert stream.width == 2 * 7 + 5 * 11 + 2
    assert list(stream.layout) == ["x", "log_pi", "mu", "sq_norm", "w", "log_w", "pi", "one", "component"]


def test_encode_puts_samples_and_initial_parameters_in_place(small_em, task):
    samples, start = task
    tokens = encode(small_em, samples, start)
    assert tokens.shape == (20, small_em.stream.width)  # 20 = 5·⌊23/5⌋
    expected = np.zeros_like(tokens)
    place = {name: where.start for name, where in ((n, small_em.stream[n]) for n in small_em.stream.layout)}
    for i in range(20):
        k = i % 5
        for a in range(3):
            expected[i, place["x"] + a] = samples[i, a]
            expected[i, place["mu"] + a] = start.means[k, a]
        for j in range(5):
            expected[i, place["log_pi"] + j] = np.log(start.weights[j])
        expected[i, place["sq_norm"]] = (start.means[k] ** 2).sum()
        expected[i, place["one"]] = 1
        expected[i, place["component"] + k] = 1
    # ‖μ‖² may be summed in another order; everything else is copied.
    np.testing.assert_allclose(tokens, expected, rtol=rounding_error.gamma(2 * 3, UNIT), atol=0)
    others = np.arange(71) != place["sq_norm"]
    assert np.array_equal(tokens[:, others], expected[:, others])


def both_roundings(em, x, means, smallest):
    """What floating point may add to the transformer and to the exact step that it is compared with."""
    diameter, _ = bounds.diameter(x)
    parts = [rounding_error.allowance(a, x, means, smallest, diameter, torch.float64) for a in (em.approximation, None)]
    return rounding_error.Allowance(sum(part.mean for part in parts), sum(part.log_weight for part in parts))


def stream_part(em, tokens, name, size):
    return tokens.numpy()[:, em.stream[name]][:, :size]


def test_the_layers_part_by_part(small_em, task):
    """E-step head: w = responsibilities. M-step heads: pi = their mean, mu = the mean weighted by exp(log_w)."""
    samples, start = task
    stream, networks = small_em.stream, small_em.approximation.networks()
    tokens = torch.tensor(encode(small_em, samples, start))
    e_step, m_step = small_em.transformer.stored_layers
    x, dim, count = samples[:20], 3, 5
    allowance = both_roundings(small_em, x, start.means, start.weights.min())

    attended = e_step.attention(tokens)
    w = stream_part(small_em, attended, "w", count)
    assert np.abs(w - np.exp(log_responsibilities(x, start.weights, start.means))).max() <= allowance.log_weight
    assert np.array_equal(attended.numpy()[:, stream["w"]][:, count:], np.zeros((20, 6)))  # padding stays zero

    after_e = e_step.mlp(attended)
    # log of the responsibilities by the chords, padding included: log_δ(0) is finite.
    padded = attended.numpy()[:, stream["w"]]
    log_scale = small_em.approximation.log_a + 1
    rounding = rounding_error.gamma(2 * (small_em.approximation.log_units + stream.width), UNIT) * log_scale
    assert np.abs(after_e.numpy()[:, stream["log_w"]] - networks["log"](padded)).max() <= 2 * rounding
    for cleared in ("log_pi", "pi", "mu", "sq_norm"):
        assert not after_e.numpy()[:, stream[cleared]].any()
    for kept in ("x", "w", "one", "component"):
        assert torch.equal(after_e[:, stream[kept]], attended[:, stream[kept]])

    attended = m_step.attention(after_e)
    new_weights = w.mean(axis=0)
    assert np.abs(stream_part(small_em, attended, "pi", count) - new_weights).max() <= rounding_error.gamma(50, UNIT)
    b = np.exp(stream_part(small_em, after_e, "log_w", count))
    means = (b / b.sum(axis=0)).T @ x
    carried = means[np.arange(20) % count]
    # softmax of scores of size log A + 1, summed over 20 samples
    allowed = np.linalg.norm(x, axis=1).max() * rounding_error.gamma(
        2 * (20 + 16 * log_scale + rounding_error.EXP_UNITS), UNIT
    )
    assert np.abs(stream_part(small_em, attended, "mu", dim) - carried).max() <= allowed

    after_m = m_step.mlp(attended)
    sq_norm = networks["square"](attended.numpy()[:, stream["mu"]]).sum(axis=1)
    rounding = rounding_error.gamma(2 * 7 * small_em.approximation.pieces + 2 * stream.width, UNIT)
    assert np.abs(after_m.numpy()[:, stream["sq_norm"].start] - sq_norm).max() <= 2 * rounding * sq_norm.max()
    for cleared in ("w", "log_w"):
        assert not after_m.numpy()[:, stream[cleared]].any()
    for kept in ("x", "mu", "pi", "one", "component"):
        assert torch.equal(after_m[:, stream[kept]], attended[:, stream[kept]])


@pytest.mark.parametrize("construction", ["floor", "paper"])
@pytest.mark.parametrize(("dim", "components"), [(1, 1), (1, 3), (2, 5), (3, 2)])
def test_one_step_is_em_within_the_bound(construction, dim, components, rng):
    """For every d ≤ 3 and K ≤ 5 with one Θ; the read-out is of the first 2 layers."""
    task_class = TaskClass(max_dim=3, max_components=5, radius=3.0, min_weight=0.01)
    em = build(task_class, split_tolerance(task_class, 0.7, construction), steps=1)
    weights = rng.uniform(0.5, 1, size=components)
    start = Mixture(weights / weights.sum(), rng.standard_normal((components, dim)) / 2)
    samples = np.clip(rng.standard_normal((31, dim)), -1.7, 1.7)
    x = samples[: 31 // components * components]
    tokens = em.transformer(torch.tensor(encode(em, samples, start)))
    estimate = read_out(em, tokens.numpy(), dim, components)
    exact = Mixture(*em_step(x, start.weights, start.means))
    diameter, _ = bounds.diameter(x)
    rounding = both_roundings(em, x, start.means, exact.weights.min())
    assert np.abs(estimate.weights - exact.weights).max() <= rounding.log_weight < 1e-9
    for k in range(components):
        bound = bounds.m_step(em.approximation, diameter, float(estimate.weights[k]), 0.0) + rounding.mean
        assert np.linalg.norm(estimate.means[k] - exact.means[k]) <= bound < diameter / 5


def test_read_out_is_the_mean_over_the_tokens_of_a_component(small_em, rng):
    """Tokens of one component need not agree: the average is K/N times a sum. 15 tokens, K = 5, d = 3."""
    tokens = np.zeros((15, small_em.stream.width))
    values = rng.standard_normal((15, 3))
    for i in range(15):
        tokens[i, small_em.stream["component"].start + i % 5] = 1
        tokens[i, small_em.stream["mu"].start : small_em.stream["mu"].start + 3] = values[i]
        tokens[i, small_em.stream["pi"].start : small_em.stream["pi"].start + 5] = 10 * i + np.arange(5)
    mixture = read_out(small_em, tokens, 3, 5)
    assert np.array_equal(mixture.weights, np.arange(5.0))  # of the first token
    np.testing.assert_allclose(
        mixture.means, [values[k::5].mean(axis=0) for k in range(5)], rtol=0, atol=rounding_error.gamma(40, UNIT) * 4
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("construction", ["floor", "paper"])
def test_the_predicted_size_is_the_size(construction, dtype):
    task_class = TaskClass(max_dim=3, max_components=5, radius=2.0, min_weight=0.1)
    approximation = split_tolerance(task_class, 0.3, construction)
    size, em = predict_size(task_class, approximation, dtype), build(task_class, approximation, 7, dtype)
    measured = resources.measure(em.transformer)
    assert size.bytes == measured.bytes
    assert max(size.e_step_units, size.m_step_units) == measured.hidden_width
    assert [len(layer.mlp.w1) for layer in em.transformer.stored_layers] == [size.e_step_units, size.m_step_units]
    assert [blocks[-1].stop for blocks in em.hidden_layout] == [size.e_step_units, size.m_step_units]
    blocks = {block.name: block.stop - block.start for block in em.hidden_layout[1]}
    assert blocks["log(pi)->log_pi"] == size.log_units == 5 * approximation.log_units
    assert blocks["square(mu)->sq_norm"] == size.square_units == 3 * 2 * approximation.pieces
    assert (measured.layers, measured.stored_layers, measured.heads) == (14, 2, 2)
    assert em.dtype == dtype
    # left-facing log networks read their source with the weights -1 and, for the constant, 0
    w1 = em.transformer.stored_layers[0].mlp.w1[:, em.stream["w"]]
    assert w1.min() == -1
    assert (w1 > 0).sum() == 0


def test_what_cannot_be_built_is_refused_before_it_is_built(monkeypatch):
    task_class = TaskClass(3, 5, 10.0, 0.01)
    paper = split_tolerance(task_class, 1.0, "paper")
    with pytest.raises(InputError, match=rf"log A = {paper.log_a:.6g}.*float32 holds.*87.3.*--dtype float64.*floor"):
        build(task_class, paper, 1, torch.float32)
    huge = split_tolerance(TaskClass(3, 5, 20.0, 0.01), 1.0, "paper")
    with pytest.raises(InputError, match=r"float64 holds at most log A = 708\.4: use --construction floor"):
        build(task_class, huge, 1)
    size = predict_size(task_class, paper, torch.float64)
    monkeypatch.setattr(em_transformer, "SIZE_LIMIT", size.bytes - 1)
    units = f"{size.e_step_units} \\+ {size.m_step_units} hidden units"
    with pytest.raises(InputError, match=rf"paper .*{units}.*limit of .*--tolerance.*or --construction floor"):
        build(task_class, paper, 1)
    monkeypatch.setattr(em_transformer, "SIZE_LIMIT", size.bytes)
    assert build(task_class, paper, 1).transformer.width == task_class.max_dim * 2 + 5 * 5 + 2
