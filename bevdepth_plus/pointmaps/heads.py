"""Heads: decoder tokens -> points, confidence and local descriptors of every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle

from bevdepth_plus.pointmaps.blocks import mlp
from bevdepth_plus.pointmaps.dpt import DPT
from bevdepth_plus.pointmaps.encoder import PATCH


@dataclass(frozen=True)
class Pointmap:
    """What the network says of each pixel of one view.

    Attributes:
        points: in the camera frame of view 1 (x right, y down, z forward), ``[B, H, W, 3]``.
        confidence: of the points, above 1, ``[B, H, W]``.
        descriptors: unit vectors for matching, ``[B, H, W, C]``, or None.
        descriptor_confidence: above 0, ``[B, H, W]``, or None.
    """

    points: Tensor
    confidence: Tensor
    descriptors: Tensor | None = None
    descriptor_confidence: Tensor | None = None


class LinearHead(nn.Module):
    """One linear layer on the last tokens: a patch of points and confidence from each."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, 4 * PATCH**2)

    def forward(self, layers: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        return patches_to_map(self.project(layers[-1]), grid)  # [B, 4, H, W]


class DPTHead(nn.Module):
    """A DPT over four layers, and an MLP for descriptors where they are wanted."""

    def __init__(
        self,
        encoder_dim: int,
        decoder_dim: int,
        decoder_depth: int,
        descriptor_dim: int = 0,
        **dpt_widths,
    ) -> None:
        super().__init__()
        if decoder_depth <= 9:
            raise ValueError(f"a DPT head needs more than 9 decoder layers, got {decoder_depth}")
        self.hooks = (0, decoder_depth * 2 // 4, decoder_depth * 3 // 4, decoder_depth)
        self.dpt = DPT((encoder_dim, *(decoder_dim,) * 3), **dpt_widths)
        self.descriptors = None
        if descriptor_dim:
            both = encoder_dim + decoder_dim
            self.descriptors = mlp(both, 4 * both, (descriptor_dim + 1) * PATCH**2)

    def forward(self, layers: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        out = self.dpt([layers[hook] for hook in self.hooks], grid)  # [B, 4, H, W]
        if self.descriptors is None:
            return out
        patches = self.descriptors(torch.cat([layers[0], layers[-1]], dim=-1))
        return torch.cat([out, patches_to_map(patches, grid)], dim=1)  # [B, 4 + C + 1, H, W]


def patches_to_map(patches: Tensor, grid: tuple[int, int]) -> Tensor:
    """``[B, T, C * 16 * 16]`` of all tokens -> a map ``[B, C, H, W]``."""
    return pixel_shuffle(patches.mT.unflatten(2, grid), PATCH)


def activate(
    raw: Tensor,  # [B, 4 or 4 + C + 1, H, W]
) -> Pointmap:
    """Numbers of a head -> points, confidences and unit descriptors.

    A raw vector keeps its direction and its length r becomes exp(r) - 1. A confidence is
    1 + exp(c), of a descriptor exp(c). The float32 confidence is exactly 1 below c = -17.
    """
    raw = raw.float().movedim(1, -1)
    distance = raw[..., :3].norm(dim=-1, keepdim=True)
    points = raw[..., :3] / distance.clamp(min=1e-8) * torch.expm1(distance)
    confidence = 1 + raw[..., 3].exp()
    if raw.shape[-1] == 4:
        return Pointmap(points, confidence)
    descriptors = nn.functional.normalize(raw[..., 4:-1], dim=-1)
    return Pointmap(points, confidence, descriptors, raw[..., -1].exp())
