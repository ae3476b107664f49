"""The frustum: where each depth bin of each feature cell lies in the BEV grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from bevdepth_plus.geometry.bev_grid import BEVGrid
from bevdepth_plus.geometry.cameras import Cameras
from bevdepth_plus.geometry.depth_bins import DepthBins
from bevdepth_plus.geometry.pinhole import cell_centres
from bevdepth_plus_ops import frustum_cells, frustum_points

START_OF_RAYS = ("centres", "corners")


@MODELS.register_module()
class Frustum(nn.Module):
    """Columns, rows and depth planes of the frustum, and the BEV cell of each of its points.

    A camera that is no pinhole needs a class of its own, with another :meth:`cells`.

    Args:
        grid: the :class:`BEVGrid`'s x, y, z as ``(lower, upper, cell)``, metres.
        depth_bins: the :class:`DepthBins`' start, stop, step (and plane), metres.
        image_size: ``(H, W)`` of the network's input, pixels.
        stride: of the image features.
        rays: where a feature cell's ray starts. ``"centres"``: at the cell's centre.
            ``"corners"``: evenly from the first pixel to the last, as in the public BEVDepth code
            (up to half a stride off; only for converted checkpoints).
        rounding: ``"floor"``, or ``"truncate"`` toward zero as in the public code, which pulls
            points up to one cell outside the grid into its border cells.
    """

    u: Tensor  # [W], network pixels
    v: Tensor  # [H], network pixels
    depths: Tensor  # [D], metres

    def __init__(
        self,
        grid: Mapping,
        depth_bins: Mapping,
        image_size: Sequence[int],
        stride: int,
        rays: str = "centres",
        rounding: str = "floor",
    ) -> None:
        super().__init__()
        if rays not in START_OF_RAYS:
            raise ValueError(f"rays must be one of {START_OF_RAYS}, got {rays!r}")
        self.grid = BEVGrid(**grid)
        self.rounding = rounding
        height, width = image_size
        rows, columns = height // stride, width // stride
        if rays == "centres":
            u, v = cell_centres((rows, columns), stride)
        else:
            u, v = torch.linspace(0, width - 1, columns), torch.linspace(0, height - 1, rows)
        self.register_buffer("u", u, persistent=False)
        self.register_buffer("v", v, persistent=False)
        self.register_buffer("depths", DepthBins(**depth_bins).planes(), persistent=False)

    @torch.no_grad()
    def cells(self, cameras: Cameras) -> Tensor:
        """Flat BEV cell ``y * X + x`` of each frustum point, int32 ``[B, N, D, H, W]``.

        -1 for points outside the grid and all points of a masked camera.
        """
        cells = frustum_cells(
            *_matrices(cameras),
            u=self.u,
            v=self.v,
            depths=self.depths,
            lower=self.grid.lower,
            cell_size=self.grid.cell,
            grid_size=self.grid.size,
            rounding=self.rounding,
        )
        if cameras.mask is None:
            return cells
        return cells.masked_fill(~cameras.mask[:, :, None, None, None], -1)

    @torch.no_grad()
    def points(self, cameras: Cameras) -> Tensor:
        """The points in the augmented ego frame, metres, ``[B, N, D, H, W, 3]``."""
        return frustum_points(*_matrices(cameras), u=self.u, v=self.v, depths=self.depths)


def _matrices(cameras: Cameras) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return cameras.ego_T_cam, cameras.intrinsics, cameras.image_aug, cameras.bev_aug
