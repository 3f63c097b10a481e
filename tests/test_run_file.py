"""A saved run reads back as it was; what is not one is refused in a sentence."""

import json
from dataclasses import replace

import pytest
from rows import HELD, ROWS

from constructions.errors import InputError
from theory_checks import run_file
from theory_checks.run_file import Run, encoded, load

RUN = Run(5, True, {"Python": "3.11"}, ROWS)


def test_round_trip(tmp_path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(encoded(RUN))
    assert load(path) == RUN


def test_a_run_of_before_coverage_was_recorded(tmp_path) -> None:
    content = json.loads(encoded(RUN)) | {"schema": 1}
    for row in content["rows"]:
        del row["coverage"]
    path = tmp_path / "run.json"
    path.write_text(json.dumps(content))
    assert load(path).rows == [replace(row, coverage=None) for row in ROWS]


def test_what_the_command_saved(saved_run) -> None:
    run = load(saved_run)
    assert [row.id for row in run.rows] == ["lemma-f6", "lemma-f6-sharp", "m-step-entering-weight", "p2"]
    assert (run.seed, run.certified) == (0, False)
    assert run.libraries == run_file.libraries()
    assert set(run.libraries) == {"Python", *run_file.LIBRARIES}
    assert encoded(run) == saved_run.read_bytes()


def change_row(**values):
    return lambda content: content["rows"][1].update(values)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.pop("schema"), "it names no schema"),
        (lambda c: c.update(schema=0), "its schema is none of 1"),
        (lambda c: c.update(schema=True), "its schema is none of 1"),
        (lambda c: c.update(schema=1), "in row 1 'coverage' is no field"),
        (lambda c: c.update(rows={}), "it has no list of rows"),
        (lambda c: c.pop("seed"), "'seed' is missing"),
        (lambda c: c.update(seed=True), "'seed' has another type"),
        (lambda c: c.update(more=1), "'more' is no field"),
        (lambda c: c["rows"].append(c["rows"][0]), "two of its rows have the same id"),
        (lambda c: c["rows"].append(3), "in row 6 there are no fields"),
        (lambda c: c["rows"][1].pop("slacks"), "in row 2 'slacks' is missing"),
        (lambda c: c["rows"][1].pop("coverage"), "in row 2 'coverage' is missing"),
        (change_row(coverage="some"), "in row 2 'coverage' has another type"),
        (change_row(status="fine"), "in row 2 'status' has another type"),
        (change_row(slacks=["x"]), "in row 2 'slacks' has another type"),
        (change_row(least_slack="0.5"), "in row 2 'least_slack' has another type"),
        (change_row(tight=1.5), "in row 2 'tight' has another type"),
        (change_row(counts={"holds": 1}), "in row 2 'counts' does not count holds, refuted"),
        (
            change_row(negative_controls=[{"broken": "x"}]),
            "in row 2 'negative_controls' does not say what was rejected",
        ),
        (change_row(repairs=[{"mended": "x", "accepted": "yes"}]), "in row 2 'repairs' does not say what was accepted"),
    ],
)
def test_a_damaged_run_is_refused(change, said: str, tmp_path) -> None:
    content = json.loads(encoded(RUN))
    change(content)
    path = tmp_path / "run.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as refused:
        load(path)
    assert str(refused.value) == f"{str(path)!r} is not a run that --json saved: {said}" or (
        str(refused.value).startswith(f"{str(path)!r} is not a run that --json saved: {said}, ")
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no JSON from line 1 on"),
        (b"{\n,", "no JSON from line 2 on"),
        (b"\xff\xfe\x00", "it is no text"),
        (b"[]", "it names no schema"),
        (b"3", "it names no schema"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b'{"schema": NaN}', "NaN"),
    ],
)
def test_a_foreign_file_is_refused(content: bytes, said: str, tmp_path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        load(path)


def test_a_file_that_is_not_there(tmp_path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        load(tmp_path / "none.json")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_a_number_may_be_whole(tmp_path) -> None:
    """JSON of other writers has 1 for 1.0."""
    content = json.loads(encoded(RUN))
    content["rows"][1].update(least_slack=0, slacks=[0, 0.5], seconds=2)
    path = tmp_path / "run.json"
    path.write_text(json.dumps(content))
    assert load(path).rows[1].least_slack == 0
    assert HELD.least_slack == 0.5
