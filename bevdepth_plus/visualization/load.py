"""From the dataset's samples to scenes: reads the images and the LiDAR sweep as they were taken."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import numpy as np

from bevdepth_plus.datasets.transforms import LoadLidarPoints, LoadMultiViewImages
from bevdepth_plus.visualization.scene import Camera, Scene

EARLIEST = 1e8  # seconds; a smaller time counts from somewhere else than 1970


def load_scene(
    info: Mapping[str, Any], title: str = "", lidar: LoadLidarPoints | None = None
) -> Scene:
    """The key frame of one sample; a camera that is out is black, without a sweep no points.

    Args:
        info: of ``NuScenesBEVDataset.get_data_info``, before any augmentation.
        title: first line of the caption.
        lidar: the pipeline's own loader of sweeps.

    Raises:
        DataError: a file is missing or broken.
    """
    key_frame = {**info, "img_path": info["img_path"][: len(info["cam_names"])]}
    images = LoadMultiViewImages().transform(key_frame)["img"]
    cameras = tuple(
        Camera(name, np.ascontiguousarray(image[..., ::-1]), intrinsics, ego_T_cam)
        for name, image, intrinsics, ego_T_cam in zip(
            info["cam_names"], images, info["intrinsics"][0], info["ego_T_cam"][0], strict=True
        )
    )
    points = np.zeros((0, 3))
    if info["lidar_path"] is not None:
        points = (lidar or LoadLidarPoints()).transform(dict(info))["points"][:, :3]
    lidar2ego = info["lidar2ego"]
    facts = (
        title,
        f"sample {info['token']}",
        _time(info["timestamp"]),
        "" if len(points) else "no LiDAR sweep: all ground truth is drawn",
    )
    return Scene(
        cameras=cameras,
        points=points.astype(np.float64) @ lidar2ego[:3, :3].T + lidar2ego[:3, 3],
        facts=tuple(fact for fact in facts if fact),
    )


def _time(timestamp: float) -> str:
    if timestamp < EARLIEST:
        return f"at {timestamp:.3f} s"
    return f"{datetime.fromtimestamp(timestamp, tz=timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
