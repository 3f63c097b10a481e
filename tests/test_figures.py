"""What figures plot, read off their axes, against the numbers of the rows and files that they are drawn from."""

from __future__ import annotations

from math import ceil, log, sqrt

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from constructions import bounds
from constructions.em_class import TaskClass, split_tolerance
from figures import (
    comparison,
    lemma_f2,
    lemma_f4,
    tgmm_cost,
    tgmm_results,
    theorem_f1_errors,
    theorem_f1_plateau,
    theorem_f1_rate,
    theorem_f2,
)
from tgmm.evaluation import MODELS
from theory_checks import phase_diagram, rates, test_theorem_f1_rate, uniform_deviations

Curve = tuple[list[float], list[float]]


@pytest.fixture
def axes() -> Axes:
    return Figure().subplots()


def curve(axes: Axes, place: int | str) -> Curve:
    """The x and y of a line, by its label or its place among those drawn."""
    lines = axes.get_lines()
    (line,) = [line for line in lines if line.get_label() == place] if isinstance(place, str) else [lines[place]]
    x, y = (np.asarray(part, dtype=float).tolist() for part in line.get_data())
    return x, y


def agrees(found: Curve, x: object, y: object) -> None:
    assert found[0] == pytest.approx(list(x), rel=1e-12, abs=0)
    assert found[1] == pytest.approx(list(y), rel=1e-12, abs=0)


def edges(axes: Axes, place: int = 0) -> tuple[set[float], set[float]]:
    """Coordinates of the corners of a shaded region."""
    corners = axes.collections[place].get_paths()[0].vertices
    return {float(x) for x in corners[:, 0]}, {float(y) for y in corners[:, 1]}


@pytest.mark.parametrize("axis", ["n", "L"])
def test_the_error_and_its_bound(axis, axes):
    """β^L + (c√(Kd log(n/δ)/(nπ_min)) + ε)/(1 − β) of every cell; medians and single data sets of the total error."""
    parts, held = theorem_f1_rate.along(axis), test_theorem_f1_rate.constants()[4.0]
    assert len(parts) >= 4
    theorem_f1_rate.draw(axes, parts, axis, held)
    x, middle, limits = [], [], []
    for cell in parts:
        row = cell[0]
        rate = sqrt(row["K"] * row["d"] * log(row["n"] / rates.DELTA) / (row["n"] * row["min_weight"]))
        x.append(row[axis])
        middle.append(np.median(cell["total"]))
        limits.append(held.beta ** row["L"] + (held.c * rate + row["tolerance"]) / (1 - held.beta))
    agrees(curve(axes, "error, its median"), x, middle)
    agrees(curve(axes, "bound"), x, limits)
    for place, cell in enumerate(parts):
        agrees(curve(axes, place), [cell[0][axis]] * len(cell), cell["total"])
    assert len(axes.get_lines()) == len(parts) + 2
    assert edges(axes)[1] >= {*middle, *limits}


def test_the_three_errors(axes):
    parts = test_theorem_f1_rate.cells("n")
    theorem_f1_errors.draw(axes, parts, "n")
    assert len(axes.get_lines()) == len(axes.collections) == 4
    for place, name in enumerate(("statistical", "optimisation", "approximation", "total")):
        values = [np.maximum(cell[name], theorem_f1_errors.FLOOR) for cell in parts]
        agrees(curve(axes, place), [cell[0]["n"] for cell in parts], map(np.median, values))
        assert curve(axes, theorem_f1_errors.ERRORS[name][0]) == curve(axes, place)
        assert edges(axes, place)[1] >= {float(end(v)) for v in values for end in (np.min, np.max)}


def test_the_plateau_and_its_exponents(axes):
    theorem_f1_plateau.draw_cells(axes)
    for sweep, (label, *_) in theorem_f1_plateau.MARKS.items():
        cells = [c for c in test_theorem_f1_rate.cells(sweep) if sweep != "calibration" or c[0]["separation"] == 4]
        one = [cell[0] for cell in cells]
        x = [sqrt(r["K"] * r["d"] * log(r["n"] / rates.DELTA) / (r["n"] * r["min_weight"])) for r in one]
        agrees(curve(axes, label), x, [np.median(cell["statistical"]) for cell in cells])
    held = test_theorem_f1_rate.constants()[4.0]
    x, y = curve(axes, "calibrated bound, R = 4")
    agrees((x, y), x, [held.c * value / (1 - held.beta) for value in x])
    assert len(axes.get_lines()) == len(theorem_f1_plateau.MARKS) + 1

    axes = Figure().subplots()
    theorem_f1_plateau.draw_exponents(axes)
    for place, (sweep, *_) in enumerate(theorem_f1_plateau.CLAIMED[:3]):
        shown = test_theorem_f1_rate.measured(sweep)
        agrees(curve(axes, 3 * place), [shown.low, shown.high], [place] * 2)
        agrees(curve(axes, 3 * place + 1), [shown.value], [place])
        agrees(curve(axes, 3 * place + 2), [{"n": -0.5, "d": 0.5, "K": 0.5}[sweep]], [place])


def test_uniform_deviations_and_their_bounds(axes):
    results = uniform_deviations.read()
    lemma_f2.draw_weight(axes, results)
    held = results.part("weight", "step")
    x = [m.cell.least for m in held]
    explicit = [lemma_f2.uniform_step_deviation(m.cell.region, m.cell.count, lemma_f2.DELTA / 2) for m in held]
    agrees(curve(axes, 0), x, explicit)
    rate = [sqrt(4 * log(m.cell.count) / (m.cell.count * m.cell.least)) for m in held]  # K = d = 2
    agrees(curve(axes, 1), x, [results.constants["step"] * value for value in rate])
    for place, m in enumerate(held, start=2):
        agrees(curve(axes, place), [m.cell.least] * len(m.values), m.values)
    agrees(curve(axes, -1), x, [np.median(m.values) for m in held])
    assert edges(axes)[1] >= {*(float(m.values.max()) for m in held), *explicit}
    for quantity, bound in (("w", lemma_f2.responsibility_deviation), ("moment", lemma_f2.moment_deviation)):
        cell = results.part("n", quantity)[0].cell
        assert lemma_f2.explicit(cell) == bound(cell.region, cell.count, lemma_f2.DELTA).max()


def test_where_population_em_obeys_its_theorems(axes):
    stored = phase_diagram.read()
    theorem_f2.draw(axes, stored, 3, "rate 0.5", theorem_f2.Normalize(theorem_f2.LOWEST, 0.5, clip=True))
    cells = [cell for cell in stored["cells"] if (cell["K"], cell["quantity"]) == (3, "rate 0.5")]
    agrees(curve(axes, 0), [c["holds_from"] or stored["constants"][0] for c in cells], [c["ratio"] for c in cells])
    colours = np.asarray(axes.collections[0].get_array()).reshape(len(cells), -1)
    assert colours == pytest.approx(np.log10(np.maximum([c["worst"] for c in cells], 1e-7)), rel=1e-12, abs=0)
    assert [curve(axes, place)[0][0] for place in (1, 2)] == [64, 128]


def test_units_and_weights(axes, monkeypatch):
    monkeypatch.setattr(lemma_f4, "measured", lambda low, high, n, *_: ((high - low) / n) ** 2 / 8)
    lemma_f4.draw_units(axes)
    for place, a in enumerate((10.0, 1e3, 1e6)):
        x = lemma_f4.ERRORS
        agrees(curve(axes, 3 * place), x, [ceil(2 * log(a) / error) + 1 for error in x])
        agrees(curve(axes, 3 * place + 1), x, [ceil(2 * log(a) / sqrt(8 * error)) + 1 for error in x])
        built = [ceil(2 * log(a) / sqrt(8 * error)) for error in lemma_f4.BUILT_ERRORS]
        agrees(curve(axes, 3 * place + 2), [(2 * log(a) / n) ** 2 / 8 for n in built], [n + 1 for n in built])

    axes = Figure().subplots()
    comparison.draw_weights(axes)
    for construction in ("floor", "paper"):
        x, y = curve(axes, construction)
        assert (x[0], x[-1], len(x)) == (1.0, pytest.approx(100.0), 25)
        for radius, value in zip(x[::8], y[::8], strict=True):
            limits = TaskClass(8, 8, radius, comparison.MIN_WEIGHT)
            sizes = split_tolerance(limits, min(comparison.TOLERANCE, radius), construction)
            assert value == pytest.approx(bounds.log_b_theta(limits, sizes), rel=1e-12, abs=0)


def test_seconds_a_task_and_errors_with_their_intervals(axes):
    tgmm_cost.panel(axes, 2, 3)
    found = tgmm_results.rows("rq1-d2")
    (row,) = found[(found["K"] == 3) & (found["method"] == MODELS[2])]
    label = tgmm_results.look(MODELS[2])[0]
    (bars,) = [bars for bars in axes.containers if bars.get_label() == label]
    point, _, (interval,) = bars
    agrees(point.get_data(), [row["estimation_seconds"] / row["tasks"]], [row["l2_error"]])
    ends = interval.get_segments()[0][:, 1]
    assert sorted(ends) == pytest.approx([row["l2_error_low"], row["l2_error_high"]], rel=1e-12, abs=0)
    assert curve(axes, "TGMM's error")[1] == [row["l2_error"]] * 2


@pytest.mark.parametrize("metric", ["l2_error", "clustering_accuracy"])
def test_a_methods_results_with_their_intervals(metric, axes):
    found = tgmm_results.rows("rq1-d2")
    tgmm_results.draw(axes, found, "em-normal", "K", metric)
    rows = np.sort(found[found["method"] == "em-normal"], order="K")
    agrees(curve(axes, 0), rows["K"], rows[metric])
    assert edges(axes)[1] >= {float(value) for end in ("low", "high") for value in rows[f"{metric}_{end}"]}
