"""Rig files and the built-in rig."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from bevdepth_plus.errors import DataError
from bevdepth_plus.synthetic.rig import load_rig, nuscenes_rig

RIGS = Path(__file__).resolve().parents[2] / "configs" / "rigs"
CAMERA = {"name": "CAM_FRONT", "width": 160, "height": 90, "fx": 120, "position": [1.5, 0, 1.5]}


def _write(path: Path, camera: dict, **more: object) -> Path:
    path.write_text(yaml.safe_dump({"cameras": [camera], **more}))
    return path


def test_the_nuscenes_file_is_the_built_in_rig() -> None:
    built_in, from_file = nuscenes_rig((800, 450)), load_rig(RIGS / "nuscenes.yaml")
    for a, b in zip(built_in.cameras, from_file.cameras, strict=True):
        assert (a.name, a.width, a.height, a.delay) == (b.name, b.width, b.height, b.delay)
        np.testing.assert_allclose(a.intrinsics, b.intrinsics, atol=0.051)
        np.testing.assert_allclose(a.ego_T_cam, b.ego_T_cam, atol=1e-9)
    np.testing.assert_allclose(built_in.ego_T_lidar, from_file.ego_T_lidar)


@pytest.mark.parametrize("path", sorted(RIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_rig_file_loads_with_proper_rotations(path: Path) -> None:
    for camera in load_rig(path).cameras:
        rotation = camera.ego_T_cam[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(rotation) > 0


def test_cameras_look_where_their_names_say() -> None:
    forward = {c.name: c.ego_T_cam[:3, 2] for c in nuscenes_rig().cameras}
    assert forward["CAM_FRONT"][0] > 0.99 and forward["CAM_BACK"][0] < -0.99
    assert forward["CAM_FRONT_LEFT"][1] > 0.5 and forward["CAM_BACK_RIGHT"][1] < -0.5
    assert all(c.ego_T_cam[2, 1] < -0.99 for c in nuscenes_rig().cameras)  # image down is -z


def test_yaw_turns_left_and_pitch_looks_down(tmp_path: Path) -> None:
    rig = load_rig(_write(tmp_path / "rig.yaml", {**CAMERA, "yaw": 90, "pitch": 10}))
    direction = rig.cameras[0].ego_T_cam[:3, 2]
    assert direction[1] == pytest.approx(np.cos(np.radians(10)))
    assert direction[2] == pytest.approx(-np.sin(np.radians(10)))


def test_a_quaternion_is_nuscenes_own(tmp_path: Path) -> None:
    camera = {**CAMERA, "quaternion": [0.5, -0.5, 0.5, -0.5]}  # straight ahead, as in nuScenes
    pose = load_rig(_write(tmp_path / "rig.yaml", camera)).cameras[0].ego_T_cam
    np.testing.assert_allclose(pose[:3, 2], [1, 0, 0], atol=1e-9)


def test_another_image_size_scales_the_intrinsics() -> None:
    large, small = nuscenes_rig().cameras[0], nuscenes_rig((800, 450)).cameras[0]
    np.testing.assert_allclose(small.intrinsics[:2], large.intrinsics[:2] / 2)
    assert small.intrinsics[2].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"fx": -1}, "cameras[0].fx"),
        ({"fx": float("nan")}, "cameras[0].fx"),
        ({"fx": None}, "cameras[0].fx"),
        ({"width": 0}, "cameras[0].width"),
        ({"height": 90.5}, "cameras[0].height"),
        ({"position": [1, 2]}, "cameras[0].position"),
        ({"position": [1, 2, "x"]}, "cameras[0].position"),
        ({"position": [1, 0, -1]}, "cameras[0].position"),
        ({"name": "../up"}, "cameras[0].name"),
        ({"name": "LIDAR_TOP"}, "cameras[0].name"),
        ({"focal": 3}, "cameras[0]"),
        ({"quaternion": [1, 1, 0, 0]}, "cameras[0].quaternion"),
        ({"quaternion": [1, 0, 0, 0], "yaw": 3}, "cameras[0].quaternion"),
        ({"delay_ms": 5000}, "cameras[0].delay_ms"),
    ],
)
def test_a_wrong_field_is_named_in_one_line(tmp_path: Path, change: dict, field: str) -> None:
    path = _write(tmp_path / "rig.yaml", {**CAMERA, **change})
    with pytest.raises(DataError) as error:
        load_rig(path)
    message = str(error.value)
    assert message.startswith(f"{path}: {field}:")
    assert "\n" not in message


@pytest.mark.parametrize(
    "content", ["", "cameras: []", "[1, 2]", "cameras: [1]", "a: {b: [", "cameras: 3", "lidar: {}"]
)
def test_a_file_that_is_no_rig_ends_in_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "rig.yaml"
    path.write_text(content)
    with pytest.raises(DataError) as error:
        load_rig(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_two_cameras_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rig.yaml"
    path.write_text(yaml.safe_dump({"cameras": [CAMERA, CAMERA]}))
    with pytest.raises(DataError, match="same name"):
        load_rig(path)


def test_a_missing_file_ends_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read the rig file"):
        load_rig(tmp_path / "none.yaml")
