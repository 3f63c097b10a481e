"""The histogram counts as the ledger does: at the bound, within 10 x of it, beyond it."""

import re
from math import log10

import numpy as np
import pytest

from theory_checks.ledger import compare
from theory_checks.report.histogram import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, bins, described, svg


@pytest.mark.parametrize(
    ("error", "k"),
    [
        (1.0, -1),  # attained: it does not refute
        (0.5, -1),
        (0.4, -2),
        (0.2, -3),
        (0.1, -3),  # tight by the ledger: slack ≤ 0.9
        (0.0999, -4),
        (0.01, -6),
        (1.001, 0),
        (2.5, 1),
        (11.0, 3),
        (0.0, -48),
        (1e-30, -48),
        (1e30, 47),
    ],
)
def test_bins(error: float, k: int) -> None:
    slack = compare(error, 1.0, "").slack
    assert slack is not None
    assert bins([slack]) == {k: 1}


def test_every_ratio_lies_in_its_bin(rng: np.random.Generator) -> None:
    for ratio in 10 ** rng.uniform(-14, 3, size=997):
        (k,) = bins([1 - ratio])
        assert k / 3 - 1e-2 <= log10(ratio) <= (k + 1) / 3 + 1e-2


def test_a_slack_below_rounding_counts_as_attained() -> None:
    assert bins([8.5e-261, 4.5e-17, -1e-300]) == {-1: 2, 0: 1}


def test_described() -> None:
    assert described([0.5, 0.9, 0.95, 0.995, 0.999, -1]) == (
        "6 instances have a bound to be close to: 1 above it, 2 within a factor of 10 below, 3 further below"
    )
    assert described([0.5]).startswith("1 instance has a bound")


def boxes(drawn: str, kind: str) -> list[tuple[float, float, float, float]]:
    found = re.findall(rf'<rect class="{kind}" x="(.+?)" y="(.+?)" width="(.+?)" height="(.+?)"', drawn)
    return [tuple(map(float, box)) for box in found]


def test_svg() -> None:
    drawn = svg([0.5] * 5 + [0.95] * 10 + [-9.0])
    bars = boxes(drawn, "bar")
    assert len(bars) == 2
    (far, near), (beyond,), (tight,) = bars, boxes(drawn, "beyond"), boxes(drawn, "tight")
    assert far[3] == pytest.approx(2 * near[3], rel=1e-3)  # heights are counts
    assert tight[0] <= near[0]
    assert near[0] + near[2] <= tight[0] + tight[2] + 0.02
    assert far[0] + far[2] <= tight[0] + 0.02
    (refuting,) = boxes(drawn, "refutes")
    assert refuting[0] >= beyond[0] == pytest.approx(tight[0] + tight[2], abs=0.02)
    assert refuting[3] == pytest.approx(far[3] / 10, rel=1e-2)
    assert 'aria-label="16 instances have a bound' in drawn
    for x, y, width, height in (*bars, beyond, tight, refuting):
        assert 0 <= x <= x + width <= WIDTH
        assert 0 <= y <= y + height <= HEIGHT
        assert width > 0
        assert height >= 2


def test_the_axes_are_filled() -> None:
    drawn = svg([0.5] * 5 + [0.9975])
    (low, high), (tight,) = boxes(drawn, "bar"), boxes(drawn, "tight")
    assert high[3] == HEIGHT - TOP - BOTTOM
    assert tight[0] + tight[2] == pytest.approx(WIDTH - RIGHT, abs=0.02)
    assert low[0] == pytest.approx(LEFT + (WIDTH - LEFT - RIGHT) / 9, abs=0.02)  # the first of three thirds of decades


def test_axis_of_a_wide_range_is_not_crowded() -> None:
    drawn = svg([1.0, 0.0])
    assert re.findall(r'<tspan class="power" dy="-4">(.+?)</tspan>', drawn) == ["−3", "−6", "−9", "−12", "−15"]
    assert boxes(drawn, "beyond") == []


def test_nothing_to_count() -> None:
    assert svg([]) == ""
