"""Poses of the ego vehicle by time."""

from __future__ import annotations

import bisect

import cv2
import numpy as np

from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.poses import invert_pose, pose_matrix, pose_problem


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
    problem = pose_problem(matrix)
    if problem:
        raise DataError(f"{name} is no rigid transform: {problem}; pass world_T_ego, in metres")
    return matrix


def motion_between(
    first: np.ndarray,  # [4, 4]
    second: np.ndarray,  # [4, 4]
) -> tuple[float, float]:
    """Distance in metres and angle in radians from one pose to the other."""
    relative = invert_pose(first) @ second
    turn, _ = cv2.Rodrigues(relative[:3, :3])
    return float(np.linalg.norm(relative[:3, 3])), float(np.linalg.norm(turn))


def _between(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """Translation on the straight line, rotation about one axis at constant speed."""
    turn, _ = cv2.Rodrigues(first[:3, :3].T @ second[:3, :3])  # axis times angle
    part, _ = cv2.Rodrigues(share * turn)
    translation = (1 - share) * first[:3, 3] + share * second[:3, 3]
    return pose_matrix(first[:3, :3] @ part, translation)
