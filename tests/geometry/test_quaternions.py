from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from bevdepth_plus.geometry.quaternions import quaternion_to_rotation, rotation_to_quaternion


def test_matrices_are_those_of_scipy():
    turns = Rotation.random(50, random_state=0)
    matrices = quaternion_to_rotation(torch.from_numpy(turns.as_quat()))
    np.testing.assert_allclose(matrices.numpy(), turns.as_matrix(), atol=1e-12)


def test_the_length_of_a_quaternion_does_not_matter():
    quaternion = torch.tensor([0.1, -0.2, 0.3, 0.9])
    torch.testing.assert_close(
        quaternion_to_rotation(quaternion), quaternion_to_rotation(7 * quaternion)
    )


def test_a_rotation_comes_back_even_at_half_a_turn():
    half_turns = Rotation.from_rotvec(np.pi * np.vstack([np.eye(3), [[0.6, 0.8, 0.0]]]))
    turns = Rotation.concatenate([Rotation.random(50, random_state=1), half_turns])
    matrices = torch.from_numpy(turns.as_matrix())
    quaternions = rotation_to_quaternion(matrices)
    assert (quaternions[:, 3] >= 0).all()
    torch.testing.assert_close(quaternion_to_rotation(quaternions), matrices)
