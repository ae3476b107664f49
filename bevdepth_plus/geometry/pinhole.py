"""The pinhole camera: the only projection of the project.

Everything here is in the camera's own frame (x right, y down, z forward, metres) and in the pixels
of the matrix given: ``cameras.network_intrinsics`` for the network's image, ``intrinsics`` for the
image as loaded, :func:`scaled_intrinsics` for feature cells. Pixel centres lie at integers + 0.5.
A camera of another kind (fisheye) would stand beside this file with the same three functions.

The renderer of the synthetic scenes and the pooling op's kernels have projections of their own, for
speed; tests compare both with this one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def project(
    points: Tensor,  # [..., P, 3], camera frame
    intrinsics: Tensor,  # [..., 3, 3]
) -> tuple[Tensor, Tensor]:
    """Project points of the camera's frame into its image.

    Returns:
        ``pixels [..., P, 2]`` as (u, v), and ``depth [..., P]`` along the optical axis, metres.
        Pixels of points with depth <= 0 mean nothing, but are finite.
    """
    with torch.autocast(points.device.type, enabled=False):
        homogeneous = points @ intrinsics.transpose(-1, -2)
    # The sign is kept, so that a point just behind the camera does not divide by zero.
    scale = torch.where(homogeneous[..., 2:].abs() > 1e-9, homogeneous[..., 2:], 1e-9)
    return homogeneous[..., :2] / scale, points[..., 2]


def rays(
    pixels: Tensor,  # [..., P, 2], (u, v)
    intrinsics: Tensor,  # [..., 3, 3]
) -> Tensor:
    """The viewing ray of each pixel, scaled so that z = 1: ``[..., P, 3]``.

    The whole inverse of the matrix is used: fx and fy, the principal point, and the rotation or
    flip that image augmentation brings.
    """
    inverse = inverse_intrinsics(intrinsics)
    u, v = pixels[..., 0, None], pixels[..., 1, None]
    # Products and sums of columns: autocast would run a matrix product in half precision.
    columns = inverse.unsqueeze(-3)  # [..., 1, 3, 3]
    directions = columns[..., 0] * u + columns[..., 1] * v + columns[..., 2]
    return directions / directions[..., 2:]


def unproject(
    pixels: Tensor,  # [..., P, 2], (u, v)
    depth: Tensor,  # [..., P], metres along the optical axis
    intrinsics: Tensor,  # [..., 3, 3]
) -> Tensor:
    """The inverse of :func:`project`: points of the camera's frame, metres, ``[..., P, 3]``."""
    return rays(pixels, intrinsics) * depth[..., None]


def inverse_intrinsics(
    intrinsics: Tensor,  # [..., 3, 3]
) -> Tensor:
    """The inverse matrices ``[..., 3, 3]``; a singular one gives infinities instead of an error.

    ``torch.linalg.inv`` would wait for the device in order to raise.
    """
    return torch.linalg.inv_ex(intrinsics).inverse


def scaled_intrinsics(
    intrinsics: Tensor,  # [..., 3, 3]
    stride: int,
) -> Tensor:
    """The matrix of an image ``stride`` times smaller (feature cells), ``[..., 3, 3]``."""
    return torch.cat([intrinsics[..., :2, :] * (1 / stride), intrinsics[..., 2:, :]], dim=-2)


def transform_pixels(
    a_T_b: Tensor,  # [..., 3, 3], affine: last row 0, 0, 1
    pixels: Tensor,  # [..., P, 2]
) -> Tensor:
    """Pixels of image ``b`` in image ``a``, ``[..., P, 2]``: resized, cropped, flipped, rotated."""
    return pixels @ a_T_b[..., :2, :2].transpose(-1, -2) + a_T_b[..., None, :2, 2]


def in_image(
    pixels: Tensor,  # [..., P, 2]
    size: Sequence[int],  # height, width
) -> Tensor:
    """Which pixels lie in an image of that size, bool ``[..., P]``."""
    height, width = size
    u, v = pixels.unbind(-1)
    return (u >= 0) & (u < width) & (v >= 0) & (v < height)


def cell_centres(
    cells: Sequence[int],  # rows, columns
    stride: int = 1,
    device: torch.device | None = None,
) -> tuple[Tensor, Tensor]:
    """Where the cells of a grid of ``stride`` pixels lie: u ``[columns]`` and v ``[rows]``."""
    rows, columns = cells
    u, v = ((torch.arange(n, device=device) + 0.5) * stride for n in (columns, rows))
    return u, v


def pixel_centres(
    size: Sequence[int],  # height, width
    stride: int = 1,
    device: torch.device | None = None,
) -> Tensor:
    """Where the cells of an image's grid of ``stride`` pixels lie, (u, v), ``[H/s, W/s, 2]``."""
    u, v = cell_centres((size[0] // stride, size[1] // stride), stride, device)
    return torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1)
