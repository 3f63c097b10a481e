"""What has changed between two runs."""

from dataclasses import fields, replace

import pytest
from rows import FAILED, HELD, REFUTED, ROWS, SAMPLED, SILENT

from theory_checks.__main__ import main
from theory_checks.difference import COMPARED, Change, difference, markdown, text
from theory_checks.ledger import Row
from theory_checks.run_file import Run, encoded

BEFORE = Run(0, False, {"numpy": "2.0"}, [HELD, REFUTED, SAMPLED])


def test_equal_runs() -> None:
    found = difference(BEFORE, BEFORE)
    assert not found
    assert text(found) == "0 rows added, 0 gone, 0 changed, 3 unchanged"
    assert markdown(found) == "0 rows added, 0 gone, 0 changed, 3 unchanged\n"


CHANGES = {
    "id": None,  # another row
    "statement": ("statement", "π̂_k ≥ 0.", "x"),
    "source": ("source", "Lemma | 1", "x"),
    "paper": ("paper", "Lemma F.4, Remark 2", "-", []),
    "note": ("note", "lemma_f4", "x"),
    "figure": ("figure", "lemma_f4", "-", ""),
    "text": ("text", "ours", "recovered"),
    "evidence": ("evidence", "certified", "exact"),
    "coverage": ("coverage", "interval", "-", None),
    "status": ("status", "holds", "open"),
    "counts": ("vacuous", "3", "5", {**HELD.counts, "vacuous": 5}),
    "slacks": (),  # what becomes of every single instance is not compared
    "least_slack": ("slack", "0.5", "0.47", 0.47),
    "tightest": (),
    "bounded": ("bounded", "3", "7", 7),
    "tight": ("tight", "1", "2", 2),
    "bits": ("bits", "128", "-", None),
    "kept_slack": ("kept", "0.62", "0.5", 0.5),
    "counterexample": ("counterexample", "-", "x"),
    "depends_on": ("rests on", "-", "p1", ["p1"]),
    "negative_controls": (
        "controls rejected",
        "1 % below (yes); twice (yes)",
        "twice (NO)",
        [{"broken": "twice", "rejected": False}],
    ),
    "repairs": ("repairs accepted", "none", "x (yes)", [{"mended": "x", "accepted": True}]),
    "reason": ("reason", "-", "x"),
    "seconds": (),
}


@pytest.mark.parametrize("field", [field.name for field in fields(Row)])
def test_every_field_of_a_row(field: str) -> None:
    wanted = CHANGES[field]
    if wanted is None:
        return
    value = wanted[-1] if wanted else {"slacks": [0.25], "tightest": "y", "seconds": 7.0}[field]
    found = difference(BEFORE, replace(BEFORE, rows=[replace(HELD, **{field: value}), REFUTED, SAMPLED]))
    assert found.changed == ({"held": [Change(*wanted[:3])]} if wanted else {})
    assert bool(found) == bool(wanted)
    assert found.equal == 3 - bool(wanted)


def test_a_slack_moves_when_what_is_shown_does() -> None:
    moved = replace(BEFORE, rows=[replace(HELD, least_slack=0.5 + 1e-9), REFUTED, SAMPLED])
    assert not difference(BEFORE, moved)


def test_rows_added_and_gone() -> None:
    found = difference(BEFORE, Run(7, True, {"numpy": "2.1"}, [replace(HELD, bits=256), SAMPLED, FAILED, SILENT]))
    assert text(found).splitlines() == [
        "seed: 0 -> 7",
        "certified only: no -> yes",
        "numpy: 2.0 -> 2.1",
        "gone     refuted: refuted, certified",
        "added    failed: failed, certified",
        "added    silent: no claim, none",
        "changed  held",
        "         bits: 128 -> 256",
        "2 rows added, 1 gone, 1 changed, 1 unchanged",
    ]
    assert markdown(found).splitlines() == [
        "| statement | what | before | after |",
        "| --- | --- | --- | --- |",
        "|  | seed | 0 | 7 |",
        "|  | certified only | no | yes |",
        "|  | numpy | 2.0 | 2.1 |",
        "| refuted | gone | refuted, certified | - |",
        "| failed | added | - | failed, certified |",
        "| silent | added | - | no claim, none |",
        "| held | bits | 128 | 256 |",
        "",
        "2 rows added, 1 gone, 1 changed, 1 unchanged",
    ]


def test_settings_alone_are_no_difference() -> None:
    found = difference(BEFORE, replace(BEFORE, seed=3))
    assert not found
    assert text(found).splitlines()[0] == "seed: 0 -> 3"


def test_command(tmp_path, capsys) -> None:
    before, after, out = (tmp_path / name for name in ("before.json", "after.json", "diff.md"))
    before.write_bytes(encoded(BEFORE))
    after.write_bytes(encoded(replace(BEFORE, rows=ROWS)))
    assert main(["diff", str(before), str(before)]) == 0
    assert capsys.readouterr().out == "0 rows added, 0 gone, 0 changed, 3 unchanged\n"
    assert main(["diff", str(before), str(after), "--markdown", str(out)]) == 1
    assert capsys.readouterr().out.endswith("2 rows added, 0 gone, 0 changed, 3 unchanged\n")
    assert "| silent | added | - | no claim, none |" in out.read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{run}"], "AFTER.json"),
        (["{run}", "none.json"], "'none.json' cannot be read"),
        (["{run}", "{run}", "--markdown", "missing/x.md"], "there is no directory"),
        (["{run}", "{run}", "--wrong"], "--wrong"),
    ],
)
def test_bad_input(arguments: list[str], said: str, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.json").write_bytes(encoded(BEFORE))
    assert main(["diff", *(argument.format(run="run.json") for argument in arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]


def test_what_is_compared_is_shown_in_words() -> None:
    assert all(isinstance(of(row), str) for of in COMPARED.values() for row in ROWS)
