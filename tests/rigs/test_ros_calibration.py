from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.spatial.transform import Rotation

from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.poses import EGO_R_CAM, camera_pose, pose_matrix
from bevdepth_plus.rigs.rig import Distortion, Rig
from bevdepth_plus.rigs.ros_calibration import read_camera_info, rig_from_ros, rig_to_ros
from bevdepth_plus.rigs.static_transforms import chain, read_static_transforms
from bevdepth_plus.synthetic.rig import nuscenes_rig

# As camera_calibration writes it.
CALIBRATION = """\
image_width: 640
image_height: 480
camera_name: front
camera_matrix:
  rows: 3
  cols: 3
  data: [500.0, 0.0, 319.5, 0.0, 501.0, 239.5, 0.0, 0.0, 1.0]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [-0.3, 0.1, 0.001, -0.002, 0.0]
rectification_matrix:
  rows: 3
  cols: 3
  data: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
projection_matrix:
  rows: 3
  cols: 4
  data: [450.0, 0.0, 318.0, 0.0, 0.0, 455.0, 238.0, 0.0, 0.0, 0.0, 1.0, 0.0]
"""
# As `ros2 topic echo --once /front/camera_info` prints it.
MESSAGE = """\
header:
  stamp: {sec: 1, nanosec: 2}
  frame_id: front_optical_frame
height: 480
width: 640
distortion_model: equidistant
d: [-0.01, 0.002, 0.0, 0.0]
k: [300.0, 0.0, 319.5, 0.0, 300.0, 239.5, 0.0, 0.0, 1.0]
r: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
p: [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
binning_x: 0
---
header:
  frame_id: front_optical_frame
"""
OPTICAL = Rotation.from_matrix(EGO_R_CAM).as_quat().tolist()  # x, y, z, w
TREE = [
    {
        "parent": "base_link",
        "child": "kit",
        "translation": [1.0, 0, 1.5],
        "rotation": Rotation.from_euler("z", 90, degrees=True).as_quat().tolist(),
    },
    {"parent": "kit", "child": "front", "translation": [0.5, 0, 0], "rotation": [0, 0, 0, 1.0]},
    {
        "parent": "front",
        "child": "front_optical_frame",
        "translation": [0, 0, 0],
        "rotation": OPTICAL,
    },
]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    info, tree = tmp_path / "front.yaml", tmp_path / "tf.yaml"
    info.write_text(CALIBRATION)
    tree.write_text(yaml.safe_dump(TREE))
    return info, tree


def test_a_calibration_file_is_read_with_half_a_pixel_more(files):
    (camera,) = rig_from_ros([files[0]], files[1]).cameras
    np.testing.assert_array_equal(camera.intrinsics, [[500, 0, 320], [0, 501, 240], [0, 0, 1]])
    np.testing.assert_array_equal(
        camera.rectified_intrinsics, [[450, 0, 318.5], [0, 455, 238.5], [0, 0, 1]]
    )
    assert camera.distortion == Distortion("plumb_bob", (-0.3, 0.1, 0.001, -0.002, 0.0))
    assert (camera.name, camera.width, camera.height) == ("front", 640, 480)
    assert camera.rectification is None and camera.frame_id == "front_optical_frame"


def test_a_pose_goes_through_several_frames(files):
    (camera,) = rig_from_ros([files[0]], files[1]).cameras
    np.testing.assert_allclose(camera.ego_T_cam, camera_pose([1.0, 0.5, 1.5], 90, 0, 0), atol=1e-9)


def test_a_message_is_read_and_its_header_names_the_frame(files):
    files[0].write_text(MESSAGE)
    info = read_camera_info(files[0])
    assert info.distortion == Distortion("fisheye", (-0.01, 0.002, 0.0, 0.0))
    assert info.rectified_intrinsics is None and info.frame_id == "front_optical_frame"
    assert rig_from_ros([files[0]], files[1])["front"].intrinsics[0, 2] == 320


@pytest.mark.parametrize(("frame", "axes"), [("front", "auto"), ("front", "body")])
def test_a_frame_with_a_bodys_axes_is_turned_to_optical_ones(files, frame, axes):
    turned = rig_from_ros([files[0]], files[1], frames={"front": frame}, axes=axes)
    straight = rig_from_ros([files[0]], files[1])
    np.testing.assert_allclose(turned["front"].ego_T_cam, straight["front"].ego_T_cam, atol=1e-12)


def test_optical_axes_are_believed_where_the_user_says_so(files):
    rig = rig_from_ros([files[0]], files[1], frames={"front": "front"}, axes="optical")
    np.testing.assert_allclose(rig["front"].forward, [0, 0, 1], atol=1e-9)  # looks up


def test_all_forms_of_static_transforms_say_the_same(tmp_path):
    stamped = {
        "transforms": [
            {
                "header": {"frame_id": "/" + each["parent"]},
                "child_frame_id": each["child"],
                "transform": {
                    "translation": dict(zip("xyz", each["translation"], strict=True)),
                    "rotation": dict(zip("xyzw", each["rotation"], strict=True)),
                },
            }
            for each in TREE
        ]
    }
    angles = {"roll": -np.pi / 2, "pitch": 0.0, "yaw": -np.pi / 2}
    none = {"roll": 0.0, "pitch": 0.0, "yaw": 0.0}
    autoware = {
        "base_link": {"kit": {"x": 1.0, "y": 0.0, "z": 1.5, **none, "yaw": np.pi / 2}},
        "kit": {"front": {"x": 0.5, "y": 0.0, "z": 0.0, **none}},
        "front": {"front_optical_frame": {"x": 0.0, "y": 0.0, "z": 0.0, **angles}},
    }
    poses = []
    for name, content in (("a", TREE), ("b", stamped), ("c", autoware)):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content) + "---\n" * (name == "b"))
        poses.append(chain(read_static_transforms(path), "base_link", "front_optical_frame"))
    np.testing.assert_allclose(poses[1], poses[0], atol=1e-12)
    np.testing.assert_allclose(poses[2], poses[0], atol=1e-12)


def test_a_chain_may_go_up_and_down_the_tree(files):
    tree = read_static_transforms(files[1])
    np.testing.assert_allclose(
        chain(tree, "front_optical_frame", "kit") @ chain(tree, "kit", "front_optical_frame"),
        np.eye(4),
        atol=1e-12,
    )


def distorted_rig() -> Rig:
    lenses = [
        None,
        Distortion("plumb_bob", (-0.3, 0.1, 0.001, -0.002)),
        Distortion("rational", (0.1, 0.2, 0.001, 0.002, 0.03, 0.4, 0.05, 0.006)),
        Distortion("fisheye", (-0.01, 0.002, 0.0, 0.0)),
        None,
        None,
    ]
    rig = nuscenes_rig()
    cameras = [
        replace(camera, delay=0.0, distortion=lens, frame_id=f"{camera.name}_optical_frame")
        for camera, lens in zip(rig.cameras, lenses, strict=True)
    ]
    small_turn = pose_matrix(Rotation.from_euler("x", 1.0, degrees=True).as_matrix(), [0, 0, 0])
    cameras[3] = replace(
        cameras[3],
        rectification=small_turn[:3, :3],
        rectified_intrinsics=cameras[3].intrinsics * np.array([[0.5], [0.5], [1]]),
    )
    return Rig(tuple(cameras), rig.ego_T_lidar)


def test_a_rig_comes_back_from_ros(tmp_path):
    rig = distorted_rig()
    rig_to_ros(rig, tmp_path / "ros")
    infos = [tmp_path / "ros" / f"{name}.yaml" for name in rig.names]
    again = rig_from_ros(infos, tmp_path / "ros" / "static_transforms.yaml", lidar="lidar_top")
    np.testing.assert_allclose(again.ego_T_lidar, rig.ego_T_lidar, atol=1e-12)
    for camera, other in zip(rig.cameras, again.cameras, strict=True):
        for name in ("name", "width", "height", "distortion", "frame_id"):
            assert getattr(other, name) == getattr(camera, name)
        np.testing.assert_allclose(other.intrinsics, camera.intrinsics, atol=1e-9)
        np.testing.assert_allclose(other.ego_T_cam, camera.ego_T_cam, atol=1e-12)
    turned, before = again["CAM_BACK"], rig["CAM_BACK"]
    np.testing.assert_allclose(turned.rectification, before.rectification, atol=1e-12)
    np.testing.assert_allclose(turned.rectified_intrinsics, before.rectified_intrinsics, atol=1e-9)


def test_ros_files_never_replace_a_folder_of_something_else(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="holds other files; choose a new folder"):
        rig_to_ros(nuscenes_rig(), tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("image_width: 640", "image_width: wide", "camera_info.image_width: expected a finite"),
        ("319.5, 0.0, 501.0", "501.0", "camera_info.camera_matrix: expected 9 numbers, got 7"),
        ("data: [500.0", "data: [0.0", "camera_info.camera_matrix: its focal length is 0"),
        ("plumb_bob", "brown", "camera_info.distortion_model: expected one of plumb_bob"),
        ("-0.002, 0.0]", "-0.002, 0.0, 0.1]", "distortion_coefficients: plumb_bob takes 4 or 5"),
    ],
)
def test_a_wrong_camera_info_is_named_by_field(files, old, new, message):
    assert old in CALIBRATION
    files[0].write_text(CALIBRATION.replace(old, new))
    with pytest.raises(DataError) as error:
        read_camera_info(files[0])
    assert str(error.value).startswith(str(files[0])) and message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ([], "holds no transform"),
        ("text", "expected a list of"),
        ([{**TREE[0], "rotation": [0, 0, 0, 2.0]}], "rotation: expected unit length, got 2.000"),
        ([{**TREE[0], "translation": {"x": 1}}], "translation: expected a finite number, got None"),
        ([*TREE, {**TREE[2], "parent": "kit"}], "front_optical_frame has two parents"),
        ({"a": {"b": {"x": 0, "y": 0, "z": 0, "yaw": 90}}}, "radians here, got .*degrees?"),
    ],
)
def test_wrong_static_transforms_are_named(tmp_path, tree, message):
    path = tmp_path / "tf.yaml"
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(DataError, match=message):
        read_static_transforms(path)


def test_a_missing_frame_or_link_is_named_with_those_there_are(files):
    with pytest.raises(DataError, match="no frame 'lidar'; there are base_link, front"):
        rig_from_ros([files[0]], files[1], lidar="lidar")
    files[1].write_text(yaml.safe_dump(TREE[1:]))
    with pytest.raises(DataError, match="there is no frame 'base_link'"):
        rig_from_ros([files[0]], files[1])
    files[1].write_text(yaml.safe_dump([{**TREE[0], "child": "roof"}, *TREE[1:]]))
    with pytest.raises(DataError, match="no chain leads from base_link to front_optical_frame"):
        rig_from_ros([files[0]], files[1])
    files[1].write_text(yaml.safe_dump(TREE[:1]))
    with pytest.raises(DataError, match="say --frames front=FRAME, one of base_link, kit"):
        rig_from_ros([files[0]], files[1])


def test_two_files_of_one_camera_are_refused(files):
    with pytest.raises(DataError, match="a second camera front; give each its own camera_name"):
        rig_from_ros([files[0], files[0]], files[1])
