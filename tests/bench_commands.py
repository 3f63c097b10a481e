"""`make bench`, fourth part: processor time of every command's --help, and of the demos beside what they do.

A demo's own overhead is the processor time of a process that runs its smallest task, less that of a process that only
imports the libraries it computes with: arguments, our modules, weights, verdicts and texts. Each time is the least of
several processes, on one thread.
"""

from __future__ import annotations

import resource
import subprocess
import sys

from commands import COMMANDS

ROUNDS = 3
HELP_LIMIT, DEMO_LIMIT = 0.7, 1.5
DEMOS = {
    "em_transformer --layers 2 --data synthetic --dim 1 --components 1 --samples 2": "torch, sklearn.cluster",
    "tensor_power_transformer --layers 2 --dim 1": "torch",
    "spectral_transformer --data synthetic --dim 1 --components 1 --restarts 1 --iterations 1": "torch, scipy.optimize",
}
"""The smallest task of each, and the libraries that it computes with."""


def main() -> int:
    print(f"processor seconds of `python -m COMMAND --help`, at most {HELP_LIMIT}")
    for command in COMMANDS:
        print(f"{' '.join(command):43s} {spent('-m', *command, '--help'):6.2f}", flush=True)
    print()
    print(f"processor seconds of a demo on its smallest task: own at most {DEMO_LIMIT}")
    print(f"{'':43s} {'whole':>6s}  libraries alone  own")
    for demo, libraries in DEMOS.items():
        whole, alone = spent("-m", *f"constructions.{demo}".split()), spent("-c", f"import {libraries}")
        print(f"{demo.split()[0]:43s} {whole:6.2f} {alone:16.2f} {whole - alone:4.2f}", flush=True)
    return 0


def spent(*arguments: str) -> float:
    """The least processor time, user's and system's, of ROUNDS processes of Python."""
    times = []
    for _ in range(ROUNDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


if __name__ == "__main__":
    raise SystemExit(main())
