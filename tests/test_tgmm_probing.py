"""Linear probes: against scikit-learn, on a transformer that is known to hold EM's steps, and on shuffled targets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Command, in_process
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from tgmm_runs import smoke

from constructions.algorithms.em import em, log_responsibilities
from constructions.errors import InputError
from tgmm import checkpoints, probing
from tgmm import config as configs
from tgmm.__main__ import main
from tgmm.baselines.starts import kmeans_plus_plus
from tgmm.estimation import estimate
from tgmm.probing import STEPS, Observed, observe_construction, observe_model, probes, targets, trajectory
from tgmm.tasks import TaskDistribution, Tasks, draw
from tgmm.training import MODEL, begin, train


def drawn(count: int, seed: int, samples: int = 29, components: int = 3) -> Tasks:
    return draw(
        TaskDistribution(components=(components,), samples=(samples, samples)), count, np.random.default_rng(seed)
    )


def test_r2_is_that_of_least_squares(rng: np.random.Generator) -> None:
    """One target of three numbers that the states explain in part; R² pooled over the numbers, as variance_weighted."""
    mixing = rng.standard_normal((5, 3)) * np.array([1.0, 3.0, 0.2])

    def observed(tasks: int) -> Observed:
        states = rng.standard_normal((tasks, 7, 5)) + 2
        noise = rng.standard_normal((tasks, 7, 3))
        return Observed([states], {("means", 0): states @ mixing + noise + 4})

    fitted, judged = observed(11), observed(13)
    (found,) = probes(fitted, judged, np.random.default_rng(7))

    def oracle(values: np.ndarray, held_out: np.ndarray) -> float:
        fit = LinearRegression().fit(fitted.states[0].reshape(-1, 5), values.reshape(-1, 3))
        predicted = fit.predict(judged.states[0].reshape(-1, 5))
        return float(r2_score(held_out.reshape(-1, 3), predicted, multioutput="variance_weighted"))

    values, held_out = fitted.targets["means", 0], judged.targets["means", 0]
    assert found.r2.value == pytest.approx(oracle(values, held_out), rel=1e-9, abs=0)
    assert found.r2.low < found.r2.value < found.r2.high
    assert found.shuffled.value < 0.1 < found.r2.value
    # the control is fitted and judged on targets in one other order of each task's samples, drawn for either in turn
    rng = np.random.default_rng(7)
    orders = [rng.permuted(np.tile(range(7), (len(each), 1)), axis=1) for each in (values, held_out)]
    shuffled = [
        np.take_along_axis(each, order[:, :, None], 1) for each, order in zip((values, held_out), orders, strict=True)
    ]
    assert found.shuffled.value == pytest.approx(oracle(*shuffled), rel=1e-9, abs=0)
    for wrong in ((values, shuffled[1]), (shuffled[0], held_out)):
        assert abs(oracle(*wrong) - found.shuffled.value) > 1e-3


def test_the_construction_holds_every_step_where_its_proof_says() -> None:
    """After the E-step's layer of step t its stream holds w_t up to its networks' error, and before it the means that
    step t begins with: R² = 1 there, less elsewhere.

    A mean is off by at most 0.01 a step, a logit of a sample within 10 of it by some 0.2 after two steps, and w by a
    quarter of that, 0.05 = δ, at most: 1 − R² ≤ δ²/(variance of w, about 0.2) < 0.02, if all were as bad.
    """
    steps = 3
    rng = np.random.default_rng(5)
    found = probes(observe_construction(drawn(61, 1), steps, rng), observe_construction(drawn(31, 2), steps, rng), rng)
    for target, first in (("means", 0), ("responsibilities", 1)):
        of = {(each.layer, each.step): each for each in found if each.target == target}
        for step in range(steps):
            here = 2 * step + first
            assert of[here, step].r2.value > 0.98
            for other in (t for t in STEPS if t != step):
                assert of[here, other].r2.value < of[here, step].r2.value
            for layer in {each.layer for each in found} - {here}:
                assert of[layer, step].r2.value < of[here, step].r2.value
            assert of[here, step].shuffled.high < 0.2


def test_trajectory_is_exact_em() -> None:
    tasks = drawn(2, 3)
    start = tasks.samples[:, :3]
    path = trajectory(tasks.samples, start)
    assert list(path) == list(STEPS)
    for step in (0, 1, 4, 50):
        for index in range(2):
            weights, means = em(tasks.samples[index], np.full(3, 1 / 3), start[index], step)
            assert np.exp(path[step][0][index]) == pytest.approx(weights, rel=1e-9, abs=1e-12)
            assert path[step][1][index] == pytest.approx(means, rel=1e-9, abs=1e-9)


def test_targets_are_in_the_order_of_the_model_s_means() -> None:
    tasks = drawn(5, 3)
    path = trajectory(tasks.samples, tasks.samples[:, :3])
    order = np.array([2, 0, 1])
    log_weights, means = path[50]
    own = means[:, order] + 1e-3  # component j of the model is component order[j] of EM
    component = np.arange(29) * np.array([[1], [2], [1], [2], [1]]) % 3
    found = targets(tasks.samples, path, own, component)
    for step in (0, 2, 50):
        w = np.exp(log_responsibilities(tasks.samples, np.exp(path[step][0]), path[step][1]))
        assert np.array_equal(found["responsibilities", step], w[:, :, order])
        for task in range(5):
            assert np.array_equal(found["means", step][task], path[step][1][task][order[component[task]]])
    assert log_weights.shape == (5, 3)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    train(begin(configs.load(smoke(tmp_path, steps=6)), tmp_path))
    return tmp_path / MODEL


def test_states_are_the_model_s(checkpoint: Path, rng: np.random.Generator) -> None:
    """The last state, read out, is the estimate: no layer is missing, none is passed twice."""
    model, tasks = checkpoints.read(checkpoint).model().double(), drawn(5, 7, samples=17)
    observed = observe_model(model, tasks, rng)
    assert [state.shape for state in observed.states] == [(5, 17, 14)] * 2
    import torch

    read = model.read_outs[1](torch.from_numpy(observed.states[-1]), torch.ones(5, 17, dtype=torch.bool))
    own = estimate(model, tasks.samples, 3)
    assert read.means.detach().numpy() == pytest.approx(own.means, rel=1e-12, abs=0)
    # a sample's mean is where EM took the component under which the model finds it most probable
    joint = np.log(own.weights)[:, None] - ((tasks.samples[:, :, None] - own.means[:, None]) ** 2).sum(axis=3) / 2
    start = kmeans_plus_plus(tasks.samples, 3, np.random.default_rng(20))
    expected = targets(tasks.samples, trajectory(tasks.samples, start), own.means, joint.argmax(axis=2))
    for key, values in expected.items():
        assert np.array_equal(observed.targets[key], values)


def test_tasks_that_differ_are_refused(checkpoint: Path, rng: np.random.Generator) -> None:
    mixed = draw(TaskDistribution(components=(2, 3), samples=(7, 7)), 11, rng)
    with pytest.raises(InputError, match="the tasks have 2, 3 components; all need the same K"):
        probing.shared_components(mixed)
    ragged = draw(TaskDistribution(components=(3,), samples=(5, 7)), 11, rng)
    with pytest.raises(InputError, match="the tasks have 5 to 7 samples; all need the same number"):
        probing.shared_components(ragged)


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    return in_process(lambda arguments: main(["probe", *arguments]), capfd)


def test_the_command_repeats_itself(command: Command, checkpoint: Path, tmp_path: Path) -> None:
    arguments = ("--checkpoint", checkpoint, "--tasks", 11, "--steps", 1)
    content = command(*arguments, "--json", "-").json
    assert command(*arguments, "--json", tmp_path / "p.json").code == 0
    assert json.loads((tmp_path / "p.json").read_text()) == content
    assert (content["components"], content["samples"], content["judged_on"], content["training_steps"]) == (3, 17, 5, 6)
    for name, layers in (("trained", 2), ("construction", 3)):
        assert len(content[name]) == layers * len(STEPS) * 2
    said = command(*arguments)
    first = content["trained"][0]["r2"][0]
    assert f"{first:.4f}" in said.out


def test_what_will_not_do_is_refused(command: Command, checkpoint: Path, tmp_path: Path) -> None:
    given = ("--checkpoint", checkpoint)
    command(*given, "--components", 4).assert_refused("--components is 4", "estimates 2, 3")
    command(*given, "--tasks", 3).assert_refused("--tasks is 3; it must lie between 4 and 2000")
    command(*given, "--steps", 0).assert_refused("--steps is 0; it must lie between 1 and 50")
    command(*given, "--seed", -1).assert_refused("--seed is -1")
    command(*given, "--json", tmp_path / "no" / "p.json").assert_refused("there is no directory")
    command("--checkpoint", tmp_path / "absent").assert_refused("does not exist")
