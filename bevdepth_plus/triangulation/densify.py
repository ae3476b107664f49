"""From depth at points to depth everywhere.

As DELTAS has it (Sinha et al., ECCV 2020, Sec. 3.3): a narrow encoder of the sparse depth map, its
levels beside those of the image encoder, and a decoder with side outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bevdepth_plus.triangulation.encoder import PyramidEncoder
from bevdepth_plus.triangulation.up_projection import DenseASPP, UpProjection

ALIGNMENT = 32  # pixels: stride of the deepest level
SCALES = (1, 2, 4, 8)  # of the outputs


class SparseDepth(NamedTuple):
    """Depth at points as a map.

    Attributes:
        depth: metres, 0 = no point, ``[B, 1, H, W]``.
        confidence: 0 to 1, 0 = no point, ``[B, 1, H, W]``.
    """

    depth: Tensor
    confidence: Tensor


def sparse_depth_map(
    pixels: Tensor,  # [B, P, 2], (u, v)
    depth: Tensor,  # [B, P], metres, 0 = none
    confidence: Tensor,  # [B, P]
    size: tuple[int, int],  # height, width
    pixel_centre: float = 0.5,
) -> SparseDepth:
    """Write points into a map. Points without depth or outside are left out.

    Points are expected in different pixels (:func:`select_keypoints` sees to it); where two meet,
    either may be written.
    """
    height, width = size
    column, row = (pixels.detach() + (0.5 - pixel_centre)).floor().long().unbind(-1)
    counts = (depth > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    # Points that do not count go into one cell more, which is cut off.
    index = torch.where(counts, row * width + column, height * width)
    maps = depth.new_zeros(2, len(depth), height * width + 1)
    depth_map = maps[0].scatter(1, index, depth)
    confidence_map = maps[1].scatter(1, index, confidence.to(depth.dtype))
    shape = (-1, 1, height, width)
    return SparseDepth(
        depth_map[:, :-1].reshape(shape).contiguous(),
        confidence_map[:, :-1].reshape(shape).contiguous(),
    )


class DepthDensifier(nn.Module):
    """Sparse depth and the image's levels -> dense depth at four scales.

    Args:
        image_channels: of the image encoder's five levels.
        depth_range: metres. Ours answers in inverse depth between its ends, so that every output
            is a positive depth.
        encoder: of the sparse map; None: DELTAS's, a ResNet-50 a quarter as wide.
        channels: of the decoder at strides 16, 8, 4, 2 and 1.
        aspp_channels: of each branch of the pyramid at stride 8.
        compat: None, or "deltas": the map of depth alone as input, metres as they come as output
            (also below 0), the unpooling that depends on the size, sizes that are no multiple
            of 32.
    """

    def __init__(
        self,
        image_channels: Sequence[int],
        depth_range: tuple[float, float],
        encoder: PyramidEncoder | None = None,
        channels: Sequence[int] = (512, 256, 128, 64, 32),
        aspp_channels: int = 128,
        compat: str | None = None,
    ) -> None:
        super().__init__()
        if compat not in (None, "deltas"):
            raise ValueError(f'compat must be None or "deltas", got {compat!r}')
        self.compat = compat
        self.depth_range = depth_range
        in_channels = 1 if compat else 2
        self.encoder = encoder or PyramidEncoder(50, in_channels, base_channels=16)
        levels = [sum(pair) for pair in zip(image_channels, self.encoder.channels, strict=True)]
        unpool = "deltas" if compat else "zeros"
        widths = (levels[4], *channels)
        skips = (levels[3], levels[2], levels[1], levels[0], 0)
        self.ups = nn.ModuleList(
            UpProjection(widths[index], widths[index + 1], skips[index], unpool=unpool)
            for index in range(5)
        )
        self.aspp = DenseASPP(channels[1], aspp_channels)
        self.out = nn.Conv2d(channels[4], 1, 3, padding=1)
        self.side_outs = nn.ModuleList(nn.Conv2d(channels[i], 1, 1) for i in (3, 2, 1))

    def forward(
        self,
        levels: Sequence[Tensor],  # five of the image encoder, [B, C, H/s, W/s]
        sparse: SparseDepth,
    ) -> list[Tensor]:
        """Depth in metres at full, 1/2, 1/4 and 1/8 resolution, ``[B, 1, H/s, W/s]``.

        Raises:
            ValueError: the size is no multiple of 32.
        """
        size = sparse.depth.shape[-2:]
        if not self.compat and (size[0] % ALIGNMENT or size[1] % ALIGNMENT):
            raise ValueError(
                f"images must be a multiple of {ALIGNMENT} pixels high and wide, got "
                f"{size[0]} x {size[1]}; resize or crop them in the pipeline"
            )
        points = self.encoder(self._input(sparse))
        half, quarter, eighth, sixteenth = (
            torch.cat([point, level], dim=1)
            for point, level in zip(points[:4], levels[:4], strict=True)
        )
        deepest = torch.cat([levels[4], points[4]], dim=1)  # in the order of official weights
        x = self.ups[0](deepest, sixteenth)  # [B, 512, H/16, W/16]
        at_8 = self.aspp(self.ups[1](x, eighth))
        at_4 = self.ups[2](at_8, quarter)
        at_2 = self.ups[3](at_4, half)
        full = self.ups[4](at_2, size=size)
        sides = (out(x) for out, x in zip(self.side_outs, (at_2, at_4, at_8), strict=True))
        return [self._depth(output) for output in (self.out(full), *sides)]

    def _input(self, sparse: SparseDepth) -> Tensor:
        if self.compat:
            return sparse.depth
        # Inverse depth times the nearest depth lies between 0 and 1 whatever the range.
        has_depth = sparse.depth > 0
        inverse = self.depth_range[0] / torch.where(has_depth, sparse.depth, 1.0)
        return torch.cat([torch.where(has_depth, inverse, 0.0), sparse.confidence], dim=1)

    def _depth(self, output: Tensor) -> Tensor:
        if self.compat:
            return output
        near, far = self.depth_range
        return 1 / (1 / far + output.float().sigmoid() * (1 / near - 1 / far))
