"""LiDAR as the teacher of depth: load a sweep, project it into the key frame's cameras."""

from __future__ import annotations

from os import path as osp

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from torch import Tensor

from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.cameras import project_from_ego
from bevdepth_plus.geometry.pinhole import in_image, transform_pixels
from bevdepth_plus.geometry.rigid import transform_points
from bevdepth_plus.geometry.z_buffer import nearest_depth_map


def read_points(path: str, num_features: int) -> np.ndarray:
    """Reads a sweep of little-endian float32 numbers.

    Returns:
        [P, num_features] float32; the first three are x, y, z in the LiDAR frame, metres.

    Raises:
        DataError: If the file is missing, empty, cut inside a point, or a coordinate is not finite.
    """
    if not osp.isfile(path):
        raise DataError(
            f"LiDAR file {path} does not exist; check data_root and data_prefix, or fetch it again"
        )
    size = osp.getsize(path)
    if size == 0 or size % (4 * num_features):
        raise DataError(
            f"LiDAR file {path} is truncated: {size} bytes are not a whole number of points of "
            f"{num_features} float32; fetch it again or set num_features"
        )
    points = np.fromfile(path, dtype="<f4").reshape(-1, num_features)
    if not np.isfinite(points[:, :3]).all():
        count = int((~np.isfinite(points[:, :3]).all(axis=1)).sum())
        raise DataError(
            f"LiDAR file {path} has {count} points that are not finite; fetch it again or remove "
            "them"
        )
    return points


@TRANSFORMS.register_module()
class LoadLidarPoints(BaseTransform):
    """Loads the key frame's sweep: ``lidar_path`` -> ``points`` [P, num_features], LiDAR frame.

    Args:
        num_features: float32 numbers a point; nuScenes has x, y, z, intensity, ring.
    """

    def __init__(self, num_features: int = 5) -> None:
        self.num_features = num_features

    def transform(self, results: dict) -> dict:
        return {**results, "points": read_points(results["lidar_path"], self.num_features)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_features={self.num_features})"


@TRANSFORMS.register_module()
class LidarDepthMaps(BaseTransform):
    """Projects ``points`` into the key frame's augmented images: ``depth_maps`` [N, H, W].

    Depth is along the optical axis in metres, in the network's pixels, 0 where no point fell and
    where the augmented image shows nothing of the raw one (black borders). BEV augmentation does
    not change it, so the order of the two does not matter; it must follow the image augmentation.

    Args:
        min_depth: Points nearer than this are dropped: they lie on the own vehicle.
    """

    def __init__(self, min_depth: float = 1.0) -> None:
        self.min_depth = min_depth

    def transform(self, results: dict) -> dict:
        points = torch.from_numpy(results["points"][:, :3].astype(np.float64))
        in_ego = transform_points(torch.from_numpy(results["lidar2ego"]), points)
        raw_pixels, depth = project_from_ego(
            in_ego[None],
            torch.from_numpy(results["ego_T_cam"][0]),
            torch.from_numpy(results["intrinsics"][0]),
        )  # [N, P, 2] and [N, P]
        maps = [
            self._depth_map(raw_pixels[camera], depth[camera], results, camera)
            for camera in range(len(results["cam_names"]))
        ]
        return {**results, "depth_maps": np.stack(maps)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(min_depth={self.min_depth})"

    def _depth_map(
        self, raw_pixels: Tensor, depth: Tensor, results: dict, camera: int
    ) -> np.ndarray:
        shown = (depth >= self.min_depth) & in_image(raw_pixels, results["raw_shape"][camera])
        image_aug = torch.from_numpy(results["image_aug"][0, camera])
        pixels = transform_pixels(image_aug, raw_pixels[shown])
        size = results["img"][camera].shape[:2]
        return nearest_depth_map(pixels, depth[shown], size).numpy()
