"""What Theorem F.1 says of Θ itself: one Θ for all tasks, its resources, its read-out, the samples it drops."""

from __future__ import annotations

import contextlib
import hashlib
import io
import tempfile
from collections.abc import Callable, Iterator
from math import log
from pathlib import Path

import numpy as np

from constructions import bounds, em_command, resources
from constructions.algorithms.sampling import Mixture
from constructions.compiler import Head, lower
from constructions.em_class import TaskClass, split_tolerance
from constructions.em_run import run
from constructions.em_transformer import E_STEP, M_STEP, EmTransformer, encode, read_out, residual_stream
from constructions.transformer import Transformer
from theory_checks import instances, subjects
from theory_checks.ledger import Verdict, compare, require, statement
from theory_checks.subjects import SMALL_CLASS

TASKS = (
    ("iris", ["--data", "iris"]),
    ("iris, 2 components, 3 dimensions", ["--data", "iris", "--components", "2", "--dim", "3"]),
    ("digits", ["--data", "digits", "--components", "5", "--dim", "2", "--samples", "301"]),
    (
        "synthetic d=1 K=7",
        ["--data", "synthetic", "--dim", "1", "--components", "7", "--separation", "1", "--seed", "3"],
    ),
    ("synthetic d=5 K=3", ["--data", "synthetic", "--dim", "5", "--samples", "101", "--seed", "4"]),
)


def class_radius(task: int) -> str:
    """The same radius for every task."""
    return "10"


@statement("one-theta", source="Theorem F.1, one Θ for all tasks", text="recovered", evidence="exact")
def one_theta(rng: np.random.Generator, *, radius: Callable[[int], str] = class_radius) -> Iterator[Verdict]:
    """Θ is a function of the class and ε alone: the file is byte-identical for every data set, d ≤ d_0, K ≤ K_0, N."""
    for construction, tolerance in (("floor", "0.3"), ("paper", "8")):
        digests = []
        for number, (name, options) in enumerate(TASKS):
            with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
                arguments = ["--layers", "2", "--max-dim", "5", "--max-components", "7", "--tolerance", tolerance]
                arguments += ["--construction", construction, "--radius", radius(number), "--export", f"{folder}/out"]
                code = em_command.main([*arguments, *options])
                content = Path(folder, "out", "transformer.safetensors").read_bytes() if code == 0 else b""
            digests.append(hashlib.sha256(content).hexdigest())
            yield require(code == 0 and digests[-1] == digests[0], f"{construction}, {name}: sha256 {digests[-1][:16]}")


one_theta.control("a radius taken from the data", radius=lambda task: str(10 + task))
test_one_theta, test_one_theta_controls = one_theta.tests()


def lowered(max_dim: int, max_components: int, steps: int) -> Transformer:
    """The floor construction of a class with one size free."""
    return subjects.sound(TaskClass(max_dim, max_components, 3.0, 0.05), 1.0, "floor", steps).transformer


def _head_per_component(max_dim: int, max_components: int, steps: int) -> Transformer:
    heads = [Head(score=E_STEP.heads[0].score, move=[(f"component[{k}]", f"w[{k}]")]) for k in range(max_components)]
    approximation = split_tolerance(TaskClass(max_dim, max_components, 3.0, 0.05), 1.0, "floor")
    layers = [type(E_STEP)(heads, E_STEP.mlp), M_STEP]
    stream = residual_stream(max_dim, max_components)
    return Transformer.from_weights(lower(layers, [0, 1] * steps, stream, approximation.networks()))


def _layer_per_component(max_dim: int, max_components: int, steps: int) -> Transformer:
    sound = lowered(max_dim, max_components, steps)
    return Transformer(sound.stored_layers, [0, 1] * (steps * max_components))


@statement(
    "resources", source="Theorem F.1, resources (section F.2), with our exact width", text="ours", evidence="exact"
)
def resources_row(
    rng: np.random.Generator, *, build: Callable[[int, int, int], Transformer] = lowered
) -> Iterator[Verdict]:
    """2L layers (2 stored), at most 2 heads a layer and width 2d_0 + 5K_0 + 2, whatever d_0, K_0 and L.

    (Prior work is reported to need O(KL) layers; that is cited, not checked.)
    """
    for max_dim, max_components, steps in ((1, 2, 1), (3, 5, 2), (7, 11, 3), (13, 3, 5), (2, 17, 7)):
        found = resources.measure(build(max_dim, max_components, steps))
        name = f"d0={max_dim} K0={max_components} L={steps}"
        yield require(found.layers == 2 * steps and found.stored_layers == 2, f"{name}: {found.layers} layers")
        yield require(found.heads == 2, f"{name}: {found.heads} heads")
        yield require(found.width == 2 * max_dim + 5 * max_components + 2, f"{name}: width {found.width}")


resources_row.control("a head for each component", build=_head_per_component)
resources_row.control("layers for each component", build=_layer_per_component)
test_resources, test_resources_controls = resources_row.tests()


@statement(
    "floor-weights", source="weight bound of `floor` (against Theorem F.1's class)", text="ours", evidence="sampled"
)
def floor_weights(
    rng: np.random.Generator,
    *,
    log_a: Callable[[TaskClass, float], float] = lambda c, eps: log(6 * c.radius / (eps * c.min_weight)),
) -> Iterator[Verdict]:
    """B_Θ of `floor` is polynomial in B, 1/ε, 1/π_min, K_0, d_0: below an explicit bound with A = 6B/(ε π_min);
    of `paper` it is at least exp(2B² + log(1/π_min))·r e^{−r}.
    """
    for radius in (2.0, 3.0, 5.0, 7.0):
        for min_weight in (0.2, 0.03):
            for tolerance in (1.0, 0.1):
                task_class = TaskClass(3, 5, radius, min_weight)
                name = f"B={radius} pi_min={min_weight} eps={tolerance}"
                approximation = split_tolerance(task_class, tolerance, "floor")
                claimed = log_a(task_class, tolerance)
                yield require(abs(approximation.log_a - claimed) <= 1e-12 * claimed, f"{name}: log A {claimed:.4g}")
                floor = resources.measure(subjects.sound(task_class, tolerance, "floor", 1).transformer)
                yield compare(floor.log_b_theta, bounds.log_b_theta(task_class, approximation), f"{name} log B_Theta")
                if tolerance == 1.0 and radius <= 5:
                    paper = split_tolerance(task_class, tolerance, "paper")
                    least = 2 * radius**2 - log(min_weight) + log(paper.chord_width) - paper.chord_width
                    measured = resources.measure(subjects.sound(task_class, tolerance, "paper", 1).transformer)
                    limit = bounds.log_b_theta(task_class, paper)
                    yield compare(measured.log_b_theta, limit, f"{name} paper: log B_Theta, above")
                    yield require(
                        measured.log_b_theta >= least, f"{name} paper: log B_Theta {measured.log_b_theta:.4g}"
                    )


floor_weights.control("A without the factor 6", log_a=lambda c, eps: log(c.radius / (eps * c.min_weight)))
floor_weights.control("A as in `paper`", log_a=lambda c, eps: 2 * c.radius**2 - log(c.min_weight))
test_floor_weights, test_floor_weights_controls = floor_weights.tests()

ReadOut = Callable[[EmTransformer, np.ndarray, int, int], Mixture]


@statement("remark-f3", source="Remark F.3, read-out", text="recovered", evidence="exact")
def remark_f3(rng: np.random.Generator, *, read: ReadOut = read_out) -> Iterator[Verdict]:
    """μ̂_k = (K/N)Σ_i 1{r(i)=k} mu_i and π̂ = pi of a token: linear, and the parameters that the tokens carry.

    Equality on integers, where floating point is exact.
    """
    em = subjects.sound(SMALL_CLASS)
    for dim in (1, 2, 3, 5):
        for k in (2, 3, 5, 7):
            copies = 2 ** int(rng.integers(0, 4))  # K/N is then exact up to the division by a power of two
            means = rng.integers(-3, 4, (k, dim)).astype(float)
            weights = rng.integers(1, 9, k).astype(float)
            tokens = encode(em, np.zeros((k * copies, dim)), Mixture(np.full(k, 1 / k), np.zeros((k, dim))))
            tokens[:, em.stream["mu"].start : em.stream["mu"].start + dim] = np.tile(means, (copies, 1))
            tokens[:, em.stream["pi"].start : em.stream["pi"].start + k] = weights
            found = read(em, tokens, dim, k)
            name = f"d={dim} K={k} N={k * copies}"
            yield require(bool((found.weights == weights).all()), f"{name} weights")
            yield require(bool((found.means == means).all()), f"{name} means")
            doubled = tokens.copy()
            carried = [em.stream["mu"], em.stream["pi"]]
            for where in carried:
                doubled[:, where] *= 2
            yield require(bool((read(em, doubled, dim, k).means == 2 * found.means).all()), f"{name} linear")


remark_f3.control(
    "the factor K forgotten",
    read=lambda em, h, dim, k: Mixture(read_out(em, h, dim, k).weights, read_out(em, h, dim, k).means / k),
)
remark_f3.control(
    "the mean over all tokens",
    read=lambda em, h, dim, k: Mixture(
        read_out(em, h, dim, k).weights, np.tile(h[:, em.stream["mu"]][:, :dim].mean(axis=0), (k, 1))
    ),
)
test_remark_f3, test_remark_f3_controls = remark_f3.tests()

Encode = Callable[[EmTransformer, np.ndarray, Mixture], np.ndarray]


def _keep_all(em: EmTransformer, samples: np.ndarray, start: Mixture) -> np.ndarray:
    """Wrong N mod K: the remainder is kept, and some components are carried by more tokens than others."""
    k = len(start.weights)
    padded = encode(em, np.concatenate([samples, samples[: -len(samples) % k]]), start)
    return padded[: len(samples)]


def _drop_first(em: EmTransformer, samples: np.ndarray, start: Mixture) -> np.ndarray:
    return encode(em, samples[len(samples) % len(start.weights) :], start)


@statement(
    "sample-remainder",
    source="section F.1, N not divisible by K",
    text="recovered",
    evidence="sampled",
    depends_on=("em-step-floor",),
)
def sample_remainder(rng: np.random.Generator, *, encode: Encode = encode) -> Iterator[Verdict]:
    """For every N ≥ K the transformer makes EM steps on the first K⌊N/K⌋ samples, within the step's bound."""
    em = subjects.sound(SMALL_CLASS)
    for k in (2, 3, 5, 7):
        for count in (2 * k - 1, 3 * k + 1, 10 * k + 1):
            task = instances.overlapping(f"K={k} N={count}", 3, k, count, SMALL_CLASS.radius, rng)
            kept = count // k * k
            result = run(em, task.samples, task.start, encode=encode, execution="dense")
            alone = run(em, task.samples[:kept], task.start, execution="dense")
            same = result.output.shape == alone.output.shape and bool((result.output == alone.output).all())
            yield require(same, f"{task.name}: the same as on the first {kept} samples")
            for step in result.steps:
                excuse = step.reason if step.status == "not applicable" else ""
                yield compare(step.mean_error, step.mean_bound, f"{task.name} step {step.step}", excuse=excuse)


sample_remainder.control("wrong N mod K: the remainder is kept", encode=_keep_all)
sample_remainder.control("the first samples dropped instead", encode=_drop_first)
test_sample_remainder, test_sample_remainder_controls = sample_remainder.tests()
