"""The definition itself, against loops and hand-made numbers."""

from __future__ import annotations

import math

import torch

from bevdepth_plus_ops import bev_pool_reference, frustum_cells_reference, frustum_points
from bevdepth_plus_ops.testing import random_case


def pool_by_loops(depth, context, cells, bev_size):
    out = torch.zeros(depth.shape[0], context.shape[2], bev_size[0] * bev_size[1])
    for b, n, d, h, w in torch.cartesian_prod(*map(torch.arange, depth.shape)).tolist():
        cell = cells[b, n, d, h, w].item()
        if 0 <= cell < out.shape[2]:
            out[b, :, cell] += depth[b, n, d, h, w] * context[b, n, :, h, w]
    return out.view(*out.shape[:2], *bev_size)


def test_reference_is_the_sum_over_points_written_as_loops():
    case = random_case(batch=2, cameras=2, bins=3, channels=4, height=2, width=3, bev_size=(3, 4))
    torch.testing.assert_close(bev_pool_reference(*case.arguments), pool_by_loops(*case.arguments))


def test_reference_gradients_pass_gradcheck():
    case = random_case(bins=3, channels=2, height=2, width=2, dtype=torch.float64)
    inputs = (case.depth.requires_grad_(), case.context.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda d, c: bev_pool_reference(d, c, case.cells, case.bev_size), inputs
    )


def front_camera():
    """Looks along ego x from (1, 0, 2); 100 px focal length, principal point (50, 30)."""
    ego_T_cam = torch.tensor(
        [[0.0, 0, 1, 1], [-1, 0, 0, 0], [0, -1, 0, 2], [0, 0, 0, 1]], dtype=torch.float64
    )
    intrinsics = torch.tensor([[100.0, 0, 50], [0, 100, 30], [0, 0, 1]], dtype=torch.float64)
    return ego_T_cam.view(1, 1, 4, 4), intrinsics.view(1, 1, 3, 3)


def test_a_pixel_right_of_the_centre_lies_to_the_right_of_the_car():
    ego_T_cam, intrinsics = front_camera()
    points = frustum_points(
        ego_T_cam, intrinsics, torch.eye(3).view(1, 1, 3, 3), torch.eye(4).view(1, 4, 4),
        u=torch.tensor([50.0, 60.0]), v=torch.tensor([30.0]), depths=torch.tensor([10.0]),
    )  # fmt: skip
    expected = torch.tensor([[11.0, 0, 2], [11, -1, 2]], dtype=torch.float64)
    torch.testing.assert_close(points[0, 0, 0, 0], expected)


def test_resizing_the_image_and_its_pixels_moves_no_point():
    ego_T_cam, intrinsics = front_camera()
    half = torch.diag(torch.tensor([0.5, 0.5, 1.0])).view(1, 1, 3, 3)
    eye3, eye4 = torch.eye(3).view(1, 1, 3, 3), torch.eye(4).view(1, 4, 4)
    u, v, depths = torch.tensor([12.0, 80.0]), torch.tensor([7.0]), torch.tensor([3.0, 9.0])
    raw = frustum_points(ego_T_cam, intrinsics, eye3, eye4, u=u, v=v, depths=depths)
    resized = frustum_points(ego_T_cam, intrinsics, half, eye4, u=u / 2, v=v / 2, depths=depths)
    torch.testing.assert_close(resized, raw)


def test_bev_rotation_turns_the_points_about_the_ego_origin():
    ego_T_cam, intrinsics = front_camera()
    turn = torch.eye(4, dtype=torch.float64)
    turn[:2, :2] = torch.tensor([[0.0, -1], [1, 0]])  # 90 degrees counter-clockwise
    points = frustum_points(
        ego_T_cam, intrinsics, torch.eye(3).view(1, 1, 3, 3), turn.view(1, 4, 4),
        u=torch.tensor([50.0]), v=torch.tensor([30.0]), depths=torch.tensor([10.0]),
    )  # fmt: skip
    torch.testing.assert_close(points.flatten(), torch.tensor([0.0, 11, 2], dtype=torch.float64))


def test_truncation_takes_points_up_to_one_cell_below_the_grid_and_floor_drops_them():
    # One axis at a time: x = 1 + depth, so depth picks the coordinate (x - lower) / 1.
    ego_T_cam, intrinsics = front_camera()
    coordinates = torch.tensor([-1.0, -0.999, -0.001, 0.0, 0.5, 3.999, 4.0])
    options = dict(
        u=torch.tensor([50.0]), v=torch.tensor([30.0]), depths=coordinates + 9,
        lower=(10.0, -0.5, 0.0), cell_size=(1.0, 1.0, 4.0), grid_size=(4, 1, 1),
    )  # fmt: skip
    matrices = (ego_T_cam, intrinsics, torch.eye(3).view(1, 1, 3, 3), torch.eye(4).view(1, 4, 4))
    floor = frustum_cells_reference(*matrices, **options).flatten().tolist()
    truncate = frustum_cells_reference(*matrices, **options, rounding="truncate")
    assert floor == [-1, -1, -1, 0, 0, 3, -1]
    assert truncate.flatten().tolist() == [-1, 0, 0, 0, 0, 3, -1]


def test_half_precision_is_summed_in_float32():
    # 4096 ones: float16 sums would stick at 2048.
    depth = torch.ones(1, 1, 4096, 1, 1, dtype=torch.float16)
    cells = torch.zeros(depth.shape, dtype=torch.int32)
    out = bev_pool_reference(depth, torch.ones(1, 1, 1, 1, 1).half(), cells, (1, 1))
    assert math.isclose(out.item(), 4096)
