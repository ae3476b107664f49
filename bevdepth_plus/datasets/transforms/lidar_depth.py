"""LiDAR as the teacher of depth: load a sweep, project it into the key frame's cameras."""

from __future__ import annotations

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from torch import Tensor

from bevdepth_plus.datasets.sweeps import read_points
from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.cameras import project_from_ego
from bevdepth_plus.geometry.pinhole import in_image, transform_pixels
from bevdepth_plus.geometry.rigid import transform_points
from bevdepth_plus.geometry.z_buffer import nearest_depth_map


@TRANSFORMS.register_module()
class LoadLidarPoints(BaseTransform):
    """Loads the key frame's sweep: ``lidar_path`` -> ``points`` [P, num_features], LiDAR frame.

    Args:
        num_features: float32 numbers a point. Default: what the info file says
            (``lidar_points.num_pts_feats``), or five as in nuScenes.
        drop_not_finite: Leave out points without finite coordinates, with which some drivers fill
            up a sweep, instead of refusing the file.
    """

    def __init__(self, num_features: int | None = None, drop_not_finite: bool = False) -> None:
        self.num_features = num_features
        self.drop_not_finite = drop_not_finite

    def transform(self, results: dict) -> dict:
        path = results["lidar_path"]
        if path is None:
            raise DataError(
                f"sample {results['token']} has no LiDAR sweep; leave LoadLidarPoints and "
                "LidarDepthMaps out of the pipeline and the depth loss out of the model"
            )
        num_features = self.num_features or results["num_pts_feats"]
        return {**results, "points": read_points(path, num_features, self.drop_not_finite)}

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(num_features={self.num_features}, "
            f"drop_not_finite={self.drop_not_finite})"
        )


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
