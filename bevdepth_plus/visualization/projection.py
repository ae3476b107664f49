"""Boxes as lines in an image, cut where they leave it or pass behind the camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from bevdepth_plus.geometry.boxes import box_corners, edges_before_camera
from bevdepth_plus.geometry.pinhole import in_image, project
from bevdepth_plus.geometry.rigid import invert_rigid, transform_points
from bevdepth_plus.visualization.scene import Boxes, Camera

NEAR = 0.1  # metres; nothing closer to the camera's plane is drawn


@dataclass(frozen=True)
class ProjectedBox:
    """One box in one image.

    Attributes:
        index: which of the boxes given it is.
        segments: visible parts of its edges, pixels, ``[E, 2, 2]`` (segment, end, (u, v)).
        front: the front face's corners, pixels, ``[4, 2]``, or None if some lie behind the camera.
        depth: of its centre along the optical axis, metres.
    """

    index: int
    segments: np.ndarray
    front: np.ndarray | None
    depth: float


def project_boxes(boxes: Boxes, camera: Camera) -> list[ProjectedBox]:
    """All boxes that show in the camera's image, farthest first."""
    if len(boxes) == 0:
        return []
    corners = _in_camera(box_corners(torch.from_numpy(boxes.numbers)), camera)  # [M, 8, 3]
    shown = []
    for index, box in enumerate(corners):
        edges = edges_before_camera(torch.from_numpy(box), NEAR).numpy()
        segments = clip_to_image(_to_pixels(edges, camera), camera.size)
        if len(segments):
            front = _to_pixels(box[:4], camera) if (box[:4, 2] > NEAR).all() else None
            shown.append(ProjectedBox(index, segments, front, float(box[:, 2].mean())))
    return sorted(shown, key=lambda box: -box.depth)


def project_points(
    points: np.ndarray,  # [P, 3], ego frame
    camera: Camera,
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels ``[Q, 2]`` and depth ``[Q]`` (metres) of the points that fall into the image."""
    in_camera = torch.from_numpy(_in_camera(torch.from_numpy(points), camera))
    pixels, depth = project(in_camera, torch.from_numpy(camera.intrinsics))
    shown = (depth > NEAR) & in_image(pixels, camera.size)
    return pixels[shown].numpy(), depth[shown].numpy()


def clip_to_image(
    segments: np.ndarray,  # [E, 2, 2], pixels
    size: tuple[int, int],  # height, width
) -> np.ndarray:
    """Cut segments to the image; those outside are dropped (Liang and Barsky, 1984)."""
    start, step = segments[:, 0], segments[:, 1] - segments[:, 0]
    limit = np.array([size[1], size[0]], dtype=float)
    safe = np.where(step == 0, 1, step)
    at_zero, at_limit = -start / safe, (limit - start) / safe
    enter, leave = np.minimum(at_zero, at_limit), np.maximum(at_zero, at_limit)
    # A segment along an axis never crosses that axis's limits: all or nothing.
    within = (start >= 0) & (start <= limit)
    enter = np.where(step == 0, np.where(within, -np.inf, np.inf), enter).max(axis=1).clip(min=0)
    leave = np.where(step == 0, np.inf, leave).min(axis=1).clip(max=1)
    kept = enter < leave
    ends = np.stack([enter, leave], axis=1)[kept]
    return start[kept][:, None] + ends[..., None] * step[kept][:, None]


def _in_camera(points: torch.Tensor, camera: Camera) -> np.ndarray:
    """Ego points ``[..., P, 3]`` in the camera's frame."""
    return transform_points(invert_rigid(torch.from_numpy(camera.ego_T_cam)), points).numpy()


def _to_pixels(points: np.ndarray, camera: Camera) -> np.ndarray:
    """Pixels ``[..., P, 2]`` of points of the camera's frame."""
    return project(torch.from_numpy(points), torch.from_numpy(camera.intrinsics))[0].numpy()
