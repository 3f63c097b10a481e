"""Planned layers in floating point against the literal ones, sublayer by sublayer within the derived bound."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from exported import Export
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from constructions import execution_error, executor, weights_file
from constructions.algorithms.sampling import Mixture
from constructions.em_transformer import EmTransformer, build, encode
from constructions.execution_error import sublayer_error
from constructions.execution_plan import Plan, plan
from constructions.executor import run, streams, trace
from constructions.transformer import AttentionHead, AttentionLayer, MlpLayer, Transformer, TransformerLayer
from constructions.weights import Activation
from theory_checks.execution_instances import FAULTS, STYLES, WIDTH, random_instances, random_tokens, sublayers

each_activation = pytest.mark.parametrize("activation", ["relu", "softmax"])


def ratio(part: TransformerLayer, before: Tensor, one: Tensor, other: Tensor) -> float:
    """|one − other| over the bound, at the worst entry; infinite where something is not a number."""
    assert one.dtype == other.dtype == before.dtype
    unit = torch.finfo(before.dtype).eps / 2
    off = (one.double() - other.double()).abs().numpy().reshape(-1, *before.shape[-2:])
    module = part.attention if part.attention is not None else part.mlp
    bounds = np.array([sublayer_error(module, h, unit) for h in before.double().numpy().reshape(off.shape)])
    off, bounds = off[off != 0], bounds[off != 0]
    return float(np.nan_to_num(off / bounds, nan=np.inf).max(initial=0))


def planned(whole: Transformer, tokens: Tensor, made: Plan) -> Iterator[tuple[TransformerLayer, Tensor, Tensor]]:
    """Every layer with the stream before and after it."""
    before = tokens
    for index, stream in zip(whole.schedule, trace(made, tokens), strict=True):
        after = stream.tokens()
        yield whole.stored_layers[index], before, after
        before = after


def worst(transformer: Transformer, tokens: Tensor) -> float:
    """Over the sublayers, each on the executor's own stream, against the literal evaluation."""
    whole = sublayers(transformer)
    steps = planned(whole, tokens, plan(whole, tokens))
    return max(ratio(part, before, part(before), after) for part, before, after in steps)


def worst_apart(transformer: Transformer, tokens: Tensor) -> float:
    """The same, against the executor on one data set after another."""
    whole = sublayers(transformer)
    steps = planned(whole, tokens, plan(whole, tokens))
    return max(
        ratio(part, before, torch.stack([run(Transformer([part], [0]), h) for h in before]), after)
        for part, before, after in steps
    )


def block(monkeypatch: pytest.MonkeyPatch, elements: int, least: int) -> None:
    """Sizes of blocks; the bound counts them."""
    monkeypatch.setattr(executor, "BLOCK_ELEMENTS", elements)
    monkeypatch.setattr(executor, "LEAST_BLOCK", least)
    monkeypatch.setattr(execution_error, "LEAST_BLOCK", least)


def tensors(rng: np.random.Generator, batch: tuple[int, ...], count: int) -> Tensor:
    return torch.from_numpy(random_tokens(rng, batch, count))


def transformers(rng: np.random.Generator, activation: Activation) -> list[Transformer]:
    """One of every style, in three layers."""
    return [instance.transformer for instance in random_instances(rng, activation, len(STYLES))]


def one_layer(rng: np.random.Generator, activation: Activation) -> list[Transformer]:
    """A structured and a dense one."""
    structured, _, dense = transformers(rng, activation)
    return [Transformer(transformer.stored_layers[:1], [0]) for transformer in (structured, dense)]


def long_sides(rng: np.random.Generator, activation: Activation) -> Transformer:
    """Two heads in one group, whose queries and keys differ for all tokens; one row of their scores is a bias."""
    query, key, value = (torch.from_numpy(rng.standard_normal((2, 3, WIDTH)) / 3) for _ in range(3))
    query[:, 0, 3:] = 0  # only constants are left
    output = torch.from_numpy(rng.standard_normal((WIDTH, 3)))
    heads = [AttentionHead(query[m], key[m], value[m], output) for m in range(2)]
    return Transformer([TransformerLayer(AttentionLayer(heads, activation), None)], [0])


def mixture(rng: np.random.Generator, components: int, dim: int = 3) -> Mixture:
    weights = rng.uniform(0.5, 1, size=components)
    return Mixture(weights / weights.sum(), rng.standard_normal((components, dim)))


def em_tokens(em: EmTransformer, rng: np.random.Generator, components: int, count: int) -> Tensor:
    return torch.from_numpy(encode(em, rng.standard_normal((count, 3)), mixture(rng, components)))


@each_activation
def test_layers_are_within_the_bound_of_the_literal_ones(activation, rng):
    for transformer in transformers(rng, activation):
        assert worst(transformer, tensors(rng, (), 31)) <= 1


@each_activation
def test_any_batch(activation, rng):
    for transformer in one_layer(rng, activation):
        assert worst(transformer, tensors(rng, (2, 3), 17)) <= 1


@each_activation
@pytest.mark.parametrize(("elements", "least", "count"), [(1, 1, 3), (61, 2, 13), (499, 7, 31)])
def test_blocks_of_any_size(elements, least, count, activation, rng, monkeypatch):
    block(monkeypatch, elements, least)
    for transformer in (*one_layer(rng, activation), long_sides(rng, activation)):
        assert worst(transformer, tensors(rng, (2,), count)) <= 1


def test_scores_of_any_size_come_in_any_order(rng, monkeypatch):
    """e to a difference of two blocks' largest scores would overflow."""
    block(monkeypatch, 61, 2)
    transformer, tokens = long_sides(rng, "softmax"), 50 * tensors(rng, (2,), 13)
    head = transformer.stored_layers[0].attention.stored_heads[0]
    scores = (tokens @ head.query.mT) @ (tokens @ head.key.mT).mT
    assert scores.diff(dim=-1).abs().max() > 1500
    assert worst(transformer, tokens) <= 1


@each_activation
def test_biases_of_keys_that_stand_for_several_tokens(activation, rng):
    """A row of the score that is the same for all queries, and 11, 10 and 10 tokens of a key."""
    one = torch.eye(WIDTH, dtype=torch.float64)
    head = AttentionHead(one[[0, 7]], one[[3, 4]], one[[8]], one[:, [9]])
    transformer = Transformer([TransformerLayer(AttentionLayer([head], activation), None)], [0])
    tokens = tensors(rng, (2,), 31)
    (group,) = plan(transformer, tokens).layers[0].attention.groups
    assert (group.rank, group.biases, group.multiplicities.tolist()) == (1, 1, [11, 10, 10])
    assert worst(transformer, tokens) <= 1


def scored(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """The shapes (batch, heads, keys, queries) of the scores that will be worked out."""
    shapes = []

    class Keys(executor._Keys):
        def scores(self, query):
            result = super().scores(query)
            shapes.append(result.shape)
            return result

    monkeypatch.setattr(executor, "_Keys", Keys)
    return shapes


@each_activation
def test_both_sides_are_cut_and_so_is_the_batch(activation, rng, monkeypatch):
    """Two heads, BLOCK_ELEMENTS = 61: 2 of the keys come with 15 queries of one data set."""
    block(monkeypatch, 61, 2)
    shapes = scored(monkeypatch)
    transformer, tokens = long_sides(rng, activation), tensors(rng, (3,), 31)
    (group,) = plan(transformer, tokens).layers[0].attention.groups
    assert (len(group.heads), group.biases, group.queries.count, group.keys.count) == (2, 1, 31, 31)
    run(transformer, tokens)
    assert max(shapes, key=np.prod) == (1, 2, 2, 15)
    assert sum(np.prod(shape) for shape in shapes) == 3 * 2 * 31 * 31


@each_activation
@pytest.mark.parametrize("elements", [1, 1009])
def test_scores_held_at_a_time_are_limited(elements, activation, rng, monkeypatch):
    """To BLOCK_ELEMENTS, or, where that is less, to LEAST_BLOCK² for each head."""
    block(monkeypatch, elements, 3)
    shapes = scored(monkeypatch)
    for transformer in one_layer(rng, activation):
        run(transformer, tensors(rng, (3,), 7))
    assert all(sets * keys * queries <= max(elements / heads, 9) for sets, heads, keys, queries in shapes)
    assert any(sets > 1 for sets, *_ in shapes) == (elements > 9)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_plan_is_out_of_bounds(fault, rng):
    (instance,) = random_instances(rng, "relu", 1)
    whole = sublayers(instance.transformer)
    made = FAULTS[fault](whole, instance.tokens)
    steps = planned(whole, instance.tokens, made)
    assert max(ratio(part, before, part(before), after) for part, before, after in steps) > 1


@each_activation
def test_run_is_the_last_stream_of_the_trace(activation, rng):
    transformer, tokens = transformers(rng, activation)[1], tensors(rng, (3,), 31)
    before = tokens.clone()
    *_, last = trace(plan(transformer, tokens), tokens)
    assert torch.equal(run(transformer, tokens), last.tokens())
    assert last.shape == tokens.shape
    assert torch.equal(tokens, before)  # left alone
    assert not torch.equal(last.tokens(), before)


def test_an_empty_schedule_gives_the_tokens_back(rng):
    layers = transformers(rng, "relu")[0].stored_layers
    tokens = tensors(rng, (2, 3), 31)
    assert torch.equal(run(Transformer(layers, []), tokens), tokens)
    assert list(trace(plan(Transformer(layers, []), tokens), tokens)) == []


def test_without_a_plan_streams_are_literal(rng):
    transformer, tokens = transformers(rng, "softmax")[1], tensors(rng, (3,), 31)
    found = [stream.tokens() for stream in streams(transformer, tokens, None)]
    literal = list(transformer.trace(tokens))
    assert len(found) == len(literal) == 3
    assert all(map(torch.equal, found, literal))
    made = plan(transformer, tokens)
    by_plan = [stream.tokens() for stream in streams(transformer, tokens, made)]
    assert all(map(torch.equal, by_plan, (stream.tokens() for stream in trace(made, tokens))))
    assert not torch.equal(by_plan[-1], literal[-1])


@each_activation
@pytest.mark.parametrize("elements", [307, executor.BLOCK_ELEMENTS])
def test_many_data_sets_are_as_one_by_one(elements, activation, rng, monkeypatch):
    block(monkeypatch, elements, 5)
    transformer = Transformer(transformers(rng, activation)[1].stored_layers, [0])
    assert worst_apart(transformer, tensors(rng, (3,), 17)) <= 1


@pytest.mark.parametrize("components", [(5, 5, 5), (3, 5, 2)], ids=str)
def test_a_batch_of_em_tasks(components, small_em, rng):
    """Three tasks of one class; a token may carry another component in every task."""
    tokens = torch.stack([em_tokens(small_em, rng, k, 60) for k in components])
    (group,) = plan(small_em.transformer, tokens).layers[0].attention.groups
    assert group.keys.count == (5 if len(set(components)) == 1 else 30)
    assert worst_apart(small_em.transformer, tokens) <= 1
    assert worst(small_em.transformer, tokens) <= 1


def test_duplicates_of_samples_are_computed_once(small_em, rng):
    """6 different samples and 5 components, in 30 combinations that occur twice."""
    samples = np.tile(rng.standard_normal((6, 3)), (10, 1))
    tokens = torch.from_numpy(encode(small_em, samples, mixture(rng, 5)))
    made = plan(small_em.transformer, tokens)
    assert [str(group) for layer in made.layers for group in layer.attention.groups] == [
        "1 head: 6 x 5",
        "1 head: 5 x 6",
        "1 head: 1 x 1",
    ]
    assert worst(small_em.transformer, tokens) <= 1
    output = run(small_em.transformer, tokens)
    assert torch.equal(output[:30], output[30:])
    assert len(output.unique(dim=0)) == 30


@each_activation
@pytest.mark.parametrize("batch", [(), (3,)], ids=str)
def test_one_token(batch, activation, rng):
    for transformer in one_layer(rng, activation):
        tokens = tensors(rng, batch, 1)
        assert {coordinate.partition.count for coordinate in plan(transformer, tokens).coordinates} == {1}
        assert worst(transformer, tokens) <= 1


def test_em_with_one_sample(small_em, rng):
    assert worst(small_em.transformer, em_tokens(small_em, rng, 1, 1)) <= 1


@each_activation
def test_float32(activation, rng):
    for transformer in one_layer(rng, activation):
        assert worst(transformer.float(), tensors(rng, (3,), 31).float()) <= 1


@each_activation
def test_bfloat16(activation, rng):
    for transformer in one_layer(rng, activation):
        tokens = tensors(rng, (3,), 31).bfloat16()
        output = run(transformer.bfloat16(), tokens)
        assert (output.dtype, output.shape) == (torch.bfloat16, tokens.shape)
        assert output.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_em_in_other_formats(dtype, small_em, rng):
    em = build(small_em.task_class, small_em.approximation, 2, dtype)
    tokens = em_tokens(em, rng, 5, 31).to(dtype)
    output = run(em.transformer, tokens)
    assert output.dtype == dtype
    assert output.isfinite().all()
    assert dtype != torch.float32 or worst(em.transformer, tokens) <= 1


def nameless(path: Path) -> Path:
    """The weights file without the names of coordinates and hidden units and without what is read out."""
    with safe_open(path / "transformer.safetensors", framework="pt") as file:
        construction = json.loads(file.metadata()["construction"])
        matrices = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    kept = {name: construction[name] for name in ("format", "schedule", "activation")}
    assert {"layout", "read_out"} < construction.keys() - kept
    save_file(matrices, path / "nameless.safetensors", metadata={"construction": json.dumps(kept)})
    return path / "nameless.safetensors"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_file_of_em_without_names_runs_as_planned(dtype, em_command, csv, tmp_path):
    """Both runs are within the allowance of the exact step."""
    arguments = ["--data", csv, "--components", 2, "--radius", 3, "--max-dim", 3, "--max-components", 5]
    outcome = em_command(*arguments, "--layers", 2, "--dtype", dtype, "--plan", "--export", tmp_path / "export")
    assert outcome.code == 0
    exported = Export.read(tmp_path / "export")
    transformer, construction = weights_file.load(nameless(tmp_path / "export"))
    assert "layout" not in construction
    tokens = torch.from_numpy(exported.input)
    assert str(plan(transformer, tokens)) in outcome.out  # the same operations
    output = run(transformer, tokens).double().numpy()
    (step,) = exported.result["bounds"]["steps"]
    for name, allowance in (("mu", step["rounding"]["mean"]), ("pi", step["rounding"]["log_weight"])):
        off = np.abs(exported.part(output, name) - exported.part(exported.output, name)).max()
        assert off <= 2 * allowance < 0.1
    for name in ("x", "one", "component", "w", "log_w"):
        assert np.array_equal(exported.part(output, name), exported.part(exported.output, name))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("form", [[], ["--attention-only"]], ids=str)
def test_a_file_of_the_power_iteration_without_names_runs_as_planned(form, dtype, tensor_command, tmp_path):
    """Both runs are within the bound of the run's reference."""
    arguments = ["--dim", 3, "--max-dim", 5, "--layers", 6, "--dtype", dtype, *form]
    outcome = tensor_command(*arguments, "--plan", "--export", tmp_path)
    assert outcome.code == 0
    exported = Export.read(tmp_path)
    transformer, _ = weights_file.load(nameless(tmp_path))
    tokens = torch.from_numpy(exported.input)
    assert str(plan(transformer, tokens)) in outcome.out
    rule = exported.construction["read_out"]["vector"]
    found = exported.part(run(transformer, tokens).double().numpy(), rule["value"])[rule["token"], :3]
    reference, bound = np.array(exported.result["reference"]), exported.result["bound"]
    assert np.linalg.norm(found - exported.result["vector"]) <= 2 * bound < 0.1 * np.linalg.norm(reference)


def test_a_plan_is_for_tokens_of_its_own_shape():
    transformer = Transformer([TransformerLayer(None, MlpLayer(torch.ones(3, 5), torch.ones(5, 3)))], (0,))
    tokens = torch.ones(13, 5)
    with pytest.raises(ValueError, match=r"the plan is for \(\.\.\., 13, 5\)"):
        next(executor.trace(plan(transformer, tokens), tokens[:11]))
