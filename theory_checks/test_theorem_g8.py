"""Theorem G.8 (Theorem 2) and Remark G.1: ReLU attention makes cubic tensor power iterations, exactly."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from math import isqrt

import numpy as np
import sympy

from constructions import resources, tensor_power_report, weights_file
from constructions.number_system import Symbols
from constructions.tensor_power_exact import compare_layers
from constructions.tensor_power_transformer import ATTENTION_ONLY, THEOREM, Form, build, encode, validate
from constructions.tensors import random_start, random_tensor
from constructions.transformer import Transformer
from theory_checks import tensor_instances as instances
from theory_checks import tensor_subjects as subjects
from theory_checks.coverage import covering
from theory_checks.ledger import Statement, Verdict, require, statement
from theory_checks.tensor_subjects import built

Held = Callable[[np.ndarray], np.ndarray]


def as_it_is(tensor: np.ndarray) -> np.ndarray:
    """The tensor that encode is given."""
    return tensor


def judge_rationals(rng: np.random.Generator, form: Form, held: Held) -> Iterator[Verdict]:
    """Equality of rationals, layer by layer, for d ≤ d_0 and several L; the last vector against three plain loops."""
    for dim in instances.DIMS:
        for steps, max_dim in ((2, dim), (2, dim + 1), (3, dim + 4), (4, dim + 1)):
            task = instances.rational(dim, rng)
            name = f"{task.name} d0={max_dim} L={steps}"
            exact = instances.exact_trajectory(task, steps)
            vector = task.start
            for report in compare_layers(built(max_dim, steps, form), held(task.tensor), task.start):
                yield require(report.equal, f"{name}: the stream after layer {report.layer}")
                vector = report.vector
            yield require(instances.fractions(vector) == exact[-1], f"{name}: the vector")


def judge_symbols(form: Form, held: Held) -> Iterator[Verdict]:
    """A polynomial identity for all real T and v, layer by layer, for small d_0 and every d ≤ d_0."""
    for max_dim in (1, 2, 3):
        for dim in range(1, max_dim + 1):
            task = instances.symbolic(dim)
            goal = task.tensor @ task.start @ task.start
            reports = list(compare_layers(built(max_dim, 1, form), held(task.tensor), task.start, Symbols()))
            for report in reports:
                off = (report.stream - report.expected).ravel()
                identity = all(sympy.expand(entry) == 0 for entry in off)
                yield require(identity, f"{task.name} d0={max_dim}: layer {report.layer}")
            same = all(sympy.expand(entry) == 0 for entry in reports[-1].vector - goal)
            yield require(same, f"{task.name} d0={max_dim}: T(I,v,v)")


@statement(
    "theorem-g8",
    source="Theorem G.8 = Theorem 2",
    text="recovered",
    evidence="exact",
    paper=("Theorem G.8", "Theorem 2", "Equation (3)"),
)
def theorem_g8(rng: np.random.Generator, *, form: Form = THEOREM, held: Held = as_it_is) -> Iterator[Verdict]:
    """For d ≤ d_0, T ∈ R^{d×d×d} and v ∈ R^d the 2L-layer ReLU transformer's `vec` is v after L iterations v ←
    T(I,v,v).

    Equality, over the rationals, of the whole residual stream after each layer, for drawn T and v, d ≤ 7 and L ≤ 4. The
    proof for all of them is in the note.
    """
    yield from judge_rationals(rng, form, held)


@statement(
    "theorem-g8-identity",
    source="Theorem G.8 = Theorem 2, for all real T and v",
    text="ours",
    evidence="exact",
    coverage="all",
    paper=("Theorem G.8", "Theorem 2", "Equation (3)"),
)
def theorem_g8_identity(rng: np.random.Generator, *, form: Form = THEOREM, held: Held = as_it_is) -> Iterator[Verdict]:
    """For d_0 ≤ 3 two layers take encode(T, v) to encode(T, T(I,v,v)) identically in T and v: by induction the
    theorem for every L, T and v. relu(s) = (s + |s|)/2.
    """
    yield from covering("all", judge_symbols(form, held))


@statement("remark-g1", source="Remark G.1", text="recovered", evidence="exact", paper=("Remark G.1",))
def remark_g1(rng: np.random.Generator, *, form: Form = ATTENTION_ONLY, held: Held = as_it_is) -> Iterator[Verdict]:
    """Theorem G.8 without MLPs: 2d_0 + 1 heads in the even layer, D = d_0² + 2d_0 + 2. Drawn rationals for d ≤ 7, and
    for d_0 ≤ 3 identities in T and v.
    """
    yield from judge_rationals(rng, form, held)
    yield from judge_symbols(form, held)


def _controls(row: Statement, form: Form, faults: tuple[str, ...]) -> None:
    for fault in faults:
        row.control(fault, form=subjects.broken(form, fault))
    row.control("the slices transposed", held=lambda tensor: tensor.swapaxes(0, 1))


_controls(theorem_g8, THEOREM, subjects.THEOREM_FAULTS)
_controls(theorem_g8_identity, THEOREM, subjects.THEOREM_FAULTS)
_controls(remark_g1, ATTENTION_ONLY, subjects.ATTENTION_ONLY_FAULTS)
test_theorem_g8, test_theorem_g8_controls = theorem_g8.tests()
test_identity, test_identity_controls = theorem_g8_identity.tests()
test_remark_g1, test_remark_g1_controls = remark_g1.tests()


def integer_norm(matrix: np.ndarray) -> int | None:
    """‖matrix‖ if its entries are integers, MᵀM is diagonal and its largest entry a square.

    Products of small integers in float64 are exact.
    """
    gram = matrix.T @ matrix
    largest = int(gram.max(initial=0))
    diagonal = bool((gram == np.diag(np.diag(gram))).all())
    square = isqrt(largest) ** 2 == largest
    return isqrt(largest) if diagonal and square and bool((np.rint(matrix) == matrix).all()) else None


def integer_b_theta(transformer: Transformer) -> int | None:
    """B_Θ (Definition 8) if all norms are integers by `integer_norm`; else None."""
    totals = []
    for layer in transformer.stored_layers:
        heads = layer.attention.stored_heads if layer.attention is not None else []
        norms = [integer_norm(m.mT.numpy()) for head in heads for m in (head.query, head.key, head.value)]
        mlp = [integer_norm(m.numpy()) for m in ((layer.mlp.w1, layer.mlp.w2.mT) if layer.mlp is not None else ())]
        outputs = [head.output.numpy() for head in heads]
        orthonormal = all((o.T @ o == np.eye(o.shape[1])).all() for o in outputs)  # then ‖V‖ = ‖value‖
        if None in norms or None in mlp or not orthonormal:
            return None
        totals.append(max(n or 0 for n in norms) + sum(n or 0 for n in mlp))
    return max(totals)


@statement("tensor-resources", source="Theorem G.8, resources", text="ours", evidence="exact", paper=("Theorem G.8",))
def tensor_resources(rng: np.random.Generator, *, form: Form = THEOREM) -> Iterator[Verdict]:
    """2L layers, 2d_0 heads, D = d_0² + 3d_0 + 2, D′ = 6d_0 + 2, B_Θ = d_0 + 4, in integers, for six d_0 from 1 to 32.

    ‖V‖ = d_0; w1 reads `new` in four rows ±1 and w2 writes `vec` in four columns ±1: norm 2 each. All Gram matrices are
    diagonal, so that a norm is the root of the largest entry, a square.
    """
    for max_dim, steps in ((1, 1), (2, 3), (5, 2), (7, 1), (11, 1), (32, 1)):
        model = built(max_dim, steps, form)
        found = resources.measure(model.transformer)
        name = f"d0={max_dim} L={steps}"
        yield require(found.layers == 2 * steps and found.stored_layers == 2, f"{name}: {found.layers} layers")
        yield require(found.heads == 2 * max_dim, f"{name}: {found.heads} heads")
        yield require(found.width == max_dim**2 + 3 * max_dim + 2, f"{name}: width {found.width}")
        yield require(found.hidden_width == 6 * max_dim + 2, f"{name}: {found.hidden_width} hidden units")
        norm = integer_b_theta(model.transformer)
        yield require(norm == max_dim + 4, f"{name}: B_Theta {norm}")


tensor_resources.control("one head missing", form=subjects.broken(THEOREM, "one head missing"))
tensor_resources.control("d0 + 1 in place of d0", form=subjects.broken(THEOREM, "d0 + 1 in place of d0"))
tensor_resources.control("vec not cleared", form=subjects.broken(THEOREM, "vec not cleared"))
tensor_resources.control("attention only", form=ATTENTION_ONLY)
test_resources, test_resources_controls = tensor_resources.tests()


@statement(
    "tensor-one-theta",
    source="Theorem G.8, one Θ for every d",
    text="recovered",
    evidence="exact",
    paper=("Theorem G.8", "Theorem 2", "Remark 2"),
)
def tensor_one_theta(
    rng: np.random.Generator, *, tailored: Callable[[int, np.ndarray], int] = lambda max_dim, tensor: max_dim
) -> Iterator[Verdict]:
    """The file's bytes and the tokens' width are the same for d = 1 … 7 = d_0, each with a drawn tensor, and each is
    served.
    """
    max_dim, digests = 7, set()
    for dim in range(1, max_dim + 1):
        tensor, start = random_tensor(dim, rng), random_start(dim, rng)
        model = build(tailored(max_dim, tensor), 2)
        content = weights_file.serialise(model.transformer, tensor_power_report.construction_entry(model))
        digests.add(hashlib.sha256(content).hexdigest())
        yield require(len(digests) == 1, f"d={dim}: the same {len(content)} bytes")
        validate(max_dim, tensor, start)
        yield require(encode(model, tensor, start).shape == (max_dim, 72), f"d={dim}: 7 tokens of width 72")


tensor_one_theta.control("weights for d instead of d0", tailored=lambda max_dim, tensor: len(tensor))
test_one_theta, test_one_theta_controls = tensor_one_theta.tests()
