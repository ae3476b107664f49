"""Rotations and poses in numpy: angles in degrees, quaternions (w, x, y, z), 4x4 matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

# camera axes (right, down, forward) in vehicle axes (forward, left, up), both looking ahead
EGO_R_CAM = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
# A calibration is orthonormal far within it, also one stored as float32; a scaled or transposed
# matrix is far outside.
ORTHONORMAL_TOLERANCE = 1e-3

Quaternion = tuple[float, float, float, float]


def pose_matrix(rotation: np.ndarray, translation: Sequence[float] | np.ndarray) -> np.ndarray:
    """``[4, 4]`` of a rotation ``[3, 3]`` and a translation ``[3]``."""
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = translation
    return pose


def rotation_from_angles(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Rotation ``[3, 3]`` of degrees: about z, then the new y, then the new x."""
    halves = [math.radians(angle) / 2 for angle in (yaw, pitch, roll)]
    (sz, cz), (sy, cy), (sx, cx) = ((math.sin(half), math.cos(half)) for half in halves)
    about_z, about_y, about_x = (cz, 0.0, 0.0, sz), (cy, 0.0, sy, 0.0), (cx, sx, 0.0, 0.0)
    return _matrix(_product(_product(about_z, about_y), about_x))


def angles_of(rotation: np.ndarray) -> tuple[float, float, float]:
    """Yaw, pitch, roll in degrees: the inverse of :func:`rotation_from_angles`."""
    across = math.hypot(rotation[0, 0], rotation[1, 0])
    pitch = math.atan2(-rotation[2, 0], across)
    if across < 1e-9:  # straight up or down: only the sum of yaw and roll is known
        return math.degrees(math.atan2(-rotation[0, 1], rotation[1, 1])), math.degrees(pitch), 0.0
    yaw = math.atan2(rotation[1, 0], rotation[0, 0])
    roll = math.atan2(rotation[2, 1], rotation[2, 2])
    return math.degrees(yaw), math.degrees(pitch), math.degrees(roll)


def camera_pose(
    position: Sequence[float] | np.ndarray, yaw: float, pitch: float, roll: float
) -> np.ndarray:
    """``ego_T_cam [4, 4]``. Yaw turns left, pitch looks down, roll turns clockwise, degrees."""
    return pose_matrix(rotation_from_angles(yaw, pitch, roll) @ EGO_R_CAM, position)


def rotation_from_quaternion(w: float, x: float, y: float, z: float) -> np.ndarray:
    """Rotation ``[3, 3]`` of a quaternion of any length but 0."""
    norm = math.sqrt(x * x + y * y + z * z + w * w)
    return _matrix((w / norm, x / norm, y / norm, z / norm))


def quaternion_of(rotation: np.ndarray) -> Quaternion:
    """Unit quaternion (w, x, y, z), w >= 0, of a rotation ``[3, 3]``."""
    r = rotation
    squares = np.array(  # of w, x, y, z, times 4
        [
            1 + r[0, 0] + r[1, 1] + r[2, 2],
            1 + r[0, 0] - r[1, 1] - r[2, 2],
            1 - r[0, 0] + r[1, 1] - r[2, 2],
            1 - r[0, 0] - r[1, 1] + r[2, 2],
        ]
    )
    wx, wy, wz = r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]
    xy, xz, yz = r[0, 1] + r[1, 0], r[0, 2] + r[2, 0], r[1, 2] + r[2, 1]
    table = np.array([[0, wx, wy, wz], [wx, 0, xy, xz], [wy, xy, 0, yz], [wz, xz, yz, 0]])
    table[np.arange(4), np.arange(4)] = squares
    row = table[squares.argmax()]  # the largest decides, so that nothing is divided by 0
    row = row / np.linalg.norm(row)
    w, x, y, z = (float(value) for value in (-row if row[0] < 0 else row))
    return w, x, y, z


def invert_pose(a_T_b: np.ndarray) -> np.ndarray:
    """The inverse of a rotation and translation, ``[4, 4]``."""
    rotation = a_T_b[:3, :3].T
    return pose_matrix(rotation, -rotation @ a_T_b[:3, 3])


def pose_problem(pose: np.ndarray) -> str:
    """What keeps a ``[4, 4]`` from being a rotation and translation; '' if nothing does."""
    rotation = pose[:3, :3]
    determinant = float(np.linalg.det(rotation))
    if np.abs(pose[3] - [0, 0, 0, 1]).max() > 1e-6:
        return f"the last row must be 0 0 0 1, got {pose[3].tolist()}: is the matrix transposed?"
    if determinant < 0:
        return (
            f"mirrors (det = {determinant:.3f}, must be 1): an axis is swapped or negated; camera "
            "axes are x right, y down, z forward"
        )
    off = np.abs(rotation @ rotation.T - np.eye(3)).max()
    if off > ORTHONORMAL_TOLERANCE:
        return (
            f"is no rotation (det = {determinant:.3f}, R R^T off by {off:.1g}): was it scaled or "
            "rounded? angles into sin and cos are radians"
        )
    return ""


def _product(a: Quaternion, b: Quaternion) -> Quaternion:
    (aw, ax, ay, az), (bw, bx, by, bz) = a, b
    return (
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + bw * ax + (ay * bz - az * by),
        aw * by + bw * ay + (az * bx - ax * bz),
        aw * bz + bw * az + (ax * by - ay * bx),
    )


def _matrix(quaternion: Quaternion) -> np.ndarray:
    w, x, y, z = quaternion
    return np.array(
        [
            [x * x - y * y - z * z + w * w, 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), -x * x + y * y - z * z + w * w, 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), -x * x - y * y + z * z + w * w],
        ]
    )
