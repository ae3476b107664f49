"""The cameras of a batch: where each is, how it projects, and what augmentation did to it.

:class:`Cameras` are those of one moment, :class:`CameraRig` those of the key frame and its past.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from bevdepth_plus.geometry.pinhole import project, unproject
from bevdepth_plus.geometry.rigid import invert_rigid, transform_points


@dataclass(frozen=True)
class Cameras:
    """N cameras at one moment, of each of B samples.

    Attributes:
        intrinsics: pinhole matrices of the images as loaded, pixels, ``[B, N, 3, 3]``.
        ego_T_cam: camera (x right, y down, z forward) -> key frame's ego, ``[B, N, 4, 4]``.
        image_aug: pixels as loaded -> pixels of the network's input, ``[B, N, 3, 3]``.
        bev_aug: key frame's ego -> augmented ego, ``[B, 4, 4]``.
        mask: False where a camera gives no image, ``[B, N]``; None: all work.
        fingerprint: equal for equal matrices and masks, if they came from meta dicts; else None.
    """

    intrinsics: Tensor
    ego_T_cam: Tensor
    image_aug: Tensor
    bev_aug: Tensor
    mask: Tensor | None = None
    # Not an argument, so that `replace` drops it together with the matrices it was taken of.
    fingerprint: bytes | None = field(default=None, init=False)

    @property
    def num_cameras(self) -> int:
        return self.intrinsics.shape[1]

    @property
    def network_intrinsics(self) -> Tensor:
        """Pinhole matrices of the network's images, ``[B, N, 3, 3]``."""
        return compose_pixels(self.image_aug, self.intrinsics)


@dataclass(frozen=True)
class CameraRig:
    """The cameras at S moments (0 = key frame), N at each.

    Attributes:
        intrinsics: as in :class:`Cameras`, ``[B, S, N, 3, 3]``.
        ego_T_cam: into the *key frame's* ego at every moment, ``[B, S, N, 4, 4]``.
        image_aug: ``[B, S, N, 3, 3]``.
        bev_aug: ``[B, 4, 4]``.
        mask: ``[B, S, N]``, or None.
        fingerprints: of each moment, as in :class:`Cameras`; empty: not known.
    """

    intrinsics: Tensor
    ego_T_cam: Tensor
    image_aug: Tensor
    bev_aug: Tensor
    mask: Tensor | None = None
    fingerprints: tuple[bytes, ...] = field(default=(), init=False)

    @classmethod
    def from_metainfo(
        cls, metas: Sequence[Mapping], device: torch.device | None = None
    ) -> CameraRig:
        """Stack the matrices of a batch's meta dicts (arrays without B) as float32 tensors.

        ``camera_mask`` may be absent (all cameras work), ``[S, N]``, or ``[N]`` for all moments.
        """

        def stack(key: str) -> np.ndarray:
            return np.stack([np.asarray(meta[key], dtype=np.float32) for meta in metas])

        per_moment = [stack("intrinsics"), stack("ego_T_cam"), stack("image_aug")]
        num_moments, num_cameras = per_moment[0].shape[1:3]
        masks = [
            np.broadcast_to(meta.get("camera_mask", True), (num_moments, num_cameras))
            for meta in metas
        ]
        bev_aug, mask = stack("bev_aug"), np.stack(masks).astype(bool)
        fingerprints = tuple(
            _fingerprint(bev_aug, *(array[:, moment] for array in (*per_moment, mask)))
            for moment in range(num_moments)
        )
        arrays = (*per_moment, bev_aug, mask)
        rig = cls(*(torch.from_numpy(array).to(device, non_blocking=True) for array in arrays))
        object.__setattr__(rig, "fingerprints", fingerprints)
        return rig

    @property
    def num_moments(self) -> int:
        return self.intrinsics.shape[1]

    @property
    def num_cameras(self) -> int:
        return self.intrinsics.shape[2]

    def moment(self, index: int) -> Cameras:
        """The cameras at one moment, 0 = key frame."""
        cameras = Cameras(
            self.intrinsics[:, index],
            self.ego_T_cam[:, index],
            self.image_aug[:, index],
            self.bev_aug,
            None if self.mask is None else self.mask[:, index],
        )
        if self.fingerprints:
            object.__setattr__(cameras, "fingerprint", self.fingerprints[index])
        return cameras


def compose_pixels(
    image_aug: Tensor,  # [..., 3, 3]
    intrinsics: Tensor,  # [..., 3, 3]
) -> Tensor:
    """``image_aug @ intrinsics``, in full precision under autocast too."""
    with torch.autocast(intrinsics.device.type, enabled=False):
        return image_aug @ intrinsics


def project_from_ego(
    points: Tensor,  # [..., P, 3], ego frame
    ego_T_cam: Tensor,  # [..., 4, 4]
    intrinsics: Tensor,  # [..., 3, 3]
) -> tuple[Tensor, Tensor]:
    """Pixels ``[..., P, 2]`` and depth ``[..., P]`` of ego points, see :func:`pinhole.project`."""
    return project(transform_points(invert_rigid(ego_T_cam), points), intrinsics)


def unproject_to_ego(
    pixels: Tensor,  # [..., P, 2]
    depth: Tensor,  # [..., P], metres along the optical axis
    ego_T_cam: Tensor,  # [..., 4, 4]
    intrinsics: Tensor,  # [..., 3, 3]
) -> Tensor:
    """The inverse of :func:`project_from_ego`: ego points ``[..., P, 3]``, metres."""
    return transform_points(ego_T_cam, unproject(pixels, depth, intrinsics))


def with_poses_of(cameras: Cameras, others: Cameras) -> Cameras:
    """The cameras with the poses of others, usually of the key frame.

    A past frame's poses in the key ego contain the ego motion between the frames. What a single
    image shows does not depend on it.
    """
    return replace(cameras, ego_T_cam=others.ego_T_cam)


def _fingerprint(*arrays: np.ndarray) -> bytes:
    """A digest of shapes and contents: equal arrays, equal bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.digest()
