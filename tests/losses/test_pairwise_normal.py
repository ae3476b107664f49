from __future__ import annotations

import math

import pytest
import torch

from bevdepth_plus.losses import edge_normal_loss, pairwise_normal_loss, plane_normal_loss

H, W = 24, 40
FX, FY, CX, CY = 40.0, 25.0, 12.0, 9.0
INTRINSICS = torch.tensor([[[FX, 0, CX], [0, FY, CY], [0, 0, 1.0]]])


def grid() -> tuple[torch.Tensor, torch.Tensor]:
    v, u = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    return u.double(), v.double()


def plane_depth(a: float, b: float, c: float) -> torch.Tensor:
    """A plane in space: its inverse depth is affine in the pixel, ``a u + b v + c``."""
    u, v = grid()
    return (1 / (a * u + b * v + c)).float()[None, None]


def plane_normal(a: float, b: float, c: float) -> torch.Tensor:
    # 1 / z = n . ray / distance, with ray = ((u - cx) / fx, (v - cy) / fy, 1)
    normal = torch.tensor([a * FX, b * FY, c + a * CX + b * CY])
    return -normal / normal.norm()


def roof() -> tuple[torch.Tensor, float]:
    """Two planes that meet along the diagonal u - v = 8, and the cosine between their normals."""
    u, v = grid()
    depth = (1 / (0.1 + 0.003 * (u - v - 8).abs())).float()[None, None]
    right, left = plane_normal(0.003, -0.003, 0.076), plane_normal(-0.003, 0.003, 0.124)
    return depth, float(right @ left)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_tilted_plane_is_flat_and_another_one_beside_it_too():
    depth = plane_depth(0.002, -0.001, 0.1)
    depth[..., 20:] = plane_depth(-0.002, 0.003, 0.1)[..., 20:]
    planes = torch.ones(1, 1, H, W, dtype=torch.long)
    planes[..., 20:] = 7
    apart = plane_normal_loss(depth, depth, depth > 0, INTRINSICS, planes, generator=seeded())
    as_one = plane_normal_loss(depth, depth, depth > 0, INTRINSICS, planes.clamp(max=1))
    assert apart.item() == pytest.approx(0, abs=1e-5)
    assert as_one > 0.005


def test_one_label_in_two_images_is_two_planes():
    depth = torch.cat([plane_depth(0.002, -0.001, 0.1), plane_depth(-0.002, 0.003, 0.1)])
    planes = torch.ones(2, 1, H, W, dtype=torch.long)
    loss = plane_normal_loss(depth, depth, depth > 0, INTRINSICS.expand(2, 3, 3), planes)
    assert loss.item() == pytest.approx(0, abs=1e-5)


def test_pixels_go_through_the_camera_as_column_and_row():
    generator = seeded()
    pred = 5 + 5 * torch.rand(1, 1, H, W, generator=generator)
    target = plane_depth(0.0, 0.0, 0.1)
    triplets = torch.tensor([[[[2, 3], [20, 8], [4, 30]], [[5, 1], [18, 20], [1, 35]]]])
    normals = []
    for corners in triplets[0].tolist():
        first, second, third = (
            torch.tensor([(x - CX) / FX, (y - CY) / FY, 1.0]) * pred[0, 0, y, x] for y, x in corners
        )
        normal = torch.linalg.cross(second - first, third - first)
        normals.append(normal / normal.norm() * -torch.sign(normal @ first))
    mean = (normals[0] + normals[1]) / (normals[0] + normals[1]).norm()
    planes = torch.ones(1, 1, H, W, dtype=torch.long)
    loss = plane_normal_loss(
        pred, target, target > 0, INTRINSICS, planes, triplets, pixel_centre=0.0
    )
    torch.testing.assert_close(loss, 1 - normals[0] @ mean)


def test_triplets_across_planes_or_on_none_do_not_count():
    pred = 5 + 5 * torch.rand(1, 1, H, W, generator=seeded())
    target = plane_depth(0.0, 0.0, 0.1)
    planes = torch.zeros(1, 1, H, W, dtype=torch.long)
    planes[..., 10:20], planes[..., 20:] = 1, 2
    triplets = torch.tensor([[[[2, 12], [20, 15], [4, 30]], [[5, 1], [18, 5], [1, 8]]]])
    assert plane_normal_loss(pred, target, target > 0, INTRINSICS, planes, triplets) == 0


def test_drawn_triplets_stay_within_planes_of_valid_depth():
    # Pixels without depth, and those of no plane, hold what would cost most.
    depth = plane_depth(0.002, -0.001, 0.1)
    planes = (torch.rand(1, 1, H, W, generator=seeded()) > 0.5).long() * 3
    mask = torch.rand(1, 1, H, W, generator=seeded()) < 0.8
    pred = torch.where((planes > 0) & mask, depth, 99.0)
    loss = plane_normal_loss(pred, depth, mask, INTRINSICS, planes)
    assert loss.item() == pytest.approx(0, abs=1e-5)


def test_a_true_ridge_costs_nothing():
    depth, _ = roof()
    assert edge_normal_loss(depth, depth, depth > 0, INTRINSICS, generator=seeded()) == 0


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_ridge_predicted_flat_costs_its_angle_for_the_pair_that_crosses_it(mirrored):
    depth, cos = roof()
    u, v = grid()
    guide = (u - v > 8).float()[None, None].expand(-1, 3, -1, -1)
    intrinsics, flat = INTRINSICS, plane_depth(0.0, 0.0, 0.1)
    if mirrored:  # the other diagonal: the sign of the edge's direction matters
        depth, guide = depth.flip(-1), guide.flip(-1)
        intrinsics = INTRINSICS.clone()
        intrinsics[0, 0, 0], intrinsics[0, 0, 2] = -FX, W - 1 - CX
    loss = edge_normal_loss(
        flat, depth, depth > 0, intrinsics, guide, distance=(3.0, 6.0), generator=seeded()
    )
    assert math.acos(cos) > 0.2
    # One pair of three crosses; at the image's border more of the crossing ones are lost.
    assert 0.75 * (1 - cos) / 3 < loss.item() < 1.1 * (1 - cos) / 3


def test_edges_come_from_the_target_where_no_guide_is_given():
    step = plane_depth(0.0, 0.0, 0.1)
    step[..., 20:] = plane_depth(0.002, 0.0, 0.05)[..., 20:]
    flat = plane_depth(0.0, 0.0, 0.1)
    assert edge_normal_loss(flat, step, step > 0, INTRINSICS, generator=seeded()) > 1e-3
    assert edge_normal_loss(flat, flat, flat > 0, INTRINSICS, generator=seeded()) == 0


def test_holes_in_the_target_are_no_edges():
    depth = plane_depth(0.002, -0.001, 0.1)
    pred = 5 + 5 * torch.rand(1, 1, H, W, generator=seeded())
    holes = torch.where(torch.rand(H, W, generator=seeded()) < 0.1, 0.0, depth)
    flat = torch.where(holes > 0, 10.0, holes)
    assert edge_normal_loss(pred, flat, flat > 0, INTRINSICS, generator=seeded()) == 0


def test_pairwise_normal_is_planes_and_edges():
    depth, _ = roof()
    flat = plane_depth(0.0, 0.0, 0.1)
    planes = torch.ones(1, 1, H, W, dtype=torch.long)
    edges = edge_normal_loss(flat, depth, depth > 0, INTRINSICS, generator=seeded())
    alone = pairwise_normal_loss(flat, depth, depth > 0, INTRINSICS, generator=seeded())
    assert alone == edges
    bent = pairwise_normal_loss(depth, depth, depth > 0, INTRINSICS, planes, generator=seeded())
    assert bent > 0.01
