"""What a measured rate says: holds, refuted beyond chance, or undecided."""

import numpy as np
import pytest

from theory_checks import test_theorem_f1_rate as rate
from theory_checks.rates import Estimate


@pytest.mark.parametrize(
    ("value", "width", "outcome"),
    [
        (0.50, 0.04, "holds"),
        (0.40, 0.01, "holds"),
        (0.54, 0.02, "undecided"),  # reaches beyond the margin, not 4.9 standard errors above
        (0.56, 0.02, "refuted"),
        (0.54, 0.01, "refuted"),  # within the margin, and surely above
    ],
)
def test_at_most(value, width, outcome):
    assert rate.at_most(Estimate(value, value - width, value + width), 0.5, "x").outcome == outcome


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("off", "width", "outcome"),
    [
        (0.0, 0.05, "holds"),
        (0.02, 0.02, "holds"),
        (0.04, 0.02, "undecided"),
        (0.0, 0.06, "undecided"),
        (0.09, 0.02, "undecided"),
        (0.11, 0.02, "refuted"),
    ],
)
def test_near(sign, off, width, outcome):
    value = sign * off
    assert rate.near(Estimate(value, value - width, value + width), 0.0, "x").outcome == outcome


@pytest.mark.parametrize(
    ("misses", "of", "bound", "outcome"),
    [
        (0, 23, 0.5, "holds"),
        (1, 23, 0.5, "undecided"),
        (1, 101, 0.5, "holds"),
        (7, 19, 0.5, "refuted"),
        (0, 23, 1.0, "vacuous"),
        (7, 19, 1.0, "vacuous"),
    ],
)
def test_judge(misses, of, bound, outcome):
    errors = np.full(of, 0.25 * bound)
    errors[:misses] = 1.5 * bound
    found = rate.judge(errors, bound, "cell")
    assert found.outcome == outcome
    if outcome != "vacuous":
        assert found.slack == pytest.approx(-0.5 if misses else 0.75, rel=1e-12, abs=0)


def test_rate_of_fall():
    """Errors β_r^L of three data sets; those of L < 4, and those below rounding, do not count."""
    betas = np.array([0.5, 0.6, 0.4])

    def cell(steps, errors=None):
        rows = np.zeros(3, dtype=[("L", int), ("separation", float), ("em_rate", float), ("optimisation", float)])
        rows["L"], rows["separation"], rows["em_rate"] = steps, 3.0, betas
        rows["optimisation"] = betas**steps if errors is None else errors
        return rows

    cells = [cell(2, np.ones(3)), cell(4), cell(7), cell(11), cell(40)]
    assert rate.rate_of_fall(cells, "optimisation", 1.0).outcome == "holds"
    assert rate.rate_of_fall(cells, "optimisation", 2.0).outcome == "refuted"
    assert rate.rate_of_fall(cells[:2], "optimisation", 1.0).outcome == "not applicable"


def test_only_held_out_cells_are_judged():
    verdicts = list(rate.theorem_f1.verdicts(0))
    names = [verdict.instance.split(":")[0] for verdict in verdicts]
    assert "calibration" not in names
    assert len(names) == len({rate.declared(row) for row in rate.found().rows if row["sweep"] != "calibration"})
