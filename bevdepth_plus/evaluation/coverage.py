"""How much of the ground truth no camera or no BEV cell covers, and so cannot be found."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from bevdepth_plus.datasets.ground_truth import is_hit, num_points
from bevdepth_plus.geometry.bev_grid import BEVGrid


def count_uncovered(info: Mapping, cameras: Collection[str]) -> tuple[int, int]:
    """Ground truth outside the images of some cameras.

    Args:
        info: a sample of an info file.
        cameras: names of the cameras that a detector had; one whose image size the file does not
            hold (plain v1.1) is taken to see everything.

    Returns:
        The number of boxes (with a class, not known to be without points) whose centre is in no
        image, and the number of all such boxes.
    """
    centres = _centres(info)
    covered = np.zeros(len(centres), dtype=bool)
    for name in cameras:
        covered |= _in_image(centres, info["images"].get(name, {}))
    return int((~covered).sum()), len(centres)


def count_outside(info: Mapping, grid: BEVGrid, reach: float) -> tuple[int, int]:
    """Ground truth beyond the BEV grid, among the boxes within ``reach`` metres of the vehicle.

    Returns:
        The number of boxes whose centre is outside the grid, and the number of all such boxes.
    """
    lidar2ego = np.asarray(info["lidar_points"]["lidar2ego"], dtype=float)
    ground = (_centres(info) @ lidar2ego[:3, :3].T + lidar2ego[:3, 3])[:, :2]
    ground = ground[np.linalg.norm(ground, axis=1) < reach]
    lower, upper = np.array([grid.x[:2], grid.y[:2]], dtype=float).T
    inside = ((ground >= lower) & (ground < upper)).all(axis=1)
    return int((~inside).sum()), len(ground)


def _centres(info: Mapping) -> np.ndarray:
    """Centres ``[M, 3]``, LiDAR frame, of boxes that may be scored."""
    return np.array(
        [
            item["bbox_3d"][:3]
            for item in info["instances"]
            if item["bbox_label_3d"] >= 0 and is_hit(num_points(item))
        ],
        dtype=float,
    ).reshape(-1, 3)


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
