from __future__ import annotations

import pytest
import torch

import bevdepth_plus.models  # noqa: F401
from bevdepth_plus.geometry.cameras import Cameras
from bevdepth_plus.models.bev.view_transform import LiftSplat

GRID = dict(x=(0.0, 40.0, 1.0), y=(-20.0, 20.0, 1.0), z=(-5.0, 3.0, 8.0))
BINS = dict(start=2.0, stop=34.0, step=2.0)
FORWARD = torch.tensor(
    [[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 1.5], [0.0, 0.0, 0.0, 1.0]]
)


def one_camera(bev_aug=None) -> Cameras:
    intrinsics = torch.tensor([[64.0, 0, 40], [0, 64.0, 24], [0, 0, 1]])
    return Cameras(
        intrinsics=intrinsics.expand(1, 1, 3, 3),
        ego_T_cam=FORWARD.expand(1, 1, 4, 4),
        image_aug=torch.eye(3).expand(1, 1, 3, 3),
        bev_aug=torch.eye(4)[None] if bev_aug is None else bev_aug[None],
    )


def splat_of(view: LiftSplat, bin_index: int, column: int, bev_aug=None) -> list[list[int]]:
    """The BEV cells (y, x) that one sure pixel of the middle row fills."""
    depth = torch.zeros(1, 1, 16, 3, 5)
    depth[0, 0, bin_index, 1, column] = 1.0
    bev = view(depth, torch.ones(1, 1, 1, 3, 5), one_camera(bev_aug))
    return bev[0, 0].nonzero().tolist()


def view(**options) -> LiftSplat:
    return LiftSplat(grid=GRID, depth_bins=BINS, image_size=(48, 80), stride=16, **options)


def test_a_sure_pixel_in_the_middle_fills_the_cell_straight_ahead():
    # The middle column's centre is u = 40, the optical axis; bin 4 is centred at 11 m.
    assert splat_of(view(), bin_index=4, column=2) == [[20, 11]]


def test_a_pixel_one_column_to_the_left_lands_to_the_left():
    # u = 24: 16 px of 64 px focal length, a quarter of 11 m to the left (+y).
    assert splat_of(view(), bin_index=4, column=1) == [[22, 11]]


def test_mirroring_y_in_the_bev_mirrors_the_cell():
    mirror = torch.diag(torch.tensor([1.0, -1.0, 1.0, 1.0]))
    assert splat_of(view(), bin_index=4, column=1, bev_aug=mirror) == [[17, 11]]


def test_left_planes_stand_half_a_bin_nearer():
    bins = {**BINS, "plane": "left"}
    near = LiftSplat(grid=GRID, depth_bins=bins, image_size=(48, 80), stride=16)
    assert splat_of(near, bin_index=4, column=2) == [[20, 10]]


def test_corner_frustums_start_at_the_first_pixel():
    assert view(frustum=dict(rays="corners")).frustum.u[[0, -1]].tolist() == [0.0, 79.0]
    assert view().frustum.u[[0, -1]].tolist() == [8.0, 72.0]


def test_unknown_rays_are_refused():
    with pytest.raises(ValueError, match=r"one of \('centres', 'corners'\), got 'edges'"):
        view(frustum=dict(rays="edges"))
