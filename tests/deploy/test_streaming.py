"""A stream of images and poses, with a detector that only says what it was given."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from bevdepth_plus.deploy.features import ImageFeatures, PerceivedCamera
from bevdepth_plus.deploy.inferencer import Detection
from bevdepth_plus.deploy.results import Boxes
from bevdepth_plus.deploy.streaming import (
    CameraState,
    ImageMessage,
    PoseMessage,
    Stream,
    StreamLimits,
)
from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.rig import Rig, RigCamera

NO_BOXES = Boxes(
    np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), np.zeros((0, 2)), np.zeros(0),
    np.zeros(0, int), ("car",),
)  # fmt: skip
NAMES = ("FRONT", "LEFT", "RIGHT")


class SayingInferencer:
    """Keeps what it was asked: images as they came, moments as (camera, image, pose)."""

    def __init__(self, num_frames: int, frame_interval: float = 0.5) -> None:
        self.description = SimpleNamespace(num_frames=num_frames, frame_interval=frame_interval)
        self.perceived: list[tuple[str, object]] = []
        self.detected: list[list[list[tuple[str, object, float]]]] = []

    def prepare(self, image, camera):
        if image is None:
            raise DataError(f"camera {camera.name}: image cannot be decoded")
        return image

    def perceive(self, images, cameras, stamps):
        self.perceived += [
            (camera.name, image) for camera, image in zip(cameras, images, strict=True)
        ]
        eye = np.eye(3)
        return [
            PerceivedCamera(
                camera.name, ImageFeatures(image, image, eye), eye, eye, camera.ego_T_cam, stamp
            )
            for camera, image, stamp in zip(cameras, images, stamps, strict=True)
        ]

    def detect(self, moments, clock):
        self.detected.append(
            [
                [(camera.name, camera.features.depth, float(pose[0, 3])) for camera, pose in moment]
                for moment in moments
            ]
        )
        return Detection(NO_BOXES, {})


def rig_at(x: float = 0.0, names=NAMES) -> Rig:
    pose = np.eye(4)
    pose[0, 3] = x
    return Rig(tuple(RigCamera(name, 160, 90, np.eye(3), pose) for name in names))


def stream_of(num_frames: int = 1, **limits) -> Stream:
    return Stream(SayingInferencer(num_frames), rig_at(), StreamLimits(**limits))


def pose(x: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[0, 3] = x
    return matrix


def frame(stream: Stream, stamp: float, names=NAMES, x: float | None = None):
    """Results of one image of each camera, and of the pose if there is one."""
    results = []
    for index, name in enumerate(names):
        results += stream.push_image(name, stamp + 0.01 * index, f"{name}@{stamp}")
    if x is not None:
        results += stream.push_pose(stamp + 0.01 * (len(names) - 1), pose(x))
    return results


def test_the_image_part_runs_when_an_image_comes_and_the_rest_with_the_last_one():
    stream = stream_of()
    assert stream.push_image("FRONT", 1.0, "a") == [] == stream.push_image("LEFT", 1.01, "b")
    assert stream.inferencer.perceived == [("FRONT", "a"), ("LEFT", "b")]
    (result,) = stream.push_image("RIGHT", 1.02, "c")
    assert result.cameras == NAMES and result.stamp == 1.02 and not result.missing


def test_a_whole_frame_is_perceived_together_where_that_is_wanted():
    stream = stream_of()
    stream.image_by_image = False
    for name in ("RIGHT", "FRONT"):
        stream.push_image(name, 1.0, name)
    assert stream.inferencer.perceived == []
    (result,) = stream.push_image("LEFT", 1.0, "LEFT")
    assert stream.inferencer.perceived == [(name, name) for name in NAMES]  # the rig's order
    assert result.cameras == NAMES


def test_a_lost_camera_costs_its_part_alone_and_is_no_longer_waited_for():
    stream = stream_of()
    frame(stream, 1.0)
    results = []
    for turn in range(1, 6):
        results += frame(stream, 1.0 + 0.1 * turn, names=("FRONT", "LEFT"))
    # The first three frames end with the next one's first image, the rest with their own last.
    assert [result.cameras for result in results] == [("FRONT", "LEFT")] * 5
    assert results[0].missing == {"RIGHT": "no image"}
    assert stream.states["RIGHT"] is CameraState.MISSING
    # Back again, its first image comes after its frame has ended; the next frame waits for it.
    (without,) = frame(stream, 1.6)
    assert without.cameras == ("FRONT", "LEFT") and stream.states["RIGHT"] is CameraState.LATE
    (whole,) = frame(stream, 1.7)
    assert whole.cameras == NAMES and set(stream.states.values()) == {CameraState.OK}


def test_corrupt_late_and_repeated_images_are_told_apart():
    stream = stream_of()
    stream.push_image("FRONT", 1.0, "a")
    stream.push_image("LEFT", 1.01, None)
    assert stream.push_image("FRONT", 1.0, "a") == []  # the same again
    (result,) = stream.push_image("RIGHT", 1.02, "c")
    assert result.cameras == ("FRONT", "RIGHT")
    assert result.missing == {"LEFT": "camera LEFT: image cannot be decoded"}
    assert stream.states["LEFT"] is CameraState.CORRUPT
    assert stream.push_image("LEFT", 1.01, "late") == []
    assert stream.states["LEFT"] is CameraState.LATE
    assert len(stream.inferencer.perceived) == 2


def test_a_frame_of_corrupt_images_alone_gives_no_result():
    stream = stream_of()
    for name in NAMES:
        assert stream.push_image(name, 1.0, None) == []
    assert len(frame(stream, 1.1)) == 1


def test_the_past_is_kept_and_placed_where_it_is_seen_from_now():
    stream = stream_of(num_frames=2)
    frame(stream, 1.0, x=10.0)
    (result,) = frame(stream, 1.5, x=13.0)
    key, past = stream.inferencer.detected[-1]
    assert result.past == 1 and result.reset is None
    assert key[0][:2] == ("FRONT", "FRONT@1.5") and past[0][:2] == ("FRONT", "FRONT@1.0")
    # The vehicle drove 3 m in 0.5 s: between two poses each camera is placed at its own shot.
    assert [round(x, 3) for _, _, x in key] == [-0.12, -0.06, 0.0]
    assert past[-1][2] == pytest.approx(-3.0)
    assert len(stream.inferencer.perceived) == 6  # nothing of the past was computed again


@pytest.mark.parametrize(
    ("trained", "given", "past"),
    [(0.5, None, ("1.0", "0.5")), (0.25, None, ("1.25", "1.0")), (0.25, 0.5, ("1.0", "0.5"))],
)
def test_the_frame_nearest_to_the_models_interval_is_the_past(trained, given, past):
    limits = StreamLimits(interval=given)
    stream = Stream(SayingInferencer(3, frame_interval=trained), rig_at(), limits)
    for turn in range(13):  # 8 frames a second
        frame(stream, 0.125 * turn, x=0.1 * turn)
    _, first, second = stream.inferencer.detected[-1]
    assert (first[0][1], second[0][1]) == tuple(f"FRONT@{stamp}" for stamp in past)


@pytest.mark.parametrize(
    ("stamp", "x", "reason"),
    [
        (4.0, 3.0, "without a frame"),
        (1.5, 90.0, "the pose jumped 90.0 m"),
        (-5.0, 0.0, "time went back"),
    ],
)
def test_what_does_not_follow_from_the_past_drops_it_and_says_why(stamp, x, reason):
    stream = stream_of(num_frames=2)
    frame(stream, 1.0, x=0.0)
    (result,) = frame(stream, stamp, x=x)
    key, past = stream.inferencer.detected[-1]
    assert reason in result.reset and result.past == 0
    assert past == key  # the key frame again, as at the start of a scene
    (after,) = frame(stream, stamp + 0.5, x=x + 1)
    assert after.reset is None and after.past == 1


def test_without_poses_there_is_no_past():
    stream = stream_of(num_frames=2)
    frame(stream, 1.0)
    (result,) = frame(stream, 1.5)
    assert result.past == 0 and result.world_T_ego is None


def test_a_frame_waits_for_its_pose_but_not_for_ever():
    stream = stream_of(pose_wait=0.25)
    stream.push_pose(0.9, pose(0.0))
    assert frame(stream, 1.0) == [] == frame(stream, 1.1)
    (result,) = stream.push_pose(1.05, pose(1.0))
    assert result.stamp == 1.02 and result.world_T_ego[0, 3] == pytest.approx(0.8)
    late = frame(stream, 1.4)
    assert [r.stamp for r in late] == [pytest.approx(1.12)] and late[0].world_T_ego is None


def test_messages_of_any_order_in_time_give_the_same_frames():
    stream = stream_of()
    messages = [
        PoseMessage(1.5, pose(0.0)), ImageMessage("RIGHT", 1.02, "c"), PoseMessage(0.5, pose(1.0)),
        ImageMessage("FRONT", 1.0, "a"), ImageMessage("LEFT", 1.01, "b"),
        ImageMessage("FRONT", 1.1, "d"),
    ]  # fmt: skip
    whole, last = stream.feed(messages)
    assert set(whole.cameras) == set(NAMES) and last.cameras == ("FRONT",)


def test_a_new_rig_counts_from_the_next_image_and_the_past_keeps_its_own():
    stream = stream_of(num_frames=2)
    frame(stream, 1.0, x=0.0)
    stream.set_rig(rig_at(0.5))
    frame(stream, 1.5, x=0.0)
    key, past = stream.inferencer.detected[-1]
    assert key[0][2] == 0.5 and past[0][2] == 0.0
    stream.set_rig(rig_at(0.5, names=("FRONT", "BACK")))
    (result,) = frame(stream, 2.0, names=("FRONT", "BACK"), x=0.0)
    assert result.cameras == ("FRONT", "BACK") and set(stream.states) == {"FRONT", "BACK"}


def test_bad_input_raises_one_line_and_changes_nothing():
    stream = stream_of(num_frames=2)
    frame(stream, 1.0, x=0.0)
    with pytest.raises(DataError, match="the rig has no camera 'TOP'"):
        stream.push_image("TOP", 1.1, "a")
    with pytest.raises(DataError, match="camera FRONT: an image has the time nan"):
        stream.push_image("FRONT", float("nan"), "a")
    with pytest.raises(DataError, match="the ego pose at 1.2 s must be a 4 x 4 matrix of finite"):
        stream.push_pose(1.2, np.full((4, 4), np.nan))
    (result,) = frame(stream, 1.5, x=1.0)
    assert result.past == 1 and result.reset is None


def test_reset_forgets_the_past():
    stream = stream_of(num_frames=2)
    frame(stream, 1.0, x=0.0)
    stream.reset()
    (result,) = frame(stream, 1.5, x=1.0)
    assert result.reset == "asked for" and result.past == 0
