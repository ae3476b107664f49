"""The op's geometry is that of ``geometry``: pinhole, rigid transforms, BEV grid."""

from __future__ import annotations

import math

import torch

import bevdepth_plus.models  # noqa: F401
from bevdepth_plus.geometry.cameras import Cameras, unproject_to_ego
from bevdepth_plus.geometry.rigid import transform_points
from bevdepth_plus.models.bev.frustum import Frustum

GRID = dict(x=(-20.0, 20.0, 0.8), y=(-20.0, 20.0, 0.8), z=(-5.0, 3.0, 8.0))
BINS = dict(start=2.0, stop=30.0, step=0.5)


def turned(roll: float, pitch: float, yaw: float) -> torch.Tensor:
    """``ego_T_cam`` of a camera 1.5 m up that looks along ``yaw``, not quite level."""
    level = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]], dtype=torch.float64)
    c, s = math.cos(yaw), math.sin(yaw)
    about_z = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=torch.float64)
    c, s = math.cos(pitch), math.sin(pitch)
    about_x = torch.tensor([[1, 0, 0], [0, c, -s], [0, s, c]], dtype=torch.float64)
    c, s = math.cos(roll), math.sin(roll)
    about_axis = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=torch.float64)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = about_z @ level @ about_x @ about_axis
    pose[:3, 3] = torch.tensor([1.2, 0.3, 1.5])
    return pose


def cameras_of() -> Cameras:
    intrinsics = torch.tensor([[420.0, 0, 260], [0, 430, 140], [0, 0, 1]]).double()
    image_aug = torch.tensor([[-0.3, 0.01, 150], [0.01, 0.3, -8], [0, 0, 1]]).double()
    bev_aug = torch.diag(torch.tensor([1.02, -1.02, 1.02, 1.0])).double()
    poses = torch.stack([turned(0.02, 0.05, 0.3), turned(-0.03, -0.02, 2.5)])
    return Cameras(
        intrinsics.expand(1, 2, 3, 3), poses[None], image_aug.expand(1, 2, 3, 3), bev_aug[None]
    )


def test_the_ops_cells_are_those_of_the_projection_in_geometry():
    frustum = Frustum(GRID, BINS, image_size=(64, 160), stride=8)
    cameras = cameras_of()
    v, u = torch.meshgrid(frustum.v.double(), frustum.u.double(), indexing="ij")
    pixels = torch.stack([u, v], dim=-1).flatten(0, 1)  # [H * W, 2]
    planes = []
    for depth in frustum.depths.double():
        points = unproject_to_ego(
            pixels, depth.expand(len(pixels)), cameras.ego_T_cam, cameras.network_intrinsics
        )  # [1, 2, H * W, 3]
        planes.append(transform_points(cameras.bev_aug[:, None], points))
    points = torch.stack(planes, dim=2).unflatten(3, (len(frustum.v), len(frustum.u)))
    torch.testing.assert_close(frustum.points(cameras).double(), points, rtol=1e-5, atol=1e-4)

    found, expected = frustum.cells(cameras), frustum.grid.flat_index(points)
    in_cells = (points[..., :3] - torch.tensor(GRID["x"][0])) / 0.8
    on_a_border = ((in_cells - in_cells.round()).abs() < 1e-3).any(dim=-1)
    on_a_border |= (points[..., 2] + 5).abs() < 1e-3
    assert torch.equal(found[~on_a_border], expected[~on_a_border])
    assert on_a_border.float().mean() < 0.02
    assert (found >= 0).float().mean() > 0.3


def test_a_camera_that_is_out_fills_no_cell():
    cameras = cameras_of()
    masked = Cameras(
        cameras.intrinsics,
        cameras.ego_T_cam,
        cameras.image_aug,
        cameras.bev_aug,
        mask=torch.tensor([[True, False]]),
    )
    cells = Frustum(GRID, BINS, image_size=(64, 160), stride=8).cells(masked)
    assert (cells[0, 0] >= 0).any() and (cells[0, 1] == -1).all()
