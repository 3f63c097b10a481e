"""What is left of an attention layer without its zeros, and which heads and tokens are taken together."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from constructions.attention_plan import AttentionPlan, Coordinate, HeadGroup, Reading, plan_attention
from constructions.token_classes import Partitions
from constructions.weights import Activation, HeadWeights

TOKENS, WIDTH = 31, 11
PARTITIONS = Partitions(TOKENS)
TWO, THREE, FIVE = (PARTITIONS.partition(np.arange(TOKENS) % count, count) for count in (2, 3, 5))
DISTINCT, SINGLE = PARTITIONS.distinct, PARTITIONS.single
ONE, ZERO, PAIR, TRIPLE, FIFTH, EACH, SAME, OTHER, TARGET = range(9)  # and two more targets
COORDINATES = [Coordinate(SINGLE, 1.0), Coordinate(SINGLE, 0.0)]
COORDINATES += [Coordinate(classes) for classes in (TWO, THREE, FIVE, DISTINCT, SINGLE, DISTINCT, TWO)]
COORDINATES += [Coordinate(SINGLE, 0.0)] * 2
Row = dict[int, float]  # weights by coordinate


def matrix(rows: list[Row]) -> np.ndarray:
    result = np.zeros((len(rows), WIDTH))
    for i, row in enumerate(rows):
        result[i, list(row)] = list(row.values())
    return result


def head(query: list[Row], key: list[Row], value: list[Row], output: list[Row] | None = None) -> HeadWeights:
    """`output` has a row for each value; left out, the values go to the targets."""
    written = [{TARGET + i: 1.0} for i in range(len(value))] if output is None else output
    return HeadWeights(matrix(query), matrix(key), matrix(value), np.ascontiguousarray(matrix(written).T))


def planned(*heads: HeadWeights, activation: Activation = "relu", dtype: torch.dtype = torch.float64) -> AttentionPlan:
    return plan_attention(heads, activation, COORDINATES, PARTITIONS, dtype)


def only_group(*heads: HeadWeights, activation: Activation = "relu") -> HeadGroup:
    (group,) = planned(*heads, activation=activation).groups
    assert group.heads == tuple(range(len(heads)))
    return group


def held(reading: Reading) -> list[Row]:
    """The rows of a reading by coordinate."""
    sources = reading.sources.tolist()
    if reading.matrix is not None:
        found = [dict(zip(sources, row, strict=True)) for row in reading.matrix.tolist()]
        return [{c: weight for c, weight in row.items() if weight} for row in found]
    scales = [1.0] * len(sources) if reading.scales is None else reading.scales[:, 0].tolist()
    return [{c: weight} for c, weight in zip(sources, scales, strict=True)]


PLAIN = head([{PAIR: 3.0}], [{TRIPLE: 1.0, FIFTH: -2.0}], [{EACH: 5.0}], [{TARGET: 7.0}])


def test_a_group_holds_only_what_is_not_zero():
    group = only_group(PLAIN)
    assert (group.rank, group.biases, group.value.rows) == (1, 0, 1)
    assert (group.query.sources.tolist(), group.query.matrix) == ([PAIR], None)
    assert group.key.sources.tolist() == [TRIPLE, FIFTH]
    assert group.key.matrix.tolist() == [[1.0, -2.0]]
    assert group.value.scales.tolist() == [[5.0]]
    assert (group.targets.tolist(), group.output.tolist()) == ([TARGET], [[7.0]])


def test_classes_are_joins_of_what_is_read():
    group = only_group(PLAIN)
    assert group.queries is TWO
    assert group.keys is PARTITIONS.join([THREE, FIVE])
    assert group.keys.count == 15
    assert group.values is DISTINCT
    assert only_group(replace(PLAIN, value=matrix([{PAIR: 5.0}]))).values is PARTITIONS.join([THREE, FIVE, TWO])
    assert only_group(replace(PLAIN, value=matrix([{FIFTH: 5.0}]))).values is group.keys


def test_rows_with_a_side_of_zeros_are_dropped():
    """Rows of the score of which one side reads nothing, values that read nothing or are not passed on."""
    more = head(
        [{}, {PAIR: 3.0}, {EACH: 1.0}],
        [{EACH: 1.0}, {TRIPLE: 1.0, FIFTH: -2.0}, {}],
        [{OTHER: 1.0}, {EACH: 5.0}, {}],
        [{}, {TARGET: 7.0}, {TARGET + 1: 1.0}],
    )
    assert planned(more).after == planned(PLAIN).after
    for name in ("query", "key", "value"):
        assert held(getattr(only_group(more), name)) == held(getattr(only_group(PLAIN), name))


def test_coordinates_known_to_be_zero_are_columns_of_zeros():
    more = head(
        [{PAIR: 3.0, ZERO: 11.0}, {ZERO: 1.0}, {EACH: 1.0}],
        [{TRIPLE: 1.0, FIFTH: -2.0}, {EACH: 1.0}, {ZERO: 1.0}],
        [{EACH: 5.0, ZERO: 1.0}, {ZERO: 1.0}],
        [{TARGET: 7.0}, {TARGET + 1: 1.0}],
    )
    for name in ("query", "key", "value"):
        assert held(getattr(only_group(more), name)) == held(getattr(only_group(PLAIN), name))
    assert only_group(more).queries is TWO
    assert only_group(more).targets.tolist() == [TARGET]


@pytest.mark.parametrize("activation", ["relu", "softmax"])
@pytest.mark.parametrize(
    "silent",
    [
        head([{}], [{}], [{}]),
        head([{PAIR: 1.0}], [{EACH: 1.0}], [{EACH: 1.0}], [{}]),
        head([{PAIR: 1.0}], [{EACH: 1.0}], [{}]),
        head([{PAIR: 1.0}], [{EACH: 1.0}], [{ZERO: 1.0}]),
    ],
)
def test_a_head_that_writes_nothing_is_in_no_group(silent, activation):
    made = planned(silent, activation=activation)
    assert made.groups == ()
    assert made.operations == 0
    assert str(made) == "adds nothing"
    assert made.after == tuple(COORDINATES)
    (group,) = planned(silent, PLAIN, silent, activation=activation).groups
    assert group.heads == (1,)


NO_SCORE = head([{PAIR: 1.0}, {ZERO: 1.0}], [{}, {EACH: 1.0}], [{EACH: 5.0}])


def test_a_relu_head_with_a_score_of_0_is_in_no_group():
    assert planned(NO_SCORE).groups == ()


def test_a_softmax_head_with_a_score_of_0_is_a_mean():
    """One query and one key, whatever the tokens; its value is the mean of all."""
    made = planned(NO_SCORE, activation="softmax")
    (group,) = made.groups
    assert (group.rank, group.biases) == (0, 0)
    assert group.queries is group.keys is SINGLE
    assert group.values is DISTINCT
    assert str(made) == "1 head: 1 x 1 (queries x keys)"
    assert made.after[TARGET].partition is TWO


def test_rows_whose_query_is_the_same_for_all_tokens_are_biases():
    group = only_group(
        head(
            [{SAME: 2.0, ONE: 3.0}, {PAIR: 5.0}, {ONE: 7.0}], [{EACH: 1.0}, {TRIPLE: 1.0}, {FIFTH: 1.0}], [{EACH: 1.0}]
        )
    )
    assert (group.rank, group.biases) == (1, 2)
    assert (held(group.query), held(group.key)) == ([{PAIR: 5.0}], [{TRIPLE: 1.0}])
    assert held(group.bias_query) == [{SAME: 2.0, ONE: 3.0}, {ONE: 7.0}]
    assert held(group.bias_key) == [{EACH: 1.0}, {FIFTH: 1.0}]
    assert group.queries is TWO
    assert group.keys is DISTINCT  # biases depend on the key


def test_one_query_for_all_tokens_needs_no_biases():
    group = only_group(head([{SAME: 2.0}, {ONE: 3.0}], [{TRIPLE: 1.0}, {FIFTH: 1.0}], [{EACH: 1.0}]))
    assert (group.rank, group.biases) == (2, 0)
    assert group.queries is SINGLE


def valued(*values: Row) -> HeadWeights:
    return head([{PAIR: 1.0}], [{TRIPLE: 1.0}], list(values), [{TARGET: 1.0}, {TARGET + 1: 1.0}][: len(values)])


def test_relu_heads_with_proportional_values_share_one():
    """The first entry of a value is its factor; another head's may be negative."""
    group = only_group(
        valued({EACH: 3.0, OTHER: -0.75}), valued({EACH: 1.0, OTHER: 2.0}), valued({EACH: -6.0, OTHER: 1.5})
    )
    assert held(group.value) == [{EACH: 1.0, OTHER: -0.25}, {EACH: 1.0, OTHER: 2.0}]
    assert group.share_of.tolist() == [0, 1, 0]
    assert group.share.tolist() == [3.0, 1.0, -6.0]


def test_all_rows_of_a_value_have_the_same_factor():
    one, other = valued({EACH: 0.5}, {OTHER: 1.5}), valued({EACH: 7.0}, {OTHER: 21.0})
    assert only_group(one, other).value.rows == 2
    assert only_group(one, other).share.tolist() == [0.5, 7.0]
    uneven = only_group(one, valued({EACH: 7.0}, {OTHER: 14.0}))
    assert uneven.value.rows == 4
    assert uneven.share_of.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({EACH: 3.0, OTHER: 1.0}, {EACH: 6.0, OTHER: 2.0}),  # 1/3 is rounded
        ({EACH: 0.1, OTHER: 0.3}, {EACH: 0.2, OTHER: 0.6}),
        ({EACH: 1e-200, OTHER: 1e200}, {EACH: 2e-200, OTHER: 2e200}),  # the quotient overflows
        ({EACH: 1e200, OTHER: 1e-200}, {EACH: 2e200, OTHER: 2e-200}),  # and underflows
    ],
    ids=["thirds", "tenths", "overflow", "underflow"],
)
def test_values_are_not_shared_at_the_cost_of_a_rounding(first, second):
    group = only_group(valued(first), valued(second))
    assert held(group.value) == [first, second]
    assert group.share.tolist() == [1.0, 1.0]
    assert group.share_of.tolist() == [0, 1]


def test_one_value_alone_and_values_of_softmax_are_left_as_they_are():
    assert held(only_group(valued({EACH: 3.0, OTHER: -0.75})).value) == [{EACH: 3.0, OTHER: -0.75}]
    heads = valued({EACH: 3.0}), valued({EACH: -6.0}), valued({EACH: 3.0})
    group = only_group(*heads, activation="softmax")
    assert held(group.value) == [{EACH: 3.0}, {EACH: -6.0}]
    assert group.share_of.tolist() == [0, 1, 0]
    assert group.share.tolist() == [1.0, 1.0, 1.0]


def test_fused_heads_have_their_rows_one_below_the_other():
    group = only_group(
        head([{PAIR: 3.0}, {ONE: 2.0}], [{TRIPLE: 5.0}, {FIFTH: 1.0}], [{EACH: 1.0}]),
        head([{ONE: 7.0}, {PAIR: 1.0}], [{TRIPLE: 1.0}, {FIFTH: 11.0}], [{OTHER: 1.0}]),
    )
    assert (held(group.query), held(group.key)) == ([{PAIR: 3.0}, {PAIR: 1.0}], [{TRIPLE: 5.0}, {FIFTH: 11.0}])
    assert (held(group.bias_query), held(group.bias_key)) == ([{ONE: 2.0}, {ONE: 7.0}], [{FIFTH: 1.0}, {TRIPLE: 1.0}])
    assert held(group.value) == [{EACH: 1.0}, {OTHER: 1.0}]


@pytest.mark.parametrize(
    "changed",
    [
        {"query": matrix([{TRIPLE: 3.0}])},
        {"key": matrix([{TRIPLE: 1.0}])},
        {"output": matrix([{TARGET: 7.5}]).T},
        {"output": matrix([{TARGET + 1: 7.0}]).T},
        {"query": matrix([{PAIR: 3.0}, {PAIR: 1.0}]), "key": matrix([{TRIPLE: 1.0}, {FIFTH: 1.0}])},
    ],
    ids=["classes of queries", "classes of keys", "output", "target", "rank"],
)
def test_other_heads_are_another_group(changed):
    made = planned(PLAIN, replace(PLAIN, **changed), PLAIN)
    assert [group.heads for group in made.groups] == [(0, 2), (1,)]


def test_after_the_layer_targets_have_the_queries_classes_as_well():
    made = planned(
        head([{TRIPLE: 1.0}], [{EACH: 1.0}], [{EACH: 1.0}] * 2, [{TARGET: 1.0}, {ZERO: 1.0}]),
        head([{FIFTH: 1.0}], [{EACH: 1.0}], [{EACH: 1.0}], [{ZERO: 1.0, SAME: 1.0}]),
    )
    assert len(made.groups) == 2
    written = {
        TARGET: PARTITIONS.join([TWO, THREE]),
        ZERO: PARTITIONS.join([THREE, FIVE]),  # of both groups, and known no more
        SAME: FIVE,
    }
    for c, coordinate in enumerate(made.after):
        assert coordinate == (Coordinate(written[c]) if c in written else COORDINATES[c])


def test_multiplicities():
    def keyed(key: int) -> HeadGroup:
        return only_group(head([{PAIR: 1.0}], [{key: 1.0}], [{EACH: 1.0}]))

    assert keyed(TRIPLE).multiplicities.tolist() == [11.0, 10.0, 10.0]
    relative = torch.tensor([1.0, 10 / 11, 10 / 11], dtype=torch.float64)  # to the largest
    assert torch.equal(keyed(TRIPLE).log_multiplicities, relative.log())
    assert keyed(SAME).multiplicities.tolist() == [31.0]
    assert keyed(EACH).multiplicities is None
    for key in (SAME, EACH):  # all alike
        assert keyed(key).log_multiplicities is None


def test_operations_are_counted_by_hand():
    """Two heads with a row of scores each and one shared value; 2 queries, 15 keys, 31 values, 3 targets."""
    output = [{TARGET: 1.0, ZERO: 2.0, SAME: 1.0}]
    one = head([{PAIR: 3.0}, {ONE: 1.0}], [{TRIPLE: 1.0, FIFTH: 2.0}, {FIFTH: 1.0}], [{EACH: 5.0, OTHER: 1.0}], output)
    made = planned(one, one)
    (group,) = made.groups
    assert (group.queries.count, group.keys.count, group.values.count) == (2, 15, 31)
    reading = 2 * 2 + (2 * 2 + 2) * 15 + 2 * 31  # queries; keys of two sources and biases; a value of two sources
    assert group.operations == made.operations == reading + 2 * 15 * (2 + 1) + 3 * 2
    assert made.dense_operations == 2 * 31 * (2 * 11 + 31) * (2 + 1)


def test_silent_heads_count_as_dense_operations_only():
    silent = head([{}] * 3, [{}] * 3, [{}] * 5, [{TARGET: 1.0}] * 5)
    assert planned(PLAIN, silent).operations == planned(PLAIN).operations
    assert planned(PLAIN, silent).dense_operations - planned(PLAIN).dense_operations == 31 * (2 * 11 + 31) * (3 + 5)


def test_the_text_of_a_plan():
    made = planned(PLAIN, NO_SCORE, PLAIN, activation="softmax")
    assert [str(group) for group in made.groups] == ["2 heads: 2 x 15", "1 head: 1 x 1"]
    assert str(made) == "2 heads: 2 x 15, 1 head: 1 x 1 (queries x keys)"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_matrices_are_held_in_the_format(dtype):
    (group,) = planned(PLAIN, PLAIN, dtype=dtype).groups
    assert {part.dtype for part in (group.key.matrix, group.query.scales, group.share, group.output)} == {dtype}
    assert group.multiplicities.dtype == dtype
