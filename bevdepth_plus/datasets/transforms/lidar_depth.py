"""LiDAR as the teacher of depth: load a sweep, project it into a frame's cameras."""

from __future__ import annotations

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

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
        missing_ok: A sample without a sweep gets no points instead of an error: it then has no
            depth labels and teaches no depth. For data with LiDAR in some scenes only.

    Raises:
        DataError: A sample has no sweep, or ``read_points`` refuses its file.
    """

    def __init__(
        self,
        num_features: int | None = None,
        drop_not_finite: bool = False,
        missing_ok: bool = False,
    ) -> None:
        self.num_features = num_features
        self.drop_not_finite = drop_not_finite
        self.missing_ok = missing_ok

    def transform(self, results: dict) -> dict:
        path = results["lidar_path"]
        num_features = self.num_features or results["num_pts_feats"]
        if path is not None:
            points = read_points(path, num_features, self.drop_not_finite)
        elif self.missing_ok:
            points = np.zeros((0, num_features), dtype=np.float32)
        else:
            raise DataError(
                f"sample {results['token']} has no LiDAR sweep; leave LoadLidarPoints and "
                "LidarDepthMaps out of the pipeline and the depth loss out of the model, or, where "
                "other samples have one, set LoadLidarPoints(missing_ok=True)"
            )
        return {**results, "points": points}

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(num_features={self.num_features}, "
            f"drop_not_finite={self.drop_not_finite}, missing_ok={self.missing_ok})"
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
        maps = project_sweep(results["points"], results["lidar2ego"], results, 0, self.min_depth)
        return {**results, "depth_maps": maps}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(min_depth={self.min_depth})"


def project_sweep(
    points: np.ndarray,  # [P, 3 or more], x, y, z first, LiDAR frame, metres
    key_T_lidar: np.ndarray,  # [4, 4], this LiDAR -> key frame's ego
    results: dict,
    frame: int,
    min_depth: float,
) -> np.ndarray:
    """The nearest point's depth in each pixel of a frame's augmented images, 0 = none.

    Args:
        results: Of a sample, behind the image augmentation.
        frame: 0 is the key frame.
        min_depth: Points nearer than this (metres) are left out.

    Returns:
        float32 ``[N, H, W]``, metres along the optical axis.
    """
    in_lidar = torch.from_numpy(points[:, :3].astype(np.float64))
    in_ego = transform_points(torch.from_numpy(key_T_lidar), in_lidar)
    raw_pixels, depth = project_from_ego(
        in_ego[None],
        torch.from_numpy(results["ego_T_cam"][frame]),
        torch.from_numpy(results["intrinsics"][frame]),
    )  # [N, P, 2] and [N, P]
    maps = []
    for camera in range(len(results["cam_names"])):
        image = frame * len(results["cam_names"]) + camera
        shown = (depth[camera] >= min_depth) & in_image(
            raw_pixels[camera], results["raw_shape"][image]
        )
        image_aug = torch.from_numpy(results["image_aug"][frame, camera])
        pixels = transform_pixels(image_aug, raw_pixels[camera, shown])
        size = results["img"][image].shape[:2]
        maps.append(nearest_depth_map(pixels, depth[camera, shown], size).numpy())
    return np.stack(maps)
