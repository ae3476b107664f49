from __future__ import annotations

import math
import os
import pickle
from itertools import pairwise

import numpy as np
import pytest
from nuscenes import NuScenes
from nuscenes.eval.common.utils import quaternion_yaw

from bevdepth_plus.datasets import create_infos
from bevdepth_plus.datasets.create_infos import create_info_files
from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.datasets.nuscenes_dataset import NuScenesBEVDataset
from bevdepth_plus.errors import DataError


def create(tables, **options) -> list:
    return create_info_files(tables.root, "v1.0-mini", progress=False, **options)


@pytest.fixture
def train(tables) -> list[dict]:
    return read_info_file(create(tables)[0])["data_list"]


@pytest.fixture
def nusc(tables) -> NuScenes:
    return NuScenes("v1.0-mini", str(tables.root), verbose=False)


def test_scenes_go_to_the_files_of_the_devkits_splits(tables):
    paths = create(tables)
    names = ["bevdepth_plus_infos_train.pkl", "bevdepth_plus_infos_val.pkl"]
    assert [path.name for path in paths] == names
    train, val = (read_info_file(path)["data_list"] for path in paths)
    assert {info["scene_name"] for info in train} == {"scene-0061", "scene-0553"}
    assert {info["scene_name"] for info in val} == {"scene-0103"}
    assert [info["sample_idx"] for info in train] == list(range(6))


def test_samples_know_the_key_frame_before_them(train):
    assert [info["prev"] for info in train[:4]] == [None, "scene-0061-0", "scene-0061-1", None]


def test_boxes_are_those_of_the_devkit_in_the_lidar_frame(train, nusc):
    info = train[1]
    token = info["lidar_points"]["sample_data_token"]
    path, boxes, _ = nusc.get_sample_data(token)
    assert os.path.basename(path) == info["lidar_points"]["lidar_path"]
    for instance, box in zip(info["instances"], boxes, strict=True):
        np.testing.assert_allclose(instance["bbox_3d"][:3], box.center, atol=1e-6)
        np.testing.assert_allclose(instance["bbox_3d"][3:6], box.wlh[[1, 0, 2]])
        assert instance["bbox_3d"][6] == pytest.approx(quaternion_yaw(box.orientation), abs=1e-9)


def test_velocity_is_turned_into_the_lidar_frame(train):
    info = train[1]
    moving = info["instances"][0]
    # The car moves by (2, 1) m in half a second.
    np.testing.assert_allclose(moving["global_box"]["velocity"], [4.0, 2.0], atol=1e-6)
    global_T_lidar = np.array(info["ego2global"]) @ info["lidar_points"]["lidar2ego"]
    expected = global_T_lidar[:3, :3].T @ [4.0, 2.0, 0.0]
    np.testing.assert_allclose(moving["velocity"], expected[:2], atol=1e-6)


def test_an_object_seen_once_has_no_known_velocity(train):
    once = train[0]["instances"][1]
    assert all(math.isnan(v) for v in [*once["velocity"], *once["global_box"]["velocity"]])


def test_categories_outside_the_ten_classes_are_kept_and_ignored(train):
    assert [item["bbox_label_3d"] for item in train[0]["instances"]] == [0, -1, -1]
    assert [item["attribute"] for item in train[0]["instances"]] == ["vehicle.moving", "", ""]


def test_bike_racks_are_listed_for_the_evaluation(train):
    assert [len(info["bike_racks"]) for info in train[:3]] == [1, 0, 0]
    assert train[0]["bike_racks"][0]["size"] == [1.9, 4.5, 1.6]


def test_lidar_to_camera_goes_through_both_ego_poses(train, nusc):
    info = train[2]
    point = np.array([6.0, 12.0, -0.5, 1.0])
    lidar = nusc.get("sample_data", info["lidar_points"]["sample_data_token"])
    on_world = np.array(info["ego2global"]) @ info["lidar_points"]["lidar2ego"] @ point
    for camera in info["images"].values():
        moved = np.array(camera["ego2global"]) @ camera["cam2ego"]
        np.testing.assert_allclose(
            np.array(camera["lidar2cam"]) @ point, np.linalg.inv(moved) @ on_world, atol=1e-6
        )
        assert camera["timestamp"] - lidar["timestamp"] / 1e6 == pytest.approx(0.02, abs=1e-6)
        assert (camera["width"], camera["height"]) == (160, 90)


def test_the_dataset_reads_the_files(tables):
    path = create(tables)[1]
    dataset = NuScenesBEVDataset(str(path), data_root=str(tables.root), num_frames=2)
    info = dataset.get_data_info(1)
    assert all(os.path.isfile(name) for name in [*info["img_path"], info["lidar_path"]])
    assert info["cam_names"] == ["CAM_FRONT", "CAM_BACK"]
    np.testing.assert_allclose(info["time_offset"], [0, -0.5])
    assert info["ann_info"]["gt_labels_3d"].tolist() == [0]


def test_two_runs_write_the_same_bytes(tables, tmp_path):
    first = [path.read_bytes() for path in create(tables)]
    again = [path.read_bytes() for path in create(tables, out_dir=tmp_path / "again")]
    assert first == again


def test_finished_files_are_kept_without_loading_the_tables(tables, monkeypatch):
    paths = create(tables)
    monkeypatch.setattr(create_infos, "NuScenes", None)
    assert create(tables) == paths


def test_changed_tables_make_new_files(tables):
    create(tables)
    tables.rows["sample_annotation"][0]["num_lidar_pts"] = 77
    tables.write()
    train = read_info_file(create(tables)[0])["data_list"]
    assert train[0]["instances"][0]["num_lidar_pts"] == 77


def test_an_interrupted_run_goes_on_with_the_scene_it_stopped_at(tables, monkeypatch):
    whole = [path.read_bytes() for path in create(tables)]
    for split in ("train", "val"):
        (tables.root / f"bevdepth_plus_infos_{split}.pkl").unlink()
    real, seen = create_infos.sample_info, []

    def interrupted(nusc, sample):
        if len(seen) == 4:
            raise KeyboardInterrupt
        seen.append(sample["token"])
        return real(nusc, sample)

    monkeypatch.setattr(create_infos, "sample_info", interrupted)
    with pytest.raises(KeyboardInterrupt):
        create(tables)
    assert not list(tables.root.glob("*.pkl"))
    done = []
    monkeypatch.setattr(
        create_infos, "sample_info", lambda nusc, s: done.append(s["token"]) or real(nusc, s)
    )
    assert [path.read_bytes() for path in create(tables)] == whole
    assert "scene-0061-0" not in done and "scene-0553-0" in done
    assert not [p for p in tables.root.iterdir() if p.name.startswith(".")]


def test_a_damaged_output_file_is_written_again(tables):
    path = create(tables)[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    create(tables)
    assert path.read_bytes() == whole


def test_infos_of_another_version_are_not_overwritten(tables):
    path = tables.root / "bevdepth_plus_infos_train.pkl"
    path.write_bytes(pickle.dumps({"metainfo": {"version": "v1.0-trainval"}, "data_list": []}))
    with pytest.raises(
        DataError, match="infos_train.pkl holds the infos of v1.0-trainval; .*--out"
    ):
        create(tables)


def test_missing_files_are_counted_and_named(tables):
    for scene in ("scene-0061", "scene-0103"):
        for index in range(2):
            token = f"{scene}-{index}-CAM_BACK"
            (tables.root / f"samples/CAM_BACK/{token}.jpg").unlink()
    with pytest.raises(DataError, match="4 files are missing below .*and 1 more; ") as error:
        create(tables)
    assert "samples/CAM_BACK/scene-0061-0-CAM_BACK.jpg" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_empty_split_is_named(tables):
    for scene in tables.rows["scene"]:
        if scene["name"] == "scene-0103":
            scene["name"] = "scene-0001"
    tables.write()
    with pytest.raises(DataError, match=r"no scene of split mini_val \(an empty split\)"):
        create(tables)


def test_a_root_without_tables_is_named(tmp_path):
    with pytest.raises(DataError, match="v1.0-mini holds no tables"):
        create_info_files(tmp_path, "v1.0-mini", progress=False)


def test_tables_the_devkit_cannot_load_are_named(tables):
    (tables.root / "v1.0-mini" / "ego_pose.json").write_text("[{")
    with pytest.raises(DataError, match="the devkit cannot load v1.0-mini") as error:
        create(tables)
    assert "\n" not in str(error.value)


def test_an_unknown_version_is_named_with_the_file_that_would_help(tmp_path):
    with pytest.raises(DataError, match="version 'v2' is unknown; .* v1.0-mini, .*splits.json"):
        create_info_files(tmp_path, "v2", progress=False)


def test_a_folder_that_may_not_be_written_names_the_option(tables, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(DataError, match="cannot be written .*; choose .* with --out-dir"):
        create(tables)
    monkeypatch.undo()
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(DataError, match="cannot be written .*; choose .* with --out-dir"):
        create(tables, out_dir=blocked / "below")


def test_a_token_that_leads_nowhere_is_named_with_its_sample(tables):
    tables.rows["ego_pose"] = [
        row for row in tables.rows["ego_pose"] if row["token"] != "scene-0061-1-CAM_BACK"
    ]
    tables.write()
    with pytest.raises(DataError, match="sample scene-0061-1: .*scene-0061-1-CAM_BACK") as error:
        create(tables)
    assert "\n" not in str(error.value)


def test_a_sample_without_lidar_is_named(tables):
    tables.rows["sample_data"] = [
        row for row in tables.rows["sample_data"] if row["token"] != "scene-0061-1-LIDAR_TOP"
    ]
    tables.write()
    with pytest.raises(DataError, match="sample scene-0061-1 has no LIDAR_TOP key frame"):
        create(tables)


def test_a_test_split_without_annotations_has_samples_without_objects(tables):
    (tables.root / "v1.0-mini").rename(tables.root / "v1.0-test")
    for table in ("sample_annotation", "instance"):
        (tables.root / "v1.0-test" / f"{table}.json").write_text("[]")
    path = tables.root / "v1.0-test" / "scene.json"
    path.write_text(path.read_text().replace('"name": "scene-0061"', '"name": "scene-0077"'))
    (written,) = create_info_files(tables.root, "v1.0-test", progress=False)
    assert written.name == "bevdepth_plus_infos_test.pkl"
    infos = read_info_file(written)["data_list"]
    assert len(infos) == 3 and all(info["instances"] == [] for info in infos)


def test_a_version_without_annotations_has_samples_without_objects(tables):
    for scene, name in zip(
        tables.rows["scene"], ("scene-0077", "scene-0078", "scene-0079"), strict=True
    ):
        scene["name"] = name
    tables.rows["sample_annotation"], tables.rows["instance"] = [], []
    tables.write()
    (tables.root / "v1.0-mini").rename(tables.root / "v1.0-test")
    (path,) = create_info_files(tables.root, "v1.0-test", progress=False)
    assert path.name == "bevdepth_plus_infos_test.pkl"
    infos = read_info_file(path)["data_list"]
    assert len(infos) == 9
    assert all(info["instances"] == [] and info["bike_racks"] == [] for info in infos)
    assert {info["scene_name"] for info in infos} == {"scene-0077", "scene-0078", "scene-0079"}


def add_sweeps(tables, channel: str) -> list[str]:
    """Two images between the first two key frames of scene-0061; returns their files."""
    key = next(r for r in tables.rows["sample_data"] if r["token"] == f"scene-0061-1-{channel}")
    before = next(r for r in tables.rows["sample_data"] if r["token"] == f"scene-0061-0-{channel}")
    names = []
    chain = [before]
    for step in (1, 2):
        token = f"sweep-{step}-{channel}"
        names.append(f"sweeps/{channel}/{token}.jpg")
        path = tables.root / names[-1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        time = before["timestamp"] + step * 100_000
        pose = next(r for r in tables.rows["ego_pose"] if r["token"] == before["ego_pose_token"])
        tables.rows["ego_pose"].append({**pose, "token": token, "timestamp": time})
        row = {**before, "token": token, "ego_pose_token": token, "timestamp": time,
               "is_key_frame": False, "filename": names[-1]}  # fmt: skip
        tables.rows["sample_data"].append(row)
        chain.append(row)
    chain.append(key)
    for earlier, later in pairwise(chain):
        earlier["next"], later["prev"] = later["token"], earlier["token"]
    tables.write()
    return names


def test_images_between_key_frames_are_listed_newest_first_where_asked_for(tables):
    names = add_sweeps(tables, "CAM_BACK")
    assert "sweeps" not in read_info_file(create(tables)[0])["data_list"][1]["images"]["CAM_BACK"]
    train = read_info_file(create(tables, sweeps=True)[0])["data_list"]
    sweeps = train[1]["images"]["CAM_BACK"]["sweeps"]
    assert [sweep["img_path"] for sweep in sweeps] == names[::-1]
    gaps = [train[1]["images"]["CAM_BACK"]["timestamp"] - sweep["timestamp"] for sweep in sweeps]
    np.testing.assert_allclose(gaps, [0.3, 0.4], atol=1e-6)
    assert "sweeps" not in train[0]["images"]["CAM_BACK"]
    assert "sweeps" not in train[1]["images"]["CAM_FRONT"]


def test_missing_images_between_key_frames_are_named(tables):
    (tables.root / add_sweeps(tables, "CAM_BACK")[0]).unlink()
    create(tables)
    with pytest.raises(DataError, match="1 files are missing .*sweeps/CAM_BACK/sweep-1-CAM_BACK"):
        create(tables, sweeps=True)
