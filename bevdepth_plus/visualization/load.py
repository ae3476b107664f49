"""From the dataset's samples to scenes: reads the images and the LiDAR sweep as they were taken."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import numpy as np

from bevdepth_plus.datasets.transforms.lidar_depth import read_points
from bevdepth_plus.datasets.transforms.load_images import read_image
from bevdepth_plus.visualization.scene import Camera, Scene


def load_scene(info: Mapping[str, Any], title: str = "", num_features: int = 5) -> Scene:
    """The key frame of one sample.

    Args:
        info: of ``NuScenesBEVDataset.get_data_info``, before any augmentation.
        title: first line of the caption.
        num_features: float32 numbers a LiDAR point.

    Raises:
        DataError: a file is missing or broken.
    """
    cameras = tuple(
        Camera(name, np.ascontiguousarray(read_image(path)[..., ::-1]), intrinsics, ego_T_cam)
        for name, path, intrinsics, ego_T_cam in zip(
            info["cam_names"],
            info["img_path"][: len(info["cam_names"])],
            info["intrinsics"][0],
            info["ego_T_cam"][0],
            strict=True,
        )
    )
    points = read_points(info["lidar_path"], num_features)[:, :3].astype(np.float64)
    lidar2ego = info["lidar2ego"]
    taken = datetime.fromtimestamp(info["timestamp"], tz=timezone.utc)
    facts = (title, f"sample {info['token']}", f"{taken:%Y-%m-%d %H:%M:%S} UTC")
    return Scene(
        cameras=cameras,
        points=points @ lidar2ego[:3, :3].T + lidar2ego[:3, 3],
        facts=tuple(fact for fact in facts if fact),
    )
