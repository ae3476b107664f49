from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from bevdepth_plus.geometry.cameras import Cameras
from bevdepth_plus.geometry.flow import (
    came_back,
    fit_static_point,
    follows_rigid_flow,
    is_far,
    motion_between,
    rigid_flow,
    rigid_flow_between,
    visible_in_other,
)
from bevdepth_plus.geometry.warping import own_pixels, sample_bilinear, sample_nearest

SIZE = (24, 40)
INTRINSICS = torch.tensor([[[30.0, 0, 20], [0, 30.0, 12], [0, 0, 1]]])


def pose(yaw: float = 0.0, move: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> torch.Tensor:
    """Camera t -> camera t + 1: turned about the vertical axis and moved, ``[1, 4, 4]``."""
    cos, sin = math.cos(yaw), math.sin(yaw)
    matrix = torch.eye(4)
    matrix[:3, :3] = torch.tensor([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    matrix[:3, 3] = torch.tensor(move)
    return matrix[None]


def road_and_wall() -> torch.Tensor:
    """Depth of a road 1.5 m below the camera that ends at a wall, 18 m away, ``[1, 1, H, W]``."""
    rows = own_pixels(SIZE)[:, [1]]
    road = 1.5 * 30 / (rows - 12).clamp(min=1e-3)
    return road.clamp(max=18.0)


def flow_of(depth, motion):
    return rigid_flow(depth, INTRINSICS, INTRINSICS, motion)


def test_a_camera_that_stands_sees_all_where_it_was():
    depth = road_and_wall()
    flow = flow_of(depth, pose())
    torch.testing.assert_close(flow.correspondence, own_pixels(SIZE))
    torch.testing.assert_close(flow.depth, depth)
    assert flow.valid.all()


def test_driving_ahead_moves_points_out_from_the_centre_and_nearer():
    depth = torch.full((1, 1, *SIZE), 10.0)
    flow = flow_of(depth, pose(move=(0, 0, -5.0)))
    centre = torch.tensor([20.0, 12.0]).reshape(1, 2, 1, 1)
    torch.testing.assert_close(flow.correspondence - centre, 2 * (own_pixels(SIZE) - centre))
    assert (flow.depth[flow.valid] == 5).all()
    # Twice as large, so only the middle half of each side is still in the image.
    assert flow.valid.sum() == SIZE[0] * SIZE[1] / 4


def test_turning_changes_depth_along_the_axis_and_with_it_the_order():
    depth = torch.full((1, 1, *SIZE), 10.0)
    flow = flow_of(depth, pose(yaw=0.2))
    shown = flow.depth[0, 0, 12][flow.valid[0, 0, 12]]
    assert (shown.diff() < 0).all()  # what was all equally deep is no more


def test_one_pixel_by_hand():
    depth = torch.zeros(1, 1, *SIZE)
    depth[..., 14, 25] = 10
    flow = flow_of(depth, pose(move=(1.0, 0.5, -2.0)))
    x, y = (25.5 - 20) / 30 * 10, (14.5 - 12) / 30 * 10
    expected = [20 + 30 * (x + 1) / 8, 12 + 30 * (y + 0.5) / 8]
    assert flow.correspondence[0, :, 14, 25].tolist() == pytest.approx(expected, rel=1e-5)
    assert flow.depth[0, 0, 14, 25].item() == pytest.approx(8.0)
    assert flow.valid.sum() == 1


@pytest.mark.parametrize("rubbish", [0.0, -1.0, torch.nan, torch.inf])
def test_unknown_depth_is_not_valid_and_leaves_gradients_finite(rubbish):
    depth = road_and_wall()
    depth[..., :10] = rubbish
    depth.requires_grad_()
    flow = flow_of(depth, pose(0.05, (0.3, 0.0, -2.0)))
    assert not flow.valid[..., :10].any() and flow.valid.any()
    assert (flow.depth[~flow.valid] == 0).all() and flow.correspondence.isfinite().all()
    torch.where(flow.valid, flow.correspondence, 0).sum().backward()
    assert depth.grad.isfinite().all() and (depth.grad != 0).any()


def test_points_behind_the_other_camera_are_not_valid():
    flow = flow_of(torch.full((1, 1, *SIZE), 3.0), pose(move=(0, 0, -5.0)))
    assert not flow.valid.any() and flow.correspondence.isfinite().all()


def test_autocast_changes_nothing():
    expected = flow_of(road_and_wall(), pose(0.05, (0.3, 0.0, -2.0)))
    with torch.autocast("cpu", torch.bfloat16):
        flow = flow_of(road_and_wall(), pose(0.05, (0.3, 0.0, -2.0)))
    assert torch.equal(flow.correspondence, expected.correspondence)
    assert torch.equal(flow.depth, expected.depth)


def rig(x: float, yaw: float) -> Cameras:
    """Two cameras, ahead and back, on a vehicle at x, turned by yaw about z; one is flipped."""
    cos, sin = math.cos(yaw), math.sin(yaw)
    ego = torch.tensor([[cos, -sin, 0, x], [sin, cos, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    ahead = torch.tensor([[0.0, 0, 1, 1], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
    back = torch.diag(torch.tensor([-1.0, -1, 1, 1])) @ ahead
    flip = torch.tensor([[-1.0, 0, 160], [0, 1, 0], [0, 0, 1]])
    network = torch.tensor([[120.0, 0, 80], [0, 120.0, 48], [0, 0, 1]])
    return Cameras(
        intrinsics=network.expand(1, 2, 3, 3),
        ego_T_cam=torch.stack([ego @ ahead, ego @ back])[None],
        image_aug=torch.stack([torch.eye(3), flip])[None],
        bev_aug=torch.eye(4)[None],
    )


def test_the_cameras_of_a_rig_flow_by_their_own_poses_and_augmentation():
    past, key = rig(-4.0, 0.1), rig(0.0, 0.0)
    depth = road_and_wall().expand(1, 2, *SIZE)
    flow = rigid_flow_between(depth, past, key, stride=4)
    assert flow.correspondence.shape == (2, 2, *SIZE)
    torch.testing.assert_close(motion_between(past, past), torch.eye(4).expand(1, 2, 4, 4))
    # There and back: the moved depth, written where it is seen, leads to the start.
    motion = motion_between(past, key)[0, 0]
    point = motion[:3, :3] @ torch.tensor([(8.5 - 20) / 30 * 18, (5.5 - 12) / 30 * 18, 18.0])
    point = point + motion[:3, 3]
    seen = flow.correspondence[0, :, 5, 8]
    torch.testing.assert_close(seen, point[:2] / point[2] * 30 + torch.tensor([20.0, 12.0]))
    # The flipped camera sees the mirror image of what it would see without the flip.
    upright = torch.eye(3).expand(1, 2, 3, 3)
    plain = [replace(cameras, image_aug=upright) for cameras in (past, key)]
    unflipped = rigid_flow_between(depth.flip(-1), *plain, stride=4).correspondence[1]
    torch.testing.assert_close(
        flow.correspondence[1, 0], 40 - unflipped[0].flip(-1), atol=1e-3, rtol=1e-4
    )


def test_a_round_trip_by_the_true_flow_comes_back():
    motion = pose(0.03, (0.2, 0.0, -1.0))
    flat = torch.full((1, 1, *SIZE), 12.0)
    there = flow_of(flat, motion)
    moved = torch.linalg.inv(motion)
    # The plane in the other camera: z of each pixel's ray cut with it.
    normal = motion[0, :3, :3] @ torch.tensor([0.0, 0, 1])
    offset = 12.0 + normal @ motion[0, :3, 3]
    u, v = own_pixels(SIZE)[0]
    depth = offset / (normal[0] * (u - 20) / 30 + normal[1] * (v - 12) / 30 + normal[2])
    back = rigid_flow(depth[None, None], INTRINSICS, INTRINSICS, moved)
    start = own_pixels(SIZE)
    returned, inside = sample_bilinear(back.correspondence, there.correspondence)
    error = (returned - start).norm(dim=1, keepdim=True)
    kept = inside & came_back(start, there.correspondence, returned)
    limits = torch.tensor([39.5, 23.5]).reshape(1, 2, 1, 1)
    seen = there.correspondence
    between_centres = ((seen > 0.5) & (seen < limits)).all(1, keepdim=True)
    assert error[between_centres].max() < 0.02 and not inside[~there.valid].any()
    assert kept[between_centres].all()


def test_a_way_back_to_elsewhere_is_not_consistent():
    start, back = own_pixels(SIZE), own_pixels(SIZE)
    back[..., 20:] += 3.0
    kept = came_back(start, start + 1.0, back)
    assert kept[..., :20].all() and not kept[..., 20:].any()
    # A long flow may miss by more.
    assert not came_back(start, start, start + 0.8).any()
    assert came_back(start, start + 200.0, start + 0.8).all()


def test_what_a_nearer_thing_covers_is_hidden():
    wall = torch.full((1, 1, *SIZE), 20.0)
    other = wall.clone()
    other[..., 10:20] = 6.0  # a car drove in between
    flow = flow_of(wall, pose())
    visible = visible_in_other(flow, other)
    assert not visible[..., 10:20].any()
    assert visible[..., :10].all() and visible[..., 20:].all()


def test_what_a_thing_uncovers_counts_unless_the_same_surface_is_asked_for():
    wall = torch.full((1, 1, *SIZE), 20.0)
    car = wall.clone()
    car[..., 10:20] = 6.0  # drives away
    flow = flow_of(car, pose())
    assert visible_in_other(flow, wall).all()
    assert not visible_in_other(flow, wall, same_surface=True)[..., 10:20].any()
    assert visible_in_other(flow, wall, same_surface=True)[..., :10].all()


def test_unknown_depth_in_the_other_frame_confirms_nothing():
    wall = torch.full((1, 1, *SIZE), 20.0)
    holes = wall.clone()
    holes[..., :10], holes[..., 10:12] = 0.0, torch.nan
    visible = visible_in_other(flow_of(wall, pose()), holes)
    assert not visible[..., :12].any() and visible[..., 12:].all()


def test_a_steep_road_under_coarse_cells_is_seen_again():
    depth = road_and_wall()
    flow = flow_of(depth, pose(move=(0, 0, 1.0)))  # backwards: all of it stays in the image
    near = flow.valid & (depth < 10)
    assert near.sum() > 200
    assert visible_in_other(flow, depth, same_surface=True)[near].all()


def test_what_moves_by_itself_leaves_the_rigid_flow():
    flow = flow_of(road_and_wall(), pose(move=(0, 0, -1.0)))
    observed = flow.correspondence.clone()
    observed[:, 0, 8:12, 10:16] += 5.0
    follows = follows_rigid_flow(observed, flow)
    moved = torch.zeros_like(flow.valid)
    moved[..., 8:12, 10:16] = True
    assert torch.equal(follows, flow.valid & ~moved)


def test_unknown_depth_follows_nothing():
    flow = flow_of(torch.zeros(1, 1, *SIZE), pose())
    assert not follows_rigid_flow(own_pixels(SIZE), flow).any()


MOTIONS = [pose(0.05, (0.3, 0.1, -2.0)), pose(-0.1, (1.5, 0.0, 0.2)), pose(0, (0, 0, 2.0))]


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_point_that_stands_still_is_explained_at_its_depth(motion):
    depth = road_and_wall()
    flow = flow_of(depth, motion)
    fit = fit_static_point(own_pixels(SIZE), flow.correspondence, INTRINSICS, INTRINSICS, motion)
    assert fit.residual[flow.valid].max() < 1e-3
    told = flow.valid & (fit.parallax > 5)
    assert told.sum() > 200
    torch.testing.assert_close(1 / fit.inverse_depth[told], depth[told], rtol=1e-2, atol=0)


@pytest.mark.parametrize("motion", [*MOTIONS, pose(), pose(yaw=0.1)])
def test_motion_across_the_line_of_static_points_is_left_over(motion):
    flow = flow_of(road_and_wall(), motion)
    fit = fit_static_point(own_pixels(SIZE), flow.correspondence, INTRINSICS, INTRINSICS, motion)
    line = flow.correspondence - flow_of(road_and_wall() * 1.05, motion).correspondence
    across = torch.stack([-line[:, 1], line[:, 0]], 1) + torch.tensor([[[[1e-6]], [[0.0]]]])
    across = 4 * across / across.norm(dim=1, keepdim=True)
    moved = fit_static_point(
        own_pixels(SIZE), flow.correspondence + across, INTRINSICS, INTRINSICS, motion
    )
    assert fit.residual[flow.valid].max() < 0.01
    assert moved.residual[flow.valid].min() > 2.0


def test_flow_beyond_infinity_is_left_over():
    motion = pose(move=(1.0, 0, 0))
    observed = own_pixels(SIZE) - torch.tensor([[[[3.0]], [[0.0]]]])  # the wrong way
    fit = fit_static_point(own_pixels(SIZE), observed, INTRINSICS, INTRINSICS, motion)
    assert (fit.inverse_depth == 0).all()
    torch.testing.assert_close(fit.residual, torch.full_like(fit.residual, 3.0))


def test_far_is_told_by_parallax_and_not_guessed_without_it():
    depth = torch.full((1, 1, *SIZE), 8.0)
    depth[..., 20:] = 30.0

    def far_after(motion):
        seen = flow_of(depth, motion).correspondence
        fit = fit_static_point(own_pixels(SIZE), seen, INTRINSICS, INTRINSICS, motion)
        return is_far(fit, max_depth=20.0)

    sideways = far_after(pose(move=(2.0, 0, 0)))
    assert sideways[..., 20:].all() and not sideways[..., :20].any()
    assert not far_after(pose()).any() and not far_after(pose(yaw=0.1)).any()


def test_depth_warped_by_the_rigid_flow_is_the_moved_depth():
    # A slanted road stays a road: what the other frame sees there is as deep as the moved point.
    motion = pose(move=(0, 0, -1.5))
    depth, other = road_and_wall(), road_and_wall()
    flow = flow_of(depth, motion)
    road = flow.valid & (depth < 17)
    seen, _ = sample_nearest(other, flow.correspondence)
    ratio = (flow.depth / seen)[road]
    assert (ratio - 1).abs().median() < 0.05
