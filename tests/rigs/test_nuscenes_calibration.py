from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs import nuscenes_tables
from bevdepth_plus.rigs.nuscenes_calibration import rig_from_info, rig_from_tables, rig_to_tables
from bevdepth_plus.rigs.rig import Rig
from bevdepth_plus.synthetic.rig import nuscenes_rig


def assert_same(rig: Rig, other: Rig, tolerance: float = 1e-12) -> None:
    assert sorted(rig.names) == sorted(other.names)
    for camera in rig.cameras:
        again = other[camera.name]
        assert (camera.width, camera.height) == (again.width, again.height)
        np.testing.assert_allclose(again.intrinsics, camera.intrinsics, atol=tolerance)
        np.testing.assert_allclose(again.ego_T_cam, camera.ego_T_cam, atol=tolerance)
    np.testing.assert_allclose(other.ego_T_lidar, rig.ego_T_lidar, atol=tolerance)


@pytest.fixture
def key_frame(shared_dir) -> dict:
    (path,) = (shared_dir / "nuscenes_keyframe").glob("*.pkl")
    return read_info_file(path)["data_list"][0]


def test_a_real_calibration_comes_back_from_its_tables(key_frame, tmp_path):
    rig = rig_from_info(key_frame, dict.fromkeys(key_frame["images"], (1600, 900)))
    rig_to_tables(rig, tmp_path / "v1.0-own")
    again = rig_from_tables(tmp_path / "v1.0-own")
    # The info file holds float32 matrices, which a quaternion makes orthonormal.
    assert_same(rig, again, tolerance=1e-6)
    rig_to_tables(again, tmp_path / "v1.0-second")
    assert_same(again, rig_from_tables(tmp_path / "v1.0-second"))


def test_a_real_rig_has_its_mounts_and_delays(key_frame):
    rig = rig_from_info(key_frame, dict.fromkeys(key_frame["images"], (1600, 900)))
    # nuscenes_rig() is rounded from another vehicle of the data set.
    for camera in nuscenes_rig().cameras:
        np.testing.assert_allclose(rig[camera.name].position, camera.position, atol=0.06)
        assert rig[camera.name].forward @ camera.forward > np.cos(np.radians(1))
        assert rig[camera.name].delay == pytest.approx(camera.delay, abs=2e-3)


def test_without_mounts_the_pose_holds_the_motion_between_the_shots(key_frame):
    sizes = dict.fromkeys(key_frame["images"], (1600, 900))
    mounts = rig_from_info(key_frame, sizes)
    for camera in key_frame["images"].values():
        camera.pop("cam2ego")
    moved = rig_from_info(key_frame, sizes)
    gap = np.linalg.norm(moved["CAM_FRONT"].position - mounts["CAM_FRONT"].position)
    assert 0.1 < gap < 1.0  # the vehicle drives: 35 ms


def test_a_version_folder_gives_the_rig_of_a_scene(synthetic_root, monkeypatch):
    monkeypatch.setattr(nuscenes_tables, "_CHUNK", 100)  # records lie across many chunks
    folder = synthetic_root / "v1.0-mini"
    scenes = [scene["name"] for scene in json.loads((folder / "scene.json").read_text())]
    for scene in (None, scenes[-1]):
        rig = rig_from_tables(folder, scene)
        assert_same(nuscenes_rig((160, 90)), rig)
        for camera in nuscenes_rig().cameras:
            assert rig[camera.name].delay == pytest.approx(camera.delay, abs=1e-6)
    with pytest.raises(DataError, match=f"no scene 'scene-9'; it has {scenes[0]}"):
        rig_from_tables(folder, "scene-9")


def test_damaged_tables_are_named(tmp_path):
    folder = tmp_path / "v1.0-own"
    rig_to_tables(nuscenes_rig(), folder)
    whole = (folder / "calibrated_sensor.json").read_text()
    (folder / "calibrated_sensor.json").write_text(whole[:-40])
    with pytest.raises(DataError, match="calibrated_sensor.json is cut or no table"):
        rig_from_tables(folder)
    records = json.loads(whole)
    for spoil, message in (
        ({"rotation": [1, 1, 0, 0]}, "CAM_FRONT.rotation: expected unit length, got 1.414"),
        ({"camera_intrinsic": []}, "CAM_FRONT.camera_intrinsic: expected 3x3 numbers"),
        ({"sensor_token": "x"}, "sensor.json lacks x"),
        ({"width": None}, "CAM_FRONT.width: expected a finite number, got None"),
    ):
        changed = [{**records[0], **spoil}, *records[1:]]
        (folder / "calibrated_sensor.json").write_text(json.dumps(changed))
        with pytest.raises(DataError, match=message):
            rig_from_tables(folder)
    twice = [*records, {**records[0], "token": "other"}]
    (folder / "calibrated_sensor.json").write_text(json.dumps(twice))
    with pytest.raises(DataError, match="CAM_FRONT has several calibrations"):
        rig_from_tables(folder)
    (folder / "sensor.json").unlink()
    with pytest.raises(DataError, match="sensor.json: cannot read the table"):
        rig_from_tables(folder)


def test_tables_never_replace_a_folder_of_something_else(tmp_path: Path):
    (tmp_path / "sample_data.json").write_text("[]")
    with pytest.raises(DataError, match="holds other files"):
        rig_to_tables(nuscenes_rig(), tmp_path)


def test_an_info_without_a_matrix_is_named(key_frame):
    sizes = dict.fromkeys(key_frame["images"], (1600, 900))
    del key_frame["images"]["CAM_BACK"]["cam2img"]
    with pytest.raises(DataError, match=r"images.CAM_BACK lacks 'cam2img'"):
        rig_from_info(key_frame, sizes)
