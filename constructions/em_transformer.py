"""The EM transformer (section F.2, Theorems F.1, F.6, F.7): one Θ for every task of a class.

Run `python -m constructions.em_transformer --help` for the demo.
"""

from __future__ import annotations

if __name__ == "__main__":  # before what --help does not need is loaded
    from constructions.process import start

    start("constructions.em_command")

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import log

import numpy as np
import torch
from jaxtyping import Float

from constructions.algorithms.sampling import Mixture
from constructions.compiler import Head, HiddenBlock, Layer, Mlp, hidden_layout, lower
from constructions.em_class import Approximation, TaskClass
from constructions.errors import InputError
from constructions.relu_networks import ReluNetwork
from constructions.residual_stream import ResidualStream
from constructions.transformer import Transformer
from constructions.units import in_bytes

# Section F.2, line by line. r(j) is the component whose parameters token j carries.
E_STEP = Layer(
    heads=[
        Head(  # <x_i, mu_r(j)> + log pi_r(j) - |mu_r(j)|^2 / 2; the values make the responsibilities
            score=[("x", "mu"), ("log_pi", "component"), ("one", "sq_norm", Fraction(-1, 2))],
            move=[("component", "w")],
        )
    ],
    mlp=Mlp(apply=[("log", "w", "log_w")], clear=["log_pi", "pi", "mu", "sq_norm"]),
)
M_STEP = Layer(
    heads=[
        Head(score=[("component", "log_w")], move=[("x", "mu")]),  # softmax over samples of log w: weighted mean
        Head(score=[], move=[("w", "pi")]),  # plain mean
    ],
    mlp=Mlp(apply=[("log", "pi", "log_pi"), ("square", "mu", "sq_norm")], clear=["w", "log_w"]),
)


def residual_stream(max_dim: int, max_components: int) -> ResidualStream:
    """D = 2d_0 + 5K_0 + 2 coordinates."""
    return ResidualStream(
        {
            "x": max_dim,  # the sample
            "log_pi": max_components,
            "mu": max_dim,  # mean of component r(i)
            "sq_norm": 1,  # ‖mean of component r(i)‖²
            "w": max_components,  # responsibilities of the sample
            "log_w": max_components,
            "pi": max_components,
            "one": 1,
            "component": max_components,  # e_r(i)
        }
    )


@dataclass(frozen=True)
class PredictedSize:
    """Hidden units of the two MLPs and bytes of all stored weights, before anything is built."""

    log_units: int  # K_0 log networks, in each of the two MLPs
    square_units: int  # d_0 square networks, in the M-step's MLP
    e_step_units: int
    m_step_units: int
    bytes: int
    build_bytes: int  # the same in float64, in which the matrices are lowered


def predict_size(task_class: TaskClass, approximation: Approximation, dtype: torch.dtype) -> PredictedSize:
    """Count units and bytes from the class alone; clearing a coordinate takes two units."""
    d, k = task_class.max_dim, task_class.max_components
    width = residual_stream(d, k).width
    log_units, square_units = k * approximation.log_units, 2 * d * approximation.pieces
    e_step, m_step = log_units + 2 * (2 * k + d + 1), log_units + square_units + 2 * (2 * k)
    head_rows = 2 * (d + k + 1) + 2 * k + 2 * k + 2 * d + 2 + 2 * k
    numbers = width * (2 * (e_step + m_step) + head_rows)
    return PredictedSize(log_units, square_units, e_step, m_step, numbers * dtype.itemsize, numbers * 8)


SIZE_LIMIT = 2 * 2**30
"""Bytes of matrices, built in float64, above which building is refused."""


@dataclass(frozen=True)
class EmTransformer:
    """The transformer with what is needed to feed and to read it; none of it has seen data."""

    transformer: Transformer
    stream: ResidualStream
    task_class: TaskClass
    approximation: Approximation
    hidden_layout: tuple[tuple[HiddenBlock, ...], ...]

    @property
    def dtype(self) -> torch.dtype:
        """The float format of the weights."""
        return self.transformer.dtype


def build(
    task_class: TaskClass,
    approximation: Approximation,
    steps: int,
    dtype: torch.dtype = torch.float64,
    layers: Sequence[Layer] = (E_STEP, M_STEP),
    networks: Callable[[Approximation], dict[str, ReluNetwork]] = Approximation.networks,
) -> EmTransformer:
    """The 2·steps-layer EM transformer. `layers` and `networks` are exchanged only to break it in a check.

    Raises
    ------
    InputError
        If the weights exceed SIZE_LIMIT, or `dtype` cannot hold A and 1/A.
    """
    require_size(task_class, approximation, dtype)
    stream = residual_stream(task_class.max_dim, task_class.max_components)
    units = networks(approximation)
    weights = lower(layers, [0, 1] * steps, stream, units)
    blocks = tuple(hidden_layout(layer.mlp, stream, units) if layer.mlp else () for layer in layers)
    return EmTransformer(Transformer.from_weights(weights, dtype), stream, task_class, approximation, blocks)


def require_size(task_class: TaskClass, approximation: Approximation, dtype: torch.dtype) -> PredictedSize:
    """What `build` will make; an InputError as it says, before any work."""
    _require_representable(approximation, dtype)
    size = predict_size(task_class, approximation, dtype)
    if size.build_bytes > SIZE_LIMIT:
        raise InputError(
            f"the {approximation.construction} construction needs {size.e_step_units:.6g} + {size.m_step_units:.6g} "
            f"hidden units, {in_bytes(size.build_bytes)} of float64 to build, above the limit of "
            f"{in_bytes(SIZE_LIMIT)}: choose a larger --tolerance, a smaller --radius, --max-dim or --max-components"
            + (", or --construction floor" if approximation.construction == "paper" else "")
        )
    return size


FLOAT64_LIMIT = -log(torch.finfo(torch.float64).tiny)
"""log A up to which float64 holds A and 1/A."""


def _require_representable(approximation: Approximation, dtype: torch.dtype) -> None:
    limit = -log(torch.finfo(dtype).tiny)
    if approximation.log_a >= limit:
        name = str(dtype).removeprefix("torch.")
        raise InputError(
            f"the {approximation.construction} construction has log A = {approximation.log_a:.6g}, weights of size "
            f"e^{approximation.log_a:.6g}, and {name} holds at most log A = {limit:.1f}: use "
            + ("--dtype float64, " if dtype != torch.float64 and approximation.log_a < FLOAT64_LIMIT else "")
            + (
                "--construction floor, a smaller --radius, or --precision 128 (balls, whose exponents have no limit)"
                if approximation.construction == "paper"
                else "a larger --tolerance or --min-weight"
            )
        )


def encode(em: EmTransformer, samples: Float[np.ndarray, "N d"], start: Mixture) -> Float[np.ndarray, "n D"]:
    """Samples and initial parameters in place (eq. 4): token i carries the parameters of component r(i).

    Keeps the first n = K⌊N/K⌋ samples, so that every component is carried by equally many tokens. Computes
    nothing else than log π⁽⁰⁾ and ‖μ⁽⁰⁾‖².

    Raises
    ------
    InputError
        If a shape, a number or a norm leaves the class.
    """
    validate(em.task_class, samples, start)
    components = len(start.weights)
    kept = len(samples) // components * components
    carried = np.arange(kept) % components
    parts = {
        "x": samples[:kept],
        "log_pi": np.broadcast_to(np.log(start.weights), (kept, components)),
        "mu": start.means[carried],
        "sq_norm": (start.means**2).sum(axis=1)[carried, None],
        "one": np.ones((kept, 1)),
        "component": np.eye(components)[carried],
    }
    return em.stream.place(np.zeros((kept, em.stream.width)), parts)


def validate(task_class: TaskClass, samples: Float[np.ndarray, "N d"], start: Mixture) -> None:
    """Refuse, with an InputError that names value and limit, a task that lies outside the class."""
    dim, components = samples.shape[1], len(start.weights)
    validate_samples(task_class, samples, components)
    if start.means.shape != (components, dim):
        raise InputError(f"the initial means have shape {start.means.shape}; {(components, dim)} is needed")
    _require_finite("initial weights", start.weights)
    if (start.weights <= 0).any() or abs(start.weights.sum() - 1) > 1e-6:
        raise InputError(
            f"the initial weights {start.weights.tolist()} have the smallest {start.weights.min():g} and the sum "
            f"{start.weights.sum():g}; they must be positive and sum to 1"
        )
    _require_within(task_class, "initial mean", start.means)


def validate_samples(task_class: TaskClass, samples: Float[np.ndarray, "N d"], components: int) -> None:
    """The part of `validate` that needs no initial parameters."""
    count, dim = samples.shape
    if dim > task_class.max_dim:
        raise InputError(
            f"the samples have dimension {dim}, above the class's largest, {task_class.max_dim} (--max-dim)"
        )
    if not 1 <= components <= task_class.max_components:
        raise InputError(
            f"there are {components} components; they must be between 1 and "
            f"{task_class.max_components} (--max-components)"
        )
    if components > count:
        raise InputError(f"there are {components} components but only {count} samples; K must be at most N")
    if components * task_class.min_weight > 1:
        raise InputError(
            f"the smallest weight is {task_class.min_weight:g}; with {components} components it must be at most "
            f"1/{components} (--min-weight)"
        )
    _require_within(task_class, "sample", samples)


def _require_finite(what: str, array: np.ndarray) -> None:
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        place = ", ".join(str(int(index)) for index in bad[0])
        raise InputError(f"the {what} contain {array[tuple(bad[0])]} at [{place}]; they must be finite")


def _require_within(task_class: TaskClass, what: str, points: np.ndarray) -> None:
    _require_finite(f"{what}s", points)
    largest = max(float(np.abs(points).max()), 1.0)  # scaled: squares of large coordinates overflow
    norms = largest * np.linalg.norm(points / largest, axis=1)
    worst = int(norms.argmax())
    if norms[worst] > task_class.radius:
        raise InputError(
            f"{what} {worst + 1} of {len(points)} has norm {norms[worst]:.4g}, outside the class's radius "
            f"{task_class.radius:g} (--radius)"
        )


def read_out(em: EmTransformer, tokens: Float[np.ndarray, "N D"], dim: int, components: int) -> Mixture:
    """Linear attentive pooling (Remark F.3) of the output tokens."""
    return pool(*(tokens[:, where] for where in read_subspaces(em, dim, components)))


def read_subspaces(em: EmTransformer, dim: int, components: int) -> tuple[slice, slice, slice]:
    """The coordinates that are read out: `component`, `mu` and `pi`, without their padding."""
    component, mu, pi = (em.stream[name].start for name in ("component", "mu", "pi"))
    return slice(component, component + components), slice(mu, mu + dim), slice(pi, pi + components)


def pool(component: Float[np.ndarray, "N K"], mu: Float[np.ndarray, "N d"], pi: Float[np.ndarray, "N K"]) -> Mixture:
    """μ̂_k = (K/N) Σ_i 1{r(i)=k} mu_i; π̂ is `pi` of the first token (Remark F.3)."""
    return Mixture(pi[0].copy(), pi.shape[1] / len(pi) * component.T @ mu)
