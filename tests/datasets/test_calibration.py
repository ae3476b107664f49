from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bevdepth_plus.datasets.calibration import check_sample
from bevdepth_plus.errors import DataError

SIZES = {"CAM_FRONT": (160, 90), "CAM_BACK": (160, 90)}


def mirror(camera):
    camera["lidar2cam"] = (np.diag([-1.0, 1, 1, 1]) @ camera["lidar2cam"]).tolist()


def scale_rotation(camera):
    camera["lidar2cam"] = (np.diag([1.1, 1.1, 1.1, 1]) @ camera["lidar2cam"]).tolist()


def halve_intrinsics(camera):
    camera["cam2img"] = (np.diag([0.25, 0.25, 1]) @ camera["cam2img"]).tolist()


def stretch(camera):
    camera["cam2img"][1][1] *= 1.5


def millimetre_focal_length(camera):
    camera["cam2img"][0][0] = camera["cam2img"][1][1] = 4.0


def turned(camera, axis: str, degrees: float) -> None:
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler(axis, degrees, degrees=True).as_matrix()
    camera["lidar2cam"] = (turn @ camera["lidar2cam"]).tolist()


def look_down(camera):
    turned(camera, "x", 40)


def lie_on_its_side(camera):
    turned(camera, "z", 90)


def late(camera):
    camera["timestamp"] = 100.5


def pose_of_another_moment(camera):
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]
    camera["ego2global"] = (np.array(camera["ego2global"]) @ turn).tolist()


def test_a_sound_calibration_passes(infos):
    assert check_sample(infos[1], SIZES) == []


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (mirror, "mirrors"),
        (scale_rotation, "no rotation"),
        (halve_intrinsics, "principal point"),
        (stretch, "resized in one direction"),
        (millimetre_focal_length, "field of view"),
        (look_down, "the horizon is not in the image .row -"),
        (lie_on_its_side, "lies on its side"),
        (late, r"shot \+0.500 s"),
        (pose_of_another_moment, "differ by"),
        (lambda camera: camera.update(width=800, height=450), "800 x 450 pixels"),
    ],
)
def test_each_mistake_is_named_with_sample_and_camera(infos, spoil, message):
    spoil(infos[0]["images"]["CAM_FRONT"])
    problems = check_sample(infos[0], SIZES)
    assert all(problem.startswith("sample a, CAM_FRONT: ") for problem in problems)
    assert any(re.search(message, problem) for problem in problems), problems


def test_a_matrix_of_another_shape_is_named(infos):
    infos[0]["images"]["CAM_BACK"]["cam2img"] = [[100.0, 0], [0, 100.0]]
    with pytest.raises(DataError, match=r"sample a, CAM_BACK: cam2img must be \(3, 3\)"):
        check_sample(infos[0], SIZES)


def test_a_camera_without_its_matrix_is_named(infos):
    del infos[0]["images"]["CAM_BACK"]["lidar2cam"]
    with pytest.raises(DataError, match="sample a, CAM_BACK lacks 'lidar2cam'"):
        check_sample(infos[0], SIZES)
