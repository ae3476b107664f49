"""From a rendered data set to samples: the same code path as for real nuScenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bevdepth_plus.datasets.create_infos import create_info_files
from bevdepth_plus.datasets.nuscenes_dataset import NuScenesBEVDataset
from bevdepth_plus.datasets.transforms import LoadLidarPoints, LoadMultiViewImages
from bevdepth_plus.geometry.boxes import points_in_boxes
from bevdepth_plus.geometry.cameras import project_from_ego
from bevdepth_plus.geometry.rigid import transform_points


@pytest.fixture(scope="module")
def sample(synthetic_root: Path, tmp_path_factory) -> dict:
    """The last training sample with one past frame: raw images and LiDAR points."""
    folder = tmp_path_factory.mktemp("infos")
    train, _ = create_info_files(synthetic_root, "v1.0-mini", folder, progress=False)
    dataset = NuScenesBEVDataset(
        str(train), data_root=str(synthetic_root), num_frames=2, test_mode=True
    )
    return LoadLidarPoints()(LoadMultiViewImages()(dataset.get_data_info(len(dataset) - 1)))


@pytest.fixture(scope="module")
def points(sample) -> torch.Tensor:
    in_lidar = torch.from_numpy(sample["points"][:, :3]).double()
    return transform_points(torch.from_numpy(sample["lidar2ego"]), in_lidar)


@pytest.fixture(scope="module")
def boxes(sample) -> torch.Tensor:
    found = sample["ann_info"]["gt_bboxes_3d"]
    return torch.cat([found.gravity_center, found.tensor[:, 3:]], dim=1).double()


def colours(sample: dict, points: torch.Tensor, frame: int, ego_T_cam: np.ndarray) -> np.ndarray:
    """Colour of each point in the front camera's image of a frame, NaN where it is not in it."""
    image = sample["img"][frame * len(sample["cam_names"])]
    intrinsics = torch.from_numpy(sample["intrinsics"][frame, 0])
    pixels, depth = project_from_ego(points, torch.from_numpy(ego_T_cam), intrinsics)
    columns, rows = np.floor(pixels.numpy()).astype(int).T
    seen = (depth.numpy() > 1) & (columns >= 0) & (rows >= 0)
    seen &= (columns < image.shape[1]) & (rows < image.shape[0])
    found = np.full((len(points), 3), np.nan)
    found[seen] = image[rows[seen], columns[seen]]
    return found


def test_boxes_hold_the_lidar_points_that_hit_them(sample, points, boxes):
    larger = boxes.clone()
    larger[:, 3:6] += 0.1
    counts = points_in_boxes(points, larger).sum(dim=1)
    assert len(boxes) > 10
    assert (counts > 0).double().mean() > 0.5


def test_static_points_look_alike_in_the_key_and_the_past_camera(sample, points, boxes):
    assert sample["cam_names"][0] == "CAM_FRONT" and sample["frame_mask"].tolist() == [True, True]
    larger = boxes.clone()
    larger[:, 3:6] += 0.5
    static = points[~points_in_boxes(points, larger).any(dim=0)]
    key = colours(sample, static, 0, sample["ego_T_cam"][0, 0])
    past = colours(sample, static, 1, sample["ego_T_cam"][1, 0])
    no_motion = colours(sample, static, 1, sample["ego_T_cam"][0, 0])
    error = np.nanmedian(np.abs(key - past))
    assert np.isfinite(key - past).all(axis=1).sum() > 500
    assert error < 0.7 * np.nanmedian(np.abs(key - no_motion))
