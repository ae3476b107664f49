"""One pointmap and one relative depth map of an image, from all pairs it is part of.

Source: MASt3R-SfM (3DV 2025), Sec. 4.2 (canonical pointmaps, constrained depth).

An image is cut into blocks, each with an anchor pixel. A depth map is then one depth an anchor, and
the depth of every other pixel relative to its anchor's, which never changes again.

Every average runs over valid pixels only. What has none is 0 in the result and not valid.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Added to the weights: confidence 1 is the lowest the network can state, and still counts a little.
_WEIGHT_OF_CONFIDENCE_1 = 0.001


@dataclass(frozen=True)
class CanonicalView:
    """What all pairs together say of one image, in its own camera frame.

    Attributes:
        points: ``[H, W, 3]``, 0 where not valid.
        confidence: ``[H, W]``, 0 where not valid.
        valid: bool ``[H, W]``; a pixel needs a point and a valid anchor.
        relative_depth: depth over the anchor's depth, ``[H, W]``, 1 where not valid.
        anchor: flat index of each block's anchor pixel, ``[h, w]``.
        anchor_valid: blocks with an anchor, bool ``[h, w]``.
        block: pixels along a block's side.
    """

    points: Tensor
    confidence: Tensor
    valid: Tensor
    relative_depth: Tensor
    anchor: Tensor
    anchor_valid: Tensor
    block: int

    @property
    def anchor_depth(self) -> Tensor:
        """Depth at the anchors, ``[h, w]``, 0 where there is none."""
        depth = self.points[..., 2].flatten()[self.anchor]
        return torch.where(self.anchor_valid, depth, 0)

    def offsets(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The anchor of each pixel and its depth relative to it.

        Args:
            pixels: (column, row), int64 ``[P, 2]``.

        Returns:
            Flat anchor index ``[P]``, depth over the anchor's depth ``[P]``, valid ``[P]``; the
            depth ratio is 1 where it is not valid.
        """
        columns, rows = pixels.unbind(-1)
        index = block_index(self.valid.shape, self.block, self.valid.device)[rows, columns]
        at_anchor = self.relative_depth.flatten()[self.anchor.flatten()[index]]
        ratio = self.relative_depth[rows, columns] / at_anchor.clamp(min=1e-6)
        valid = self.valid[rows, columns] & self.anchor_valid.flatten()[index]
        valid = valid & ratio.isfinite() & (ratio > 0)
        return index, torch.where(valid, ratio, 1), valid


def canonical_view(
    points: Tensor,  # [N, H, W, 3], of one image in its own frame, from N pairs
    confidence: Tensor,  # [N, H, W]
    valid: Tensor | None = None,  # [N, H, W], bool
    block: int = 8,
    average: str = "angle",
) -> CanonicalView:
    """Average an image's pointmaps and depth relative to the anchors.

    The scale of a pointmap differs from pair to pair, slopes do not: "angle" averages, for each
    pixel, the slope of the line to its anchor; "ratio" averages the depth ratio.

    Raises:
        ValueError: shapes disagree, or ``average`` is not known.
    """
    if average not in ("angle", "ratio"):
        raise ValueError(f"average must be 'angle' or 'ratio', got {average!r}")
    if points.ndim != 4 or points.shape[-1] != 3 or confidence.shape != points.shape[:3]:
        raise ValueError(
            "points must be [N, H, W, 3] and confidence [N, H, W], got "
            f"{tuple(points.shape)} and {tuple(confidence.shape)}"
        )
    weight = confidence - (1 - _WEIGHT_OF_CONFIDENCE_1)
    usable = points.isfinite().all(-1) & weight.isfinite() & (weight > 0)
    if valid is not None:
        if valid.shape != confidence.shape:
            raise ValueError(f"valid must be {tuple(confidence.shape)}, got {tuple(valid.shape)}")
        usable = usable & valid.bool()
    points = torch.where(usable[..., None], points, 0)
    weight = torch.where(usable, weight, 0)

    total = weight.sum(0)
    exists = total > 0
    total = torch.where(exists, total, 1)
    mean_points = (points * weight[..., None]).sum(0) / total[..., None]  # [H, W, 3]
    mean_confidence = weight.square().sum(0) / total

    size = tuple(exists.shape)
    anchor, anchor_valid = _anchors(exists & (mean_points[..., 2] > 0), block)
    of_pixel = block_index(size, block, points.device)  # [H, W], which block
    centre = anchor.flatten()[of_pixel]  # [H, W], which pixel is the anchor
    relative = _by_angle if average == "angle" else _by_ratio
    depth, has_depth = relative(points, weight, usable, mean_points, centre)
    known = exists & anchor_valid.flatten()[of_pixel] & has_depth
    known = known & depth.isfinite() & (depth > 0)
    return CanonicalView(
        points=mean_points,
        confidence=mean_confidence,
        valid=known,
        relative_depth=torch.where(known, depth, 1),
        anchor=anchor,
        anchor_valid=anchor_valid & known.flatten()[anchor],
        block=block,
    )


def block_index(size: tuple[int, int], block: int, device: torch.device | None = None) -> Tensor:
    """Which block each pixel is in, ``[H, W]``; a narrow rest belongs to the block before it."""
    rows, columns = (
        (torch.arange(side, device=device) // block).clamp(max=num_blocks(side, block) - 1)
        for side in size
    )
    return rows[:, None] * num_blocks(size[1], block) + columns


def num_blocks(side: int, block: int) -> int:
    """Blocks along a side: those whose centre is inside, but at least one."""
    return max(len(range(block // 2, side, block)), 1)


def _anchors(usable: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Flat index of each block's anchor ``[h, w]`` and whether it has one.

    The anchor is the block's centre, or else the usable pixel of the block nearest to it.
    """
    height, width = usable.shape
    rows = torch.arange(height, device=usable.device)
    columns = torch.arange(width, device=usable.device)
    shape = (num_blocks(height, block), num_blocks(width, block))
    of_pixel = block_index((height, width), block, usable.device)
    centre_row = (of_pixel // shape[1] * block + block // 2).clamp(max=height - 1)
    centre_column = (of_pixel % shape[1] * block + block // 2).clamp(max=width - 1)
    square = (rows[:, None] - centre_row).square() + (columns - centre_column).square()
    far = 2 * (height**2 + width**2)
    # Distance and pixel in one number, so that the smallest names the pixel.
    flat = rows[:, None] * width + columns
    key = torch.where(usable, square, far) * (height * width) + flat
    best = key.new_full((shape[0] * shape[1],), torch.iinfo(key.dtype).max)
    best = best.scatter_reduce(0, of_pixel.flatten(), key.flatten(), reduce="amin")
    return (best % (height * width)).reshape(shape), (best < far * height * width).reshape(shape)


def _by_angle(
    points: Tensor, weight: Tensor, usable: Tensor, mean_points: Tensor, centre: Tensor
) -> tuple[Tensor, Tensor]:
    at_centre = points.flatten(1, 2)[:, centre]  # [N, H, W, 3]
    both = usable & usable.flatten(1)[:, centre]
    apart = points - at_centre
    radius = apart[..., :2].norm(dim=-1).clamp(min=1e-8)
    angle = torch.where(both, (apart[..., 2] / radius).atan(), 0)
    total = torch.where(both, weight, 0).sum(0)
    count = both.sum(0)
    has_depth = (count > 0) & (total > 0)
    mean_angle = (angle * torch.where(both, weight, 0)).sum(0) / torch.where(has_depth, total, 1)
    mean_radius = torch.where(both, radius, 0).sum(0) / count.clamp(min=1)
    depth = mean_points[..., 2].flatten()[centre]
    has_depth = has_depth & (depth > 0)
    return 1 + mean_radius * mean_angle.tan() / torch.where(has_depth, depth, 1), has_depth


def _by_ratio(
    points: Tensor, weight: Tensor, usable: Tensor, mean_points: Tensor, centre: Tensor
) -> tuple[Tensor, Tensor]:
    at_centre = points[..., 2].flatten(1)[:, centre]  # [N, H, W]
    both = usable & usable.flatten(1)[:, centre] & (at_centre > 0)
    ratio = torch.where(both, points[..., 2] / torch.where(both, at_centre, 1), 0)
    weight = torch.where(both, weight, 0)
    total = weight.sum(0)
    return (ratio * weight).sum(0) / torch.where(total > 0, total, 1), total > 0
