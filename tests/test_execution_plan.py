"""Plans of whole transformers: which layers share theirs, what they cost, and how they are shown."""

import numpy as np
import pytest
import torch

from constructions.algorithms.sampling import Mixture
from constructions.em_transformer import EmTransformer, encode
from constructions.execution_plan import LayerPlan, Plan, plan, shown
from constructions.tensor_power_transformer import ATTENTION_ONLY, OVERWRITING, THEOREM, build
from constructions.tensor_power_transformer import encode as encode_power
from constructions.tensors import random_start, random_tensor
from constructions.transformer import AttentionHead, AttentionLayer, MlpLayer, Transformer, TransformerLayer
from theory_checks.execution_instances import Instance, random_instances, relabelled


def em_steps(em: EmTransformer, steps: int) -> Transformer:
    """The same two layers, scheduled more often."""
    return Transformer(em.transformer.stored_layers, [0, 1] * steps)


def em_tokens(em: EmTransformer, task: tuple[np.ndarray, Mixture], repeats: int = 1) -> torch.Tensor:
    """20 tokens of each repeat, none twice."""
    samples, start = task
    moved = np.concatenate([samples[:20] / (1 + i) for i in range(repeats)])
    return torch.from_numpy(encode(em, moved, start))


def scalar(h: list[list[float]], dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor(h, dtype=dtype)


def clearing() -> Transformer:
    """D = 2: coordinate 0 is cleared."""
    return Transformer([TransformerLayer(None, MlpLayer(scalar([[1, 0], [-1, 0]]), scalar([[-1, 1], [0, 0]])))], [0])


def test_tied_layers_share_their_plan(small_em, task):
    """From the third layer on the coordinates come back to the same classes and the same known constants."""
    layers = plan(em_steps(small_em, 5), em_tokens(small_em, task)).layers
    assert len(layers) == 10
    assert len({id(layer) for layer in layers}) == 3
    assert {id(layer) for layer in layers[1::2]} == {id(layers[1])}
    assert {id(layer) for layer in layers[2::2]} == {id(layers[2])}
    assert layers[2].after == layers[0].after
    assert layers[2].attention is not layers[0].attention


def test_layers_that_run_on_other_classes_do_not_share():
    """Token 1 is unlike the others; each layer adds what a query reads to the next coordinate."""
    width, one = 5, torch.eye(5, dtype=torch.float64)
    heads = [AttentionHead(one[[c]], one[[0]], one[[0]], one[:, [c + 1]]) for c in range(1, width - 1)]
    tokens = torch.ones(7, width, dtype=torch.float64)
    tokens[1, 1] = 2
    layers = plan(Transformer([TransformerLayer(AttentionLayer(heads, "relu"), None)], [0] * 7), tokens).layers
    assert len(set(layers)) == 4
    assert layers[3] is layers[4] is layers[6]
    for number, layer in enumerate(layers[:3], start=1):
        assert [coordinate.partition.count for coordinate in layer.after[1:]] == [2] * (number + 1) + [1] * (3 - number)


@pytest.mark.parametrize("shape", [(7, 3), (7, 1), (0, 2), (3, 0, 2), (0, 7, 2)])
def test_tokens_of_another_width_and_no_tokens_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(\.\.\., N, 2\) is needed, N ≥ 1"):
        plan(clearing(), torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(13, 2), (3, 13, 2), (2, 5, 13, 2), (1, 2)])
def test_tokens_of_any_batch(shape, rng):
    made = plan(clearing(), torch.tensor(rng.standard_normal(shape)))
    count = shape[-2]
    assert made.everyone.count == count
    assert [coordinate.partition.count for coordinate in made.coordinates] == [count, count]
    assert made.layers[0].mlp.cleared == [0]
    assert made.dense_operations == 2 * count * 2 * 2  # for one data set


def test_tokens_agree_if_they_do_in_every_data_set():
    tokens = scalar([[1, 5], [2, 5], [1, 5], [2, 5], [1, 5]])
    other = scalar([[3, 7], [3, 7], [3, 7], [3, 7], [4, 7]])
    counts = {}
    for name, given in {"one": tokens, "other": other, "both": torch.stack([tokens, other])}.items():
        made = plan(clearing(), given)
        counts[name] = [coordinate.partition.count for coordinate in made.coordinates]
        assert [coordinate.known for coordinate in made.coordinates] == [None, {"one": 5, "other": 7}.get(name)]
    assert counts == {"one": [2, 1], "other": [2, 1], "both": [5, 1]}  # three classes of five are all


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_tokens_agree_by_their_bits(dtype):
    """Neighbouring numbers and zeros of either sign are different classes."""
    after_one = 1 + torch.finfo(dtype).eps
    tokens = scalar([[1, 0.0], [after_one, -0.0]] * 3 + [[1, 0.0]], dtype)
    made = plan(clearing().to(dtype), tokens)
    assert [coordinate.partition.count for coordinate in made.coordinates] == [2, 2]


def test_infinite_constants_are_not_known():
    given = scalar([[torch.inf, torch.nan]] * 3)
    assert [coordinate.known for coordinate in plan(clearing(), given).coordinates] == [None, None]
    assert [coordinate.known for coordinate in plan(clearing(), scalar([[0.1, -0.0]] * 3)).coordinates] == [0.1, 0]


def test_the_em_plan_is_linear_in_tokens_and_the_dense_one_quadratic(small_em, task):
    plans = [plan(em_steps(small_em, 3), em_tokens(small_em, task, repeats)) for repeats in (1, 2, 3, 4)]
    ours = np.array([made.operations for made in plans])
    dense = np.array([made.dense_operations for made in plans])
    assert (np.diff(ours, 2) == 0).all()
    assert np.diff(dense, 2).min() > 0
    assert (np.diff(dense, 3) == 0).all()
    assert 100 * ours[0] < dense[0]


def test_operations_are_those_of_all_layers(small_em, task):
    made = plan(em_steps(small_em, 3), em_tokens(small_em, task))
    for name in ("operations", "dense_operations"):
        parts = [getattr(part, name) for layer in made.layers for part in (layer.attention, layer.mlp)]
        assert getattr(made, name) == sum(parts) == sum(getattr(layer, name) for layer in made.layers)


def test_the_em_plan_by_hand(small_em, task):
    """N = 20, K = 5, d = 3: an E-step's scores read x, component and two biases, and make K responsibilities."""
    e_step, m_step, *_ = plan(small_em.transformer, em_tokens(small_em, task)).layers
    (group,) = e_step.attention.groups
    assert (group.queries.count, group.keys.count, group.rank) == (20, 5, 3)
    assert len(group.targets) == 5
    softmax, mean = m_step.attention.groups
    assert (softmax.queries.count, softmax.keys.count, softmax.rank) == (5, 20, 5)
    assert str(mean) == "1 head: 1 x 1"
    assert [(len(curve.sources), curve.classes.count) for curve in m_step.mlp.curves] == [(5, 1), (3, 5)]
    assert [(len(curve.sources), curve.classes.count) for curve in e_step.mlp.curves] == [(5, 20)]
    assert e_step.mlp.dense is m_step.mlp.dense is None


def test_the_table_of_a_small_plan():
    """3 tokens of width 2: a head that reads and writes what is cleared afterwards."""
    one = torch.eye(2, dtype=torch.float64)
    attention = AttentionLayer([AttentionHead(one[[0]], one[[0]], one[[0]], one[:, [0]])], "relu")
    layers = [TransformerLayer(attention, None), clearing().stored_layers[0]]
    made = plan(Transformer(layers, (0, 1, 0, 1, 1)), scalar([[1, 5], [2, 5], [3, 5]]))
    group = 3 + 3 + 3 + 3 * 3 * 2 + 3  # queries, keys, values, scores and pooling, output
    assert made.layers[0].operations == group
    assert str(made) == "\n".join(
        [
            "layers  part       operations  dense  how",
            "1       attention          30     42  1 head: 3 x 3 (queries x keys)",
            "2       mlp                 0     24  1 cleared",
            "3       attention           0     42  adds nothing",
            "4, 5    mlp                 0     24  1 cleared",
            "all                        30    156  multiplications, look-ups",
        ]
    )
    assert made.summary == "structured execution, 30 operations instead of 156"


def test_the_table_of_an_em_plan(small_em, task):
    made = plan(em_steps(small_em, 10), em_tokens(small_em, task))
    table = str(made).splitlines()
    assert [line.split("  ")[0] for line in table] == [
        "layers",
        *["1"] * 2,
        *["2, 4 .. 20"] * 2,
        *["3, 5 .. 19"] * 2,
        "all",
    ]
    assert table[-1].split()[1:3] == [f"{made.operations:.3g}", f"{made.dense_operations:.3g}"]
    assert (
        made.summary == f"structured execution, {made.operations:.3g} operations instead of {made.dense_operations:.3g}"
    )


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([7], "7"),
        ([1, 2], "1, 2"),
        ([3, 5, 7], "3, 5, 7"),
        ([3, 5, 7, 9], "3, 5 .. 9"),
        ([4, 6, 8, 10, 12, 14, 16, 18, 20], "4, 6 .. 20"),
        ([1, 2, 3, 4, 5], "1, 2 .. 5"),
        ([1, 2, 3, 5], "1, 2, 3, 5"),
    ],
)
def test_numbers_of_layers(numbers, text):
    assert shown(numbers) == text


def test_no_layers(small_em, task):
    made = plan(em_steps(small_em, 0), em_tokens(small_em, task))
    assert (made.layers, made.operations, made.dense_operations) == ((), 0, 0)
    assert len(str(made).splitlines()) == 2


def test_a_layer_without_attention_and_mlp_costs_nothing(small_em, task):
    empty = Transformer([*small_em.transformer.stored_layers, TransformerLayer(None, None)], (0, 2, 1))
    made = plan(empty, em_tokens(small_em, task))
    first, nothing, _ = made.layers
    assert (nothing.attention, nothing.mlp, nothing.operations, nothing.dense_operations) == (None, None, 0, 0)
    assert nothing.after == first.after
    assert made.operations == plan(small_em.transformer, em_tokens(small_em, task)).operations


def counts(made: Plan) -> list[tuple[int, ...]]:
    """What a plan costs, layer by layer, and how many classes and known constants there are in between."""

    def of(layer: LayerPlan) -> tuple[int, ...]:
        parts = [part.operations if part is not None else 0 for part in (layer.attention, layer.mlp)]
        known = sum(coordinate.known is not None for coordinate in layer.after)
        return *parts, known, *sorted(coordinate.partition.count for coordinate in layer.after)

    return [of(layer) for layer in made.layers]


def instances(em: EmTransformer, task: tuple[np.ndarray, Mixture], rng: np.random.Generator) -> list[Instance]:
    tensor, start = random_tensor(3, rng), random_start(3, rng)
    found = [Instance("EM", em_steps(em, 3), em_tokens(em, task))]
    for form in (THEOREM, OVERWRITING, ATTENTION_ONLY):
        model = build(5, 2, form)
        found.append(Instance(form.name, model.transformer, torch.from_numpy(encode_power(model, tensor, start))))
    return [*found, *random_instances(rng, "relu", 3), *random_instances(rng, "softmax", 1)]


def test_a_relabelled_transformer_costs_the_same(small_em, task, rng):
    """Coordinates, heads and hidden units in any order: nothing rests on where they are."""
    for instance in instances(small_em, task, rng):
        other = relabelled(instance, rng)
        assert not torch.equal(other.tokens, instance.tokens)
        made, again = plan(instance.transformer, instance.tokens), plan(other.transformer, other.tokens)
        assert counts(made) == counts(again), instance.name
        assert made.dense_operations == again.dense_operations
