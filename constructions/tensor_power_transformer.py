"""The tensor-power transformer (section G.2, Theorem G.8 = Theorem 2, Remarks G.1-G.3): one Θ for every d ≤ d_0.

Run `python -m constructions.tensor_power_transformer --help` for the demo.
"""

from __future__ import annotations

if __name__ == "__main__":  # before what --help does not need is loaded
    from constructions.process import start

    start("constructions.tensor_power_command")

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal

import numpy as np
import torch
from jaxtyping import Shaped

from constructions.compiler import Head, HiddenBlock, Layer, Mlp, hidden_layout, lower
from constructions.errors import InputError
from constructions.normalisation import Normalisation
from constructions.number_system import FLOAT64, NumberSystem
from constructions.relu_networks import ReluNetwork
from constructions.residual_stream import ResidualStream
from constructions.transformer import Transformer
from constructions.units import in_bytes

Tensor = np.ndarray  # d×d×d: floats, or objects of another number system

# Section G.2, line by line. Token m carries the slice T[:, :, m], the vector v and the unit vector e_m.
OWN_COORDINATE = Layer(  # relu(v_m) - relu(-v_m), the same from every key: token m learns v_m
    heads=[
        Head(score=[("basis", "vec")], move=[("one", "scalar")]),
        Head(score=[("basis", "vec", -1)], move=[("one", "scalar", -1)]),
    ],
    activation="relu",
)
MOVE_AND_CLEAR = Mlp(move=[("new", "vec")], clear=["vec", "new", "scalar"])


def products(max_dim: int, target: str) -> list[Head]:
    """Σ_j Σ_m v_j v_m T[:, j, m] → target: j runs over the heads, m over the tokens, the first index is the value.

    Two heads for each j, as relu(s) − relu(−s) = s; d_0 undoes the average over the d_0 tokens.
    """
    return [
        Head(score=[(f"vec[{j}]", "scalar", sign)], move=[(_column(j, max_dim), target, sign * max_dim)])
        for j in range(max_dim)
        for sign in (1, -1)
    ]


def _column(j: int, max_dim: int) -> str:
    return f"slice[{j * max_dim}:{(j + 1) * max_dim}]"


def theorem_layers(max_dim: int) -> list[Layer]:
    """Theorem G.8: an odd and an even layer; exact."""
    even = Layer(heads=products(max_dim, "new"), mlp=MOVE_AND_CLEAR, activation="relu")
    return [OWN_COORDINATE, even]


def overwriting_layers(max_dim: int) -> list[Layer]:
    """Theorem G.8 rearranged (ours): `vec` is cleared by the even layer and written by the next odd one, when it is 0.

    So no new vector is ever added to an old one: in floating point the theorem's vec + (new − vec) loses the digits of
    a new vector much smaller than the old. Until the next odd layer, hence at the end, the result stays in `new`.
    """
    own = [Head([*head.score, ("basis", "new", *head.score[0][2:])], head.move) for head in OWN_COORDINATE.heads]
    odd = Layer(own, Mlp(move=[("new", "vec")], clear=["new"]), "relu")
    return [odd, Layer(products(max_dim, "new"), Mlp(clear=["vec", "scalar"]), "relu")]


def attention_only_layers(max_dim: int) -> list[Layer]:
    """Remark G.1: no MLP, but one more head, by which every token takes off its own old vector and coordinate.

    Its score ⟨e_i, e_j⟩ is 1 on the token itself and 0 elsewhere. Heads read in parallel, so this is exact.
    """
    clear = Head(score=[("basis", "basis")], move=[("vec", "vec", -max_dim), ("scalar", "scalar", -max_dim)])
    return [OWN_COORDINATE, Layer(heads=[*products(max_dim, "vec"), clear], activation="relu")]


def normalised_layers(max_dim: int, squares: Literal["network", "attention"] = "network") -> list[Layer]:
    """Remark G.2 with a known range of ‖T(I,v,v)‖: four layers v ← T(I,v,v)·ρ(‖T(I,v,v)‖²), ρ(s) ≈ 1/√s.

    The squared norm comes from Lemma F.5's network or, without error, from one head: the score ⟨new, new⟩ itself.
    """
    summed = [("square", "new", "sq_norm")] if squares == "network" else []
    norm = [Head(score=[("new", "new")], move=[("one", "sq_norm")])] if squares == "attention" else []
    invert = Mlp(apply=[("inverse_sqrt", "sq_norm", "inverse_norm")], clear=["sq_norm"])
    scale = Head(score=[("inverse_norm", "one")], move=[("new", "vec")])  # it is positive: relu changes nothing
    return [
        OWN_COORDINATE,
        Layer(products(max_dim, "new"), Mlp(apply=summed, clear=["vec", "scalar"]), "relu"),
        Layer(norm, invert, "relu"),
        Layer([scale], Mlp(clear=["new", "inverse_norm"]), "relu"),
    ]


def softmax_layers(max_dim: int, scale: Fraction) -> list[Layer]:
    """Remark G.3: every token has a twin of opposite sign; softmax over ±z makes tanh z and Σ sinh z / Σ cosh z.

    Scores are scaled by s, values by 1/s (d_0/s): tanh(s v)/s ≈ v, sinh(s v v′)/s ≈ v v′.
    """
    own = Head(score=[("basis", "vec", scale)], move=[("sign", "scalar", 1 / scale)])
    heads = [
        Head(score=[(f"vec[{j}]", "scalar", scale)], move=[(_column(j, max_dim), "new", max_dim / scale)])
        for j in range(max_dim)
    ]
    return [Layer([own]), Layer(heads, MOVE_AND_CLEAR)]


@dataclass(frozen=True, eq=False)
class Form:
    """One way to write a step of the iteration: its layers for every d_0, its networks, its extra coordinates."""

    name: str
    layers: Callable[[int], Sequence[Layer]]
    extra: tuple[str, ...] = ()  # coordinates of size 1 after `basis`
    result: str = "vec"  # the subspace that is read out
    networks: Mapping[str, ReluNetwork] = field(default_factory=dict)
    attention_only: bool = False
    twins: bool = False
    scale: Fraction | None = None  # s of the softmax form
    normalisation: Normalisation | None = None

    @property
    def layers_per_step(self) -> int:
        """2, or 4 with normalisation."""
        return len(self.layers(1))


THEOREM = Form("relu", theorem_layers)
OVERWRITING = Form("overwriting", overwriting_layers, result="new")
ATTENTION_ONLY = Form("attention-only", attention_only_layers, attention_only=True)


def normalised_form(normalisation: Normalisation) -> Form:
    """Remark G.2 for a range [c, C] of ‖T(I,v,v)‖."""
    return Form(
        "normalised",
        lambda max_dim: normalised_layers(max_dim, normalisation.squares),
        extra=("sq_norm", "inverse_norm"),
        networks=normalisation.networks(),
        normalisation=normalisation,
    )


def softmax_form(scale: Fraction) -> Form:
    """Remark G.3 at score scale s, a power of two: then s, 1/s and products by them are exact in every format.

    Raises
    ------
    ValueError
        If s is not 2^k.
    """
    if scale <= 0 or scale.numerator & (scale.numerator - 1) or scale.denominator & (scale.denominator - 1):
        raise ValueError(f"the score scale is {scale}; it must be a power of two")
    return Form("softmax", lambda d: softmax_layers(d, scale), extra=("sign",), twins=True, scale=scale)


def residual_stream(max_dim: int, form: Form = THEOREM) -> ResidualStream:
    """D = d_0² + 3d_0 + 2 coordinates (Theorem G.8); d_0 fewer without `new`, and the form's extra ones."""
    sizes = {
        "slice": max_dim**2,  # T[:, j, m] for j = 1..d_0, one after the other
        "vec": max_dim,  # v, on every token
        "new": max_dim,  # T(I, v, v)
        "scalar": 1,  # v_m, the token's own coordinate
        "one": 1,
        "basis": max_dim,  # e_m
        **dict.fromkeys(form.extra, 1),
    }
    if form.attention_only:
        del sizes["new"]
    return ResidualStream(sizes)


@dataclass(frozen=True)
class TensorPowerTransformer:
    """The transformer with what is needed to feed and to read it; it has seen neither tensor nor start."""

    transformer: Transformer
    stream: ResidualStream
    max_dim: int
    form: Form
    hidden_layout: tuple[tuple[HiddenBlock, ...], ...]

    @property
    def dtype(self) -> torch.dtype:
        """The float format of the weights."""
        return self.transformer.dtype

    @property
    def steps(self) -> int:
        """L, the iterations it makes."""
        return len(self.transformer.schedule) // self.form.layers_per_step


SIZE_LIMIT = 2**30
"""Bytes of matrices, built in float64, above which building is refused."""
LARGEST_DIM = 2**12
"""The largest d_0 whose size is worth predicting."""


def predict_bytes(max_dim: int, form: Form = THEOREM) -> int:
    """Bytes of all matrices in float64: 2d_0 heads of rank 1 and d_0 each way (d_0 heads for softmax), and the MLPs."""
    width = max_dim**2 + (2 if form.attention_only else 3) * max_dim + 2 + len(form.extra)
    heads = max_dim if form.twins else 2 * max_dim
    units = sum(network.units * (max_dim if name == "square" else 1) for name, network in form.networks.items())
    return 8 * width * (heads * (2 + 2 * max_dim) + 2 * (units + 10 * max_dim + 12) + 8 * max_dim + 8)


def build(
    max_dim: int,
    steps: int,
    form: Form = THEOREM,
    dtype: torch.dtype = torch.float64,
) -> TensorPowerTransformer:
    """The transformer that makes `steps` iterations for every d ≤ max_dim and every tensor.

    Raises
    ------
    InputError
        If d_0 is not positive, or the weights exceed SIZE_LIMIT.
    """
    require_max_dim(max_dim)
    require_size(max_dim, form)
    stream = residual_stream(max_dim, form)
    layers = form.layers(max_dim)
    weights = lower(layers, list(range(len(layers))) * steps, stream, form.networks)
    blocks = tuple(hidden_layout(layer.mlp, stream, form.networks) if layer.mlp else () for layer in layers)
    return TensorPowerTransformer(Transformer.from_weights(weights, dtype), stream, max_dim, form, blocks)


def with_steps(model: TensorPowerTransformer, steps: int) -> TensorPowerTransformer:
    """The same stored layers, run for another number of iterations."""
    stored = model.transformer.stored_layers
    return replace(model, transformer=Transformer(stored, tuple(range(len(stored))) * steps))


def encode(
    model: TensorPowerTransformer,
    tensor: Shaped[Tensor, "d d d"],
    start: Shaped[np.ndarray, "*batch d"],
    numbers: NumberSystem = FLOAT64,
) -> Shaped[np.ndarray, "*batch N D"]:
    """Token m: the slice T[:, :, m] padded with zeros, v, e_m and 1; computes nothing. N = d_0 tokens.

    With twins N = 2d_0: the second half is the first negated, but for `one`.

    Raises
    ------
    InputError
        If a shape or a number is not as it must be.
    """
    validate(model.max_dim, tensor, start)
    dim, d0, where = len(tensor), model.max_dim, model.stream
    tokens = numbers.zeros((*start.shape[:-1], d0, where.width))
    slices = numbers.zeros((d0, d0, d0))
    slices[:dim, :dim, :dim] = np.transpose(tensor, (2, 1, 0))  # token m, column j, row a
    tokens[..., where["slice"]] = slices.reshape(d0, d0**2)
    tokens[..., where["vec"].start : where["vec"].start + dim] = start[..., None, :]
    tokens[..., where["one"]] = numbers.number(1)
    tokens[..., np.arange(d0), where["basis"].start + np.arange(d0)] = numbers.number(1)
    if not model.form.twins:
        return tokens
    tokens[..., where["sign"]] = numbers.number(1)
    twins = -tokens
    twins[..., where["one"]] = numbers.number(1)
    return np.concatenate([tokens, twins], axis=-2)


def require_max_dim(max_dim: int) -> None:
    """Refuse a d_0 out of range."""
    if not 1 <= max_dim <= LARGEST_DIM:
        shown = str(max_dim) if abs(max_dim) < 10**12 else f"{str(max_dim)[:6]}... ({len(str(max_dim))} digits)"
        raise InputError(f"the largest dimension d0 = {shown} must lie between 1 and {LARGEST_DIM} (--max-dim)")


def require_size(max_dim: int, form: Form) -> None:
    """Refuse, before any work, weights above SIZE_LIMIT."""
    needed = predict_bytes(max_dim, form)
    if needed > SIZE_LIMIT:
        raise InputError(
            f"d0 = {max_dim} needs {in_bytes(needed)} of float64 to build, above the limit of "
            f"{in_bytes(SIZE_LIMIT)}: choose a smaller --max-dim or --dim"
            + (" or a smaller C_HIGH/C_LOW (--normalise)" if form.normalisation else "")
        )


def validate(max_dim: int, tensor: np.ndarray, start: np.ndarray) -> None:
    """Refuse, with an InputError that names value and limit, what is no cubic tensor with a start of its length."""
    if tensor.ndim != 3 or len(set(tensor.shape)) != 1 or tensor.size == 0:
        raise InputError(f"the tensor has shape {tensor.shape}; it must be d×d×d with d ≥ 1")
    if len(tensor) > max_dim:
        raise InputError(f"the tensor has dimension {len(tensor)}, above the largest, {max_dim} (--max-dim)")
    if start.ndim < 1 or start.shape[-1] != len(tensor):
        raise InputError(f"the start has shape {start.shape}; its length must be the tensor's dimension {len(tensor)}")
    for what, array in (("tensor", tensor), ("start", start)):
        if array.dtype.kind != "f":
            continue
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            place = ", ".join(str(int(index)) for index in bad[0])
            raise InputError(f"the {what} has {array[tuple(bad[0])]} at [{place}]; its entries must be finite")


def read_out(model: TensorPowerTransformer, tokens: Shaped[np.ndarray, "*batch N D"], dim: int) -> np.ndarray:
    """The result's subspace (`vec`) of the first token, without the padding."""
    start = model.stream[model.form.result].start
    return np.array(tokens[..., 0, start : start + dim])
