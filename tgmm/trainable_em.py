"""The EM transformer with weights that train: the construction as it stands, balanced, or random numbers in its place.

The tokens are the construction's (em_transformer.encode), the read-out is Remark F.3's, linear in the stream. All
tasks of a batch have the same K and n, since Definitions 1-8 know no mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from math import sqrt

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from constructions.algorithms.sampling import Mixture
from constructions.em_transformer import EmTransformer, encode, read_subspaces
from constructions.transformer import Transformer, TransformerLayer
from tgmm.model import Estimate


def trainable(transformer: Transformer, tied: bool) -> Transformer:
    """A copy whose matrices ask for gradients. Untied: each executed layer has matrices of its own."""
    stored = transformer.stored_layers
    layers = stored if tied else [stored[index] for index in transformer.schedule]
    schedule = transformer.schedule if tied else range(len(layers))
    copy = Transformer([deepcopy(layer) for layer in layers], tuple(schedule))
    return copy.requires_grad_(True)


@torch.no_grad()
def balance(transformer: Transformer) -> None:
    """Scale every hidden unit so that ‖w1_j‖ = ‖w2_j‖, in place: the same function, as relu(s z) = s relu(z), s > 0.

    The log network's units have w1 of size 1 and w2 between r and rA. An optimiser that moves all entries by about
    the same amount changes such a unit's output by rA times as much through w1 as through w2.
    """
    for layer in transformer.stored_layers:
        if layer.mlp is not None:
            scale = (layer.mlp.w2.norm(dim=0) / layer.mlp.w1.norm(dim=1)).sqrt()
            layer.mlp.w1.mul_(scale[:, None])
            layer.mlp.w2.div_(scale)


@torch.no_grad()
def randomise(transformer: Transformer, scale: float, seed: int) -> None:
    """Entries from N(0, scale²/columns), in place; those that write to the stream divided by √(2·layers) too.

    At scale 1 this is the usual initialisation by fan-in, with the residual branches damped as in GPT-2.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, matrix in named_matrices(transformer):
        spread = scale / sqrt(matrix.shape[1])
        if name.endswith((".O", ".W2")):
            spread /= sqrt(2 * len(transformer.schedule))
        matrix.copy_(spread * torch.randn(matrix.shape, generator=generator, dtype=torch.float64))


def named_matrices(transformer: Transformer) -> Iterator[tuple[str, Tensor]]:
    """Every stored matrix: "3.1.Q" is the query of the second head of the fourth stored layer, "3.W1" its MLP's."""
    for index, layer in enumerate(transformer.stored_layers):
        yield from ((f"{index}.{name}", matrix) for name, matrix in _matrices(layer))


def _matrices(layer: TransformerLayer) -> Iterator[tuple[str, Tensor]]:
    for number, head in enumerate(layer.attention.stored_heads if layer.attention is not None else []):
        for letter, matrix in zip("QKVO", (head.query, head.key, head.value, head.output), strict=True):
            yield f"{number}.{letter}", matrix
    if layer.mlp is not None:
        yield "W1", layer.mlp.w1
        yield "W2", layer.mlp.w2


def tokens(
    em: EmTransformer, samples: Float[np.ndarray, "B N d"], means: Float[np.ndarray, "B K d"]
) -> Float[Tensor, "B n D"]:
    """The construction's tokens of B tasks, from equal weights and these means."""
    equal = np.full(means.shape[1], 1 / means.shape[1])
    encoded = [encode(em, x, Mixture(equal, start)) for x, start in zip(samples, means, strict=True)]
    return torch.from_numpy(np.stack(encoded)).to(em.dtype)


def read_out(em: EmTransformer, h: Float[Tensor, "B n D"], components: int) -> Estimate:
    """Remark F.3 for tasks of d = d_0: μ̂_k = (K/n) Σ_i 1{r(i)=k} mu_i, and log π̂ of the tokens' mean `pi`, normalised.

    Where all π̂_k ≥ π_min of the class, and sum to 1, as the construction's do, nothing else happens to them. Trained
    weights may say anything: below π_min the logarithm is continued by its tangent, so that negative numbers too
    have a gradient, and the sum is made 1, else the cross-entropy has no least value.
    """
    _, mu, pi = read_subspaces(em, em.task_class.max_dim, components)
    carried = torch.arange(h.shape[1]) % components
    one_hot = torch.nn.functional.one_hot(carried, components).to(h.dtype)
    means = components / h.shape[1] * one_hot.mT @ h[..., mu]
    weights, least = h[..., pi].mean(dim=1), em.task_class.min_weight
    logs = weights.clamp(min=least).log() + (weights.clamp(max=least) / least - 1)
    return Estimate(logs.log_softmax(dim=1), means, None)


def run(em: EmTransformer, model: Transformer, h: Float[Tensor, "B n D"], components: int) -> list[Estimate]:
    """The read-out after every pair of layers: what the construction has after every EM step."""
    return [read_out(em, stream, components) for done, stream in enumerate(model.trace(h), start=1) if done % 2 == 0]
