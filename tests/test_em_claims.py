"""What an exported EM run claims; that the claims are true, and false of other files: test_verify.py."""

import json
from dataclasses import replace
from math import expm1, inf

import numpy as np
import pytest

from constructions import kept_streams, rounding_error
from constructions.algorithms.em import em_step
from constructions.em_claims import claimed
from constructions.em_run import EmRun, run
from constructions.em_transformer import build, pool


@pytest.fixture
def two_steps(small_em, task) -> EmRun:
    return run(build(small_em.task_class, small_em.approximation, 2), *task)


def by_name(result: EmRun) -> dict[str, dict]:
    entries, _ = claimed(result)
    json.dumps(entries, allow_nan=False)
    return {entry["name"]: entry for entry in entries}


def test_the_steps_start_from_the_tokens_that_enter_them(two_steps):
    entries, (_, arrays) = by_name(two_steps), claimed(two_steps)
    starts = {name: (e.get("input", "input.npy"), e.get("layers")) for name, e in entries.items()}
    first, last = ("input.npy", [0, 2]), ("before_step_2.npy", [2, 4])
    parts = ("mu", "pi", "log_pi", "log_pi, unused", "sq_norm", "w, log_w")
    outputs = {f"output: {name}": last for name in parts} | {f"before_step_2: {name}": first for name in parts}
    assert starts == {
        "step 1: means": first, "step 1: weights": first, "step 2: means": last, "step 2: weights": last, **outputs,
        "before_step_2: samples, component and one stay": first,
        "output: samples, component and one stay": ("input.npy", [0, 4]),
    }  # fmt: skip
    before, stream = arrays["before_step_2.npy"], two_steps.em.stream
    entering = pool(*(before[:, stream[name]] for name in ("component", "mu", "pi")))
    assert np.array_equal(entering.weights[:5], two_steps.steps[0].estimate.weights)
    weights, means = em_step(two_steps.samples, two_steps.steps[0].estimate.weights, two_steps.steps[0].estimate.means)
    assert entries["step 2: means"]["reference"] == means.tolist()
    assert entries["step 2: weights"]["reference"] == [weights.tolist()]


def test_one_step_needs_no_more_tokens(small_em, task):
    result = run(small_em, *task)
    _, arrays = claimed(result)
    assert list(arrays) == ["pooling.npy"]
    entries = by_name(result)
    assert {entry.get("input", "input.npy") for entry in entries.values()} == {"input.npy"}
    assert [name for name in entries if name.startswith("step")] == ["step 1: means", "step 1: weights"]


def test_the_read_outs_are_those_of_the_run(two_steps):
    """Remark F.3's pooling, in d = 3 of 7 and K = 5 of 11."""
    entries, (_, arrays) = by_name(two_steps), claimed(two_steps)
    estimate = two_steps.steps[-1].estimate
    means = arrays["pooling.npy"] @ two_steps.output[:, entries["step 2: means"]["coordinates"]]
    assert means == pytest.approx(estimate.means, rel=1e-14, abs=1e-15)
    weights = entries["step 2: weights"]
    assert two_steps.output[np.ix_(weights["tokens"], weights["coordinates"])].tolist() == [estimate.weights.tolist()]


def test_the_bounds_are_those_of_the_run(two_steps):
    entries, step, approximation = by_name(two_steps), two_steps.steps[-1], two_steps.em.approximation
    assert entries["step 2: means"]["bound"] == step.mean_bounds.tolist()
    assert entries["step 2: means"]["trivial"] == two_steps.diameter
    (bound,) = entries["step 2: weights"]["bound"]
    assert bound == pytest.approx(step.exact.weights * expm1(step.log_weight_bound), rel=1e-12, abs=0)
    mean, log_weight = 2 * step.rounding.mean, 2 * step.rounding.log_weight
    unused = rounding_of_unused(two_steps, 5)
    reach = 2 * (np.linalg.norm(step.estimate.means, axis=1).max() + mean)
    reach += 3**0.5 * approximation.radius / approximation.pieces
    expected = {
        "mu": mean,
        "pi": max(step.estimate.weights) * expm1(log_weight),
        "log_pi": (2 + approximation.chord_width) * log_weight,
        "log_pi, unused": 2 * unused,
        "sq_norm": reach * mean + 2 * log_weight,
        "w, log_w": 2.0**-53,
    }
    for name, value in expected.items():
        assert entries[f"output: {name}"]["bound"] == pytest.approx(value, rel=1e-12, abs=0), name
    stays = entries["output: samples, component and one stay"]
    names = ("x", "one", "component")
    assert stays["bound"] == 0
    assert stays["coordinates"] == [
        place for name in names for place in range(two_steps.em.stream.width)[two_steps.em.stream[name]]
    ]


def rounding_of_unused(result: EmRun, components: int) -> float:
    """γ_n Σ_j |W2_cj| relu(W1_j,one), unit by unit."""
    mlp, stream = result.em.transformer.stored_layers[1].mlp, result.em.stream
    rows = range(stream["log_pi"].start + components, stream["log_pi"].stop)
    sums = [
        sum(
            abs(float(weight)) * max(float(unit[stream["one"].start]), 0)
            for weight, unit in zip(row, mlp.w1, strict=True)
        )
        for row in (mlp.w2[place] for place in rows)
    ]
    count = (len(mlp.w1) + 2) * 2.0**-53
    return max(sums) * count / (1 - count)


def test_every_coordinate_and_every_step_is_claimed(small_em, task):
    """Three steps; each coordinate of every array that came out of one is in exactly one claim from all tokens."""
    result = run(build(small_em.task_class, small_em.approximation, 3), *task)
    entries, arrays = claimed(result)
    assert set(arrays) == {"pooling.npy", "before_step_2.npy", "before_step_3.npy"}
    for after in ("before_step_2.npy", "before_step_3.npy", "output.npy"):
        judged = [place for entry in entries if entry["reference"] == after for place in entry["coordinates"]]
        assert sorted(judged) == list(range(result.em.stream.width))
    assert all("tokens" not in entry for entry in entries if isinstance(entry["reference"], str))
    steps = [entry["name"] for entry in entries if entry["name"].startswith("step")]
    assert steps == [f"step {step}: {what}" for step in (1, 2, 3) for what in ("means", "weights")]


def test_steps_that_a_run_does_not_keep_are_not_claimed(small_em, task, monkeypatch):
    """Four steps, of which the first stream between two is kept, and the last."""
    model = build(small_em.task_class, small_em.approximation, 4)
    size = model.stream.width * len(run(model, *task).tokens)
    for limit, value, kept in (("KEPT", size, [2, 4]), ("KEPT", 2 * size, [2, 3, 4]), ("KEPT_STEPS", 3, [2, 4])):
        with monkeypatch.context() as lowered:
            lowered.setattr(kept_streams, limit, value)
            result = run(model, *task)
        assert list(result.entering) == kept
        starts = {entry["name"]: entry.get("input") for entry in claimed(result)[0]}
        assert [step for step in (1, 2, 3, 4) if f"step {step}: means" in starts] == [1, *kept]
        assert starts["output: mu"] == "before_step_4.npy"


@pytest.mark.parametrize("what", ["not applicable", "no bound", "no allowance"])
def test_what_has_no_bound_is_not_claimed(what, two_steps):
    step = two_steps.steps[-1]
    change = {
        "not applicable": {"status": "not applicable"},
        "no bound": {"mean_bounds": np.full(5, inf), "log_weight_bound": 1e5},
        "no allowance": {"rounding": rounding_error.Allowance(inf, 0.1)},
    }[what]
    entries = by_name(replace(two_steps, steps=(two_steps.steps[0], replace(step, **change))))
    claims_step = what == "no allowance"
    assert [name in entries for name in ("step 2: means", "step 2: weights")] == [claims_step, claims_step]
    assert ("output: mu" in entries) == (what == "no bound")
    assert "step 1: means" in entries
    assert "output: samples, component and one stay" in entries
