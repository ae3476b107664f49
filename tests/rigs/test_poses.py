from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bevdepth_plus.rigs.poses import (
    angles_of,
    invert_pose,
    pose_matrix,
    pose_problem,
    quaternion_of,
    rotation_from_angles,
    rotation_from_quaternion,
)

ANGLES = np.random.default_rng(0).uniform([-180, -89, -180], [180, 89, 180], (200, 3))


def test_angles_give_scipys_rotation_to_the_bit():
    for angles in ANGLES:
        expected = Rotation.from_euler("ZYX", angles, degrees=True).as_matrix()
        np.testing.assert_array_equal(rotation_from_angles(*angles), expected)


def test_angles_and_quaternions_come_back():
    for angles in ANGLES:
        rotation = rotation_from_angles(*angles)
        np.testing.assert_allclose(angles_of(rotation), angles, atol=1e-9)
        quaternion = quaternion_of(rotation)
        assert quaternion[0] >= 0
        np.testing.assert_allclose(rotation_from_quaternion(*quaternion), rotation, atol=1e-14)


@pytest.mark.parametrize("pitch", [-90.0, 90.0])
def test_straight_up_and_down_come_back_as_one_of_many_angles(pitch):
    rotation = rotation_from_angles(30.0, pitch, 20.0)
    np.testing.assert_allclose(rotation_from_angles(*angles_of(rotation)), rotation, atol=1e-12)


def test_half_turns_have_a_quaternion():
    for axis in np.eye(3):
        rotation = 2 * np.outer(axis, axis) - np.eye(3)
        np.testing.assert_allclose(
            rotation_from_quaternion(*quaternion_of(rotation)), rotation, atol=1e-15
        )


def test_an_inverse_undoes_its_pose():
    pose = pose_matrix(rotation_from_angles(30, 20, 10), [1, 2, 3])
    np.testing.assert_allclose(invert_pose(pose) @ pose, np.eye(4), atol=1e-15)


def test_a_transposed_matrix_is_told_by_its_last_row():
    pose = pose_matrix(rotation_from_angles(30, 20, 10), [1, 2, 3])
    assert pose_problem(pose) == ""
    assert "is the matrix transposed?" in pose_problem(pose.T)
