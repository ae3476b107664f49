"""What is written comes back, read with the protobuf schemas that are in the file."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from bevdepth_plus.deploy.recordings import FoxgloveRecorder
from bevdepth_plus.deploy.recordings.outlines import outlines_in_image
from bevdepth_plus.rigs.poses import rotation_from_quaternion
from bevdepth_plus.rigs.rig import Distortion, Rig

pytest.importorskip("foxglove")
reader = pytest.importorskip("mcap.reader")
decoder = pytest.importorskip("mcap_protobuf.decoder")


def read(path) -> dict[str, list]:
    """Messages by topic, in the order of their time."""
    messages = defaultdict(list)
    with path.open("rb") as file:
        opened = reader.make_reader(file, decoder_factories=[decoder.DecoderFactory()])
        for schema, channel, message, content in opened.iter_decoded_messages():
            messages[channel.topic].append((schema.name, message.log_time, content))
    return dict(messages)


def recorded(tmp_path, rig, result, images, points=None) -> dict[str, list]:
    path = tmp_path / "drive.mcap"
    with FoxgloveRecorder().open(path, rig, result.boxes.classes) as recorder:
        recorder.write(result, images, points)
    return read(path)


def test_every_topic_has_its_schema_and_the_time_of_the_frame(tmp_path, rig, result, images):
    messages = recorded(tmp_path, rig, result, images, np.ones((5, 3)))
    assert {topic: found[0][0].removeprefix("foxglove.") for topic, found in messages.items()} == {
        "/tf": "FrameTransforms",
        "/FRONT/image": "CompressedImage",
        "/FRONT/calibration": "CameraCalibration",
        "/FRONT/annotations": "ImageAnnotations",
        "/FRONT/depth": "RawImage",
        "/BACK/image": "CompressedImage",
        "/BACK/calibration": "CameraCalibration",
        "/BACK/annotations": "ImageAnnotations",
        "/boxes": "SceneUpdate",
        "/points": "PointCloud",
    }
    assert {time for found in messages.values() for _, time, _ in found} == {1532402927500000000}
    stamp = messages["/BACK/image"][0][2].timestamp
    assert (stamp.seconds, stamp.nanos) == (1532402927, 500000000)


def test_images_are_stored_as_they_came(tmp_path, rig, result, jpeg):
    images = {"FRONT": jpeg(), "BACK": jpeg(form="PNG")}
    messages = recorded(tmp_path, rig, result, images)
    for camera, form in (("FRONT", "jpeg"), ("BACK", "png")):
        [(_, _, image)] = messages[f"/{camera}/image"]
        assert (image.data, image.format) == (images[camera], form)
    assert messages["/BACK/image"][0][2].frame_id == "back_optical"


def test_pixels_are_encoded(tmp_path, rig, result):
    pixels = np.full((360, 640, 3), (200, 30, 60), np.uint8)
    [(_, _, image)] = recorded(tmp_path, rig, result, {"FRONT": pixels})["/FRONT/image"]
    cv2 = pytest.importorskip("cv2")
    read_back = cv2.imdecode(np.frombuffer(image.data, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_allclose(read_back[..., ::-1].mean(axis=(0, 1)), (200, 30, 60), atol=3)


def test_boxes_come_back(tmp_path, rig, result, boxes, images):
    [(_, _, scene)] = recorded(tmp_path, rig, result, images)["/boxes"]
    assert len(scene.entities) == len(boxes)
    assert scene.deletions[0].type == 1  # all that was there before
    for entity, box in zip(scene.entities, boxes, strict=True):
        [cube] = entity.cubes
        position, turn = cube.pose.position, cube.pose.orientation
        assert (position.x, position.y, position.z) == box.centre
        assert (cube.size.x, cube.size.y, cube.size.z) == box.size
        rotation = rotation_from_quaternion(turn.w, turn.x, turn.y, turn.z)
        assert np.arctan2(rotation[1, 0], rotation[0, 0]) == pytest.approx(box.yaw)
        assert entity.frame_id == "base_link"
        described = {pair.key: pair.value for pair in entity.metadata}
        assert (described["class"], float(described["score"])) == (box.name, box.score)
    assert [len(entity.arrows) for entity in scene.entities] == [1, 0, 0]
    arrow = scene.entities[0].arrows[0]
    assert arrow.shaft_length + arrow.head_length == pytest.approx(np.hypot(0.5, 6.0))


def test_boxes_in_the_images_are_the_projected_ones(tmp_path, rig, result, boxes, images):
    messages = recorded(tmp_path, rig, result, images)
    for camera, names in (
        ("FRONT", ["car 0.90", "pedestrian 0.60"]),
        ("BACK", ["traffic_cone 0.30"]),
    ):
        [(_, _, annotations)] = messages[f"/{camera}/annotations"]
        assert [text.text for text in annotations.texts] == names
        drawn = [lines for lines in outlines_in_image(boxes, rig[camera]) if len(lines)]
        for points, lines in zip(annotations.points, drawn, strict=True):
            assert points.type == 4  # a list of lines
            found = np.array([(point.x, point.y) for point in points.points])
            np.testing.assert_array_equal(found, lines.reshape(-1, 2))


def test_a_resized_image_has_its_own_calibration_and_annotations(tmp_path, rig, result, jpeg):
    messages = recorded(tmp_path, rig, result, {"FRONT": jpeg(320, 180), "BACK": jpeg()})
    [(_, _, calibration)] = messages["/FRONT/calibration"]
    assert (calibration.width, calibration.height) == (320, 180)
    assert list(calibration.K) == [250, 0, 160, 0, 250, 90, 0, 0, 1]
    [(_, _, annotations)] = messages["/FRONT/annotations"]
    lines = outlines_in_image(result.boxes, rig["FRONT"])[0].reshape(-1, 2) / 2
    found = np.array([(point.x, point.y) for point in annotations.points[0].points])
    np.testing.assert_allclose(found, lines, atol=1e-9)


@pytest.mark.parametrize(
    ("lens", "name"),
    [
        (None, ""),
        (Distortion("plumb_bob", (-0.3, 0.1, 0.0, 0.0, 0.01)), "plumb_bob"),
        (Distortion("rational", (0.1, 0.2, 0, 0, 0.3, 0.4, 0.5, 0.6)), "rational_polynomial"),
        (Distortion("fisheye", (0.01, 0.02, 0.03, 0.04)), "kannala_brandt"),
    ],
)
def test_lenses_have_the_names_that_foxglove_knows(tmp_path, rig, result, images, lens, name):
    rig = Rig((replace(rig.cameras[0], distortion=lens), rig.cameras[1]))
    [(_, _, calibration)] = recorded(tmp_path, rig, result, images)["/FRONT/calibration"]
    assert calibration.distortion_model == name
    assert tuple(calibration.D) == (lens.coefficients if lens else ())


def test_frames_lead_from_the_world_to_the_cameras(tmp_path, rig, result, images, world_T_ego):
    [(_, _, tree)] = recorded(tmp_path, rig, result, images)["/tf"]
    expected = [
        ("map", "base_link", world_T_ego),
        ("base_link", "FRONT", rig["FRONT"].ego_T_cam),
        ("base_link", "back_optical", rig["BACK"].ego_T_cam),
    ]
    for found, (parent, child, pose) in zip(tree.transforms, expected, strict=True):
        assert (found.parent_frame_id, found.child_frame_id) == (parent, child)
        turn, move = found.rotation, found.translation
        rotation = rotation_from_quaternion(turn.w, turn.x, turn.y, turn.z)
        np.testing.assert_allclose(rotation, pose[:3, :3], atol=1e-12)
        np.testing.assert_array_equal((move.x, move.y, move.z), pose[:3, 3])


def test_without_a_pose_there_is_no_world(tmp_path, rig, result, images):
    [(_, _, tree)] = recorded(tmp_path, rig, replace(result, world_T_ego=None), images)["/tf"]
    assert {found.parent_frame_id for found in tree.transforms} == {"base_link"}


def test_points_and_depth_come_back(tmp_path, rig, result, images):
    points = np.random.default_rng(0).normal(size=(50, 5))
    points[7, 1] = np.nan  # is left out
    messages = recorded(tmp_path, rig, result, images, points)
    [(_, _, cloud)] = messages["/points"]
    assert [field.name for field in cloud.fields] == ["x", "y", "z", "intensity"]
    found = np.frombuffer(cloud.data, "<f4").reshape(-1, cloud.point_stride // 4)
    np.testing.assert_array_equal(found, np.delete(points, 7, axis=0)[:, :4].astype("<f4"))
    [(_, _, depth)] = messages["/FRONT/depth"]
    assert (depth.encoding, depth.height, depth.width) == ("32FC1", 2, 4)
    np.testing.assert_array_equal(np.frombuffer(depth.data, "<f4"), np.arange(8))


def test_missing_cameras_and_a_forgotten_past_are_said(tmp_path, rig, result, images):
    result = replace(result, cameras=("FRONT",), missing={"BACK": "no image"}, reset="a gap")
    messages = recorded(tmp_path, rig, result, images)
    texts = [content.message for _, _, content in messages["/status"]]
    assert texts == ["BACK: no image", "the past was forgotten: a gap"]
    assert "/BACK/image" not in messages


def test_a_new_calibration_counts_from_the_next_frame(tmp_path, rig, result, images):
    path = tmp_path / "drive.mcap"
    with FoxgloveRecorder().open(path, rig, result.boxes.classes) as recorder:
        recorder.write(result, images)
        recorder.set_rig(rig.resized(640, 360))
        other = replace(rig.cameras[0], intrinsics=rig.cameras[0].intrinsics * [[2], [2], [1]])
        recorder.set_rig(Rig((other, rig.cameras[1])))
        recorder.write(replace(result, stamp=result.stamp + 0.5), images)
    focal = [content.K[0] for _, _, content in read(path)["/FRONT/calibration"]]
    assert focal == [500, 1000]


def test_two_recordings_at_once_get_their_own_frames(tmp_path, rig, result, images):
    paths = [tmp_path / "a.mcap", tmp_path / "b.mcap"]
    classes = result.boxes.classes
    with (
        FoxgloveRecorder().open(paths[0], rig, classes) as first,
        FoxgloveRecorder().open(paths[1], rig, classes) as second,
    ):
        first.write(result, images)
        second.write(replace(result, stamp=5.0), images)
    times = [{time for found in read(path).values() for _, time, _ in found} for path in paths]
    assert times == [{1532402927500000000}, {5000000000}]
