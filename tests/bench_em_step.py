"""`make bench`, first half: one EM step of the transformer, executed as planned, against EM and scikit-learn.

float64; all methods of a comparison take turns in one process, so that the ratios are of one run; a process of its own
for each N, so that its memory peak is its own. Planning is apart. One thread, then two.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from math import log

import numpy as np
import torch
from benching import Step, least, run_case

DIM = COMPONENTS = 8
COUNTS = (10_000, 100_000, 1_000_000)
LITERAL = 4_096
SETS, SMALL = 1_000, 128


@dataclass(frozen=True)
class Case:
    """What is measured together: the transformer's step and those of `methods`, on N samples in R^d, K components.

    With several `sets` the transformer runs on as many data sets in one call.
    """

    count: int
    dim: int = DIM
    components: int = COMPONENTS
    tolerance: float = 0.1
    sets: int = 1
    methods: tuple[str, ...] = ("torch EM", "scikit-learn")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", help="measure one case, given as JSON, and print the result as JSON")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="T", help="default: 1 2")
    parser.add_argument("--largest", type=int, default=COUNTS[-1], metavar="N", help="leave out larger N")
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(Case(**json.loads(options.case)))))
        return 0
    for threads in options.threads:
        counts = [n for n in COUNTS if n <= options.largest]
        title = f"one EM step, d = K = {DIM}, float64, {threads} thread"
        print(title + "s" * (threads > 1) + f" (torch {torch.__version__}); peak is of the transformer's process")
        print("        N  transformer s  torch EM s  ratio  scikit-learn s  ratio  growth in N  plan s  peak MiB")
        before: tuple[int, float] | None = None
        for count in counts:
            found = run_case(__file__, asdict(Case(count)), threads)
            ours, plain, sklearn = (found[name] for name in ("transformer", "torch EM", "scikit-learn"))
            growth = f"{log(ours / before[1]) / log(count / before[0]):.2f}" if before else "-"
            before = count, ours
            print(
                f"{count:9d}  {ours:13.3g}  {plain:10.3g}  {ours / plain:5.2f}  {sklearn:14.3g}  "
                f"{ours / sklearn:5.2f}  {growth:>11s}  {found['plan']:6.2f}  {found['peak']:8.0f}",
                flush=True,
            )
    growths(options.threads[0], min(COUNTS[1], options.largest))
    found = run_case(__file__, asdict(Case(LITERAL, methods=("dense",))), options.threads[0])
    ours, dense = found["transformer"], found["dense"]
    print(f"\ndense execution against structured, N = {LITERAL}: {dense:.3g} s / {ours:.3g} s = {dense / ours:.0f}")
    found = run_case(__file__, asdict(Case(SMALL, sets=SETS, methods=())), options.threads[0])
    each = found["transformer"] / SETS
    print(f"{SETS} data sets of {SMALL} samples in one call: {each * 1e6:.0f} microseconds a step each")
    return 0


def growths(threads: int, count: int) -> None:
    """How the step grows with K, d and the number of ReLU units, beside torch EM."""
    print(f"\ngrowth at N = {count}, {threads} thread{'s' * (threads > 1)}")
    print("  case                       transformer s  torch EM s")
    cases = {f"d = {DIM}, K = {k}": Case(count, components=k, methods=("torch EM",)) for k in (4, 16, 64)}
    cases |= {f"d = {d}, K = {COMPONENTS}": Case(count, dim=d, methods=("torch EM",)) for d in (4, 16, 64)}
    cases |= {f"tolerance {e:g}": Case(count, tolerance=e, methods=("torch EM",)) for e in (1.0, 0.1, 0.001)}
    for name, case in cases.items():
        found = run_case(__file__, asdict(case), threads)
        units = f" ({found['units']:.0f} units)" if name.startswith("tolerance") else ""
        print(f"  {name + units:27s}{found['transformer']:13.3g}  {found['torch EM']:10.3g}", flush=True)


def measure(case: Case) -> dict[str, float]:
    """Seconds a step of each method, the least of interleaved rounds; seconds of planning; MiB at the peak."""
    from constructions import executor
    from constructions.algorithms.sampling import Mixture, random_mixture, sample
    from constructions.em_class import TaskClass, split_tolerance
    from constructions.em_transformer import build, encode
    from constructions.execution_plan import plan

    rng = np.random.default_rng(0)
    mixture = random_mixture(case.dim, case.components, 3.0, rng)
    x, _ = sample(mixture, case.count, rng)
    means = mixture.means + 0.3 * rng.standard_normal(mixture.means.shape)
    start = Mixture(np.full(case.components, 1 / case.components), means)
    task_class = TaskClass(case.dim, case.components, 30.0, 0.01 / case.components)
    em = build(task_class, split_tolerance(task_class, case.tolerance, "floor"), 200)
    tokens = torch.from_numpy(encode(em, x, start))
    if case.sets > 1:  # other samples, the same start
        drawn = [encode(em, sample(mixture, case.count, rng)[0], start) for _ in range(case.sets)]
        tokens = torch.from_numpy(np.stack(drawn))
    began = time.perf_counter()
    made = plan(em.transformer, tokens)
    mlp = em.transformer.stored_layers[0].mlp
    found = {"plan": time.perf_counter() - began, "units": float(len(mlp.w1)) if mlp is not None else 0.0}
    streams = executor.trace(made, tokens)
    del tokens
    next(streams), next(streams)  # compresses the input
    steps: dict[str, Step] = {"transformer": lambda: (next(streams), next(streams))}
    makers: dict[str, Callable[[], Step]] = {
        "torch EM": lambda: torch_em(x, start.weights, start.means),
        "scikit-learn": lambda: scikit_learn(x, start.weights, start.means),
        "dense": lambda: dense(em.transformer, torch.from_numpy(encode(em, x, start))),
    }
    found |= least(steps, 90, 3.0)
    found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # before the others run
    found |= least(steps | {name: makers[name]() for name in case.methods}, 90, 3.0)
    return found


def torch_em(x: np.ndarray, weights: np.ndarray, means: np.ndarray) -> Step:
    """Plain EM, one batched expression a line."""
    samples, mu, pi = (torch.from_numpy(array) for array in (x, means, weights))

    def step() -> tuple[torch.Tensor, torch.Tensor]:
        scores = torch.addmm(pi.log() - mu.square().sum(dim=1) / 2, samples, mu.mT)
        responsibilities = scores.softmax(dim=1)
        total = responsibilities.sum(dim=0)
        return responsibilities.mT @ samples / total[:, None], total / len(samples)

    return step


def scikit_learn(x: np.ndarray, weights: np.ndarray, means: np.ndarray) -> Step:
    """One iteration of GaussianMixture (spherical): its own E-step and M-step, without the set-up of a fit."""
    from sklearn.mixture import GaussianMixture

    model = GaussianMixture(
        len(means),
        covariance_type="spherical",
        max_iter=1,
        init_params="random_from_data",
        weights_init=weights,
        means_init=means,
        precisions_init=np.ones(len(means)),
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one iteration does not converge, and need not
        model.fit(x)

    def step() -> None:
        _, log_responsibilities = model._e_step(x)
        model._m_step(x, log_responsibilities)

    return step


def dense(transformer: torch.nn.Module, tokens: torch.Tensor) -> Step:
    """The same two layers, literally."""
    streams: Iterator[torch.Tensor] = transformer.trace(tokens)  # type: ignore[operator]
    return lambda: (next(streams), next(streams))


if __name__ == "__main__":
    raise SystemExit(main())
