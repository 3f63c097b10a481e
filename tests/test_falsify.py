"""The falsifier: what it finds, what it certifies, what it keeps; and that its floats are those of the library."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import flint
import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from constructions import em_transformer, tensor_power_transformer
from constructions.algorithms.sampling import Mixture
from theory_checks import em_falsifiers, falsifiers, falsify, falsify_command, kept, search, subjects, tensor_falsifiers
from theory_checks.enclosures import decided, enclose
from theory_checks.falsify import Attack
from theory_checks.ledger import REGISTRY, Verdict

HALF = 0.5 + 2.0**-20  # the largest error is at x = y = this


def judge(found: kept.Instance, factor: float, top: float = 0.25) -> Iterator[Verdict]:
    def once() -> Iterator[Verdict]:
        far = sum(((flint.arb(x) - HALF) * (flint.arb(x) - HALF) for x in found["x"].tolist()), start=flint.arb(0))
        yield enclose(flint.arb(0.25) - far, flint.arb(factor * top), "parabola")

    return decided(once)


def ratio(found: falsify.Tensors) -> torch.Tensor:
    return (0.25 - ((found["x"] - HALF) ** 2).sum()) / 0.25


PARABOLA = Attack("parabola", "the unit square", {"x": (0.0, 1.0)}, [{"x": (2,)}], judge, ratio=ratio)


@pytest.mark.parametrize("method", ["gradient", "coordinates", "hypothesis"])
def test_every_method_comes_near_the_maximum(method):
    attack = replace(PARABOLA, ratio=None) if method == "coordinates" else PARABOLA
    found = falsify.attacked(attack, seed=3, steps=200, restarts=2)[method]
    assert 0 <= found.slack < 1e-2
    assert found.violated == ""
    verdicts = list(judge(found.instance, found.exceeds))
    assert [v.outcome for v in verdicts] == ["refuted"]


def test_gradients_find_the_maximum_to_many_digits():
    found = falsify.attacked(PARABOLA, seed=3, steps=200, restarts=1)["gradient"]
    assert found.slack < 1e-9


def test_a_false_bound_is_violated():
    attack = replace(PARABOLA, judge=lambda found, factor: judge(found, factor, top=0.2))
    found = falsify.attacked(attack, seed=0, steps=300, restarts=2)["gradient"]
    assert found.slack == pytest.approx(-0.25, abs=1e-6)
    assert found.violated.startswith("parabola: error 0.25")


def test_a_ratio_in_floats_alone_counts_for_nothing():
    """The enclosures see an error of 0.01 where the floats claim 2."""

    def small(found: kept.Instance, factor: float) -> Iterator[Verdict]:
        yield enclose(flint.arb(0.01), flint.arb(factor), "small")

    attack = replace(PARABOLA, judge=small, ratio=lambda found: 2 + 0 * found["x"].sum())
    assert falsify.attacked(attack, 0, 10, 1)["gradient"].slack == pytest.approx(0.99)


def nan_in_a_corner(found: falsify.Tensors) -> torch.Tensor:
    """The parabola, but no number in the corner where both coordinates are above 0.8."""
    return torch.where((found["x"] > 0.8).all(), torch.nan, ratio(found))


@pytest.mark.parametrize("method", ["gradient", "coordinates", "hypothesis"])
def test_what_is_not_a_number_is_asked_about_first(method):
    """The enclosures refute the bound in the corner and nowhere else: NaN is not skipped on the way to the maximum."""

    def refuted_there(found: kept.Instance, factor: float) -> Iterator[Verdict]:
        if (found["x"] > 0.8).all():
            yield Verdict("refuted", "in the corner", -1.0)
        else:
            yield from judge(found, factor)

    def no_number_there(found: kept.Instance, factor: float) -> Iterator[Verdict]:
        yield from (
            replace(v, slack=np.nan) if v.instance == "in the corner" else v for v in refuted_there(found, factor)
        )

    attack = replace(PARABOLA, judge=refuted_there, ratio=nan_in_a_corner)
    corner, middle = {"x": np.array([0.9, 0.9])}, {"x": np.array([HALF, HALF])}
    assert np.isnan(float(nan_in_a_corner({"x": torch.tensor(corner["x"])})))
    assert attack.score(corner) > attack.score(middle) == 1
    if method == "coordinates":
        attack = replace(attack, judge=no_number_there, ratio=None)
        assert attack.score(corner) > attack.score(middle)
        (start,) = falsify.promising(attack, 1, np.random.default_rng(0))
        assert (falsify.climb(attack, start, 200, np.random.default_rng(0))["x"] > 0.8).all()
    else:
        assert falsify.attacked(attack, seed=3, steps=20, restarts=1)[method].violated == "in the corner"


def test_an_ascent_keeps_what_is_not_a_number():
    """From inside, uphill: past 0.6 the ratio is no number."""
    attack = replace(PARABOLA, ratio=lambda found: torch.where((found["x"] < 0.6).all(), found["x"].sum(), torch.nan))
    start = {"x": np.array([0.58, 0.58])}
    assert np.isfinite(attack.score(start))
    assert falsify.ascend(attack, start, 50)["x"].max() >= 0.6


def test_what_is_left_undecided_is_told(tmp_path, monkeypatch, capsys):
    def undecided(found: kept.Instance, factor: float) -> Iterator[Verdict]:
        yield from decided(lambda: [enclose(flint.arb("1 +/- 0.5"), flint.arb(1), "straddles")])

    monkeypatch.setattr(kept, "WORST", tmp_path)
    monkeypatch.setattr(falsifiers, "ATTACKS", {"parabola": lambda: replace(PARABOLA, judge=undecided)})
    assert falsify_command.main(["--steps", "3", "--restarts", "1"]) == 1
    shown = capsys.readouterr().out
    assert shown.count("UNDECIDED: parabola: straddles: error 1.00000, bound 1.00000: undecided at 2048 bits") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("outcome", ["undecided", "vacuous", "not applicable"])
def test_what_no_enclosure_decides_is_not_kept(outcome):
    attack = replace(PARABOLA, judge=lambda found, factor: [Verdict(outcome, "x")])
    assert falsify.attacked(attack, 0, 10, 1) == {}


def test_one_undecided_verdict_among_others_is_enough_not_to_keep():
    def judged(found: kept.Instance, factor: float) -> Iterator[Verdict]:
        yield from judge(found, factor)
        if factor == 1:
            yield Verdict("undecided", "x")

    left: list[str] = []
    assert falsify.attacked(replace(PARABOLA, judge=judged), 3, 20, 1, left) == {}
    assert set(left) == {"x"}


@pytest.mark.parametrize("first", [False, True])
def test_of_several_bounds_the_one_that_is_nearest_counts(first):
    def judged(found: kept.Instance, factor: float) -> Iterator[Verdict]:
        verdicts = [Verdict("holds", "far", 0.9), *judge(found, factor)]
        yield from verdicts if first else verdicts[::-1]

    alone = falsify.attacked(PARABOLA, 3, 20, 1)["gradient"]
    found = falsify.attacked(replace(PARABOLA, judge=judged), 3, 20, 1)["gradient"]
    assert (found.slack, found.exceeds) == (alone.slack, alone.exceeds)
    assert found.slack < 0.1


def test_the_same_seed_keeps_the_same_bytes_and_only_what_is_better(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(kept, "WORST", tmp_path / "worst")
    monkeypatch.setattr(falsifiers, "ATTACKS", {"parabola": lambda: PARABOLA})
    path = tmp_path / "worst" / "parabola.json"
    command = ["parabola", "--steps", "30", "--restarts", "1", "--seed"]
    assert falsify_command.main([*command, "5"]) == 0
    first = path.read_bytes()
    path.unlink()
    assert falsify_command.main([*command, "5"]) == 0
    assert path.read_bytes() == first
    path.write_bytes(json.dumps({**json.loads(first), "slack": "0"}).encode())
    better = path.read_bytes()
    assert falsify_command.main([*command, "7"]) == 0
    assert path.read_bytes() == better
    path.write_bytes(json.dumps({**json.loads(first), "slack": "0.9"}).encode())
    assert falsify_command.main([*command, "5"]) == 0
    assert path.read_bytes() == first
    assert "no bound is violated" in capsys.readouterr().out


def test_what_is_written_alike_is_not_better(tmp_path, monkeypatch):
    """The file holds six digits; a find that beats it in the seventh leaves it as it is."""
    monkeypatch.setattr(kept, "WORST", tmp_path)
    known = falsify.Found("gradient", 0.12345641, 0.8765435, {"x": np.full(2, 0.5)})
    assert falsify._keep(PARABOLA, {"gradient": known}, {"seed": 3})[1] == []
    first = (tmp_path / "parabola.json").read_bytes()
    for slack, better in ((0.1234560, False), (0.12345598, False), (0.1234555, True)):
        falsify._keep(PARABOLA, {"gradient": replace(known, slack=slack)}, {"seed": 4})
        assert ((tmp_path / "parabola.json").read_bytes() != first) is better


def test_a_violation_is_told_by_the_exit_code(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(kept, "WORST", tmp_path)
    false = replace(PARABOLA, judge=lambda found, factor: judge(found, factor, top=0.2))
    monkeypatch.setattr(falsifiers, "ATTACKS", {"parabola": lambda: false})
    assert falsify_command.main(["--steps", "30"]) == 1
    assert "VIOLATED: parabola: error" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["no-such-bound"], "'no-such-bound' names no bound of e-step-tv"),
        (["p1"], "'p1' is not attacked: two-point distributions attain it"),
        (["--seed", "-1"], "--seed is -1; it must be at least 0"),
        (["--steps", "0"], "--steps is 0; it must be at least 1"),
        (["--restarts", "x"], "invalid int value: 'x'"),
    ],
)
def test_bad_input_is_one_sentence(arguments, told, capsys):
    assert falsify_command.main(arguments) == 2
    shown = capsys.readouterr()
    assert told in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


def test_tokens_are_those_of_the_em_transformer(rng):
    em = subjects.sound(subjects.SMALL_CLASS)
    samples, means = rng.uniform(-1, 1, (10, 2)), rng.uniform(-1, 1, (5, 2))
    weights = rng.dirichlet(np.ones(5))
    parts = {"samples": samples, "weights": weights, "means": means}
    ours = em_falsifiers.tokens(em, {name: torch.tensor(part) for name, part in parts.items()}, 10)
    np.testing.assert_allclose(ours, em_transformer.encode(em, samples, Mixture(weights, means)), rtol=1e-14)


@pytest.mark.parametrize("form", [tensor_power_transformer.THEOREM, tensor_falsifiers.FORMS[2]])
def test_tokens_are_those_of_the_tensor_transformer(form, rng):
    model = tensor_falsifiers.built(5, 1, form)
    tensor, start = rng.standard_normal((3, 3, 3)), rng.standard_normal(3)
    ours = tensor_falsifiers.tokens(model, torch.tensor(tensor), torch.tensor(start))
    np.testing.assert_array_equal(ours, tensor_power_transformer.encode(model, tensor, start))


FLOATS = ("e-step-tv", "m-step", "em-step-floor-weights", "corollary-f1", "remark-g3-step", "remark-g3", "remark-g2")


@pytest.mark.parametrize("bound", FLOATS)
def test_the_ratio_in_floats_is_that_of_the_enclosures(bound):
    attack, found = falsifiers.ATTACKS[bound](), kept.read(bound)
    assert attack.ratio is not None
    floats = {name: torch.tensor(values) for name, values in found["instance"].items()}
    seen = 1e-14 / tensor_falsifiers.SEEN if bound == "remark-g3" else 1e-5  # its enclosures are of exact arithmetic
    assert float(attack.ratio(floats)) == pytest.approx(1 - float(found["slack"]), abs=seen)


@pytest.mark.parametrize("bound", FLOATS)
def test_gradients_reach_the_instance(bound):
    """Through the transformer; its weights have none."""
    attack, rng = falsifiers.ATTACKS[bound](), np.random.default_rng(1)
    (start,) = falsify.promising(attack, 1, rng)
    raw = {name: torch.tensor(values, requires_grad=True) for name, values in start.items()}
    attack.ratio(attack.decode(raw)).backward()
    assert any(value.grad is not None and float(value.grad.abs().max()) > 0 for value in raw.values())


def test_numeric_slopes():
    x = torch.tensor([0.3, -0.7], dtype=torch.float64, requires_grad=True)
    tensor_falsifiers.Numeric.apply(lambda v: float(v[0] ** 2 * v[1]), x).backward()
    np.testing.assert_allclose(x.grad, [2 * 0.3 * -0.7, 0.09], rtol=1e-8)


def test_every_bound_has_a_kept_instance_with_its_setting():
    assert {path.stem for path in kept.WORST.glob("*.json")} == set(falsifiers.ATTACKS)
    for bound, make in falsifiers.ATTACKS.items():
        found, attack = kept.read(bound), make()
        assert found is not None
        assert (found["bound"], found["setting"]) == (bound, attack.setting)
        assert 0 < found["exceeds"] < (1 - float(found["slack"])) * (1 + 1e-5)
        assert (kept.WORST / f"{bound}.json").stat().st_size < 5000


@pytest.mark.parametrize("bound", ["lemma-f7", "corollary-f1", "lemma-f6-prefactor", "remark-g3-step"])
def test_a_row_replays_its_worst_instance_first(bound):
    verdict = next(REGISTRY[bound].verdicts(0))
    assert verdict.kept
    assert verdict.outcome == "holds"
    assert REGISTRY[bound].rejects("just under the worst kept")


def test_nothing_kept_refutes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "WORST", tmp_path)
    assert kept.just_below("e-step-tv") == 1.0
    assert list(kept.replay(lambda found: [Verdict("refuted", "x")], "e-step-tv")) == []


def test_copies_repeat_samples():
    parts = {"samples": np.array([[1.0], [2.0]]), "copies": np.array([1.0, 3.0])}
    task = kept.task({**parts, "weights": np.array([0.5, 0.5]), "means": np.zeros((2, 1))})
    assert task.samples.tolist() == [[1.0], [2.0], [2.0], [2.0]]


def test_the_search_climbs_on_the_worst_of_an_instances_verdicts(monkeypatch):
    climbed: list[float] = []
    monkeypatch.setattr(search, "target", climbed.append)

    def judge(x: int) -> Iterator[Verdict]:
        yield from (Verdict("holds", "", slack) for slack in (0.75, None, 0.25, float("inf"), 0.5))

    assert len(search.searched(st.integers(0, 9), judge, np.random.default_rng(3), 5)) == 5 * len(climbed)
    assert set(climbed) == {0.75}
