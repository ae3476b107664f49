from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from bevdepth_plus.classes import CLASSES
from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.nuscenes_format import (
    attribute_of,
    boxes_from_results,
    global_quaternions,
    results_from_boxes,
    rotation_of_quaternion,
)


def pose(yaw: float, pitch: float = 0.0, translation=(0.0, 0.0, 0.0)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("zyx", [yaw, pitch, 0.0]).as_matrix()
    matrix[:3, 3] = translation
    return matrix


def random_boxes(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    boxes = rng.normal(size=(count, 9)) * [20, 20, 1, 1, 1, 1, 1, 3, 3]
    boxes[:, 3:6] = np.abs(boxes[:, 3:6]) + 0.3
    return boxes


def test_a_quarter_turn_of_the_car_turns_the_global_box():
    box = [[10.0, 2.0, 0.5, 4.0, 2.0, 1.5, 0.0, 3.0, 0.0]]
    (result,) = results_from_boxes(
        box, [0.5], [0], token="t", ego2global=pose(math.pi / 2, translation=(100.0, 200.0, 1.0))
    )
    assert result["translation"] == pytest.approx([98.0, 210.0, 1.5])
    assert result["size"] == [2.0, 4.0, 1.5]  # width, length, height
    assert result["rotation"] == pytest.approx([math.sqrt(0.5), 0, 0, math.sqrt(0.5)])
    assert result["velocity"] == pytest.approx([0.0, 3.0])
    assert result["attribute_name"] == "vehicle.moving"
    assert (result["sample_token"], result["detection_name"]) == ("t", "car")


def test_going_to_the_global_frame_and_back_changes_nothing_but_the_velocity_off_the_ground():
    boxes = random_boxes(20)
    scores, labels = np.linspace(0.9, 0.1, 20), np.arange(20) % len(CLASSES)
    tilted = pose(2.0, 0.03, (1000.0, -500.0, 3.0))
    results = results_from_boxes(boxes, scores, labels, token="t", ego2global=tilted)
    back, back_scores, back_labels = boxes_from_results(results, ego2global=tilted)
    np.testing.assert_allclose(back[:, :6], boxes[:, :6], atol=1e-9)
    np.testing.assert_allclose(np.cos(back[:, 6] - boxes[:, 6]), 1, atol=1e-12)
    np.testing.assert_allclose(back[:, 7:], boxes[:, 7:], atol=0.02)
    np.testing.assert_array_equal(back_scores, scores)
    np.testing.assert_array_equal(back_labels, labels)


def test_only_the_best_500_boxes_are_kept_best_first():
    boxes = random_boxes(600)
    scores = torch.linspace(0, 1, 600)
    labels = torch.zeros(600, dtype=torch.long)
    results = results_from_boxes(
        torch.from_numpy(boxes), scores, labels, token="t", ego2global=pose(0.1)
    )
    assert len(results) == 500
    kept = [result["detection_score"] for result in results]
    np.testing.assert_allclose(kept, scores.flip(0)[:500].double())


def test_boxes_without_velocity_rest():
    (result,) = results_from_boxes(
        random_boxes(1)[:, :7], [0.5], [0], token="t", ego2global=np.eye(4)
    )
    assert result["velocity"] == [0.0, 0.0]
    assert result["attribute_name"] == "vehicle.parked"


def test_no_boxes_give_no_results():
    none = results_from_boxes(
        np.zeros((0, 9)), np.zeros(0), np.zeros(0), token="t", ego2global=np.eye(4)
    )
    assert none == []
    assert boxes_from_results([], ego2global=np.eye(4))[0].shape == (0, 9)


@pytest.mark.parametrize(
    ("name", "resting", "moving"),
    [
        ("car", "vehicle.parked", "vehicle.moving"),
        ("bus", "vehicle.stopped", "vehicle.moving"),
        ("bicycle", "cycle.without_rider", "cycle.with_rider"),
        ("pedestrian", "pedestrian.standing", "pedestrian.moving"),
        ("barrier", "", ""),
    ],
)
def test_the_attribute_follows_the_speed(name, resting, moving):
    assert attribute_of(name, 0.1) == resting
    assert attribute_of(name, 0.3) == moving


def test_every_attribute_belongs_to_its_class():
    from nuscenes.eval.detection.utils import detection_name_to_rel_attributes

    for name in CLASSES:
        allowed = detection_name_to_rel_attributes(name) or [""]
        assert {attribute_of(name, 0.0), attribute_of(name, 5.0)} <= set(allowed)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [(0, float("nan"), "not finite"), (7, float("inf"), "not finite"), (4, 0.0, "size of 0 m")],
)
def test_a_box_that_cannot_be_is_refused_with_its_sample(column, value, message):
    boxes = random_boxes(3)
    boxes[1, column] = value
    with pytest.raises(DataError, match=f"sample t: .*{message}"):
        results_from_boxes(boxes, [1, 1, 1], [0, 0, 0], token="t", ego2global=np.eye(4))


def test_a_label_without_a_class_is_refused():
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 10\), got 0 to 10"):
        results_from_boxes(random_boxes(2), [1, 1], [0, 10], token="t", ego2global=np.eye(4))


def test_quaternions_are_scipys_to_the_last_bit():
    rng = np.random.default_rng(0)
    for kind in (np.float64, np.float32):  # float32: slightly skewed, made a rotation again
        for rotation in Rotation.random(50, random_state=1).as_matrix().astype(kind):
            yaws = rng.uniform(-7, 7, 20)
            turned = Rotation.from_matrix(rotation) * Rotation.from_euler("z", yaws[:, None])
            expected = np.roll(turned.as_quat(), 1, axis=-1)
            np.testing.assert_array_equal(global_quaternions(yaws, rotation), expected)
            for quaternion in expected[:3]:
                matrix = Rotation.from_quat(np.roll(quaternion, -1)).as_matrix()
                np.testing.assert_array_equal(rotation_of_quaternion(quaternion), matrix)
