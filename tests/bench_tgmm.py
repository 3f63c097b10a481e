"""`make bench`, third part: a training step of each backbone, 1280 estimates against EM's, the time of `estimate`.

Each case in a process of its own, on one thread; all tasks with d = 2, n at most 128.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from benching import Step, least, run_case

TASKS, COMPONENTS = 1280, 5
MODELS = {
    "encoder 4x64": {},
    "encoder 6x64": {"layers": 6},
    "encoder 4x128": {"width": 128},
    "gpt2 4x64": {"backbone": "gpt2", "positions": 128},
    "mamba2 4x64": {"backbone": "mamba2", "groups": 1, "state": 8},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", help="measure one case, given as JSON, and print the result as JSON")
    options = parser.parse_args()
    if options.case:
        name = json.loads(options.case)
        print(json.dumps(training(name) if name in MODELS else estimation()))
        return 0
    print("a training step: 64 tasks, forward, backward, AdamW   parameters  seconds")
    for name in MODELS:
        found = run_case(__file__, name, 1)
        print(f"{name:51s} {found['parameters']:11.0f} {found['seconds']:8.3f}", flush=True)
    print(f"{TASKS} estimates, K = {COMPONENTS}, n = 128                        seconds")
    for name, seconds in run_case(__file__, "estimation", 1).items():
        print(f"{name:51s} {seconds:20.3f}")
    print(f"{'`python -m tgmm estimate`, import included':51s} {command():20.3f}")
    return 0


def command() -> float:
    """The least of five times of the command with the shipped model."""
    import subprocess
    import sys
    import tempfile
    from time import perf_counter

    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        np.savetxt(file.name, np.random.default_rng(0).standard_normal((128, 2)), delimiter=",")
        given = [sys.executable, "-m", "tgmm", "estimate", "--data", file.name, "--components", "2"]
        times = []
        for _ in range(5):
            began = perf_counter()
            subprocess.run(given, check=True, capture_output=True)
            times.append(perf_counter() - began)
    return min(times)


def training(name: str) -> dict[str, float]:
    """A step's least time, and the model's size."""
    import tempfile
    from pathlib import Path

    import torch

    from tgmm import config as configs
    from tgmm.model import parameters
    from tgmm.training import begin

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        run = begin(configs.parse({"model": MODELS[name]}), Path(directory))
    found = least({"seconds": run.advance}, 8, 20)
    return found | {"parameters": parameters(run.model)}


def estimation() -> dict[str, float]:
    """The shipped model, one EM step, and EM to convergence."""
    import torch

    from constructions.algorithms.em import em_step
    from tgmm import checkpoints
    from tgmm.baselines import METHODS
    from tgmm.estimation import estimate
    from tgmm.names import SHIPPED
    from tgmm.tasks import TaskDistribution, draw

    torch.set_num_threads(1)
    tasks = draw(TaskDistribution(components=(COMPONENTS,), samples=(128, 128)), TASKS, np.random.default_rng(0))
    model = checkpoints.read(SHIPPED / "d2.safetensors").model()
    start = np.full((TASKS, COMPONENTS), 1 / COMPONENTS), tasks.samples[:, :COMPONENTS]
    steps: dict[str, Step] = {
        "shipped model": lambda: estimate(model, tasks.samples, COMPONENTS),
        "one EM step": lambda: em_step(tasks.samples, *start),
        "em-kmeans++": lambda: METHODS["em-kmeans++"](tasks.samples, COMPONENTS, np.random.default_rng(0)),
    }
    return least(steps, 3, 60)


if __name__ == "__main__":
    raise SystemExit(main())
