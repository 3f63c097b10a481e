"""Named subspaces: order, references, faults."""

import numpy as np
import pytest

from constructions.residual_stream import ResidualStream

SIZES = {"x": 3, "mu": 5, "one": 1, "slice": 7}


def test_subspaces_follow_each_other_in_the_order_given():
    stream = ResidualStream(SIZES)
    assert stream.width == 16
    assert list(stream.layout.items()) == [("x", (0, 3)), ("mu", (3, 8)), ("one", (8, 9)), ("slice", (9, 16))]
    assert list(ResidualStream(dict(reversed(SIZES.items()))).layout) == ["slice", "one", "mu", "x"]


@pytest.mark.parametrize(
    ("reference", "start", "stop"),
    [
        ("x", 0, 3),
        ("mu", 3, 8),
        ("mu[0]", 3, 4),
        ("mu[4]", 7, 8),
        ("slice[3:6]", 12, 15),
        ("slice[0:7]", 9, 16),
        ("one[0]", 8, 9),
    ],
)
def test_a_reference_is_a_name_or_a_range_relative_to_it(reference, start, stop):
    stream = ResidualStream(SIZES)
    assert stream[reference] == slice(start, stop)
    assert stream.size(reference) == stop - start


@pytest.mark.parametrize(
    "reference",
    ["y", "", "mu[5]", "mu[3:6]", "mu[3:3]", "mu[4:2]", "mu[-1]", "mu[]", "mu[1:]", "mu [1]", "mu[1", "mu[1]x"],
)
def test_other_references_are_refused(reference):
    with pytest.raises(KeyError, match=r"names no subspace|leaves"):
        ResidualStream(SIZES)[reference]


@pytest.mark.parametrize("size", [0, -1])
def test_sizes_are_positive(size):
    with pytest.raises(ValueError, match=f"'mu' has size {size}"):
        ResidualStream({"x": 2, "mu": size})


def test_a_layout_is_read_back_in_the_order_of_the_coordinates():
    stream = ResidualStream(SIZES)
    shuffled = dict(sorted(stream.layout.items()))
    assert list(shuffled) != list(stream.layout)
    again = ResidualStream.from_layout(shuffled)
    assert list(again.layout.items()) == list(stream.layout.items())
    assert again.width == stream.width


@pytest.mark.parametrize(
    ("layout", "fault"),
    [
        ({"a": (0, 3), "b": (2, 5)}, "'b' starts at 2 and overlaps 'a'"),
        ({"b": (5, 7), "a": (0, 3)}, "'b' starts at 5 and leaves a gap after 'a'"),
        ({"a": (1, 3)}, "'a' starts at 1 and leaves a gap after the beginning"),
        ({"a": (0, 0)}, "'a' has size 0"),
    ],
)
def test_overlaps_and_gaps_are_refused(layout, fault):
    with pytest.raises(ValueError, match=fault):
        ResidualStream.from_layout(layout)


def test_parts_are_placed_at_the_beginning_of_their_subspaces() -> None:
    stream = ResidualStream({"x": 3, "one": 1, "w": 5})
    tokens = stream.place(np.zeros((2, 9)), {"w": np.array([[1, 2], [3, 4]]), "x": np.array([[5, 6, 7], [8, 9, 10]])})
    assert tokens.tolist() == [[5, 6, 7, 0, 1, 2, 0, 0, 0], [8, 9, 10, 0, 3, 4, 0, 0, 0]]
