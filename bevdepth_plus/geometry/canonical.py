"""Canonical camera space: depth scaled to one fixed focal length.

Things of one size at one depth look larger under a longer focal length, so the same picture means
different depths to different cameras. A network that predicts depth for one focal length ``f_c``
avoids this; its output is scaled to metres with the camera's own ``f``. Source: Yin et al.,
"Metric3D: Towards zero-shot metric 3D prediction from a single image" (ICCV 2023).

Two ways: the labels are scaled (:func:`to_canonical_depth`, :func:`from_canonical_depth`), or the
images are resized and the labels kept (:func:`canonical_image_matrix`).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from bevdepth_plus.geometry.cameras import Cameras


def effective_focal(
    intrinsics: Tensor,  # [..., 3, 3], such as cameras.network_intrinsics
) -> Tensor:
    """Focal length in the pixels of the matrix, the mean of both axes, ``[...]``, positive.

    It is the mean of the two singular values of the matrix's 2x2 part: without rotation or flip
    (fx + fy) / 2, and neither flip nor rotation by image augmentation changes it.
    """
    (a, b), (c, d) = (row.unbind(-1) for row in intrinsics[..., :2, :2].unbind(-2))
    # (s1 + s2)^2 = s1^2 + s2^2 + 2 s1 s2, the squared Frobenius norm plus twice |determinant|
    return (a * a + b * b + c * c + d * d + 2 * (a * d - b * c).abs()).sqrt() / 2


def network_focal(cameras: Cameras) -> Tensor:
    """Focal length of each camera in network pixels, ``[B, N]``."""
    return effective_focal(cameras.network_intrinsics)


def with_focal(
    cameras: Cameras,
    focal: Tensor,  # [B, N], network pixels
) -> Cameras:
    """The cameras with other focal lengths; principal points and fy / fx stay."""
    intrinsics = cameras.intrinsics.clone()
    intrinsics[..., :2, :2] *= (focal / network_focal(cameras))[..., None, None]
    return replace(cameras, intrinsics=intrinsics)


def to_canonical_depth(
    depth: Tensor,  # [*C, ..., H, W], metres, 0 = none
    focal: Tensor,  # [*C], pixels, one for each camera
    canonical_focal: float,
) -> Tensor:
    """``D_c = D * f_c / f`` for each camera; 0 stays 0."""
    return _scaled(depth, canonical_focal / focal)


def from_canonical_depth(
    canonical_depth: Tensor,  # [*C, ..., H, W]
    focal: Tensor,  # [*C], pixels, one for each camera
    canonical_focal: float,
) -> Tensor:
    """``D = D_c * f / f_c``, metres: the inverse of :func:`to_canonical_depth`."""
    return _scaled(canonical_depth, focal / canonical_focal)


def canonical_image_matrix(
    image_size: tuple[int, int],  # width, height of the network's image
    intrinsics: Tensor,  # [..., 3, 3], network pixels
    canonical_focal: float,
) -> tuple[Tensor, Tensor]:
    """The resize by ``f_c / f`` that gives every camera the focal length ``f_c``.

    Compose it on the left, ``matrix @ image_aug``: focal length and principal point follow, and
    depth labels stay as they are. Its inverse maps back to the network's image. The scale is
    exact and the same on both axes, so warp with the matrix; the size is rounded.

    Returns:
        ``matrix [..., 3, 3]``, network pixels -> canonical pixels (centres at integers + 0.5), and
        ``size [..., 2]``, int64, the width and height of each camera's canonical image.
    """
    scale = canonical_focal / effective_focal(intrinsics)
    matrix = torch.diag_embed(torch.stack([scale, scale, torch.ones_like(scale)], dim=-1))
    size = scale[..., None] * torch.tensor(image_size, dtype=scale.dtype, device=scale.device)
    return matrix, size.round().long().clamp(min=1)


def canonical_cameras(cameras: Cameras, canonical_focal: float) -> Cameras:
    """The cameras for a network in canonical space: all parameters but the focal length.

    Intrinsics become those of the network's image, scaled to ``f_c``: fy / fx and the principal
    point stay. Of the image augmentation its rotation and flip stay; its scale is in the focal
    length, its shift in the principal point. For camera parameters only, not for projection.
    """
    image_aug = cameras.image_aug
    intrinsics = cameras.intrinsics.clone()
    mean = (intrinsics[..., 0, 0] + intrinsics[..., 1, 1]) / 2
    intrinsics[..., :2, :2] *= (canonical_focal / mean)[..., None, None]
    intrinsics[..., :2, 2] = cameras.network_intrinsics[..., :2, 2]
    # The augmentation's 2x2 part without its scale.
    rotation_and_flip = torch.zeros_like(image_aug)
    (a, b), (c, d) = (row.unbind(-1) for row in image_aug[..., :2, :2].unbind(-2))
    scale = (a * d - b * c).abs().sqrt()[..., None, None]
    rotation_and_flip[..., :2, :2] = image_aug[..., :2, :2] / scale
    rotation_and_flip[..., 2, 2] = 1
    return replace(cameras, intrinsics=intrinsics, image_aug=rotation_and_flip)


def _scaled(depth: Tensor, factor: Tensor) -> Tensor:
    if factor.ndim > depth.ndim - 2 or factor.shape != depth.shape[: factor.ndim]:
        raise ValueError(
            f"focal must have the leading axes of depth {tuple(depth.shape)}, "
            f"got {tuple(factor.shape)}"
        )
    factor = factor.reshape(*factor.shape, *[1] * (depth.ndim - factor.ndim))
    return (depth * factor).to(depth.dtype)
