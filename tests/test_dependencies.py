"""The dependency graph: columns, edges and grades from the rows, and a picture with every row in it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest

from figures import dependencies, style
from theory_checks.ledger import REGISTRY, Evidence, Statement, require
from theory_checks.running import load_statements


def row(id: str, below: Sequence[str] = (), evidence: Evidence = "exact") -> Statement:
    def check(rng: np.random.Generator):
        yield require(True, "")

    return Statement(id, "", "ours", evidence, check, depends_on=below)


@pytest.fixture
def registry() -> dict[str, Statement]:
    """Above a and b rests c, above c and a rests d, above a and d rests e; f stands alone."""
    rows = [row("e", ("a", "d")), row("d", ("c", "a")), row("c", ("a", "b")), row("a"), row("b", (), "sampled")]
    return {made.id: made for made in (*rows, row("f", (), "rate"))}


def test_columns_are_longest_chains(registry: dict[str, Statement]) -> None:
    assert dependencies.depths(registry) == {"a": 0, "b": 0, "c": 1, "d": 2, "e": 3, "f": 0}


def test_edges_that_follow_from_others_are_left_out(registry: dict[str, Statement]) -> None:
    assert sorted(dependencies.edges(registry)) == [("a", "c"), ("b", "c"), ("c", "d"), ("d", "e")]


def test_a_grade_is_the_weakest_below(registry: dict[str, Statement]) -> None:
    grades = {id: dependencies.grade(id, registry) for id in registry}
    assert grades == {"a": "exact", "b": "sampled", "c": "sampled", "d": "sampled", "e": "sampled", "f": "rate"}


def test_what_rests_on_what_does_not_hold_is_open(registry: dict[str, Statement]) -> None:
    registry["b"].claim = "refuted"
    registry["f"].claim = "no claim"
    found = {id: dependencies.status(id, registry) for id in registry}
    assert found == {"a": "holds", "b": "refuted", "c": "open", "d": "open", "e": "open", "f": "no claim"}
    assert dependencies.mark("a", registry) == dependencies.GRADES["exact"]
    assert dependencies.mark("b", registry) == dependencies.NOT_HOLDING["refuted"]


def test_no_two_marks_are_alike() -> None:
    marks = [*dependencies.GRADES.values(), *dependencies.NOT_HOLDING.values()]
    assert len({colour for colour, _ in marks}) == len({shape for _, shape in marks}) == len(marks)


def test_a_long_edge_passes_every_column(registry: dict[str, Statement]) -> None:
    registry["g"] = row("g")
    registry["e"].depends_on = ("d", "g")
    (chain,) = [chain for chain in dependencies.chains(registry) if chain[0] == ("g", "g")]
    assert [*chain[:1], *chain[-1:]] == [("g", "g"), ("e", "e")]
    columns = [dependencies.places(registry)[spot][0] for spot in chain]
    assert columns == [0, 1, 2, 3]


def test_nothing_is_drawn_over_anything() -> None:
    load_statements()
    spots = dependencies.places(REGISTRY)
    for (one, (column, line)), (other, (its_column, its_line)) in combinations(spots.items(), 2):
        if column == its_column:
            rows = (one[0] == one[1]) + (other[0] == other[1])
            apart = {2: 1.0, 1: (1 + dependencies.PASSAGE) / 2, 0: dependencies.PASSAGE}[rows]
            assert abs(line - its_line) >= apart - 1e-9, (one, other)
    for chain in dependencies.chains(REGISTRY):
        columns = [spots[spot][0] for spot in chain]
        assert columns == list(range(columns[0], columns[0] + len(chain)))


def test_every_row_is_in_the_picture_once() -> None:
    load_statements()
    picture = dependencies.figure()
    assert picture.get_figwidth() == style.FULL_WIDTH
    written = [text.get_text() for text in picture.axes[0].texts]
    assert sorted(text for text in written if text in REGISTRY) == sorted(REGISTRY)
