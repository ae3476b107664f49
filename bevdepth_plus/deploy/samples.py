"""Inputs to compare an exported model and PyTorch on: of a data set, or random."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import cos, pi, sin
from typing import Any

import numpy as np
from mmdet3d.structures import LiDARInstance3DBoxes
from numpy.typing import NDArray

from bevdepth_plus.errors import DataError
from bevdepth_plus.models.detector import BEVDepth


@dataclass(frozen=True)
class Sample:
    """Inputs of one run: S moments (key frame first) of N cameras.

    Attributes:
        images: ``[S, N, 3, H, W]``, uint8, RGB.
        intrinsics, ego_T_cam, image_aug: ``[S, N, ...]``, poses into the key frame's ego.
        mask: False where a camera gave no image, ``[S, N]``.
    """

    images: NDArray[np.uint8]
    intrinsics: NDArray[np.float32]
    ego_T_cam: NDArray[np.float32]
    image_aug: NDArray[np.float32]
    mask: NDArray[np.bool_]

    @property
    def meta(self) -> dict[str, Any]:
        """As meta dicts of the data pipeline have it."""
        matrices = ("intrinsics", "ego_T_cam", "image_aug")
        return {
            **{name: getattr(self, name) for name in matrices},
            "camera_mask": self.mask,
            "bev_aug": np.eye(4),
            "box_type_3d": LiDARInstance3DBoxes,
        }


def random_samples(detector: BEVDepth, camera_counts: Sequence[int]) -> Iterable[Sample]:
    """Noise, seen by cameras around the vehicle with scattered poses and focal lengths."""
    rng = np.random.default_rng(0)
    height, width = detector.image_size
    num_moments = detector.temporal.num_frames
    for count in camera_counts:
        poses = np.stack([_pose(2 * pi * i / count, rng) for i in range(count)])
        moved = [_moved(0.5 * moment) @ poses for moment in range(num_moments)]
        scale = rng.uniform(0.4, 0.6, count)
        focal = rng.uniform(0.5, 1.0, count) * width / scale
        intrinsics = np.tile(np.eye(3), (count, 1, 1))
        intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = focal
        intrinsics[:, 0, 2], intrinsics[:, 1, 2] = 0.5 * width / scale, 0.6 * height / scale
        image_aug = np.tile(np.eye(3), (count, 1, 1))
        image_aug[:, 0, 0] = image_aug[:, 1, 1] = scale
        image_aug[:, 1, 2] = -0.1 * height
        shape = (num_moments, count, 3, height, width)
        tiled = [np.tile(m, (num_moments, 1, 1, 1)) for m in (intrinsics, image_aug)]
        yield Sample(
            rng.integers(0, 256, shape, dtype=np.uint8),
            tiled[0].astype(np.float32),
            np.stack(moved).astype(np.float32),
            tiled[1].astype(np.float32),
            np.ones((num_moments, count), bool),
        )


def loaded_sample(item: dict, num_moments: int) -> Sample:
    """A data set's sample, as its test pipeline packs it.

    Raises:
        DataError: the pipeline augments the BEV, which an exported graph does not know.
    """
    images, sample = item["inputs"]["img"], item["data_samples"]
    meta = sample.metainfo
    if not np.allclose(meta["bev_aug"], np.eye(4)):
        raise DataError("the test pipeline augments the BEV frame; remove augment_bev from it")
    matrices = [
        np.asarray(meta[name], np.float32)[:num_moments]
        for name in ("intrinsics", "ego_T_cam", "image_aug")
    ]
    moments, cameras = np.asarray(meta["intrinsics"]).shape[:2]
    bgr = images.unflatten(0, (moments, cameras))[:num_moments]
    mask = np.broadcast_to(meta.get("camera_mask", True), (moments, cameras))[:num_moments]
    return Sample(bgr.flip(2).numpy(), *matrices, mask=mask.astype(bool))


def _pose(yaw: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A camera that looks along ``yaw``, not quite level."""
    pitch = rng.uniform(-0.05, 0.05)
    level = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    about_z = np.array([[cos(yaw), -sin(yaw), 0], [sin(yaw), cos(yaw), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cos(pitch), -sin(pitch)], [0, sin(pitch), cos(pitch)]])
    pose = np.eye(4)
    pose[:3, :3] = about_z @ level @ about_x
    pose[:3, 3] = [1.5 * cos(yaw), 0.8 * sin(yaw), rng.uniform(1.2, 1.9)]
    return pose


def _moved(seconds: float) -> NDArray[np.float64]:
    """The ego pose so long ago in the present ego, of a vehicle in a wide turn."""
    yaw = -0.1 * seconds
    pose = np.eye(4)
    pose[:2, :2] = [[cos(yaw), -sin(yaw)], [sin(yaw), cos(yaw)]]
    pose[:2, 3] = [-8.4 * seconds, 0.2 * seconds]
    return pose
