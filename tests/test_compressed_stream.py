"""The compressed stream against dense tokens: every operation, bit for bit."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from constructions.attention_plan import Coordinate
from constructions.compressed_stream import SMALL, TOKENS, ZERO, Stream
from constructions.token_classes import BITS, Partition, Partitions

SHAPES = [(3, 13, 7), (2, 3, 13, 5), (17, 11), (2, 1, 5), (3, TOKENS + 17, 5)]


def example(shape: tuple[int, ...], rng: np.random.Generator, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Tokens whose coordinates are in turn: in 3 classes, 0, all different, constant, in 4 classes."""
    total, width = shape[-2:]
    tokens = torch.tensor(rng.standard_normal(shape)).to(dtype)
    i = torch.arange(total)
    for c in range(width):
        chosen = (i // 5 % 3, None, i, i * 0, i * i % 7)[c % 5]
        tokens[..., c] = 0 if chosen is None else tokens[..., chosen, c]
    return tokens


def coordinates_of(tokens: torch.Tensor, partitions: Partitions) -> list[Coordinate]:
    """As a plan finds them."""
    found = []
    for values in tokens.reshape(-1, *tokens.shape[-2:]).unbind(dim=-1):
        classes = partitions.of_values(values)
        known = classes is partitions.single and bool((values == values[0, 0]).all())
        found.append(Coordinate(classes, values[0, 0].item() if known else None))
    return found


def compressed(tokens: torch.Tensor) -> tuple[Stream, list[Coordinate], Partitions]:
    partitions = Partitions(tokens.shape[-2])
    coordinates = coordinates_of(tokens, partitions)
    return Stream.of(tokens, coordinates), coordinates, partitions


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    kind = BITS[one.element_size()]
    return one.dtype == other.dtype and torch.equal(one.contiguous().view(kind), other.contiguous().view(kind))


def at_tokens(values: torch.Tensor, classes: Partition) -> torch.Tensor:
    """(batch, targets, classes) -> (batch, N, targets)."""
    return (values if classes.labels is None else values[..., classes.labels.copy()]).mT


def cyclic(partitions: Partitions, count: int) -> Partition:
    """Token i in class i mod `count`."""
    return partitions.partition(np.arange(partitions.tokens) % count, count)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_dense_tokens_come_back(shape, dtype, rng):
    tokens = example(shape, rng, dtype)
    found = compressed(tokens)[0].tokens()
    assert found.shape == shape
    assert same_bits(found, tokens)


def test_signs_of_zeros_and_nans_come_back():
    tokens = torch.tensor([[0.0, -0.0, 0.0, -0.0, -0.0], [torch.nan, 1.0, 1.0, 1.0, torch.nan], [0.0] * 5]).mT
    assert same_bits(compressed(tokens)[0].tokens(), tokens)
    assert not same_bits(compressed(tokens.abs())[0].tokens(), tokens)


def test_every_class_is_held_once(rng):
    stream, coordinates, partitions = compressed(example((3, 13, 5), rng))
    assert [coordinate.partition.count for coordinate in coordinates] == [3, 1, 13, 1, 4]
    held = {buffer.classes: tuple(buffer.values.shape) for name, buffer in stream.buffers.items() if name != ZERO}
    assert sorted(held.values()) == [(3, 1, 1), (3, 1, 3), (3, 1, 4), (3, 1, 13)]
    assert all(shape[-1] == classes.count for classes, shape in held.items())
    assert partitions.distinct in held
    assert stream.zeros.shape == (3, 1, 1)
    assert not stream.zeros.any()


@pytest.mark.parametrize("columns", [slice(0, 1), slice(1, 4), slice(2, None), slice(None, None, 3), slice(4, 4)])
def test_some_columns_of_the_tokens(columns, rng):
    tokens = example((2, 3, 13, 7), rng)
    assert same_bits(compressed(tokens)[0].tokens(columns), tokens[..., columns])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_dense_stream_holds_the_tokens_as_they_are(shape, rng):
    tokens = example(shape, rng)
    stream = Stream.dense(tokens)
    assert same_bits(stream.tokens(), tokens)
    rows = stream.rows(np.arange(1, 4), Partitions(shape[-2]).distinct)()
    assert same_bits(rows, tokens.reshape(-1, *shape[-2:])[..., 1:4].mT)


def test_put_on_a_dense_stream(rng):
    tokens = example((3, 13, 7), rng)
    stream, partitions = Stream.dense(tokens), Partitions(13)
    values = torch.tensor(rng.standard_normal((3, 2, 5)))
    stream.put([4, 1], values, cyclic(partitions, 5))
    expected = tokens.clone()
    expected[..., [4, 1]] = at_tokens(values, cyclic(partitions, 5))
    assert same_bits(stream.tokens(), expected)
    stream.clear([0])
    assert not stream.tokens()[..., 0].any()


@pytest.mark.parametrize("count", [1, 2, 5, 13])
def test_put_replaces_coordinates(count, rng):
    tokens = example((3, 13, 7), rng)
    stream, _, partitions = compressed(tokens)
    classes = partitions.distinct if count == 13 else cyclic(partitions, count)
    targets, values = [4, 1, 6], torch.tensor(rng.standard_normal((3, 3, count)))
    stream.put(targets, values, classes)
    expected = tokens.clone()
    expected[..., targets] = at_tokens(values, classes)
    assert same_bits(stream.tokens(), expected)
    assert not same_bits(expected, tokens)


def test_clear_makes_coordinates_zero(rng):
    tokens = example((3, 13, 7), rng)
    stream = compressed(tokens)[0]
    stream.clear([0, 3, 5])
    expected = tokens.clone()
    expected[..., [0, 3, 5]] = 0
    assert same_bits(stream.tokens(), expected)


def test_link_exchanges_coordinates(rng):
    """All are read from the stream before, so that two can change places."""
    tokens = example((3, 13, 7), rng)
    before = compressed(tokens)[0]
    after = before.copy()
    after.clear([2])
    after.link([0, 2, 1], [2, 0, 4], before)
    assert same_bits(after.tokens(), tokens[..., [2, 4, 0, 3, 4, 5, 6]])
    assert set(after.buffers) == set(before.buffers)  # nothing is copied


def test_what_was_linked_outlives_its_source(rng):
    tokens = example((3, 13, 5), rng)
    before, _, partitions = compressed(tokens)
    after = before.copy()
    after.link([0], [2], before)
    after.put([2], torch.ones((3, 1, 1), dtype=torch.float64), partitions.single)
    after.drop_unused()
    expected = tokens[..., [2, 1, 2, 3, 4]]
    expected[..., 2] = 1
    assert same_bits(after.tokens(), expected)


def added(
    stream: Stream,
    coordinates: Sequence[Coordinate],
    targets: list[int],
    update: torch.Tensor,
    classes: Partition,
    partitions: Partitions,
) -> list[Coordinate]:
    """Add to a stream as a plan has it done; the coordinates after it."""
    after = list(coordinates)
    for target in targets:
        after[target] = Coordinate(partitions.join([after[target].partition, classes]))
    stream.add(np.array(targets), update, classes, after)
    return after


@pytest.mark.parametrize("count", [1, 2, 5, 13])
@pytest.mark.parametrize("targets", [[1], [4], [1, 6], [6, 0, 2, 3, 4, 1, 5]], ids=str)
def test_add_is_the_sum(targets, count, rng):
    """One rounding for each sum, the same whether it is made once for a class or for all of its tokens."""
    tokens = example((3, 13, 7), rng)
    stream, coordinates, partitions = compressed(tokens)
    classes = partitions.distinct if count == 13 else cyclic(partitions, count)
    update = torch.tensor(rng.standard_normal((3, len(targets), count)))
    after = added(stream, coordinates, targets, update, classes, partitions)
    expected = tokens.clone()
    expected[..., targets] += at_tokens(update, classes)
    assert same_bits(stream.tokens(), expected)
    for target in targets:
        rows = stream.rows(np.array([target]), after[target].partition)()
        assert rows.shape == (3, 1, after[target].partition.count)


def test_sums_are_held_at_the_joined_classes(rng):
    """Coordinates in 3, 1 and 4 classes plus an update in 2: 4, 2 and 6 classes of 13 tokens."""
    stream, coordinates, partitions = compressed(example((3, 13, 5), rng))
    pair = partitions.partition(np.arange(13) // 11, 2)
    before = set(stream.buffers)
    after = added(stream, coordinates, [0, 3, 4], torch.ones((3, 3, 2), dtype=torch.float64), pair, partitions)
    labels = [list(coordinates[c].partition.labels) for c in (0, 4)]
    counts = [len(set(zip(part, pair.labels.tolist(), strict=True))) for part in labels]
    assert [after[c].partition.count for c in (0, 3, 4)] == [counts[0], 2, counts[1]] == [4, 2, 6]
    made = [buffer.values.shape[-1] for name, buffer in stream.buffers.items() if name not in before]
    assert sorted(made) == [2, 4, 6]


def test_adding_to_zeros_puts_the_update_itself(rng):
    stream, coordinates, partitions = compressed(example((3, 13, 7), rng))
    update = torch.tensor(rng.standard_normal((3, 2, 13)))
    added(stream, coordinates, [1, 6], update, partitions.distinct, partitions)
    assert max(stream.buffers.items())[1].values is update


@pytest.mark.parametrize("seed", [2, 3, 5])
def test_many_operations_in_a_row(seed):
    """Every layer works on a copy of the stream before; none of those yielded so far may change."""
    rng = np.random.default_rng(seed)
    tokens = example((3, 13, 7), rng)
    stream, coordinates, partitions = compressed(tokens)
    kinds = [partitions.single, partitions.distinct, *(cyclic(partitions, count) for count in (2, 3, 5))]
    yielded = [(stream, tokens)]
    for _ in range(29):
        before, dense = stream, tokens
        stream, tokens = stream.copy(), tokens.clone()
        targets = rng.permutation(7)[: rng.integers(1, 5)].tolist()
        sources = rng.integers(7, size=len(targets)).tolist()
        classes = kinds[rng.integers(len(kinds))]
        values = torch.tensor(rng.standard_normal((3, len(targets), classes.count)))
        operation = rng.choice(["put", "clear", "link", "add"])
        if operation == "put":
            stream.put(targets, values, classes)
            tokens[..., targets] = at_tokens(values, classes)
            changed = dict.fromkeys(targets, Coordinate(classes))
        elif operation == "clear":
            stream.clear(targets)
            tokens[..., targets] = 0
            changed = dict.fromkeys(targets, Coordinate(partitions.single, 0.0))
        elif operation == "link":
            stream.link(targets, sources, before)
            tokens[..., targets] = dense[..., sources]
            changed = {target: coordinates[source] for target, source in zip(targets, sources, strict=True)}
        else:
            after = added(stream, coordinates, targets, values, classes, partitions)
            tokens[..., targets] += at_tokens(values, classes)
            changed = {target: after[target] for target in targets}
        coordinates = [changed.get(c, coordinate) for c, coordinate in enumerate(coordinates)]
        stream.drop_unused()
        yielded.append((stream, tokens))
    assert not same_bits(yielded[0][1], yielded[-1][1])
    for stream, tokens in yielded:
        assert same_bits(stream.tokens(), tokens)


def test_rows_are_read_once_until_they_change(rng):
    stream, _, partitions = compressed(example((3, 13, 7), rng))
    which, classes = np.array([2, 0, 4]), partitions.distinct
    rows = stream.kept_rows(which, classes)
    assert stream.kept_rows(which, classes) is rows
    stream.put([6], torch.ones((3, 1, 1), dtype=torch.float64), partitions.single)
    assert stream.kept_rows(which, classes) is rows  # another coordinate
    assert stream.copy().kept_rows(which, classes) is rows
    stream.put([0], torch.ones((3, 1, 1), dtype=torch.float64), partitions.single)
    again = stream.kept_rows(which, classes)
    assert again is not rows
    assert torch.equal(again()[:, 1], torch.ones(3, 13, dtype=torch.float64))
    assert same_bits(again()[:, [0, 2]], rows()[:, [0, 2]])


def test_kept_rows_do_not_grow_in_number(rng):
    """However many layers there are: one for each array of coordinates and partition that is asked for."""
    stream, coordinates, partitions = compressed(example((3, 13, 7), rng))
    asked = [(np.array([2, 0, 4]), partitions.distinct), (np.array([6]), partitions.distinct)]
    held = []
    for _ in range(11):
        stream = stream.copy()
        for which, classes in asked:
            assert stream.kept_rows(which, classes)().shape == (3, len(which), 13)
        update = torch.tensor(rng.standard_normal((3, 2, 13)))
        coordinates = added(stream, coordinates, [0, 6], update, partitions.distinct, partitions)
        stream.drop_unused()
        stream.tokens()
        held.append(len(stream._kept))
    assert held == [2] * 11


def test_rows_of_a_stream_and_its_changed_copy(rng):
    """They share what was read; each finds its own."""
    tokens = example((3, 13, 7), rng)
    stream, _, partitions = compressed(tokens)
    copied, which = stream.copy(), np.array([4, 0])
    copied.clear([0])
    for _ in range(2):
        assert same_bits(stream.kept_rows(which, partitions.distinct)(), tokens[..., which].mT)
        assert not copied.kept_rows(which, partitions.distinct)()[:, 1].any()


@pytest.mark.parametrize("total", [13, TOKENS + 17])
@pytest.mark.parametrize("which", [[2], [0, 5], [1, 6], [3], [4, 2, 0], [6, 1, 3, 5]], ids=str)
def test_rows_block_by_block(which, total, rng):
    """Neighbours, single rows and scattered ones, put together once or, where they are many, block by block."""
    tokens = example((3, total, 7), rng)
    stream, _, partitions = compressed(tokens)
    assert (3 * 4 * total > SMALL) == (total > TOKENS)
    rows, expected = stream.rows(np.array(which), partitions.distinct), tokens[..., which].mT
    assert same_bits(rows(), expected)
    assert same_bits(rows(slice(1, 3), slice(2, 9)), expected[1:3, :, 2:9])
    assert same_bits(rows(block=slice(11, 2 * total)), expected[..., 11:])


def test_rows_at_the_classes_of_a_partition(rng):
    tokens = example((3, 13, 7), rng)
    stream, coordinates, partitions = compressed(tokens)
    classes = partitions.join([coordinates[0].partition, cyclic(partitions, 2)])
    assert 3 < classes.count < 13
    found = stream.rows(np.array([3, 0, 1]), classes)()
    assert same_bits(found, tokens[:, classes.first.copy()][..., [3, 0, 1]].mT)


def test_neighbours_at_their_own_classes_are_not_copied(rng):
    stream, _, partitions = compressed(example((3, 13, 7), rng))
    values = torch.tensor(rng.standard_normal((3, 5, 2)))
    classes = cyclic(partitions, 2)
    stream.put([0, 1, 2, 3, 4], values, classes)
    view = stream.rows(np.array([1, 2, 3]), classes)
    assert view().data_ptr() == values[:, 1:].data_ptr()
    assert view(block=slice(1, 2)).data_ptr() == values[:, 1:, 1:].data_ptr()
    assert stream.rows(np.array([1, 3]), classes)().data_ptr() != values[:, 1:].data_ptr()


@pytest.mark.parametrize("total", [13, TOKENS + 17])
def test_scattered_rows_are_put_together_once_unless_they_are_many(total, rng):
    stream, _, partitions = compressed(example((3, total, 7), rng))
    rows = stream.rows(np.array([4, 2, 0]), partitions.distinct)
    one, other = rows(), rows()
    assert same_bits(one, other)
    assert (one.data_ptr() == other.data_ptr()) == (one.numel() <= SMALL) == (total < TOKENS)


def test_unused_buffers_are_dropped(rng):
    tokens = example((3, 13, 5), rng)
    stream, _, partitions = compressed(tokens)
    before, after = set(stream.buffers), stream.copy()
    after.clear([2, 3])
    after.put([0], torch.ones((3, 1, 1), dtype=torch.float64), partitions.single)
    expected = tokens.clone()
    expected[..., [2, 3]], expected[..., 0] = 0, 1
    assert len(after.buffers) == 6
    after.drop_unused()
    assert len(after.buffers) == 3  # 0, the coordinate in 4 classes and the new one
    assert same_bits(after.tokens(), expected)
    assert set(stream.buffers) == before
    assert same_bits(stream.tokens(), tokens)


def test_the_zeros_stay_when_no_coordinate_is_zero(rng):
    stream, _, partitions = compressed(example((3, 13, 5), rng))
    stream.put([1], torch.ones((3, 1, 1), dtype=torch.float64), partitions.single)
    stream.drop_unused()
    stream.clear([0, 1, 2, 3, 4])
    stream.drop_unused()
    assert set(stream.buffers) == {ZERO}
    assert not stream.tokens().any()
