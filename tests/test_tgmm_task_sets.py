"""Frozen task sets come back bit for bit; other files, and distributions beyond the limits, are refused."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from constructions.errors import InputError
from tgmm.config import Config, TrainingConfig
from tgmm.tasks import TaskDistribution, Tasks, TaskSet, draw, held_out, read
from tgmm.training import batch

CHANGED = TaskDistribution(
    dim=3,
    components=(2, 5, 7),
    samples=(11, 29),
    mean_range=4.0,
    max_cosine=0.7,
    weights=(0.1, 0.9),
    anisotropic=True,
    perturbation=0.1,
    separation=0.7,
)


def arrays(tasks: Tasks) -> Iterable[np.ndarray]:
    truth = tasks.truth
    return tasks.samples, tasks.mask, tasks.labels, tasks.components, truth.weights, truth.means, truth.scales


def same(first: Tasks, second: Tasks) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(arrays(first), arrays(second), strict=True))


def test_the_generator_determines_the_tasks():
    first, again = (TaskSet.drawn(CHANGED, 17, 23) for _ in range(2))
    assert same(first.tasks, again.tasks)
    assert same(first.tasks, draw(CHANGED, 17, held_out(23)))
    assert not same(first.tasks, TaskSet.drawn(CHANGED, 17, 24).tasks)


def test_no_test_set_has_the_tasks_of_a_training_step():
    config = Config(TaskDistribution(components=(3,), samples=(31, 31)), training=TrainingConfig(seed=5))
    steps = [batch(config, step) for step in range(3)]
    tested = TaskSet.drawn(config.tasks, 101, 5).tasks.truth.means
    assert not any(np.isin(step.truth.means, tested).any() for step in steps)
    # the control: a generator of the bare seed is that of step 0, since numpy pads a seed with zeros
    bare = draw(config.tasks, 101, np.random.default_rng(5)).truth.means
    assert np.isin(steps[0].truth.means, bare).any()


@pytest.fixture
def frozen(tmp_path: Path) -> tuple[Path, TaskSet]:
    path, drawn = tmp_path / "tasks.safetensors", TaskSet.drawn(CHANGED, 13, 29)
    path.write_bytes(drawn.serialise())
    return path, drawn


def test_a_frozen_set_comes_back_bit_for_bit(frozen):
    path, drawn = frozen
    found = read(path)
    assert all(asdict(CHANGED)[field.name] != field.default for field in fields(TaskDistribution))
    assert found.distribution == CHANGED
    assert (found.seed, len(found.tasks)) == (29, 13)
    assert same(found.tasks, drawn.tasks)
    assert found.serialise() == drawn.serialise() == path.read_bytes()
    assert same(TaskSet.drawn(found.distribution, 13, found.seed).tasks, drawn.tasks)


def rewritten(path: Path, drop: str = "", entry: object = None, **changed: np.ndarray) -> None:
    """The file with an array dropped or changed, or with another description."""
    with safetensors.safe_open(path, "numpy") as file:
        described = file.metadata()["tgmm"] if entry is None else json.dumps(entry)
        held = {name: file.get_tensor(name) for name in file.keys() if name != drop}  # noqa: SIM118
    path.write_bytes(safetensors.numpy.save(held | changed, {"tgmm": described}))


def assert_refused(path: Path, *fragments: str) -> None:
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message
    for fragment in (repr(str(path)), *fragments):
        assert fragment in message


def test_a_file_that_is_not_there(tmp_path):
    assert_refused(tmp_path / "none", "there is no file")
    assert_refused(tmp_path, "there is no file")


@pytest.mark.parametrize("kept", [0, 7, 8, 101, -1])
def test_a_file_cut_short(frozen, kept):
    path, _ = frozen
    path.write_bytes(path.read_bytes()[:kept])
    assert_refused(path, "is not a task set")


def test_files_of_others(frozen):
    path, _ = frozen
    path.write_text("x,y\n1,2\n" * 17)
    assert_refused(path, "is not a task set")
    path.write_bytes(safetensors.numpy.save({"samples": np.ones((2, 3))}))
    assert_refused(path, "its format is None; 'tgmm tasks 1' is needed")


NAMES = ("samples", "mask", "labels", "components", "weights", "means", "scales")


@pytest.mark.parametrize("name", NAMES)
def test_an_array_missing_or_of_another_shape_or_kind(frozen, name):
    path, drawn = frozen
    own = dict(zip(NAMES, arrays(drawn.tasks), strict=True))[name]
    rewritten(path, **{name: np.stack([own, own], axis=-1)})
    assert_refused(path, f"{name} is {own.dtype} of shape", "is needed")
    rewritten(path, **{name: own.astype(np.uint8)})
    assert_refused(path, f"{name} is uint8 of shape", "is needed")
    rewritten(path, drop=name)
    assert_refused(path, "is not a task set", name)


@pytest.mark.parametrize(
    ("name", "where", "value", "fragment"),
    [
        ("components", (12,), 3, "a task's K is none of the distribution's"),
        ("mask", (12, slice(10, None)), False, "a task has fewer samples than the distribution says"),
        ("mask", (12, 0), False, "a task's samples are not its first"),
        ("labels", (12, 0), -1, "a sample's label is none of its task's components"),
        ("labels", (12, 0), 7, "a sample's label is none of its task's components"),
        ("samples", (12, 0, 2), np.nan, "it holds numbers that are not finite"),
        ("means", (12, 0, 2), np.inf, "it holds numbers that are not finite"),
        ("weights", (12, 0), 0.0, "a weight is not positive, or beyond its task's K"),
        ("scales", (12, 0, 2), 0.0, "a scale is not positive"),
    ],
)
def test_numbers_that_no_task_has(frozen, name, where, value, fragment):
    path, drawn = frozen
    array = dict(zip(NAMES, arrays(drawn.tasks), strict=True))[name].copy()
    array[where] = value
    rewritten(path, **{name: array})
    assert_refused(path, f"is not a task set: {fragment}")


def test_a_set_of_no_task(frozen):
    path, drawn = frozen
    rewritten(path, **{name: array[:0] for name, array in zip(NAMES, arrays(drawn.tasks), strict=True)})
    assert_refused(path, "is not a task set: it holds no task")


def test_weights_and_labels_end_with_the_components_of_their_task(frozen):
    path, drawn = frozen
    fewest = int(drawn.tasks.components.argmin())
    beyond = int(drawn.tasks.components[fewest])
    assert beyond < 7
    weights, labels = drawn.tasks.truth.weights.copy(), drawn.tasks.labels.copy()
    weights[fewest, beyond], labels[fewest, 0] = 0.1, beyond
    rewritten(path, weights=weights)
    assert_refused(path, "beyond its task's K")
    path.write_bytes(drawn.serialise())
    rewritten(path, labels=labels)
    assert_refused(path, "a sample's label is none of its task's components")
    labels = drawn.tasks.labels.copy()
    labels[tuple(np.argwhere(~drawn.tasks.mask)[0])] = 0  # of a sample that is not there
    rewritten(path, labels=labels)
    assert_refused(path, "a sample's label is none of its task's components")


GOOD = {"format": "tgmm tasks 1", "seed": 29, "distribution": asdict(CHANGED)}


@pytest.mark.parametrize(
    ("entry", "fragment"),
    [
        ([1], "is not a task set"),
        (GOOD | {"format": "tgmm tasks 2"}, "its format is 'tgmm tasks 2'"),
        ({"format": "tgmm tasks 1", "distribution": asdict(CHANGED)}, "seed"),
        (GOOD | {"distribution": [1]}, "is not a task set"),
        (GOOD | {"distribution": asdict(CHANGED) | {"dims": 3}}, "dims"),
        (GOOD | {"distribution": asdict(CHANGED) | {"dim": "three"}}, "is not a task set"),
        (GOOD | {"distribution": asdict(CHANGED) | {"dim": 0}}, "dim is 0; it must be between 1 and 4096"),
        (GOOD | {"distribution": asdict(CHANGED) | {"dim": 5}}, "samples is float64 of shape (13, 29, 3)"),
        (GOOD | {"distribution": asdict(CHANGED) | {"weights": [0.5]}}, "is not a task set"),
    ],
)
def test_descriptions_that_do_not_fit(frozen, entry, fragment):
    path, _ = frozen
    rewritten(path, entry=GOOD)
    assert read(path).distribution == CHANGED
    rewritten(path, entry=entry)
    assert_refused(path, fragment)


@pytest.mark.parametrize(
    ("changed", "limit"),
    [
        ({"dim": 0}, "dim is 0; it must be between 1 and 4096"),
        ({"dim": 4097}, "between 1 and 4096"),
        ({"components": ()}, "components is ()"),
        ({"components": (2, 0)}, "numbers between 1 and 64"),
        ({"components": (65, 2)}, "numbers between 1 and 64"),
        ({"components": (3, 2, 3)}, "numbers that differ"),
        ({"samples": (0, 5)}, "samples is (0, 5)"),
        ({"samples": (7, 5)}, "1 <= least <= most <= 1048576"),
        ({"samples": (7, 2**20 + 1)}, "1 <= least <= most <= 1048576"),
        ({"mean_range": 9e-7}, "mean_range is 9e-07; it must be between 1e-6 and 1e6"),
        ({"mean_range": 1.1e6}, "between 1e-6 and 1e6"),
        ({"mean_range": float("nan")}, "mean_range is nan"),
        ({"max_cosine": -1.01}, "max_cosine is -1.01; it must be between -1 and 1"),
        ({"max_cosine": 1.01}, "between -1 and 1"),
        ({"weights": (0.0, 0.5)}, "weights is (0.0, 0.5); it must be 0 < least <= most <= 1"),
        ({"weights": (0.6, 0.5)}, "0 < least <= most <= 1"),
        ({"weights": (0.6, 1.1)}, "0 < least <= most <= 1"),
        ({"perturbation": -0.1}, "perturbation is -0.1; it must be between 0 and 1e6"),
        ({"perturbation": 1.1e6}, "between 0 and 1e6"),
        ({"separation": -0.1}, "separation is -0.1; it must be between 0 and 1e6"),
        ({"separation": float("inf")}, "between 0 and 1e6"),
    ],
)
def test_limits(changed, limit):
    with pytest.raises(InputError) as caught:
        TaskDistribution(**changed)
    assert limit in str(caught.value)


@pytest.mark.parametrize(
    "changed",
    [
        {"dim": 1, "components": (1,), "samples": (1, 1), "weights": (1.0, 1.0), "mean_range": 1e-6, "max_cosine": -1},
        {"dim": 4096, "components": (64,), "samples": (2**20, 2**20), "mean_range": 1e6, "max_cosine": 1},
        {"perturbation": 1e6, "separation": 1e6},
    ],
)
def test_limits_are_allowed_themselves(changed):
    assert TaskDistribution(**changed)
