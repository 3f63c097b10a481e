"""What an exported tensor-power run claims; that the claims are true, and false of other files: test_verify.py."""

import json
from dataclasses import replace
from fractions import Fraction
from math import inf

import numpy as np
import pytest

from constructions import kept_streams, tensor_power_claims
from constructions import tensor_power_bounds as bounds
from constructions.normalisation import normalisation
from constructions.tensor_power_claims import claimed, exact_vectors
from constructions.tensor_power_run import PowerRun, magnitude, reached, run
from constructions.tensor_power_transformer import ATTENTION_ONLY, OVERWRITING, THEOREM, build, normalised_form
from constructions.tensors import orthogonal_tensor, random_start

FORMS = {"relu": THEOREM, "overwriting": OVERWRITING, "attention-only": ATTENTION_ONLY}
FORMS["normalised"] = normalised_form(normalisation(0.3, 3, 5))
AFTER = {1: "before_step_2", 2: "before_step_3", 3: "output"}


def made(form: str, rng: np.random.Generator, steps: int = 3) -> PowerRun:
    """d = 3 of 5; 1/√3 ≤ |T(I,v,v)| ≤ 2 for unit vectors v."""
    return run(build(5, steps, FORMS[form]), orthogonal_tensor(3, rng), random_start(3, rng))


def by_name(result: PowerRun) -> dict[str, dict]:
    entries, arrays = claimed(result)
    assert {entry["reference"] for entry in entries if isinstance(entry["reference"], str)} <= {*arrays, "output.npy"}
    json.dumps(entries, allow_nan=False)
    assert len({entry["name"] for entry in entries}) == len(entries)
    return {entry["name"]: entry for entry in entries}


@pytest.mark.parametrize("form", FORMS)
def test_every_coordinate_of_every_token_is_claimed_after_every_step(form, rng):
    """What stays, the result, what is cleared, or what is left without MLPs; each in one claim, of all tokens."""
    result = made(form, rng)
    entries, per_step = by_name(result), result.model.form.layers_per_step
    for step, after in AFTER.items():
        judged = [entry for entry in entries.values() if entry["reference"] == f"{after}.npy"]
        assert sorted(place for entry in judged for place in entry["coordinates"]) == [*range(result.output.shape[1])]
        assert all("tokens" not in entry for entry in judged)
        assert all("input" not in entry and entry["layers"] == [0, step * per_step] for entry in judged)
        assert entries[f"{after}: slice, one, basis stay"]["bound"] == 0
    vectors = [name for name in entries if name.startswith("vector") and "exactly" not in name]
    assert vectors == [f"vector, iteration {step}" for step in AFTER]


def test_the_arrays_are_the_streams_between_steps(rng):
    """Those of runs that end there, which the structured execution may round otherwise."""
    whole, (_, arrays) = made("relu", rng), claimed(made("relu", np.random.default_rng(20)))
    assert set(arrays) == {"before_step_2.npy", "before_step_3.npy"}
    for steps in (1, 2):
        shorter = run(build(5, steps, THEOREM), whole.tensor, whole.start)
        np.testing.assert_allclose(arrays[f"before_step_{steps + 1}.npy"], shorter.output, rtol=0, atol=1e-14)
        assert abs(shorter.output - whole.output).max() > 1e-3


def test_steps_that_a_run_does_not_keep_are_not_claimed(rng, monkeypatch):
    """Of five steps: the first stream between two is kept, and what goes into the last."""
    size = made("relu", rng).tokens.size
    for limit, value, kept in (("KEPT", size, [2, 5]), ("KEPT", 2 * size, [2, 3, 5]), ("KEPT_STEPS", 3, [2, 5])):
        with monkeypatch.context() as lowered:
            lowered.setattr(kept_streams, limit, value)
            result = made("relu", rng, 5)
        assert list(result.entering) == kept
        steps = [name for name in by_name(result) if name.startswith("vector") and "exactly" not in name]
        assert steps == [f"vector, iteration {step - 1}" for step in kept] + ["vector, iteration 5"]


@pytest.mark.parametrize("form", FORMS)
def test_the_bounds_are_those_of_the_run(form, rng):
    result = made(form, rng)
    entries, name = by_name(result), FORMS[form].result
    start = result.model.stream.layout[name][0]
    largest = max(1, abs(result.tokens).max(), *(magnitude(step.reference) for step in result.steps))
    for report, after in zip(result.steps, AFTER.values(), strict=True):
        vector, output = entries[f"vector, iteration {report.step}"], entries[f"{after}: {name}"]
        assert (vector["bound"], vector["trivial"]) == (report.bound, magnitude(report.reference))
        assert (vector["tokens"], vector["coordinates"]) == ([0], [start, start + 1, start + 2])
        assert vector["reference"] == [report.reference.tolist()]
        assert (output["bound"], output["norm"]) == (2 * report.bound, "euclidean")
        if form != "attention-only":
            (cleared,) = (entry for key, entry in entries.items() if key.startswith(after) and key.endswith("cleared"))
            assert cleared["bound"] == 2.0**-53 * largest


def test_what_is_left_in_scalar(rng):
    """Twice the bound of tokens 1..3, and 0 of the two that pad."""
    result = made("attention-only", rng)
    _, reach = reached(result.tensor, [result.start, *(step.reference for step in result.steps)])
    left = bounds.left_over_errors(result.tensor, reach, ATTENTION_ONLY, 5, result.model.dtype)
    for step, after in AFTER.items():
        entry = by_name(result)[f"{after}: what is left in scalar"]
        assert entry["norm"] == "absolute"
        assert entry["bound"] == [[2 * float(value)] for value in left[step]] + [[0.0], [0.0]]


@pytest.mark.parametrize("form", ["relu", "overwriting", "attention-only"])
def test_the_exact_vectors(form, rng):
    result = made(form, rng)
    vector = [Fraction(value) for value in result.start.tolist()]
    tensor = [[[Fraction(value) for value in row] for row in matrix] for matrix in result.tensor.tolist()]
    for step in AFTER:
        vector = [
            sum(tensor[a][j][m] * vector[j] * vector[m] for j in range(3) for m in range(3)) for a in range(3)
        ]  # fmt: skip
        entry = by_name(result)[f"vector, iteration {step}, exactly"]
        assert entry["reference"] == [[str(value) for value in vector]]
        assert (entry["bound"], entry["rounding"]) == (0, result.steps[step - 1].bound)


def test_an_exact_vector_that_is_too_long_is_not_claimed(rng, monkeypatch):
    result = made("relu", rng, 2)
    digits = max(entry.height_bits() for entry in [*exact_vectors(result)][1])
    for limit, vectors in ((digits / 3, 2), ((digits - 1) / 3, 1)):
        monkeypatch.setattr(tensor_power_claims, "LARGEST_DIGITS", limit)
        assert len([*exact_vectors(result)]) == vectors
        exact = [name for name in by_name(result) if name.endswith("exactly")]
        assert exact == [f"vector, iteration {step}, exactly" for step in (1, 2)[:vectors]]
    assert "vector, iteration 2" in by_name(result)
    assert [*exact_vectors(made("normalised", rng))] == []


@pytest.mark.parametrize("change", [{"status": "not applicable"}, {"bound": inf}], ids=str)
def test_what_has_no_bound_is_not_claimed(change, rng):
    result = made("relu", rng)
    last = replace(result.steps[-1], **change)
    names = [*by_name(replace(result, steps=(*result.steps[:-1], last)))]
    assert names[-2:] == ["before_step_3: new, scalar cleared", "output: slice, one, basis stay"]
