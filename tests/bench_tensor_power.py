"""`make bench`: one iteration v ← T(I,v,v) of the transformer (d_0 = d), evaluated literally, against numpy's einsum.

float64, one thread, d = 8, 16, 32, 64; each cell in a process of its own, so that its memory peak is its own. Prints
seconds, ratios within the run, growth exponents and memory; then the exact evaluation at d = 7, L = 3.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from math import log

import numpy as np
import torch

DIMS = (8, 16, 32, 64)
METHODS = ("transformer", "einsum")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell", nargs=2, metavar=("METHOD", "d"), help="measure one cell and print it as JSON")
    parser.add_argument("--largest", type=int, default=DIMS[-1], metavar="d", help="leave out larger d")
    options = parser.parse_args()
    if options.cell:
        print(json.dumps(measure(options.cell[0], int(options.cell[1]))))
        return 0
    print(f"one iteration, d0 = d, float64, one thread (python {sys.version.split()[0]}, torch {torch.__version__})")
    head = f"{'d':>4s}  {'method':12s} {'seconds':>10s} {'x einsum':>10s} {'growth in d':>11s} {'build s':>8s}"
    print(f"{head} {'peak MiB':>9s}")
    before: dict[str, tuple[int, float]] = {}
    for dim in [d for d in DIMS if d <= options.largest]:
        cells = {method: cell(method, dim) for method in METHODS}
        for method, found in cells.items():
            growth = "-"
            if method in before:
                smaller, seconds = before[method]
                growth = f"{log(found['seconds'] / seconds) / log(dim / smaller):.2f}"
            before[method] = (dim, found["seconds"])
            ratio = found["seconds"] / cells["einsum"]["seconds"]
            print(
                f"{dim:4d}  {method:12s} {found['seconds']:10.3g} {ratio:10.3g} "
                f"{growth:>11s} {found['build']:8.2f} {found['peak']:9.0f}",
                flush=True,
            )
    print(f"\nexact evaluation in rationals, d = 7, d0 = 8, L = 3: {cell('exact', 7)['seconds']:.2f} s")
    return 0


def cell(method: str, dim: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--cell", method, str(dim)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def measure(method: str, dim: int) -> dict[str, float]:
    torch.set_num_threads(1)
    import constructions.tensor_power_exact  # noqa: F401 - so that `build` does not count imports
    from constructions.tensors import random_start, random_tensor

    rng = np.random.default_rng(0)
    tensor, start = random_tensor(dim, rng), random_start(dim, rng)
    began = time.perf_counter()
    step = {"transformer": _transformer, "einsum": _einsum, "exact": _exact}[method](tensor, start)
    build = time.perf_counter() - began
    seconds = best_of(step, 5)
    return {
        "seconds": seconds,
        "build": build,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def best_of(step: Callable[[], object], rounds: int) -> float:
    """The fastest of `rounds`, each long enough for the clock; a single round where one is long."""
    began = time.perf_counter()
    step()
    once = time.perf_counter() - began
    if once > 5:
        return once
    repeats = max(1, int(0.02 / max(once, 1e-7)))
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(repeats):
            step()
        times.append((time.perf_counter() - began) / repeats)
    return min(times)


def _transformer(tensor: np.ndarray, start: np.ndarray) -> Callable[[], object]:
    from constructions.tensor_power_transformer import build, encode

    model = build(len(tensor), 1)
    tokens = torch.tensor(encode(model, tensor, start))
    return lambda: model.transformer(tokens)


def _einsum(tensor: np.ndarray, start: np.ndarray) -> Callable[[], object]:
    return lambda: np.einsum("ajm,j,m->a", tensor, start, start, optimize=True)


def _exact(tensor: np.ndarray, start: np.ndarray) -> Callable[[], object]:
    from constructions.number_system import Rationals
    from constructions.tensor_power_exact import compare_layers
    from constructions.tensor_power_transformer import build
    from constructions.tensors import as_rationals

    model = build(8, 3)
    exact = [np.vectorize(Rationals().number, otypes=[object])(as_rationals(array)) for array in (tensor, start)]

    def evaluate() -> None:
        assert all(report.equal for report in compare_layers(model, exact[0], exact[1]))

    return evaluate


if __name__ == "__main__":
    raise SystemExit(main())
