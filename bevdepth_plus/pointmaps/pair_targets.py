"""What a posed pair with depth teaches a two-view network: its pointmaps and its matches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bevdepth_plus.geometry.depth_maps import depth_map_points
from bevdepth_plus.geometry.flow import rigid_flow, visible_in_other
from bevdepth_plus.geometry.rigid import invert_rigid, transform_points
from bevdepth_plus.losses.masking import uniform

Pair = tuple[Tensor, Tensor]  # of view 1 and of view 2


@dataclass(frozen=True)
class PosedPair:
    """Depth and cameras of two views.

    Attributes:
        depths: along the optical axis, metres, 0 = unknown, ``[B, H, W]`` each.
        intrinsics: of these depth maps, ``[B, 3, 3]`` each.
        first_T_second: points of camera 2 -> camera 1, metres, ``[B, 4, 4]``.
    """

    depths: Pair
    intrinsics: Pair
    first_T_second: Tensor

    def both_ways(self) -> PosedPair:
        """All pairs as they are, then all with their views swapped: ``2 B`` pairs."""

        def both(pair: Pair) -> Pair:
            return torch.cat(pair), torch.cat(pair[::-1])

        poses = torch.cat([self.first_T_second, invert_rigid(self.first_T_second)])
        return PosedPair(both(self.depths), both(self.intrinsics), poses)


def target_pointmaps(pair: PosedPair) -> tuple[Pair, Pair]:
    """Points of both views in the camera frame of view 1, and which of them are known.

    A point that moved between the views is where view 2 saw it.

    Returns:
        Points, metres, ``[B, H, W, 3]`` each, 0 where unknown; and masks, bool ``[B, H, W]`` each.
    """
    valid = tuple((depth > 0) & depth.isfinite() for depth in pair.depths)
    first, second = (
        depth_map_points(torch.where(mask, depth.float(), 0)[:, None], matrix)
        for depth, mask, matrix in zip(pair.depths, valid, pair.intrinsics, strict=True)
    )
    second = transform_points(pair.first_T_second[:, None], second)
    return (first, torch.where(valid[1][..., None], second, 0)), valid


def true_matches(
    pair: PosedPair,
    num: int,
    tolerance: float = 0.05,
    generator: torch.Generator | None = None,
) -> tuple[Pair, Tensor]:
    """Pixels of view 1, drawn at random, and the pixels of view 2 that show the same points.

    Args:
        num: matches a pair, or all pixels where these are fewer.
        tolerance: share of depth by which view 2 may see another surface: the z-test, which leaves
            out what is hidden there and most of what moved.

    Returns:
        Pixels, (column, row), int64 ``[B, M, 2]`` each, all different in view 1; and which of the
        matches are valid, bool ``[B, M]``: fewer than ``num`` where little is seen by both.
    """
    flow = rigid_flow(
        pair.depths[0][:, None],
        *pair.intrinsics,
        invert_rigid(pair.first_T_second),
        pair.depths[1].shape[-2:],
    )
    shown = visible_in_other(flow, pair.depths[1][:, None], tolerance, same_surface=True)
    shown = shown.flatten(1)  # [B, H * W]
    # Random scores, those of pixels that are not shown below all others.
    scores = uniform(shown.shape, shown.device, generator) - 2.0 * ~shown
    index = scores.topk(min(num, scores.shape[1])).indices  # [B, M]
    valid = shown.gather(1, index)
    width = pair.depths[0].shape[-1]
    first = torch.stack([index % width, index // width], dim=-1)
    second = flow.correspondence.flatten(2).mT  # [B, H * W, 2]
    second = second.gather(1, index[..., None].expand(-1, -1, 2)).floor().long()
    return (first, torch.where(valid[..., None], second, 0)), valid
