"""Partitions of tokens: classes of equal bits, joins, and what coarser classes finer ones lie in."""

from functools import reduce

import numpy as np
import pytest
import torch

from constructions.token_classes import BITS, SAMPLE, Partition, Partitions, code

DTYPES = [torch.float64, torch.float32, torch.bfloat16]
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def labels_of(partition: Partition) -> np.ndarray:
    return np.arange(partition.tokens) if partition.labels is None else partition.labels


def by_first_occurrence(keys: list) -> list[int]:
    """Labels of equal keys, in the order in which these occur."""
    seen: dict = {}
    return [seen.setdefault(key, len(seen)) for key in keys]


def equal_bits(values: torch.Tensor) -> list[int]:
    """The labels of tokens that agree in every data set, without any sorting."""
    bits = values.contiguous().view(BITS[values.element_size()])
    return by_first_occurrence([tuple(column) for column in bits.T.tolist()])


def after(x: torch.Tensor) -> torch.Tensor:
    return torch.nextafter(x, torch.full_like(x, torch.inf))


@each_dtype
def test_equal_bits_are_merged_and_neighbours_are_not(dtype, rng):
    x = torch.tensor(rng.standard_normal((1, 3))).to(dtype)
    some = torch.cat([x, after(x)], dim=1)
    values = some[:, torch.from_numpy(rng.permutation(np.arange(17) % 6))]
    partition = Partitions(17).of_values(values)
    assert partition.count == 6
    assert partition.labels.tolist() == equal_bits(values)


@each_dtype
def test_zeros_of_different_sign_stay_apart(dtype):
    values = torch.tensor([[0.0, -0.0, 0.0, 0.0, -0.0]], dtype=dtype)
    assert Partitions(5).of_values(values).labels.tolist() == [0, 1, 0, 0, 1]
    assert Partitions(5).of_values(values.abs()).count == 1


@each_dtype
def test_nan_is_a_value_like_any_other(dtype):
    values = torch.tensor([[torch.nan, 1, torch.nan, torch.nan, torch.nan]], dtype=dtype)
    assert Partitions(5).of_values(values).labels.tolist() == [0, 1, 0, 0, 0]


def test_tokens_must_agree_in_every_data_set():
    one, other = torch.arange(13) % 2, torch.arange(13) % 3
    values = torch.stack([one, one, other]).double()
    partitions = Partitions(13)
    assert partitions.of_values(values[:2]).count == 2
    assert partitions.of_values(values).labels.tolist() == equal_bits(values) == [i % 6 for i in range(13)]


def test_constants_that_differ_between_data_sets_are_a_single_class():
    partitions = Partitions(7)
    values = torch.tensor([[3.0], [5.0]]).expand(2, 7)
    assert partitions.of_values(values) is partitions.single
    changed = values.clone()
    changed[1, 6] = 3.0
    assert partitions.of_values(changed).sizes.tolist() == [6, 1]


@pytest.mark.parametrize(
    ("tokens", "count", "distinct"), [(14, 7, False), (14, 8, True), (13, 6, False), (13, 7, True)]
)
def test_more_classes_than_half_of_the_tokens_count_as_distinct(tokens, count, distinct):
    partitions = Partitions(tokens)
    partition = partitions.of_values((torch.arange(tokens) % count)[None].double())
    assert (partition is partitions.distinct) == distinct
    assert partition.count == (tokens if distinct else count)


def test_equal_partitions_are_one_object(rng):
    partitions = Partitions(101)
    labels = rng.integers(5, size=101)
    values = torch.from_numpy(labels)[None].double()
    partition = partitions.of_values(values)
    assert partitions.of_values(-(values**3)) is partition
    assert partitions.of_values((7 - values).bfloat16()) is partition
    assert partitions.partition(rng.permutation(5)[labels], 5) is partition
    other = values.clone()
    other[0, 100] = (other[0, 100] + 1) % 5
    assert partitions.of_values(other) is not partition


@pytest.mark.parametrize("count", [3, 11])
def test_first_and_size_of_every_class(count, rng):
    labels = np.concatenate([rng.permutation(count), rng.integers(count, size=89)])
    partition = Partitions(len(labels)).partition(labels, count)
    assert [labels.tolist().index(label) for label in labels[partition.first]] == partition.first.tolist()
    assert (np.diff(partition.first) > 0).all()  # in order of occurrence
    assert partition.labels[partition.first].tolist() == list(range(count))
    assert partition.sizes.tolist() == [(labels == label).sum() for label in labels[partition.first]]


def test_the_extreme_partitions():
    partitions = Partitions(7)
    single, distinct = partitions.single, partitions.distinct
    assert (single.count, single.first.tolist(), single.sizes.tolist()) == (1, [0], [7])
    assert single.labels.tolist() == [0] * 7
    assert (distinct.count, distinct.first.tolist(), distinct.sizes.tolist()) == (7, list(range(7)), [1] * 7)


def test_one_token():
    partitions = Partitions(1)
    assert partitions.single is partitions.distinct
    assert partitions.of_values(torch.tensor([[3.0], [5.0]])) is partitions.single
    assert partitions.join([partitions.single, partitions.distinct]) is partitions.single
    assert partitions.single.of(partitions.distinct) is None


def joined(*partitions: Partition) -> list[int]:
    """The labels of the join, pair by pair."""
    return by_first_occurrence(list(zip(*(labels_of(partition).tolist() for partition in partitions), strict=True)))


@pytest.mark.parametrize(
    ("tokens", "one", "other", "many"), [(1009, 3, 5, True), (1009, 101, 53, False), (103, 17, 7, False)]
)
def test_a_join_has_the_classes_of_pairs(tokens, one, other, many):
    """Many classes have more pairs than a table should have: they are sorted instead."""
    partitions = Partitions(tokens)
    coarse, other_coarse = (
        partitions.of_values((torch.arange(tokens) // length)[None].double()) for length in (one, other)
    )
    assert (coarse.count * other_coarse.count > 4 * tokens) == many
    join = partitions.join([coarse, other_coarse])
    assert join.labels.tolist() == joined(coarse, other_coarse)
    assert max(coarse.count, other_coarse.count) < join.count < tokens / 2


def test_a_join_does_not_depend_on_order_or_repetition(rng):
    partitions = Partitions(1009)
    three = [partitions.of_values(torch.tensor(rng.integers(count, size=(1, 1009))).float()) for count in (2, 3, 5)]
    join = partitions.join(three)
    assert join.labels.tolist() == joined(*three)
    assert join.count == 30
    assert partitions.join(three[::-1]) is join
    assert partitions.join([partitions.join(three[1:]), three[0], three[2]]) is join
    assert partitions.join(three[1:]) is not join


def test_a_join_absorbs_what_is_coarser():
    partitions = Partitions(31)
    fine, coarse = (partitions.of_values((torch.arange(31) % count)[None].double()) for count in (6, 3))
    unrelated = partitions.of_values((torch.arange(31) % 5)[None].double())
    assert partitions.join([]) is partitions.single
    for order in ([fine, coarse, partitions.single], [partitions.single, coarse, fine], [fine]):
        assert partitions.join(order) is fine
    for order in ([fine, partitions.distinct], [partitions.distinct, coarse], [fine, unrelated]):
        assert partitions.join(order) is partitions.distinct  # the last one has 30 classes of 31 tokens


def test_the_coarser_class_of_a_finer_one(rng):
    partitions = Partitions(101)
    parts = [partitions.of_values(torch.tensor(rng.integers(count, size=(1, 101))).float()) for count in (2, 3, 5)]
    chain = [reduce(lambda one, other: partitions.join([one, other]), parts[:stop]) for stop in (1, 2, 3)]
    chain.append(partitions.distinct)
    for i, coarse in enumerate(chain[:-1]):
        for fine in chain[i + 1 :]:
            mapped = coarse.of(fine)
            assert mapped.shape == (fine.count,)
            assert mapped.numpy()[labels_of(fine)].tolist() == coarse.labels.tolist()


def test_nothing_is_mapped_onto_itself_or_a_single_class():
    partitions = Partitions(13)
    halves = partitions.of_values((torch.arange(13) % 2)[None].double())
    for fine in (partitions.single, halves, partitions.distinct):
        assert fine.of(fine) is None
        assert partitions.single.of(fine) is None
    assert Partitions(13).distinct.of(partitions.distinct) is None  # everyone is everyone
    assert halves.of(partitions.distinct) is not None


@each_dtype
@pytest.mark.parametrize("rare", [1, 97])
def test_values_that_the_first_look_misses(rare, dtype, rng):
    """Of more than 2·SAMPLE tokens only every other is looked at first; rare values are among the rest."""
    tokens = 10007
    assert tokens // SAMPLE == 2
    values = torch.tensor(rng.integers(3, size=(1, tokens))).to(dtype)
    places = 2 * rng.permutation(tokens // 2)[:rare] + 1
    values[0, places] = torch.arange(10, 10 + rare).to(dtype)
    assert len(values[:, ::2].unique()) == 3
    partition = Partitions(tokens).of_values(values)
    assert partition.count == 3 + rare
    assert partition.labels.tolist() == equal_bits(values)


def test_many_distinct_tokens_are_found_distinct(rng):
    partitions = Partitions(10007)
    values = torch.tensor(rng.standard_normal((1, 10007)))
    assert partitions.of_values(values) is partitions.distinct
    assert partitions.of_values(values.sign()).count == 2


@pytest.mark.parametrize("others", [0, 3])
def test_a_collision_of_codes_merges_nothing(others):
    """Codes are p·f + q·g, with f and g odd and p, q the folded bits: (p + g, q − f) has the code of (p, q)."""
    f, g = (np.random.default_rng(0).integers(0, 2**62, size=(2, 1)) * 2 + 1).ravel().tolist()

    def fold(bits: torch.Tensor) -> torch.Tensor:
        return bits ^ ((bits >> 32) & 0xFFFFFFFF)  # its own inverse

    p, q = fold(torch.tensor([[3.0], [5.0]], dtype=torch.float64).view(torch.int64)).ravel()
    colliding = fold(torch.stack([torch.stack([p, q]), torch.stack([p + g, q - f])]))
    more = torch.arange(7, 7 + 2 * others).double().view(torch.int64).reshape(others, 2)
    bits = torch.cat([colliding, more])[torch.arange(29) // 5 % (2 + others)].mT.contiguous()
    codes, values = code(bits), bits.view(torch.float64)
    assert codes[0] == codes[5]
    assert len(set(equal_bits(values))) == 1 + len(set(codes.tolist()))
    partition = Partitions(29).of_values(values)
    assert labels_of(partition)[0] != labels_of(partition)[5]
