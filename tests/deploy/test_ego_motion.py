"""Poses of the ego vehicle by time."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from bevdepth_plus.deploy.ego_motion import PoseBuffer, checked_pose, motion_between
from bevdepth_plus.errors import DataError


def pose(x: float = 0.0, turn=(0.0, 0.0, 0.0)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
    matrix[0, 3] = x
    return matrix


def test_a_pose_between_two_is_interpolated_as_scipy_does():
    buffer = PoseBuffer()
    turns = [(0.1, -0.2, 0.3), (0.2, 0.4, 1.1)]
    for time, x, turn in zip([10.0, 10.4], [1.0, 3.0], turns, strict=True):
        buffer.add(time, pose(x, turn))
    slerp = Slerp([10.0, 10.4], Rotation.from_rotvec(turns))
    for time in (10.1, 10.3):
        between = buffer.at(time)
        np.testing.assert_allclose(between[:3, :3], slerp(time).as_matrix(), atol=1e-12)
        np.testing.assert_allclose(between[0, 3], 1 + 2 * (time - 10) / 0.4)


def test_poses_may_come_in_any_order_and_at_a_known_time_the_pose_is_exact():
    buffer = PoseBuffer()
    for time in (3.0, 1.0, 2.0):
        buffer.add(time, pose(time / 3))
    assert np.array_equal(buffer.at(2.0), pose(2.0 / 3))
    np.testing.assert_allclose(buffer.at(1.5), pose(0.5))


def test_far_from_all_poses_there_is_none():
    buffer = PoseBuffer(reach=0.05)
    assert buffer.at(1.0) is None
    buffer.add(1.0, pose())
    assert buffer.at(1.04) is not None and buffer.at(0.96) is not None
    assert buffer.at(1.06) is None and buffer.at(0.94) is None


def test_old_poses_are_dropped():
    buffer = PoseBuffer(keep=1.0)
    for time in np.arange(0, 100, 0.1):
        buffer.add(time, pose())
    assert len(buffer) == 11


def test_distance_and_angle_between_poses():
    metres, radians = motion_between(pose(1.0, (0, 0, 0.2)), pose(4.0, (0, 0, 0.5)))
    assert metres == pytest.approx(3.0) and radians == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.__setitem__((0, 3), np.nan), "the pose must be a 4 x 4 matrix of finite"),
        (
            lambda m: m.__setitem__((0, 0), -1.0),
            r"the pose is no rigid transform: mirrors \(det = -1.000",
        ),
        (
            lambda m: m.__setitem__((slice(3), slice(3)), 1000 * np.eye(3)),
            "is no rigid transform: is no rotation",
        ),
    ],
)
def test_what_is_no_pose_is_refused_in_one_line(change, message):
    matrix = pose()
    change(matrix)
    with pytest.raises(DataError, match=message):
        checked_pose(matrix, "the pose")


def test_a_pose_of_another_shape_or_without_a_time_is_refused():
    with pytest.raises(DataError, match="the ego pose at 1.0 s must be a 4 x 4 matrix"):
        PoseBuffer().add(1.0, np.eye(3))
    with pytest.raises(DataError, match="has the time nan"):
        PoseBuffer().add(np.nan, np.eye(4))
