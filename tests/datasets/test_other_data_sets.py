"""The configs of KITTI, Waymo and Lyft: real samples go through their pipelines, in place."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet3d.registry import DATASETS
from mmengine.config import Config

import bevdepth_plus.plugin  # noqa: F401

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.fixture
def other(shared_dir, monkeypatch) -> Path:
    monkeypatch.setenv("BEVDEPTH_PLUS_SHARED", str(shared_dir))
    return shared_dir / "other_datasets"


def sample_of(config: Config) -> dict:
    """The first training sample as the model gets it."""
    return DATASETS.build(config.train_dataloader.dataset)[0]


def depth_cells(sample: dict) -> int:
    return int((sample["inputs"]["depth"] > 0).sum())


def test_kittis_frame_goes_through_its_pipeline(other):
    config = Config.fromfile(CONFIGS / "kitti_one_camera.py")
    sample = sample_of(config)
    assert sample["inputs"]["img"].shape[-2:] == (192, 640)
    objects = sample["data_samples"].gt_instances_3d
    assert objects.labels_3d.tolist() == [0] * 6  # cars
    grid = config.model.grid
    centres = objects.bboxes_3d.gravity_center
    assert (centres[:, 0] > grid.x[0]).all() and (centres[:, 0] < grid.x[1]).all()
    assert depth_cells(sample) > 10_000  # of 17238 points, most fall on a pixel of their own


def test_waymos_frame_goes_through_its_pipeline(other, tmp_path):
    config = Config.fromfile(CONFIGS / "waymo_five_cameras.py")
    (tmp_path / "training" / "image_0").mkdir(parents=True)
    (tmp_path / "training" / "velodyne").symlink_to(other / "waymo" / "training" / "velodyne")
    name = "waymo_infos_train.pkl"
    (tmp_path / name).symlink_to(other / "waymo" / name)
    # The sample has the front camera alone; its image is a PNG, the info file says JPEG.
    image = other / "waymo" / "training" / "image_0" / "0000000.png"
    (tmp_path / "training" / "image_0" / "0000000.jpg").symlink_to(image)
    config.train_dataloader.dataset.update(data_root=str(tmp_path), camera_names=["CAM_FRONT"])
    config.train_dataloader.dataset.pipeline.augment_bev = None
    sample = sample_of(config)
    assert sample["inputs"]["img"].shape[-2:] == (256, 704)
    objects = sample["data_samples"].gt_instances_3d
    assert objects.labels_3d.tolist() == [0]
    # In the file stands its bottom, 2.2 m above the vehicle's origin.
    torch.testing.assert_close(
        objects.bboxes_3d.gravity_center[0, 2].item(), 2.2066 + 3.2 / 2, atol=0.05, rtol=0
    )


def test_lyfts_frame_goes_through_its_pipeline_with_grey_images(other, tmp_path):
    """The sample has no images: grey ones stand in for them."""
    config = Config.fromfile(CONFIGS / "lyft_six_cameras.py")
    name = "lyft_infos.pkl"
    (tmp_path / name).symlink_to(other / "lyft" / name)
    (tmp_path / "lidar").symlink_to(other / "lyft" / "lidar")
    dataset = config.train_dataloader.dataset
    dataset.update(data_root=str(tmp_path), ann_file=name)
    dataset.data_prefix = dict(pts="lidar", img="images")
    dataset.pipeline.augment_bev = None
    (tmp_path / "images").mkdir()
    for path in DATASETS.build(dataset).get_data_info(0)["img_path"]:
        assert cv2.imwrite(path, np.full((1024, 1224, 3), 128, np.uint8))
    sample = sample_of(config)
    assert sample["inputs"]["img"].shape[-4:] == (6, 3, 256, 704)
    classes = dataset.metainfo.classes
    labels = sample["data_samples"].gt_instances_3d.labels_3d
    assert [classes[label] for label in labels] == ["car", "other_vehicle", "pedestrian"]
