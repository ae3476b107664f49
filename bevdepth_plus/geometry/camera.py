"""The rig: where each camera is, how it projects, and what augmentation did to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bevdepth_plus.geometry.rigid import invert_rigid, transform_points


@dataclass(frozen=True)
class CameraRig:
    """Cameras of a batch: B samples, S frames in time (0 = key), N cameras.

    Attributes:
        intrinsics: pinhole matrices of the images as loaded, pixels, ``[B, S, N, 3, 3]``.
        ego_T_cam: camera (x right, y down, z forward) -> key frame's ego, ``[B, S, N, 4, 4]``.
        image_aug: pixels as loaded -> pixels of the network's input, ``[B, S, N, 3, 3]``.
        bev_aug: key frame's ego -> augmented ego, ``[B, 4, 4]``.
        camera_mask: False where a camera is out at that moment, ``[B, S, N]``; None: all work.
    """

    intrinsics: Tensor
    ego_T_cam: Tensor
    image_aug: Tensor
    bev_aug: Tensor
    camera_mask: Tensor | None = None

    @classmethod
    def from_metainfo(
        cls, metas: Sequence[Mapping], device: torch.device | None = None
    ) -> CameraRig:
        """Stack the matrices of a batch's meta dicts (arrays without B) as float32 tensors.

        ``camera_mask`` may be absent (all cameras work), ``[S, N]``, or ``[N]`` for all moments.
        """

        def stack(key: str) -> Tensor:
            arrays = np.stack([np.asarray(meta[key], dtype=np.float32) for meta in metas])
            return torch.from_numpy(arrays).to(device)

        intrinsics = stack("intrinsics")
        masks = [
            np.broadcast_to(meta.get("camera_mask", True), intrinsics.shape[1:3]) for meta in metas
        ]
        return cls(
            intrinsics,
            stack("ego_T_cam"),
            stack("image_aug"),
            stack("bev_aug"),
            torch.from_numpy(np.stack(masks).astype(bool)).to(device),
        )

    @property
    def num_frames(self) -> int:
        return self.intrinsics.shape[1]

    @property
    def num_cameras(self) -> int:
        return self.intrinsics.shape[2]

    def frame(self, index: int) -> CameraRig:
        """The rig at one moment, still with an S axis (of 1)."""
        pick = slice(index, index + 1)
        return replace(
            self,
            intrinsics=self.intrinsics[:, pick],
            ego_T_cam=self.ego_T_cam[:, pick],
            image_aug=self.image_aug[:, pick],
            camera_mask=None if self.camera_mask is None else self.camera_mask[:, pick],
        )


def project(
    points: Tensor,  # [..., P, 3], ego frame
    ego_T_cam: Tensor,  # [..., 4, 4]
    intrinsics: Tensor,  # [..., 3, 3]
    image_aug: Tensor | None = None,  # [..., 3, 3]
) -> tuple[Tensor, Tensor]:
    """Project ego points into a camera's (augmented) image.

    Returns:
        ``pixels [..., P, 2]`` as (u, v), and ``depth [..., P]`` along the optical axis, metres.
        Pixels of points with depth <= 0 mean nothing.
    """
    in_camera = transform_points(invert_rigid(ego_T_cam), points)
    to_pixels = intrinsics if image_aug is None else image_aug @ intrinsics
    homogeneous = in_camera @ to_pixels.transpose(-1, -2)
    depth = in_camera[..., 2]
    # The sign is kept, so that a point just behind the camera does not divide by zero.
    scale = torch.where(homogeneous[..., 2:].abs() > 1e-9, homogeneous[..., 2:], 1e-9)
    return homogeneous[..., :2] / scale, depth


def unproject(
    pixels: Tensor,  # [..., P, 2], (u, v) of the augmented image
    depth: Tensor,  # [..., P], metres
    ego_T_cam: Tensor,  # [..., 4, 4]
    intrinsics: Tensor,  # [..., 3, 3]
    image_aug: Tensor | None = None,  # [..., 3, 3]
) -> Tensor:
    """The inverse of :func:`project`: ego points ``[..., P, 3]``, metres."""
    to_pixels = intrinsics if image_aug is None else image_aug @ intrinsics
    homogeneous = torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1)
    rays = homogeneous @ torch.linalg.inv(to_pixels).transpose(-1, -2)
    return transform_points(ego_T_cam, rays / rays[..., 2:] * depth[..., None])
