from __future__ import annotations

import math

import torch

from bevdepth_plus.geometry.cameras import Cameras, project_from_ego
from bevdepth_plus.geometry.canonical import network_focal
from bevdepth_plus.geometry.ground import ground_scale


def camera_of(focal: float, height: float, pitch: float, roll: float = 0.0) -> Cameras:
    """A camera that looks ahead, ``pitch`` down, turned by ``roll`` about its axis."""
    level = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    cos, sin = math.cos(pitch), math.sin(pitch)
    tilt = torch.tensor([[1.0, 0, 0], [0, cos, sin], [0, -sin, cos]])
    cos, sin = math.cos(roll), math.sin(roll)
    turn = torch.tensor([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    pose = torch.eye(4)
    pose[:3, :3] = level @ tilt @ turn
    pose[:3, 3] = torch.tensor([1.0, 0.2, height])
    aug = torch.tensor([[-0.5, 0.02, 90.0], [0.02, 0.5, -20], [0, 0, 1]])  # shrunk, mirrored
    intrinsics = torch.tensor([[focal, 0, 160.0], [0, focal, 90], [0, 0, 1]])
    eye = torch.eye(4)[None]
    return Cameras(intrinsics[None, None], pose[None, None], aug[None, None], eye)


def test_it_is_focal_length_over_depth_of_points_on_the_road():
    camera = camera_of(300.0, height=1.4, pitch=0.1, roll=0.05)
    points = torch.tensor([[6.0, 1.0, 0.0], [15.0, -3.0, 0.0], [40.0, 2.0, 0.0]])
    pixels, depth = project_from_ego(
        points, camera.ego_T_cam[0, 0], camera.network_intrinsics[0, 0]
    )
    focal = network_focal(camera).item()
    for (u, v), expected in zip(pixels, focal / depth, strict=True):
        found = ground_scale(camera, u[None], v[None])
        torch.testing.assert_close(found[0, 0, 0, 0], expected, rtol=1e-4, atol=0)


def test_it_changes_sign_at_the_horizon():
    camera = camera_of(300.0, height=1.4, pitch=0.0)
    rows = torch.tensor([0.5 * 90 - 20 - 5, 0.5 * 90 - 20 + 5])  # around the principal point's row
    above, below = ground_scale(camera, torch.tensor([10.0]), rows)[0, 0, :, 0]
    assert above < 0 < below


def test_a_lower_camera_or_a_longer_lens_sees_a_metre_of_road_larger_at_one_row():
    rows, column = torch.tensor([60.0]), torch.tensor([40.0])
    usual = ground_scale(camera_of(300.0, 1.5, 0.0), column, rows)
    lower = ground_scale(camera_of(300.0, 0.75, 0.0), column, rows)
    torch.testing.assert_close(lower, 2 * usual)
