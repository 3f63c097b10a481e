"""One normalised step: how far direction and norm can be off, against what perturbed steps do."""

from math import inf

import numpy as np
import pytest
import torch

from constructions.algorithms.tensor_power import normalised, power_step
from constructions.direction_bound import DirectionBound, inverse_norm_rounding, normalised_step
from constructions.normalisation import Normalisation

UNIT = 2.0**-53
DTYPES = [torch.float64, torch.float32, torch.bfloat16]
RANGE = Normalisation(low=0.5, high=2.0, segments=53, pieces=211)


def unit_of(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps / 2


@pytest.fixture
def tensor(rng):
    return rng.standard_normal((3, 3, 3))


def test_the_distance_of_two_vectors_of_known_direction_and_norm(rng):
    for low, high in ((0.9, 1.0), (0.99, 1.05)):
        bound = DirectionBound(0.25, low, high)
        assert bound.distance == pytest.approx(0.25 * high + max(1 - low, high - 1), rel=4 * UNIT, abs=0)
        for _ in range(101):
            r = normalised(rng.standard_normal(5))
            near = normalised(r + 0.125 * normalised(rng.standard_normal(5)))
            assert np.linalg.norm(rng.uniform(low, high) * near - r) <= bound.distance


@pytest.fixture
def one_step(tensor, rng):
    """A unit vector r and T scaled to ‖T(I,r,r)‖ = 1."""
    reference = normalised(rng.standard_normal(3))
    return tensor / np.linalg.norm(power_step(tensor, reference)), reference


def step(before, one_step, spread=0.0, range_=RANGE, max_dim=5, dtype=torch.float64) -> DirectionBound:
    return normalised_step(before, *one_step, spread, range_, max_dim, dtype)


@pytest.mark.parametrize("epsilon", [1e-6, 1e-3])
def test_a_step_turns_no_vector_further_than_its_bound(epsilon, one_step, rng):
    """Two copies x and y of the vector, both ε off: T(I, x, y). Rounding (1e-13) is nothing beside ε."""
    tensor, r = one_step
    made = step(DirectionBound(epsilon, 1.0, 1.0), one_step)
    x, y = normalised(r + epsilon * normalised(rng.standard_normal((2, 50021, 3))))
    turned = normalised(np.einsum("ajm,ij,im->ia", tensor, x, y))
    farthest = np.linalg.norm(turned - normalised(power_step(tensor, r)), axis=1).max()
    assert 0.5 * made.direction < farthest <= made.direction
    assert made.excuse == ""


def test_an_error_of_second_order_counts():
    """T(I,x,x) = x_1²·e_1 + 10x_3²·e_2 at e_1: an error in x_3 turns it by 10ε², and nothing is of first order."""
    tensor, r, epsilon = np.zeros((3, 3, 3)), np.eye(3)[0], 0.03
    tensor[0, 0, 0], tensor[1, 2, 2] = 1, 10
    made = step(DirectionBound(epsilon, 1.0, 1.0), (tensor, r))
    turned = normalised(power_step(tensor, normalised(np.array([1, 0, 0.99 * epsilon]))))
    assert 0.5 * made.direction < np.linalg.norm(turned - r) <= made.direction


def test_tokens_that_differ_scale_each_others_vectors(one_step, rng):
    """A token's vector is the mean of all tokens', scaled by its own inverse norm: the lengths differ by ε's order."""
    tensor, r = one_step
    below, above = RANGE.norm_errors(3)
    made = step(DirectionBound(1e-3, 1.0, 1.0), one_step)
    x, y = normalised(r + 1e-3 * normalised(rng.standard_normal((2, 10007, 3))))
    lengths = np.linalg.norm(np.einsum("ajm,ij,im->ia", tensor, x, y), axis=1)
    longest = lengths.max() / lengths.min()
    assert longest <= made.norm_high / (1 + above)
    assert 1 / longest >= made.norm_low / (1 - below)
    assert longest - 1 > 0.1 * (made.norm_high / (1 + above) - 1)


def test_the_spread_of_the_copies_counts_like_an_error_of_the_direction(one_step):
    by_spread = step(DirectionBound(0.0, 1.0, 1.0), one_step, spread=1e-3)
    by_direction = step(DirectionBound(1e-3, 1.0, 1.0), one_step)
    assert by_spread == by_direction
    both = step(DirectionBound(1e-3, 1.0, 1.0), one_step, spread=1e-3)
    assert both == step(DirectionBound(2e-3, 1.0, 1.0), one_step)
    assert both.direction > 1.9 * by_direction.direction


def test_a_step_from_an_exact_vector_has_only_rounding(one_step):
    """The direction is right to rounding, in every format; the norm to the networks' errors."""
    below, above = RANGE.norm_errors(3)
    for dtype, largest in ((torch.float64, 1e-13), (torch.float32, 1e-4)):
        made = step(DirectionBound(0.0, 1.0, 1.0), one_step, dtype=dtype)
        assert 10 * unit_of(dtype) < made.direction < largest
        rounding = inverse_norm_rounding(RANGE, 5, unit_of(dtype))
        for got, exact in ((1 - made.norm_low, below), (made.norm_high - 1, above)):
            assert rounding < got - exact < 10 * rounding
    wider = step(DirectionBound(0.0, 1.0, 1.0), one_step, max_dim=7)
    assert wider.direction > step(DirectionBound(0.0, 1.0, 1.0), one_step).direction


def test_only_the_last_norm_is_approximate(one_step):
    """v̂ of norm 0.9 to 1.1 has the same direction, and a norm that ρ corrects."""
    assert step(DirectionBound(1e-6, 0.9, 1.1), one_step) == step(DirectionBound(1e-6, 1.0, 1.0), one_step)


def test_a_range_that_the_exact_trajectory_leaves_is_an_excuse(one_step):
    """‖T(I,v,v)‖ = ‖v‖²: exact norms, so also that of a start which is no unit vector."""
    exact = DirectionBound(0.0, 1.0, 1.0)
    for low, high, fits in ((0.5, 0.99, False), (1.01, 2.0, False), (0.99, 1.01, True)):
        made = step(exact, one_step, range_=Normalisation(low, high, 53, 211))
        assert made.excuse == ("" if fits else "|T(I,v,v)| = 1 leaves the range")
        assert (made.distance < 0.1) == fits
    start = DirectionBound(0.0, 3.0, 3.0, 3.0)
    assert step(start, one_step).excuse == "|T(I,v,v)| = 9 leaves the range"
    inside = step(start, one_step, range_=Normalisation(8.0, 10.0, 53, 211))
    assert inside.excuse == ""
    assert inside.exact_norm == 1.0


def test_a_transformer_that_was_given_another_tensor(one_step, rng):
    """E of Frobenius norm ε turns T(I,r,r) by at most ε/(1 − ε), and the bound adds little more."""
    tensor, r = one_step
    noise = rng.standard_normal((3, 3, 3))
    noise *= 1e-3 / np.linalg.norm(noise)
    exact = DirectionBound(0.0, 1.0, 1.0)
    made = normalised_step(exact, tensor, r, 0.0, RANGE, 5, torch.float64, 1e-3)
    turned = normalised(power_step(tensor + noise, r)) - normalised(power_step(tensor, r))
    assert np.linalg.norm(turned) <= made.direction
    assert 1e-3 < made.direction - step(exact, one_step).direction < 1.1e-3


@pytest.mark.parametrize(("size", "told"), [(1e-190, "1e-190"), (1e190, "1e+190")])
def test_norms_whose_squares_leave_float64_are_told(size, told, one_step):
    tensor, r = one_step
    made = step(DirectionBound(0.0, 1.0, 1.0), (size * tensor, r))
    assert made.excuse == f"|T(I,v,v)| = {told} leaves the range"


def test_an_excuse_is_kept_by_all_later_steps(one_step):
    excused = DirectionBound(inf, 0.0, inf, excuse="a reason")
    assert step(excused, one_step) == excused


@pytest.mark.parametrize(
    "before",
    [
        DirectionBound(0.3, 1.0, 1.0),  # too far off: off ≥ size/8
        DirectionBound(1e-6, 0.5, 1.0),  # ‖T(I,v̂,v̂)‖ may be 1/4 < c/√2
        DirectionBound(1e-6, 1.0, 1.9),  # or 3.6 > √2·C
        DirectionBound(inf, 0.0, inf),
    ],
)
def test_an_approximate_trajectory_that_may_leave_the_networks_range_is_not_bounded(before, one_step):
    made = step(before, one_step)
    assert (made.direction, made.norm_low, made.norm_high, made.excuse) == (inf, 0.0, inf, "")
    assert made.distance == inf
    assert step(made, one_step) == made  # nor are the steps after it


@pytest.mark.parametrize(("part", "bounded"), [(0.2, False), (0.05, True)])
def test_a_step_that_is_off_by_an_eighth_is_not_bounded(part, bounded, one_step):
    """To first order ‖T(I,·,r)‖ε + ‖T(I,r,·)‖ε = 0.2 of ‖T(I,r,r)‖, in a range that would allow much more."""
    tensor, r = one_step
    norms = [np.linalg.norm(np.einsum(contracted, tensor, r), 2) for contracted in ("ajm,m->aj", "ajm,j->am")]
    before = DirectionBound(part / sum(norms), 1.0, 1.0)
    assert (step(before, one_step, range_=Normalisation(1e-3, 1e3, 997, 211)).direction < inf) == bounded
