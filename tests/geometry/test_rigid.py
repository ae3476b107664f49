"""Poses keep what they say."""

from __future__ import annotations

import torch

from bevdepth_plus.geometry.rigid import invert_rigid, transform_points


def test_poses_keep_their_precision_under_autocast():
    pose = torch.eye(4)
    pose[:3, 3] = torch.tensor([1234.567, -89.123, 3.21])
    points = torch.tensor([[0.123, 4.567, 8.901]])
    with torch.autocast("cpu", torch.bfloat16):
        moved = transform_points(invert_rigid(pose), transform_points(pose, points))
    torch.testing.assert_close(moved, points, rtol=0, atol=1e-3)
