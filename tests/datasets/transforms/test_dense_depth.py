from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from bevdepth_plus.datasets.create_infos import create_info_files
from bevdepth_plus.datasets.nuscenes_dataset import NuScenesBEVDataset
from bevdepth_plus.datasets.transforms import (
    ImageAugmentation,
    LidarDepthMaps,
    LoadDenseDepth,
    LoadLidarPoints,
    LoadMultiViewImages,
    LoadTeacherDepth,
    PackBEVInputs,
)
from bevdepth_plus.datasets.transforms.dense_depth import read_depth, warp_nearest
from bevdepth_plus.errors import DataError
from bevdepth_plus.synthetic.generate import Settings, make_dataset, scene_names


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> dict:
    """A key frame of the synthetic rig as loaded, its depth pictures beside the images."""
    root = tmp_path_factory.mktemp("dense") / "nuscenes"
    settings = Settings(seed=0, keyframes=1, rig="nuscenes", image_size=(320, 180), depth=True)
    make_dataset(root, "v1.0-mini", scene_names("v1.0-mini", 1, 1), settings, workers=1)
    train, _ = create_info_files(root, "v1.0-mini", root, progress=False)
    dataset = NuScenesBEVDataset(str(train), data_root=str(root), test_mode=True)
    return LoadMultiViewImages()(dataset.get_data_info(0))


@pytest.mark.parametrize("seed", range(4))
def test_dense_and_lidar_depth_agree_under_augmentation(sample, seed):
    np.random.seed(seed)
    augmented = ImageAugmentation((96, 256), scale=(0.8, 1.4), rot=(-10, 10))(sample)
    dense = LoadDenseDepth()(augmented)["depth_maps"]
    lidar = LidarDepthMaps()(LoadLidarPoints()(augmented))["depth_maps"]
    assert dense.shape == lidar.shape and dense.dtype == lidar.dtype
    both = (dense > 0) & (lidar > 0) & (lidar < 60)
    assert both.sum() > 1000
    error = np.abs(dense[both] - lidar[both]) / lidar[both]
    # Edges, and what the LiDAR sees over a thing that hides it from the camera, differ.
    assert np.median(error) < 0.01
    assert (error < 0.05).mean() > 0.85
    shifted = np.abs(np.roll(dense, 8, axis=2)[both] - lidar[both]) / lidar[both]
    assert np.median(shifted) > 2 * np.median(error)


def test_dense_depth_covers_most_of_the_road(sample):
    augmented = ImageAugmentation((96, 256), training=False)(sample)
    dense = LoadDenseDepth()(augmented)["depth_maps"]
    assert (dense[:, 72:] > 0).mean() > 0.99


def test_a_teachers_depth_stands_beside_the_labels(sample):
    augmented = ImageAugmentation((96, 256), training=False)(sample)
    taught = LidarDepthMaps()(LoadLidarPoints()(LoadTeacherDepth(folder="depth")(augmented)))
    taught.update(bev_aug=np.eye(4), camera_mask=sample["camera_mask"].copy())
    taught["camera_mask"][0, 2] = False  # this camera drops out
    inputs = PackBEVInputs()(taught)["inputs"]
    dense = LoadDenseDepth()(augmented)["depth_maps"]
    teacher, depth = inputs["teacher_depth"].numpy(), inputs["depth"].numpy()
    assert not np.array_equal(teacher, depth)
    assert not teacher[2].any() and not depth[2].any()
    np.testing.assert_array_equal(np.delete(teacher, 2, 0), np.delete(dense, 2, 0))


def test_each_pixel_takes_the_raw_value_at_its_centre():
    values = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
    double = np.diag([2.0, 2.0, 1.0])
    np.testing.assert_array_equal(
        warp_nearest(values, double, (6, 8)), values.repeat(2, 0).repeat(2, 1)
    )
    mirrored = np.array([[-1.0, 0, 4], [0, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal(warp_nearest(values, mirrored, (3, 4)), values[:, ::-1])
    shifted = np.array([[1.0, 0, 1], [0, 1, -1], [0, 0, 1]])
    expected = [[0, 5, 6, 7], [0, 9, 10, 11], [0, 0, 0, 0]]
    np.testing.assert_array_equal(warp_nearest(values, shifted, (3, 4)), expected)


def test_steps_become_metres(tmp_path):
    path = str(tmp_path / "a.png")
    cv2.imwrite(path, np.array([[0, 1, 65535]], dtype=np.uint16))
    np.testing.assert_allclose(read_depth(path, 0.01), [[0, 0.01, 655.35]])


def write(path: Path, kind: str) -> None:
    picture = np.random.default_rng(0).integers(0, 60000, (40, 60)).astype(np.uint16)
    if kind == "eight bits":
        picture = (picture // 256).astype(np.uint8)
    if kind == "three channels":
        picture = np.stack([picture] * 3, axis=-1)
    cv2.imwrite(str(path), picture)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-200])
    if kind == "text":
        path.write_text("this is text")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated", "is truncated"),
        ("text", "cannot be decoded"),
        ("eight bits", "one channel of 16 bits, got shape .* of uint8"),
        ("three channels", "one channel of 16 bits"),
    ],
)
def test_a_picture_without_depth_is_named(tmp_path, kind, message):
    write(tmp_path / "a.png", kind)
    with pytest.raises(DataError, match=rf"depth picture .*a\.png .*{message}"):
        read_depth(str(tmp_path / "a.png"), 0.01)


def test_a_missing_picture_and_one_of_another_size_are_named(tmp_path):
    results = {
        "cam_names": ["CAM_FRONT"],
        "img_path": [str(tmp_path / "samples/CAM_FRONT/x.jpg")],
        "raw_shape": [(20, 60)],
        "img": [np.zeros((20, 60, 3), np.uint8)],
        "image_aug": np.eye(3)[None, None],
    }
    with pytest.raises(DataError, match=r"depth/CAM_FRONT/x\.png does not exist"):
        LoadDenseDepth()(results)
    (tmp_path / "depth/CAM_FRONT").mkdir(parents=True)
    write(tmp_path / "depth/CAM_FRONT/x.png", "whole")
    with pytest.raises(DataError, match=r"x\.png is \(40, 60\), its image \(20, 60\)"):
        LoadDenseDepth()(results)
