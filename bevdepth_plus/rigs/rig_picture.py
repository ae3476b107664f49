"""A picture of a rig: from above with fields of view, and each camera's horizon over its image."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from bevdepth_plus.errors import DataError
from bevdepth_plus.files import atomic_write
from bevdepth_plus.rigs.camera_images import CameraImages
from bevdepth_plus.rigs.horizon import horizon_row
from bevdepth_plus.rigs.images import read_image
from bevdepth_plus.rigs.rig import Rig, RigCamera

REACH = 12.0  # metres a field of view is drawn
RANGES = (5, 10, 20, 50)  # metres, lines on the ground straight ahead of a camera


def draw_rig(rig: Rig, path: str | Path) -> None:
    """Writes a PNG: the rig from above, and every camera's horizon and ground lines.

    Cameras with image files show their first one after undistortion, others a grey area.

    Raises:
        DataError: matplotlib is not installed, or an image cannot be used.
    """
    try:
        import matplotlib.figure
    except ModuleNotFoundError:
        raise DataError("pictures need matplotlib: pip install matplotlib") from None
    columns = min(3, len(rig.cameras))
    rows = math.ceil(len(rig.cameras) / columns)
    figure = matplotlib.figure.Figure(
        figsize=(5.5 + 4 * columns, max(5.0, 2.6 * rows)), dpi=100, layout="constrained"
    )
    grid = figure.add_gridspec(rows, columns + 1, width_ratios=[1.4] + [1.0] * columns)
    _from_above(figure.add_subplot(grid[:, 0]), rig)
    for index, camera in enumerate(rig.cameras):
        axes = figure.add_subplot(grid[index // columns, 1 + index % columns])
        _view(axes, camera, f"C{index % 10}")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    with atomic_write(path) as file:
        file.write(buffer.getvalue())


def horizon(camera: RigCamera) -> np.ndarray:
    """The horizon's rows at the left and the right border of a pinhole's image, ``[2]``, pixels."""
    return level_rows(camera, np.array([0.0, camera.width]))


def level_rows(camera: RigCamera, columns: np.ndarray) -> np.ndarray:
    """The rows at which columns meet the plane that is level with the camera, pixels."""
    return horizon_row(camera.intrinsics, camera.ego_T_cam, columns)


def _from_above(axes: Any, rig: Rig) -> None:
    axes.plot([0], [0], "k+", markersize=14)
    axes.annotate("rear axle", (0, 0), textcoords="offset points", xytext=(6, -12), fontsize=8)
    for index, camera in enumerate(rig.cameras):
        pinhole = CameraImages(camera).camera_for(camera.width, camera.height)
        x, y = pinhole.position[:2]
        colour = f"C{index % 10}"
        edge = np.ones((21, 3))
        edge[:, 0], edge[:, 1] = np.linspace(0, pinhole.width, 21), pinhole.height / 2
        rays = edge @ np.linalg.inv(pinhole.intrinsics).T @ pinhole.ego_T_cam[:2, :3].T
        ends = rays / np.linalg.norm(rays, axis=1, keepdims=True) * REACH + [x, y]
        axes.fill([-y, *-ends[:, 1]], [x, *ends[:, 0]], color=colour, alpha=0.2)
        axes.plot([-y], [x], "o", color=colour)
        label = f"{camera.name}\n{camera.position[2]:.2f} m high"
        name_at = (0.7 * ends[10] + 0.3 * np.array([x, y])) * [1, -1]
        axes.annotate(label, name_at[::-1], ha="center", va="center", fontsize=7, color=colour)
    if rig.ego_T_lidar is not None:
        axes.plot([-rig.ego_T_lidar[1, 3]], [rig.ego_T_lidar[0, 3]], "ks", markersize=4)
        at = (-rig.ego_T_lidar[1, 3], rig.ego_T_lidar[0, 3])
        axes.annotate("LiDAR", at, textcoords="offset points", xytext=(6, -3), fontsize=8)
    axes.set_aspect("equal")
    axes.set_xlabel("right of the rear axle, m (left is negative)")
    axes.set_ylabel("ahead, m")
    axes.set_title(f"from above, fields of view to {REACH:g} m", fontsize=10)


def _view(axes: Any, camera: RigCamera, colour: str) -> None:
    if camera.image is not None:
        shown = CameraImages(camera)(read_image(camera.image_files()[0], camera.name))
        image, pinhole = shown.image, shown.camera
    else:
        pinhole = CameraImages(camera).camera_for(camera.width, camera.height)
        image = np.full((pinhole.height, pinhole.width, 3), 130, np.uint8)
    axes.imshow(image, extent=(0, pinhole.width, pinhole.height, 0))
    axes.plot([0, pinhole.width], horizon(pinhole), color=colour, linewidth=2)
    for distance in RANGES:
        _ground_line(axes, pinhole, distance)
    axes.set_xlim(0, pinhole.width)
    axes.set_ylim(pinhole.height, 0)
    axes.set_title(camera.name, fontsize=9, color=colour)
    axes.tick_params(labelsize=6)


def _ground_line(axes: Any, camera: RigCamera, distance: float) -> None:
    """Points of the road at one depth ahead of the camera."""
    heading = camera.forward[:2] / np.linalg.norm(camera.forward[:2])
    across = np.linspace(-1.5, 1.5, 31)[:, None] * distance * [-heading[1], heading[0]]
    points = np.zeros((31, 3))
    points[:, :2] = camera.position[:2] + distance * heading + across
    rotation = camera.ego_T_cam[:3, :3]
    pixels = (points - camera.position) @ rotation @ camera.intrinsics.T
    pixels = pixels[pixels[:, 2] > 0.1]
    if not len(pixels):
        return
    pixels = pixels[:, :2] / pixels[:, 2:]
    axes.plot(*pixels.T, color="white", linewidth=1, alpha=0.8)
    middle = pixels[len(pixels) // 2]
    if 0 < middle[0] < camera.width and 0 < middle[1] < camera.height:
        axes.annotate(f"{distance} m", middle, fontsize=6, color="white", ha="center", va="bottom")
