"""The road as a ruler: how large a metre on the ground looks at each pixel."""

from __future__ import annotations

import torch
from torch import Tensor

from bevdepth_plus.geometry.camera import CameraRig
from bevdepth_plus.geometry.canonical import effective_focal


def ground_scale(
    rig: CameraRig,  # one frame
    u: Tensor,  # [W], network pixels
    v: Tensor,  # [H], network pixels
) -> Tensor:
    """Pixels that a metre spans where a pixel's ray meets the plane z = 0 of the ego frame.

    It is the focal length over the ground's depth: 0 at the horizon, negative above it, and smooth
    across. Height, pitch, roll, focal length and augmentation are all in it, so what a network
    learns of it for one rig holds for another.

    Returns:
        ``[B, N, H, W]``.
    """
    to_pixels = (rig.image_aug[:, 0] @ rig.intrinsics[:, 0]).float()
    inverse = torch.linalg.inv_ex(to_pixels).inverse
    ego_T_cam = rig.ego_T_cam[:, 0].float()
    # Row z of the rotation, over the height: the inverse depth of the ground is linear in pixels.
    down = -ego_T_cam[..., 2:3, :3] / ego_T_cam[..., 2:3, 3:]
    across, along, offset = (down @ inverse)[..., 0, :, None, None].unbind(-3)
    inverse_depth = across * u + along * v[:, None] + offset
    focal = effective_focal(rig.intrinsics[:, 0], rig.image_aug[:, 0])
    return focal[..., None, None] * inverse_depth
