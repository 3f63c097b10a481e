"""A run as text and as JSON; that both say what the run says is checked in test_tensor_power_command.py."""

import argparse
import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from constructions import tensor_power_report
from constructions.normalisation import normalisation
from constructions.tensor_power_report import RESTS_ON, TITLES
from constructions.tensor_power_run import run
from constructions.tensor_power_transformer import ATTENTION_ONLY, THEOREM, build, normalised_form, softmax_form

OPTIONS = argparse.Namespace(
    tensor="some.npy", start="random", layers=4, dtype="float64", seed=3, execution="structured"
)
FORMS = [THEOREM, ATTENTION_ONLY, softmax_form(Fraction(1, 2**13)), normalised_form(normalisation(0.1, 7.0, 5))]
NAMES = [form.name for form in FORMS]


@pytest.fixture
def task(rng):
    return rng.standard_normal((3, 3, 3)), np.array([0.5, -0.25, 0.75])


def test_what_is_not_finite_is_null(task):
    """Strict JSON, and still a text."""
    result = run(build(5, 1), *task)
    vector = np.array([0.5, np.nan, -np.inf])
    step = replace(result.steps[0], vector=vector, bound=np.inf, status="refuted", reason="why")
    lost = replace(result, steps=(step,))
    content = tensor_power_report.as_json(lost, None, OPTIONS)
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["vector"] == [0.5, None, None]
    assert content["reference"] == result.steps[0].reference.tolist()
    assert (content["difference"], content["bound"], content["status"]) == (None, None, "refuted")
    assert content["steps"] == [{"step": 1, "difference": None, "bound": None, "status": "refuted", "reason": "why"}]
    text = tensor_power_report.tables(lost, None, content, "run           0.12 s, dense execution")
    assert "refuted: why" in text
    assert "(0.5, nan, -inf)" in text
    assert "0.12 s" in text


def test_a_mebibyte_is_2_to_the_20_bytes():
    model = build(17, 1)
    size = 8 * sum(matrix.numel() for matrix in model.transformer.parameters())
    assert f"{size / 1e6:.3g}" != f"{size / 1048576:.3g}"
    assert f", {size / 1048576:.3g} MiB of float64" in tensor_power_report.preamble(model, 3, OPTIONS)


def test_the_last_step_is_the_result(task):
    result = run(build(5, 2), *task)
    content = tensor_power_report.as_json(result, None, OPTIONS)
    assert content["vector"] == result.steps[1].vector.tolist()
    assert content["reference"] == result.steps[1].reference.tolist()
    assert (content["difference"], content["bound"]) == (result.steps[1].difference, result.steps[1].bound)
    assert (content["seed"], content["layers"], content["max_dim"]) == (3, 4, 5)
    assert content["tensor"] == {"name": "some.npy", "dim": 3}
    assert content["start"] == [0.5, -0.25, 0.75]
    assert not {"exact", "exact_equal"} & content.keys()


@pytest.mark.parametrize("form", FORMS, ids=NAMES)
def test_every_form_says_what_it_is_and_what_it_rests_on(form, task):
    result = run(build(5, 2, form), *task)
    content = tensor_power_report.as_json(result, None, OPTIONS)
    assert content["rest_on"] == [*RESTS_ON[form.name], "execution-rounding"]
    assert RESTS_ON[form.name]
    preamble = tensor_power_report.preamble(result.model, 3, OPTIONS)
    assert TITLES[form.name] in preamble
    assert "tensor some.npy, d = 3; start random; 2 iterations" in preamble
    assert ("score scale s = 2^-13, tokens in twins" in preamble) == (form.name == "softmax")
    assert f"d0 = 5: {10 if form.twins else 5} tokens of width {result.model.stream.width}" in preamble
    if form.normalisation is not None:
        sizes = f"{form.normalisation.segments} chords of 1/sqrt, {form.normalisation.pieces} of the square"
        assert f"0.1 <= |T(I,v,v)| <= 7: {sizes}" in preamble
    entry = tensor_power_report.construction_entry(result.model)
    assert json.loads(json.dumps(entry, allow_nan=False))["name"] == f"tensor_power_transformer/{form.name}"
    assert entry["layout"].keys() == result.model.stream.layout.keys()
    assert entry["scale"] == (2.0**-13 if form.name == "softmax" else None)


def test_the_entry_knows_neither_tensor_nor_start_nor_steps(task):
    assert tensor_power_report.construction_entry(build(5, 1)) == tensor_power_report.construction_entry(build(5, 7))


def test_long_vectors_are_cut_in_the_text_only(rng):
    result = run(build(11, 1), rng.standard_normal((11, 11, 11)), rng.standard_normal(11))
    content = tensor_power_report.as_json(result, None, OPTIONS)
    assert len(content["vector"]) == 11
    text = tensor_power_report.tables(result, None, content, "run")
    assert text.count("…") == 2
    assert f"{content['vector'][7]:.6g}, …)" in text
    for dim, cuts in ((8, 0), (9, 2)):
        other = run(build(11, 1), rng.standard_normal((dim, dim, dim)), rng.standard_normal(dim))
        content = tensor_power_report.as_json(other, None, OPTIONS)
        assert tensor_power_report.tables(other, None, content, "run").count("…") == cuts
