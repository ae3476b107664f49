"""Rigs from and to ROS and nuScenes by the command line."""

from __future__ import annotations

import numpy as np
import pytest

from bevdepth_plus.rigs.rig_file import load_rig, save_rig
from bevdepth_plus.synthetic.rig import nuscenes_rig


@pytest.fixture
def rig_file(tmp_path):
    save_rig(nuscenes_rig(), tmp_path / "rig.yaml")
    return tmp_path / "rig.yaml"


def assert_same(path) -> None:
    again = load_rig(path)
    for camera in nuscenes_rig().cameras:
        np.testing.assert_allclose(again[camera.name].intrinsics, camera.intrinsics, atol=1e-9)
        np.testing.assert_allclose(again[camera.name].ego_T_cam, camera.ego_T_cam, atol=1e-12)


def test_a_rig_goes_to_ros_and_back(run_tool, rig_file, tmp_path):
    done = run_tool("convert_rig.py", "to-ros", rig_file, tmp_path / "ros")
    assert done.returncode == 0, done.stderr
    infos = sorted((tmp_path / "ros").glob("CAM_*.yaml"))
    transforms = tmp_path / "ros" / "static_transforms.yaml"
    back = ["from-ros", tmp_path / "again.yaml", "--camera-info", *infos]
    done = run_tool("convert_rig.py", *back, "--transforms", transforms, "--lidar", "lidar_top")
    assert done.returncode == 0, done.stderr
    assert (
        "CAM_BACK: 1600 x 900, fx 809.2, fy 809.2, pinhole, at (0.03, 0.00, 1.58) m" in done.stdout
    )
    assert_same(tmp_path / "again.yaml")


def test_a_rig_goes_to_nuscenes_and_back(run_tool, rig_file, tmp_path):
    assert run_tool("convert_rig.py", "to-nuscenes", rig_file, tmp_path / "v1").returncode == 0
    done = run_tool("convert_rig.py", "from-nuscenes", tmp_path / "v1", tmp_path / "again.yaml")
    assert done.returncode == 0, done.stderr
    assert_same(tmp_path / "again.yaml")


def test_an_info_file_gives_a_rig(run_tool, tiny_config, tmp_path):
    infos = tiny_config.with_name("bevdepth_plus_infos_train.pkl")
    done = run_tool("convert_rig.py", "from-nuscenes", infos, tmp_path / "rig.yaml")
    assert done.returncode == 0, done.stderr
    rig, expected = load_rig(tmp_path / "rig.yaml"), nuscenes_rig((160, 90))
    for camera in expected.cameras:
        np.testing.assert_allclose(rig[camera.name].ego_T_cam, camera.ego_T_cam, atol=1e-6)
        np.testing.assert_allclose(rig[camera.name].intrinsics, camera.intrinsics, atol=1e-4)
        assert (rig[camera.name].width, rig[camera.name].height) == (160, 90)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("from-nuscenes", "nothing", "out.yaml"), "nothing"),
        (("to-ros", "nothing.yaml", "out"), "nothing.yaml: cannot read the rig file"),
        (
            ("from-ros", "o.yaml", "--camera-info", "a", "--transforms", "b", "--frames", "x"),
            "--frames: expected CAMERA=FRAME, got 'x'",
        ),
    ],
)
def test_bad_input_ends_in_one_line_and_writes_nothing(run_tool, arguments, message, tmp_path):
    arguments = [tmp_path / a if a.startswith("o") else a for a in arguments]
    done = run_tool("convert_rig.py", *arguments)
    assert done.returncode == 2
    assert message in done.stderr and len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
