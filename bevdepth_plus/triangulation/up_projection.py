"""Blocks of the depth decoder: up-projection and dense atrous pyramid.

Up-projection after Laina et al. ("Deeper Depth Prediction with Fully Convolutional Residual
Networks", 3DV 2016) with skip connections as in CSPN (Cheng et al., ECCV 2018); the pyramid is
DenseASPP (Yang et al., CVPR 2018). Widths are those of DELTAS.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from bevdepth_plus.triangulation.encoder import conv_norm_relu

UNPOOLS = ("zeros", "nearest", "bilinear", "deltas")


class UpProjection(nn.Module):
    """Twice the size: two branches of convolutions over the unpooled map, added.

    Args:
        in_channels, out_channels: before and after.
        skip_channels: of the encoder's map of the larger size; 0: none.
        kernel_size: of the first convolution of each branch.
        unpool: "zeros" puts a cell into the upper left of four and zeros beside it; "nearest" and
            "bilinear" resize; "deltas" is "zeros" where the larger size is a multiple of the
            smaller one and else "nearest", so that the operator depends on the image's height.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        skip_channels: int = 0,
        kernel_size: int = 5,
        unpool: str = "zeros",
    ) -> None:
        super().__init__()
        if unpool not in UNPOOLS:
            raise ValueError(f"unpool must be one of {UNPOOLS}, got {unpool!r}")
        self.unpool = unpool
        options = dict(bias=False)
        self.first = conv_norm_relu(in_channels, out_channels, kernel_size, **options)
        self.merge = (
            conv_norm_relu(out_channels + skip_channels, out_channels, 3, **options)
            if skip_channels
            else None
        )
        self.second = conv_norm_relu(out_channels, out_channels, 3, **options)[:2]
        self.shortcut = conv_norm_relu(in_channels, out_channels, kernel_size, **options)[:2]

    def forward(
        self,
        x: Tensor,  # [B, C, h, w]
        skip: Tensor | None = None,  # [B, C', H, W]
        size: tuple[int, int] | None = None,  # H, W; None: the skip's, else twice x's
    ) -> Tensor:
        if size is None:
            size = (2 * x.shape[-2], 2 * x.shape[-1]) if skip is None else skip.shape[-2:]
        x = unpool(x, tuple(size), self.unpool)
        main = self.first(x)
        if self.merge is not None:
            main = self.merge(torch.cat([main, skip], dim=1))
        return functional.relu(self.second(main) + self.shortcut(x))  # [B, out, H, W]


class DenseASPP(nn.Module):
    """Atrous convolutions of growing dilation, each over all that came before it."""

    def __init__(
        self,
        channels: int,
        branch_channels: int,
        dilations: tuple[int, ...] = (3, 6, 12, 18, 24),
    ) -> None:
        super().__init__()
        widths = [channels + index * branch_channels for index in range(len(dilations) + 1)]
        self.branches = nn.ModuleList(
            nn.Sequential(
                conv_norm_relu(width, branch_channels, 1, bias=False),
                conv_norm_relu(
                    branch_channels, branch_channels, 3, padding=rate, dilation=rate, bias=False
                ),
            )
            for width, rate in zip(widths, dilations, strict=False)
        )
        self.merge = conv_norm_relu(widths[-1], channels, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # [B, C, H, W]
        for branch in self.branches:
            x = torch.cat([x, branch(x)], dim=1)
        return self.merge(x)


def unpool(
    x: Tensor,  # [B, C, h, w]
    size: tuple[int, int],
    mode: str,
) -> Tensor:
    """Enlarge a map, ``[B, C, *size]``; see :class:`UpProjection` for the modes."""
    height, width = size
    if mode == "deltas":
        mode = "nearest" if height % x.shape[-2] else "zeros"
    if mode != "zeros":
        corners = None if mode == "nearest" else False
        return functional.interpolate(x, size=size, mode=mode, align_corners=corners)
    larger = x.new_zeros(*x.shape[:2], 2 * x.shape[-2], 2 * x.shape[-1])
    larger[..., ::2, ::2] = x
    return larger[..., :height, :width]
