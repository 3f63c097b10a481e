"""Descriptions lowered to matrices, in three number systems, for two constructions."""

from fractions import Fraction

import flint
import numpy as np
import pytest

from constructions.compiler import Head, Layer, Mlp, hidden_layout, lower, lower_head, lower_mlp
from constructions.em_class import TaskClass, split_tolerance
from constructions.em_transformer import E_STEP, M_STEP, residual_stream
from constructions.number_system import FLOAT64, Balls, Rationals
from constructions.relu_networks import square_network
from constructions.residual_stream import ResidualStream
from constructions.rounding_error import gamma
from constructions.weights import LayerWeights

UNIT = 2.0**-53
STREAM = ResidualStream({"x": 3, "y": 3, "z": 5, "total": 1, "one": 1})


def coordinate(reference: str) -> int:
    return STREAM[reference].start


def fraction(number: object) -> Fraction:
    return Fraction(number) if isinstance(number, float) else Fraction(int(number.p), int(number.q))


def test_a_head_is_a_bilinear_form_and_a_move():
    head = Head(score=[("x", "y"), ("one", "total", Fraction(-1, 2)), ("z[1:4]", "x", 3)], move=[("y", "z[2:5]", 7)])
    lowered = lower_head(head, STREAM, FLOAT64)
    form, move = np.zeros((13, 13)), np.zeros((13, 13))
    for i in range(3):
        form[coordinate(f"x[{i}]"), coordinate(f"y[{i}]")] = 1
        form[coordinate(f"z[{1 + i}]"), coordinate(f"x[{i}]")] = 3
        move[coordinate(f"z[{2 + i}]"), coordinate(f"y[{i}]")] = 7
    form[coordinate("one"), coordinate("total")] = -0.5
    assert np.array_equal(lowered.query.T @ lowered.key, form)
    assert np.array_equal(lowered.output @ lowered.value, move)
    assert lowered.query.shape == (7, 13)
    assert lowered.output.shape == (13, 3)


def test_an_empty_score_is_a_row_of_zeros():
    lowered = lower_head(Head(score=[], move=[("x", "y")]), STREAM, FLOAT64)
    assert np.array_equal(lowered.query, np.zeros((1, 13)))
    assert np.array_equal(lowered.key, np.zeros((1, 13)))


def dyadic_mlp_output(mlp: Mlp, h: np.ndarray) -> np.ndarray:
    w1, w2 = lower_mlp(mlp, STREAM, {"square": square_network(4.0, 8)}, FLOAT64)
    return h + np.maximum(h @ w1.T, 0) @ w2.T


def test_an_mlp_applies_moves_and_clears_in_parallel(rng):
    """Multiples of 1/4 with the square network's knots at multiples of 1/2: float64 is exact."""
    h = rng.integers(-16, 17, size=(11, 13)) / 4.0
    h[:, coordinate("one")] = 1
    mlp = Mlp(
        apply=[("square", "x", "y"), ("square", "x", "total")],
        move=[("z[0:3]", "x"), ("z[3:5]", "z[0:2]", Fraction(-3, 2))],
        clear=["y", "z[4]", "x[1]"],
    )
    square = square_network(4.0, 8)(h)
    expected = h.copy()
    expected[:, 3:6] = square[:, 0:3]  # y cleared and written in one MLP
    expected[:, coordinate("total")] += square[:, 0:3].sum(axis=1)
    expected[:, 0:3] += h[:, 6:9]
    expected[:, 1] -= h[:, 1]
    expected[:, 6:8] -= 1.5 * h[:, 9:11]
    expected[:, 10] = 0
    assert np.array_equal(dyadic_mlp_output(mlp, h), expected)


def test_a_network_may_read_the_constant(rng):
    """A source that is `one` itself shares its column with the biases."""
    h = rng.integers(-16, 17, size=(7, 13)) / 4.0
    h[:, coordinate("one")] = 1
    expected = h.copy()
    expected[:, coordinate("total")] += 1  # 1² is at a knot
    assert np.array_equal(dyadic_mlp_output(Mlp(apply=[("square", "one", "total")]), h), expected)


def test_the_hidden_layout_says_what_each_unit_reads_and_writes():
    networks = {"square": square_network(4.0, 5)}
    mlp = Mlp(apply=[("square", "x", "y"), ("square", "z", "total")], move=[("x", "y", 2)], clear=["z"])
    w1, w2 = lower_mlp(mlp, STREAM, networks, FLOAT64)
    blocks = hidden_layout(mlp, STREAM, networks)
    assert [(block.name, block.start, block.stop) for block in blocks] == [
        ("square(x)->y", 0, 30),
        ("square(z)->total", 30, 80),
        ("move(x)->y", 80, 86),
        ("clear(z)", 86, 96),
    ]
    assert w1.shape == w2.T.shape == (96, 13)
    for block, source, target in zip(blocks, ("x", "z", "x", "z"), ("y", "total", "y", "z"), strict=True):
        units = slice(block.start, block.stop)
        read = set(np.flatnonzero(np.abs(w1[units]).sum(axis=0)))
        written = set(np.flatnonzero(np.abs(w2[:, units]).sum(axis=1)))
        assert read - {coordinate("one")} == set(range(STREAM[source].start, STREAM[source].stop))
        assert written == set(range(STREAM[target].start, STREAM[target].stop))


def test_rational_lowering_equals_float_lowering():
    layers = [
        Layer(
            heads=[Head(score=[("x", "y", Fraction(-1, 2)), ("one", "total")], move=[("z", "z", 3)])],
            mlp=Mlp(apply=[("square", "y", "total")], move=[("x", "y", -0.25)], clear=["x", "total"]),
        ),
        Layer(heads=[Head(score=[], move=[("y", "x")])], activation="relu"),
    ]
    exact, floats = (
        lower(layers, [0, 1, 0], STREAM, {"square": square_network(numbers.number(6), 8, numbers)}, numbers)
        for numbers in (Rationals(), FLOAT64)
    )
    assert exact.schedule == floats.schedule == (0, 1, 0)
    assert [layer.activation for layer in exact.layers] == ["softmax", "relu"]
    assert exact.layers[1].w1 is None
    matrices = list(zip(matrices_of(exact.layers), matrices_of(floats.layers), strict=True))
    assert len(matrices) == 4 + 2 + 4
    for rational, double in matrices:
        assert rational.shape == double.shape
        assert [fraction(entry) for entry in rational.ravel()] == [Fraction(entry) for entry in double.ravel().tolist()]


@pytest.mark.parametrize(("construction", "radius"), [("floor", 5.0), ("paper", 3.0)])
def test_every_float_weight_of_the_em_transformer_is_near_its_ball(construction, radius):
    """Entries without exp agree to the 2u of h = B/n' and 2h; those of the log network to (4S + 10)u.

    S = max(log A, log high): three roundings of a knot's logarithm, each at most S·u and turned by exp into
    relative errors; exp, r, expm1 and the quotient add at most 2u each.
    """
    task_class = TaskClass(max_dim=2, max_components=3, radius=radius, min_weight=0.03)
    approximation = split_tolerance(task_class, 1.0, construction)
    allowed = (4 * approximation.log_a + 10) * UNIT
    stream = residual_stream(2, 3)
    with flint.ctx.workprec(128):
        balls, floats = (
            lower((E_STEP, M_STEP), (0, 1), stream, approximation.networks("left", numbers), numbers)
            for numbers in (Balls(), FLOAT64)
        )
        for exact, double in zip(matrices_of(balls.layers), matrices_of(floats.layers), strict=True):
            assert exact.shape == double.shape
            for ball, value in zip(exact.ravel(), double.ravel().tolist(), strict=True):
                assert abs(flint.arb(value) - ball) <= abs(ball) * allowed
                assert ball.rad() <= abs(ball) * 2.0**-100  # the enclosure itself is narrow


def matrices_of(layers: tuple[LayerWeights, ...]) -> list[np.ndarray]:
    heads = [m for layer in layers for head in layer.heads for m in (head.query, head.key, head.value, head.output)]
    return heads + [m for layer in layers for m in (layer.w1, layer.w2) if m is not None]


def tensor_power_layers(d0: int) -> tuple[Layer, Layer]:
    """Section G.2: every token learns its coordinate of v; then the heads sum T(I, v, v)."""
    odd = [Head(score=[("basis", "vec", sign)], move=[("one", "scalar", sign)]) for sign in (1, -1)]
    even = [
        Head(score=[(f"vec[{j}]", "scalar", sign)], move=[(f"slice[{j * d0}:{(j + 1) * d0}]", "new", sign * d0)])
        for j in range(d0)
        for sign in (1, -1)
    ]
    update = Mlp(move=[("new", "vec")], clear=["vec", "new", "scalar"])
    return Layer(odd, activation="relu"), Layer(even, update, activation="relu")


def run_literally(layer: LayerWeights, h: np.ndarray, zero: object) -> np.ndarray:
    """Definition 7 and the MLP on arrays of any scalars; tokens are rows."""
    relu = np.vectorize(lambda value: max(value, zero), otypes=[h.dtype])
    update = h * zero
    for head in layer.heads:
        scores = relu((h @ head.query.T) @ (h @ head.key.T).T) / len(h)
        update = update + scores @ (h @ head.value.T @ head.output.T)
    h = h + update
    return h if layer.w1 is None else h + relu(h @ layer.w1.T) @ layer.w2.T


@pytest.mark.parametrize("numbers", [Rationals(), FLOAT64], ids=["rationals", "floats"])
def test_another_construction_the_tensor_power_step(numbers, rng):
    """T(I, v, v) to the last bit over the rationals, and to the rounding of about 2N + 2d terms in float64."""
    d = 3
    stream = ResidualStream({"slice": d * d, "vec": d, "new": d, "scalar": 1, "one": 1, "basis": d})
    weights = lower(tensor_power_layers(d), (0, 1), stream, {}, numbers)
    tensor, v = rng.integers(-9, 10, size=(d, d, d)), rng.integers(-9, 10, size=d)
    h = numbers.zeros((d, stream.width))
    for m in range(d):
        for where, entries in (("slice", tensor[:, :, m].T.ravel()), ("vec", v), ("one", [1]), ("basis", np.eye(d)[m])):
            h[m, stream[where]] = [numbers.number(int(entry)) for entry in entries]
    odd = run_literally(weights.layers[0], h, numbers.number(0))
    even = run_literally(weights.layers[1], odd, numbers.number(0))
    power, bound = np.einsum("ajm,j,m->a", tensor, v, v), np.einsum("ajm,j,m->a", *map(abs, (tensor, v, v)))
    unit = 0 if numbers is not FLOAT64 else gamma(8 * d + 8, UNIT)
    for m in range(d):
        assert abs(fraction(odd[m, stream["scalar"].start]) - int(v[m])) <= unit * abs(v[m])
        for got, exact, size in zip(even[m, stream["vec"]], power, bound, strict=True):
            assert abs(fraction(got) - int(exact)) <= 2 * unit * (size + np.abs(v).max())
        assert [fraction(z) for z in even[m, stream["new"]]] == [0] * d
        assert fraction(even[m, stream["scalar"].start]) == 0


@pytest.mark.parametrize(
    ("layer", "fault"),
    [
        (Layer([Head(score=[("x", "z")], move=[("x", "y")])]), "'x' has size 3 and 'z' has size 5"),
        (Layer([Head(score=[], move=[("z", "x")])]), "'z' has size 5|'x' has size 3"),
        (Layer([Head(score=[("x", "nowhere")], move=[])]), "'nowhere' names no subspace"),
        (Layer([Head(score=[("x[2:4]", "y[0:2]")], move=[])]), "leaves 'x'"),
        (Layer(mlp=Mlp(apply=[("square", "x", "z")])), "'x' has size 3 and 'z' has size 5"),
        (Layer(mlp=Mlp(apply=[("cube", "x", "y")])), "'cube' names no network of square"),
        (Layer(mlp=Mlp(move=[("x", "total")])), "'x' has size 3 and 'total' has size 1"),
        (Layer(mlp=Mlp(clear=["nowhere"])), "'nowhere' names no subspace"),
    ],
)
def test_inconsistent_descriptions_are_refused(layer, fault):
    with pytest.raises((ValueError, KeyError), match=fault):
        lower([layer], [0], STREAM, {"square": square_network(4.0, 8)})
