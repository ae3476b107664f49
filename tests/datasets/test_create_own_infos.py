from __future__ import annotations

import json

import numpy as np
import pytest
from nuscenes import NuScenes

from bevdepth_plus.datasets.create_infos import create_info_files
from bevdepth_plus.datasets.ground_truth import num_points
from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.errors import DataError


def create(tables, **options) -> list:
    return create_info_files(tables.root, "v1.0-mini", progress=False, **options)


@pytest.fixture
def nusc(tables) -> NuScenes:
    return NuScenes("v1.0-mini", str(tables.root), verbose=False)


def own_version(tables, splits: dict, names: tuple[str, ...] = ("drive a", "drive b", "drive c")):
    """The tables under another version and scene names, with a splits.json beside them."""
    for scene, name in zip(tables.rows["scene"], names, strict=True):
        scene["name"] = name
    tables.write()
    folder = tables.root / "v1.0-mini"
    (folder / "splits.json").write_text(json.dumps(splits))
    folder.rename(tables.root / "own-1")


def test_own_scenes_version_and_splits_are_taken_from_splits_json(tables):
    own_version(tables, {"train": ["drive a", "drive c"], "night": ["drive b"]})
    paths = create_info_files(tables.root, "own-1", progress=False)
    assert [path.stem for path in paths] == [
        "bevdepth_plus_infos_train", "bevdepth_plus_infos_night",
    ]  # fmt: skip
    train, night = (read_info_file(path) for path in paths)
    assert [info["scene_name"] for info in train["data_list"][::3]] == ["drive a", "drive c"]
    assert {info["scene_name"] for info in night["data_list"]} == {"drive b"}
    assert train["metainfo"]["version"] == "own-1"


@pytest.mark.parametrize(
    ("splits", "complaint"),
    [
        ({"train": ["drive a", "drive x"]}, "first 'drive x'"),
        ({"train": ["drive a"], "val": ["drive a"]}, "'drive a' is in train and in val"),
        ({"../up": ["drive a"]}, "may hold letters"),
        ({"train": "drive a"}, "must be a list of scene names"),
        ([], "expected"),
    ],
)
def test_own_splits_that_cannot_be_meant_are_refused(tables, splits, complaint):
    own_version(tables, splits)
    with pytest.raises(DataError, match=complaint) as error:
        create_info_files(tables.root, "own-1", progress=False)
    assert "splits.json" in str(error.value) and "\n" not in str(error.value)


def test_own_categories_are_classes_of_their_own(tables):
    for category, name in zip(tables.rows["category"], ("van", "tram", "dog"), strict=True):
        category["name"] = name
    tables.write()
    content = read_info_file(create(tables)[0])
    assert content["metainfo"]["categories"] == {"van": 0, "tram": 1, "dog": 2}
    labels = [item["bbox_label_3d"] for item in content["data_list"][0]["instances"]]
    assert labels == [0, 1, 2]


def test_annotations_without_point_counts_have_unknown_ones(tables):
    for row in tables.rows["sample_annotation"]:
        del row["num_lidar_pts"], row["num_radar_pts"]
    tables.write()
    instance = read_info_file(create(tables)[0])["data_list"][0]["instances"][0]
    assert num_points(instance) == -1 and instance["bbox_3d_isvalid"]


def without_lidar(tables) -> None:
    for name in ("sensor", "calibrated_sensor"):
        tables.rows[name] = [row for row in tables.rows[name] if row["token"] != "LIDAR_TOP"]
    tables.rows["sample_data"] = [
        row for row in tables.rows["sample_data"] if not row["token"].endswith("LIDAR_TOP")
    ]
    tables.write()


def test_a_vehicle_without_lidar_has_boxes_in_the_ego_frame_of_the_nearest_shot(tables, nusc):
    truth = nusc.get("sample_annotation", "scene-0061-1-vehicle.car")["translation"]
    without_lidar(tables)
    info = read_info_file(create(tables)[0])["data_list"][1]
    assert info["lidar_points"] == {"lidar_path": None, "lidar2ego": np.eye(4).tolist()}
    instance, ego2global = info["instances"][0], np.array(info["ego2global"])
    centre = ego2global @ [*instance["bbox_3d"][:3], 1.0]
    np.testing.assert_allclose(centre[:3], truth, atol=1e-6)
    camera = info["images"]["CAM_BACK"]
    np.testing.assert_allclose(ego2global, camera["ego2global"], atol=1e-9)
    np.testing.assert_allclose(np.linalg.inv(camera["lidar2cam"]), camera["cam2ego"], atol=1e-9)


def test_another_lidar_is_taken_by_its_channel(tables):
    for name in ("sensor", "calibrated_sensor", "sample_data"):
        text = json.dumps(tables.rows[name]).replace("LIDAR_TOP", "LIDAR_ROOF")
        tables.rows[name] = json.loads(text)
    (tables.root / "samples" / "LIDAR_TOP").rename(tables.root / "samples" / "LIDAR_ROOF")
    for path in (tables.root / "samples" / "LIDAR_ROOF").iterdir():
        path.rename(path.with_name(path.name.replace("LIDAR_TOP", "LIDAR_ROOF")))
    tables.rows["ego_pose"] = json.loads(
        json.dumps(tables.rows["ego_pose"]).replace("LIDAR_TOP", "LIDAR_ROOF")
    )
    tables.write()
    with pytest.raises(DataError, match="no LiDAR LIDAR_TOP .it has LIDAR_ROOF.*--lidar-channel"):
        create(tables)
    info = read_info_file(create(tables, lidar_channel="LIDAR_ROOF")[0])["data_list"][0]
    assert info["lidar_points"]["lidar_path"] == "scene-0061-0-LIDAR_ROOF.pcd.bin"
