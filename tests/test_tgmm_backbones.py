"""GPT-2 and Mamba2: against their formulas, under padding and permutations, their sizes, and when they are refused."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest
import torch
from conftest import Command, in_process
from tgmm_runs import smoke
from torch import Tensor
from torch.nn.functional import silu, softplus

import tgmm
from constructions.errors import InputError
from tgmm import checkpoints
from tgmm import config as configs
from tgmm.__main__ import main
from tgmm.backbones.hugging_face import CHUNK, Gpt2, Mamba2
from tgmm.model import Tgmm, extra, parameters
from tgmm.training import TRAINING, begin
from theory_checks import appendix_d

BACKBONES = {
    "encoder": {},
    "gpt2": {"positions": CHUNK + 7},
    "mamba2": {"expand": 3, "state": 5, "groups": 2},
}
SHIPPED = Path(tgmm.__file__).parent / "configs"


def content(backbone: str) -> dict[str, dict[str, object]]:
    return {
        "tasks": {"dim": 3, "components": [2, 5], "samples": [2, CHUNK + 3]},
        "model": {"backbone": backbone, "layers": 2, "heads": 2, "width": 22, "embedding": 7, **BACKBONES[backbone]},
    }


def model(backbone: str, seed: int = 7) -> Tgmm:
    torch.manual_seed(seed)
    built = configs.build(configs.parse(content(backbone))).double()
    with torch.no_grad():  # from their start some numbers are 0, 1, or so small that little depends on them
        for parameter in built.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return built


def batch(count: int = 5) -> tuple[Tensor, Tensor, list[int]]:
    """Tasks of different n, the largest longer than a chunk, and their K."""
    torch.manual_seed(11)
    mask = torch.arange(CHUNK + 3) < torch.tensor([[CHUNK + 3], [CHUNK + 1], [CHUNK], [17], [2]])[:count]
    return torch.randn(*mask.shape, 3, dtype=torch.float64), mask, [2, 5, 5, 2, 5][:count]


def small(folder: Path, backbone: str, **replaced: object) -> Path:
    return smoke(folder, layers=f'1\nbackbone = "{backbone}"', **replaced)


def layer_norm(h: Tensor, norm: dict[str, Tensor]) -> Tensor:
    centred = h - h.mean(dim=-1, keepdim=True)
    return norm["weight"] * centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt() + norm["bias"]


def rms_norm(h: Tensor, weight: Tensor) -> Tensor:
    return weight * h / (h.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()


def named(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().double() for name, parameter in module.named_parameters()}


def test_gpt2_against_its_formula() -> None:
    """h + p; then h ← h + A(norm h), h ← h + M(norm h) in each layer; a norm at the end. A head looks back only."""
    backbone = model("gpt2").backbone
    h, mask, tokens, width = torch.randn(1, 13, 22, dtype=torch.float64), torch.ones(1, 13).bool(), 13, 22
    with torch.no_grad():
        states = backbone.trace(h, mask)
        assert torch.equal(backbone(h, mask), states[-1])
    x = h[0] + backbone.model.wpe.weight[:tokens].detach()
    expected = [x]
    for block in backbone.model.h:
        p = named(block)
        normed = layer_norm(x, named(block.ln_1)) @ p["attn.c_attn.weight"] + p["attn.c_attn.bias"]
        query, key, value = normed.split(width, dim=1)
        heads = []
        for part in (slice(0, 11), slice(11, 22)):
            scores = (query[:, part] @ key[:, part].mT / 11**0.5).exp().tril()
            heads.append(scores / scores.sum(dim=1, keepdim=True) @ value[:, part])
        x = x + torch.cat(heads, dim=1) @ p["attn.c_proj.weight"] + p["attn.c_proj.bias"]
        up = layer_norm(x, named(block.ln_2)) @ p["mlp.c_fc.weight"] + p["mlp.c_fc.bias"]
        gelu = 0.5 * up * (1 + ((2 / torch.pi) ** 0.5 * (up + 0.044715 * up**3)).tanh())
        x = x + gelu @ p["mlp.c_proj.weight"] + p["mlp.c_proj.bias"]
        expected.append(x)
    expected[-1] = layer_norm(x, named(backbone.model.ln_f))
    for state, reference in zip(states, expected, strict=True):
        torch.testing.assert_close(state[0], reference, rtol=1e-10, atol=1e-12)


def test_mamba2_against_its_recurrence() -> None:
    """S_t = exp(a δ_t) S_{t−1} + δ_t x_t b_tᵀ, y_t = S_t c_t + D x_t: sample by sample, over the border of a chunk.

    The model computes in float32: each of some 200 roundings on the way to a state is at most 2⁻²⁴ of the largest.
    """
    backbone, tokens, heads, inner, state = model("mamba2").backbone, CHUNK + 3, 2, 66, 5
    h, mask = torch.randn(1, tokens, 22, dtype=torch.float64), torch.ones(1, tokens).bool()
    with torch.no_grad():
        states = backbone.trace(h, mask)
        assert torch.equal(backbone(h, mask), states[-1])
    x = h[0]
    expected = [x]
    for block in backbone.model.layers:
        p = named(block)
        gate, convolved, step = (rms_norm(x, p["norm.weight"]) @ p["mixer.in_proj.weight"].mT).split([66, 86, 2], dim=1)
        before = torch.cat([torch.zeros(3, 86, dtype=torch.float64), convolved])
        kernel = p["mixer.conv1d.weight"][:, 0]
        convolved = silu(sum(before[lag : lag + tokens] * kernel[:, lag] for lag in range(4)) + p["mixer.conv1d.bias"])
        inputs, to_state, from_state = convolved.split([inner, 2 * state, 2 * state], dim=1)
        delta, rate = softplus(step + p["mixer.dt_bias"]), -p["mixer.A_log"].exp()
        out = torch.zeros(tokens, heads, inner // heads, dtype=torch.float64)
        for head in range(heads):  # as many groups as heads
            memory = torch.zeros(inner // heads, state, dtype=torch.float64)
            group = slice(head * state, (head + 1) * state)
            for t in range(tokens):
                entry = inputs[t].view(heads, -1)[head]
                memory = (rate[head] * delta[t, head]).exp() * memory + delta[t, head] * entry.outer(to_state[t, group])
                out[t, head] = memory @ from_state[t, group] + p["mixer.D"][head] * entry
        gated = (out.flatten(1) * silu(gate)).view(tokens, 2, -1)  # each group has its own norm
        normed = rms_norm(gated, torch.tensor(1.0, dtype=torch.float64)).flatten(1) * p["mixer.norm.weight"]
        x = x + normed @ p["mixer.out_proj.weight"].mT
        expected.append(x)
    expected[-1] = rms_norm(x, named(backbone.model)["norm_f.weight"])
    for found, reference in zip(states, expected, strict=True):
        scale = reference.abs().max().item()
        torch.testing.assert_close(found[0].double(), reference, rtol=0, atol=200 * 2.0**-24 * scale)


@pytest.mark.parametrize(("backbone", "tolerance"), [("encoder", 1e-10), ("gpt2", 1e-10), ("mamba2", 200 * 2.0**-24)])
def test_estimates_do_not_depend_on_padding_nor_on_the_other_tasks(backbone: str, tolerance: float) -> None:
    """Float64, but Mamba2, which computes in float32."""
    network, (samples, mask, components) = model(backbone), batch()
    with torch.no_grad():
        read = network(samples.masked_fill(~mask[..., None], 1e3), mask, components)
        for chosen, found in read:
            for position, task in enumerate(chosen):
                own = samples[task : task + 1, mask[task]]
                ((_, alone),) = network(own, torch.ones(own.shape[:2]).bool(), components[task : task + 1])
                scale = alone.means.abs().max().item()
                assert (found.means[position] - alone.means[0]).abs().max().item() <= tolerance * scale
                assert (found.log_weights[position] - alone.log_weights[0]).abs().max().item() <= 10 * tolerance


@pytest.mark.parametrize(("backbone", "equivariant"), [("encoder", True), ("gpt2", False), ("mamba2", False)])
def test_the_order_of_the_samples_matters_to_the_causal_backbones(backbone: str, equivariant: bool) -> None:
    """Two of 67 samples change places: a causal backbone's estimate changes, by more than any rounding."""
    network, (samples, mask, components) = model(backbone), batch(1)
    order = torch.arange(CHUNK + 3)
    order[[3, 59]] = order[[59, 3]]
    with torch.no_grad():
        ((_, one),), ((_, other),) = network(samples, mask, components), network(samples[:, order], mask, components)
    moved = ((one.means - other.means).abs().max() / one.means.abs().max()).item()
    assert moved < 1e-10 if equivariant else moved > 1e-4


def test_sizes() -> None:
    """GPT-2 has, beyond appendix D's count, a final norm and positions; Mamba2 what its docstring says."""
    assert parameters(Gpt2(3, 2, 22, 13)) == appendix_d.backbone_count(3, 22) + 2 * 22 + 13 * 22
    inner, both = 5 * 22, 2 * 7
    layer = 22 * (2 * inner + 2 * both + 2) + 5 * (inner + 2 * both) + 3 * 2 + inner + 22 * inner + 22
    assert parameters(Mamba2(3, 2, 22, 5, 7, 2)) == 3 * layer + 22
    for backbone in (Gpt2(1, 2, 22, 13), Mamba2(1, 2, 22, 5, 7, 2)):
        held = backbone.state_dict()
        assert sum(tensor.numel() for tensor in held.values()) == parameters(backbone)
        assert not any("wte" in name or "embeddings" in name for name in held)


def test_the_paper_s_sizes() -> None:
    """12 layers of width 128: Mamba2 is larger than GPT-2 by less than a thousandth. Both files say how large."""
    counted = {}
    for name in ("paper-gpt2", "paper-mamba2"):
        config = configs.load(SHIPPED / f"{name}.toml")
        assert (config.model.layers, config.model.width) == (12, 128)
        assert (config.training.batch, config.training.learning_rate, config.training.weight_decay) == (64, 1e-4, 1e-4)
        with torch.device("meta"):
            built = configs.build(config)
        counted[name] = parameters(built) - extra(built)
        for size in counted.values():
            assert f"{size:,}".replace(",", " ") in (SHIPPED / f"{name}.toml").read_text()
    assert counted["paper-gpt2"] == appendix_d.backbone_count(12, 128) + 2 * 128 + 1024 * 128
    assert 1 < counted["paper-mamba2"] / counted["paper-gpt2"] < 1.001


@pytest.mark.parametrize("backbone", ["gpt2", "mamba2"])
def test_a_run_goes_on_and_its_model_is_read(backbone: str, tmp_path: Path) -> None:
    """Weights come from the config's seed; a resumed run has the numbers of an uninterrupted one."""
    config = configs.load(small(tmp_path, backbone))
    run, twin = (begin(config, tmp_path) for _ in range(2))
    other = begin(configs.load(small(tmp_path, backbone, seed=1)), tmp_path)
    for one, its in zip(run.model.backbone.parameters(), other.model.backbone.parameters(), strict=True):
        assert one.ndim == 1 or not torch.equal(one, its)
    for _ in range(2):
        run.advance()
        twin.advance()
    run.save()
    resumed = begin(config, tmp_path)
    assert resumed.advance() == twin.advance()
    loaded = checkpoints.read(tmp_path / TRAINING).model()
    samples, mask = torch.randn(5, 11, 2), torch.ones(5, 11).bool()
    with torch.no_grad():
        ((_, one),), ((_, read),) = run.model(samples, mask, [3] * 5), loaded(samples, mask, [3] * 5)
    assert torch.equal(one.means, read.means)


def test_mamba2_does_not_tell_of_kernels_but_other_messages_pass(caplog: pytest.LogCaptureFixture) -> None:
    network, (samples, mask, components) = model("mamba2"), batch()
    source = logging.getLogger("transformers.integrations.hub_kernels")
    logging.Logger.warning_once.cache_clear()  # it tells everything once
    library = logging.getLogger("transformers")
    library.addHandler(caplog.handler)
    try:
        network(samples, mask, components)
        source.warning("something else")
    finally:
        library.removeHandler(caplog.handler)
    assert {record.getMessage() for record in caplog.records} == {"something else"}


def test_more_samples_than_positions_are_refused() -> None:
    network = model("gpt2")
    for samples in (71, 72):
        inputs = torch.randn(1, samples, 3, dtype=torch.float64), torch.ones(1, samples).bool()
        if samples == 71:
            network(*inputs, [2])
            continue
        with pytest.raises(InputError, match="there are 72 samples; this gpt2 has positions for 71"):
            network(*inputs, [2])
        with pytest.raises(InputError, match="there are 72 samples"):
            network.backbone.trace(network.embed(inputs[0], [0]), inputs[1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("backbone = 'gpt2'\nlayers = 0", "layers is 0; it must lie between 1 and 1000"),
        ("backbone = 'mamba2'\nlayers = 0", "layers is 0; it must lie between 1 and 1000"),
        ("backbone = 'gpt2'\npositions = 0", "positions is 0; it must lie between 1 and"),
        ("backbone = 'gpt2'\npositions = 127", "positions is 127; it must be at least n, 128"),
        ("backbone = 'mamba2'\nheads = 4\ngroups = 3\nwidth = 12", "heads is 4; it must be a multiple of groups, 3"),
        ("backbone = 'mamba2'\nexpand = 0", "expand is 0; it must lie between 1 and 1000"),
        ("backbone = 'mamba2'\nstate = 0", "state is 0; it must lie between 1 and 65536"),
        ("backbone = 'mamba2'\ngroups = 0", "groups is 0; it must lie between 1 and 1000"),
        ("positions = 128", "positions is 128; it is for 'gpt2' only, and backbone is 'encoder'"),
        ("backbone = 'mamba2'\npositions = 128", "positions is 128; it is for 'gpt2' only, and backbone is 'mamba2'"),
        ("backbone = 'gpt2'\nexpand = 2", "expand is 2; it is for 'mamba2' only, and backbone is 'gpt2'"),
        ("state = 8", "state is 8; it is for 'mamba2' only, and backbone is 'encoder'"),
        ("backbone = 'gpt2'\ngroups = 1", "groups is 1; it is for 'mamba2' only"),
    ],
    ids=str,
)
def test_bad_configs_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(f"[model]\n{text}")
    with pytest.raises(InputError, match=message):
        configs.load(path)


def test_sizes_of_another_backbone_may_be_written_at_their_defaults(tmp_path: Path) -> None:
    """As every config that a run leaves has them, and as configs from before they were there have not."""
    config = configs.parse({"model": {"backbone": "gpt2", "positions": 131}})
    assert configs.parse(config.as_dict()) == config
    assert configs.parse({}).model.positions == 1024
    long = configs.parse({"tasks": {"samples": [64, 131]}, "model": {"backbone": "gpt2", "positions": 131}})
    assert long.model.positions == 131
    assert configs.parse({"tasks": {"samples": [64, 2048]}}).model.backbone == "encoder"


@pytest.mark.parametrize("backbone", ["gpt2", "mamba2"])
def test_without_transformers(
    backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One sentence; the encoder does not need it."""
    monkeypatch.setitem(sys.modules, "transformers", None)
    command: Command = in_process(main, capfd)
    path = small(tmp_path, backbone)
    command("train", "--config", path, "--out", tmp_path / "run").assert_refused(
        f"the backbone '{backbone}' needs transformers, which is not installed; pip install -e '.[hf]' -c constraints"
    )
    assert command("train", "--config", smoke(tmp_path, steps=6), "--out", tmp_path / "run").code == 0
