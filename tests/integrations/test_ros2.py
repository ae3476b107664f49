"""The ROS 2 package's logic with plain objects in place of messages: no ROS is needed."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from types import SimpleNamespace as Message

import numpy as np
import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "integrations/ros2/bevdepth_plus_ros"
sys.path.insert(0, str(PACKAGE))

from bevdepth_plus_ros.conversions import (  # noqa: E402
    camera_of,
    fill,
    odometry_pose,
    pixels_of,
    pose_of,
    seconds,
)
from bevdepth_plus_ros.diagnostics import statuses  # noqa: E402
from bevdepth_plus_ros.pipeline import Pipeline  # noqa: E402

from bevdepth_plus.deploy.recordings.autoware import ObjectConverter  # noqa: E402
from bevdepth_plus.deploy.results import Boxes, Result  # noqa: E402
from bevdepth_plus.errors import DataError  # noqa: E402
from bevdepth_plus.rigs.poses import EGO_R_CAM, pose_matrix  # noqa: E402

LOOKING_AHEAD = pose_matrix(EGO_R_CAM, (1.5, 0.0, 1.6))
CAMERAS = ("FRONT", "BACK")


def time(stamp: float) -> Message:
    return Message(sec=int(stamp), nanosec=round(stamp % 1 * 1e9))


def header(stamp: float = 1.0, frame: str = "front_optical") -> Message:
    return Message(stamp=time(stamp), frame_id=frame)


def camera_info(focal: float = 500.0, **changes) -> Message:
    k = [focal, 0, 319.5, 0, focal, 179.5, 0, 0, 1]
    fields = dict(
        header=header(), width=640, height=360, distortion_model="plumb_bob", d=[0.0] * 5, k=k,
        r=[1.0, 0, 0, 0, 1, 0, 0, 0, 1], p=[*k[:3], 0, *k[3:6], 0, *k[6:], 0],
    )  # fmt: skip
    return Message(**{**fields, **changes})


def image(stamp: float, encoding: str = "bgr8", pixels: np.ndarray | None = None, pad: int = 0):
    pixels = np.zeros((2, 3, 3), np.uint8) if pixels is None else pixels
    rows = np.pad(pixels.reshape(len(pixels), -1), ((0, 0), (0, pad)), constant_values=77)
    return Message(
        header=header(stamp), encoding=encoding, height=len(pixels), width=pixels.shape[1],
        step=rows.shape[1], data=rows.tobytes(),
    )  # fmt: skip


def odometry(stamp: float, x: float, child: str = "base_link") -> Message:
    position, orientation = Message(x=x, y=2.0, z=0.0), Message(x=0.0, y=0.0, z=1.0, w=1.0)
    pose = Message(pose=Message(position=position, orientation=orientation))
    return Message(header=header(stamp, "map"), child_frame_id=child, pose=pose)


class State(str, Enum):
    OK = "ok"
    CORRUPT = "corrupt"


class RecordedStream:
    """Keeps what it is given; every image gives a result."""

    def __init__(self, rig) -> None:
        self.rigs = [rig]
        self.images, self.poses = [], []
        self.states = dict.fromkeys(rig.names, State.OK)

    def set_rig(self, rig) -> None:
        self.rigs.append(rig)
        self.states = dict.fromkeys(rig.names, State.OK)

    def push_image(self, camera, stamp, pixels):
        self.images.append((camera, stamp, pixels))
        return [result_at(stamp)]

    def push_pose(self, stamp, world_T_ego):
        if not np.isfinite(world_T_ego).all():
            raise DataError("the ego pose is not finite")
        self.poses.append((stamp, world_T_ego))
        return []


def result_at(stamp: float, **changes) -> Result:
    boxes = Boxes(
        np.array([[10.0, 1.0, 0.5]]), np.array([[4.0, 2.0, 1.5]]), np.array([0.3]),
        np.array([[3.0, 1.0]]), np.array([0.8]), np.array([0]), ("car",),
    )  # fmt: skip
    fields = dict(
        stamp=stamp, cameras=CAMERAS, milliseconds={"pooling": 4.25}, world_T_ego=np.eye(4)
    )
    return Result(boxes, **{**fields, **changes})


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline(RecordedStream, CAMERAS)


@pytest.mark.parametrize("pad", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "order"), [("rgb8", [0, 1, 2]), ("bgr8", [2, 1, 0]), ("bgra8", [2, 1, 0])]
)
def test_pixels_become_rgb_whatever_their_order_and_padding(encoding, order, pad):
    channels = 4 if encoding == "bgra8" else 3
    sent = np.random.default_rng(0).integers(0, 256, (4, 5, channels), dtype=np.uint8)
    found = pixels_of(image(1.0, encoding, sent, pad), "FRONT")
    np.testing.assert_array_equal(found, sent[..., order])


def test_grey_pixels_become_rgb():
    sent = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
    found = pixels_of(image(1.0, "mono8", sent), "FRONT")
    np.testing.assert_array_equal(found, np.repeat(sent, 3, axis=2))


def test_an_unknown_encoding_and_half_an_image_are_refused():
    with pytest.raises(DataError, match="camera FRONT: images come as 'bayer_rggb8'"):
        pixels_of(image(1.0, "bayer_rggb8"), "FRONT")
    half = image(1.0)
    half.data = half.data[:9]
    with pytest.raises(DataError, match="camera FRONT: an image of 3 x 2 bgr8 has 9 bytes"):
        pixels_of(half, "FRONT")


def test_a_camera_has_this_projects_pixel_centres_and_axes():
    camera = camera_of("FRONT", camera_info(), LOOKING_AHEAD)
    np.testing.assert_array_equal(camera.intrinsics, [[500, 0, 320], [0, 500, 180], [0, 0, 1]])
    np.testing.assert_array_equal(camera.forward, [1, 0, 0])
    assert (camera.distortion, camera.frame_id) == (None, "front_optical")
    body = camera_of("FRONT", camera_info(), pose_matrix(np.eye(3), (1.5, 0, 1.6)), axes="body")
    np.testing.assert_array_equal(body.ego_T_cam, LOOKING_AHEAD)


def test_a_lens_is_taken_over():
    info = camera_info(distortion_model="equidistant", d=[0.1, 0.2, 0.3, 0.4])
    camera = camera_of("FRONT", info, LOOKING_AHEAD)
    assert (camera.distortion.model, camera.distortion.coefficients) == (
        "fisheye",
        (0.1, 0.2, 0.3, 0.4),
    )


def test_an_uncalibrated_camera_is_named(pipeline):
    assert not pipeline.on_camera_info("FRONT", camera_info(k=[0.0] * 9), LOOKING_AHEAD)
    assert "camera FRONT" in pipeline.problems["FRONT"]
    assert "its focal length is 0" in pipeline.problems["FRONT"]


def test_poses_are_those_of_their_quaternions():
    transform = Message(
        translation=Message(x=1.0, y=2.0, z=3.0), rotation=Message(x=0.0, y=0.0, z=1.0, w=1.0)
    )
    expected = [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]
    np.testing.assert_allclose(pose_of(transform), expected, atol=1e-12)
    np.testing.assert_allclose(odometry_pose(odometry(1.0, 5.0))[:3, 3], (5, 2, 0))
    transform.rotation = Message(x=0.0, y=0.0, z=0.0, w=0.0)
    with pytest.raises(DataError, match="quaternion 0 0 0 0: nobody has filled it in"):
        pose_of(transform)


def test_the_first_calibration_makes_the_stream_and_a_silent_camera_does_not_stop_it(pipeline):
    assert pipeline.on_image("FRONT", image(1.0)) == []
    assert pipeline.problems["FRONT"] == "images come, but no camera_info"
    assert pipeline.on_camera_info("FRONT", camera_info(), LOOKING_AHEAD)
    assert pipeline.stream.rigs[0].names == ("FRONT",)
    assert len(pipeline.on_image("FRONT", image(1.5))) == 1
    assert pipeline.problems == {}
    assert pipeline.on_image("BACK", image(1.5)) == []
    assert [(name, stamp) for name, stamp, _ in pipeline.stream.images] == [("FRONT", 1.5)]


def test_a_calibration_counts_again_only_where_it_changes(pipeline):
    pipeline.on_camera_info("FRONT", camera_info(), LOOKING_AHEAD)
    assert not pipeline.on_camera_info("FRONT", camera_info(), LOOKING_AHEAD)
    assert pipeline.on_camera_info("FRONT", camera_info(focal=501), LOOKING_AHEAD)
    moved = pose_matrix(EGO_R_CAM, (1.5, 0.0, 1.61))
    assert pipeline.on_camera_info("FRONT", camera_info(focal=501), moved)
    assert pipeline.on_camera_info("BACK", camera_info(), LOOKING_AHEAD)
    rigs = pipeline.stream.rigs
    assert [rig.names for rig in rigs] == [("FRONT",), ("FRONT",), ("FRONT",), CAMERAS]
    assert [rig["FRONT"].intrinsics[0, 0] for rig in rigs] == [500, 501, 501, 501]
    assert [rig["FRONT"].position[2] for rig in rigs] == [1.6, 1.6, 1.61, 1.61]


def test_a_camera_without_tf_waits_and_one_that_had_it_keeps_its_pose(pipeline):
    assert not pipeline.on_camera_info("FRONT", camera_info(), None)
    assert pipeline.problems["FRONT"] == "no tf from front_optical to base_link"
    pipeline.on_camera_info("FRONT", camera_info(), LOOKING_AHEAD)
    assert not pipeline.on_camera_info("FRONT", camera_info(), None)
    assert pipeline.problems == {}


def test_a_compressed_image_is_handed_on_as_it_came(pipeline):
    pipeline.on_camera_info("FRONT", camera_info(), LOOKING_AHEAD)
    message = Message(header=header(1.25), format="jpeg", data=memoryview(b"a jpeg"))
    pipeline.on_image("FRONT", message)
    assert pipeline.stream.images == [("FRONT", 1.25, b"a jpeg")]


def test_odometry_of_another_frame_and_a_broken_pose_are_said(pipeline):
    pipeline.on_camera_info("FRONT", camera_info(), LOOKING_AHEAD)
    pipeline.on_odometry(odometry(1.0, 5.0, child="gps"))
    assert pipeline.problems["pose"] == "odometry is that of 'gps', not of 'base_link'"
    pipeline.on_odometry(odometry(1.0, float("nan")))
    assert pipeline.problems["pose"] == "the ego pose is not finite"
    pipeline.on_odometry(odometry(1.0, 5.0))
    assert pipeline.problems == {}
    assert len(pipeline.stream.poses) == 1


def test_the_time_of_a_result_is_its_newest_images_to_the_nanosecond(pipeline):
    pipeline.on_camera_info("FRONT", camera_info(), LOOKING_AHEAD)
    message = image(1.0)
    message.header.stamp = Message(sec=1_732_402_927, nanosec=612_345_679)
    [result] = pipeline.on_image("FRONT", message)
    assert round(seconds(message.header.stamp) * 1e9) != 1_732_402_927_612_345_679  # a float
    assert pipeline.nanoseconds_of(result) == 1_732_402_927_612_345_679
    assert pipeline.nanoseconds_of(result_at(2.5)) == 2_500_000_000


def test_diagnostics_name_each_camera_and_the_stages(pipeline):
    found = statuses(pipeline, None, None)
    assert [(s.level, s.message) for s in found] == [
        (2, "no camera_info yet"),
        (2, "no camera_info yet"),
        (0, "ok"),
        (1, "no result yet"),
    ]
    pipeline.on_camera_info("FRONT", camera_info(), LOOKING_AHEAD)
    pipeline.on_camera_info("BACK", camera_info(), LOOKING_AHEAD)
    pipeline.stream.states["BACK"] = State.CORRUPT
    result = result_at(1.0, cameras=("FRONT",), missing={"BACK": "cut JPEG"})
    front, back, _, detector = statuses(pipeline, result, 0.5)
    assert (front.level, front.message) == (0, "ok")
    assert (back.level, back.message) == (2, "corrupt")
    assert (detector.level, detector.message) == (1, "boxes of 1 of 2 cameras")
    assert detector.values["pooling, ms"] == "4.2"
    assert detector.values["missing BACK"] == "cut JPEG"
    assert detector.content()["level"] == b"\x01"


@pytest.mark.parametrize(
    ("changes", "level", "message"),
    [
        ({}, 0, "ok"),
        ({"reset": "a gap"}, 1, "the past was forgotten: a gap"),
        ({"world_T_ego": None}, 1, "no ego pose: the past is not used"),
    ],
)
def test_diagnostics_say_what_the_detector_lacks(pipeline, changes, level, message):
    detector = statuses(pipeline, result_at(1.0, **changes), 0.1)[-1]
    assert (detector.level, detector.message) == (level, message)


def message_tree(kind: str) -> Message:
    """Empty messages as ROS makes them, of the fields that are filled."""
    xyz = lambda: Message(x=0.0, y=0.0, z=0.0)  # noqa: E731
    if kind == "objects":
        return Message(header=Message(stamp=Message(sec=0, nanosec=0), frame_id=""), objects=[])
    if kind == "classification":
        return Message(label=0, probability=0.0)
    pose = Message(position=xyz(), orientation=Message(x=0.0, y=0.0, z=0.0, w=1.0))
    kinematics = Message(
        pose_with_covariance=Message(pose=pose, covariance=[]), has_position_covariance=False,
        orientation_availability=0, has_twist=False, has_twist_covariance=False,
        twist_with_covariance=Message(twist=Message(linear=xyz(), angular=xyz()), covariance=[]),
    )  # fmt: skip
    shape = Message(type=0, footprint=Message(points=[]), dimensions=xyz())
    return Message(existence_probability=0.0, classification=[], kinematics=kinematics, shape=shape)


def test_a_message_is_filled_with_the_objects():
    types = {
        "objects": lambda: message_tree("object"),
        "classification": lambda: message_tree("classification"),
    }
    content = ObjectConverter().message(result_at(1.0).boxes, 1_500_000_000)
    message = fill(message_tree("objects"), content, types)
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1, 500_000_000)
    [found] = message.objects
    assert found.classification[0].label == 1
    assert found.kinematics.pose_with_covariance.pose.position.x == 10.0
    assert found.kinematics.has_twist
    assert found.shape.dimensions.y == 2.0
    assert len(found.kinematics.pose_with_covariance.covariance) == 36


def test_a_field_that_the_message_lacks_is_an_error():
    with pytest.raises(AttributeError):
        fill(Message(header=1), {"heading": {"a": 1}}, {})
