from __future__ import annotations

import torch

from bevdepth_plus.geometry.bev_grid import BEVGrid
from bevdepth_plus.geometry.camera import CameraRig, project, unproject
from bevdepth_plus.geometry.depth_bins import DepthBins

# A camera 1.5 m above the ego origin that looks along +x.
FORWARD = torch.tensor(
    [[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 1.5], [0.0, 0.0, 0.0, 1.0]]
)
K = torch.tensor([[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]])


def test_a_point_straight_ahead_lands_on_the_principal_point():
    pixels, depth = project(torch.tensor([[10.0, 0.0, 1.5]]), FORWARD, K)
    torch.testing.assert_close(pixels, torch.tensor([[320.0, 240.0]]))
    torch.testing.assert_close(depth, torch.tensor([10.0]))


def test_a_point_to_the_left_and_above_lands_left_and_above():
    pixels, _ = project(torch.tensor([[10.0, 1.0, 2.5]]), FORWARD, K)
    torch.testing.assert_close(pixels, torch.tensor([[270.0, 190.0]]))


def test_unproject_undoes_project_under_image_augmentation():
    image_aug = torch.tensor([[-0.4, 0.02, 300.0], [0.03, 0.5, -20.0], [0.0, 0.0, 1.0]])
    points = torch.tensor([[10.0, 1.0, 2.5], [30.0, -8.0, 0.2]])
    pixels, depth = project(points, FORWARD, K, image_aug)
    torch.testing.assert_close(unproject(pixels, depth, FORWARD, K, image_aug), points)


def test_a_point_behind_the_camera_has_negative_depth_and_finite_pixels():
    pixels, depth = project(torch.tensor([[-5.0, 0.0, 1.5], [0.0, 0.0, 1.5]]), FORWARD, K)
    assert depth[0] < 0
    assert torch.isfinite(pixels).all()


def test_the_rig_keeps_its_time_axis_when_one_frame_is_taken():
    meta = dict(
        intrinsics=K.expand(2, 6, 3, 3),
        ego_T_cam=FORWARD.expand(2, 6, 4, 4),
        image_aug=torch.eye(3).expand(2, 6, 3, 3),
        bev_aug=torch.eye(4),
    )
    rig = CameraRig.from_metainfo([meta, meta, meta])
    assert (rig.num_frames, rig.num_cameras) == (2, 6)
    assert rig.frame(1).ego_T_cam.shape == (3, 1, 6, 4, 4)


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
