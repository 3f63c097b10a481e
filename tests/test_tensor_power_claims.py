"""What an exported tensor-power run claims; that the claims are true, and false of other files: test_verify.py."""

import json
from dataclasses import replace
from fractions import Fraction
from math import inf

import numpy as np
import pytest

from constructions import tensor_power_claims
from constructions.normalisation import normalisation
from constructions.tensor_power_claims import claimed, exact_vector
from constructions.tensor_power_run import PowerRun, magnitude, run
from constructions.tensor_power_transformer import ATTENTION_ONLY, OVERWRITING, THEOREM, build, normalised_form
from constructions.tensors import orthogonal_tensor, random_start

FORMS = {"relu": THEOREM, "overwriting": OVERWRITING, "attention-only": ATTENTION_ONLY}
FORMS["normalised"] = normalised_form(normalisation(0.3, 3, 5))


def made(form: str, rng: np.random.Generator) -> PowerRun:
    """d = 3 of 5; 1/√3 ≤ |T(I,v,v)| ≤ 2 for unit vectors v."""
    return run(build(5, 2, FORMS[form]), orthogonal_tensor(3, rng), random_start(3, rng))


def by_name(result: PowerRun) -> dict[str, dict]:
    entries, arrays = claimed(result)
    assert arrays == {}
    json.dumps(entries, allow_nan=False)
    return {entry["name"]: entry for entry in entries}


@pytest.mark.parametrize("form", FORMS)
def test_every_coordinate_is_claimed_once(form, rng):
    """What stays, the result, what is cleared; without MLPs `scalar` keeps its rounding, and nothing is said of it."""
    result = made(form, rng)
    entries, layout = by_name(result), result.model.stream.layout
    outputs = [e for name, e in entries.items() if not name.startswith("vector")]
    claims = sorted(place for entry in outputs for place in entry["coordinates"])
    silent = range(*layout["scalar"]) if form == "attention-only" else ()
    assert claims == [place for place in range(result.model.stream.width) if place not in silent]
    assert entries["slice, one, basis stay"]["bound"] == 0


@pytest.mark.parametrize("form", FORMS)
def test_the_bounds_are_those_of_the_run(form, rng):
    result = made(form, rng)
    entries, final, name = by_name(result), result.steps[-1], FORMS[form].result
    vector, output = entries["vector, iteration 2"], entries[f"output: {name}"]
    start = result.model.stream.layout[name][0]
    assert (vector["bound"], vector["trivial"]) == (final.bound, magnitude(final.reference))
    assert (vector["tokens"], vector["coordinates"]) == ([0], [start, start + 1, start + 2])
    assert vector["reference"] == [final.reference.tolist()]
    assert output["bound"] == 2 * final.bound
    assert output.get("tokens") == ([0] if form == "normalised" else None)
    if form != "attention-only":
        (cleared,) = (entry for name, entry in entries.items() if name.endswith("cleared"))
        largest = max(1, abs(result.tokens).max(), *(magnitude(step.reference) for step in result.steps))
        assert cleared["bound"] == 2.0**-53 * largest


@pytest.mark.parametrize("form", ["relu", "overwriting", "attention-only"])
def test_the_exact_vector(form, rng):
    result = made(form, rng)
    vector = [Fraction(value) for value in result.start.tolist()]
    tensor = [[[Fraction(value) for value in row] for row in matrix] for matrix in result.tensor.tolist()]
    for _ in range(2):
        vector = [
            sum(tensor[a][j][m] * vector[j] * vector[m] for j in range(3) for m in range(3)) for a in range(3)
        ]  # fmt: skip
    entry = by_name(result)["vector, iteration 2, exactly"]
    assert entry["reference"] == [[str(value) for value in vector]]
    assert (entry["bound"], entry["rounding"]) == (0, result.steps[-1].bound)


def test_an_exact_vector_that_is_too_long_is_not_claimed(rng, monkeypatch):
    result = made("relu", rng)
    digits = max(entry.height_bits() for entry in exact_vector(result))
    monkeypatch.setattr(tensor_power_claims, "LARGEST_DIGITS", digits / 3)
    assert exact_vector(result) is not None
    monkeypatch.setattr(tensor_power_claims, "LARGEST_DIGITS", (digits - 1) / 3)
    assert exact_vector(result) is None
    assert "vector, iteration 2" in by_name(result)
    assert "vector, iteration 2, exactly" not in by_name(result)
    assert exact_vector(made("normalised", rng)) is None


@pytest.mark.parametrize("change", [{"status": "not applicable"}, {"bound": inf}], ids=str)
def test_what_has_no_bound_is_not_claimed(change, rng):
    result = made("relu", rng)
    last = replace(result.steps[-1], **change)
    assert list(by_name(replace(result, steps=(result.steps[0], last)))) == ["slice, one, basis stay"]
