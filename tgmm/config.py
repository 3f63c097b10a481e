"""What defines a training run: tasks, model and training, declared in TOML, every default visible here."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from torch import nn

from constructions.errors import InputError, meant
from tgmm.backbones import Encoder, hugging_face
from tgmm.model import Tgmm
from tgmm.tasks import LARGEST_SAMPLES, TaskDistribution

Matching = Literal["assignment", "sorted"]
"""How estimated components meet the true ones: by the matching of least loss, or in the order of their weights."""
OWNERS = {"positions": "gpt2", "expand": "mamba2", "state": "mamba2", "groups": "mamba2"}
"""The sizes that one backbone alone has."""


@dataclass(frozen=True)
class ModelConfig:
    """Sizes. `inner`, the dimension of the read-outs' keys: 0 stands for K + d, as appendix D is read.

    `positions`, the largest n, is of "gpt2" alone; `expand`, `state` and `groups` are of "mamba2" (see its class).
    """

    backbone: Literal["encoder", "gpt2", "mamba2"] = "encoder"
    layers: int = 4
    heads: int = 4
    width: int = 64
    embedding: int = 128
    inner: int = 0
    positions: int = 1024
    expand: int = 4
    state: int = 16
    groups: int = 2

    def __post_init__(self) -> None:
        for name, least, most in (
            ("layers", 0 if self.backbone == "encoder" else 1, 1000),
            ("heads", 1, 1000),
            ("width", 1, 2**16),
            ("embedding", 0, 2**16),
            ("inner", 0, 2**16),
            ("positions", 1, LARGEST_SAMPLES),
            ("expand", 1, 1000),
            ("state", 1, 2**16),
            ("groups", 1, 1000),
        ):
            _require_between(name, getattr(self, name), least, most)
        if self.width % self.heads:
            raise InputError(f"width is {self.width}; it must be a multiple of heads, {self.heads}")
        if self.backbone == "mamba2" and self.heads % self.groups:
            raise InputError(f"heads is {self.heads}; it must be a multiple of groups, {self.groups}")
        for each in fields(self):
            owner, value = OWNERS.get(each.name, self.backbone), getattr(self, each.name)
            if owner != self.backbone and value != each.default:
                raise InputError(f"{each.name} is {value}; it is for {owner!r} only, and backbone is {self.backbone!r}")


@dataclass(frozen=True)
class TrainingConfig:
    """Algorithm 2: AdamW on batches of fresh tasks; the learning rate rises linearly, then falls as a cosine to 0.

    `clip` is the largest norm of a gradient. Every `log` steps a line of metrics is written; every `checkpoint` steps,
    a multiple of that, a checkpoint, with the errors on `validation` tasks for every K.
    """

    steps: int = 2000
    batch: int = 64
    matching: Matching = "assignment"
    learning_rate: float = 2e-3
    warmup: int = 100
    weight_decay: float = 1e-4
    clip: float = 1.0
    seed: int = 0
    threads: int = 1
    log: int = 50
    checkpoint: int = 500
    validation: int = 256

    def __post_init__(self) -> None:
        for name, least, most in (
            ("steps", 1, 10**9),
            ("batch", 1, 2**20),
            ("learning_rate", 0, 1),
            ("warmup", 0, self.steps),
            ("weight_decay", 0, 1),
            ("clip", 0, 1e9),
            ("seed", 0, 2**63 - 1),
            ("threads", 1, 1024),
            ("log", 1, 10**9),
            ("checkpoint", 1, 10**9),
            ("validation", 0, 2**20),
        ):
            _require_between(name, getattr(self, name), least, most)
        for name in ("learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}; it must be positive")
        if self.checkpoint % self.log:
            raise InputError(f"checkpoint is {self.checkpoint}; it must be a multiple of log, {self.log}")


@dataclass(frozen=True)
class Config:
    """A training run: what its tasks are drawn from, its model, its training."""

    tasks: TaskDistribution = field(default_factory=TaskDistribution)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        if self.model.backbone == "gpt2" and self.tasks.samples[1] > self.model.positions:
            raise InputError(f"positions is {self.model.positions}; it must be at least n, {self.tasks.samples[1]}")

    def as_dict(self) -> dict[str, Any]:
        """All values, as JSON and TOML hold them."""
        return {
            name: {key: list(value) if isinstance(value, tuple) else value for key, value in section.items()}
            for name, section in asdict(self).items()
        }

    def toml(self) -> str:
        """The config with every default written out."""
        blocks = []
        for name, section in self.as_dict().items():
            blocks.append("\n".join([f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in section.items())]))
        return "\n\n".join(blocks) + "\n"


def load(path: Path) -> Config:
    """The config in a TOML file; an InputError names what is wrong with it."""
    try:
        return parse(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"the config {str(path)!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the config {str(path)!r} is not text in UTF-8: byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"the config {str(path)!r} is not valid TOML: {error}") from error
    except InputError as error:
        raise InputError(f"the config {str(path)!r}: {error}") from error


def parse(content: dict[str, Any]) -> Config:
    """Tables [tasks], [model] and [training], each with the keys of its dataclass; what is absent has its default."""
    sections = {"tasks": TaskDistribution, "model": ModelConfig, "training": TrainingConfig}
    for name, table in content.items():
        if name not in sections:
            raise InputError(f"unknown table [{name}]; there may be {', '.join(f'[{key}]' for key in sections)}")
        if not isinstance(table, dict):
            raise InputError(f"{name} is {table!r}; it must be a table, [{name}]")
    return Config(**{name: _section(name, kind, content.get(name, {})) for name, kind in sections.items()})


def _section(name: str, kind: type, table: dict[str, Any]) -> Any:
    hints = get_type_hints(kind)
    known = [each.name for each in fields(kind)]
    for key in table:
        if key not in known:
            raise InputError(f"[{name}] has the unknown key {key!r}; there are {', '.join(known)}")
    try:
        return kind(**{key: _value(key, value, hints[key]) for key, value in table.items()})
    except InputError as error:
        raise InputError(f"[{name}] {error}") from error


def _value(key: str, value: Any, hint: Any) -> Any:
    """The value as the dataclass holds it; a truth value is no number, an integer is a float."""
    told = f"{key} is {value!r}"
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            near = meant(str(value), get_args(hint))
            raise InputError(f"{told}{near}; it must be one of {', '.join(map(repr, get_args(hint)))}")
        return value
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise InputError(f"{told}; it must be a list")
        inner = get_args(hint)
        if inner[-1] is not Ellipsis and len(value) != len(inner):
            raise InputError(f"{told}; it must have {len(inner)} entries")
        return tuple(_value(key, entry, inner[0]) for entry in value)
    if hint is bool:
        if not isinstance(value, bool):
            raise InputError(f"{told}; it must be true or false")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float if hint is float else int):
        raise InputError(f"{told}; it must be {'a number' if hint is float else 'an integer'}")
    try:
        return hint(value)
    except OverflowError as error:
        raise InputError(f"{told[:40]}…; it must be a number that float64 holds") from error


def build(config: Config) -> Tgmm:
    """The model of a config; its numbers are drawn from torch's generator."""
    tasks, model = config.tasks, config.model
    return Tgmm(
        tasks.dim,
        tasks.components,
        model.embedding,
        model.width,
        _backbone(model),
        inner=model.inner or None,
        scaled=tasks.anisotropic,
        reach=tasks.mean_range,
    )


def _backbone(model: ModelConfig) -> nn.Module:
    sizes = model.layers, model.heads, model.width
    if model.backbone == "gpt2":
        return hugging_face.Gpt2(*sizes, model.positions)
    if model.backbone == "mamba2":
        return hugging_face.Mamba2(*sizes, model.expand, model.state, model.groups)
    return Encoder(*sizes)


def _require_between(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise InputError(f"{name} is {value}; it must lie between {least} and {most}")


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)
