"""Damaged exports: whatever the bytes and the JSON say, the exit code is 0, 1 or 2, and bad input gets one sentence.

VERIFY_EXAMPLES sets how many are tried with other bytes, as many with another structure, and half as many with another
number, of which most are read and judged; `make certify` tries 4000.
"""

import copy
import hashlib
import json
import os
import shutil
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from constructions import tensor_power_command
from theory_checks import verify

EXAMPLES = int(os.environ.get("VERIFY_EXAMPLES", "120"))
LONGEST = 20.0
"""Seconds of one verification."""
FILES = ("transformer.safetensors", "claims.json", "input.npy", "output.npy")
MOVED = 1e-6
"""More than the claims allow."""
BYTES = st.tuples(
    st.sampled_from(FILES),
    st.lists(
        st.tuples(st.floats(0, 1), st.sampled_from(("set", "insert", "delete", "cut")), st.binary(max_size=9)),
        min_size=1,
        max_size=4,
    ),
)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 12), st.integers(), st.floats(), st.text(max_size=5),
    st.sampled_from(["1/0", "2/3", "input.npy", "output.npy", "../x.npy", "relu", "softmax", [], {}, 10**400]),
    st.lists(st.integers(-1, 40), max_size=4), st.lists(st.lists(st.floats(-2, 2), max_size=3), max_size=3),
)  # fmt: skip
JSON = st.lists(
    st.tuples(st.sampled_from(("claims", "header", "construction")), st.integers(0, 10**6), VALUES,
              st.sampled_from(("set", "delete", "twice", "wrap"))), min_size=1, max_size=3,
)  # fmt: skip
QUICK = settings(
    max_examples=EXAMPLES, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    arguments = ["--layers", "2", "--dim", "2", "--max-dim", "2", "--export", str(folder / "original")]
    assert tensor_power_command.main(arguments) == 0
    return folder / "original"


@pytest.fixture
def damaged(original, tmp_path, capsys):
    """Judges an export of which files are replaced, as they are and with checksums anew; returns the exit code."""
    shutil.copytree(original, tmp_path / "export")
    whole = {name: (original / name).read_bytes() for name in FILES}

    def judge(**contents: bytes) -> int:
        changed = {name: content for name, content in contents.items() if content != whole[name]}
        for name, content in (whole | changed).items():
            (tmp_path / "export" / name).write_bytes(content)
        stated = changed.pop("claims.json", whole["claims.json"])
        if changed:
            (tmp_path / "export" / "claims.json").write_bytes(whole["claims.json"])
            assert verify.main([str(tmp_path / "export")]) == 2
            assert "is not the file that was exported" in capsys.readouterr().err
            (tmp_path / "export" / "claims.json").write_bytes(resealed(stated, changed))
        begin = time.monotonic()
        code = verify.main([str(tmp_path / "export")])
        assert time.monotonic() - begin < LONGEST
        out, err = capsys.readouterr()
        assert code in (0, 1, 2)
        if code == 2:
            assert out == ""
            assert err.startswith("error: ")
            assert err.count("\n") == 1
        assert not any(word in err for word in ("Traceback", "object is not", "indices must", "unexpected keyword"))
        return code

    return judge


def resealed(stated: bytes, changed: dict[str, bytes]) -> bytes:
    """With the checksums of what is changed, as far as it still has any: so what is read is what is judged."""
    content = json.loads(stated)
    if isinstance(content, dict) and isinstance(content.get("sha256"), dict):
        content["sha256"] |= {name: hashlib.sha256(changed[name]).hexdigest() for name in changed}
    return json.dumps(content).encode()


def test_the_original_holds(damaged):
    assert damaged() == 0


@seed(1)
@QUICK
@given(BYTES)
def test_bytes(original, damaged, change):
    name, edits = change
    data = bytearray((original / name).read_bytes())
    for where, kind, new in edits:
        place = int(where * len(data))
        if kind == "cut":
            del data[place:]
        else:
            data[place : place + (0 if kind == "insert" else len(new))] = b"" if kind == "delete" else new
    damaged(**{name: bytes(data)})


@seed(3)
@settings(QUICK, max_examples=EXAMPLES // 2)
@given(
    st.sampled_from(("transformer.safetensors", "input.npy", "output.npy")), st.floats(0, 1, exclude_max=True),
    st.one_of(st.floats(), st.floats(-2, 2), st.integers(-4, 4).map(float)),
)  # fmt: skip
def test_numbers(original, damaged, name, where, new):
    """Refused if it is none; what goes in or comes out, moved by more than the claims allow, is no longer true."""
    data = bytearray((original / name).read_bytes())
    begin = 8 + int.from_bytes(data[:8], "little") if name.endswith(".safetensors") else 128
    numbers = np.frombuffer(data[begin:]).copy()
    place = int(where * len(numbers))
    old, numbers[place] = numbers[place], new
    data[begin:] = numbers.tobytes()
    code = damaged(**{name: bytes(data)})
    assert (code == 2) == (not np.isfinite(new))
    if name.endswith(".npy") and np.isfinite(new) and (new == old or abs(new - old) > MOVED):
        assert code == (new != old)


def places(value, path=()):
    """Of all values within a value."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in inner:
        yield from places(entry, (*path, key))


def changed(value, number: int, new, kind: str):
    *outer, key = [*places(value)][1:][number % (sum(1 for _ in places(value)) - 1)]
    value = copy.deepcopy(value)
    target = value
    for step in outer:
        target = target[step]
    if kind == "delete":
        del target[key]
    elif kind == "wrap":
        target[key] = [target[key]]
    elif kind == "twice" and isinstance(target, list):
        target.append(target[key])
    else:
        target[key] = new
    return value


@seed(2)
@QUICK
@given(JSON)
def test_structure(original, damaged, edits):
    claims = json.loads((original / "claims.json").read_text())
    stored = (original / "transformer.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", stored[:8])
    header = json.loads(stored[8 : 8 + length])
    construction = json.loads(header["__metadata__"]["construction"])
    for what, number, new, kind in edits:
        if what == "claims" and claims:
            claims = changed(claims, number, new, kind)
        elif what == "construction" and construction:
            construction = changed(construction, number, new, kind)
        elif what == "header" and len(header) > 1:
            metadata = header.pop("__metadata__", None)
            header = changed(header, number, new, kind) | {"__metadata__": metadata}
    if isinstance(header.get("__metadata__"), dict):
        header["__metadata__"]["construction"] = json.dumps(construction)
    text = json.dumps(header).encode()
    weights = struct.pack("<Q", len(text)) + text + stored[8 + length :]
    damaged(**{"claims.json": json.dumps(claims).encode(), "transformer.safetensors": weights})
