"""Rig files, and the rigs that scenes are rendered for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.rig_file import load_rig, save_rig
from bevdepth_plus.synthetic.rig import nuscenes_rig, rendered_rig

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
        ({"distortion": {"model": "brown", "d": [0.0] * 5}}, "cameras[0].distortion.model"),
        ({"distortion": {"model": "fisheye", "d": [0.0] * 5}}, "cameras[0].distortion.d"),
        ({"distortion": {"model": "plumb_bob", "d": [0.1, "x", 0, 0]}}, "cameras[0].distortion.d"),
        ({"distortion": [0.1]}, "cameras[0].distortion"),
        ({"rectified": {"fx": 0}}, "cameras[0].rectified.fx"),
        ({"rectification": [[1, 0], [0, 1]]}, "cameras[0].rectification"),
        ({"ego_T_cam": np.eye(4).tolist()}, "cameras[0].ego_T_cam"),
        ({"image": 3}, "cameras[0].image"),
        ({"topic": ""}, "cameras[0].topic"),
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


def _full_camera() -> dict:
    return {
        **CAMERA,
        "distortion": {"model": "rational", "d": [0.1, 0.01, 1e-4, 2e-4, 0.0, 0.3, 0.02, 0.0]},
        "rectified": {"fx": 100, "fy": 101, "cx": 79, "cy": 44},
        "rectification": np.eye(3).tolist(),
        "yaw": 12.3456789,
        "pitch": -1.25,
        "roll": 0.5,
        "delay_ms": -12.5,
        "image": "front/*.jpg",
        "topic": "/camera/front/image_raw",
        "frame_id": "front_optical_frame",
        "body_mask": "masks/front.png",
    }


def test_a_rig_written_from_elsewhere_reads_back_the_same(tmp_path: Path) -> None:
    lidar = {"position": [1, 0, 2], "yaw": 3.0, "pitch": 1.0, "roll": -0.5}
    rig = load_rig(_write(tmp_path / "rig.yaml", _full_camera(), lidar=lidar))
    save_rig(rig, tmp_path / "other" / "rig.yaml")
    (again,) = load_rig(tmp_path / "other" / "rig.yaml").cameras
    (camera,) = rig.cameras
    for name in ("width", "height", "delay", "distortion", "topic", "frame_id"):
        assert getattr(again, name) == getattr(camera, name), name
    for name in ("intrinsics", "rectified_intrinsics", "rectification"):
        np.testing.assert_array_equal(getattr(again, name), getattr(camera, name))
    np.testing.assert_allclose(again.ego_T_cam, camera.ego_T_cam, atol=1e-12)
    np.testing.assert_allclose(
        load_rig(tmp_path / "other" / "rig.yaml").ego_T_lidar, rig.ego_T_lidar, atol=1e-12
    )
    assert camera.body_mask.resolve() == again.body_mask.resolve()
    for folder in ("front", "other"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "1.jpg").touch()
    found = [[file.resolve() for file in each.image_files()] for each in (camera, again)]
    assert found == [[tmp_path.resolve() / "front" / "1.jpg"]] * 2


def test_a_pattern_that_no_file_fits_names_camera_and_pattern(tmp_path: Path) -> None:
    camera = load_rig(_write(tmp_path / "rig.yaml", _full_camera())).cameras[0]
    with pytest.raises(DataError, match="camera CAM_FRONT: no file fits image: 'front/"):
        camera.image_files()
    plain = load_rig(_write(tmp_path / "rig.yaml", CAMERA)).cameras[0]
    with pytest.raises(DataError, match="camera CAM_FRONT has no image; add"):
        plain.image_files()


@pytest.mark.parametrize("rows", [3, 4])
def test_a_matrix_gives_the_pose_of_the_same_angles(tmp_path: Path, rows: int) -> None:
    angles = load_rig(_write(tmp_path / "a.yaml", {**CAMERA, "yaw": 40, "roll": 3})).cameras[0]
    camera = {key: value for key, value in CAMERA.items() if key != "position"}
    camera["ego_T_cam"] = angles.ego_T_cam[:rows].tolist()
    matrix = load_rig(_write(tmp_path / "b.yaml", camera)).cameras[0]
    np.testing.assert_array_equal(matrix.ego_T_cam, angles.ego_T_cam)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (np.diag([1.0, -1, 1, 1]), "mirrors (det = -1.000, must be 1)"),
        (np.diag([2.0, 2, 2, 1]), "is no rotation (det = 8.000"),
    ],
)
def test_a_matrix_that_is_no_pose_is_refused_unless_the_checks_want_it(
    tmp_path: Path, spoil: np.ndarray, problem: str
) -> None:
    camera = {key: value for key, value in CAMERA.items() if key != "position"}
    pose = load_rig(_write(tmp_path / "a.yaml", CAMERA)).cameras[0].ego_T_cam @ spoil
    path = _write(tmp_path / "b.yaml", {**camera, "ego_T_cam": pose.tolist()})
    with pytest.raises(DataError) as error:
        load_rig(path)
    assert f"cameras[0].ego_T_cam: {problem}" in str(error.value)
    np.testing.assert_array_equal(load_rig(path, check_poses=False).cameras[0].ego_T_cam, pose)


def test_a_rig_without_a_lidar_has_none_until_it_is_rendered() -> None:
    path = RIGS / "five_cameras.yaml"
    assert load_rig(path).ego_T_lidar is None
    np.testing.assert_array_equal(rendered_rig(path).ego_T_lidar, nuscenes_rig().ego_T_lidar)


def test_a_distorted_rig_is_not_rendered(tmp_path: Path) -> None:
    path = _write(tmp_path / "rig.yaml", _full_camera())
    with pytest.raises(DataError, match=r"\[0\].distortion: pictures are rendered without"):
        rendered_rig(path)


def test_a_rig_names_its_cameras_where_another_is_asked_for() -> None:
    with pytest.raises(DataError, match="no camera 'FRONT'; it has CAM_FRONT, CAM_LEFT"):
        load_rig(RIGS / "five_cameras.yaml")["FRONT"]


def test_a_camera_cannot_be_changed_behind_its_users_back() -> None:
    camera = nuscenes_rig().cameras[0]
    with pytest.raises(ValueError, match="read-only"):
        camera.intrinsics[0, 0] = 1.0


def test_a_pose_of_float32_is_written_as_angles_that_people_can_read(tmp_path: Path) -> None:
    rig = nuscenes_rig()
    poses = [camera.ego_T_cam.astype(np.float32) for camera in rig.cameras]
    rounded = [replace(c, ego_T_cam=pose) for c, pose in zip(rig.cameras, poses, strict=True)]
    save_rig(replace(rig, cameras=tuple(rounded)), tmp_path / "rig.yaml")
    assert "quaternion" not in (tmp_path / "rig.yaml").read_text()
    for camera, again in zip(rig.cameras, load_rig(tmp_path / "rig.yaml").cameras, strict=True):
        np.testing.assert_allclose(again.ego_T_cam, camera.ego_T_cam, atol=1e-6)
