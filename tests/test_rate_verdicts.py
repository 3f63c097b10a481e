"""What a measured rate says: holds, refuted beyond chance, or undecided; and what is no number."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from theory_checks import rate_verdicts as rule
from theory_checks import rates, test_lemma_f1, test_lemma_f2, test_theorem_f4
from theory_checks import test_theorem_f1_rate as rate
from theory_checks.ledger import REGISTRY
from theory_checks.rates import Estimate

NONE = Estimate(np.nan, np.nan, np.nan, np.nan)


@pytest.mark.parametrize(
    ("value", "width", "margin", "outcome"),
    [
        (0.50, 0.04, 0.1, "holds"),
        (0.40, 0.01, 0.01, "holds"),
        (0.54, 0.02, 0.05, "undecided"),  # reaches beyond the margin, but not surely above
        (0.56, 0.02, 0.05, "refuted"),
        (0.54, 0.005, 0.03, "refuted"),  # within the margin, and surely above
        (0.56, 0.02, 0.07, "undecided"),  # the interval is above the limit, which is not beyond chance
    ],
)
def test_at_most(value, width, margin, outcome):
    assert rule.at_most(Estimate(value, value - width, value + width, margin), 0.5, "x").outcome == outcome


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("off", "width", "margin", "outcome"),
    [
        (0.0, 0.05, 0.2, "holds"),
        (0.02, 0.02, 0.03, "holds"),
        (0.04, 0.02, 0.05, "undecided"),
        (0.0, 0.06, 0.2, "undecided"),
        (0.09, 0.02, 0.05, "undecided"),
        (0.11, 0.02, 0.05, "refuted"),
    ],
)
def test_near(sign, off, width, margin, outcome):
    value = sign * off
    assert rule.near(Estimate(value, value - width, value + width, margin), 0.0, "x").outcome == outcome


def test_an_interval_that_decides_nothing_does_not_hold():
    wide = Estimate(0.4, -0.6, 1.4, 3.0)
    assert rule.at_most(wide, 0.5, "x").outcome == rule.near(wide, 0.4, "x").outcome == "undecided"


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
def test_cell(misses, of, bound, outcome):
    """The largest error, be it a miss, is that of the slack; how many misses there are is shown."""
    errors = np.full(of, 0.25 * bound)
    errors[:misses] = 1.5 * bound
    found = rule.cell(errors, bound, "cell", trivial=1.0)
    assert found.outcome == outcome
    if outcome != "vacuous":
        assert found.slack == pytest.approx(-0.5 if misses else 0.75, rel=1e-12, abs=0)
        assert f"misses {misses} of {of}, the largest error {errors.max():.4g}" in found.instance


@pytest.mark.parametrize("of", [20, 40, 100, 600, 2000])
def test_misses_are_refuted_where_chance_ends(of):
    """The least number of misses that is refuted, by the binomial distribution's own sum."""
    outcomes = [rule.missed(misses, of) for misses in range(of + 1)]
    refuted = outcomes.index("refuted")
    tail = binom.pmf(np.arange(of + 1), of, rates.DELTA)[::-1].cumsum()[::-1]
    assert tail[refuted] < rates.FALSE_ALARM <= tail[refuted - 1]
    allowed = of // 100
    assert outcomes == ["holds"] * (allowed + 1) + ["undecided"] * (refuted - allowed - 1) + ["refuted"] * (
        of + 1 - refuted
    )


@pytest.mark.parametrize(
    ("least", "most", "outcome"), [(0.1, 0.4, "holds"), (0.4, 0.6, "undecided"), (0.6, 0.7, "refuted")]
)
def test_enclosed(least, most, outcome):
    found = rule.enclosed(least, most, 0.5, "x")
    assert found.outcome == outcome
    assert found.slack == pytest.approx(1 - most / 0.5, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("bound", [0.5, 1.0])
def test_an_error_that_is_no_number_refutes(wrong, bound):
    """One of 2000, which as a miss would be allowed; NaN also where the bound says nothing."""
    errors = np.full(2000, 0.1)
    errors[1234] = wrong
    found = rule.cell(errors, bound, "x", trivial=1.0)
    assert found.outcome == ("refuted" if np.isnan(wrong) else "holds" if bound < 1 else "vacuous")
    assert found.slack is None


def test_no_number_refutes_everywhere():
    assert rule.at_most(NONE, 0.5, "x").outcome == "refuted"
    assert rule.near(NONE, 0.5, "x").outcome == "refuted"
    for ends in ((np.nan, 0.1, 0.5), (0.1, np.nan, 0.5), (0.1, 0.2, np.nan)):
        assert rule.enclosed(*ends, "x").outcome == "refuted"
    assert rule.cell(np.full(3, 0.1), np.nan, "x").outcome == "undecided"


STATISTICAL = {
    "theorem-f1": rate,
    "theorem-f1-exponents": rate,
    "theorem-f1-geometric": rate,
    "lemma-f1": test_lemma_f1,
    "lemma-f2": test_lemma_f2,
    "lemma-f3": test_lemma_f2,
    "theorem-f4-weight": test_theorem_f4,
}


@pytest.mark.parametrize("id", STATISTICAL)
def test_rows_follow_the_rule(id, monkeypatch):
    """With a rule by which nothing is decided, no cell and no exponent of the row is."""
    held = [v.instance for v in REGISTRY[id].verdicts(0)]
    undecided = rule.Verdict("undecided", "by the rule")
    for module in {rule, STATISTICAL[id]}:
        for name in ("cell", "at_most", "near", "enclosed"):
            if module is rule or hasattr(module, name):
                monkeypatch.setattr(module, name, lambda *_, **__: undecided)
    left = [v for v in REGISTRY[id].verdicts(0) if v.outcome == "holds"]
    measured = [name for name in held if "misses" in name or "exponent of" in name or "slope of" in name]
    assert len(measured) > 3
    assert not [v.instance for v in left if "misses" in v.instance or "[" in v.instance]


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


def test_a_fall_that_is_no_number_refutes():
    rows = np.zeros(3, dtype=[("L", int), ("separation", float), ("em_rate", float), ("optimisation", float)])
    rows["L"], rows["separation"], rows["em_rate"], rows["optimisation"] = 4, 3.0, 0.5, [0.1, np.nan, 0.1]
    assert rate.rate_of_fall([rows, rows], "optimisation", 1.0).outcome == "refuted"


def test_only_held_out_cells_are_judged():
    verdicts = list(rate.theorem_f1.verdicts(0))
    names = [verdict.instance.split(":")[0].split(" ")[-1] for verdict in verdicts]
    assert "calibration" not in names
    assert len(names) == len({rate.declared(row) for row in rate.found().rows if row["sweep"] != "calibration"})


def test_no_cell_that_holds_has_a_large_constant():
    """As the statement says: C of (A1) from 1.8 to 7.2; and there are cells with a large one, which are not judged."""
    cells = {rate.named(cell): cell for name in np.unique(rate.found().rows["sweep"]) for cell in rate.cells(name)}
    constants = [
        rate.separation_constant(cell)
        for verdict in rate.theorem_f1.verdicts(0)
        if verdict.outcome == "holds"
        for label, cell in cells.items()
        if f" {label}:" in verdict.instance
    ]
    assert len(constants) > 90
    assert f"{min(constants):.1f} to {max(constants):.1f}" in rate.theorem_f1.statement
    assert max(map(rate.separation_constant, cells.values())) > 60


@pytest.mark.parametrize("column", ["step_error", "step_bound"])
def test_a_step_that_is_no_number_is_the_worst_of_its_cell(column):
    cell = rate.cells("dtype")[0].copy()
    assert (cell["judged"] > 0).all()
    worst = int(np.argmax(cell["step_error"] / cell["step_bound"]))
    cell["step_error"][worst] = 0.5 * cell["step_bound"][worst]
    assert rate.worst_step(cell).outcome == "holds"
    assert rate.worst_step(cell).slack == pytest.approx(0.5, rel=1e-12)
    cell[column][worst - 1] = np.nan
    assert rate.worst_step(cell).outcome == "refuted"
    cell["judged"][worst - 1] = 0  # NaN there says that no step applies
    assert rate.worst_step(cell).outcome == "holds"
    cell["judged"] = 0
    assert rate.worst_step(cell).outcome == "not applicable"
