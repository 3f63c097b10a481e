"""Exports judged from their files alone: ours, ours tampered with, and foreign ones."""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from exported import foreign
from judged import change_array, change_claim, change_tensors, false_claims, findings, listed

from constructions import claims, em_command, tensor_power_command, weights_file
from theory_checks import verify

SMALL = ["--tolerance", "0.5", "--max-dim", "5", "--max-components", "4"]
EM = ["--data", "iris", "--samples", "30", "--layers", "6", *SMALL]
TENSOR = ["--layers", "6", "--dim", "3", "--max-dim", "5"]


@pytest.fixture(scope="session")
def originals(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("originals")
    assert em_command.main([*EM, "--export", str(folder / "em")]) == 0
    assert tensor_power_command.main([*TENSOR, "--export", str(folder / "tensor")]) == 0
    return folder


@pytest.fixture
def exports(originals, tmp_path) -> Path:
    shutil.copytree(originals, tmp_path / "exports")
    return tmp_path / "exports"


def test_an_em_export_holds(exports, capsys):
    """Every claim is certified; the bounds on means are within a factor 100 of what is found."""
    found = findings(exports / "em")
    assert list(found) == [
        name
        for step, after in ((1, "before_step_2"), (2, "before_step_3"), (3, "output"))
        for name in (
            *(f"step {step}: {what}" for what in ("means", "weights")),
            *(f"{after}: {what}" for what in ("mu", "pi", "log_pi", "log_pi, unused", "sq_norm", "w, log_w")),
            f"{after}: samples, component and one stay",
        )
    ]
    assert {(f.verdict, f.evidence, f.bits) for f in found.values()} == {("holds", "certified", 128)}
    assert found["step 3: means"].layers == found["output: mu"].layers == (4, 6)
    assert found["step 3: means"].found > found["step 3: means"].bound / 100
    assert found["output: mu"].bound < 1e-9
    assert verify.main([str(exports / "em")]) == 0
    assert capsys.readouterr().out.endswith(
        "\n27 claims: 27 holds (certified)\nsealed: 7 files have the SHA-256 that claims.json states of them\n"
    )


def test_a_tensor_export_holds(exports):
    found = findings(exports / "tensor")
    names = [
        name
        for step, after in ((1, "before_step_2"), (2, "before_step_3"), (3, "output"))
        for name in (
            f"vector, iteration {step}",
            f"vector, iteration {step}, exactly",
            *(f"{after}: {what}" for what in ("slice, one, basis stay", "vec", "new, scalar cleared")),
        )
    ]
    assert {name: (f.verdict, f.evidence) for name, f in found.items()} == {
        name: ("holds", "exact" if name.endswith("exactly") else "certified") for name in names
    }
    assert {f.verdict for f in findings(exports / "tensor", None).values()} == {"holds"}


def test_a_run_without_a_bound_claims_none(tmp_path):
    """|T(I,v,v)| leaves the known range; the weights fall below the class's smallest."""
    run = ["--layers", "4", "--dim", "3", "--normalise", "50", "60", "--export", str(tmp_path / "t")]
    assert tensor_power_command.main(run) == 0
    assert list(findings(tmp_path / "t", None)) == ["output: slice, one, basis stay"]
    run = ["--layers", "4", *EM[:2], "--min-weight", "0.32", "--tolerance", "0.5", "--export", str(tmp_path / "e")]
    assert em_command.main(run) == 0
    assert list(findings(tmp_path / "e", None)) == [
        "step 1: means",
        "step 1: weights",
        *(f"before_step_2: {what}" for what in ("mu", "pi", "log_pi", "log_pi, unused", "sq_norm", "w, log_w")),
        "before_step_2: samples, component and one stay",
        "output: samples, component and one stay",
    ]


@pytest.mark.parametrize(
    ("tensor", "factor", "false"),
    [
        ("layers.0.attention.0.query", 1.5, {"step 1: weights", "output: pi"}),
        ("layers.1.attention.0.value", 1.5, {"step 1: means", "step 3: means", "output: mu", "output: sq_norm"}),
        ("layers.1.attention.0.value", 1 + 1e-6, {"output: mu"}),
        ("layers.1.mlp.w2", 1.5, {"output: w, log_w", "output: log_pi"}),
    ],
)
def test_other_weights_are_found_out(tensor, factor, false, exports):
    change_tensors(exports / "em", lambda tensors: tensors.update({tensor: factor * tensors[tensor]}))
    assert false <= false_claims(exports / "em", None)


def test_other_weights_are_certainly_other_weights(exports, capsys):
    name = "layers.1.attention.0.value"
    change_tensors(exports / "em", lambda tensors: tensors.update({name: (1 + 1e-6) * tensors[name]}))
    assert verify.main([str(exports / "em"), "--precision", "128"]) == 1
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("output: mu"))
    assert line.endswith("certified, 128  false")


def test_other_weights_of_a_tensor_power_are_found_out(exports):
    change_tensors(
        exports / "tensor", lambda t: t.update({"layers.1.attention.3.key": 1.5 * t["layers.1.attention.3.key"]})
    )
    vectors = {f"vector, iteration {step}{exactly}" for step in (1, 2, 3) for exactly in ("", ", exactly")}
    false = vectors | {f"{after}: vec" for after in ("before_step_2", "before_step_3", "output")}
    assert false_claims(exports / "tensor") == false_claims(exports / "tensor", None) == false


@pytest.mark.parametrize("name", ["em", "tensor"])
def test_a_bound_that_is_lowered_is_false(name, exports):
    """Every claim whose error is not 0: with its bounds scaled just above what is found it holds, just below it not."""
    ratios = {claim: f.found / f.bound for claim, f in findings(exports / name).items() if f.found > 1e-30}
    assert len(ratios) >= (8 if name == "em" else 2)
    bounds = {entry["name"]: np.array(entry["bound"]) for entry in listed(exports / name)}
    for factor, false in ((1.001, set()), (0.999, set(ratios))):
        for claim, ratio in ratios.items():
            change_claim(exports / name, claim, bound=(factor * ratio * bounds[claim]).tolist())
        assert false_claims(exports / name) == false


@pytest.mark.parametrize(
    ("file", "part", "by", "false"),
    [
        ("em/output.npy", "mu", 1e-9, {"output: mu"}),
        ("em/output.npy", "x", 1e-15, {"output: samples, component and one stay"}),
        ("em/before_step_3.npy", "x", 0.1, {"output: mu"}),
        ("em/input.npy", "mu", 0.1, {"step 1: weights"}),
        ("tensor/output.npy", "vec", 1e-9, {"output: vec"}),
        ("tensor/input.npy", "slice", 1e-9, {"vector, iteration 3", "output: slice, one, basis stay"}),
    ],
)
def test_an_entry_that_is_changed_is_found_out(file, part, by, false, exports):
    folder = (exports / file).parent
    _, construction = weights_file.load(folder / "transformer.safetensors")
    change_array(exports / file, (0, construction["layout"][part][0]), by)
    assert false <= false_claims(folder, None)


def test_a_read_out_shifted_by_one_token_is_found_out(exports):
    pooling = exports / "em" / "pooling.npy"
    np.save(pooling, np.roll(np.load(pooling), 1, axis=1))
    claims.seal(exports / "em")
    assert false_claims(exports / "em", None) == {f"step {step}: means" for step in (1, 2, 3)}
    change_claim(exports / "tensor", "output: slice, one, basis stay", tokens=[1], reference=np.load(
        exports / "tensor" / "output.npy")[:1, [*range(25), *range(36, 42)]].tolist(),
        coordinates=[*range(25), *range(36, 42)])  # fmt: skip
    assert false_claims(exports / "tensor") == {"output: slice, one, basis stay"}


def test_an_exact_claim_is_exact(exports):
    """Off by 2^-200: false; balls of 128 bits see it, floats do not."""
    name = "vector, iteration 3, exactly"
    (entry,) = (entry for entry in listed(exports / "tensor") if entry["name"] == name)
    first, *others = entry["reference"][0]
    change_claim(exports / "tensor", name, reference=[[str(Fraction(first) + Fraction(1, 2**200)), *others]])
    assert findings(exports / "tensor")[name].verdict == "false"
    assert findings(exports / "tensor", None)[name].verdict == "holds"


def test_a_foreign_export_is_verified(tmp_path, capsys):
    """The mean is (2, 1); after one layer it is twice that: h + m + 2m."""
    foreign(tmp_path)
    assert verify.main([str(tmp_path), "--json", str(tmp_path / "found.json")]) == 0
    assert "holds" in capsys.readouterr().out
    content = json.loads((tmp_path / "found.json").read_text())
    (found,) = content["findings"]
    assert content["schema"] == 1
    assert (found["layers"], found["evidence"], found["bits"], found["verdict"]) == ([0, 2], "certified", 128, "holds")
    assert found["slack"] == pytest.approx(1, rel=1e-6, abs=0)
    foreign(tmp_path, layers=[0, 1], reference=[[6, 1]])
    assert verify.main([str(tmp_path)]) == 0
    foreign(tmp_path, layers=[0, 1])
    assert verify.main([str(tmp_path)]) == 1


@pytest.mark.parametrize(
    ("claim", "bits", "verdict", "evidence"),
    [
        ({"reference": [[13, 7]], "bound": 5.001}, 128, "holds", "certified"),  # norms: (3, 4) has 5
        ({"reference": [[13, 7]], "bound": 4.999}, 128, "false", "certified"),
        ({"reference": [[13, 7]], "norm": "absolute", "bound": 4.001}, 128, "holds", "certified"),
        ({"reference": [[13, 7]], "norm": "absolute", "bound": [[3.001, 4.001]]}, 128, "holds", "certified"),
        ({"reference": [[13, 7]], "norm": "absolute", "bound": [[4.001, 3.001]]}, 128, "false", "certified"),
        ({"bound": 1, "trivial": 1}, 128, "vacuous", "certified"),
        ({"bound": 1, "trivial": 1.1}, 128, "holds", "certified"),
        ({"reference": [[11, 3]], "bound": 0.5, "trivial": 0.5}, 128, "false", "certified"),
        ({"reference": [[11, 3]], "bound": 0.5, "rounding": 0.6}, None, "holds", "sampled"),
        ({"reference": [[11, 3]], "bound": 0.5, "rounding": 0.4}, None, "false", "sampled"),
        ({"reference": [[11, 3]], "bound": 0.5, "rounding": 0.6}, 128, "false", "certified"),
        ({"bound": 0, "rounding": 1e-14}, 128, "holds", "sampled"),  # softmax: no rationals
        ({"bound": 0, "reference": [[11, 3]]}, 128, "false", "certified"),
        ({"tokens": [[0.5, 0.5, 0]], "reference": [[8.5, 4]]}, 128, "holds", "certified"),
        ({"tokens": [[0.5, 0.5, 0]], "reference": [[8.5, 4]]}, None, "holds", "sampled"),
        ({"tokens": [[0, 0.5, 0.5]], "reference": [[8.5, 4]]}, 128, "false", "certified"),
    ],
    ids=str,
)
def test_verdicts(claim, bits, verdict, evidence, tmp_path):
    foreign(tmp_path, **claim)
    (found,) = findings(tmp_path, bits).values()
    assert (found.verdict, found.evidence) == (verdict, evidence)


def test_attained_bounds_need_exactness(tmp_path):
    """A bound that is met with equality: balls leave it open, doubled or not, so it stays what floats say."""
    foreign(tmp_path, reference=[[10 + 1 / 8, 3]], bound=1 / 8, norm="absolute", rounding=1e-14)
    (found,) = findings(tmp_path).values()
    assert (found.verdict, found.evidence, found.bits) == ("holds", "sampled", None)


@pytest.mark.parametrize(("bound", "bits"), [(2.0**-24, 32), (2.0**-44, 64), (2.0**-80, None)])
def test_precision_is_doubled_twice_while_a_claim_is_undecided(bound, bits, tmp_path):
    foreign(tmp_path, bound=bound)
    assert [found.bits for found in findings(tmp_path, 16).values()] == [bits]


def test_claims_that_differ_in_where_they_start(tmp_path):
    """The same tokens, the same last layer: two layers, h + 3m, and one, h + m."""
    foreign(tmp_path)
    (entry,) = listed(tmp_path)
    entries = [entry, entry | {"name": "h + mean", "layers": [1, 2], "reference": [[6, 1]]}]
    (tmp_path / "claims.json").write_text(json.dumps({"format": 1, "claims": entries}))
    assert [(found.verdict, found.layers) for found in findings(tmp_path).values()] == [
        ("holds", (0, 2)),
        ("holds", (1, 2)),
    ]


def test_what_is_no_number_is_the_worst(tmp_path):
    foreign(tmp_path, tokens=[0, 1], reference=[[7, 5], [10, 3]])
    _, (claim,) = claims.read(tmp_path)
    assert np.isnan(verify._finding(claim, np.array([2.0, np.nan]), claim.bound, False, "sampled").found)


def test_what_shows_is_the_worst_row(tmp_path):
    foreign(tmp_path, tokens=[0, 1, 2], reference=[[7, 5], [10, 5], [7, 4]], bound=[1, 4, 0.5])
    (found,) = findings(tmp_path).values()
    assert (found.found, found.bound, found.slack) == (pytest.approx(2), 4.0, pytest.approx(0.5))


def test_numbers_that_leave_the_format_meet_no_bound(tmp_path):
    foreign(tmp_path, reference=[[10, 3]])
    change_tensors(tmp_path, lambda t: t.update({"layers.0.attention.0.value": 1e308 * np.eye(2)}))
    (found,) = findings(tmp_path, None).values()
    assert (found.verdict, found.slack) == ("undecided", None)
    assert verify.main([str(tmp_path), "--json", str(tmp_path / "r.json")]) == 1
    assert verify._entry(found)["found"] is None


def test_large_evaluations_are_sampled_unless_balls_are_asked_for(tmp_path, monkeypatch, capsys):
    foreign(tmp_path)
    monkeypatch.setattr(verify, "MOST_OPERATIONS", 83)  # 2 layers x (3 x 12 + 9 x 3) = 126
    assert verify.main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "1 holds (sampled)\nnot sealed: without checksums (format 1)" in out
    assert out.splitlines()[-1].startswith("more than 8e+01 multiplications: in float64 alone")
    assert verify.main([str(tmp_path), "--precision", "64"]) == 0
    assert "certified, 64" in capsys.readouterr().out
    monkeypatch.setattr(verify, "MOST_OPERATIONS", 84)
    assert verify.main([str(tmp_path)]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent"], "there is no directory 'absent'"),
        (["DIR", "--precision", "15"], "--precision is 15; it must lie between 16 and 65536 bits"),
        (["DIR", "--json", "DIR"], "it is a directory"),
        (["DIR", "--bits", "3"], "there is no option '--bits'"),
        ([], "the following arguments are required: DIR"),
    ],
    ids=" ".join,
)
def test_bad_input(arguments, message, tmp_path, capsys):
    foreign(tmp_path)
    assert verify.main([a.replace("DIR", str(tmp_path)) for a in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err


@pytest.mark.parametrize("name", ["transformer.safetensors", "claims.json", "input.npy", "output.npy", "pooling.npy"])
def test_a_file_that_lacks(name, exports, capsys):
    (exports / "em" / name).unlink()
    assert verify.main([str(exports / "em")]) == 2
    assert f"there is no file '{exports / 'em' / name}'" in capsys.readouterr().err


def test_a_tensor_that_lacks(exports, capsys):
    change_tensors(exports / "em", lambda tensors: tensors.pop("layers.1.attention.1.key"))
    assert verify.main([str(exports / "em")]) == 2
    assert "layers.1.attention.1.key" in capsys.readouterr().err
