"""Instances under (A1): what they promise holds, and what breaks (A1) is noticed."""

from dataclasses import replace
from math import log

import flint
import numpy as np
import pytest
import torch

from constructions import ball_evaluation, em_enclosure
from constructions.algorithms.sampling import Mixture
from figures.theorem_f6 import fewest_bits, limit, log_a, spoilt
from theory_checks.a1_instances import FORMS, THEOREMS, Case, cases, contested, floor, instance, outside, paper
from theory_checks.enclosures import BITS
from theory_checks.ledger import REGISTRY
from theory_checks.test_theorem_f6 import judge, scaled_log, scaled_score, seed_of, step
from theory_checks.test_theorem_f6 import paper as paper_weights

LINE = Case(8, 2, 1, True, False)


@pytest.mark.parametrize("theorem", THEOREMS)
@pytest.mark.parametrize("separation", [1, 11, 128])
def test_every_form_satisfies_the_assumption(separation, theorem):
    for form in FORMS:
        for seed in range(3):
            given = instance(Case(separation, *form, theorem), seed)
            assert outside(given) == "", (given.case.name, seed)
            assert given.start.weights.sum() == 1
            assert len(given.samples) == 24
            if separation > 1:  # the contested ones are those put there
                assert set(range(12, 24)) <= set(contested(given))
                assert len(contested(given)) <= 13


def test_a_seed_determines_the_instance():
    one, again, other = instance(LINE, 5), instance(LINE, 5), instance(LINE, 6)
    assert np.array_equal(one.samples, again.samples)
    assert np.array_equal(one.start.means, again.start.means)
    assert not np.array_equal(one.samples, other.samples)
    assert [seed_of(np.random.default_rng([7, extra])) for extra in (1, 2)] == [7, 7]
    assert seed_of(np.random.default_rng(3)) == 3


def test_what_breaks_the_assumption_is_noticed():
    given = instance(LINE, 0)
    assert outside(replace(given, means=given.means * 0.99)) == "two means are too close"
    far = replace(given, start=Mixture(given.start.weights, given.means + 1.01 * np.ptp(given.means) / 16))
    assert outside(far) == "an entering mean is too far from the true one"
    light = replace(given, start=Mixture(np.array([0.24, 0.76]), given.start.means))
    assert outside(light) == "an entering weight is too far from the true one"
    assert outside(instance(replace(LINE, separation=64, contested=0), 0)) == "no sample is contested"
    region = instance(replace(LINE, theorem="F.7"), 0)
    assert outside(region) == ""
    far = replace(region, start=Mixture(region.start.weights, region.means + 0.51))
    assert outside(far) == "an entering mean is too far from the true one"


@pytest.mark.parametrize("theorem", THEOREMS)
def test_the_papers_choice(theorem):
    given = instance(Case(8, 3, 2, False, False, theorem), 2)
    task_class, sizes = paper(given)
    samples, means, true = (np.linalg.norm(x, axis=1).max() for x in (given.samples, given.start.means, given.means))
    reach = means if theorem == "F.6" else max(samples, true + 0.5)
    delta = 0.5
    expected = (samples + reach) ** 2 / 2 + log(2 / 0.25) + delta**2 / 8 + (delta / 8) ** 2
    assert sizes.log_a == pytest.approx(expected, rel=1e-12, abs=0)
    assert sizes.chord_width <= delta
    assert sizes.square_error <= (delta / 8) ** 2
    assert task_class.radius >= max(samples, reach)
    assert paper(given)[1] == sizes  # at whatever precision it is asked for
    with flint.ctx.workprec(20):
        assert paper(given)[1] == sizes


def test_the_floor_does_not_grow_with_the_separation():
    (_, near), (_, far) = (floor(instance(replace(LINE, separation=c), 0)) for c in (2, 128))
    assert near.log_a == pytest.approx(far.log_a, rel=1e-9, abs=0)


def test_cases():
    default, full = list(cases(False)), list(cases(True))
    assert len(set(full)) == len(full)
    assert set(default) <= set(full)
    assert {case.separation for case in default} == {1, 8, 64, 128}
    assert {case.separation for case in full} == {1, 2, 4, 8, 16, 32, 64, 128}
    assert all((case.drawn + case.contested) % case.components == 0 for case in full)


def test_mutants_differ_where_they_say():
    given = instance(LINE, 0)
    with flint.ctx.workprec(BITS):
        em = paper_weights(given)
        tokens = em_enclosure.encode(em, given.samples, given.start)
        subjects = em, scaled_log(em, 0.5), scaled_score(em, 2.0)
        sound, log_mutant, score_mutant = (next(ball_evaluation.trace(it.transformer, tokens)) for it in subjects)
        log_w, w, x = (em.stream[name] for name in ("log_w", "w", "x"))
        assert all(a.overlaps(b) for a, b in zip((sound[:, log_w] / 2).flat, log_mutant[:, log_w].flat, strict=True))
        assert all(a.overlaps(b) for a, b in zip(sound[:, w].flat, log_mutant[:, w].flat, strict=True))
        assert not any(a.overlaps(b) for a, b in zip(sound[12:, w].flat, score_mutant[12:, w].flat, strict=True))
        assert all(a.overlaps(b) for a, b in zip(sound[:, x].flat, score_mutant[:, x].flat, strict=True))


def test_outside_the_assumption_nothing_is_claimed():
    given = replace(instance(LINE, 0), means=instance(LINE, 0).means * 0.9)
    with flint.ctx.workprec(BITS):
        outcomes = [v.outcome for v in judge(given, paper_weights, {})]
    assert outcomes[:-1] == ["not applicable"] * 3


def test_a_later_step_starts_from_the_networks_own_logarithms():
    given = instance(replace(LINE, theorem="F.7"), 0)
    with flint.ctx.workprec(BITS):
        found = step(paper_weights(given), given)
        assert found.excuse == ""
        assert found.log_weight_error > 0
        assert found.log_weight_bound >= found.log_weight_error


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_format_loses_the_weights_where_log_a_passes_its_end(dtype):
    end = limit(dtype, False)
    assert spoilt(0.99 * end, False, dtype)[0] == 0
    assert spoilt(1.01 * end, False, dtype)[0] > 0


def test_facing_right_costs_the_bits_of_a():
    bits = log_a(8, False) / log(2)
    assert bits < fewest_bits(8, False, "right") < bits + 32
    assert fewest_bits(8, False, "left") < 53


def test_both_rows_are_registered():
    assert {"theorem-f6", "theorem-f6-floor"} <= set(REGISTRY)
