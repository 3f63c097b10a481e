"""The paper's backbones, from Hugging Face (extra `hf`), built from their sizes with random weights.

Both are causal: a hidden state depends on the samples up to its own alone, so the estimate depends on their order, and
padding that comes after the samples changes nothing. Hence neither is given the mask: present samples must come first,
as they do in `Tasks`. Their token embeddings are removed, since the read-in takes the place of tokens.
"""

from __future__ import annotations

import logging

from jaxtyping import Bool, Float
from torch import Tensor, nn

from constructions.errors import InputError
from tgmm import extras

Hidden = Float[Tensor, "B N D"]
Mask = Bool[Tensor, "B N"]
NO_TOKENS = {"vocab_size": 1, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None, "use_cache": False}
CHUNK = 64
"""Samples that Mamba2 treats at once: a matter of speed, which with the default, 256, falls by far for n ≤ 128."""


class Gpt2(nn.Module):
    """GPT-2 (Radford et al. 2019) on hidden states: learned positions p, L causal pre-norm layers, a final norm.

    A layer has the shapes of an EncoderLayer, GELU in place of ReLU, and dropout 0. There are L(12D² + 13D) + 2D + PD
    parameters: beyond the layers the final norm and `positions`, P.
    """

    def __init__(self, layers: int, heads: int, width: int, positions: int) -> None:
        super().__init__()
        transformers = extras.require("transformers", "the backbone 'gpt2'")
        self.positions = positions
        self.model = transformers.GPT2Model(
            transformers.GPT2Config(
                n_layer=layers,
                n_head=heads,
                n_embd=width,
                n_positions=positions,
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
                **NO_TOKENS,
            )
        )
        self.model.set_input_embeddings(None)

    def trace(self, h: Hidden, mask: Mask) -> list[Hidden]:
        """Hidden states with positions before the first layer and after every one, the last of them normalised.

        Raises
        ------
        InputError
            If there are more samples than positions.
        """
        self._require_positions(h)
        return list(self.model(inputs_embeds=h, output_hidden_states=True).hidden_states)

    def forward(self, h: Hidden, mask: Mask) -> Hidden:
        """The last of them."""
        self._require_positions(h)
        hidden: Tensor = self.model(inputs_embeds=h).last_hidden_state
        return hidden

    def _require_positions(self, h: Hidden) -> None:
        if h.shape[1] > self.positions:
            raise InputError(f"there are {h.shape[1]} samples; this gpt2 has positions for {self.positions}")


class Mamba2(nn.Module):
    """Mamba2 (Dao & Gu 2024) on hidden states: L layers h ← h + M(norm h), M a gated state-space model; a final norm.

    With I = expand·D, G = groups·state and H heads of I/H coordinates each, a layer has
    D(2I + 2G + H) + 5(I + 2G) + 3H + I + ID + D parameters: about 3·expand·D², so that expand = 4 makes it as large as
    a transformer's 12D². The final norm has D more.
    """

    def __init__(self, layers: int, heads: int, width: int, expand: int, state: int, groups: int) -> None:
        super().__init__()
        transformers = extras.require("transformers", "the backbone 'mamba2'")
        logging.getLogger("transformers.integrations.hub_kernels").addFilter(_told)
        self.model = transformers.Mamba2Model(
            transformers.Mamba2Config(
                num_hidden_layers=layers,
                num_heads=heads,
                head_dim=expand * width // heads,
                hidden_size=width,
                expand=expand,
                state_size=state,
                n_groups=groups,
                chunk_size=CHUNK,
                **NO_TOKENS,
            )
        )
        self.model.set_input_embeddings(None)

    def trace(self, h: Hidden, mask: Mask) -> list[Hidden]:
        """The hidden states before the first layer and after every one, the last of them normalised."""
        *after, _, last = self.model(inputs_embeds=h, output_hidden_states=True).hidden_states
        return [h, *after, last]

    def forward(self, h: Hidden, mask: Mask) -> Hidden:
        """The last of them."""
        hidden: Tensor = self.model(inputs_embeds=h).last_hidden_state
        return hidden


def _told(record: logging.LogRecord) -> bool:
    """Whether a message is worth telling: not that there are faster kernels, which are for GPUs only."""
    return "is falling back to its reference PyTorch implementation" not in record.getMessage()
