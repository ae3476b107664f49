from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from bevdepth_plus.geometry.cameras import project_from_ego
from bevdepth_plus.rigs.horizon import horizon_row

INTRINSICS = torch.tensor([[1200.0, 0, 810], [0, 1250, 480], [0, 0, 1]], dtype=torch.float64)


def camera(yaw: float, pitch: float, roll: float) -> torch.Tensor:
    """Degrees; pitch looks down, roll turns the camera about its optical axis."""
    forward = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]], dtype=torch.float64)
    turn = Rotation.from_euler("ZYX", [yaw, pitch, roll], degrees=True).as_matrix()
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.from_numpy(turn) @ forward
    pose[:3, 3] = torch.tensor([1.5, 0.2, 1.6])
    return pose


def test_a_level_camera_has_it_at_its_principal_point():
    assert horizon_row(INTRINSICS, camera(70, 0, 0), 100.0).item() == pytest.approx(480)


def test_a_camera_that_looks_down_has_it_higher_in_the_image():
    row = horizon_row(INTRINSICS, camera(0, 10, 0), 810.0).item()
    assert row == pytest.approx(480 - 1250 * math.tan(math.radians(10)))


@pytest.mark.parametrize("angles", [(0, 4, 0), (120, -7, 0), (-40, 3, 12), (180, 1, -20)])
def test_points_far_away_at_the_cameras_height_are_seen_on_it(angles):
    pose = camera(*angles)
    ahead = pose[:3, 2] * torch.tensor([1.0, 1, 0])  # level, where the camera looks
    point = pose[:3, 3] + 1e7 * ahead / ahead.norm()
    pixel, depth = project_from_ego(point[None], pose, INTRINSICS)
    assert depth > 0
    assert horizon_row(INTRINSICS, pose, pixel[0, 0]).item() == pytest.approx(
        pixel[0, 1].item(), abs=1e-2
    )


@pytest.mark.parametrize("angles", [(0, 90, 0), (0, 0, 90)])
def test_a_camera_on_its_side_or_looking_straight_down_has_none(angles):
    assert np.isnan(horizon_row(INTRINSICS, camera(*angles), 800.0))


def test_many_cameras_at_once():
    poses = torch.stack([camera(0, 0, 0), camera(90, 5, 0)])[None]
    rows = horizon_row(INTRINSICS.expand(1, 2, 3, 3), poses, [[800.0, 800.0]])
    assert rows.shape == (1, 2) and rows[0, 0] > rows[0, 1]
