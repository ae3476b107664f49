"""How much of the ground truth lies in no camera's image, and so cannot be found."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np


def count_uncovered(info: Mapping, cameras: Collection[str]) -> tuple[int, int]:
    """Ground truth outside the images of some cameras.

    Args:
        info: a sample of an info file.
        cameras: names of the cameras that a detector had; one whose image size the file does not
            hold (plain v1.1) is taken to see everything.

    Returns:
        The number of boxes (with a class, hit by a LiDAR or radar point) whose centre is in no
        image, and the number of all such boxes.
    """
    centres = np.array(
        [
            item["bbox_3d"][:3]
            for item in info["instances"]
            if item["bbox_label_3d"] >= 0
            and item.get("num_lidar_pts", 1) + item.get("num_radar_pts", 0) != 0
        ]
    ).reshape(-1, 3)
    covered = np.zeros(len(centres), dtype=bool)
    for name in cameras:
        covered |= _in_image(centres, info["images"].get(name, {}))
    return int((~covered).sum()), len(centres)


def _in_image(
    points: np.ndarray,  # [M, 3], LiDAR frame
    camera: Mapping,
) -> np.ndarray:
    if "width" not in camera or "height" not in camera:
        return np.ones(len(points), dtype=bool)
    lidar2cam = np.asarray(camera["lidar2cam"], dtype=float)
    in_camera = points @ lidar2cam[:3, :3].T + lidar2cam[:3, 3]
    homogeneous = in_camera @ np.asarray(camera["cam2img"], dtype=float)[:3, :3].T
    ahead = homogeneous[:, 2] > 0
    pixels = homogeneous[:, :2] / np.where(ahead, homogeneous[:, 2], 1)[:, None]
    inside = (pixels >= 0) & (pixels < (camera["width"], camera["height"]))
    return ahead & inside.all(axis=1)
