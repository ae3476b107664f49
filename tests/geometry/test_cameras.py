from __future__ import annotations

from dataclasses import replace

import torch

from bevdepth_plus.geometry.bev_grid import BEVGrid
from bevdepth_plus.geometry.cameras import (
    CameraRig,
    compose_pixels,
    project_from_ego,
    unproject_to_ego,
)
from bevdepth_plus.geometry.depth_bins import DepthBins

# A camera 1.5 m above the ego origin that looks along +x.
FORWARD = torch.tensor(
    [[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 1.5], [0.0, 0.0, 0.0, 1.0]]
)
K = torch.tensor([[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]])


def test_a_point_straight_ahead_lands_on_the_principal_point():
    pixels, depth = project_from_ego(torch.tensor([[10.0, 0.0, 1.5]]), FORWARD, K)
    torch.testing.assert_close(pixels, torch.tensor([[320.0, 240.0]]))
    torch.testing.assert_close(depth, torch.tensor([10.0]))


def test_a_point_to_the_left_and_above_lands_left_and_above():
    pixels, _ = project_from_ego(torch.tensor([[10.0, 1.0, 2.5]]), FORWARD, K)
    torch.testing.assert_close(pixels, torch.tensor([[270.0, 190.0]]))


def test_unproject_undoes_project_under_image_augmentation():
    image_aug = torch.tensor([[-0.4, 0.02, 300.0], [0.03, 0.5, -20.0], [0.0, 0.0, 1.0]])
    points = torch.tensor([[10.0, 1.0, 2.5], [30.0, -8.0, 0.2]])
    network_K = compose_pixels(image_aug, K)
    pixels, depth = project_from_ego(points, FORWARD, network_K)
    torch.testing.assert_close(unproject_to_ego(pixels, depth, FORWARD, network_K), points)


def test_a_point_behind_the_camera_has_negative_depth_and_finite_pixels():
    pixels, depth = project_from_ego(torch.tensor([[-5.0, 0.0, 1.5], [0.0, 0.0, 1.5]]), FORWARD, K)
    assert depth[0] < 0
    assert torch.isfinite(pixels).all()


def metas(count: int, **changes) -> list[dict]:
    meta = dict(
        intrinsics=K.expand(2, 6, 3, 3),
        ego_T_cam=FORWARD.expand(2, 6, 4, 4),
        image_aug=torch.eye(3).expand(2, 6, 3, 3),
        bev_aug=torch.eye(4),
    )
    return [{**meta, **changes}] * count


def test_a_moment_of_a_rig_is_its_cameras_without_the_time_axis():
    rig = CameraRig.from_metainfo(metas(3))
    assert (rig.num_moments, rig.num_cameras) == (2, 6)
    assert rig.moment(1).ego_T_cam.shape == (3, 6, 4, 4)
    assert rig.moment(1).mask.shape == (3, 6)


def test_network_intrinsics_are_exact_under_autocast():
    image_aug = torch.diag(torch.tensor([0.4401, 0.4401, 1.0])).expand(2, 6, 3, 3)
    cameras = CameraRig.from_metainfo(metas(1, image_aug=image_aug)).moment(0)
    with torch.autocast("cpu", torch.bfloat16):
        found = cameras.network_intrinsics
    torch.testing.assert_close(found, image_aug[:1] @ cameras.intrinsics, rtol=0, atol=0)


def test_equal_rigs_have_equal_fingerprints_and_a_changed_one_has_another():
    (same, again), other = (
        (CameraRig.from_metainfo(metas(1)).moment(t) for t in (0, 1)),
        CameraRig.from_metainfo(metas(1, intrinsics=1.01 * K.expand(2, 6, 3, 3))).moment(0),
    )
    assert same.fingerprint == again.fingerprint != other.fingerprint


def test_cameras_that_were_changed_have_no_fingerprint():
    cameras = CameraRig.from_metainfo(metas(1)).moment(0)
    assert cameras.fingerprint is not None
    assert replace(cameras, ego_T_cam=2 * cameras.ego_T_cam).fingerprint is None


def test_depth_bins_are_half_open():
    bins = DepthBins(2.0, 58.0, 0.5)
    depth = torch.tensor([0.0, 1.99, 2.0, 2.49, 2.5, 57.99, 58.0])
    assert bins.num_bins == 112
    assert bins.index(depth).tolist() == [-1, -1, 0, 0, 1, 111, -1]


def test_centre_planes_lie_half_a_step_behind_left_ones():
    centre = DepthBins(2.0, 58.0, 0.5).planes()
    left = DepthBins(2.0, 58.0, 0.5, plane="left").planes()
    torch.testing.assert_close(centre - left, torch.full((112,), 0.25))


def test_the_expectation_of_a_sure_bin_is_its_centre():
    bins = DepthBins(2.0, 10.0, 2.0)
    sure = torch.zeros(1, 4, 1, 1)
    sure[0, 2] = 1.0
    assert bins.expectation(sure).item() == 7.0


def test_the_official_grid_has_128_by_128_cells():
    grid = BEVGrid((-51.2, 51.2, 0.8), (-51.2, 51.2, 0.8), (-5.0, 3.0, 8.0))
    assert grid.bev_size == (128, 128)
    assert grid.size == (128, 128, 1)
