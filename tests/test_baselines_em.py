"""EM to convergence over batches, restarts, and the two-round variant, each against loops over single tasks."""

import numpy as np
import pytest

from constructions.algorithms import diagonal_em, metrics
from constructions.algorithms.em import em_step, log_em_step
from constructions.algorithms.sampling import Mixture
from constructions.rounding_error import gamma
from tgmm.baselines import em, pruning, starts
from tgmm.tasks import TaskDistribution, draw

UNIT = 2.0**-53


class Halving:
    """A step that halves one number of one part; it notes how many tasks it was given."""

    def __init__(self, part, index):
        self.part, self.index, self.batches = part, index, []

    def __call__(self, samples, parameters):
        self.batches.append(len(samples))
        after = tuple(part.copy() for part in parameters)
        values = after[self.part]
        where = (slice(None), *self.index)
        # Of log π, log(π/2): it is π that changes.
        values[where] = values[where] - np.log(2) if self.part == 0 else values[where] / 2
        return after


@pytest.mark.parametrize(("part", "index"), [(0, (1,)), (1, (1, 2)), (1, (0, 0)), (2, (1, 0))])
def test_a_task_stops_at_the_first_change_below_the_limit_of_any_parameter(part, index):
    """From 2^a, step t makes 2^{a−t} and changes by as much: the first t with 2^{a−t} < 2^−5 is a + 6."""
    powers = np.array([0, 3, -2, 10, 0, -7, 3])
    start = tuple(np.zeros((7, 2, 3)[: 2 if which == 0 else 3]) for which in range(3))
    start[part][(slice(None), *index)] = powers * np.log(2) if part == 0 else 2.0**powers
    step = Halving(part, index)
    limit = 2.0**-5 if part else 0.75 * 2.0**-5  # exactly met, but for the rounding of exp(log π)
    end = em.iterate(np.zeros((7, 11, 3)), start, step, limit, em.STEPS)
    ended = end[part][(slice(None), *index)]
    expected = np.minimum(-6, powers - 1)
    if part == 0:
        assert np.abs(ended - expected * np.log(2)).max() <= 1e-13
    else:
        assert ended.tolist() == (2.0**expected).tolist()
    steps = np.maximum(powers + 6, 1)
    assert step.batches == [int((steps >= t).sum()) for t in range(1, 17)]  # who has stopped has left


def test_no_task_takes_more_steps_than_allowed(rng):
    samples, start = rng.standard_normal((5, 23, 3)), em.from_means(rng.standard_normal((5, 2, 3)))
    now = start
    for steps in range(4):
        for part, expected in zip(em.iterate(samples, start, em.isotropic_step, 0.0, steps), now, strict=True):
            assert np.array_equal(part, expected)
        now = (*log_em_step(samples, *now[:2]), now[2])


def test_a_task_that_becomes_nan_has_stopped_and_leaves_the_others_alone(rng):
    """Task 1 of 3 is NaN after its second step."""
    calls = []

    def step(samples, parameters):
        calls.append(len(samples))
        log_weights, means, scales = em.isotropic_step(samples, parameters)
        if len(calls) == 2:
            means[1, 0, 0] = np.nan
        return log_weights, means, scales

    samples, means = rng.standard_normal((3, 23, 2)), rng.standard_normal((3, 2, 2))
    got = em.iterate(samples, em.from_means(means), step, 1e-8, 20)
    expected = em.iterate(samples, em.from_means(means), em.isotropic_step, 1e-8, 20)
    assert calls[:3] == [3, 3, 2]
    assert np.isnan(got[1][1, 0, 0])
    for part, clean in zip(got, expected, strict=True):
        assert np.array_equal(part[[0, 2]], clean[[0, 2]])


def alone(samples, means, step):
    """EM on a single task with a loop of its own: parameters and steps."""
    now = em.from_means(means[None])
    steps = 0
    while steps < em.STEPS:
        steps += 1
        after = step(samples[None], now)
        change = max(
            np.abs(np.exp(after[0]) - np.exp(now[0])).max(),
            np.abs(after[1] - now[1]).max(),
            np.abs(after[2] - now[2]).max(),
        )
        now = after
        if change < em.CHANGE:
            break
    return now, steps


@pytest.mark.parametrize("step", [em.isotropic_step, em.anisotropic_step])
def test_a_batch_is_its_tasks_one_by_one(rng, step, monkeypatch):
    """7 tasks in blocks of 3, which take unequally many steps."""
    monkeypatch.setattr(em, "BLOCK", 3 * 37 * 3)
    monkeypatch.setattr(em, "CHANGE", 1e-3)
    tasks = draw(TaskDistribution(components=(3,), samples=(37, 37), anisotropic=step is em.anisotropic_step), 7, rng)
    means = starts.kmeans_plus_plus(tasks.samples, 3, rng)
    together = em.mixtures(em.iterate(tasks.samples, em.from_means(means), step, em.CHANGE, em.STEPS))
    taken = []
    for task in range(7):
        (log_weights, one_means, scales), steps = alone(tasks.samples[task], means[task], step)
        taken.append(steps)
        # Each of at most 500 steps is rounded alike, and steps near a maximum contract.
        rounding = em.STEPS * gamma(4 * 37, UNIT) * 100
        assert np.abs(together.weights[task] - np.exp(log_weights[0])).max() <= rounding
        assert np.abs(together.means[task] - one_means[0]).max() <= rounding
        assert np.abs(together.scales[task] - scales[0]).max() <= rounding
    assert len(set(taken)) > 3
    assert (together.scales == 1).all() == (step is em.isotropic_step)


@pytest.mark.parametrize("step", [em.isotropic_step, em.anisotropic_step])
def test_of_several_runs_each_task_has_its_most_likely(step, monkeypatch):
    monkeypatch.setattr(em, "STEPS", 20)
    tasks = draw(TaskDistribution(components=(5,), samples=(41, 41)), 19, np.random.default_rng(5))
    arguments = tasks.samples, 5
    rng = np.random.default_rng(23)
    runs = [em.estimate(*arguments, rng, starts.kmeans_plus_plus, step) for _ in range(3)]
    best = em.estimate(*arguments, np.random.default_rng(23), starts.kmeans_plus_plus, step, restarts=3)
    chosen = set()
    for task in range(19):
        levels = [
            diagonal_em.average_log_likelihood(tasks.samples[task], np.log(run.weights[task]), *rest)
            for run in runs
            for rest in [(run.means[task], run.scales[task])]
        ]
        chosen.add(int(np.argmax(levels)))
        assert np.array_equal(best.means[task], runs[int(np.argmax(levels))].means[task])
        assert np.array_equal(best.weights[task], runs[int(np.argmax(levels))].weights[task])
        assert np.array_equal(best.scales[task], runs[int(np.argmax(levels))].scales[task])
        if step is em.isotropic_step:
            mixture = Mixture(best.weights[task], best.means[task])
            likelihood = metrics.average_log_likelihood(mixture, tasks.samples[task])
            assert likelihood == pytest.approx(max(levels), rel=1e-12, abs=0)
    assert chosen == {0, 1, 2}


def test_a_run_that_fails_is_replaced_by_one_that_does_not(monkeypatch):
    """And no other way round; where all fail, the last is kept."""
    levels = iter(np.array([[np.nan, -1, np.nan, -2], [-3, np.nan, np.nan, -1], [-4, -2, np.nan, -3]]))
    numbers = iter((1.0, 2.0, 3.0))

    def run(*_: object) -> tuple[em.Parameters, np.ndarray]:
        means = np.full((4, 1, 2), next(numbers))
        return em.from_means(means), next(levels).copy()

    monkeypatch.setattr(em, "_run", run)
    found = em.estimate(np.zeros((4, 3, 2)), 1, np.random.default_rng(0), starts.distinct_samples, em.isotropic_step, 3)
    assert found.means[:, 0, 0].tolist() == [2, 1, 3, 2]


def test_a_start_has_equal_weights_and_unit_scales(rng):
    means = rng.standard_normal((7, 5, 2))
    start = em.mixtures(em.from_means(means))
    assert start.weights == pytest.approx(np.full((7, 5), 1 / 5), rel=1e-15, abs=0)
    assert np.array_equal(start.means, means)
    assert (start.scales == 1).all()


def test_the_number_of_first_centres():
    """π_min = 1/5, 1/9, 1/13, 1/17 for K = 2, 3, 4, 5."""
    assert [pruning.smallest_weight(k) for k in (2, 3, 4, 5)] == pytest.approx(
        [1 / 5, 1 / 9, 1 / 13, 1 / 17], rel=1e-15
    )
    assert [pruning.centres(k, 1000) for k in (1, 2, 3, 4, 5)] == [1, 14, 40, 73, 110]
    assert pruning.centres(5, 101) == 101


def test_two_rounds_against_loops(monkeypatch):
    """Centres and the random first choice are shared; steps, threshold and order are those of loops."""
    tasks = draw(TaskDistribution(dim=7, components=(3,), samples=(61, 61)), 11, np.random.default_rng(3))
    drawn, kept = {}, {}
    monkeypatch.setattr(pruning, "centres", lambda components, count: count - 48)  # 13, so that some are dropped

    def record_samples(samples, components, rng):
        drawn["means"] = starts.distinct_samples(samples, components, rng)
        return drawn["means"]

    def record_first(centres, allowed, components, rng):
        kept["allowed"] = allowed
        kept["chosen"] = starts.farthest_first(centres, allowed, components, rng)
        return kept["chosen"]

    monkeypatch.setattr(pruning, "distinct_samples", record_samples)
    monkeypatch.setattr(pruning, "farthest_first", record_first)
    got = pruning.two_round_em(tasks.samples, 3, np.random.default_rng(7))
    assert drawn["means"].shape == (11, 13, 7)
    assert 0 < (~kept["allowed"]).sum() < 11 * 10
    for task, x in enumerate(tasks.samples):
        weights, means = em_step(x, np.full(13, 1 / 13), drawn["means"][task])
        assert kept["allowed"][task].tolist() == (weights >= 1 / 52).tolist()
        expected = em_step(x, np.full(3, 1 / 3), means[kept["chosen"][task]])
        assert np.abs(got.weights[task] - expected[0]).max() <= gamma(1000, UNIT) * 100
        assert np.abs(got.means[task] - expected[1]).max() <= gamma(1000, UNIT) * 1000
    assert (got.scales == 1).all()
