"""What the public DELTAS code does differently, reproduced for its numbers and its weights.

Written from the paper and from recorded results; none of that code is copied. Known faults kept
here on purpose, and nowhere else:

- descriptors are looked up beside their place, by up to 4 pixels at stride 8;
- a point whose nearest or farthest depth projects outside a view is dropped there;
- whether that depth lies behind the view's camera is not asked;
- an offset across the segment counts half;
- the confidence of a match in the image is never below a half.

Pixel centres lie at integers here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from bevdepth_plus.geometry.epipolar import pixel_lines
from bevdepth_plus.triangulation.epipolar_matching import Matches

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_ALWAYS = 1e-3  # confidence factor of a dropped point


def normalise_images(images: Tensor) -> Tensor:  # [..., 3, H, W], from -1 to 1
    """ImageNet's mean and deviation on top of a range of -1 to 1, which the weights expect."""
    mean, std = (images.new_tensor(values)[:, None, None] for values in (_MEAN, _STD))
    return (images - mean) / std


@dataclass(frozen=True)
class Strips:
    """Where the public code looks for each point, from the far end of the range to the near one.

    Attributes:
        start: ``[B, V, P, 2]``; (0, 0) for a dropped point.
        along: from start to end, ``[B, V, P, 2]``; 0 for a dropped point.
        right: unit vector across the line, ``[B, V, P, 2]``, of dropped points too.
        length: pixels, ``[B, V, P]``.
        visible: whether both ends are in the image, ``[B, V, P]``.
    """

    start: Tensor
    along: Tensor
    right: Tensor
    length: Tensor
    visible: Tensor

    def sample(self, num: int, rows: int) -> Tensor:
        """Places ``[B, V, P, 2 rows + 1, num, 2]``, rows a pixel apart."""
        share = torch.linspace(0, 1, num, device=self.start.device, dtype=self.start.dtype)
        line = self.start[..., None, :] + share[:, None] * self.along[..., None, :]
        across = torch.arange(-rows, rows + 1, device=share.device).to(share.dtype)
        return line[..., None, :, :] + (across[:, None] * self.right[..., None, :])[..., None, :]


def unclipped_strips(
    pixels: Tensor,  # [B, P, 2]
    intrinsics: Tensor,  # [B, 3, 3]
    source_intrinsics: Tensor,  # [B, V, 3, 3]
    source_T_anchor: Tensor,  # [B, V, 4, 4]
    size: tuple[int, int],
    depth_range: tuple[float, float],  # metres
    margin: float = 0.5,
) -> Strips:
    """Between both ends of the range, or nothing where one is outside the image.

    The image begins ``margin`` pixels before the first pixel's centre.
    """
    lines = pixel_lines(pixels, intrinsics, source_intrinsics, source_T_anchor)
    height, width = size
    limit = pixels.new_tensor([width - 0.5, height - 0.5])
    ends = []
    for depth in reversed(depth_range):
        homogeneous = lines.at(torch.full_like(lines.offset[..., 0], 1 / depth))
        ends.append(homogeneous[..., :2] / homogeneous[..., 2:])
    visible = torch.stack([((end >= -margin) & (end <= limit)).all(-1) for end in ends]).all(0)
    along = ends[1] - ends[0]
    length = along.norm(dim=-1)
    unit = along / length.clamp(min=1e-12)[..., None]
    # Rounding alone gives an unmoved point a direction.
    unit = torch.where(length[..., None] > 1e-3, unit, unit.new_tensor([1.0, 0.0]))
    return Strips(
        torch.where(visible[..., None], ends[0], 0.0),
        torch.where(visible[..., None], along, 0.0),
        torch.stack([-unit[..., 1], unit[..., 0]], dim=-1),
        torch.where(visible, length, 0.0),
        visible,
    )


def sample_beside(
    descriptors: Tensor,  # [M, C, h, w]
    pixels: Tensor,  # [M, ..., 2]
    stride: int,
    align_corners: bool = False,
    normalise: bool = True,
) -> Tensor:
    """Descriptors, of length 1 if ``normalise``, ``[M, C, ...]``; SuperPoint's formula."""
    size = pixels.new_tensor([descriptors.shape[-1], descriptors.shape[-2]])
    grid = (pixels - stride / 2 + 0.5) / (size * stride - stride / 2 - 0.5) * 2 - 1
    found = functional.grid_sample(
        descriptors, grid.flatten(1, -2)[:, None], align_corners=align_corners
    )[:, :, 0]
    if normalise:
        found = functional.normalize(found, dim=1)
    return found.unflatten(-1, pixels.shape[1:-1])


def soft_argmax(
    scores: Tensor,  # [..., R, L]
    kind: str = "softmax",
) -> Tensor:
    """Expected (column, row) in cells, ``[..., 2]``, weighted by softmax or by what is positive."""
    flat = scores.flatten(-2)
    if kind == "softmax":
        share = flat.softmax(-1)
    else:
        share = flat.relu() / flat.relu().sum(-1, keepdim=True).clamp(min=1e-12)
    share = share.reshape_as(scores)
    row, column = (torch.arange(n, device=scores.device).to(scores) for n in scores.shape[-2:])
    return torch.stack([(share.sum(-2) * column).sum(-1), (share.sum(-1) * row).sum(-1)], dim=-1)


class DeltasEpipolarMatcher(nn.Module):
    """:class:`EpipolarMatcher` as the public code has it, same arguments and result.

    Args:
        samples: along each segment.
        rows: to both sides of the segment, a pixel apart.
        kernel_size: side of the patch of descriptors that is compared.
        stride: of the descriptor maps.
        align_corners: of the look-up.
    """

    def __init__(
        self,
        samples: int = 100,
        rows: int = 1,
        kernel_size: int = 1,
        stride: int = 8,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.samples = samples
        self.rows = rows
        self.kernel_size = kernel_size
        self.stride = stride
        self.align_corners = align_corners
        self.norm = nn.BatchNorm2d(1)  # its factor is the temperature

    def forward(
        self,
        descriptors: Tensor,  # [B, C, h, w]
        source_descriptors: Tensor,  # [B, V, C, h, w]
        pixels: Tensor,  # [B, P, 2]
        intrinsics: Tensor,  # [B, 3, 3]
        source_intrinsics: Tensor,  # [B, V, 3, 3]
        source_T_anchor: Tensor,  # [B, V, 4, 4]
        size: tuple[int, int],
        depth_range: tuple[float, float],
        images: Tensor | None = None,  # of no use here: descriptors alone are compared
    ) -> Matches:
        strips = unclipped_strips(
            pixels,
            intrinsics,
            source_intrinsics,
            source_T_anchor,
            size,
            depth_range,
            margin=0.0 if self.align_corners else 0.5,
        )
        scores = self.scores(descriptors, source_descriptors, pixels, strips)
        scores = functional.relu(self.norm(scores.flatten(0, 2)[:, None])[:, 0])
        scores = scores.unflatten(0, strips.length.shape)  # [B, V, P, R, L]
        column, row = soft_argmax(scores).split(1, dim=-1)
        offset = (row - (scores.shape[-2] - 1) / 2) / 2  # half of what it should be
        found = strips.start + column / (self.samples - 1) * strips.along + offset * strips.right
        found = torch.where(strips.visible[..., None], found, 0.0)
        best = scores.amax((-2, -1)).sigmoid()
        confidence = best * ((strips.length > 0).to(best.dtype) + _ALWAYS)
        return Matches(found, torch.ones_like(confidence), confidence, strips.visible)

    def scores(
        self,
        descriptors: Tensor,  # [B, C, h, w]
        source_descriptors: Tensor,  # [B, V, C, h, w]
        pixels: Tensor,  # [B, P, 2]
        strips: Strips,
    ) -> Tensor:
        """Products of the point's patch with every place of the strip, ``[B, V, P, R, L]``."""
        views = source_descriptors.shape[1]
        places = strips.sample(self.samples, self.rows)
        found = sample_beside(
            source_descriptors.flatten(0, 1),
            places.flatten(0, 1).detach(),
            self.stride,
            self.align_corners,
        )  # [B * V, C, P, R, L]
        found = found.unflatten(0, (-1, views))
        patch = self.patches(pixels, strips)  # [B, V, P, k, k, 2]
        own = descriptors[:, None].expand(-1, views, -1, -1, -1).flatten(0, 1)
        own = sample_beside(own, patch.flatten(0, 1), self.stride, self.align_corners)
        own = own.unflatten(0, (-1, views))  # [B, V, C, P, k, k]
        return patch_products(own, found)

    def patches(self, pixels: Tensor, strips: Strips) -> Tensor:
        """Places of the point's patch: rows a pixel apart, columns (at 3 x 3) 1.5 samples."""
        side = self.kernel_size
        middle = torch.arange(side, device=pixels.device).to(pixels.dtype) - side // 2
        column = strips.length / self.samples * (side / max(side - 1, 1))
        u = (middle * column[..., None])[..., None, :].expand(*column.shape, side, side)
        v = middle[:, None].expand_as(u)
        return pixels[:, None, :, None, None] + torch.stack([u, v], dim=-1)


def patch_products(
    own: Tensor,  # [B, V, C, P, k, k]
    found: Tensor,  # [B, V, C, P, R, L]
) -> Tensor:
    """Correlation with zeros beside the ends of the line, ``[B, V, P, R - k + 1, L]``."""
    side, samples = own.shape[-1], found.shape[-1]
    found = functional.pad(found, (side // 2, side // 2))
    rows = found.shape[-2] - side + 1
    total = 0.0
    for row in range(side):
        for column in range(side):
            part = found[..., row : row + rows, column : column + samples]
            total = total + (own[..., row, column, None, None] * part).sum(2)
    return total
