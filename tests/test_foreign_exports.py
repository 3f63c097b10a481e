"""Exports that others write, byte by byte: what certifies something else than what is stored is refused."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from constructions import claims as claims_file
from theory_checks import verify

Tensor = tuple[str, np.ndarray | bytes, tuple[int, ...]]
"""Format, numbers as they lie in the file, shape."""
W1, W2 = "layers.0.mlp.w1", "layers.0.mlp.w2"
HELD = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I8": "<i1", "U8": "<u1", "BOOL": "|b1"}
CONSTRUCTION = {"format": 1, "schedule": [0], "activation": ["softmax"]}


def mlp(first=((1, 0),), second=((0,), (3,)), form: str = "F64") -> dict[str, Tensor]:
    """From (a, b) to (a, b + 3 relu(a)) by default."""
    arrays = np.array(first, HELD[form]), np.array(second, HELD[form])
    return {name: (form, array, array.shape) for name, array in zip((W1, W2), arrays, strict=True)}


def raw(form: str, first: bytes, second: bytes) -> dict[str, Tensor]:
    """The MLP whose matrices have two numbers each, in a format that numpy does not have."""
    return {W1: (form, first, (1, 2)), W2: (form, second, (2, 1))}


def head(query, key, value, output, number: str = "0") -> dict[str, Tensor]:
    matrices = zip(("query", "key", "value", "output"), (query, key, value, output), strict=True)
    arrays = {name: np.array(matrix, "<f8") for name, matrix in matrices}
    return {f"layers.0.attention.{number}.{name}": ("F64", array, array.shape) for name, array in arrays.items()}


def claim(reference, bound=0, **more) -> dict:
    return {"name": "out", "reference": reference, "bound": bound} | more


GOOD = claim([[2, 7], [-1, 5]])
E1, E2 = ((1.0, 0.0),), ((0.0,), (1.0,))


def write(folder: Path, tensors=None, claims=(GOOD,), tokens=((2.0, 1.0), (-1.0, 5.0)), **file) -> None:
    """`file`: construction, as text or what JSON makes of it; metadata; header, instead of ours; extra bytes."""
    construction = file.get("construction", CONSTRUCTION)
    metadata = {"construction": construction if isinstance(construction, str) else json.dumps(construction)}
    entries, body = [("__metadata__", file.get("metadata", metadata))], b""
    for name, (form, array, shape) in (mlp() if tensors is None else tensors).items():
        data = array if isinstance(array, bytes) else array.tobytes()
        entries.append((name, {"dtype": form, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}))
        body += data
    header = file.get("header", json.dumps({key: value for key, value in entries if value is not None})).encode()
    stored = struct.pack("<Q", len(header)) + header + body + file.get("extra", b"")
    (folder / "transformer.safetensors").write_bytes(stored)
    np.save(folder / "input.npy", tokens if isinstance(tokens, np.ndarray) else np.array(tokens))
    text = claims if isinstance(claims, str) else json.dumps({"format": 1, "claims": list(claims)})
    (folder / "claims.json").write_text(text)


def construction(**change) -> dict:
    return {"construction": {key: value for key, value in (CONSTRUCTION | change).items() if value is not None}}


def header(
    w2: str = '{"dtype": "F64", "shape": [2, 1], "data_offsets": [16, 32]}', more: str = "", meta: str = ""
) -> str:
    first = '"layers.0.mlp.w1": {"dtype": "F64", "shape": [1, 2], "data_offsets": [0, 16]}'
    text = json.dumps(json.dumps(CONSTRUCTION))
    return f'{{"__metadata__": {{"construction": {text}{meta}}}, {first}, "layers.0.mlp.w2": {w2}{more}}}'


TWICE = json.dumps({"format": 1, "claims": [GOOD]})[:-3]
REFUSED = {
    "complex weights": (
        {"tensors": raw("C64", np.array([1, 0], "<c8").tobytes(), np.array([0, 3 + 5j], "<c8").tobytes())},
        "layers.0.mlp.w1 holds complex64; real numbers are needed",
    ),
    "truth values": ({"tensors": mlp(second=((0,), (1,)), form="BOOL")}, "w1 holds bool; real numbers are needed"),
    "integers beyond float64": (
        {"tensors": mlp(second=((0,), (2**53 + 1,)), form="I64")},
        "layers.0.mlp.w2 has 9007199254740993 in [1][0]; float64 holds no such number",
    ),
    "integers at the end of theirs": (
        {"tensors": mlp(second=((0,), (2**63 - 1,)), form="I64")},
        "layers.0.mlp.w2 has 9223372036854775807 in [1][0]",
    ),
    "tokens of integers": ({"tokens": np.array([[2, 2**53 + 1], [-1, 5]])}, "has 9007199254740993 in [0][1]"),
    "tokens of truth values": ({"tokens": np.ones((2, 2), bool)}, "input.npy' holds bool"),
    "tokens of dates": ({"tokens": np.zeros((2, 2), "datetime64[s]")}, "input.npy' holds datetime64[s]"),
    "a batch": ({"tokens": np.zeros((1, 2, 2))}, "of shape (1, 2, 2); (N, 2) is needed"),
    "no tokens": ({"tokens": np.zeros((0, 2))}, "of shape (0, 2); (N, 2) is needed"),
    "no width": ({"tensors": {W1: ("F64", b"", (1, 0)), W2: ("F64", b"", (0, 1))}}, "tokens of width 0 are none"),
    "a tensor twice": (
        {"header": header(more=', "layers.0.mlp.w2": {"dtype": "F64", "shape": [2, 1], "data_offsets": [16, 32]}')},
        'has the key "layers.0.mlp.w2" twice',
    ),
    "metadata twice": ({"header": header(meta=', "construction": "{}"')}, 'key "construction" twice, in __metadata__'),
    "metadata of numbers": ({"header": header(meta=', "v": 1')}, "an object of texts is needed"),
    "no metadata": ({"metadata": None}, "has no entry 'construction' in its '__metadata__'"),
    "metadata of nothing": ({"metadata": {}}, "has no entry 'construction' in its '__metadata__'"),
    "metadata alone": ({"tensors": {}}, "holds no tensor of layer 0, which 'activation' names"),
    "tensors that overlap": (
        {"header": header('{"dtype": "F64", "shape": [2, 1], "data_offsets": [0, 16]}')},
        'has "layers.0.mlp.w2" from byte 0 on, which overlaps what ends at 16',
    ),
    "tensors with a gap": (
        {"header": header('{"dtype": "F64", "shape": [2, 1], "data_offsets": [24, 40]}'), "extra": b"x" * 8},
        'has "layers.0.mlp.w2" from byte 24 on, which leaves a gap after what ends at 16',
    ),
    "another size": (
        {"header": header('{"dtype": "F64", "shape": [2, 2], "data_offsets": [16, 32]}')},
        "has the data_offsets [16, 32], but F64 of shape [2, 2] takes 32",
    ),
    "an unknown format": (
        {"header": header('{"dtype": "F128", "shape": [2, 1], "data_offsets": [16, 32]}')},
        'has the dtype "F128"; it must be one of BOOL',
    ),
    "a shape that is true": (
        {"header": header('{"dtype": "F64", "shape": [2, true], "data_offsets": [16, 32]}')},
        "has the shape [2, true]; a list of integers, not negative, is needed",
    ),
    "more bytes": ({"extra": b"x" * 8}, "has 40 bytes of tensors, but its header tells of 32"),
    "a schedule twice": ({"construction": json.dumps(CONSTRUCTION)[:-1] + ', "schedule": []}'}, '"schedule" twice'),
    "NaN": ({"construction": json.dumps(CONSTRUCTION)[:-1] + ', "x": NaN}'}, "has NaN, which is no number of JSON"),
    "a deep entry": ({"construction": "[" * 100_000}, "has values nested more than 32 deep"),
    "format true": (construction(format=True), "has format true; this version reads 1"),
    "format 1.0": (construction(format=1.0), "has format 1.0; this version reads 1"),
    "a schedule of text": (construction(schedule="0"), 'has "0" as its schedule; a list of 1 to 10000'),
    "a schedule of truth": (construction(schedule=[False]), "has schedule[0] false"),
    "a negative layer": (construction(schedule=[-1]), "has schedule[0] -1; 'activation' names the layers 0 to 0"),
    "a long schedule": (construction(schedule=[0] * 20_000), "has 20000 entries as its schedule"),
    "an activation that an MLP has not": (construction(activation=["gelu"]), 'has activation[0] "gelu"'),
    "an activation of text": (construction(activation="s"), 'has "s" as its activation'),
    "activations by number": (construction(activation={"0": "softmax"}), 'has {"0": "softmax"} as its activation'),
    "activations of two layers": (construction(activation=["softmax"] * 2), "holds no tensor of layer 1"),
    "no activation": (construction(activation=None), 'has no field "activation"'),
    "a layer without tensors": (construction(schedule=[0, 1], activation=["relu"] * 2), "holds no tensor of layer 1"),
    "a head left out": (
        {"tensors": head(E1, E1, E1, E2) | head(E1, E1, E1, E2, "2")},
        "lacks the tensor 'layers.0.attention.1.query'",
    ),
    "a head called 00": (
        {"tensors": head(E1, E1, E1, E2) | head(E1, E1, E1, E2, "00")},
        'holds the tensor "layers.0.attention.00.query"; Definitions 4-8 have none of that name',
    ),
    "a bias": (
        {"tensors": mlp() | {"layers.0.mlp.b1": ("F64", np.ones(1), (1,))}},
        'holds the tensor "layers.0.mlp.b1"; Definitions 4-8 have none of that name',
    ),
    "a bound twice": ({"claims": TWICE + ', "bound": 10}]}'}, 'has the key "bound" twice, in claims[0]'),
    "claims twice": ({"claims": TWICE + '}], "claims": []}'}, 'has the key "claims" twice'),
    "a field of our file": ({"claims": TWICE + '}], "tolerance": 5}'}, 'has a field "tolerance"'),
    "format of claims true": ({"claims": '{"format": true, "claims": [{}]}'}, "has format true; this version reads 1"),
    "a bound beyond float64": ({"claims": '{"format": 1, "claims": [{"bound": 1e400}]}'}, "has the number 1e400"),
    "20 000 claims": ({"claims": [{}] * 20_000}, "has 20000 claims; a list of 1 to 10000 is needed"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case, tmp_path, capsys):
    change, message = REFUSED[case]
    write(tmp_path)
    assert verify.main([str(tmp_path)]) == 0
    capsys.readouterr()
    write(tmp_path, **change)
    assert verify.main([str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err


@pytest.mark.skipif(np.finfo(np.longdouble).nmant == 52, reason="long doubles are float64 here")
def test_long_doubles_that_float64_does_not_hold(tmp_path, capsys):
    tokens = np.array([[2, 1], [-1, 5]], np.longdouble)
    write(tmp_path, tokens=tokens)
    assert verify.main([str(tmp_path)]) == 0
    tokens[0, 0] += np.longdouble(2) ** -60
    write(tmp_path, tokens=tokens)
    assert verify.main([str(tmp_path)]) == 2
    assert "in [0][0]; float64 holds no such number" in capsys.readouterr().err


BF16 = np.array([1, 0, 0, 3], "<f4").view("<u4") >> 16
HUGE = claim([[2, 3], [-1, 4]], 1e-9)
READ = {
    **{form: ({"tensors": mlp(form=form)}, ["holds"]) for form in ("F64", "F32", "F16", "I64", "I32", "I8", "U8")},
    "BF16": ({"tensors": raw("BF16", *(part.astype("<u2").tobytes() for part in (BF16[:2], BF16[2:])))}, ["holds"]),
    "F8_E4M3": ({"tensors": raw("F8_E4M3", bytes([0x38, 0]), bytes([0, 0x44]))}, ["holds"]),
    "F8_E5M2": ({"tensors": raw("F8_E5M2", bytes([0x3C, 0]), bytes([0, 0x42]))}, ["holds"]),
    "mixed": ({"tensors": {W1: mlp(form="F32")[W1], W2: mlp()[W2]}}, ["holds"]),
    "int": ({"tokens": np.array([[2, 1], [-1, 5]])}, ["holds"]),
    "half": ({"tokens": np.array([[2, 1], [-1, 5]], np.float16)}, ["holds"]),
    "columns": ({"tokens": np.asfortranarray([[2.0, 1], [-1, 5]])}, ["holds"]),
    "big-endian": ({"tokens": np.array([[2, 1], [-1, 5]], ">f8")}, ["holds"]),
    "no units": ({"tensors": {W1: ("F64", b"", (0, 2)), W2: ("F64", b"", (2, 0))},
                  "claims": [claim([[2, 1], [-1, 5]])]}, ["holds"]),
    "no rank": ({"tensors": head(np.zeros((0, 2)), np.zeros((0, 2)), E1, E2),
                 "claims": [claim([[2, "3/2"], [-1, "11/2"]])]}, ["holds"]),
    "no head": ({"tensors": head(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((2, 0))),
                 "claims": [claim([[2, 1], [-1, 5]]), claim([[2, 1], [-1, 6]])]}, ["holds", "false"]),
    "rounding that is not needed": ({"tensors": head(((0, 0),), ((0, 0),), E1, E2), "claims": [
        claim([[2, "3/2"], [-1, "11/2"]], rounding=10, trivial=1), claim([[2, "3/2"], [-1, "11/2"]])]},
        ["holds", "holds"]),
    "binary fractions": ({"tokens": [[0.1, 0.0], [-1.0, 5.0]], "claims": [
        claim([[0.1, 0.3], [-1, 5]]), claim([[0.1, "10808639105689191/36028797018963968"], [-1, 5]]),
        claim([[0.1, "3/10"], [-1, 5]], 1e-16)]}, ["false", "holds", "holds"]),
    "one name": ({"claims": [GOOD, claim([[2, 8], [-1, 5]])]}, ["holds", "false"]),
    "rounding hides nothing": ({"tensors": head(E1, E1, E1, E2), "claims": [
        claim([[2, 6], [-1, 6]], rounding=10, trivial=1)]}, ["false"]),
    **{f"scores of {size:g}": ({"tensors": head(((size, 0.0),), E1, E1, E2), "claims": [HUGE]}, ["holds"])
       for size in (1e3, 1e10, 1e155, 1e300, 1.7e308)},
    "scores of 1.7e308, elsewhere": ({"tensors": head(((1.7e308, 0.0),), E1, E1, E2), "claims": [
        claim([[2, 3], [-1, 4.5]], 0.25)]}, ["false"]),
    "values of 1e600": ({"tensors": mlp(((1e300, 0),), ((0,), (1e300,))), "claims": [
        claim([[2, 7], [-1, 5]], 1e300), claim([[-1, 5]], tokens=[1])]}, ["false", "holds"]),
    "subnormal": ({"tensors": mlp(((5e-324, 0),), ((0,), (5e-324,))), "claims": [
        claim([[2, 1], [-1, 5]]), claim([[2, 1], [-1, 5]], 5e-324)]}, ["false", "holds"]),
    "lost in floats": ({"tensors": mlp(((1e16, 0), (1e16, 1)), ((0, 0), (-1, 1))), "tokens": [[2.0, 1], [1, 5]],
                        "claims": [claim([[2, 2], [1, 10]])]}, ["holds"]),
    "relu": ({**construction(activation=["relu"]), "tensors": head(E1, E1, E1, E2),
              "claims": [claim([[2, 5], [-1, "9/2"]])]}, ["holds"]),
}  # fmt: skip


@pytest.mark.parametrize("case", READ)
def test_what_is_read_is_what_is_stored(case, tmp_path, capsys):
    change, verdicts = READ[case]
    write(tmp_path, **change)
    code = verify.main([str(tmp_path), "--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())["findings"]
    assert [entry["verdict"] for entry in found] == verdicts
    assert code == int("false" in verdicts)
    assert {entry["evidence"] for entry in found} <= {"certified", "exact"}


@pytest.mark.parametrize(
    ("size", "bits", "verdict"), [(1e300, None, "holds"), (1.7e308, None, "undecided"), (1.7e308, 128, "holds")]
)
def test_what_leaves_float64_is_undecided_there_and_decided_by_balls(size, bits, verdict, tmp_path):
    write(tmp_path, tensors=head(((size, 0.0),), E1, E1, E2), claims=[HUGE])
    (found,) = verify.verify(*claims_file.read(tmp_path), bits)
    assert found.verdict == verdict


def test_a_claim_that_balls_are_too_dear_for_is_vacuous_by_its_rounding(tmp_path, monkeypatch, capsys):
    """Off by 3, bound 0, rounding 10, trivial 1: vacuous in float64 alone, false as soon as balls are asked for."""
    zero = ((0.0, 0.0),) * 3
    said = claim([[4]], tokens=[0], coordinates=[1], rounding=10, trivial=1)
    write(tmp_path, tensors=head(zero, zero, E1, E2), tokens=[[1.0, 0.0]] * 5, claims=[said])
    monkeypatch.setattr(verify, "MOST_OPERATIONS", 5 * 16 + 25 * 4 - 1)
    assert verify.main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "1 claim: 1 vacuous (sampled)" in out
    assert "in float64 alone; --precision 128 asks for balls" in out
    assert verify.main([str(tmp_path), "--precision", "128"]) == 1
    assert "1 claim: 1 false (certified)" in capsys.readouterr().out


def test_a_bound_is_vacuous_with_its_rounding(tmp_path):
    """In float64 alone, which is all where balls are not affordable: 0 + 10 against trivial 1, then 11."""
    for trivial, verdict in ((1, "vacuous"), (11, "holds")):
        write(tmp_path, claims=[claim([[2, 4], [-1, 5]], rounding=10, trivial=trivial)])
        (found,) = verify.verify(*claims_file.read(tmp_path), None)
        assert (found.verdict, found.bound) == (verdict, 10.0)


def test_as_many_claims_as_are_read_are_judged_in_one_evaluation(tmp_path, monkeypatch, capsys):
    """Of the 10 000 that may be, 500: one more is refused."""
    assert claims_file.MOST_CLAIMS == 10_000
    monkeypatch.setattr(claims_file, "MOST_CLAIMS", 500)
    listed = [GOOD | {"name": str(number)} for number in range(501)]
    write(tmp_path, claims=listed)
    assert verify.main([str(tmp_path)]) == 2
    assert "has 501 claims; a list of 1 to 500 is needed" in capsys.readouterr().err
    write(tmp_path, claims=listed[:500])
    runs = []
    trace = verify.FloatTrace.__call__
    monkeypatch.setattr(verify.FloatTrace, "__call__", lambda self, *given: runs.append(given) or trace(self, *given))
    assert verify.main([str(tmp_path)]) == 0
    assert len(runs) == 1
    assert "500 claims: 500 holds (certified)" in capsys.readouterr().out


def test_evaluations_beyond_the_limit_are_refused_before_they_begin(tmp_path, monkeypatch, capsys):
    starts = [GOOD | {"layers": [start, 4], "name": str(start)} for start in range(3)]  # 4 + 3 + 2 layers
    write(tmp_path, claims=starts, **construction(schedule=[0] * 4))
    for limit, code in ((9, 1), (8, 2)):
        monkeypatch.setattr(verify, "MOST_EVALUATED", limit)
        assert verify.main([str(tmp_path)]) == code
    assert "need 9 evaluations of a layer, from all that they start from; the limit is 8" in capsys.readouterr().err
