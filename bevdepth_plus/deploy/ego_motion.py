"""Poses of the ego vehicle by time."""

from __future__ import annotations

import bisect

import numpy as np

from bevdepth_plus.errors import DataError

_ORTHONORMAL = 1e-3  # largest error of R @ R.T


class PoseBuffer:
    """Poses of the last seconds, in any order of arrival; interpolated between two of them.

    Args:
        keep: how long poses are kept, seconds before the newest.
        reach: how far beyond the newest or oldest pose a time may lie, seconds; there, the nearest
            pose counts.
    """

    def __init__(self, keep: float = 10.0, reach: float = 0.05) -> None:
        self.keep, self.reach = keep, reach
        self._times: list[float] = []
        self._poses: list[np.ndarray] = []

    def add(self, time: float, world_T_ego: np.ndarray) -> None:
        """Add a pose ``[4, 4]``; one of the same time is replaced.

        Raises:
            DataError: it is no rigid transform of finite numbers, or the time is not finite.
        """
        pose = checked_pose(world_T_ego, f"the ego pose at {time} s")
        if not np.isfinite(time):
            raise DataError(f"an ego pose has the time {time}; it must be seconds")
        index = bisect.bisect_left(self._times, time)
        if index < len(self._times) and self._times[index] == time:
            self._poses[index] = pose
            return
        self._times.insert(index, float(time))
        self._poses.insert(index, pose)
        old = bisect.bisect_left(self._times, self._times[-1] - self.keep)
        del self._times[:old], self._poses[:old]

    def clear(self) -> None:
        self._times.clear()
        self._poses.clear()

    def __len__(self) -> int:
        return len(self._times)

    @property
    def newest(self) -> float | None:
        """Time of the newest pose."""
        return self._times[-1] if self._times else None

    def at(self, time: float) -> np.ndarray | None:
        """``world_T_ego [4, 4]`` at a time; None where no pose is near."""
        if not self._times:
            return None
        index = bisect.bisect_left(self._times, time)
        if index == len(self._times):
            return self._poses[-1] if time - self._times[-1] <= self.reach else None
        if self._times[index] == time:
            return self._poses[index]
        if index == 0:
            return self._poses[0] if self._times[0] - time <= self.reach else None
        before, after = self._times[index - 1], self._times[index]
        share = (time - before) / (after - before)
        return _between(self._poses[index - 1], self._poses[index], share)


def checked_pose(pose: np.ndarray, name: str) -> np.ndarray:
    """A rigid transform ``[4, 4]``, float64.

    Raises:
        DataError: it is not one; the message begins with ``name``.
    """
    matrix = np.array(pose, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise DataError(f"{name} must be a 4 x 4 matrix of finite numbers, got {pose!r}")
    rotation = matrix[:3, :3]
    error = np.abs(rotation @ rotation.T - np.eye(3)).max()
    if error > _ORTHONORMAL or np.linalg.det(rotation) < 0:
        raise DataError(
            f"{name} is no rigid transform (R @ R.T is off by {error:.2g}, determinant "
            f"{np.linalg.det(rotation):.3f}); pass world_T_ego, rotation and translation in metres"
        )
    return matrix


def motion_between(
    first: np.ndarray,  # [4, 4]
    second: np.ndarray,  # [4, 4]
) -> tuple[float, float]:
    """Distance in metres and angle in radians from one pose to the other."""
    relative = np.linalg.inv(first) @ second
    cosine = np.clip((np.trace(relative[:3, :3]) - 1) / 2, -1, 1)
    return float(np.linalg.norm(relative[:3, 3])), float(np.arccos(cosine))


def _between(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """Translation on the straight line, rotation about one axis at constant speed."""
    rotation = first[:3, :3].T @ second[:3, :3]
    pose = np.eye(4)
    pose[:3, :3] = first[:3, :3] @ _rotation(_rotation_vector(rotation) * share)
    pose[:3, 3] = (1 - share) * first[:3, 3] + share * second[:3, 3]
    return pose


def _rotation_vector(rotation: np.ndarray) -> np.ndarray:
    """Axis times angle; poses a moment apart are never half a turn apart."""
    axis = np.array(
        [
            rotation[2, 1] - rotation[1, 2],
            rotation[0, 2] - rotation[2, 0],
            rotation[1, 0] - rotation[0, 1],
        ]
    )
    sine = np.linalg.norm(axis) / 2
    if sine < 1e-12:
        return np.zeros(3)
    angle = np.arctan2(sine, (np.trace(rotation) - 1) / 2)
    return axis / (2 * sine) * angle


def _rotation(vector: np.ndarray) -> np.ndarray:
    """Rodrigues' formula."""
    angle = np.linalg.norm(vector)
    if angle == 0:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
