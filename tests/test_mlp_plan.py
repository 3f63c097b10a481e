"""What an MLP comes down to: clears, copies, moves, constants, curves of one coordinate, and dense units."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from constructions.attention_plan import Coordinate
from constructions.mlp_plan import Curve, Functions, MlpPlan, plan_mlp
from constructions.piecewise_linear import from_units
from constructions.token_classes import Partitions

TOKENS, WIDTH = 31, 13
PARTITIONS = Partitions(TOKENS)
TWO, THREE, FIVE = (PARTITIONS.partition(np.arange(TOKENS) % count, count) for count in (2, 3, 5))
DISTINCT, SINGLE = PARTITIONS.distinct, PARTITIONS.single
ONE, ALSO_ONE, LEVEL, ZERO, OTHER_ZERO, PAIR, TRIPLE, TWIN, FIFTH, EACH, SAME, *_, LAST = range(WIDTH)
KNOWN = {ONE: 1.0, ALSO_ONE: 1.0, LEVEL: -0.75, ZERO: 0.0, OTHER_ZERO: 0.0}
COORDINATES = [Coordinate(SINGLE, value) for value in KNOWN.values()]
COORDINATES += [Coordinate(classes) for classes in (TWO, THREE, THREE, FIVE, DISTINCT, SINGLE)]
COORDINATES += [Coordinate(DISTINCT)] * 2
Row = dict[int, float]  # weights by coordinate
Unit = tuple[Row, Row]  # what it reads, and writes


def planned(units: list[Unit], dtype: torch.dtype = torch.float64, functions: Functions | None = None) -> MlpPlan:
    w1, w2 = np.zeros((len(units), WIDTH)), np.zeros((WIDTH, len(units)))
    for j, (reads, writes) in enumerate(units):
        w1[j, list(reads)] = list(reads.values())
        w2[list(writes), j] = list(writes.values())
    return plan_mlp(w1, w2, COORDINATES, PARTITIONS, functions or Functions(dtype))


def line(source: int, target: int, scale: float) -> list[Unit]:
    """target += scale·source."""
    return [({source: sign}, {target: sign * scale}) for sign in (1.0, -1.0)]


def assigned(made: MlpPlan) -> dict[int, tuple[Fraction, dict[int, Fraction]]]:
    return {target: (one.constant, dict(one.terms)) for target, one in made.assignments.items()}


def assert_adds_nothing(made: MlpPlan) -> None:
    assert (made.curves, made.dense, made.cleared, made.computed, made.operations) == ((), None, [], {}, 0)
    assert all(target == source for target, source in zip(*made.copied, strict=True))
    assert made.after == tuple(COORDINATES)
    assert str(made) == "adds nothing"


def test_a_clear():
    made = planned([*line(PAIR, PAIR, -1.0), *line(EACH, EACH, -1.0)])
    assert assigned(made) == {PAIR: (0, {}), EACH: (0, {})}
    assert made.cleared == [PAIR, EACH]
    assert made.after[PAIR] == made.after[EACH] == Coordinate(SINGLE, 0.0)
    assert (made.curves, made.dense, made.operations, str(made)) == ((), None, 0, "2 cleared")


def test_copies_into_cleared_coordinates_and_zeros():
    made = planned([*line(EACH, EACH, -1.0), *line(PAIR, EACH, 1.0), *line(TRIPLE, ZERO, 1.0)])
    assert made.copied == ([ZERO, EACH], [TRIPLE, PAIR])
    assert (made.cleared, made.computed) == ([], {})
    assert (made.after[EACH], made.after[ZERO]) == (COORDINATES[PAIR], COORDINATES[TRIPLE])
    assert (made.operations, str(made)) == (0, "2 copied")


def test_two_coordinates_change_places():
    clears = [*line(PAIR, PAIR, -1.0), *line(EACH, EACH, -1.0)]
    made = planned([*clears, *line(PAIR, EACH, 1.0), *line(EACH, PAIR, 1.0)])
    assert made.copied == ([PAIR, EACH], [EACH, PAIR])
    assert (made.after[PAIR], made.after[EACH]) == (COORDINATES[EACH], COORDINATES[PAIR])


def test_a_linear_move_has_its_coefficient_on_the_source():
    made = planned([*line(PAIR, ZERO, -3.0), *line(TRIPLE, FIFTH, 7.0), *line(EACH, EACH, -0.5)])
    assert assigned(made) == {
        ZERO: (0, {PAIR: -3}),
        FIFTH: (0, {TRIPLE: 7, FIFTH: 1}),
        EACH: (0, {EACH: Fraction(1, 2)}),
    }
    assert list(made.computed) == [ZERO, FIFTH, EACH]
    assert str(made) == "3 computed"
    assert made.after[ZERO] == Coordinate(TWO)
    assert made.after[FIFTH] == Coordinate(PARTITIONS.join([THREE, FIVE]))


def test_one_coefficient_for_units_of_any_scale():
    """2·relu(3x) − 5·relu(−x) is no line; 2·relu(3x) − 6·relu(−x) = 6x is one."""
    assert assigned(planned([({PAIR: 3.0}, {ZERO: 2.0}), ({PAIR: -1.0}, {ZERO: -6.0})])) == {ZERO: (0, {PAIR: 6})}
    assert len(planned([({PAIR: 3.0}, {ZERO: 2.0}), ({PAIR: -1.0}, {ZERO: -5.0})]).curves) == 1


def test_a_line_with_a_constant():
    """relu(x + 5) − relu(−x − 5) = x + 5."""
    made = planned([({PAIR: sign, ONE: sign * 5.0}, {TRIPLE: sign}) for sign in (1.0, -1.0)])
    assert assigned(made) == {TRIPLE: (5, {PAIR: 1, TRIPLE: 1})}
    assert made.after[TRIPLE] == Coordinate(PARTITIONS.join([TWO, THREE]))


def test_units_that_read_known_constants_only_are_constants():
    made = planned([({LEVEL: -4.0, ONE: 2.0}, {ZERO: 0.5, PAIR: 7.0}), ({LEVEL: 1.0}, {ZERO: 11.0, TRIPLE: 1.0})])
    assert assigned(made) == {ZERO: (2.5, {}), PAIR: (35, {PAIR: 1}), TRIPLE: (0, {TRIPLE: 1})}
    assert made.after[ZERO] == Coordinate(SINGLE, 2.5)
    assert made.after[PAIR] == Coordinate(TWO)
    assert str(made) == "2 computed"


def test_a_constant_is_added_to_a_known_one():
    made = planned([({ONE: 3.0}, {LEVEL: 2.0})])
    assert assigned(made) == {LEVEL: (5.25, {})}
    assert made.after[LEVEL].known == 5.25


def test_a_constant_that_makes_a_known_one_zero_clears_it():
    assert planned([({ONE: 1.0}, {LEVEL: 0.75})]).cleared == [LEVEL]


def test_a_constant_is_known_only_if_the_format_holds_it():
    units = [({ONE: 1.0}, {ZERO: 1.0}), ({ONE: 1.0}, {ZERO: 2.0**-29})]
    assert planned(units).after[ZERO] == Coordinate(SINGLE, 1 + 2.0**-29)
    assert planned(units, torch.float32).after[ZERO] == Coordinate(SINGLE)
    assert assigned(planned(units, torch.float32)) == {ZERO: (1 + Fraction(1, 2**29), {})}


def test_a_bias_is_the_exact_sum_over_known_constants():
    """0.1·(−0.75) + 0.3·1, in rationals: the breakpoint is not a float."""
    (curve,) = planned([({EACH: 3.0, LEVEL: 0.1, ONE: 0.3, ZERO: 7.0}, {ZERO: 5.0})]).curves
    point = -(Fraction(0.1) * Fraction(-3, 4) + Fraction(0.3)) / 3
    assert curve.function.breakpoints == (point,)
    assert curve.function.slopes == (0, 15)
    assert Fraction(float(point)) != point


def test_biases_of_ones_are_added_exactly():
    (curve,) = planned([({EACH: 1.0, ONE: 1.0, ALSO_ONE: 2.0**-60}, {ZERO: 1.0})]).curves
    assert curve.function.breakpoints == (-1 - Fraction(1, 2**60),)


def only_curve(made: MlpPlan) -> Curve:
    (curve,) = made.curves
    return curve


HAT = ((1.0, -2.0, 3.0), (-5.0, 1.0, 0.5), (1.0, 7.0, -1.0))  # (w, b, a)


def hat(source: int, target: int, scale: float = 1.0) -> list[Unit]:
    return [({source: w, ONE: b}, {target: scale * a}) for w, b, a in HAT]


def test_a_curve_is_the_function_of_its_units():
    made = planned(hat(TRIPLE, FIFTH))
    curve = only_curve(made)
    expected = from_units(HAT)
    assert (curve.function.breakpoints, curve.function.values) == (expected.breakpoints, expected.values)
    assert (curve.sources.tolist(), curve.targets.tolist(), curve.place) == ([TRIPLE], [FIFTH], None)
    assert curve.classes is THREE
    assert assigned(made) == {FIFTH: (0, {FIFTH: 1})}  # the residual
    assert made.after[FIFTH] == Coordinate(PARTITIONS.join([THREE, FIVE]))
    assert made.after[TRIPLE] == COORDINATES[TRIPLE]
    assert str(made) == "1 x 3 values of a curve of 3 units"


def test_a_curve_into_a_cleared_coordinate_has_its_source_s_classes():
    made = planned([*hat(TRIPLE, FIFTH), *line(FIFTH, FIFTH, -1.0), *hat(PAIR, ZERO)])
    assert made.cleared == [ZERO, FIFTH]
    assert made.after[FIFTH] == Coordinate(THREE)
    assert made.after[ZERO] == Coordinate(TWO)  # known no more
    assert str(made).endswith(", 2 cleared")


def test_units_of_one_source_and_target_are_one_curve_wherever_they_are():
    """A clear among them makes the curve less x."""
    curve = only_curve(planned([*hat(EACH, EACH)[:1], *line(EACH, EACH, -1.0), *hat(EACH, EACH)[1:]]))
    assert curve.units == 5
    assert curve.function.slopes == tuple(slope - 1 for slope in from_units(HAT).slopes)


def test_a_curve_of_several_coordinates_is_made_once(rng):
    """Whatever the order of the hidden units."""
    units = [*hat(TRIPLE, ZERO), *hat(TWIN, EACH)]
    shuffled = [units[i] for i in rng.permutation(len(units))]
    assert shuffled != units
    for made in (planned(units), planned(shuffled), planned([*hat(TWIN, EACH)[::-1], *hat(TRIPLE, ZERO)])):
        curve = only_curve(made)
        assert (curve.sources.tolist(), curve.targets.tolist(), curve.place) == ([TRIPLE, TWIN], [ZERO, EACH], None)
        assert (curve.classes, curve.units) == (THREE, 3)
        assert str(made) == "2 x 3 values of a curve of 3 units, 1 cleared"


def test_several_sources_of_one_target():
    curve = only_curve(planned([*hat(TWIN, EACH), *hat(TRIPLE, ZERO), *hat(TRIPLE, EACH)]))
    assert curve.sources.tolist() == [TRIPLE, TRIPLE, TWIN]
    assert curve.targets.tolist() == [ZERO, EACH]
    assert curve.place.tolist() == [0, 1, 1]


def test_several_targets_of_one_source():
    curve = only_curve(planned([*hat(TWIN, EACH), *hat(TWIN, ZERO)]))
    assert (curve.sources.tolist(), curve.targets.tolist(), curve.place) == ([TWIN, TWIN], [ZERO, EACH], None)


def test_equal_units_of_several_layers_are_one_function():
    functions = Functions(torch.float64)
    one, other, third = (
        only_curve(planned(units, functions=functions))
        for units in (hat(TRIPLE, ZERO), hat(FIFTH, EACH)[::-1], hat(TRIPLE, ZERO, 2.0))
    )
    assert one.lookup is other.lookup is not third.lookup
    assert (one.function.slopes, third.function.slopes) == (
        other.function.slopes,
        tuple(2 * s for s in one.function.slopes),
    )


@pytest.mark.parametrize("other", [hat(FIFTH, EACH), hat(TWIN, EACH, 2.0)], ids=["classes", "function"])
def test_other_curves_are_apart(other):
    made = planned([*hat(TRIPLE, ZERO), *other])
    assert [len(curve.sources) for curve in made.curves] == [1, 1]


def test_one_value_of_all_tokens_is_no_known_constant():
    """It may differ from one data set to another."""
    made = planned([*hat(SAME, FIFTH), *line(SAME, ZERO, 1.0)])
    assert only_curve(made).classes is SINGLE
    assert made.copied == ([ZERO, FIFTH], [SAME, FIFTH])
    assert made.after[ZERO] == Coordinate(SINGLE)


MIXED = [
    [({PAIR: 1.0, TRIPLE: -2.0}, {FIFTH: 3.0})],  # reads two coordinates
    [({PAIR: 1.0}, {FIFTH: 3.0, ZERO: 5.0})],  # writes two
]


@pytest.mark.parametrize("units", MIXED, ids=["reads", "writes"])
def test_units_that_mix_coordinates_are_dense(units):
    made = planned(units)
    dense = made.dense
    reads, writes = units[0]
    assert made.curves == ()
    assert dict(zip(dense.sources.tolist(), dense.w1[0].tolist(), strict=True)) == reads
    assert dict(zip(dense.targets.tolist(), dense.w2[:, 0].tolist(), strict=True)) == writes
    classes = PARTITIONS.join(COORDINATES[c].partition for c in reads)
    assert dense.classes is classes
    for target in writes:
        assert made.after[target] == Coordinate(PARTITIONS.join([COORDINATES[target].partition, classes]))
    assert str(made) == f"1 dense units on {classes.count} tokens" + (", 1 cleared" if ZERO in writes else "")


def test_dense_units_read_constants_but_no_zeros():
    """A known constant is not folded into a rounded bias."""
    dense = planned([({LEVEL: 0.1, ZERO: 7.0, TRIPLE: 2.0, PAIR: 1.0}, {EACH: 1.0})]).dense
    assert dense.sources.tolist() == [LEVEL, PAIR, TRIPLE]
    assert dense.w1.tolist() == [[0.1, 1.0, 2.0]]
    assert dense.classes.count == 6


def test_dense_units_stand_beside_a_curve():
    made = planned([*hat(TRIPLE, FIFTH), *MIXED[0], *line(EACH, ZERO, 1.0)])
    assert (only_curve(made).units, len(made.dense.w1)) == (3, 1)
    assert made.copied == ([ZERO, FIFTH], [EACH, FIFTH])
    assert str(made) == "1 x 3 values of a curve of 3 units, 1 dense units on 6 tokens, 1 copied"


UNHELD = {
    "slope": [({EACH: 2.0**-100}, {ZERO: 2.0**-100})],
    "line": [({EACH: sign * 2.0**-100}, {ZERO: sign * 2.0**-100}) for sign in (1.0, -1.0)],
    "breakpoint": [({EACH: 2.0**-100, ONE: 2.0**100}, {ZERO: 1.0})],
    "value": [({EACH: 1.0, ONE: 2.0**100}, {ZERO: 2.0**100}), ({EACH: 1.0, ONE: -1.0}, {ZERO: 1.0})],
}


@pytest.mark.parametrize("units", UNHELD.values(), ids=UNHELD)
def test_what_the_format_cannot_hold_is_dense(units):
    made = planned(units, torch.float32)
    assert (made.curves, len(made.dense.w1), made.cleared) == ((), len(units), [ZERO])
    assert made.dense.w1.dtype == torch.float32
    assert planned(units).dense is None


DEAD = [({EACH: 3.0}, {}), ({ONE: 1.0}, {}), ({}, {EACH: 1.0}), ({ZERO: 5.0}, {PAIR: 7.0}), ({ONE: -1.0}, {PAIR: 1.0})]


def test_dead_units_are_dropped():
    """They write nothing, or read nothing, or are never active."""
    for unit in DEAD:
        assert_adds_nothing(planned([unit]))
    assert_adds_nothing(planned(DEAD))
    assert only_curve(planned([*DEAD, *hat(TRIPLE, FIFTH)])).units == 3


def test_units_that_cancel_add_nothing():
    assert_adds_nothing(planned([*line(TRIPLE, FIFTH, 0.1), *line(TRIPLE, FIFTH, -0.1)]))
    assert_adds_nothing(planned([*hat(TRIPLE, FIFTH), *hat(TRIPLE, FIFTH, -1.0)]))


def test_operations_are_counted_by_hand():
    table = planned([({PAIR: 1.0, ONE: -b}, {EACH: 1.0}) for b in (2.0, 3.0, 5.0)])
    assert only_curve(table).lookup.cells is not None
    assert table.operations == 2  # a look-up for each class
    searched = planned([*hat(TRIPLE, ZERO), *hat(TWIN, EACH)])
    assert only_curve(searched).lookup.cells is None
    assert searched.operations == 2 * 3 * 2  # two coordinates, three classes, two comparisons among four segments
    dense = planned([({PAIR: 1.0, TRIPLE: 1.0}, {FIFTH: 3.0}), ({TWIN: 1.0}, {ZERO: 1.0, EACH: 1.0})])
    assert dense.operations == 6 * (2 * 3 + 3 * 2)
    every = planned([*hat(TRIPLE, ZERO), ({PAIR: 1.0, TRIPLE: 1.0}, {FIFTH: 3.0}), *line(EACH, EACH, -1.0)])
    assert every.operations == 3 * 2 + 6 * (1 * 2 + 1 * 1)
    assert every.dense_operations == 31 * 2 * (3 + 1 + 2) * 13


def test_the_text_of_a_plan():
    made = planned(
        [
            *hat(TRIPLE, ZERO),
            ({PAIR: 1.0, TRIPLE: 1.0}, {FIFTH: 3.0}),
            *line(EACH, EACH, -1.0),
            *line(EACH, OTHER_ZERO, 1.0),
            *line(EACH, LAST, 2.0),
        ]
    )
    expected = "1 x 3 values of a curve of 3 units, 1 dense units on 6 tokens, 2 cleared, 1 copied, 1 computed"
    assert str(made) == expected
