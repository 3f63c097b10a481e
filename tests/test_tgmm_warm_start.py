from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, in_process

from constructions.algorithms.em import em_step
from constructions.algorithms.sampling import Mixture
from constructions.em_class import TaskClass, split_tolerance
from constructions.em_transformer import EmTransformer, build, encode
from constructions.em_transformer import read_out as exact_read_out
from constructions.transformer import Transformer
from tgmm import warm_start_command, warm_start_training
from tgmm.__main__ import main
from tgmm.mixtures import Mixtures
from tgmm.trainable_em import balance, named_matrices, randomise, read_out, run, tokens, trainable
from tgmm.warm_start_measures import Started, agreement, errors, estimates, movements, spread
from tgmm.warm_start_training import ARMS, Budget, train

STEPS = 3


@pytest.fixture(scope="module")
def em() -> EmTransformer:
    task_class = TaskClass(2, 5, 13.0, 0.01)
    return build(task_class, split_tolerance(task_class, 0.7, "floor"), STEPS)


@pytest.fixture(scope="module")
def tasks() -> Started:
    return Started.drawn(3, 17, 7, np.random.default_rng(3))


def objective(em: EmTransformer, model: Transformer, tasks: Started) -> torch.Tensor:
    found = run(em, model, tokens(em, tasks.samples, tasks.start), tasks.start.shape[1])[-1]
    return (found.means - torch.from_numpy(tasks.truth.means)).square().sum() + found.log_weights.square().sum()


@pytest.mark.parametrize("tied", [True, False])
def test_without_training_it_is_the_construction(em: EmTransformer, tasks: Started, tied: bool) -> None:
    model = trainable(em.transformer, tied)
    assert len(model.layers) == (2 if tied else 2 * STEPS)
    h = tokens(em, tasks.samples, tasks.start)
    assert torch.equal(model(h), em.transformer(h))
    found = estimates(em, model, tasks)[-1]
    for task in range(7):
        equal = Mixture(np.full(3, 1 / 3), tasks.start[task])
        alone = em.transformer(torch.from_numpy(encode(em, tasks.samples[task], equal))).numpy()
        expected = exact_read_out(em, alone, 2, 3)
        assert expected.weights.min() > 0.01  # above it the read-out is Remark F.3's
        assert found.weights[task] == pytest.approx(expected.weights, rel=1e-12, abs=0)
        assert found.means[task] == pytest.approx(expected.means, rel=1e-11, abs=1e-13)


def test_copies_share_nothing_with_the_construction(em: EmTransformer) -> None:
    before = deepcopy(em.transformer)
    model = trainable(em.transformer, tied=False)
    with torch.no_grad():
        for _, matrix in named_matrices(model):
            matrix.add_(1.0)
    for (name, old), (_, now) in zip(named_matrices(before), named_matrices(em.transformer), strict=True):
        assert torch.equal(old, now), name
        assert not now.requires_grad


@pytest.mark.parametrize("tied", [True, False])
def test_which_matrices_have_a_gradient(em: EmTransformer, tasks: Started, tied: bool) -> None:
    model = trainable(em.transformer, tied)
    objective(em, model, tasks).backward()
    names = []
    for name, matrix in named_matrices(model):
        names.append(name)
        # uniform head: scores ⟨Qh, Kh⟩ with Q = K = 0, the derivative by either is a multiple of the other
        uniform = name.endswith((".1.Q", ".1.K"))
        # the last MLP writes nothing that is read, so only its w2 can begin to
        unread = name == f"{2 * STEPS - 1}.W1"
        assert matrix.grad is not None
        assert (matrix.grad.norm() == 0) == (uniform or unread), name
    assert len(set(names)) == len(names) == sum(1 for _ in model.parameters()) == (16 if tied else 16 * STEPS)


def test_gradient_is_the_difference_quotient(em: EmTransformer, tasks: Started) -> None:
    model = balanced(em)
    objective(em, model, tasks).backward()
    for name, matrix in named_matrices(model):
        if name not in ("0.0.Q", "2.0.K", "1.1.V", "3.0.O", "4.W2"):
            continue  # w1 is left out: the padding, which is 0, lies on kinks of relu
        place = np.unravel_index(int(matrix.grad.abs().argmax()), tuple(matrix.shape))
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                matrix[place] += sign * 1e-7
                values.append(objective(em, model, tasks).item())
                matrix[place] -= sign * 1e-7
        assert (values[0] - values[1]) / 2e-7 == pytest.approx(matrix.grad[place].item(), rel=2e-3, abs=0), name


def balanced(em: EmTransformer) -> Transformer:
    model = trainable(em.transformer, tied=False)
    balance(model)
    return model


def test_balanced_weights_are_the_same_function(em: EmTransformer, tasks: Started) -> None:
    model, h = balanced(em), tokens(em, tasks.samples, tasks.start)
    for layer in model.stored_layers:
        assert layer.mlp.w1.norm(dim=1).detach().numpy() == pytest.approx(
            layer.mlp.w2.norm(dim=0).detach().numpy(), rel=1e-12, abs=0
        )
    for old, new in zip(em.transformer.trace(h), model.trace(h), strict=True):
        assert (
            float((old - new).detach().abs().max()) < 1e-9
        )  # terms of size up to 2 log A + B², each rounded a few times


def test_random_weights_have_the_stated_spread(em: EmTransformer) -> None:
    model = trainable(em.transformer, tied=False)
    randomise(model, 0.5, seed=11)
    for name, matrix in named_matrices(model):
        expected = 0.5 / matrix.shape[1] ** 0.5 / ((4 * STEPS) ** 0.5 if name[-1] == "O" or "W2" in name else 1)
        # a sum of m squares of standard normals is within m(1 ± 8√(2/m)) but for a probability far below 1e-8
        if matrix.numel() > 1000:
            assert float(matrix.detach().square().mean()) == pytest.approx(
                expected**2, rel=8 * (2 / matrix.numel()) ** 0.5, abs=0
            ), name
    first = dict(named_matrices(model))["0.W1"].detach().clone()
    randomise(model, 0.5, seed=12)
    assert not torch.equal(first, dict(named_matrices(model))["0.W1"])


def test_read_out_of_weights_that_training_may_produce(em: EmTransformer) -> None:
    h = torch.zeros(1, 4, em.stream.width, dtype=torch.float64)
    h[0, :, em.stream["pi"].start] = torch.tensor([0.4, 0.8, 0.6, 0.6], dtype=torch.float64)  # on average 0.6
    h[0, :, em.stream["pi"].start + 1] = -0.03  # log 0.01 + (−0.03 − 0.01)/0.01
    h[0, :, em.stream["mu"]] = torch.tensor([[1.0, 2.0], [5.0, 7.0], [3.0, 2.0], [6.0, 9.0]], dtype=torch.float64)
    h.requires_grad_(True)
    found = read_out(em, h, 2)
    logs = np.log([0.6, 0.01]) - np.array([0.0, 4.0])
    assert found.log_weights[0].tolist() == pytest.approx(logs - np.logaddexp(*logs), rel=1e-12, abs=0)
    assert found.means[0].tolist() == [[2.0, 2.0], [5.5, 8.0]]
    found.log_weights[0, 1].backward()
    assert (h.grad[0, :, em.stream["pi"].start + 1] > 0).all()


def test_agreement_of_the_construction_and_of_broken_weights(em: EmTransformer, tasks: Started) -> None:
    model = trainable(em.transformer, tied=False)
    sound = agreement(tasks, estimates(em, model, tasks))
    assert sound.means.shape == (STEPS,)
    assert sound.ratio < 0.05
    assert sound.means.max() < 0.7  # the tolerance for a step from equal parameters
    for name, broken in (("0.0.K", 1.5), ("2.W2", 0.9), ("3.0.V", 1.1), ("5.0.V", 0.9), ("5.W1", 1.5)):
        wrong = deepcopy(model)
        with torch.no_grad():
            dict(named_matrices(wrong))[name].mul_(broken)
        ratio = agreement(tasks, estimates(em, wrong, tasks)).ratio
        if name == "5.W1":  # of the last MLP nothing is read
            assert ratio == sound.ratio
        else:
            assert ratio > 3 * sound.ratio, name


def test_agreement_is_measured_from_what_entered(tasks: Started) -> None:
    offset = np.array([3.0, 4.0])
    rows, entering, reference = [], tasks.initial, tasks.initial
    for _ in range(2):
        exact = Mixtures.isotropic(*em_step(tasks.samples, entering.weights, entering.means))
        moved = np.linalg.norm(exact.means - entering.means, axis=2).max(axis=1).mean()
        entering = Mixtures.isotropic(np.roll(exact.weights, 1, axis=1), exact.means + offset)
        reference = Mixtures.isotropic(*em_step(tasks.samples, reference.weights, reference.means))
        turned = np.abs(exact.weights - entering.weights).max(axis=1).mean()
        far = np.linalg.norm(entering.means - reference.means, axis=2).max(axis=1).mean()
        rows.append((entering, moved, turned, far))
    found = agreement(tasks, [row[0] for row in rows])
    assert found.means.tolist() == pytest.approx([5.0, 5.0], rel=1e-12, abs=0)
    assert found.moved.tolist() == pytest.approx([row[1] for row in rows], rel=1e-9, abs=0)
    assert found.weights.tolist() == pytest.approx([row[2] for row in rows], rel=1e-9, abs=0)
    assert found.from_start.tolist() == pytest.approx([row[3] for row in rows], rel=1e-9, abs=0)
    assert found.ratio == pytest.approx(10 / sum(row[1] for row in rows), rel=1e-9, abs=0)


def test_standing_still_has_the_ratio_one(tasks: Started) -> None:
    assert agreement(tasks, [tasks.initial] * 2).ratio == pytest.approx(1.0, rel=1e-12, abs=0)


def test_started_tasks_keep_whole_multiples_and_restart(tasks: Started) -> None:
    assert tasks.samples.shape == (7, 15, 2)
    again = tasks.restarted(np.random.default_rng(4))
    assert again.samples is tasks.samples
    for started in (tasks, again):
        distances = np.linalg.norm(started.start[:, :, None] - tasks.samples[:, None], axis=3).min(axis=2)
        assert (distances == 0).all()  # k-means++ takes samples
    assert spread(tasks.initial, again.initial) > 0
    swapped = Mixtures.isotropic(tasks.truth.weights[:, ::-1], tasks.truth.means[:, ::-1])
    assert spread(swapped, tasks.truth) == 0
    assert errors(tasks.exact_em(None), tasks).mean() < errors(tasks.initial, tasks).mean()


def test_movements_of_known_changes(em: EmTransformer) -> None:
    before = trainable(em.transformer, tied=True)
    after = deepcopy(before)
    with torch.no_grad():
        matrices = dict(named_matrices(after))
        matrices["0.0.V"].mul_(1.25)
        matrices["1.1.Q"][0, 3] = 0.5
        query = matrices["0.0.Q"]
        row, column = (int(i) for i in (query == 0).nonzero()[0])
        query[row, column] = 4.0
        query[tuple((query == 1).nonzero()[0])] = 4.0
    moved = movements(before, after)
    assert (moved["0.0.V"].relative, moved["0.0.V"].outside) == (pytest.approx(0.25, rel=1e-12, abs=0), 0.0)
    assert moved["0.0.V"].norm_after == pytest.approx(1.25 * moved["0.0.V"].norm_before, rel=1e-12, abs=0)
    assert (moved["1.1.Q"].relative, moved["1.1.Q"].outside) == (None, 1.0)
    assert (moved["1.1.K"].relative, moved["1.1.K"].outside) == (None, None)
    assert moved["0.0.Q"].relative == pytest.approx(5 / 8**0.5, rel=1e-12, abs=0)  # 8 ones: x 2, log_pi 5, one 1
    assert moved["0.0.Q"].outside == pytest.approx(4 / 5, rel=1e-12, abs=0)
    assert moved["0.W1"].relative == 0.0


def test_a_step_changes_what_is_measured(em: EmTransformer, tasks: Started) -> None:
    model = balanced(em)
    before, reports = deepcopy(model), []
    error = errors(estimates(em, before, tasks)[-1], tasks)
    assert train(em, model, 1e-4, Budget(1, 2, 5), reports.append) is None
    assert reports == [1]
    for (name, old), (_, new) in zip(named_matrices(before), named_matrices(model), strict=True):
        # the first step of AdamW: the learning rate times the gradient's sign, and a decay of 1e-4 of it
        decayed = old.detach() * (1 - 1e-4 * 1e-4)
        expected = 0 if name.endswith((".1.Q", ".1.K")) or name == f"{2 * STEPS - 1}.W1" else 1e-4
        assert (new.detach() - decayed).abs().max().item() == pytest.approx(expected, rel=1e-3, abs=1e-12), name
    assert (errors(estimates(em, model, tasks)[-1], tasks) != error).all()
    assert agreement(tasks, estimates(em, model, tasks)).ratio > agreement(tasks, estimates(em, before, tasks)).ratio


def test_old_gradients_do_not_count(em: EmTransformer) -> None:
    models = [trainable(em.transformer, tied=True) for _ in range(2)]
    for matrix in models[1].parameters():
        matrix.grad = torch.ones_like(matrix)
    for model in models:
        train(em, model, 1e-6, Budget(1, 2, 5), lambda step: None)
    for first, second in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(first, second)


def test_divergence_is_reported(em: EmTransformer) -> None:
    model = trainable(em.transformer, tied=True)
    with torch.no_grad():
        dict(named_matrices(model))["0.W2"].fill_(torch.inf)
    assert train(em, model, 1e-4, Budget(3, 2, 5), lambda step: None) == 1


def test_shaken_moves_as_far_elsewhere(em: EmTransformer) -> None:
    before = trainable(em.transformer, tied=True)
    after = deepcopy(before)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for _, matrix in named_matrices(after):
            matrix.add_(torch.randn(matrix.shape, generator=generator, dtype=matrix.dtype))
    other = warm_start_command.shaken(before, after, Budget(1, 2, 0))
    for (name, old), (_, new), (_, moved) in zip(*map(named_matrices, (before, after, other)), strict=True):
        assert (moved - old).norm().item() == pytest.approx((new - old).norm().item(), rel=1e-8, abs=0), name
        assert not torch.equal(moved, new)


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    return in_process(lambda arguments: main(["warm_start", *arguments]), capfd)


def test_command_reproduces_itself(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_start_command, "SETTINGS", {name: (k, 6, 0.0) for name, k in (("K = 2", 2), ("K = 3", 3))})
    monkeypatch.setattr(warm_start_training, "BATCH", 3)
    for module in (warm_start_command, warm_start_training):
        monkeypatch.setattr(module, "EM_STEPS", 2)
    rates = ARMS["scratch, tied"].rates
    files = []
    for index in range(2):
        path = tmp_path / f"{index}.json"
        outcome = command("--steps", 2, "--tasks", 2, "--seed", 3, "--arms", "scratch, tied", "--out", path)
        assert outcome.code == 0, outcome.err
        files.append(path.read_bytes())
    assert files[0] == files[1]
    stored = json.loads(files[0], parse_constant=pytest.fail)
    ((name, arm),) = stored["arms"].items()
    assert (name, [each["rate"] for each in arm["runs"]]) == ("scratch, tied", list(rates))
    last = {each["rate"]: np.mean(list(each["history"][-1]["error"].values())) for each in arm["runs"]}
    assert arm["rate"] == min(last, key=last.__getitem__)
    assert [line["step"] for line in arm["runs"][0]["history"]] == [0, 1, 2]
    assert arm["runs"][0]["history"][0]["moved"] == 0 < arm["runs"][0]["history"][1]["moved"]
    first, construction = stored["references"]["EM"], stored["references"]["construction"]
    assert construction["tests"]["K = 3"]["error"] == pytest.approx(first["tests"]["K = 3"]["error"], rel=0.1, abs=0)
    assert construction["passes"]["K = 3"][0] == construction["tests"]["K = 3"]["error"][0]
    assert [len(values) for values in construction["agreement"]["K = 3"].values()] == [2] * 4
    rows = [stored["references"][method]["tests"]["K = 3"] for method in ("start", "EM", "EM converged")]
    levels = [row["log_likelihood"] for row in rows]
    assert levels == sorted(levels)
    assert rows[2]["next_step"] < 1e-6 < rows[1]["next_step"]
    assert all(each["relative"] in (None, 0) for each in construction["movement"].values())
    assert "K = 3 moved as far at random" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["--steps", "0"], ["--steps is 0", "between 1 and"]),
        (["--tasks", "1"], ["--tasks is 1", "between 2 and"]),
        (["--seed", "-1"], ["--seed is -1"]),
        (["--arms", "hot"], ["'hot'"]),
        (["--steps", "many"], ["'many'"]),
        (["--out", "/nowhere/at/all.json"], ["/nowhere/at"]),
        ([], ["--out"]),
    ],
)
def test_bad_input(command: Command, tmp_path: Path, arguments: list[str], fragments: list[str]) -> None:
    path = [] if "--out" in arguments or not arguments else ["--out", str(tmp_path / "out.json")]
    command(*arguments, *path).assert_refused(*fragments)
    assert not list(tmp_path.iterdir())
