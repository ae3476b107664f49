from __future__ import annotations

import math

import pytest
import torch

from bevdepth_plus.geometry.boxes import box_corners, points_in_boxes, transform_boxes
from bevdepth_plus.geometry.rigid import invert_rigid, transform_points


def random_rigid(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    quaternion = torch.randn(4, generator=generator, dtype=torch.float64)
    w, x, y, z = quaternion / quaternion.norm()
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    matrix[:3, 3] = torch.randn(3, generator=generator, dtype=torch.float64) * 10
    return matrix


@pytest.mark.parametrize("seed", range(3))
def test_the_inverse_of_a_rigid_transform_undoes_it(seed):
    a_T_b = random_rigid(seed)
    points = torch.randn(7, 3, dtype=torch.float64)
    there_and_back = transform_points(invert_rigid(a_T_b), transform_points(a_T_b, points))
    torch.testing.assert_close(there_and_back, points)


def upright(yaw: float, translation=(0.0, 0.0, 0.0)) -> torch.Tensor:
    matrix = torch.eye(4, dtype=torch.float64)
    cos, sin = math.cos(yaw), math.sin(yaw)
    matrix[:2, :2] = torch.tensor([[cos, -sin], [sin, cos]])
    matrix[:3, 3] = torch.tensor(translation, dtype=torch.float64)
    return matrix


BOX = torch.tensor([[10.0, 2.0, 0.5, 4.0, 2.0, 1.5, 0.3, 5.0, 1.0]], dtype=torch.float64)


def test_a_quarter_turn_turns_centre_heading_and_velocity_together():
    moved = transform_boxes(BOX, upright(math.pi / 2))
    expected = torch.tensor(
        [[-2.0, 10.0, 0.5, 4.0, 2.0, 1.5, 0.3 + math.pi / 2, -1.0, 5.0]], dtype=torch.float64
    )
    torch.testing.assert_close(moved, expected)


def test_a_mirror_in_y_turns_the_heading_round():
    mirror = torch.diag(torch.tensor([1.0, -1.0, 1.0, 1.0], dtype=torch.float64))
    moved = transform_boxes(BOX, mirror)
    expected = BOX * torch.tensor([1, -1, 1, 1, 1, 1, -1, 1, -1], dtype=torch.float64)
    torch.testing.assert_close(moved, expected)


def test_a_scale_grows_sizes_and_velocity_but_not_the_heading():
    moved = transform_boxes(BOX, torch.diag(torch.tensor([1.1, 1.1, 1.1, 1.0]).double()))
    torch.testing.assert_close(moved[:, 3:6], BOX[:, 3:6] * 1.1)
    torch.testing.assert_close(moved[:, 6], BOX[:, 6])
    torch.testing.assert_close(moved[:, 7:], BOX[:, 7:] * 1.1)


def test_corners_move_with_their_box():
    ego_T_lidar = upright(0.7, (1.0, -2.0, 0.3))
    moved_then_cornered = box_corners(transform_boxes(BOX, ego_T_lidar))
    cornered_then_moved = transform_points(ego_T_lidar, box_corners(BOX)[0])
    torch.testing.assert_close(moved_then_cornered[0], cornered_then_moved)


def test_front_corners_lie_in_heading_direction():
    corners = box_corners(BOX)[0]
    heading = torch.tensor([math.cos(0.3), math.sin(0.3), 0.0], dtype=torch.float64)
    along = (corners - BOX[0, :3]) @ heading
    assert (along[:4] > 0).all() and (along[4:] < 0).all()


def test_a_point_is_inside_only_within_the_half_sizes():
    centre = BOX[0, :3]
    inside = centre + torch.tensor([0.0, 0.0, 0.74])
    outside = centre + torch.tensor([0.0, 0.0, 0.76])
    assert points_in_boxes(torch.stack([centre, inside, outside]), BOX).tolist() == [
        [True, True, False]
    ]


def test_boxes_of_a_wrong_width_are_refused():
    with pytest.raises(ValueError, match=r"\[M, 7\] or \[M, 9\], got \(2, 8\)"):
        transform_boxes(torch.zeros(2, 8), torch.eye(4))


def test_poses_keep_their_precision_under_autocast():
    pose = torch.eye(4)
    pose[:3, 3] = torch.tensor([1234.567, -89.123, 3.21])
    points = torch.tensor([[0.123, 4.567, 8.901]])
    with torch.autocast("cpu", torch.bfloat16):
        moved = transform_points(invert_rigid(pose), transform_points(pose, points))
    torch.testing.assert_close(moved, points, rtol=0, atol=1e-3)
