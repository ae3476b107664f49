"""Mistakes of a rig file, each named by camera and field in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.poses import EGO_R_CAM, camera_pose, invert_pose, pose_matrix
from bevdepth_plus.rigs.rig import Distortion, Rig, RigCamera
from bevdepth_plus.rigs.rig_checks import check_rig
from bevdepth_plus.rigs.rig_file import load_rig
from bevdepth_plus.rigs.rig_picture import draw_rig, horizon
from bevdepth_plus.synthetic.rig import nuscenes_rig

RIGS = Path(__file__).resolve().parents[2] / "configs" / "rigs"


def with_front(**changes) -> Rig:
    rig = nuscenes_rig()
    return replace(rig, cameras=(replace(rig.cameras[0], **changes), *rig.cameras[1:]))


def moved(a_T_a: np.ndarray) -> Rig:
    rig = nuscenes_rig()
    return replace(
        rig, cameras=tuple(replace(c, ego_T_cam=a_T_a @ c.ego_T_cam) for c in rig.cameras)
    )


def lines(rig: Rig) -> list[str]:
    return [str(problem) for problem in check_rig(rig)]


@pytest.mark.parametrize("path", sorted(RIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_the_projects_own_rigs_are_plausible(path):
    assert lines(load_rig(path)) == []


def test_wide_narrow_stereo_and_fisheye_cameras_are_plausible():
    lens = Distortion("fisheye", (-0.02, 0.003, -0.001, 0.0002))
    fisheye = np.array([[330.0, 0, 640], [0, 330, 480], [0, 0, 1]])
    narrow = np.array([[5000.0, 0, 960], [0, 5000, 540], [0, 0, 1]])
    cameras = (
        RigCamera("LEFT", 1280, 960, fisheye, camera_pose([1, 1, 1], 90, 30, 0), distortion=lens),
        RigCamera("STEREO_LEFT", 1920, 1080, narrow, camera_pose([1.5, 0.2, 1.5], 0.0, 0, 0)),
        RigCamera("STEREO_RIGHT", 1920, 1080, narrow, camera_pose([1.5, -0.2, 1.5], 0.1, 0, 0)),
    )
    assert lines(Rig(cameras)) == []
    assert lines(Rig(cameras[1:])) == []  # small yaws of a stereo pair are no radians


FRONT = nuscenes_rig().cameras[0]
POSE = FRONT.ego_T_cam
WRONG = {
    "mirrored": (
        dict(ego_T_cam=POSE @ np.diag([-1.0, 1, 1, 1])),
        "CAM_FRONT: ego_T_cam mirrors (det = -1.000, must be 1): an axis is swapped",
    ),
    "scaled": (
        dict(ego_T_cam=POSE @ np.diag([1.1, 1.1, 1.1, 1])),
        "CAM_FRONT: ego_T_cam is no rotation",
    ),
    "millimetres": (
        dict(ego_T_cam=pose_matrix(POSE[:3, :3], [1700, 20, 1510])),
        "CAM_FRONT: position [1700, 20, 1510] is 1700 m away: millimetres?",
    ),
    "centimetres": (
        dict(ego_T_cam=pose_matrix(POSE[:3, :3], [170, 2, 151])),
        "CAM_FRONT: position [170, 2, 151] is 170 m away: centimetres?",
    ),
    "below the ground": (
        dict(ego_T_cam=pose_matrix(POSE[:3, :3], [1.7, 0, -1.5])),
        "CAM_FRONT: position [1.7, 0, -1.5] is below the ground: z counts up",
    ),
    "swapped size": (
        dict(width=900, height=1600),
        "CAM_FRONT: cx, cy (816, 492) far from the middle of 900 x 1600: width and height are "
        "swapped: write width 1600, height 900",
    ),
    "calibrated at another size": (
        dict(width=800, height=450),
        "CAM_FRONT: cx, cy (816, 492) far from the middle of 800 x 450: was the image resized",
    ),
    "focal length in millimetres": (
        dict(intrinsics=np.array([[4.0, 0, 800], [0, 4, 450], [0, 0, 1]])),
        "CAM_FRONT: fx 4.0 means a field of view of 179 degrees: expected 15 to 150",
    ),
    "focal length of a larger image": (
        dict(intrinsics=np.array([[9000.0, 0, 800], [0, 9000, 450], [0, 0, 1]])),
        "CAM_FRONT: fx 9000.0 means a field of view of 10 degrees",
    ),
    "resized in one direction": (
        dict(intrinsics=np.array([[1266.0, 0, 800], [0, 1900, 450], [0, 0, 1]])),
        "CAM_FRONT: fx, fy (1266.0, 1900.0) differ: was the image resized in one direction?",
    ),
    "looks into the ground": (
        dict(ego_T_cam=camera_pose([1.7, 0, 1.5], 0, 40, 0)),
        "CAM_FRONT: pitch 40.0 degrees: looks into the ground alone, no row shows the horizon",
    ),
    "looks into the sky": (
        dict(ego_T_cam=camera_pose([1.7, 0, 1.5], 0, -40, 0)),
        "CAM_FRONT: pitch -40.0 degrees: looks into the sky alone",
    ),
    "ROS body axes taken for optical ones": (
        dict(ego_T_cam=pose_matrix(np.eye(3), [1.7, 0, 1.5])),
        "looks into the sky alone",
    ),
    "camera axes y up": (
        dict(ego_T_cam=camera_pose([1.7, 0, 1.5], 0, 0, 180)),
        "CAM_FRONT: roll 180.0 degrees: lies upside down",
    ),
    "on its side": (
        dict(ego_T_cam=camera_pose([1.7, 0, 1.5], 0, 0, 90)),
        "CAM_FRONT: roll 90.0 degrees: lies on its side",
    ),
    "the name of another direction": (
        dict(ego_T_cam=camera_pose([1.7, 0, 1.5], 180, 0, 0)),
        "CAM_FRONT: yaw 180.0 degrees looks back, not front",
    ),
    "the pose of another camera": (
        dict(ego_T_cam=nuscenes_rig().cameras[1].ego_T_cam),
        "CAM_FRONT_RIGHT: position and direction are those of CAM_FRONT: copied?",
    ),
    "a lens that folds": (
        dict(distortion=Distortion("plumb_bob", (-0.9, 0.0, 0.0, 0.0))),
        "CAM_FRONT: distortion folds over 514 pixels from the principal point, inside the image",
    ),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_of_one_camera_is_named_alone(mistake):
    changes, message = WRONG[mistake]
    found = lines(with_front(**changes))
    assert len(found) == 1 and message in found[0], found
    assert "\n" not in found[0]


def test_an_ego_frame_in_the_lidar_is_named():
    up = pose_matrix(np.eye(3), [0, 0, -1.45])  # cameras are 1.5 to 1.6 m high
    (line,) = lines(moved(up))
    assert line.startswith(
        "rig: position puts the cameras 0.05 to 0.14 m above the ground: the ego"
    )


def test_radians_in_the_place_of_degrees_are_named():
    cameras = [
        RigCamera(c.name, c.width, c.height, c.intrinsics, camera_pose(c.position, yaw, 0, 0))
        for c, yaw in zip(nuscenes_rig().cameras, (0, -0.98, 0.96, 3.14, 1.9, -1.93), strict=True)
    ]
    found = lines(Rig(tuple(cameras)))
    assert any(
        line.startswith("rig: yaw of all cameras within 6.3 degrees (0, -0.98, 0.96, 3.14")
        and "multiply by 57.2958" in line
        for line in found
    )
    assert "CAM_BACK: yaw 3.1 degrees looks ahead, not back" in " ".join(found)


def test_an_ego_frame_with_y_to_the_right_is_named():
    flipped = np.diag([1.0, -1, 1, 1])
    rig = nuscenes_rig()
    # mirrored twice, so that the determinants are right: y of the ego and x of the cameras
    cameras = [
        replace(c, ego_T_cam=flipped @ c.ego_T_cam @ np.diag([-1.0, 1, 1, 1])) for c in rig.cameras
    ]
    found = lines(Rig(tuple(cameras)))
    assert any(
        line.startswith("CAM_FRONT_LEFT: yaw -55.2 degrees looks right, not left") for line in found
    )


def test_inverted_poses_are_named():
    rig = nuscenes_rig()
    cameras = [replace(c, ego_T_cam=invert_pose(c.ego_T_cam)) for c in rig.cameras]
    named = {problem.camera for problem in check_rig(Rig(tuple(cameras)))}
    assert named >= set(rig.names)


def test_horizon_rows_are_where_level_directions_project():
    camera = replace(FRONT, ego_T_cam=camera_pose([1.7, 0, 1.5], 20, 5, 3))
    rows = horizon(camera)
    for yaw in (0, 10, 30):
        ahead = np.array([np.cos(np.radians(yaw)), np.sin(np.radians(yaw)), 0])
        u, v, w = camera.intrinsics @ camera.ego_T_cam[:3, :3].T @ ahead
        assert np.interp(u / w, [0, camera.width], rows) == pytest.approx(v / w, abs=1e-6)


def test_a_rig_is_drawn_with_and_without_images(tmp_path):
    pytest.importorskip("matplotlib")
    image = np.full((900, 1600, 3), 90, np.uint8)
    (tmp_path / "front").mkdir()
    cv2.imwrite(str(tmp_path / "front" / "a.jpg"), image)
    draw_rig(with_front(image="front/*.jpg", folder=tmp_path), tmp_path / "rig.png")
    picture = cv2.imread(str(tmp_path / "rig.png"))
    assert picture.shape[0] > 300 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 100
    with pytest.raises(DataError, match="no file fits image: 'none"):
        draw_rig(with_front(image="none/*.jpg", folder=tmp_path), tmp_path / "other.png")
    assert not (tmp_path / "other.png").exists()


def test_optical_axes_of_the_checks_are_the_rigs():
    np.testing.assert_allclose(EGO_R_CAM @ [0, 0, 1], [1, 0, 0])
