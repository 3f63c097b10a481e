"""Remark G.2's networks: the range that they cover, the error that they keep, what is refused."""

from dataclasses import replace
from math import exp, log, sqrt

import numpy as np
import pytest
import torch

from constructions.errors import InputError
from constructions.normalisation import LARGEST_UNITS, NORM_ERROR, Normalisation, normalisation, require_representable
from constructions.relu_networks import inverse_sqrt_error, square_pieces

UNIT = 2.0**-53
RANGES = [(0.5, 3.0), (1e-3, 1e-2), (100.0, 101.0), (0.01, 7.0)]


@pytest.mark.parametrize(("low", "high"), RANGES)
@pytest.mark.parametrize("max_dim", [1, 5, 13])
@pytest.mark.parametrize("error", [NORM_ERROR, 0.07])
def test_the_fewest_chords_that_keep_the_error(low, high, max_dim, error):
    """κ ≤ error and d_0·δ_sq/c² ≤ error; one chord fewer breaks either. (h is formed with a few roundings.)"""
    made = normalisation(low, high, max_dim, error)
    assert inverse_sqrt_error(made.chord_width) <= error * (1 + 20 * UNIT)
    assert made.segments > 1
    assert inverse_sqrt_error(replace(made, segments=made.segments - 1).chord_width) > error
    assert max_dim * made.square_error / low**2 <= error * (1 + 20 * UNIT)
    assert made.pieces > 1
    assert max_dim * replace(made, pieces=made.pieces - 1).square_error / low**2 > error
    assert made.log_range == pytest.approx(log(2 * high**2) - log(low**2 / 2), rel=100 * UNIT, abs=0)


def test_a_chord_is_added_where_its_error_is_a_little_more_than_to_second_order():
    """κ exceeds 3r²/32 by r²/48, relative: 1.6 % here, where seven chords are only 0.2 % below error by the square."""
    r = 0.999 * sqrt(32 * 0.07 / 3)
    made = normalisation(1.0, sqrt(exp(7 * r) / 4), 5, 0.07)
    assert made.segments == 8
    assert inverse_sqrt_error(r) > 0.07 > 3 * r * r / 32


@pytest.mark.parametrize(("low", "high"), RANGES)
@pytest.mark.parametrize("squares", ["network", "attention"])
def test_the_norm_is_right_on_the_whole_range_and_around_it(low, high, squares):
    """‖y‖ρ(Σφ(y_a)) lies in [1 − below, 1 + above] from ‖y‖ = c/√2 to √2·C, ends included, for d = 3 of d_0 = 5.

    Values of size 1 in float64: sums of at most 5·n′ + n terms of one sign, weights right to a few hundred u.
    """
    made = normalisation(low, high, 5, squares=squares)
    networks = made.networks()
    assert networks.keys() == ({"inverse_sqrt", "square"} if squares == "network" else {"inverse_sqrt"})
    square = networks.get("square", np.square)
    sizes = np.exp(np.linspace(log(low) - log(2) / 2, log(high) + log(2) / 2, 401))
    directions = np.random.default_rng(3).standard_normal((401, 3))
    directions[::5] = np.eye(3)[0]
    y = sizes[:, None] * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    norms = sizes * networks["inverse_sqrt"](square(y).sum(axis=1))
    below, above = made.norm_errors(3)
    rounding = 2 * (5 * made.pieces + made.segments + 1000) * UNIT
    assert norms.min() >= 1 - below - rounding
    assert norms.max() <= 1 + above + rounding
    assert max(below, above) <= NORM_ERROR * (1 + 20 * UNIT)
    # It stops there: beyond √2·C the network for the inverse root is constant.
    far = networks["inverse_sqrt"](np.array([2 * high**2, 3 * high**2, 9 * high**2]))
    assert far == pytest.approx(1 / (sqrt(2) * high), rel=rounding, abs=0)


def test_the_norm_errors_by_hand():
    """c = 1, C = √2, n′ = 4: h = 1/2, δ_sq = 1/16, so three squares add at most 3/16 to c′² = 1/2."""
    made = Normalisation(low=1.0, high=sqrt(2), segments=2, pieces=4)
    assert made.radius == pytest.approx(2, rel=2 * UNIT, abs=0)
    assert made.square_error == pytest.approx(1 / 16, rel=8 * UNIT, abs=0)
    assert made.chord_width == pytest.approx(log(8) / 2, rel=8 * UNIT, abs=0)
    below, above = made.norm_errors(3)
    assert below == pytest.approx(1 - (1 + 3 / 8) ** -0.5, rel=50 * UNIT, abs=0)
    assert above == inverse_sqrt_error(made.chord_width)
    without = replace(made, squares="attention")
    assert without.square_error == 0
    assert without.norm_errors(3) == (0, above)


def test_the_networks_have_the_planned_sizes():
    made = normalisation(0.5, 3.0, 5)
    networks = made.networks()
    assert networks["inverse_sqrt"].units == made.segments + 1
    assert networks["square"].units == 2 * made.pieces
    assert made.pieces == square_pieces(sqrt(2) * 3.0, 0.001 * 0.25 / 5)
    # The last knots: 2C² = 18, and √2·C less a piece.
    assert networks["inverse_sqrt"].b[:-1].max() == pytest.approx(18, rel=20 * UNIT, abs=0)
    piece = made.radius / made.pieces
    assert -networks["square"].b.min() == pytest.approx(made.radius - piece, rel=4 * UNIT, abs=0)
    assert (made.low, made.high, made.squares) == (0.5, 3.0, "network")
    by_attention = normalisation(0.5, 3.0, 5, squares="attention")
    assert (by_attention.segments, by_attention.pieces, by_attention.squares) == (made.segments, 1, "attention")


@pytest.mark.parametrize(
    ("low", "high"),
    [(1.0, 1.0), (2.0, 1.0), (0.0, 1.0), (-1.0, 1.0), (np.nan, 1.0), (1.0, np.nan), (1.0, np.inf), (-np.inf, 1.0)],
)
def test_no_range(low, high):
    with pytest.raises(InputError, match=r"the range is \[.*\]; 0 < C_LOW < C_HIGH < inf is needed \(--normalise\)"):
        normalisation(low, high, 5)


def test_a_range_that_needs_too_many_units_is_refused():
    """2n′ = √2·(C/c)·√(d_0/error) units; beyond 2^24 nothing is built, and attention needs no squares."""
    ratio = LARGEST_UNITS / (sqrt(2) * sqrt(5 / NORM_ERROR))
    assert 2 * normalisation(1.0, 0.999 * ratio, 5).pieces <= LARGEST_UNITS
    with pytest.raises(InputError, match=r"needs 1\.68e\+07 units of a network, above the limit of 16777216"):
        normalisation(1.0, 1.001 * ratio, 5)
    assert normalisation(1.0, 1.001 * ratio, 5, squares="attention").segments < 1000
    with pytest.raises(InputError, match="units"):
        normalisation(1.0, 2.0, 5, error=1e-30, squares="attention")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [0.05, 2.0])
def test_the_cubes_of_the_range_must_exist(dtype, width):
    """32·C³ and 32/c³ at most min(1, r) times the largest number: weights reach from C^{−3}r/6 to 3/c³, all normal."""
    largest, tiny = (float(getattr(torch.finfo(dtype), name)) for name in ("max", "tiny"))
    high = (min(1.0, width) * largest / 32) ** (1 / 3) / 1.05
    made = Normalisation(1 / high, high, int((log(4) + 4 * log(high)) / width), 1, "attention")
    require_representable(made, dtype)
    network = made.networks()["inverse_sqrt"]
    for weights in (network.b, network.a):
        held = torch.tensor(weights).to(dtype).double()
        assert torch.isfinite(held).all()
        assert held.min() >= tiny
    for beyond in (replace(made, low=made.low / 1.2), replace(made, high=high * 1.2)):
        with pytest.raises(InputError, match=f"in {str(dtype)[6:]} it must lie in .* cubes exist"):
            require_representable(beyond, dtype)
