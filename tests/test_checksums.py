"""Exports are sealed: any change of a file is noticed. Old exports, without checksums, are read as they were."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from exported import foreign
from safetensors.numpy import load_file, save_file

from constructions import checksums, claims, tensor_header, weights_file
from constructions.errors import InputError
from theory_checks import verify

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
"""Of the bytes abc: the first example of FIPS 180-4."""
OLD = Path(__file__).parent / "old_exports"


@pytest.fixture
def sealed(tmp_path) -> Path:
    foreign(tmp_path)
    claims.seal(tmp_path)
    return tmp_path


def stated(folder: Path, **change: object) -> None:
    path = folder / "claims.json"
    content = json.loads(path.read_text())
    content["sha256"] = {name: digest for name, digest in (content["sha256"] | change).items() if digest is not None}
    path.write_text(json.dumps(content))


def test_the_digest_is_that_of_the_standard():
    assert checksums.of({"x": b"abc"}) == {"x": ABC}


def test_every_weight_that_is_changed_is_noticed(sealed, capsys):
    """Each number of every tensor and array, by one unit in the last place; the export as it is holds."""
    assert verify.main([str(sealed)]) == 0
    assert capsys.readouterr().out.endswith("\nsealed: 2 files have the SHA-256 that claims.json states of them\n")
    for name, first in (("transformer.safetensors", None), ("input.npy", 128)):
        path = sealed / name
        content = path.read_bytes()
        begin = 8 + int.from_bytes(content[:8], "little") if first is None else first
        numbers = np.frombuffer(content[begin:])
        assert len(numbers) == (12 if first is None else 6)
        for place in range(len(numbers)):
            other = numbers.copy()
            other[place] = np.nextafter(other[place], np.inf)
            path.write_bytes(content[:begin] + other.tobytes())
            assert verify.main([str(sealed)]) == 2
            out, err = capsys.readouterr()
            assert out == ""
            assert err.startswith(f"error: {str(path)!r} is not the file that was exported: its SHA-256 begins with ")
        path.write_bytes(content)
    assert verify.main([str(sealed)]) == 0


def test_a_weight_that_no_claim_reaches(tmp_path, capsys):
    """What an M-step head takes of an unused coordinate of x, 1000 times as large: only the checksum knows."""
    folder = tmp_path / "export"
    shutil.copytree(OLD / "em", folder)
    path, name = folder / "transformer.safetensors", "layers.1.attention.0.value"
    _, construction = weights_file.load(path)
    unused = construction["layout"]["x"][1] - 1
    assert not np.load(folder / "input.npy")[:, unused].any()
    claims.seal(folder)
    tensors = load_file(path)
    assert tensors[name][:, unused].any()
    tensors[name][:, unused] *= 1000
    save_file(tensors, path, metadata={"construction": json.dumps(construction)})
    assert verify.main([str(folder)]) == 2
    claims.seal(folder)
    assert verify.main([str(folder)]) == 0
    assert "18 holds (certified)" in capsys.readouterr().out


@pytest.mark.parametrize("number", range(40))
def test_a_weight_of_a_real_export_that_is_changed_is_noticed(number, tmp_path):
    """Any bit of a real export's weights, drawn."""
    shutil.copytree(OLD / "em", tmp_path / "export")
    claims.seal(tmp_path / "export")
    path = tmp_path / "export" / "transformer.safetensors"
    content = bytearray(path.read_bytes())
    begin = 8 + int.from_bytes(content[:8], "little")
    place = begin + int(np.random.default_rng(number).integers(len(content) - begin))
    content[place] ^= 1 << number % 8
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"transformer\.safetensors' is not the file that was exported"):
        claims.read(tmp_path / "export")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"input.npy": ABC},
            r"input\.npy' is not the file that was .* begins with .*, .*claims\.json' states ba7816bf8f01$",
        ),
        ({"input.npy": None}, r"claims\.json' has no sha256 of 'input\.npy', which is read"),
        ({"transformer.safetensors": None}, r"has no sha256 of 'transformer\.safetensors', which is read"),
        ({"absent.npy": ABC}, r"there is no file .*absent\.npy', of which .*claims\.json' has the SHA-256"),
        ({"../input.npy": ABC}, r'has the sha256 of "\.\./input\.npy"; it must be a file beside it'),
        ({"a\nb": ABC}, r'has the sha256 of "a\\nb"; it must be a file beside it'),
        ({"input.npy": ABC.upper()}, "has the sha256 \"BA7816.* of 'input.npy'; 64 digits from 0 to f are needed"),
        ({"input.npy": ABC[1:]}, "64 digits from 0 to f are needed"),
        ({"input.npy": ABC + "0"}, "64 digits from 0 to f are needed"),
        ({"input.npy": 3}, "has the sha256 3 of 'input.npy'"),
        ({str(n): ABC for n in range(999)}, "has 1001 checksums; an object of at most 1000 files is needed"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_checksums_that_do_not_fit(change, message, sealed):
    claims.read(sealed)
    stated(sealed, **change)
    with pytest.raises(InputError, match=message):
        claims.read(sealed)


@pytest.mark.parametrize("value", [None, [], "x"], ids=str)
def test_checksums_that_are_none(value, sealed):
    content = json.loads((sealed / "claims.json").read_text())
    (sealed / "claims.json").write_text(json.dumps(content | {"sha256": value}))
    with pytest.raises(InputError, match=r"as its sha256; an object of at most 1000 files is needed"):
        claims.read(sealed)


def test_format_1_has_no_checksums(sealed):
    content = json.loads((sealed / "claims.json").read_text())
    (sealed / "claims.json").write_text(json.dumps(content | {"format": 1}))
    with pytest.raises(InputError, match='has a field "sha256"; the fields are format, claims'):
        claims.read(sealed)


def test_checksums_say_nothing_of_what_is_true(sealed, capsys):
    """A wrong reference with right checksums: false, whoever sealed it."""
    content = json.loads((sealed / "claims.json").read_text())
    content["claims"][0]["reference"] = [[11, 3]]
    (sealed / "claims.json").write_text(json.dumps(content))
    claims.seal(sealed)
    assert verify.main([str(sealed)]) == 1
    assert "1 false (certified)\nsealed: 2 files" in capsys.readouterr().out


def test_json_says_whether_an_export_is_sealed(sealed):
    for write, told in ((claims.seal, True), (foreign, False)):
        write(sealed)
        assert verify.main([str(sealed), "--json", str(sealed / "found.json")]) == 0
        assert json.loads((sealed / "found.json").read_text())["sealed"] is told
        (sealed / "found.json").unlink()


@pytest.mark.parametrize(("name", "holding"), [("em", 18), ("tensor_power", 5), ("attention_only", 4)])
def test_old_exports_hold(name, holding, capsys):
    """Written before there were checksums, by the demos: read as they were, and told that they are not sealed."""
    assert json.loads((OLD / name / "claims.json").read_text())["format"] == 1
    assert verify.main([str(OLD / name)]) == 0
    out = capsys.readouterr().out
    assert f"\n{holding} claims: {holding if name == 'em' else holding - 1} holds (certified)" in out
    assert out.endswith(
        "\nnot sealed: without checksums (format 1), a weight that no claim reaches may have been changed unseen\n"
    )


def test_the_arrays_of_the_tests_are_those_of_files(sealed):
    """The places that test_every_weight_that_is_changed_is_noticed changes are numbers, all of them."""
    header = tensor_header.read(sealed / "transformer.safetensors")
    assert {stored.format for stored in header.tensors.values()} == {"F64"}
    assert sum(array.size for array in load_file(sealed / "transformer.safetensors").values()) == 12
    assert (sealed / "input.npy").stat().st_size == 128 + 6 * 8
