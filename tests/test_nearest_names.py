"""A mistyped name is answered with the nearest one, by every command."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
from conftest import in_process
from rows import ROWS

from theory_checks.run_file import Run, encoded

MISTYPED = [
    ("constructions.em_command", "--layers 2 --data iriss", "'iriss', did you mean 'iris'?"),
    ("constructions.em_command", "--layers 2 --data Wine", "'Wine', did you mean 'wine'?"),
    ("constructions.em_command", "--layers 2 --dta iris", "'--dta', did you mean '--data'?"),
    ("constructions.em_command", "--layers 2 --construction flor", "'flor', did you mean 'floor'?"),
    ("constructions.em_command", "--layers 2 --init kmeans+", "file, did you mean 'kmeans++'?"),
    ("constructions.spectral_command", "--data syntetic", "'syntetic', did you mean 'synthetic'?"),
    ("constructions.tensor_power_command", "--layers 2 --tensor orthogonl", "lists, did you mean 'orthogonal'?"),
    ("constructions.tensor_power_command", "--layers 2 --start randm", "lists, did you mean 'random'?"),
    ("theory_checks.__main__", "em-step-flor", "statement, did you mean 'em-step-floor'?"),
    ("theory_checks.__main__", "dif a.json b.json", "'dif' names no statement, did you mean 'diff'?"),
    ("theory_checks.__main__", "verfy DIR", "'verfy' names no statement, did you mean 'verify'?"),
    ("theory_checks.__main__", "--from run.json faild", "no row 'faild', did you mean 'failed'?"),
    ("theory_checks.falsify_command", "em-step-flor", "bound, did you mean 'em-step-floor'?"),
    ("theory_checks.sweeps.__main__", "--only calibratoin", "grid, did you mean 'calibration'?"),
    ("tgmm.__main__", "trian", "'trian', did you mean 'train'?"),
    ("tgmm.__main__", "evaluate --only rq1-d22", "grid, did you mean 'rq1-d2'?"),
    ("tgmm.__main__", "table rq1-d22", "'rq1-d22', did you mean 'rq1-d2'?"),
    ("tgmm.__main__", "table rq1-d2 --metric l2_eror", "'l2_eror', did you mean 'l2_error'?"),
    ("tgmm.__main__", "table rq1-d2 --where k=3", "'k=3', did you mean 'K'?"),
    ("tgmm.__main__", "warm_start --out x.json --arms warn", "'warn', did you mean 'warm'?"),
    ("tgmm.__main__", "compare --tasks tasks.safetensors --methods em-nomal", "tasks, did you mean 'em-normal'?"),
    ("figures.__main__", "m_stp", "'m_stp', did you mean 'm_step'?"),
]


@pytest.mark.parametrize(("module", "words", "said"), MISTYPED, ids=lambda value: value)
def test_the_nearest_name(module, words, said, tmp_path: Path, monkeypatch, capfd) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.json").write_bytes(encoded(Run(3, False, {}, ROWS)))
    if "--tasks" in words:
        tasks = in_process(import_module("tgmm.__main__").main, capfd)
        assert tasks("tasks", "--out", "tasks.safetensors", "--count", 2).code == 0
    outcome = in_process(import_module(module).main, capfd)(*words.split())
    assert outcome.out == ""
    outcome.assert_refused(said)
