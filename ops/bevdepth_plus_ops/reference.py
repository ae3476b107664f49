"""The definition of every op in plain PyTorch: the tests' reference, and the fallback."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .checks import check_pool_inputs


def bev_pool_reference(
    depth: Tensor,  # [B, N, D, H, W]
    context: Tensor,  # [B, N, C, H, W]
    cells: Tensor,  # [B, N, D, H, W] int32
    bev_size: tuple[int, int],  # (Y, X)
) -> Tensor:
    """Sums depth * context over the frustum points of each BEV cell.

    `out[b, :, cell] = sum of depth[b, n, d, h, w] * context[b, n, :, h, w]` over all points whose
    `cells[b, n, d, h, w] == cell`. Points whose cell lies outside `0 <= cell < Y * X` take no part:
    neither their values (NaN and inf included) nor their gradients reach anything.

    Every point's feature is materialised (points x C), as in BEVDepth's first op, so this is slow
    and memory-hungry; it exists to be obviously right.

    Returns:
        [B, C, Y, X] in the dtype of depth; bfloat16 and float16 are summed in float32.
    """
    check_pool_inputs(depth, context, cells, bev_size)
    batch, channels = depth.shape[0], context.shape[2]
    grid = bev_size[0] * bev_size[1]
    sum_dtype = torch.float64 if depth.dtype == torch.float64 else torch.float32

    used = (cells >= 0) & (cells < grid)
    # Masking the weight (rather than the product) also keeps NaN out of both gradients.
    weight = torch.where(used, depth, torch.zeros_like(depth)).to(sum_dtype)
    points = weight.unsqueeze(-1) * context.to(sum_dtype).movedim(2, -1).unsqueeze(2)
    first_row = torch.arange(batch, device=cells.device).view(-1, 1, 1, 1, 1) * grid
    spare_row = batch * grid  # collects the points outside and is dropped
    rows = torch.where(used, cells.long() + first_row, spare_row)
    summed = points.new_zeros(spare_row + 1, channels)
    summed = summed.index_add(0, rows.flatten(), points.flatten(0, -2))
    bev = summed[:spare_row].view(batch, *bev_size, channels).permute(0, 3, 1, 2)
    return bev.contiguous().to(depth.dtype)


def frustum_points(
    ego_T_cam: Tensor,  # [B, N, 4, 4]
    intrinsics: Tensor,  # [B, N, 3, 3]
    image_aug: Tensor,  # [B, N, 3, 3]
    bev_aug: Tensor,  # [B, 4, 4]
    *,
    u: Tensor,  # [W]
    v: Tensor,  # [H]
    depths: Tensor,  # [D]
) -> Tensor:
    """The metric points of a camera frustum in the (augmented) ego frame, in float64.

    `point = bev_aug @ ego_T_cam @ (K^-1 @ image_aug^-1 @ (u, v, 1) * depth)`.

    Args:
        ego_T_cam: Maps camera points to ego, metres.
        intrinsics: Maps camera rays to pixels of the image as loaded.
        image_aug: Affine map from pixels as loaded to pixels of the network image.
        bev_aug: Maps ego points to augmented ego points.
        u, v: Pixel coordinates of the feature columns and rows in the network image.
        depths: Metric depth (z in the camera frame) of each bin.

    Returns:
        [B, N, D, H, W, 3] float64.
    """
    pixels = torch.stack(
        [
            u.double().expand(v.shape[0], -1),
            v.double()[:, None].expand(-1, u.shape[0]),
            torch.ones(v.shape[0], u.shape[0], dtype=torch.float64, device=u.device),
        ],
        dim=-1,
    )  # [H, W, 3]
    rays_per_pixel = torch.linalg.inv_ex(image_aug.double() @ intrinsics.double()).inverse
    rays = torch.einsum("bnij,hwj->bnhwi", rays_per_pixel, pixels)
    points = rays.unsqueeze(2) * depths.double().view(1, 1, -1, 1, 1, 1)  # [B, N, D, H, W, 3]
    aug_T_cam = bev_aug.double().unsqueeze(1) @ ego_T_cam.double()
    rotated = torch.einsum("bnij,bndhwj->bndhwi", aug_T_cam[..., :3, :3], points)
    return rotated + aug_T_cam[..., None, None, None, :3, 3]


def frustum_cells_reference(
    ego_T_cam: Tensor,  # [B, N, 4, 4]
    intrinsics: Tensor,  # [B, N, 3, 3]
    image_aug: Tensor,  # [B, N, 3, 3]
    bev_aug: Tensor,  # [B, 4, 4]
    *,
    u: Tensor,  # [W]
    v: Tensor,  # [H]
    depths: Tensor,  # [D]
    lower: Sequence[float],  # (x, y, z)
    cell_size: Sequence[float],  # (x, y, z)
    grid_size: Sequence[int],  # (X, Y, Z)
    rounding: str = "floor",
) -> Tensor:
    """`frustum_cells` from explicit points; see there for arguments and result."""
    points = frustum_points(ego_T_cam, intrinsics, image_aug, bev_aug, u=u, v=v, depths=depths)
    origin = torch.as_tensor(lower, dtype=torch.float64, device=points.device)
    size = torch.as_tensor(cell_size, dtype=torch.float64, device=points.device)
    coordinates = (points - origin) / size
    # Truncation moves (-1, 0) into cell 0; from 0 upward it and floor agree.
    inside = coordinates > -1 if rounding == "truncate" else coordinates >= 0
    limits = torch.as_tensor(grid_size, device=points.device)
    inside = (inside & (coordinates < limits)).all(dim=-1)
    whole = torch.where(inside.unsqueeze(-1), coordinates, 0.0).trunc().to(torch.int32)
    cells = whole[..., 1] * grid_size[0] + whole[..., 0]
    return torch.where(inside, cells, -1)
