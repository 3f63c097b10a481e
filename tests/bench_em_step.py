"""`make bench`: one EM step of the transformer, evaluated literally, against plain EM and scikit-learn.

d = K = 8, float64, N = 1 000, 10 000, 100 000; each cell in a process of its own, so that its memory peak is its
own; one thread. Prints seconds a step, ratios within the run, growth exponents and memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from math import log

import numpy as np
import torch

DIM = COMPONENTS = 8
COUNTS = (1_000, 10_000, 100_000)
METHODS = ("transformer", "plain EM", "scikit-learn")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell", nargs=2, metavar=("METHOD", "N"), help="measure one cell and print it as JSON")
    parser.add_argument("--largest", type=int, default=COUNTS[-1], metavar="N", help="leave out larger N")
    options = parser.parse_args()
    if options.cell:
        print(json.dumps(measure(options.cell[0], int(options.cell[1]))))
        return 0
    print(
        f"one EM step, d = K = {DIM}, float64, one thread (python {sys.version.split()[0]}, torch {torch.__version__})"
    )
    print(f"{'N':>8s}  {'method':14s} {'seconds/step':>12s} {'x plain EM':>11s} {'growth in N':>11s} {'peak MiB':>9s}")
    before: dict[str, tuple[int, float]] = {}
    for count in [n for n in COUNTS if n <= options.largest]:
        cells = {method: cell(method, count) for method in METHODS}
        for method, found in cells.items():
            ratio = found["seconds"] / cells["plain EM"]["seconds"]
            growth = "-"
            if method in before:
                smaller, seconds = before[method]
                growth = f"{log(found['seconds'] / seconds) / log(count / smaller):.2f}"
            before[method] = (count, found["seconds"])
            print(
                f"{count:8d}  {method:14s} {found['seconds']:12.3g} {ratio:11.3g} {growth:>11s} {found['peak']:9.0f}",
                flush=True,
            )
    return 0


def cell(method: str, count: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--cell", method, str(count)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def measure(method: str, count: int) -> dict[str, float]:
    torch.set_num_threads(1)
    from constructions.algorithms.sampling import Mixture, random_mixture, sample

    rng = np.random.default_rng(0)
    mixture = random_mixture(DIM, COMPONENTS, 3.0, rng)
    x, _ = sample(mixture, count, rng)
    start = Mixture(np.full(COMPONENTS, 1 / COMPONENTS), mixture.means + 0.3 * rng.standard_normal((COMPONENTS, DIM)))
    prepare = {"transformer": _transformer, "plain EM": _plain, "scikit-learn": _sklearn}[method]
    seconds = prepare(x, start)
    return {"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def best_of(step: Callable[[], object], rounds: int) -> float:
    """The fastest of `rounds`; a single round where one is long."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
        if sum(times) > 20:
            break
    return min(times)


def _transformer(x: np.ndarray, start: object) -> float:
    from constructions.em_class import TaskClass, split_tolerance
    from constructions.em_transformer import build, encode

    task_class = TaskClass(DIM, COMPONENTS, 12.0, 0.01)
    em = build(task_class, split_tolerance(task_class, 0.1, "floor"), 1)
    tokens = torch.tensor(encode(em, x, start))  # type: ignore[arg-type]
    return best_of(lambda: em.transformer(tokens), 5)


def _plain(x: np.ndarray, start: object) -> float:
    from constructions.algorithms.em import em_step

    return best_of(lambda: em_step(x, start.weights, start.means), 20)  # type: ignore[attr-defined]


def _sklearn(x: np.ndarray, start: object) -> float:
    from sklearn.mixture import GaussianMixture

    def fit(iterations: int) -> object:
        model = GaussianMixture(
            COMPONENTS,
            covariance_type="spherical",
            tol=0.0,
            max_iter=iterations,
            init_params="random_from_data",
            weights_init=start.weights,  # type: ignore[attr-defined]
            means_init=start.means,  # type: ignore[attr-defined]
            precisions_init=np.ones(COMPONENTS),
            random_state=0,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it does not converge in so few iterations, and need not
            return model.fit(x)

    return (best_of(lambda: fit(11), 5) - best_of(lambda: fit(1), 5)) / 10


if __name__ == "__main__":
    raise SystemExit(main())
