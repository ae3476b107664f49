"""DetectedObjects written without ROS and read back."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from bevdepth_plus.deploy.recordings import AutowareRecorder
from bevdepth_plus.deploy.recordings.autoware import LABEL_OF_CLASS, ObjectConverter
from bevdepth_plus.deploy.recordings.autoware_messages import DETECTED_OBJECTS, LABELS
from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.position_errors import CovarianceTable, PositionErrors

reader = pytest.importorskip("mcap.reader")
decoder = pytest.importorskip("mcap_ros2.decoder")

ERRORS = PositionErrors(0.0, 10.0, 100, along=1.0, across=0.2, height=0.3, yaw=0.1)


def recorded(tmp_path, rig, results, **options) -> list:
    path = tmp_path / "objects.mcap"
    with AutowareRecorder(converter=ObjectConverter(**options)).open(
        path, rig, results[0].boxes.classes
    ) as recorder:
        for result in results:
            recorder.write(result, {})
    with path.open("rb") as file:
        opened = reader.make_reader(file, decoder_factories=[decoder.DecoderFactory()])
        assert opened.get_header().profile == "ros2"
        found = list(opened.iter_decoded_messages())
    assert {(schema.name, channel.message_encoding) for schema, channel, *_ in found} == {
        (DETECTED_OBJECTS, "cdr")
    }
    assert [message.log_time for _, _, message, _ in found] == [
        round(result.stamp * 1e9) for result in results
    ]
    return [content for *_, content in found]


def test_boxes_come_back(tmp_path, rig, result, boxes):
    later = replace(result, stamp=result.stamp + 0.5, boxes=boxes[:0])
    message, empty = recorded(tmp_path, rig, [result, later])
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1532402927, 500000000)
    assert message.header.frame_id == "base_link"
    assert empty.objects == []
    assert len(message.objects) == len(boxes)
    for found, box in zip(message.objects, boxes, strict=True):
        pose = found.kinematics.pose_with_covariance.pose
        assert (pose.position.x, pose.position.y, pose.position.z) == box.centre
        assert 2 * math.atan2(pose.orientation.z, pose.orientation.w) == pytest.approx(box.yaw)
        assert (pose.orientation.x, pose.orientation.y) == (0, 0)
        size = found.shape.dimensions
        assert (size.x, size.y, size.z) == box.size
        assert (found.shape.type, found.shape.footprint.points) == (0, [])
        [label] = found.classification
        assert label.label == LABELS[LABEL_OF_CLASS[box.name]]
        assert label.probability == found.existence_probability == np.float32(box.score)


def test_the_twist_is_that_of_the_objects_frame_with_its_sign(tmp_path, rig, result, boxes):
    """A car that looks to the left (+y) and rolls backwards while it slides forward (+x)."""
    velocities = np.array([[0.5, -3.0], [np.nan, np.nan], [0.0, 0.0]])
    moving = replace(boxes, velocities=velocities, yaws=np.array([np.pi / 2, 0.3, 0.0]))
    [message] = recorded(tmp_path, rig, [replace(result, boxes=moving)])
    linear = [o.kinematics.twist_with_covariance.twist.linear for o in message.objects]
    assert (linear[0].x, linear[0].y) == pytest.approx((-3.0, -0.5))
    assert [found.kinematics.has_twist for found in message.objects] == [True, False, True]
    assert (linear[1].x, linear[1].y) == (0, 0)


def test_the_orientation_is_available_and_up_to_its_sign_for_a_cone(tmp_path, rig, result):
    [message] = recorded(tmp_path, rig, [result])
    found = [each.kinematics.orientation_availability for each in message.objects]
    assert found == [2, 2, 1]  # AVAILABLE, AVAILABLE, SIGN_UNKNOWN


def test_without_measured_errors_there_is_no_covariance(tmp_path, rig, result):
    [message] = recorded(tmp_path, rig, [result])
    for found in message.objects:
        assert not found.kinematics.has_position_covariance
        assert not found.kinematics.has_twist_covariance
        assert not np.any(found.kinematics.pose_with_covariance.covariance)


def test_the_covariance_is_the_measured_one_along_the_line_of_sight(tmp_path, rig, result, boxes):
    table = CovarianceTable({"pedestrian": [ERRORS]})
    [message] = recorded(tmp_path, rig, [result], covariance=table)
    available = [found.kinematics.has_position_covariance for found in message.objects]
    assert available == [False, True, False]
    found = message.objects[1].kinematics.pose_with_covariance.covariance
    covariance = np.array(found).reshape(6, 6)
    ahead = boxes.centres[1, :2] / np.linalg.norm(boxes.centres[1, :2])
    aside = np.array([-ahead[1], ahead[0]])
    assert ahead @ covariance[:2, :2] @ ahead == pytest.approx(1.0)
    assert aside @ covariance[:2, :2] @ aside == pytest.approx(0.04)
    assert ahead @ covariance[:2, :2] @ aside == pytest.approx(0.0, abs=1e-12)
    assert (covariance[2, 2], covariance[5, 5]) == pytest.approx((0.09, 0.01))
    np.testing.assert_array_equal(covariance, covariance.T)


def test_labels_and_threshold_can_be_set(tmp_path, rig, result):
    labels = {**LABEL_OF_CLASS, "traffic_cone": "UNKNOWN"}
    [message] = recorded(tmp_path, rig, [result], labels=labels)
    assert message.objects[2].classification[0].label == 0
    [message] = recorded(tmp_path, rig, [result], min_score=0.5)
    assert len(message.objects) == 2


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"car": "CAR"}, "class 'pedestrian' has no Autoware label; add it to labels, one of UNK"),
        ({**LABEL_OF_CLASS, "car": "AUTO"}, "class 'car': Autoware has no label 'AUTO'; it has UN"),
    ],
)
def test_a_class_without_a_label_is_named_and_no_file_is_left(
    tmp_path, rig, result, labels, message
):
    recorder = AutowareRecorder(converter=ObjectConverter(labels=labels))
    with pytest.raises(DataError, match=message):
        recorder.open(tmp_path / "a.mcap", rig, result.boxes.classes)
    assert list(tmp_path.iterdir()) == []
