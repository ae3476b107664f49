from __future__ import annotations

import math

import torch

from bevdepth_plus.losses import depth_normal_consistency_loss

INTRINSICS = torch.tensor([[[40.0, 0, 12], [0, 25.0, 9], [0, 0, 1]]])


def tilted(slope: float) -> torch.Tensor:
    """The plane z = 10 + slope * y, as depth ``[1, 1, 24, 40]``."""
    v = torch.arange(24.0)[:, None].expand(24, 40)
    return (10 / (1 - slope * (v - 9) / 25))[None, None]


def test_the_angle_between_two_planes_is_what_it_costs():
    flat, ramp = tilted(0.0), tilted(0.5)
    loss = depth_normal_consistency_loss(ramp, flat, flat > 0, INTRINSICS, pixel_centre=0.0)
    torch.testing.assert_close(loss, torch.tensor(1 - math.cos(math.atan(0.5))))


def test_normals_given_point_towards_the_camera_and_need_no_length():
    ramp = tilted(0.5)
    towards = torch.tensor([0.0, 0.5, -1.0]).reshape(1, 3, 1, 1).expand(1, 3, 24, 40)
    right = depth_normal_consistency_loss(ramp, ramp, ramp > 0, INTRINSICS, 4 * towards)
    away = depth_normal_consistency_loss(ramp, ramp, ramp > 0, INTRINSICS, -towards)
    torch.testing.assert_close(right, torch.tensor(0.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(away, torch.tensor(2.0))


def test_the_gradient_reaches_predicted_normals():
    ramp = tilted(0.5)
    normals = torch.zeros(1, 3, 24, 40)
    normals[:, 2] = -1
    normals[..., :20] = 0  # none there
    normals.requires_grad_()
    depth_normal_consistency_loss(ramp, ramp, ramp > 0, INTRINSICS, normals).backward()
    assert normals.grad.isfinite().all()
    assert (normals.grad[..., :20] == 0).all() and (normals.grad[:, 1, 1:-1, 20:-1] != 0).all()
