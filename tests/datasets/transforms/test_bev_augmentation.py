from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet3d.structures import LiDARInstance3DBoxes

from bevdepth_plus.datasets.transforms.bev_augmentation import (
    BEVAugmentation,
    bev_matrix,
    move_boxes,
)

repeatable = settings(derandomize=True, max_examples=50, deadline=None)
BOX = [10.0, 2.0, 0.5, 4.0, 2.0, 1.6, 0.3, 5.0, -1.0]


def boxes_of(*rows: list[float]) -> LiDARInstance3DBoxes:
    return LiDARInstance3DBoxes(torch.tensor(rows), box_dim=9, origin=(0.5, 0.5, 0.5))


@repeatable
@given(
    rotation=st.floats(-3, 3),
    scale=st.floats(0.5, 2.0),
    flip_x=st.booleans(),
    flip_y=st.booleans(),
    yaw=st.floats(-3, 3),
)
def test_boxes_move_with_the_points_inside_them(rotation, scale, flip_x, flip_y, yaw):
    matrix = bev_matrix(rotation, scale, flip_x, flip_y)
    boxes = boxes_of([*BOX[:6], yaw, *BOX[7:]])
    moved = move_boxes(boxes, matrix)
    corners = boxes.corners[0].double().numpy() @ matrix[:3, :3].T
    # As sets: a mirror exchanges left and right corners.
    order = np.lexsort(corners.round(2).T)
    np.testing.assert_allclose(
        np.sort(corners[order], axis=0), np.sort(moved.corners[0].numpy(), axis=0), atol=1e-3
    )
    front = boxes.gravity_center[0].numpy() + 2 * np.array([np.cos(yaw), np.sin(yaw), 0])
    heading = moved.tensor[0, 6].item()
    moved_front = moved.gravity_center[0].numpy() + scale * 2 * np.array(
        [np.cos(heading), np.sin(heading), 0]
    )
    np.testing.assert_allclose(matrix[:3, :3] @ front, moved_front, atol=1e-4)


@repeatable
@given(rotation=st.floats(-3, 3), scale=st.floats(0.5, 2.0), flip=st.booleans())
def test_a_box_one_second_later_is_where_the_moved_velocity_says(rotation, scale, flip):
    matrix = bev_matrix(rotation, scale, flip, False)
    later = [BOX[0] + BOX[7], BOX[1] + BOX[8], *BOX[2:]]
    now, then = move_boxes(boxes_of(BOX, later), matrix).tensor
    np.testing.assert_allclose((then - now)[:2], now[7:9], atol=1e-4)


def test_flip_x_exchanges_front_and_rear_and_flip_y_left_and_right():
    front_left = np.array([3.0, 1.0, 0.5, 1.0])
    np.testing.assert_allclose(bev_matrix(0, 1, True, False) @ front_left, [-3, 1, 0.5, 1])
    np.testing.assert_allclose(bev_matrix(0, 1, False, True) @ front_left, [3, -1, 0.5, 1])


def test_the_transform_moves_boxes_by_the_matrix_it_returns():
    np.random.seed(0)
    boxes = boxes_of(BOX)
    results = {"ann_info": {"gt_bboxes_3d": boxes, "other": 1}, "bev_aug": np.eye(4)}
    after = BEVAugmentation()(results)
    expected = (after["bev_aug"] @ [*BOX[:3], 1])[:3]
    np.testing.assert_allclose(
        after["ann_info"]["gt_bboxes_3d"].gravity_center[0], expected, atol=1e-5
    )
    # The input is left as it was.
    np.testing.assert_allclose(boxes.gravity_center[0], BOX[:3], atol=1e-6)
    assert (results["bev_aug"] == np.eye(4)).all()


def test_draws_stay_within_the_ranges_and_use_them():
    np.random.seed(0)
    transform = BEVAugmentation(rot=(-22.5, 22.5), scale=(0.95, 1.05), flip_x=0.0, flip_y=0.5)
    matrices = np.stack([transform.draw() for _ in range(300)])
    scales = np.abs(np.linalg.det(matrices[:, :3, :3])) ** (1 / 3)
    assert 0.95 <= scales.min() < 0.955 and 1.045 < scales.max() <= 1.05
    angles = np.rad2deg(np.arctan2(matrices[:, 0, 1], matrices[:, 0, 0]))
    assert -22.5 <= angles.min() < -20 and 20 < angles.max() <= 22.5
    mirrored = np.linalg.det(matrices[:, :3, :3]) < 0
    assert 0.4 < mirrored.mean() < 0.6
    np.testing.assert_array_equal(matrices[:, :3, 3], 0)


def test_no_boxes_stay_no_boxes():
    empty = LiDARInstance3DBoxes(torch.zeros(0, 9), box_dim=9)
    assert move_boxes(empty, bev_matrix(0.1, 1.0, True, True)).tensor.shape == (0, 9)


def test_boxes_without_velocity_keep_their_seven_numbers():
    seven = LiDARInstance3DBoxes(torch.tensor([BOX[:7]]), origin=(0.5, 0.5, 0.5))
    moved = move_boxes(seven, bev_matrix(np.pi / 2, 1.0, False, False))
    assert moved.tensor.shape == (1, 7)
    assert moved.tensor[0, 6].item() == pytest.approx(0.3 + np.pi / 2, abs=1e-5)
