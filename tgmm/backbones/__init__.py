"""What lies between read-in and read-out: a stack of layers that all tasks share.

Every backbone maps hidden states (B, N, D) and the mask of present samples (B, N) to hidden states; its `trace` returns
those in between as well.
"""

from tgmm.backbones.encoder import Encoder, EncoderLayer

__all__ = ["Encoder", "EncoderLayer"]
