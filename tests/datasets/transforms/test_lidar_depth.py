from __future__ import annotations

import numpy as np
import pytest
import torch
from mmdet3d.structures import LiDARInstance3DBoxes

from bevdepth_plus.datasets.transforms.bev_augmentation import BEVAugmentation
from bevdepth_plus.datasets.transforms.image_augmentation import ImageAugmentation
from bevdepth_plus.datasets.transforms.lidar_depth import LidarDepthMaps, LoadLidarPoints
from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.depth_bins import DepthBins
from bevdepth_plus.geometry.z_buffer import nearest_depth
from bevdepth_plus.losses.bin_depth import BinDepthLoss

FORWARD_CAMERA = np.array([[0.0, 0, 1, 1.0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])


def results_of(points: list[list[float]]) -> dict:
    """One camera of 40 x 60 pixels that looks forward; the LiDAR stands at the ego's origin."""
    return {
        "points": np.array([[*point, 0, 0] for point in points], dtype=np.float32),
        "lidar2ego": np.eye(4),
        "ego_T_cam": FORWARD_CAMERA[None, None],
        "intrinsics": np.array([[[[50.0, 0, 30], [0, 50, 20], [0, 0, 1]]]]),
        "image_aug": np.eye(3)[None, None],
        "img": [np.zeros((40, 60, 3), np.uint8)],
        "raw_shape": [(40, 60)],
        "cam_names": ["CAM_FRONT"],
    }


def depth_map(points: list[list[float]], **options) -> np.ndarray:
    return LidarDepthMaps(**options)(results_of(points))["depth_maps"][0]


def test_a_point_ahead_gets_its_depth_along_the_optical_axis():
    image = depth_map([[11.0, -2.0, 1.5]])
    row, column = np.argwhere(image)[0]
    assert (row, column) == (20, 40)  # v = 20, u = 30 + 50 * 2 / 10
    assert image[row, column] == pytest.approx(10.0)


def test_points_behind_or_too_near_are_dropped():
    assert depth_map([[-5.0, 0, 1.5], [1.5, 0, 1.5]]).sum() == 0
    assert depth_map([[1.5, 0, 1.5]], min_depth=0.2).sum() == pytest.approx(0.5)


def test_no_points_give_an_empty_map():
    results = {**results_of([[5.0, 0, 0]]), "points": np.zeros((0, 5), np.float32)}
    maps = LidarDepthMaps()(results)["depth_maps"]
    assert maps.shape == (1, 40, 60) and maps.dtype == np.float32 and maps.sum() == 0


def test_depth_maps_follow_the_image_augmentation():
    np.random.seed(3)
    results = ImageAugmentation((32, 64))(results_of([[11.0, -1.0, 1.5]]))
    image = LidarDepthMaps()(results)["depth_maps"][0]
    assert image.shape == (32, 64)
    column, row = (results["image_aug"][0, 0] @ [35.0, 20.0, 1.0])[:2]
    assert image[int(row), int(column)] == pytest.approx(10.0)


def test_black_borders_get_no_depth_although_lidar_points_fall_there():
    results = results_of([[11.0, y, 1.5] for y in np.arange(-9, 9, 0.1)])
    shifted = np.array([[1.0, 0, 25], [0, 1, 0], [0, 0, 1]])
    image = LidarDepthMaps()({**results, "image_aug": shifted[None, None]})["depth_maps"][0]
    assert (image[20, 25:] > 0).all() and image[:, :25].sum() == 0


def test_bev_augmentation_does_not_change_depth_labels():
    rng = np.random.default_rng(0)
    results = results_of(rng.uniform([2, -10, -1], [40, 10, 3], (500, 3)).tolist())
    no_boxes = LiDARInstance3DBoxes(torch.zeros(0, 9), box_dim=9)
    results |= {"bev_aug": np.eye(4), "ann_info": {"gt_bboxes_3d": no_boxes}}
    plain = LidarDepthMaps()(results)["depth_maps"]
    np.random.seed(0)
    augmented = LidarDepthMaps()(BEVAugmentation(flip_y=1.0)(results))
    assert np.abs(augmented["bev_aug"] - np.eye(4)).max() > 0.05
    assert np.count_nonzero(plain) > 100
    np.testing.assert_array_equal(augmented["depth_maps"], plain)


def sweep(tmp_path, width: int) -> dict:
    points = np.random.default_rng(0).normal(size=(9, width)).astype(np.float32)
    points.tofile(tmp_path / "a.bin")
    return {"lidar_path": str(tmp_path / "a.bin"), "num_pts_feats": width, "written": points}


@pytest.mark.parametrize("width", [3, 4, 5, 6])
def test_points_are_read_with_the_width_that_the_info_file_says(tmp_path, width):
    results = sweep(tmp_path, width)
    np.testing.assert_array_equal(LoadLidarPoints()(results)["points"], results["written"])


def test_a_width_in_the_config_goes_before_that_of_the_file(tmp_path):
    results = {**sweep(tmp_path, 4), "num_pts_feats": 3}
    assert LoadLidarPoints(num_features=4)(results)["points"].shape == (9, 4)


def test_a_sample_without_lidar_is_named_with_what_to_leave_out():
    remedy = r"sample x has no LiDAR sweep; leave LoadLidarPoints .*\(missing_ok=True\)"
    with pytest.raises(DataError, match=remedy):
        LoadLidarPoints()({"lidar_path": None, "num_pts_feats": 5, "token": "x"})


def test_a_missing_sweep_may_be_none_and_teaches_nothing():
    probabilities = torch.full((2, 1, 4, 20, 30), 0.25, requires_grad=True)
    no_sweep = {**results_of([]), "lidar_path": None, "num_pts_feats": 4, "token": "x"}
    no_sweep = LoadLidarPoints(missing_ok=True)(no_sweep)
    assert no_sweep["points"].shape == (0, 4) and no_sweep["points"].dtype == np.float32
    labels = [
        torch.from_numpy(LidarDepthMaps()(results)["depth_maps"])
        for results in (no_sweep, results_of([[6.0, 0, 1.5]]))
    ]
    target = nearest_depth(torch.stack(labels), 2)
    loss_of = BinDepthLoss()
    bins = DepthBins(2.0, 10.0, 2.0)

    alone = loss_of(probabilities[:1], target[:1], bins)
    alone.backward()
    assert alone == 0 and torch.equal(probabilities.grad, torch.zeros_like(probabilities))
    # In a batch with a sample that has a sweep, it changes nothing of that sample's loss.
    mixed = loss_of(probabilities, target, bins)
    torch.testing.assert_close(mixed, loss_of(probabilities[1:], target[1:], bins))
    mixed.backward()
    assert probabilities.grad[0].abs().sum() == 0 < probabilities.grad[1].abs().sum()


def test_a_sweep_that_is_named_must_exist_although_missing_ones_are_allowed(tmp_path):
    named = {"lidar_path": str(tmp_path / "lost.bin"), "num_pts_feats": 5, "token": "x"}
    with pytest.raises(DataError, match="lost.bin does not exist"):
        LoadLidarPoints(missing_ok=True)(named)
