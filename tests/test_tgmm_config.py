"""Configs: every default visible, what is unknown or out of range refused in one sentence."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from tgmm_runs import smoke

import tgmm
from constructions.errors import InputError
from tgmm import config as configs
from tgmm.backbones import Encoder
from tgmm.config import Config, ModelConfig, TrainingConfig
from tgmm.tasks import TaskDistribution

SHIPPED = sorted((Path(tgmm.__file__).parent / "configs").glob("*.toml"))


def test_the_written_config_is_the_config(tmp_path: Path) -> None:
    config = configs.load(smoke(tmp_path, matching='"sorted"'))
    assert config.training.matching == "sorted"
    assert configs.parse(tomllib.loads(config.toml())) == config
    assert configs.parse(config.as_dict()) == config


def test_every_value_is_written() -> None:
    content = tomllib.loads(Config().toml())
    kinds = {"tasks": TaskDistribution, "model": ModelConfig, "training": TrainingConfig}
    assert {name: list(table) for name, table in content.items()} == {
        name: [each.name for each in fields(kind)] for name, kind in kinds.items()
    }


def test_defaults_are_those_of_the_paper() -> None:
    """Section 3.1 as far as its text says, and this project's own for the rest."""
    config = configs.parse({})
    assert config.tasks.components == (2, 3, 4, 5)
    assert config.tasks.samples == (64, 128)
    assert (config.training.batch, config.training.weight_decay) == (64, 1e-4)


@pytest.mark.parametrize("path", SHIPPED, ids=[path.stem for path in SHIPPED])
def test_shipped_configs_are_valid(path: Path) -> None:
    assert configs.load(path).training.steps > 0


def test_the_read_out_begins_at_the_means_range() -> None:
    largest = []
    for reach in (1.0, 7.0):
        torch.manual_seed(3)
        model = configs.build(Config(TaskDistribution(mean_range=reach)))
        largest.append(max(float(each.value.weight.detach().abs().max()) for each in model.read_outs))
    assert largest[1] == pytest.approx(7 * largest[0], rel=1e-6, abs=0)


def test_the_model_is_the_config_s() -> None:
    config = configs.parse(
        {
            "tasks": {"dim": 3, "components": [2, 7], "anisotropic": True},
            "model": {"layers": 5, "heads": 2, "width": 22, "embedding": 13, "inner": 11},
        }
    )
    model = configs.build(config)
    assert isinstance(model.backbone, Encoder)
    assert len(model.backbone.layers) == 5
    assert {layer.heads for layer in model.backbone.layers} == {2}
    assert model.read_in.weight.shape == (22, 3 + 13)
    assert [tuple(read_out.query.shape) for read_out in model.read_outs] == [(11, 2), (11, 7)]
    assert [tuple(read_out.value.weight.shape) for read_out in model.read_outs] == [(2 + 2 * 3, 22), (7 + 2 * 3, 22)]
    assert configs.build(configs.parse({"tasks": {"dim": 3}})).read_outs[1].query.shape == (3 + 3, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tasks\n", "is not valid TOML"),
        ("dim = 2", r"unknown table \[dim\]; there may be \[tasks\], \[model\], \[training\]"),
        ("tasks = 2", "tasks is 2; it must be a table"),
        ("[task]\ndim = 2", r"unknown table \[task\]"),
        ("[tasks]\ndimension = 2", r"\[tasks\] has the unknown key 'dimension'; there are dim, components"),
        ("[model]\ndepth = 2", r"\[model\] has the unknown key 'depth'; there are backbone, layers"),
        ("[training]\nlr = 2", r"\[training\] has the unknown key 'lr'; there are steps, batch"),
        ("[tasks]\ndim = 2.5", r"\[tasks\] dim is 2.5; it must be an integer"),
        ("[tasks]\ndim = true", "dim is True; it must be an integer"),
        ("[tasks]\nanisotropic = 1", "anisotropic is 1; it must be true or false"),
        ("[tasks]\nperturbation = 'a'", "perturbation is 'a'; it must be a number"),
        ("[tasks]\ncomponents = 3", "components is 3; it must be a list"),
        ("[tasks]\ncomponents = [3, '4']", "components is '4'; it must be an integer"),
        ("[tasks]\nsamples = [3]", r"samples is \[3\]; it must have 2 entries"),
        ("[tasks]\nsamples = [7, 3]", r"samples is \(7, 3\); it must be 1 <= least <= most"),
        ("[tasks]\ndim = 0", r"\[tasks\] dim is 0; it must be between 1 and 4096"),
        ("[model]\nbackbone = 'lstm'", "backbone is 'lstm'; it must be one of 'encoder'"),
        ("[model]\nwidth = 10\nheads = 3", "width is 10; it must be a multiple of heads, 3"),
        ("[model]\nlayers = -1", "layers is -1; it must lie between 0 and 1000"),
        ("[training]\nmatching = 'best'", "matching is 'best'; it must be one of 'assignment', 'sorted'"),
        ("[training]\nsteps = 10\nwarmup = 11", "warmup is 11; it must lie between 0 and 10"),
        ("[training]\nlearning_rate = 0", "learning_rate is 0.0; it must be positive"),
        ("[training]\nlearning_rate = nan", "learning_rate is nan; it must lie between 0 and 1"),
        ("[training]\nclip = 0", "clip is 0.0; it must be positive"),
        ("[training]\nbatch = 0", "batch is 0; it must lie between 1 and"),
        ("[training]\nlog = 4\ncheckpoint = 6", "checkpoint is 6; it must be a multiple of log, 4"),
    ],
    ids=str,
)
def test_bad_configs_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as refused:
        configs.load(path)
    assert "bad.toml" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(b"a = \xff")
    with pytest.raises(InputError, match="is not text in UTF-8: byte 4"):
        configs.load(tmp_path / "c.toml")
    with pytest.raises(InputError, match="cannot be read: No such file"):
        configs.load(tmp_path / "absent.toml")
