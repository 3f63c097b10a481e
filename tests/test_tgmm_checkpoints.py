"""Checkpoints: read back exactly, the same bytes each time, damaged and foreign ones refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from tgmm_runs import smoke

from constructions.errors import InputError
from tgmm import checkpoints
from tgmm import config as configs
from tgmm.checkpoints import KEY
from tgmm.training import MODEL, TRAINING, Run, begin


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Two steps into a run, saved."""
    current = begin(configs.load(smoke(tmp_path)), tmp_path)
    current.advance()
    current.advance()
    current.save()
    return current


def test_the_file_is_the_run(run: Run) -> None:
    found = checkpoints.read(run.directory / TRAINING, training=True)
    assert (found.config, found.step, found.seconds) == (run.config, 2, run.seconds)
    for name, parameter in run.model.named_parameters():
        assert torch.equal(found.tensors["model." + name], parameter)
        for moment in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(found.tensors[f"{moment}.{name}"], run.optimiser.state[parameter][moment])
            assert found.tensors[f"{moment}.{name}"].abs().max() > 0
    model = found.model()
    assert not model.training
    for (name, one), (_, other) in zip(model.named_parameters(), run.model.named_parameters(), strict=True):
        assert torch.equal(one, other), name


def test_restored_state_is_the_captured_one(run: Run) -> None:
    again = begin(run.config, run.directory)
    assert (again.step, again.seconds) == (2, run.seconds)
    assert run.advance() == again.advance()
    for one, other in zip(run.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_saving_twice_gives_the_same_bytes(run: Run) -> None:
    before = {name: (run.directory / name).read_bytes() for name in (TRAINING, MODEL)}
    run.save()
    assert {name: (run.directory / name).read_bytes() for name in (TRAINING, MODEL)} == before


def test_the_model_alone_does_not_resume(run: Run) -> None:
    with pytest.raises(InputError, match=r"lacks the tensor 'exp_avg\.embedding'"):
        checkpoints.read(run.directory / MODEL, training=True)


def changed(run: Run, entry: object = None, **tensors: torch.Tensor | None) -> Path:
    """The model's file with other metadata, other tensors, or without some."""
    found = checkpoints.read(run.directory / MODEL)
    kept = {name: t for name, t in (found.tensors | tensors).items() if t is not None}
    with safetensors.safe_open(run.directory / MODEL, "pt") as file:
        said = file.metadata()[KEY] if entry is None else entry if isinstance(entry, str) else json.dumps(entry)
    path = run.directory / "changed.safetensors"
    safetensors.torch.save_file(kept, path, {KEY: said})
    return path


def test_changed_files_are_refused(run: Run) -> None:
    assert checkpoints.read(changed(run)).step == 2
    name = "model.read_in.bias"
    for told, path in (
        (r"lacks the tensor 'model\.read_in\.bias'", lambda: changed(run, **{name: None})),
        (
            r"'model\.read_in\.bias' has shape \(13,\); \(14,\) is needed",
            lambda: changed(run, **{name: torch.zeros(13)}),
        ),
        ("holds numbers that are not finite", lambda: changed(run, **{name: torch.full((14,), torch.nan)})),
        ("it does not say 'tgmm checkpoint 1'", lambda: changed(run, {"format": "tgmm checkpoint 2"})),
        ("it does not say 'tgmm checkpoint 1'", lambda: changed(run, "{")),
        ("it does not say 'tgmm checkpoint 1'", lambda: changed(run, [])),
        ("does not describe its model: 'config'", lambda: changed(run, {"format": "tgmm checkpoint 1"})),
        (
            r"does not describe its model: unknown table \[modell\]",
            lambda: changed(run, {"format": "tgmm checkpoint 1", "step": 1, "seconds": 1, "config": {"modell": {}}}),
        ),
    ):
        with pytest.raises(InputError, match=told) as refused:
            checkpoints.read(path())
        assert "changed.safetensors" in str(refused.value)


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_cut_files_are_refused(run: Run, kept: int) -> None:
    path = run.directory / "cut.safetensors"
    path.write_bytes((run.directory / MODEL).read_bytes()[:kept])
    with pytest.raises(InputError, match=r"cut\.safetensors' is damaged or no checkpoint") as refused:
        checkpoints.read(path)
    assert "\n" not in str(refused.value)


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        checkpoints.read(tmp_path / "absent.safetensors")
