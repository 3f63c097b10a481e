"""claims.json: what a claim may say, and what is refused with one sentence."""

import json
from fractions import Fraction
from math import inf

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from constructions import claims
from constructions.errors import InputError

ENTRY = {"name": "c", "tokens": [1], "coordinates": [0, 2], "reference": [[1, "-2/3"]], "bound": 0.25}


@pytest.fixture
def folder(tmp_path):
    """Three tokens of width 5, one ReLU head, an MLP of 7 units, a schedule of two layers; written by hand."""
    rng = np.random.default_rng(3)
    shapes = {"query": (2, 5), "key": (2, 5), "value": (3, 5), "output": (5, 3)}
    tensors = {f"layers.0.attention.0.{name}": rng.standard_normal(shape) for name, shape in shapes.items()}
    tensors |= {"layers.0.mlp.w1": rng.standard_normal((7, 5)), "layers.0.mlp.w2": rng.standard_normal((5, 7))}
    write_weights(tmp_path, tensors)
    np.save(tmp_path / "input.npy", rng.standard_normal((3, 5)))
    np.save(tmp_path / "stream.npy", np.arange(15.0).reshape(3, 5))
    return tmp_path


def write_weights(folder, tensors, **construction):
    entry = {"format": 1, "schedule": [0, 0], "activation": ["relu"]} | construction
    save_file(tensors, folder / "transformer.safetensors", metadata={"construction": json.dumps(entry)})


def write(folder, *entries, **content):
    (folder / "claims.json").write_text(json.dumps({"format": 1, "claims": list(entries)} | content))


def test_a_claim_is_read(folder):
    write(folder, ENTRY)
    transformer, (claim,) = claims.read(folder)
    assert transformer.schedule == (0, 0)
    assert (claim.name, claim.source, claim.layers, claim.norm) == ("c", "input.npy", (0, 2), "euclidean")
    assert claim.reference.tolist() == [[Fraction(1), Fraction(-2, 3)]]
    assert (claim.tokens.tolist(), claim.coordinates.tolist()) == ([1], [0, 2])
    assert (claim.bound.tolist(), claim.rounding, claim.trivial) == ([0.25], 0.0, inf)
    assert np.array_equal(claim.input, np.load(folder / "input.npy"))
    assert claim.read_out(np.arange(15).reshape(3, 5), claim.tokens).tolist() == [[5, 7]]


def test_everything_that_a_claim_may_say(folder):
    weights = [[0.5, 0.5, 0], [0, 1, "1/4"]]
    given = {"tokens": weights, "coordinates": [3], "reference": [[1], [2.5]], "norm": "absolute", "why": "because"}
    given |= {"bound": [[1], [2]], "layers": [1, 2], "rounding": 0.5, "trivial": 7, "input": "stream.npy", "name": "d"}
    np.save(folder / "rows.npy", np.float32([[1, 2, 3]]))
    write(folder, given, {**ENTRY, "tokens": "rows.npy", "bound": [3]})
    _, (claim, other) = claims.read(folder)
    assert (claim.source, claim.layers, claim.norm, claim.rounding, claim.trivial) == (
        "stream.npy", (1, 2), "absolute", 0.5, 7.0,
    )  # fmt: skip
    assert claim.bound.tolist() == [[1], [2]]
    assert claim.tokens.tolist() == [[0.5, 0.5, 0], [0, 1, 0.25]]
    assert claim.read_out(np.arange(15.0).reshape(3, 5), claim.tokens).tolist() == [[5.5], [11.25]]
    assert other.tokens.tolist() == [[1, 2, 3]]
    assert other.bound.tolist() == [3]


def test_what_is_left_out_is_everything(folder):
    """All tokens, all coordinates; of a whole stream as the reference the coordinates are taken."""
    write(
        folder, *({"name": "c", "reference": "stream.npy", "bound": 1} | more for more in ({}, {"coordinates": [4, 1]}))
    )
    _, (whole, part) = claims.read(folder)
    stream = np.arange(15.0).reshape(3, 5)
    assert np.array_equal(whole.read_out(stream, None), stream)
    assert np.array_equal(whole.reference, stream)
    assert np.array_equal(part.reference, stream[:, [4, 1]])
    assert np.array_equal(part.read_out(stream, None), part.reference)
    assert whole.bound.shape == part.bound.shape == (3,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 3}, "has the name 3; it must be text"),
        ({"name": ""}, 'has the name ""; it must be text'),
        ({"name": "c  holds\n1 claim: 1 holds"}, "has a name with characters that cannot be printed"),
        ({"name": "\x1b[2Jc"}, "has a name with characters that cannot be printed"),
        ({"why": 3}, "has the why 3; it must be text"),
        ({"limit": 1}, 'has a field "limit"; the fields are name, input'),
        ({"reference": None}, "has null in its reference"),
        ({"bound": True}, "has true in its bound"),
        ({"reference": [[1, "1/0"]]}, 'has "1/0" in its reference'),
        ({"reference": [[1, "1e5"]]}, 'has "1e5" in its reference'),
        ({"reference": [[1, 2], [3]]}, r"has \[1, 2\] in its reference"),
        ({"reference": [[1, [2]]]}, r"has \[2\] in its reference"),
        ({"reference": [1, 2]}, r"has a reference of shape \(2,\) for a read-out of shape \(1, 2\)"),
        ({"reference": "stream.npy"}, r"has a reference of shape \(3, 5\) for a read-out of shape \(1, 2\)"),
        ({"reference": "../stream.npy"}, "names '../stream.npy'; its reference must be a file beside it"),
        ({"reference": "absent.npy"}, "there is no file .*absent.npy', which claim 'c' names"),
        ({"reference": "nan.npy"}, r"nan.npy' has nan in \[0\]\[0\]; all numbers must be finite"),
        ({"reference": "text.npy"}, "text.npy' holds str32; real numbers are needed"),
        ({"reference": "damaged.npy"}, "damaged.npy' is no .npy file: it begins with"),
        ({"input": "flat.npy"}, r'starts from "flat.npy" of shape \(3,\); \(N, 5\) is needed'),
        ({"input": "narrow.npy"}, r'starts from "narrow.npy" of shape \(3, 4\)'),
        ({"input": [[0, 0, 0, 0, 0]]}, "starts from"),
        ({"norm": "max"}, 'has the norm "max"; it must be one of euclidean, absolute'),
        ({"bound": [1, 2]}, r"has a bound of shape \(2,\); a number or \(1,\) is needed"),
        ({"norm": "absolute", "bound": [1]}, r"has a bound of shape \(1,\); a number or \(1, 2\) is needed"),
        ({"bound": -1}, "has a bound of -1; none may be negative"),
        ({"rounding": -1e-9}, "has the rounding -1e-09; it must not be negative"),
        ({"trivial": -1}, "has the trivial -1; it must not be negative"),
        ({"trivial": None}, "has null in its trivial"),
        ({"kind": "equality"}, 'has a field "kind"; the fields are name, input'),
        ({"tokens": [True]}, r"has the tokens \[true\]"),
        ({"coordinates": [False]}, r"has the coordinates \[false\]"),
        ({"layers": [False, True]}, r"has the layers \[false, true\]"),
        ({"reference": "bool.npy"}, "bool.npy' holds bool; real numbers are needed"),
        ({"reference": "dates.npy"}, r"dates.npy' holds datetime64\[D\]; real numbers are needed"),
        ({"reference": "complex.npy"}, "complex.npy' holds complex128; real numbers are needed"),
        ({"reference": "long.npy"}, r"long.npy' has 9007199254740993 in \[0\]\[1\]; float64 holds no such number"),
        ({"reference": "more.npy"}, "more.npy' has 5 bytes after its array"),
        ({"reference": "short.npy"}, "short.npy"),
        ({"norm": ["euclidean"]}, r"has the norm \[\"euclidean\"\]"),
        ({"input": "bool.npy"}, "bool.npy' holds bool"),
        ({"rounding": [1]}, "has a rounding that is not one number"),
        ({"bound": 10**400}, "has a bound beyond the range of float64"),
        ({"layers": [1, 1]}, r"has the layers \[1, 1\]; \[start, stop\) must lie in \[0, 2\)"),
        ({"layers": [0, 3]}, r"has the layers \[0, 3\]"),
        ({"layers": [-1, 1]}, r"has the layers \[-1, 1\]"),
        ({"layers": 2}, "has the layers 2"),
        ({"coordinates": []}, r"has the coordinates \[\]; indices from 0 to 4 are needed"),
        ({"coordinates": [5]}, r"has the coordinates \[5\]"),
        ({"coordinates": "mu"}, 'has the coordinates "mu"'),
        ({"tokens": [3]}, r"has the tokens \[3\]; indices from 0 to 2 are needed"),
        ({"tokens": [-1]}, r"has the tokens \[-1\]"),
        ({"tokens": [1.0]}, r"has the tokens \[1.0\]"),
        ({"tokens": [[1, 0]]}, r"has tokens of shape \(1, 2\); indices of tokens or \(m, 3\) weights are needed"),
        ({"tokens": []}, "has tokens of shape"),
    ],
    ids=str,
)
def test_claims_that_say_nothing_that_could_be_checked(change, message, folder):
    np.save(folder / "nan.npy", np.full((1, 2), np.nan))
    np.save(folder / "text.npy", np.array([["1", "2"]]))
    np.save(folder / "flat.npy", np.zeros(3))
    np.save(folder / "narrow.npy", np.zeros((3, 4)))
    (folder / "damaged.npy").write_bytes(b"\x93NUMPY")
    np.save(folder / "bool.npy", np.ones((1, 2), bool))
    np.save(folder / "dates.npy", np.zeros((1, 2), "datetime64[D]"))
    np.save(folder / "complex.npy", np.ones((1, 2), complex))
    np.save(folder / "long.npy", np.array([[1, 2**53 + 1]]))
    np.save(folder / "more.npy", np.ones((1, 2)))
    whole = (folder / "more.npy").read_bytes()
    (folder / "more.npy").write_bytes(whole + b"12345")
    (folder / "short.npy").write_bytes(whole[:-1])
    write(folder, ENTRY | change)
    with pytest.raises(InputError, match=message):
        claims.read(folder)


def test_how_much_all_claims_may_have(folder, monkeypatch):
    """Two claims compare 15 numbers each with 3 bounds, the third 2 with 6 weights of tokens and 2 bounds: 46."""
    whole = {"name": "w", "reference": "stream.npy", "bound": 1}
    pooled = {"name": "p", "tokens": [[1, 0, 0], [0, 1, 0]], "coordinates": [4], "reference": [[1], [2]], "bound": 1}
    write(folder, whole | {"bound": [1, 1, 1]}, whole | {"bound": [1, 1, 1]}, pooled | {"bound": [1, 1]})
    for limit, value, message in (
        ("MOST_NUMBERS", 46, None),
        ("MOST_NUMBERS", 45, r"claim 'p' of .* has 2 numbers to compare or to weigh .* before 46; 45 are read"),
        ("MOST_NUMBERS", 17, r"claim 'w' of .* has 3 numbers .* before 18; 17 are read"),
        ("MOST_INLINE", 16, None),
        ("MOST_INLINE", 15, "claim 'p' .* has 2 numbers in its bound, with the claims before 16; .* may have 15"),
    ):
        with monkeypatch.context() as lowered:
            lowered.setattr(claims, limit, value)
            if message is None:
                assert len(claims.read(folder)[1]) == 3
            else:
                with pytest.raises(InputError, match=message):
                    claims.read(folder)


@pytest.mark.parametrize("field", ["name", "reference", "bound"])
def test_what_every_claim_must_say(field, folder):
    write(folder, {key: value for key, value in ENTRY.items() if key != field})
    with pytest.raises(InputError, match=f"claim 0.*has the name null|claim 'c' of .* has no '{field}'"):
        claims.read(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"format": 2, "claims": []}', 'has no field "sha256"'),
        ('{"format": 3, "claims": []}', "has format 3; this version reads 1 and 2"),
        ("[]", r"is \[\]; an object with format, claims is needed"),
        ('{"format": 1}', 'has no field "claims"'),
        ('{"format": 1, "claims": []}', "has 0 claims; a list of 1 to 10000 is needed"),
        ('{"format": 1, "claims": {}}', "has {} as its claims; a list of 1 to 10000 is needed"),
        ('{"format": 1, "claims": [' + "{}," * 10_000 + "{}]}", "has 10001 claims; a list of 1 to 10000 is needed"),
        ('{"format": true, "claims": [3]}', "has format true; this version reads 1"),
        ('{"format": 1, "claims": [3], "tolerance": 5}', 'has a field "tolerance"; the fields are format, claims'),
        ('{"format": 1, "claims": [3], "claims": [4]}', 'has the key "claims" twice'),
        ('{"format": 1, "claims": [3]}', "claim 0 of .* is 3; it must be an object"),
        ('{"format": 1, "claims": [{"bound": NaN}]}', r"has NaN, which is no number of JSON, in claims\[0\]\.bound"),
        (
            '{"format": 1, "claims": [{"name": "c", "reference": "stream.npy", "bound": 1e999}]}',
            "has the number 1e999, which",
        ),
        ("{", "is no JSON from line 1, column 2 on"),
        ('"\ud800"', "is no text in UTF-8: its byte 1 is 0xed"),
        ("[" * 100_000, "has values nested more than 32 deep"),
    ],
    ids=lambda text: text[:40],
)
def test_files_that_are_no_claims(content, message, folder):
    (folder / "claims.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match=message):
        claims.read(folder)


def test_files_that_are_missing(folder):
    with pytest.raises(InputError, match="there is no directory"):
        claims.read(folder / "absent")
    with pytest.raises(InputError, match=r"there is no file .*claims\.json"):
        claims.read(folder)
    write(folder, ENTRY)
    (folder / "input.npy").unlink()
    with pytest.raises(InputError, match=r"there is no file .*input\.npy', which claim 'c' names"):
        claims.read(folder)
    (folder / "transformer.safetensors").unlink()
    with pytest.raises(InputError, match=r"there is no file .*transformer\.safetensors"):
        claims.read(folder)


@pytest.mark.parametrize("name", ["attention.0.query", "attention.0.output", "mlp.w1", "mlp.w2"])
def test_a_tensor_is_missing(name, folder):
    write(folder, ENTRY)
    tensors = load_file(folder / "transformer.safetensors")
    del tensors[f"layers.0.{name}"]
    write_weights(folder, tensors)
    with pytest.raises(InputError, match=rf"lacks the tensor 'layers\.0\.{name}'"):
        claims.read(folder)


@pytest.mark.parametrize(
    ("change", "construction", "message"),
    [
        ({"layers.0.attention.2.query": np.zeros((2, 5))}, {}, r"lacks the tensor 'layers\.0\.attention\.1\.query'"),
        ({"layers.1.mlp.w1": np.zeros((2, 5))}, {}, "'layers.1.mlp.w1', but 'activation' names the layers 0 to 0"),
        (
            {"layers.0.mlp.w1": np.full((7, 5), np.inf)},
            {},
            r"mlp\.w1 has inf in \[0\]\[0\]; all numbers must be",
        ),
        ({"layers.0.mlp.w1": np.zeros((7, 4))}, {}, "they must read and write tokens of one width"),
        ({"layers.0.attention.0.query": np.zeros(5)}, {}, r"query of shape \(5,\); a matrix is needed"),
        ({}, {"format": 2}, "has format 2; this version reads 1"),
        ({}, {"schedule": [0, 1]}, r"has schedule\[1\] 1; 'activation' names the layers 0 to 0"),
        ({}, {"schedule": [0.0]}, r"has schedule\[0\] 0\.0"),
        ({}, {"schedule": []}, "has 0 entries as its schedule; a list of 1 to 10000 layers is needed"),
        ({}, {"layout": 3}, "has 3 in its layout"),
        ({}, {"schedule": [0] * 10_001}, "has 10001 entries as its schedule; a list of 1 to 10000 layers is needed"),
        ({}, {"schedule": "0"}, 'has "0" as its schedule'),
        ({}, {"format": True}, "has format true; this version reads 1"),
        ({}, {"activation": ["relu", "softmax"]}, "holds no tensor of layer 1, which 'activation' names"),
        ({}, {"activation": ["tanh"]}, r'has activation\[0\] "tanh"; it must be one of softmax, relu'),
    ],
    ids=str,
)
def test_weights_that_will_not_do(change, construction, message, folder):
    write(folder, ENTRY)
    write_weights(folder, load_file(folder / "transformer.safetensors") | change, **construction)
    with pytest.raises(InputError, match=message):
        claims.read(folder)


def test_weights_in_float32(folder):
    write(folder, ENTRY)
    narrow = {name: np.float32(t) for name, t in load_file(folder / "transformer.safetensors").items()}
    write_weights(folder, narrow)
    assert claims.read(folder)[0].dtype == torch.float32
