"""What the benchmarks do alike: a case in a process of its own, and the least time of interleaved rounds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

Step = Callable[[], object]


def run_case(file: str, case: Any, threads: int) -> dict[str, float]:
    """What `python FILE --case CASE` prints as JSON, with so many threads; its memory peak is its own."""
    command = [sys.executable, file, "--case", json.dumps(case)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    return dict(json.loads(output))


def least(steps: dict[str, Step], rounds: int, seconds: float) -> dict[str, float]:
    """The shortest time of each, over rounds in which they take turns; 3 rounds or more, no new one after `seconds`."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    began = time.perf_counter()
    for done in range(rounds):
        if done >= 3 and time.perf_counter() - began > seconds:
            break
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    return {name: min(taken) for name, taken in times.items()}
