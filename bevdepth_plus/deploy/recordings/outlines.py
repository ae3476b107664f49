"""Boxes as lines in an image, and the colours of their classes."""

from __future__ import annotations

from functools import partial

import numpy as np

from bevdepth_plus.deploy.results import Boxes
from bevdepth_plus.rigs.distortion import project
from bevdepth_plus.rigs.poses import invert_pose
from bevdepth_plus.rigs.rig import RigCamera

NEAR = 0.3  # metres; what is nearer to the image plane is cut off
PIECES = 8  # of each edge, where lens distortion bends it
_WIDEST = np.radians(89.0)  # between the optical axis and a ray that is drawn

# corners of a unit box: x forward, y left, z up; the first four are its front
_CORNERS = 0.5 * np.array(
    [[1, 1, 1], [1, -1, 1], [1, -1, -1], [1, 1, -1], [-1, 1, 1], [-1, -1, 1], [-1, -1, -1],
     [-1, 1, -1]]
)  # fmt: skip
_EDGES = np.array(
    [[0, 1], [1, 2], [2, 3], [3, 0], [4, 5], [5, 6], [6, 7], [7, 4], [0, 4], [1, 5], [2, 6],
     [3, 7], [0, 2], [1, 3]]
)  # fmt: skip  # the last two cross the front, so that a picture shows where the object looks

# Bright on asphalt and sky; neighbours in the list of classes differ.
_PALETTE = np.array(
    [[76, 195, 255], [255, 159, 28], [120, 220, 110], [255, 92, 92], [190, 140, 255],
     [255, 222, 89], [64, 224, 208], [255, 120, 200], [200, 160, 110], [170, 185, 205]],
    dtype=np.uint8,
)  # fmt: skip


def class_colours(labels: np.ndarray) -> np.ndarray:
    """Colours ``[M, 3]`` uint8 RGB of class indices ``[M]``; they repeat after ten classes."""
    return _PALETTE[np.asarray(labels, dtype=np.int64) % len(_PALETTE)]


def box_corners(boxes: Boxes) -> np.ndarray:
    """Corners ``[M, 8, 3]`` in the ego frame; the first four are the front's."""
    local = _CORNERS * boxes.sizes[:, None, :]  # [M, 8, 3]
    cos, sin = np.cos(boxes.yaws), np.sin(boxes.yaws)
    zero, one = np.zeros_like(cos), np.ones_like(cos)
    rotation = np.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], axis=-1)
    return local @ rotation.reshape(-1, 3, 3).transpose(0, 2, 1) + boxes.centres[:, None, :]


def outlines_in_image(boxes: Boxes, camera: RigCamera) -> list[np.ndarray]:
    """Each box's edges in a camera's raw image, with its lens distortion.

    Returns:
        One array ``[L, 2, 2]`` a box: L lines of two (u, v), in pixels of the rig's image size,
        pixel centres at integers + 0.5; what leaves the image is cut off. L is 0 where the image
        does not show the box.
    """
    ends = box_corners(boxes)[:, _EDGES]  # [M, E, 2, 3], ego frame
    if camera.distortion is not None:
        shares = np.linspace(0, 1, PIECES + 1)[:, None]
        points = ends[:, :, None, 0] * (1 - shares) + ends[:, :, None, 1] * shares
        ends = np.stack([points[:, :, :-1], points[:, :, 1:]], axis=3)
        ends = ends.reshape(len(boxes), -1, 2, 3)
    cam_T_ego = invert_pose(camera.ego_T_cam)
    lines = (ends @ cam_T_ego[:3, :3].T + cam_T_ego[:3, 3]).reshape(-1, 2, 3)  # camera frame
    owners = np.repeat(np.arange(len(boxes)), ends.shape[1])
    for step in (_in_front, partial(_in_view, camera=camera), partial(_in_image, camera=camera)):
        lines, kept = step(lines)
        owners = owners[kept]
    return np.split(lines, np.searchsorted(owners, np.arange(1, len(boxes)))) if len(boxes) else []


def _in_front(lines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lines ``[L, 2, 3]`` cut off at ``NEAR``, and which of the given ones are left."""
    behind = lines[..., 2] < NEAR
    kept = np.asarray(~behind.all(axis=1))
    lines, behind = lines[kept], behind[kept]
    first, way = lines[:, 0], lines[:, 1] - lines[:, 0]
    share = (NEAR - first[:, 2]) / np.where(way[:, 2] == 0, 1.0, way[:, 2])
    crossing = first + share[:, None] * way
    return np.where(behind[..., None], crossing[:, None], lines), kept


def _in_view(lines: np.ndarray, camera: RigCamera) -> tuple[np.ndarray, np.ndarray]:
    """Lines as pixels ``[L, 2, 2]``, without those that the lens model does not hold for."""
    angles = np.arctan2(np.linalg.norm(lines[..., :2], axis=-1), lines[..., 2])
    kept = np.asarray((angles < _widest_angle(camera)).all(axis=1))
    if not kept.any():
        return np.zeros((0, 2, 2)), kept
    return project(camera, lines[kept].reshape(-1, 3)).reshape(-1, 2, 2), kept


def _in_image(lines: np.ndarray, camera: RigCamera) -> tuple[np.ndarray, np.ndarray]:
    """What of the lines ``[L, 2, 2]`` lies in the image (Liang and Barsky, 1984)."""
    size = np.array([camera.width, camera.height])
    first, way = lines[:, 0], lines[:, 1] - lines[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):  # lines along an axis: infinite shares
        borders = np.stack([-first / way, (size - first) / way])  # [2, L, 2], shares of the way
    start = np.fmax.reduce(np.fmin.reduce(borders, axis=0), axis=1, initial=0.0)
    end = np.fmin.reduce(np.fmax.reduce(borders, axis=0), axis=1, initial=1.0)
    kept = start < end
    shares = np.stack([start, end], axis=1)[kept, :, None]
    return first[kept, None] + shares * way[kept, None], kept


def _widest_angle(camera: RigCamera) -> float:
    """Up to which angle from the optical axis the lens model holds, radians.

    Polynomials of distortion turn back somewhere: farther out, directions that the image does not
    show would land in it.
    """
    if camera.distortion is None:
        return float(np.pi / 2)
    angles = np.linspace(0, _WIDEST, 300)
    fan = np.stack([np.sin(angles), np.zeros_like(angles), np.cos(angles)], axis=1)
    with np.errstate(all="ignore"):
        radii = np.linalg.norm(project(camera, fan) - camera.intrinsics[:2, 2], axis=1)
    turned = np.flatnonzero(~(np.diff(radii) > 0))
    return float(angles[turned[0]] if len(turned) else _WIDEST)
