"""The default: a transformer that sees a set of samples, without order."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

Hidden = Float[Tensor, "B N D"]
Mask = Bool[Tensor, "B N"]


class EncoderLayer(nn.Module):
    """A pre-norm transformer layer without positions or causal mask: h ← h + A(norm h), then h ← h + M(norm h).

    A is softmax attention with `heads` heads (scores divided by √(D/heads)), M an MLP with 4D ReLU units. It has
    12D² + 13D parameters and commutes with every permutation of the samples.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, h: Hidden, mask: Mask) -> Hidden:
        """One layer; keys where `mask` is False are not attended to."""
        split = self.query_key_value(self.attention_norm(h)).unflatten(2, (3, self.heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :])
        h = h + self.output(attended.transpose(1, 2).flatten(2))
        return h + self.down(self.up(self.mlp_norm(h)).relu())


class Encoder(nn.Module):
    """L such layers and a norm without parameters at the end: permutation-equivariant, L(12D² + 13D) parameters."""

    def __init__(self, layers: int, heads: int, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(width, heads) for _ in range(layers))
        # The read-out's linear maps follow, so that a gain of the norm's own would be one too many.
        self.norm = nn.LayerNorm(width, elementwise_affine=False)

    def trace(self, h: Hidden, mask: Mask) -> list[Hidden]:
        """The hidden states before the first layer and after every one, the last of them normalised."""
        states = [h]
        for layer in self.layers:
            states.append(layer(states[-1], mask))
        states[-1] = self.norm(states[-1])
        return states

    def forward(self, h: Hidden, mask: Mask) -> Hidden:
        """The hidden state after the last layer, normalised."""
        return self.trace(h, mask)[-1]
