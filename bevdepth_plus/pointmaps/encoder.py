"""The image encoder: a plain vision transformer, shared by both views."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bevdepth_plus.pointmaps.blocks import EncoderBlock, layer_norm
from bevdepth_plus.pointmaps.rope import grid_positions, rotation

PATCH = 16


@dataclass(frozen=True)
class Tokens:
    """An image's tokens and where they are.

    Attributes:
        features: ``[B, T, C]``.
        positions: (row, column) in the grid of the upright image, int64 ``[B or 1, T, 2]``.
        grid: rows and columns of the images as stored.
        transposed: True for the images that are stored transposed, ``[B]``; None: none is.
    """

    features: Tensor
    positions: Tensor
    grid: tuple[int, int]
    transposed: Tensor | None = None

    def with_features(self, features: Tensor) -> Tokens:
        return Tokens(features, self.positions, self.grid, self.transposed)


class ImageEncoder(nn.Module):
    """Images of any size that is a multiple of 16 -> tokens of 16 x 16 pixels."""

    def __init__(self, dim: int = 1024, depth: int = 24, num_heads: int = 16) -> None:
        super().__init__()
        self.head_dim = dim // num_heads
        self.patch_embed = nn.Conv2d(3, dim, PATCH, stride=PATCH)
        self.blocks = nn.ModuleList(EncoderBlock(dim, num_heads) for _ in range(depth))
        self.norm = layer_norm(dim)

    def forward(
        self,
        images: Tensor,  # [B, 3, H, W], in [-1, 1]
        transposed: Tensor | None = None,  # [B], bool
    ) -> Tokens:
        """Encode images; a batch may hold portrait images as their transposed landscape.

        Raises:
            ValueError: a side is not a multiple of 16.
        """
        check_images(images)
        grid = (images.shape[-2] // PATCH, images.shape[-1] // PATCH)
        x, positions = self._patches(images, grid, transposed)
        turn = rotation(positions, self.head_dim)
        for block in self.blocks:
            x = block(x, turn)
        return Tokens(self.norm(x), positions, grid, transposed)

    def _patches(
        self, images: Tensor, grid: tuple[int, int], transposed: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Embedded patches ``[B, T, C]`` and positions ``[B or 1, T, 2]`` of the upright images."""
        upright = grid_positions(grid, images.device)
        if transposed is None:
            return self.patch_embed(images).flatten(2).mT, upright[None]
        x = images.new_zeros(len(images), len(upright), self.patch_embed.out_channels)
        for rows, batch in ((~transposed, images), (transposed, images.mT)):
            if rows.any():
                patches = self.patch_embed(batch[rows]).flatten(2).mT
                x = x.to(patches.dtype).index_put((rows,), patches)
        portrait = grid_positions(grid[::-1], images.device)
        return x, torch.where(transposed[:, None, None], portrait, upright)


def check_images(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be [B, 3, H, W], got {tuple(images.shape)}")
    height, width = images.shape[-2:]
    if height % PATCH or width % PATCH or not height or not width:
        raise ValueError(
            f"height and width of images must be multiples of {PATCH}, got {height} x {width}; "
            "resize or crop them and change the intrinsics alike"
        )
