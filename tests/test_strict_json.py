"""The strict reader: what Python's takes and it refuses, each with the place; and what it takes all the same."""

import json

import numpy as np
import pytest

from constructions import strict_json
from constructions.errors import InputError


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": {"b": 1, "c": 2, "b": 3}}', 'F has the key "b" twice, in a'),
        ('{"a": 1, "a": {"b": NaN}}', 'F has the key "a" twice'),
        ('{"a": [0, {"b c": [NaN]}]}', 'F has NaN, which is no number of JSON, in a[1]["b c"][0]'),
        ('[{"x": -Infinity}, NaN]', "F has -Infinity, which is no number of JSON, in [0].x"),
        ("[1e999]", "F has the number 1e999, which float64 holds as inf, in [0]"),
        ("[-1e999]", "F has the number -1e999, which float64 holds as -inf, in [0]"),
        ("[0.5e-999]", "F has the number 0.5e-999, which float64 holds as 0, in [0]"),
        ("9" * 4001, "F has an integer of 4001 digits; at most 4000 are read"),
        ("9" * 5001, "F has an integer of 5001 digits; at most 4000 are read"),
        ("[" * 33 + "]" * 33, "F has values nested more than 32 deep"),
        ("[" * 200_000, "F has values nested more than 32 deep"),
        ('{"a": ' * 2000 + "1" + "}" * 2000, "F has values nested more than 32 deep"),
        ("", "F is no JSON from line 1, column 1 on"),
        ('{"a": 1,\n "b" 2}', "F is no JSON from line 2, column 6 on"),
        ("[1] 2", "F is no JSON from line 1, column 5 on"),
        (b'"\xe9"', "F is no text in UTF-8: its byte 1 is 0xe9"),
        ("{}".encode("utf-16"), "F is no text in UTF-8: its byte 0 is 0xff"),
    ],
    ids=lambda text: repr(text)[:40],
)
def test_what_is_refused(text, said):
    with pytest.raises(InputError) as refused:
        strict_json.parse(text, "F")
    assert str(refused.value) == said


def test_what_is_read():
    """A byte-order mark; zero however it is written; long fractions; the same key in two objects."""
    text = '{"a": [1, -0.5e-3, 0e-999, 0.0, true, null, "é"], "b": {"a": 123456789012345678901234567890}}'
    for data in (text, text.encode(), text.encode("utf-8-sig")):
        assert strict_json.parse(data, "F") == json.loads(text)
    assert strict_json.parse("[0." + "1" * 9000 + "]", "F") == [1 / 9]
    assert strict_json.parse("9" * 4000, "F") == 10**4000 - 1
    assert strict_json.parse("[" * 32 + "]" * 32, "F") is not None


def test_files(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    for missing in (path, tmp_path):
        with pytest.raises(InputError, match="there is no file "):
            strict_json.read(missing)
    path.write_text("[1]")
    assert strict_json.read(path) == [1]
    monkeypatch.setattr(strict_json, "LARGEST_BYTES", 2)
    with pytest.raises(InputError, match=r"x\.json' has 3 bytes; at most 2 are read"):
        strict_json.read(path)


def test_fields():
    content = {"a": 1, "b": 2}
    assert strict_json.fields(content, "F", ("a",), ("b", "c")) is content
    for value, said in (
        ([], "F is []; an object with a, d is needed"),
        ({"a": 1}, 'F has no field "d"'),
        ({"a": 1, "d": 2, "e": 3}, 'F has a field "e"; the fields are a, d, b'),
    ):
        with pytest.raises(InputError) as refused:
            strict_json.fields(value, "F", ("a", "d"), ("b",))
        assert str(refused.value) == said


def test_numbers():
    assert np.array_equal(strict_json.numbers([[1, 2.5], [3, 4]], "F"), [[1, 2.5], [3, 4]])
    assert strict_json.numbers(3, "F").shape == ()
    assert strict_json.numbers([[], []], "F").shape == (2, 0)
    for value, said in (
        ([[1, 2], [3, True]], "F[1][1] is true; a number is needed"),
        ([1, "2"], 'F[1] is "2"; a number is needed'),
        ([[1, 2], [3]], "F[0] is [1, 2]; rows of equal length, of numbers, are needed"),
        ([[1], [[2]]], "F[1][0] is [2]; rows of equal length, of numbers, are needed"),
        (None, "F is null; a number is needed"),
        ([-(10**400)], "F[0] is -" + "1" + "0" * 55 + "...; float64 does not hold it"),
    ):
        with pytest.raises(InputError) as refused:
            strict_json.numbers(value, "F")
        assert str(refused.value) == said


def test_what_is_shown_is_short():
    assert strict_json.short("ab") == '"ab"'
    assert strict_json.short("x" * 10**6) == '"' + "x" * 56 + "..."
