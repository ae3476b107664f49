"""KITTI, Waymo and Lyft as mmdet3d describes them, in nuScenes' terms; real samples, in place."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from bevdepth_plus.datasets.ground_truth import label_map
from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.datasets.mmdet3d_formats import CLASSES_OF
from bevdepth_plus.datasets.sample_record import parse_sample
from bevdepth_plus.datasets.sweeps import read_points
from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.boxes import box_corners, points_in_boxes


@pytest.fixture
def other(shared_dir) -> Path:
    return shared_dir / "other_datasets"


def load(path: Path, data_set: str, lidar: str = "") -> tuple[dict, dict]:
    """The first sample as a record, and as mmdet3d wrote it."""
    content = read_info_file(path)
    info = content["data_list"][0]
    names = list(info["images"])
    labels = label_map(content["metainfo"]["categories"], CLASSES_OF[data_set])
    record = parse_sample(info, names, labels, dict.fromkeys(names, ""), lidar)
    with path.open("rb") as file:
        return record, pickle.load(file)["data_list"][0]


def project(record: dict, camera: int, points: np.ndarray) -> np.ndarray:
    """LiDAR points -> pixels of a camera, [P, 2]."""
    lidar_T_cam = np.linalg.inv(record["lidar2ego"]) @ record["ego_T_cam"][camera]
    in_camera = np.linalg.inv(lidar_T_cam)[:3] @ np.column_stack([points, np.ones(len(points))]).T
    pixels = record["intrinsics"][camera] @ in_camera
    return (pixels[:2] / pixels[2]).T


def through(lidar2img: list, points: np.ndarray) -> np.ndarray:
    """The same by the data set's own matrix."""
    pixels = np.array(lidar2img)[:3] @ np.column_stack([points, np.ones(len(points))]).T
    return (pixels[:2] / pixels[2]).T


AHEAD = np.array([[8.0, -3, -1], [15.0, 4, 0.5], [40.0, 1, -1.5], [60.0, -10, 2]])  # LiDAR frame


def test_kittis_points_fall_where_its_own_matrix_puts_them(other):
    record, raw = load(other / "kitti_000008" / "000008.pkl", "kitti")
    assert record["cam_names"] == ["CAM2"]
    expected = through(raw["images"]["CAM2"]["lidar2img"], AHEAD)
    np.testing.assert_allclose(project(record, 0, AHEAD), expected, atol=0.05)
    # Without the fourth column they would be pixels beside, the more the nearer.
    intrinsics = np.array(raw["images"]["CAM2"]["cam2img"])[:3, :3]
    without = intrinsics @ np.array(raw["images"]["CAM2"]["lidar2cam"])[:3]
    assert np.abs(through(without, AHEAD) - expected)[0].max() > 4


def test_kittis_boxes_hold_the_points_that_its_file_counts(other):
    folder = other / "kitti_000008"
    record, raw = load(folder / "000008.pkl", "kitti", str(folder))
    points = read_points(record["lidar_path"], record["num_pts_feats"])[:, :3].astype(np.float64)
    known = record["labels"] >= 0
    assert known.sum() == 6  # cars; the others are DontCare
    boxes = torch.from_numpy(record["boxes"][known])
    counts = points_in_boxes(torch.from_numpy(points), boxes).sum(dim=1).numpy()
    expected = record["num_points"][known]
    # mmdet3d counts what the camera sees, so a car cut by the image's border has more points.
    whole = [item["truncated"] == 0 for item in raw["instances"] if item["bbox_label_3d"] >= 0]
    assert sum(whole) == 4
    np.testing.assert_allclose(counts[whole], expected[whole], rtol=0.03, atol=8)


def test_kittis_boxes_project_onto_the_boxes_drawn_in_its_image(other):
    record, raw = load(other / "kitti_000008" / "000008.pkl", "kitti")
    for index in np.flatnonzero(record["labels"] >= 0):
        left, top, right, bottom = raw["instances"][index]["bbox"]
        if raw["instances"][index]["truncated"] > 0:
            continue  # cut at the image's border
        corners = box_corners(torch.from_numpy(record["boxes"][index : index + 1]))[0].numpy()
        pixels = project(record, 0, corners)
        found = [*pixels.min(axis=0), *pixels.max(axis=0)]
        np.testing.assert_allclose(found, [left, top, right, bottom], atol=8)


def test_kittis_ego_stands_on_the_road(other):
    record, _ = load(other / "kitti_000008" / "000008.pkl", "kitti")
    known = record["labels"] >= 0
    in_ego = record["lidar2ego"][:3, :3] @ record["boxes"][known, :3].T
    bottom = in_ego[2] + record["lidar2ego"][2, 3] - record["boxes"][known, 5] / 2
    assert np.abs(np.median(bottom)) < 0.3


def test_waymos_points_fall_where_its_own_matrix_puts_them(other):
    record, raw = load(other / "waymo" / "waymo_infos_train.pkl", "waymo")
    expected = through(raw["images"]["CAM_FRONT"]["lidar2img"], AHEAD)
    np.testing.assert_allclose(project(record, 0, AHEAD), expected, atol=0.05)
    assert record["num_pts_feats"] == 6
    assert record["timestamp"] == pytest.approx(1550083467.346370)
    assert record["scene_token"] == raw["context_name"]


def test_waymos_box_projects_onto_the_box_drawn_in_its_image(other):
    record, raw = load(other / "waymo" / "waymo_infos_train.pkl", "waymo")
    corners = box_corners(torch.from_numpy(record["boxes"][:1, :7]))[0].numpy()
    pixels = project(record, 0, corners)
    drawn = raw["cam_sync_instances"][0]["bbox"]
    np.testing.assert_allclose([*pixels.min(axis=0), *pixels.max(axis=0)], drawn, atol=25)


def test_lyfts_sample_has_its_classes_and_unknown_point_counts(other):
    record, raw = load(other / "lyft" / "lyft_infos.pkl", "lyft", str(other / "lyft" / "lidar"))
    assert len(record["cam_names"]) == 6
    assert record["labels"].tolist() == [item["bbox_label_3d"] for item in raw["instances"]]
    assert (record["num_points"] == -1).all()
    np.testing.assert_allclose(record["boxes"][0, :7], raw["instances"][0]["bbox_3d"])
    assert len(read_points(record["lidar_path"], record["num_pts_feats"])) == 5


def test_an_old_file_is_refused_with_what_to_do(other):
    with pytest.raises(DataError, match="lyft_infos_val.pkl is not an info file of version 1.1"):
        read_info_file(other / "lyft" / "lyft_infos_val.pkl")
