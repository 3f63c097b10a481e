"""The EM demo in balls: what it prints and writes, what its verdicts need, and that broken networks are refuted."""

from dataclasses import replace
from itertools import chain

import flint
import numpy as np
import pytest

from constructions import em_enclosure, em_precision, precision
from constructions.algorithms.sampling import Mixture
from constructions.balls import to_balls
from constructions.dtypes import DTYPES
from constructions.em_class import TaskClass, split_tolerance
from constructions.em_enclosure import Parameters, StepEnclosure
from constructions.em_transformer import predict_size
from constructions.errors import InputError
from constructions.relu_networks import ReluNetwork

SMALL = TaskClass(max_dim=3, max_components=5, radius=3.0, min_weight=0.02)
KEYS = {
    "schema", "versions", "precision", "weights", "means", "reference", "errors", "bounds", "samples_used",
    "last_step", "warnings",
    "samples_given", "data", "start", "construction", "approximation", "tolerance", "class", "layers", "seed",
}  # fmt: skip


def ball(entry):
    """An enclosure of the JSON, from its text."""
    return flint.arb(entry["text"])


def enclosures(mixture):
    """All weights and coordinates, as the JSON has them."""
    return mixture["weights"] + list(chain(*mixture["means"]))


def arb(*numbers):
    return flint.arb(*numbers)


@pytest.fixture
def small_task(rng):
    """29 samples in R², of which K = 3 components use 27, around three centres at different distances from 0."""
    centres = np.array([[0.0, 0.0], [1.5, 0.0], [0.0, -1.0]])
    samples = centres[rng.integers(3, size=29)] + 0.3 * rng.standard_normal((29, 2))
    return samples, Mixture(np.array([0.25, 0.25, 0.5]), centres + 0.1)


def test_the_result_encloses_the_float_run(em_command):
    """Same keys, same task; floats are within their rounding of the enclosures, which are narrower."""
    floats = em_command("--layers", 6, "--data", "wine", "--dim", 5, "--json", "-").json
    outcome = em_command("--layers", 6, "--data", "wine", "--dim", 5, "--precision", 128, "--json", "-")
    assert outcome.code == 0
    content = outcome.json
    assert content.keys() == KEYS
    assert content["precision"] == {"given": 128, "used": 128}
    assert "python-flint" in content["versions"]
    for key in ("start", "data", "class", "approximation", "samples_used", "construction", "tolerance", "seed"):
        assert content[key] == floats[key]
    assert content["bounds"]["rest_on"] == ["e-step", "m-step", "em-step-floor"]
    with flint.ctx.workprec(200):
        for ours, theirs in ((content, floats), (content["reference"], floats["reference"])):
            for enclosure, value in zip(enclosures(ours), enclosures(theirs), strict=True):
                assert ball(enclosure).rad() < 1e-30
                assert abs(ball(enclosure) - value) < 1e-11
                assert abs(ball(enclosure) - enclosure["mid"]) < 1e-15
        for errors, bounds in zip(content["errors"]["steps"], content["bounds"]["steps"], strict=True):
            assert bounds["status"] == "holds"
            assert all(ball(e) <= ball(b) for e, b in zip(errors["mean"], bounds["mean"], strict=True))
            assert -128 < int(bounds["stream_radius"].removeprefix("2^")) < -90
            if errors["step"] == 1:
                assert ball(errors["log_weight"]).contains(arb(0))
                assert ball(bounds["log_weight"]) == 0
                assert bounds["reason"].startswith("log weights equal to within 2^-1")
            else:
                assert ball(errors["log_weight"]) <= ball(bounds["log_weight"])
                assert bounds["reason"] == ""
        assert ball(content["bounds"]["diameter"]).contains(arb(floats["bounds"]["diameter"]["value"]))
        final = ball(content["errors"]["final"]["mean"])
        assert abs(final - floats["errors"]["final"]["mean"]) < 1e-11
    assert "holds: log weights equal to within 2^-1" in outcome.err
    assert outcome.err.count("holds") == 3


def test_more_bits_give_narrower_enclosures_of_the_same_numbers(em_command):
    runs = [em_command("--layers", 4, "--precision", bits, "--json", "-").json for bits in (64, 300)]
    with flint.ctx.workprec(400):
        for wide, narrow in zip(*map(enclosures, runs), strict=True):
            assert ball(wide).contains(ball(narrow))
            assert ball(narrow).rad() < ball(wide).rad() * 2.0**-200


def test_the_text_says_what_the_json_says(em_command, tmp_path):
    run = ["--layers", 4, "--precision", 64, "--components", 7, "--radius", 20]
    outcome = em_command(*run, "--json", tmp_path / "r.json")
    assert outcome.code == 0
    assert (tmp_path / "r.json").read_text().startswith('{\n  "schema": 1')
    for part in ("samples used  147 of 150", "of 64-bit ball weights", "s in balls of 64 bits", "pi_7", "mu_7,4"):
        assert part in outcome.out
    content = em_command(*run, "--json", "-").json
    for entry in enclosures(content) + enclosures(content["reference"]):
        assert entry["text"] in outcome.out


def test_few_bits_are_doubled_and_never_passed(em_command, monkeypatch):
    outcome = em_command("--layers", 4, "--precision", 16, "--json", "-")
    assert "undecided at 16 bits; trying 32\n" in outcome.err
    assert outcome.json["precision"] == {"given": 16, "used": 32}
    assert [step["status"] for step in outcome.json["bounds"]["steps"]] == ["holds"] * 2
    monkeypatch.setattr(precision, "LIMIT", 16)
    outcome = em_command("--layers", 4, "--precision", 16, "--json", "-")
    assert outcome.code == 0
    assert "undecided at 16 bits; no more are tried\n" in outcome.err
    assert "undecided" in [step["status"] for step in outcome.json["bounds"]["steps"]]
    assert "undecided: at 16 bits" in outcome.err


def test_weights_that_no_float_holds(em_command, csv):
    """The paper's construction at radius 19: log A = 727, beyond float64."""
    task = ["--data", csv, "--components", 2, "--max-dim", 2, "--max-components", 2, "--radius", 19, "--tolerance", 15]
    run = ["--layers", 4, "--construction", "paper", *task]
    em_command(*run).assert_refused("log A = 727.", "float64", "708.4")
    outcome = em_command(*run, "--precision", 64, "--json", "-")
    assert outcome.code == 0
    assert [step["status"] for step in outcome.json["bounds"]["steps"]] == ["holds"] * 2
    assert outcome.json["bounds"]["rest_on"] == ["e-step", "m-step", "em-step-paper"]


def test_a_run_that_breaks_the_smallest_weight_says_so(em_command, csv, tmp_path):
    (tmp_path / "init.json").write_text('{"weights": [0.5, 0.5], "means": [[0, 0], [9, 0]]}')
    outcome = em_command(
        "--layers", 6, "--data", csv, "--init", tmp_path / "init.json", "--precision", 64, "--json", "-"
    )
    steps = outcome.json["bounds"]["steps"]
    assert [step["status"] for step in steps[1:]] == ["not applicable"] * 2
    assert steps[1]["reason"].startswith("a weight fell to")
    assert outcome.json["precision"]["used"] == 64


def test_a_weight_on_the_edge_is_undecided(small_task, monkeypatch):
    """Starting weights equal to the smallest allowed: balls cannot tell whether the class is left, and say so."""
    samples, start = small_task
    task_class = replace(SMALL, min_weight=0.25)
    with flint.ctx.workprec(64):
        em = em_enclosure.build(task_class, split_tolerance(task_class, 1.0, "paper"), 1)
        (step,) = em_precision.run(em, samples, start).steps
    assert (step.status, step.reason) == ("undecided", "whether the parameters have left the class")


def scaled(network, factor):
    return ReluNetwork(network.w, network.b, network.a * arb(factor))


@pytest.mark.parametrize("construction", ["floor", "paper"])
@pytest.mark.parametrize(("broken", "factor"), [("log", 0.1), ("square", 2), (None, 1)])
def test_broken_networks_are_refuted(construction, broken, factor, small_task):
    approximation = split_tolerance(SMALL, 0.3, construction)
    with flint.ctx.workprec(96):
        networks = approximation.in_balls.networks("left", em_enclosure.Balls())
        if broken is not None:
            networks[broken] = scaled(networks[broken], factor)
        em = em_enclosure.build(SMALL, approximation, 3, networks=networks)
        statuses = [step.status for step in em_precision.run(em, *small_task).steps]
    if broken is None:
        assert statuses == ["holds"] * 3
    else:
        assert "refuted" in statuses


def test_every_layer_is_observed(small_task):
    samples, start = small_task
    seen = []
    with flint.ctx.workprec(64):
        em = em_enclosure.build(SMALL, split_tolerance(SMALL, 1.0, "floor"), 2)
        steps = list(em_enclosure.run(em, samples, start, lambda done, tokens: seen.append((done, tokens.shape))))
        run = em_precision.run(em, samples, start)
    assert seen == [(done, (27, em.stream.width)) for done in (1, 2, 3, 4)]
    assert len(steps) == len(run.steps) == 2
    assert run.samples_used == 27
    assert 0 < run.steps[0].radius < run.steps[1].radius < 2.0**-40


def enclosure(**changed):
    """A later step that holds: errors 0.1 and 0.2 below 0.3, at a diameter of 1."""
    nothing = Parameters(to_balls(np.zeros(2)), to_balls(np.zeros((2, 1))))
    given = {
        "mean_errors": to_balls(np.array([0.125, 0.25])),
        "mean_bounds": to_balls(np.array([0.25, 0.375])),
        "log_weight_error": arb(0.1),
        "log_weight_bound": arb(0.2),
        "excuse": "",
        "left": False,
    }
    return StepEnclosure(2, nothing, nothing, **(given | changed))


WIDE = np.array([arb(0.125), arb(0.25, 0.2)], dtype=object)
CASES = [
    ({}, "holds"),
    ({"mean_errors": to_balls(np.array([0.26, 0.25]))}, "refuted"),
    ({"mean_errors": WIDE}, "undecided"),
    ({"mean_errors": np.array([arb("nan")] * 2, dtype=object)}, "undecided"),
    ({"mean_bounds": to_balls(np.array([0.25, 1.0]))}, "vacuous"),
    ({"mean_bounds": np.array([arb(0.25), arb(0.9, 0.2)], dtype=object)}, "undecided"),
    ({"log_weight_error": arb(0.3)}, "refuted"),
    ({"log_weight_error": arb(0.2, 0.01)}, "undecided"),
    ({"log_weight_bound": arb(0), "log_weight_error": arb(0, 2.0**-40)}, "holds"),
    ({"log_weight_bound": arb(0), "log_weight_error": arb(0)}, "holds"),
    ({"log_weight_bound": arb(0), "log_weight_error": arb(0, 2.0**-20)}, "undecided"),
    ({"log_weight_bound": arb(0), "log_weight_error": arb("nan")}, "undecided"),
    ({"log_weight_bound": arb(0), "log_weight_error": arb(2.0**-50, 2.0**-60)}, "refuted"),
    ({"excuse": "a weight fell"}, "undecided"),
]


@pytest.mark.parametrize(("changed", "status"), CASES, ids=str)
def test_a_verdict_needs_a_proof(changed, status):
    with flint.ctx.workprec(64):
        assert em_precision.judge(enclosure(**changed), arb(1))[0] == status


def test_reasons():
    with flint.ctx.workprec(64):
        assert em_precision.judge(enclosure(excuse="a weight fell", left=True), arb(1)) == (
            "not applicable", "a weight fell",
        )  # fmt: skip
        first = enclosure(log_weight_bound=arb(0), log_weight_error=arb(0, 0.9 * 2.0**-40))
        assert em_precision.judge(first, arb(1)) == ("holds", "log weights equal to within 2^-40")


def test_leaving_the_class_is_certain(small_task):
    with flint.ctx.workprec(64):
        em = em_enclosure.build(SMALL, split_tolerance(SMALL, 1.0, "floor"), 1)
        for weights, mean, left in (
            ([0.5, 0.5], 0.0, False),
            ([0.99, 0.01], 0.0, True),
            ([0.5, 0.5], 3.5, True),
        ):
            entering = em_enclosure.parameters(Mixture(np.array(weights), np.array([[0.0], [mean]])))
            assert em_enclosure.leaves_class(em, entering) == left
        unsure = np.array([arb(0.5), arb(0.02, 0.001)], dtype=object)
        entering = Parameters(np.array([w.log() for w in unsure], dtype=object), to_balls(np.zeros((2, 1))))
        assert not em_enclosure.leaves_class(em, entering)
        assert em_enclosure.precondition(em, entering, 2) != ""


def test_what_does_not_fit_is_refused_before_it_is_built(monkeypatch):
    approximation = split_tolerance(SMALL, 0.3, "paper")
    size = predict_size(SMALL, approximation, DTYPES["float64"])
    with pytest.raises(InputError, match=r"paper construction needs .* 3 GiB in balls of 77 bits, .* limit of 2 GiB"):
        em_precision.require_size(approximation, size, 3 * 2**30, 77)
    em_precision.require_size(approximation, size, 2**30, 77)
    few, many = (em_precision.predict_bytes(SMALL, approximation, (100, 2), 3, bits) for bits in (64, 65536))
    assert size.build_bytes < few < many / 50
    assert em_precision.predict_bytes(SMALL, approximation, (10**7, 2), 3, 64) > 10**9


def test_long_vectors_and_digits_are_cut_in_the_text_only(em_command):
    outcome = em_command("--layers", 2, "--data", "wine", "--samples", 30, "--precision", 256, "--json", "-")
    assert len(outcome.json["means"][0]) == 13
    assert "mu_1,5" in outcome.err
    assert "mu_1,6" not in outcome.err
    assert "at most 40 digits are shown" in outcome.err
