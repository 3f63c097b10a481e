"""The tensor-power demo in balls: every form, exact vectors inside the enclosures, broken layers refuted."""

from dataclasses import replace
from fractions import Fraction

import flint
import numpy as np
import pytest

from constructions import tensor_power_precision as balls
from constructions.compiler import Head, Layer
from constructions.errors import InputError
from constructions.normalisation import normalisation
from constructions.number_system import Balls
from constructions.tensor_power_transformer import (
    ATTENTION_ONLY,
    OVERWRITING,
    THEOREM,
    Form,
    build,
    normalised_form,
    normalised_layers,
    predict_bytes,
    softmax_form,
    softmax_layers,
    theorem_layers,
)
from constructions.tensors import as_rationals, random_start, random_tensor

KEYS = {
    "schema", "versions", "precision", "vector", "reference", "difference", "bound", "status", "steps", "rest_on",
    "tensor", "start", "construction", "scale", "normalisation", "max_dim", "layers", "seed",
}  # fmt: skip
RANGE = normalisation(0.1, 5.0, 7, error=0.1)
FORMS = {
    "relu": THEOREM,
    "overwriting": OVERWRITING,
    "attention-only": ATTENTION_ONLY,
    "softmax": softmax_form(balls.scale(96)),
    "normalised": normalised_form(RANGE),
}
ARGUMENTS = {
    "relu": [],
    "attention-only": ["--attention-only"],
    "softmax": ["--attention", "softmax"],
    "normalised": ["--normalise", 0.3, 4, "--tensor", "orthogonal"],
}


def ball(entry):
    """An enclosure of the JSON, from its text."""
    return flint.arb(entry["text"])


@pytest.fixture
def task(rng):
    """T and v of R³ as rationals, decimals of three digits."""
    return as_rationals(random_tensor(3, rng)), as_rationals(random_start(3, rng))


def enclosed(array):
    return np.vectorize(Balls().number, otypes=[object])(array)


def run(form, task, steps=2, bits=96, max_dim=7):
    with flint.ctx.workprec(bits):
        return balls.run(build(max_dim, steps, form), *map(enclosed, task))


def exact(task, steps):
    """The iteration over the rationals."""
    tensor, v = task
    for _ in range(steps):
        v = tensor @ v @ v
    return v


@pytest.mark.parametrize(("name", "form"), FORMS.items(), ids=FORMS)
def test_every_form_holds(name, form, task):
    steps = run(form, task)
    assert [(step.step, step.status) for step in steps] == [(1, "holds"), (2, "holds")]
    with flint.ctx.workprec(200):
        for step in steps:
            assert step.bound.is_zero() == (name in ("relu", "overwriting", "attention-only"))
            assert step.bound.is_zero() == step.reason.startswith("equal to within 2^-")
            assert 0 < step.radius < 2.0**-50
            v = exact(task, step.step)
            size = Fraction(1) if name != "normalised" else sum(x * x for x in v)
            for enclosure, number in zip(step.reference, v, strict=True):
                number = Balls().number(number) / Balls().number(size).sqrt()
                assert enclosure.overlaps(number)
                assert enclosure.rad() < 1e-26
            if step.bound.is_zero():
                for enclosure, number in zip(step.vector, v, strict=True):
                    assert enclosure.contains(flint.fmpq(number.numerator, number.denominator))


@pytest.mark.parametrize(("name", "arguments"), ARGUMENTS.items(), ids=ARGUMENTS)
def test_the_command(name, arguments, tensor_command, tmp_path):
    outcome = tensor_command("--layers", 8, "--dim", 3, "--precision", 100, "--json", "-", *arguments)
    assert outcome.code == 0
    content = outcome.json
    steps = 2 if name == "normalised" else 4
    assert content.keys() == KEYS
    assert content["construction"] == f"tensor_power_transformer/{name}"
    assert content["precision"] == {"given": 100, "used": 100}
    assert [step["status"] for step in content["steps"]] == ["holds"] * steps
    assert (content["scale"] == 2.0**-25) == (name == "softmax")
    assert "tensor-rounding" not in content["rest_on"]
    assert len(content["rest_on"]) == 1
    floats = tensor_command("--layers", 8, "--dim", 3, "--json", "-", *arguments).json
    for key in ("vector", "reference"):
        for entry, value in zip(content[key], floats[key], strict=True):
            assert abs(ball(entry) - value) < (1e-5 if name == "softmax" else 1e-12)
    assert [float(Fraction(value)) for value in content["start"]] == floats["start"]
    assert ball(content["difference"]) <= ball(content["bound"]).upper() + 1e-25
    assert outcome.err.count("holds") == steps
    for text in ("s in balls of 100 bits", "of 100-bit ball weights", content["vector"][2]["text"]):
        assert text in outcome.err


def test_few_bits_are_doubled(tensor_command):
    outcome = tensor_command("--layers", 6, "--precision", 16, "--json", "-")
    assert "undecided at 16 bits; trying 32\n" in outcome.err
    assert outcome.json["precision"] == {"given": 16, "used": 32}


def test_an_equality_at_0_is_left_to_rationals(tensor_command, tmp_path):
    """Terms that cancel: balls of any precision only reach towards the 0 that --exact finds."""
    tensor = np.zeros((2, 2, 2))
    tensor[0, 0, 0], tensor[0, 1, 1] = 0.1, -0.1
    np.save(tmp_path / "t.npy", tensor)
    np.save(tmp_path / "v.npy", np.array([0.3, 0.3]))
    outcome = tensor_command(
        "--layers", 2, "--precision", 700, "--tensor", tmp_path / "t.npy", "--start", tmp_path / "v.npy", "--json", "-"
    )
    assert outcome.code == 0
    assert "undecided at 1400 bits; no more are tried" in outcome.err
    assert (outcome.json["status"], outcome.json["precision"]["used"]) == ("undecided", 1400)


def test_numbers_beyond_floats(tensor_command, tmp_path):
    np.save(tmp_path / "t.npy", np.array([[["1e300"]]]))
    np.save(tmp_path / "v.npy", np.array(["1e300"]))
    task = ["--layers", 4, "--tensor", tmp_path / "t.npy", "--start", tmp_path / "v.npy"]
    assert tensor_command(*task).code == 2
    outcome = tensor_command(*task, "--precision", 64, "--json", "-")
    assert outcome.code == 0
    assert outcome.json["status"] == "holds"
    with flint.ctx.workprec(8000):
        assert ball(outcome.json["vector"][0]).contains(flint.arb(10) ** 2100)
    assert (outcome.json["vector"][0]["mid"], outcome.json["vector"][0]["rad"]) == (None, None)


def test_dyadic_numbers_are_equal_exactly():
    task = np.array([[[Fraction(3, 4)]]]), np.array([Fraction(5, 8)])
    (step,) = run(THEOREM, task, steps=1, max_dim=2)
    assert (step.status, step.reason) == ("holds", "equal exactly")
    assert step.radius.is_zero()
    assert float(step.vector[0]) == 0.75 * 0.625**2


def first_sign_lost(max_dim):
    own, even = theorem_layers(max_dim)
    return [Layer([own.heads[0], Head(own.heads[1].score, [("one", "scalar")])], activation="relu"), even]


def value_off(max_dim):
    own, even = softmax_layers(max_dim, Fraction(1, 2**24))
    heads = [Head(head.score, [(*head.move[0][:2], head.move[0][2] * Fraction(101, 100))]) for head in even.heads]
    return [own, replace(even, heads=heads)]


BROKEN: dict[str, Form] = {
    "a sign lost": replace(THEOREM, layers=first_sign_lost),
    "values 1 % off": replace(FORMS["softmax"], layers=value_off),
    "never scaled": replace(
        FORMS["normalised"], layers=lambda d: [*normalised_layers(d)[:3], Layer(mlp=normalised_layers(d)[3].mlp)]
    ),
}


@pytest.mark.parametrize(("name", "form"), BROKEN.items(), ids=BROKEN)
def test_broken_layers_are_refuted(name, form, task):
    assert "refuted" in [step.status for step in run(form, task)]


def test_coarser_networks_than_promised_are_refuted(task, monkeypatch):
    """The bound of a range with more chords than the network has."""
    finer = replace(RANGE, segments=20 * RANGE.segments)
    fair = balls.norm_error
    monkeypatch.setattr(balls, "norm_error", lambda range_, dim: fair(finer, dim) / 100)
    assert "refuted" in [step.status for step in run(FORMS["normalised"], task)]


@pytest.mark.parametrize("exponent", [0, 1, 2, 4, 8, 16])
def test_the_softmax_bound_at_every_scale(exponent, task):
    """Coarse scales included, where it is vacuous at worst; at fine ones it is not far off."""
    steps = run(softmax_form(Fraction(1, 2**exponent)), task, steps=4)
    assert {step.status for step in steps} <= {"holds", "vacuous"}
    if exponent >= 4:
        assert steps[0].status == "holds"
        assert steps[0].difference > steps[0].bound / 100


def test_the_norm_bound_is_the_float_run_s():
    with flint.ctx.workprec(100):
        for dim in (1, 3, 7):
            assert abs(balls.norm_error(RANGE, dim) - max(RANGE.norm_errors(dim))) < 1e-14


def test_a_norm_outside_the_range_is_not_applicable(task):
    steps = run(normalised_form(normalisation(4.0, 5.0, 7)), task)
    assert [step.status for step in steps] == ["not applicable"] * 2
    assert "in step 1 |T(I,v,v)| =" in steps[1].reason
    assert "leaves the range" in steps[1].reason


def arb(*numbers):
    return flint.arb(*numbers)


FINE = ("holds", "")
CASES = [
    (arb(0.25), arb(0.5), arb(1), FINE, "holds"),
    (arb(0.5, 0.1), arb(0.5), arb(1), FINE, "undecided"),
    (arb(0.75), arb(0.5), arb(1), FINE, "refuted"),
    (arb(0.25), arb(1), arb(1), FINE, "vacuous"),
    (arb(0.25), arb(0.9, 0.2), arb(1), FINE, "undecided"),
    (arb("nan"), arb(0.5), arb(1), FINE, "undecided"),
    (arb(0, 2.0**-40), arb(0), arb(1), FINE, "holds"),
    (arb(0, 2.0**-40), arb(0), arb(2.0**-30), FINE, "undecided"),
    (arb(0, 2.0**-40), arb(0), arb(0, 1), FINE, "undecided"),
    (arb(0), arb(0), arb(0), FINE, "holds"),
    (arb(2.0**-60), arb(0), arb(1), FINE, "refuted"),
    (arb(0.75), arb(0.5), arb(1), ("undecided", "whether"), "undecided"),
    (arb(0.75), arb(0.5), arb(1), ("not applicable", "out"), "not applicable"),
]


@pytest.mark.parametrize(("difference", "bound", "size", "excuse", "status"), CASES, ids=str)
def test_a_verdict_needs_a_proof(difference, bound, size, excuse, status):
    with flint.ctx.workprec(64):
        assert balls.judge(difference, bound, size, excuse)[0] == status


def test_the_range_is_left_certainly_or_undecided():
    for size, status in (
        (arb(1), "holds"),
        (arb(0.09), "not applicable"),
        (arb(5.5), "not applicable"),
        (arb(0.1, 0.01), "undecided"),
        (arb(5, 0.01), "undecided"),
    ):
        assert balls._within(RANGE, size, 3)[0] == status


def test_the_scale_is_held_by_floats():
    assert [balls.scale(bits) for bits in (16, 128)] == [Fraction(1, 2**4), Fraction(1, 2**32)]
    assert balls.scale(2**16) == Fraction(1, 2**480)
    (step,) = run(
        softmax_form(balls.scale(2**16)), (np.array([[[Fraction(1, 3)]]]), np.array([Fraction(1, 2)])), 1, 2048
    )
    assert step.status == "holds"


def test_zero_cannot_be_normalised(task):
    with pytest.raises(InputError, match=r"T\(I,v,v\) is 0 in step 1; it cannot be normalised"):
        run(FORMS["normalised"], (np.full((3, 3, 3), Fraction(0)), task[1]))


def test_what_does_not_fit_is_refused(tensor_command):
    few, many = (balls.predicted_bytes(THEOREM, 7, 7, bits) for bits in (64, 65536))
    assert 2 * predict_bytes(7) < few < many
    tensor_command("--layers", 2, "--dim", 60, "--precision", 65536).assert_refused(
        "d = 60", "GiB in balls of 65536 bits", "limit of 2 GiB", "--precision"
    )


def test_equality_in_rationals_needs_no_balls(tensor_command):
    tensor_command("--layers", 2, "--precision", 64, "--exact").assert_refused("--precision 64", "--exact")


def test_long_vectors_are_cut_in_the_text_only(tensor_command):
    outcome = tensor_command("--layers", 2, "--dim", 13, "--precision", 64, "--json", "-")
    assert len(outcome.json["vector"]) == 13
    assert "v_8" in outcome.err
    assert "v_9" not in outcome.err
    assert outcome.err.rstrip().endswith("…")
