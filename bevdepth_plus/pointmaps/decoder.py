"""The two decoders: each view attends to itself and to the other view, layer by layer."""

from __future__ import annotations

from torch import Tensor, nn

from bevdepth_plus.pointmaps.blocks import DecoderBlock, layer_norm
from bevdepth_plus.pointmaps.encoder import Tokens
from bevdepth_plus.pointmaps.rope import rotation


class CrossDecoder(nn.Module):
    """Encoder tokens of two views -> what the heads read.

    The decoder of view 1 and that of view 2 have their own weights; the input projection and the
    last norm are shared.
    """

    def __init__(
        self, encoder_dim: int = 1024, dim: int = 768, depth: int = 12, num_heads: int = 12
    ) -> None:
        super().__init__()
        self.head_dim = dim // num_heads
        self.project = nn.Linear(encoder_dim, dim)
        self.blocks1 = nn.ModuleList(DecoderBlock(dim, num_heads) for _ in range(depth))
        self.blocks2 = nn.ModuleList(DecoderBlock(dim, num_heads) for _ in range(depth))
        self.norm = layer_norm(dim)

    def forward(self, tokens1: Tokens, tokens2: Tokens) -> tuple[list[Tensor], list[Tensor]]:
        """Outputs of all layers, for each view.

        Returns:
            Two lists of depth + 1: the encoder's tokens ``[B, T, C_enc]``, then each block's
            output ``[B, T, C]``, the last one after the norm.
        """
        x1, x2 = self.project(tokens1.features), self.project(tokens2.features)
        turn1, turn2 = (rotation(t.positions, self.head_dim) for t in (tokens1, tokens2))
        layers1, layers2 = [tokens1.features], [tokens2.features]
        for block1, block2 in zip(self.blocks1, self.blocks2, strict=True):
            # Both read the layer before; view 2 does not see what view 1 has just become.
            x1, x2 = block1(x1, x2, turn1, turn2), block2(x2, x1, turn2, turn1)
            layers1.append(x1)
            layers2.append(x2)
        layers1[-1], layers2[-1] = self.norm(x1), self.norm(x2)
        return layers1, layers2
