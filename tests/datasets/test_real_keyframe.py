"""The conventions on a real nuScenes key frame: what mmdet3d's own converter wrote."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from bevdepth_plus.datasets.nuscenes_dataset import NuScenesBEVDataset
from bevdepth_plus.datasets.transforms import LidarDepthMaps, LoadLidarPoints, LoadMultiViewImages
from bevdepth_plus.geometry.boxes import box_corners, points_in_boxes
from bevdepth_plus.geometry.cameras import project_from_ego
from bevdepth_plus.geometry.rigid import transform_points


@pytest.fixture(scope="module")
def info_path(shared_dir: Path) -> Path:
    return next((shared_dir / "nuscenes_keyframe").glob("*.pkl"))


@pytest.fixture(scope="module")
def sample(info_path) -> dict:
    dataset = NuScenesBEVDataset(
        info_path.name,
        data_root=str(info_path.parent),
        data_prefix={"img": "", "pts": ""},
        test_mode=True,
    )
    return LoadLidarPoints()(dataset.get_data_info(0))


@pytest.fixture(scope="module")
def boxes(sample) -> torch.Tensor:
    """Gravity centre, ego frame, float64."""
    found = sample["ann_info"]["gt_bboxes_3d"]
    return torch.cat([found.gravity_center, found.tensor[:, 3:]], dim=1).double()


@pytest.fixture(scope="module")
def points(sample) -> torch.Tensor:
    """Ego frame."""
    in_lidar = torch.from_numpy(sample["points"][:, :3]).double()
    return transform_points(torch.from_numpy(sample["lidar2ego"]), in_lidar)


def test_boxes_hold_as_many_lidar_points_as_the_annotation_says(info_path, boxes, points):
    info = pickle.loads(info_path.read_bytes())["data_list"][0]
    expected = np.array(
        [item["num_lidar_pts"] for item in info["instances"] if item["bbox_label_3d"] >= 0]
    )
    counted = points_in_boxes(points, boxes).sum(dim=1).numpy()
    # A wrong heading or corner convention loses most points of long boxes.
    assert (np.abs(counted - expected) <= np.maximum(2, 0.05 * expected)).all()
    assert expected.sum() > 500


def test_lidar_points_of_a_box_project_into_the_projected_box(sample, boxes, points):
    inside = points_in_boxes(points, boxes)
    checked = 0
    for camera in range(6):
        ego_T_cam = torch.from_numpy(sample["ego_T_cam"][0, camera])
        intrinsics = torch.from_numpy(sample["intrinsics"][0, camera])
        for box, members in zip(boxes, inside, strict=True):
            corners, corner_depth = project_from_ego(
                box_corners(box[None])[0], ego_T_cam, intrinsics
            )
            if corner_depth.min() < 1 or not members.any():
                continue
            pixels, _ = project_from_ego(points[members], ego_T_cam, intrinsics)
            low, high = corners.min(dim=0).values - 1e-6, corners.max(dim=0).values + 1e-6
            assert ((pixels >= low) & (pixels <= high)).all()
            checked += len(pixels)
    assert checked > 500


def test_lidar_to_camera_is_not_the_cameras_mount_alone(info_path, sample):
    info = pickle.loads(info_path.read_bytes())["data_list"][0]
    gaps = [
        np.abs(sample["ego_T_cam"][0, index] - info["images"][name]["cam2ego"]).max()
        for index, name in enumerate(sample["cam_names"])
    ]
    assert 0.2 < max(gaps) < 0.5  # the vehicle drove on between the two shots


def test_every_camera_gets_thousands_of_depths_in_range(sample):
    maps = LidarDepthMaps()(LoadMultiViewImages()(sample))["depth_maps"]
    assert maps.shape == (6, 900, 1600)
    for depth in maps:
        assert 2000 < np.count_nonzero(depth) < 10_000
        assert depth[depth > 0].min() >= 1 and depth.max() < 110
