"""`make bench`, second half: one iteration v ← T(I,v,v) of the transformer (d_0 = d), as planned, against einsum.

float64; both take turns in one process. Planning is apart. One thread, then two; dense execution for d ≤ 32.
"""

from __future__ import annotations

import argparse
import json
import resource
import time

import numpy as np
import torch
from benching import Step, least, run_case

DIMS = (8, 16, 32, 64)
LARGEST_DENSE = 32


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", type=int, metavar="d", help="measure one d and print the result as JSON")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="T", help="default: 1 2")
    parser.add_argument("--largest", type=int, default=DIMS[-1], metavar="d", help="leave out larger d")
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(options.case)))
        return 0
    for threads in options.threads:
        title = f"one power iteration, d0 = d, float64, {threads} thread"
        print("\n" + title + "s" * (threads > 1) + f" (torch {torch.__version__})")
        print("   d  transformer s   einsum s  ratio  dense s  plan s  peak MiB")
        for dim in [d for d in DIMS if d <= options.largest]:
            found = run_case(__file__, dim, threads)
            ours, einsum = found["transformer"], found["einsum"]
            dense = f"{found['dense']:.3g}" if "dense" in found else "-"
            print(
                f"{dim:4d}  {ours:13.3g}  {einsum:9.3g}  {ours / einsum:5.2f}  {dense:>7s}  {found['plan']:6.2f}  "
                f"{found['peak']:8.0f}",
                flush=True,
            )
    print(f"\nexact evaluation in rationals, d = 7, d0 = 8, L = 3: {exact():.2f} s")
    return 0


def measure(dim: int) -> dict[str, float]:
    """Seconds an iteration of each method, the least of interleaved rounds; seconds of planning; MiB at the peak."""
    from constructions import executor
    from constructions.execution_plan import plan
    from constructions.tensor_power_transformer import build, encode, with_steps
    from constructions.tensors import orthogonal_tensor, random_start

    rng = np.random.default_rng(0)
    tensor, start = orthogonal_tensor(dim, rng), random_start(dim, rng)
    model = with_steps(build(dim, 1), 5_000)
    tokens = torch.from_numpy(encode(model, tensor, start))
    began = time.perf_counter()
    made = plan(model.transformer, tokens)
    found = {"plan": time.perf_counter() - began}
    streams = executor.trace(made, tokens)
    for _ in range(4):
        next(streams)
    steps: dict[str, Step] = {
        "transformer": lambda: (next(streams), next(streams)),
        "einsum": lambda: np.einsum("ajm,j,m->a", tensor, start, start, optimize=True),
    }
    if dim <= LARGEST_DENSE:
        literal = model.transformer.trace(tokens)
        steps["dense"] = lambda: (next(literal), next(literal))
    found |= least(steps, 400, 4.0)
    found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def exact() -> float:
    """Three iterations in rational arithmetic, every layer compared with the proof."""
    from constructions.number_system import Rationals
    from constructions.tensor_power_exact import compare_layers
    from constructions.tensor_power_transformer import build
    from constructions.tensors import as_rationals, random_start, random_tensor

    rng = np.random.default_rng(0)
    numbers, model = Rationals(), build(8, 3)
    tensor, start = (
        np.vectorize(numbers.number, otypes=[object])(as_rationals(array))
        for array in (random_tensor(7, rng), random_start(7, rng))
    )
    began = time.perf_counter()
    assert all(report.equal for report in compare_layers(model, tensor, start))
    return time.perf_counter() - began


if __name__ == "__main__":
    raise SystemExit(main())
