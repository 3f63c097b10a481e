"""Several processes train the model that one process trains, and take up each other's checkpoints."""

from __future__ import annotations

import importlib
import json
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import in_process
from tgmm_runs import smoke
from torch import Tensor

from constructions.errors import InputError
from tgmm import checkpoints, workers
from tgmm import config as configs
from tgmm.__main__ import main
from tgmm.loss import Loss
from tgmm.model import Tgmm
from tgmm.training import METRICS, TRAINING, batch, begin, losses, train
from tgmm.workers import ALONE, LAUNCHED, Workers, join

ROUNDING = 200 * 2.0**-24
"""Of float32: what a loss or a gradient may differ by, relatively, when its sums (over at most 8 tasks, 17 samples, and
4·14 units) are made in another order, in the 3 layers that a number passes through."""

LAUNCHER = """
import json, os, signal, sys

import tgmm.estimate_command, tgmm.train_command
from tgmm import training
from tgmm.__main__ import main

print("loaded:", sorted({"accelerate", "transformers"} & sys.modules.keys()))
import accelerate, torch._dynamo  # once, before the processes part; AdamW needs the second

advance = training.Run.advance

def process(rank, port, stop, arguments):
    def killed(run):
        if run.step == stop and rank == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return advance(run)

    training.Run.advance = killed
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return main(arguments)

for port, stop, arguments in json.loads(sys.argv[1]):
    started = []
    sys.stdout.flush()
    for rank in range(2):
        started.append(os.fork())
        if started[-1] == 0:
            code = 1
            try:
                code = process(rank, port, stop, arguments)
            finally:
                sys.stdout.flush()
                os._exit(code)
    codes = {}
    while started:
        ended, status = os.wait()
        started.remove(ended)
        code = os.waitstatus_to_exitcode(status)
        codes[ended] = code
        if code == -signal.SIGKILL:  # a launcher then ends the others
            for other in started:
                os.kill(other, signal.SIGKILL)
    print("codes:", sorted(codes.values()), flush=True)
"""
"""Two processes as torchrun starts them, without the seconds that each takes to import torch."""


@dataclass(frozen=True)
class Launched:
    """What the launched runs left, and one of the same config by one process."""

    folder: Path
    out: str
    err: str


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Launched:
    """In `one` one process, in `two` two that are killed at step 13, in `taken` two that go on after one's step 12."""
    folder = tmp_path_factory.mktemp("workers")
    config = smoke(folder, batch=8)
    (folder / "one").mkdir()
    train(begin(configs.load(config), folder / "one"))
    (folder / "taken").mkdir()
    run = begin(configs.load(config), folder / "taken")
    while run.step < 12:
        run.advance()
    run.save()
    (folder / "odd").mkdir()
    jobs = [
        (free_port(), 13, ["train", "--config", str(config), "--out", str(folder / "two")]),
        (free_port(), 99, ["train", "--config", str(config), "--out", str(folder / "taken")]),
        (free_port(), 99, ["train", "--config", str(smoke(folder / "odd")), "--out", str(folder / "odd" / "run")]),
    ]
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHER, json.dumps(jobs)], capture_output=True, text=True, check=True
    )
    return Launched(folder, done.stdout, done.stderr)


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def lines(directory: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (directory / METRICS).read_text().splitlines()]


def assert_same_training(found: list[dict[str, float]], alone: list[dict[str, float]]) -> None:
    """Losses agree up to rounding and the drift that follows from it, gradients' norms before there is any.

    AdamW moves a number by at most about the rate, 1e-3, times 1 + ROUNDING; so after 30 steps the numbers are apart
    by 0.03·ROUNDING each, and the loss by ‖∇‖₁ ≤ √2931·‖∇‖₂ times that (2 931 parameters). A key's bias has no
    gradient but rounding, and moves at random; the softmax does not depend on it.
    """
    assert [line["step"] for line in found] == [line["step"] for line in alone]
    for one, other in zip(found, alone, strict=True):
        drift = 0.03 * ROUNDING * 2931**0.5 * other["gradient_norm"]
        for name in ("loss", "means_loss", "weights_loss"):
            assert one[name] == pytest.approx(other[name], rel=ROUNDING, abs=drift)
        if one["step"] == 3:
            assert one["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=ROUNDING, abs=0)


def test_two_processes_train_as_one_and_one_goes_on(launched: Launched) -> None:
    alone = lines(launched.folder / "one")
    two = launched.folder / "two"
    assert_same_training(lines(two), alone[:4])
    assert checkpoints.read(two / TRAINING, training=True).step == 12
    again = launched.folder / "again"
    shutil.copytree(two, again)
    train(begin(configs.load(launched.folder / "smoke.toml"), again))
    assert_same_training(lines(again), alone)
    assert (two / "config.toml").read_text() == configs.load(launched.folder / "smoke.toml").toml()


def test_two_processes_go_on_where_one_stopped(launched: Launched) -> None:
    assert_same_training(lines(launched.folder / "taken"), lines(launched.folder / "one")[4:])
    assert checkpoints.read(launched.folder / "taken" / TRAINING, training=True).step == 30


def test_one_process_speaks_and_writes(launched: Launched) -> None:
    """Every line is printed once; and neither extra is loaded before a launcher's variables are seen."""
    out = launched.out.splitlines()
    assert out[0] == "loaded: []"
    assert out.count("processes     2, on cpu") == 2  # in two of the three runs
    assert sum(line.startswith("run           steps 1 to 30") for line in out) == 1
    assert sum(line.startswith("run           steps 13 to 30") for line in out) == 1
    assert sum(line.startswith("step 12 of 30") for line in out) == 1
    assert sum(line.startswith("trained       30 steps") for line in out) == 1
    assert "codes: [0, 0]" in out
    assert not [path for path in launched.folder.rglob("*") if path.name.startswith(".")]


def test_a_batch_that_cannot_be_divided_is_refused_before_anything_is_written(launched: Launched) -> None:
    assert launched.out.splitlines()[-1] == "codes: [2, 2]"
    sentence = "error: batch is 7; it must be a multiple of the number of processes, 2"
    assert launched.err.count(sentence) == 2  # by both, as a launcher may end one before it has told
    assert not (launched.folder / "odd" / "run").exists()


def test_processes_that_are_not_connected_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would train a model of its own, in the same directory."""
    connected = SimpleNamespace(process_index=0, num_processes=1)
    module = SimpleNamespace(Accelerator=lambda **_: connected)
    monkeypatch.setattr(workers.extras, "require", lambda *_: module)
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="2 processes were launched and 1 are connected: they train apart"):
        join()
    connected.num_processes = 2
    assert join().count == 2


def process(index: int, messages: list[Tensor]) -> Workers:
    """One of two processes: it leaves its message, and gets the sum of both once both have left theirs."""

    def reduce(message: Tensor, how: str) -> Tensor:
        assert how == "sum"
        if len(messages) < 2:
            messages.append(message.clone())
            return message
        return messages[0] + messages[1]

    return Workers(SimpleNamespace(process_index=index, num_processes=2, device="cpu", reduce=reduce))


def test_gradients_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    """In a step in which K = 5 has no task, and K = 3 has tasks in one part only."""
    config = configs.load(smoke(tmp_path, batch=4, components=[2, 3, 5]))
    step = next(
        step
        for step in range(1000)
        if set(batch(config, step).components) == {2, 3} and 3 not in batch(config, step).components[2:]
    )

    def gradients(worker: Workers) -> tuple[Tgmm, Loss]:
        model = begin(config, tmp_path).model
        parts = losses(model, worker.share(batch(config, step)), config)
        (parts.total.sum() / 4).backward()
        return model, worker.add(model, parts)

    messages: list[Tensor] = []
    for index in range(2):
        gradients(process(index, messages))
    alone, parts = gradients(ALONE)
    assert not alone.read_outs[2].query.grad.any()
    largest = max(p.grad.abs().max().item() for p in alone.parameters())
    for index in range(2):
        model, summed = gradients(process(index, messages))
        assert summed.means.item() == pytest.approx(parts.means.item(), rel=ROUNDING, abs=0)
        assert summed.weights.item() == pytest.approx(parts.weights.item(), rel=ROUNDING, abs=0)
        assert summed.scales.item() == 0.0
        for (name, one), other in zip(alone.named_parameters(), model.parameters(), strict=True):
            assert (other.grad - one.grad).abs().max().item() <= ROUNDING * largest, name


def test_a_run_with_steps_without_some_k_resumes_to_the_same_numbers(tmp_path: Path) -> None:
    """Two tasks never have three K. A checkpoint knows one number of steps: all parameters make them."""
    config = configs.load(smoke(tmp_path, batch=2, components=[2, 3, 5]))
    run = begin(config, tmp_path)
    run.advance()
    run.save()
    assert [begin(config, tmp_path).advance()] == [run.advance()]
    assert {float(state["step"]) for state in run.optimiser.state.values()} == {2.0}


def test_the_shares_are_the_batch(tmp_path: Path) -> None:
    tasks = batch(configs.load(smoke(tmp_path, batch=8)), 0)
    parts = [process(index, []).share(tasks) for index in range(2)]
    assert np.array_equal(np.concatenate([part.samples for part in parts]), tasks.samples)
    assert [len(part) for part in parts] == [4, 4]
    assert np.array_equal(ALONE.share(tasks).samples, tasks.samples)
    with pytest.raises(InputError, match="batch is 7; it must be a multiple of the number of processes, 2"):
        process(0, []).share(tasks[:7])


@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")
def test_a_resumed_optimiser_is_on_the_device_of_its_process(launched: Launched) -> None:
    """The device without memory stands for a GPU."""
    gpu = Workers(SimpleNamespace(process_index=0, num_processes=1, device="meta"))
    run = begin(configs.load(launched.folder / "smoke.toml"), launched.folder / "one", gpu)
    assert run.step == 30
    for parameter in run.model.parameters():
        state = run.optimiser.state[parameter]
        assert parameter.device.type == state["exp_avg"].device.type == state["exp_avg_sq"].device.type == "meta"


def test_the_launcher_of_one_process_is_noticed() -> None:
    launch = importlib.import_module("accelerate.commands.launch")
    told = "--cpu --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no -m tgmm train"
    arguments = launch.launch_command_parser().parse_args(told.split())
    _, environment = launch.prepare_simple_launcher_cmd_env(arguments)
    assert LAUNCHED & environment.keys()


def test_without_accelerate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """One sentence where processes are launched; one process alone does not need it."""
    monkeypatch.setitem(sys.modules, "accelerate", None)
    arguments = "train", "--config", smoke(tmp_path, steps=6), "--out", tmp_path / "run"
    monkeypatch.setenv("LOCAL_RANK", "0")
    command = in_process(main, capfd)
    command(*arguments).assert_refused("training by several processes needs accelerate, which is not installed; pip")
    assert not (tmp_path / "run").exists()
    monkeypatch.delenv("LOCAL_RANK")
    assert command(*arguments).code == 0
