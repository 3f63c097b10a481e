"""The radii of Theorem F.1 with explicit constants: one step from its parts, and the recursion that joins steps."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest

from constructions.em_class import TaskClass, split_tolerance
from theory_checks import explicit_radii, explicit_radii_command
from theory_checks import test_theorem_f1_explicit as explicit

CASE = explicit.Case(32, 3, 2, 1009, 0.3)
APPROXIMATION = split_tolerance(TaskClass(3, 2, 7.0, 0.15), 0.05, "floor")


@pytest.mark.parametrize(
    ("constant", "first", "later", "expected"),
    [
        (2, 0.3, lambda r: 0.3, [0.3]),  # stays
        (2, 0.4, lambda r: r / 2, [0.4, 0.2, 0.1, 0.05, 0.025, 0.0125]),  # falls as long as there are regions
        (2, 0.3, lambda r: 0.31, [0.3, 1.01 * 0.31, 0.31]),  # grows a little, and then stays
        (2, 0.3, lambda r: 1.2 * r, []),  # grows beyond a half
        (2, 0.3, lambda r: inf, []),
        (32, 0.3, lambda r: inf, [0.3]),  # lies in (A1)'s region, which a step leads to 0.3
        (32, 0.6, lambda r: 0.1, []),  # too far after one step
    ],
)
def test_the_recursion_ends_where_a_step_stays(constant, first, later, expected, monkeypatch):
    """Of a transformer that is EM; (A1)'s region has the share ½ and, at C = 2, a radius of 0.155."""
    case = replace(CASE, separation=constant)
    truth = explicit.mixture(case, np.random.default_rng(3))
    reach = explicit.smallest_distance(truth) / 16
    assert reach == pytest.approx(constant / 16 * np.sqrt(np.log(2 * 7 / 3)), rel=1e-9, abs=0)

    def em_radius(truth, radius, slack, count):
        assert count == 1008  # the samples that are kept
        assert (radius, slack) == (reach, 0.5) or radius == slack
        return first if radius == reach else later(radius)

    monkeypatch.setattr(explicit, "em_radius", em_radius)
    monkeypatch.setattr(explicit, "transformer_step", lambda approximation, dim, rho, weight, first: rho)
    assert explicit.radii(case, truth, APPROXIMATION) == pytest.approx([inf, *expected], rel=1e-12, abs=0)


def test_starts_are_as_far_as_a1_allows():
    truth = explicit.mixture(CASE, np.random.default_rng(5))
    reach = explicit.smallest_distance(truth) / 16
    for start in explicit.starts(truth, np.random.default_rng(7)):
        off = np.linalg.norm(start.means - truth.means, axis=1)
        assert off == pytest.approx(reach, rel=1e-8, abs=0)
        assert (off < reach).all()
        assert start.weights.sum() == pytest.approx(1, rel=1e-12, abs=0)
        assert np.abs(start.weights / truth.weights - 1).max() == pytest.approx(0.4995, rel=1e-12, abs=0)


@pytest.mark.parametrize(
    ("vacuous", "least"),
    [((), 2**8), ((8, 9, 10), 2**11), ((8, 13), 2**14), ((23,), 2**24), ((24,), None), (range(8, 25), None)],
)
def test_the_least_n_is_the_one_from_which_on_the_bound_says_something(vacuous, least, monkeypatch):
    def plateau(constant, dim, components, count):
        assert (constant, dim, components) == (16.0, 3, 5)
        return None if count in [2**power for power in vacuous] else 0.1

    monkeypatch.setattr(explicit_radii, "plateau", plateau)
    assert explicit_radii.samples_from(16.0, 3, 5) == least


def test_at_c_8_some_thousands_of_samples_say_nothing():
    assert explicit_radii.plateau(8.0, 1, 2, 2**13) < explicit.HALF
    for dim, components in explicit_radii.SIZES:
        assert explicit_radii.plateau(8.0, dim, components, 2**12) is None
    assert explicit_radii.plateau(8.0, 10, 10, 2**16) is None


def test_the_table_has_a_line_for_every_size(monkeypatch, capsys):
    monkeypatch.setattr(explicit_radii, "samples_from", lambda c, d, k: None if c == 4 else 1000 * d + k)
    assert explicit_radii_command.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[0] == "least n, a power of two up to 2^24, from which on the bound is below 0.5; equal weights, eps 0.05"
    )
    assert [line.split() for line in lines[2:]] == [
        [str(d), str(k), "none", *[str(1000 * d + k)] * 4] for d, k in explicit_radii.SIZES
    ]
