"""Headers of safetensors files, byte by byte: what is read, and each thing that is not so."""

import json
from pathlib import Path
from typing import Any

import pytest

from constructions import tensor_header
from constructions.errors import InputError
from constructions.tensor_header import Header, Stored, read

A, B = (
    {"dtype": "F64", "shape": [2, 3], "data_offsets": [0, 48]},
    {"dtype": "I8", "shape": [5], "data_offsets": [48, 53]},
)


def write(path: Path, header: Any, body: int = 53, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + bytes(body))
    return path


def test_what_a_header_tells(tmp_path):
    """In any order of names; tensors without numbers anywhere; a matrix of no dimensions is one number."""
    found = read(write(tmp_path / "x", {"b": B, "a": A, "__metadata__": {"k": "v"}}))
    assert found == Header({"b": Stored("I8", (5,)), "a": Stored("F64", (2, 3))}, {"k": "v"})
    none = {"dtype": "F32", "shape": [0, 7], "data_offsets": [48, 48]}
    first = none | {"data_offsets": [0, 0]}
    assert list(read(write(tmp_path / "x", {"a": A, "none": none, "b": B, "first": first})).tensors) == [
        "a", "none", "b", "first",
    ]  # fmt: skip
    one = {"dtype": "BF16", "shape": [], "data_offsets": [0, 2]}
    assert read(write(tmp_path / "x", {"one": one}, 2)) == Header({"one": Stored("BF16", ())}, {})


@pytest.mark.parametrize("form", tensor_header.SIZES)
def test_sizes_of_formats(form, tmp_path):
    size = tensor_header.SIZES[form]
    entry = {"dtype": form, "shape": [3], "data_offsets": [0, 3 * size]}
    assert read(write(tmp_path / "x", {"a": entry}, 3 * size)).tensors == {"a": Stored(form, (3,))}
    with pytest.raises(InputError, match=rf"but {form} of shape \[4\] takes {4 * size}"):
        read(write(tmp_path / "x", {"a": entry | {"shape": [4]}}, 3 * size))


@pytest.mark.parametrize(
    ("header", "body", "message"),
    [
        ({"a": A, "b": B}, 54, "has 54 bytes of tensors, but its header tells of 53"),
        ({"a": A, "b": B}, 52, "has 52 bytes of tensors, but its header tells of 53"),
        ({"b": B}, 53, r'has "b" from byte 48 on, which leaves a gap after what ends at 0'),
        ({"a": A, "b": B | {"data_offsets": [47, 52]}}, 53, 'has "b" from byte 47 on, which overlaps what ends at 48'),
        ({"a": A, "b": B | {"data_offsets": [49, 54]}}, 54, 'has "b" from byte 49 on, which leaves a gap .* at 48'),
        ({"a": A | {"data_offsets": [48, 0]}}, 48, r"the data_offsets \[48, 0\], but F64 of shape \[2, 3\] takes 48"),
        ({"a": A | {"data_offsets": [0, 48, 48]}}, 48, r"the data_offsets \[0, 48, 48\]; two integers, not negative"),
        ({"a": A | {"data_offsets": [0, 48.0]}}, 48, r"has the data_offsets \[0, 48.0\]; two integers"),
        ({"a": A | {"data_offsets": [-48, 0]}}, 48, r"has the data_offsets \[-48, 0\]; two integers, not negative"),
        ({"a": A | {"shape": [2, True]}}, 48, r"has the shape \[2, true\]; a list of integers, not negative"),
        ({"a": A | {"shape": [-2, -3]}}, 48, r"has the shape \[-2, -3\]; a list of integers, not negative"),
        ({"a": A | {"shape": 6}}, 48, "has the shape 6; a list of integers, not negative, is needed"),
        ({"a": A | {"dtype": ["F64"]}}, 48, r'has the dtype \["F64"\]; it must be one of BOOL, U8'),
        ({"a": A | {"dtype": "f64"}}, 48, 'has the dtype "f64"; it must be one of BOOL, U8'),
        ({"a": A | {"more": 1}}, 48, 'the header of .*: "a" has a field "more"; the fields are dtype, shape'),
        ({"a": {"dtype": "F64", "shape": [0]}}, 0, 'has no field "data_offsets"'),
        ({"a": [0, 48]}, 48, r'"a" is \[0, 48\]; an object with dtype, shape, data_offsets is needed'),
        ({"__metadata__": None, "a": A}, 48, "has the '__metadata__' null; an object of texts is needed"),
        ({"__metadata__": {"k": {}}, "a": A}, 48, "an object of texts is needed"),
        (b'{"a": 1, "a": 2}', 0, 'has the key "a" twice'),
        (b'{"a": NaN}', 0, "has NaN, which is no number of JSON, in a"),
        (b"[]", 0, r"is no safetensors file: its header does not begin with '\{'"),
        (b"{", 0, "is no JSON from line 1, column 2 on"),
        (b'{"\xff": 1}', 0, "is no text in UTF-8: its byte 2 is 0xff"),
        (b'{"a": ' + b"[" * 10**5, 0, "has values nested more than 32 deep"),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_headers_that_say_what_is_not_so(header, body, message, tmp_path):
    with pytest.raises(InputError, match=message):
        read(write(tmp_path / "x", header, body))


@pytest.mark.parametrize("size", [0, 7])
def test_files_that_are_too_short(size, tmp_path):
    (tmp_path / "x").write_bytes(bytes(size))
    with pytest.raises(InputError, match=f"has {size} bytes; a safetensors file begins with 8"):
        read(tmp_path / "x")


def test_how_long_a_header_may_be(tmp_path, monkeypatch):
    """As long as the file, and as the limit: one byte more is refused before it is read."""
    path = write(tmp_path / "x", {"a": A}, 48)
    length = len(json.dumps({"a": A}))
    monkeypatch.setattr(tensor_header, "LARGEST_HEADER", length)
    assert list(read(path).tensors) == ["a"]
    monkeypatch.setattr(tensor_header, "LARGEST_HEADER", length - 1)
    with pytest.raises(InputError, match=f"has a header of {length} bytes; at most {length - 1} are read"):
        read(path)
    with pytest.raises(InputError, match=r"or breaks off: its header would have \d+ of its \d+ bytes"):
        read(write(path, {"a": A}, 48, length=length + 49))
    with pytest.raises(InputError, match="or breaks off: its header would have 18446744073709551615 of its"):
        read(write(path, {"a": A}, 48, length=2**64 - 1))


def test_files_that_are_not_there(tmp_path):
    for path in (tmp_path / "x", tmp_path):
        with pytest.raises(InputError, match=f"^there is no file '{path}'$"):
            read(path)
