from __future__ import annotations

import numpy as np
import pytest

from bevdepth_plus.visualization.projection import clip_to_image, project_boxes, project_points


def test_a_box_ahead_shows_its_faces_where_the_pinhole_puts_them(make):
    # 10 m ahead, 2 m deep: near face at 9 m (+-1 m -> 200/9 px), far face at 11 m.
    ahead = make.boxes([10, 0, 0, 2, 2, 2, 0])
    (box,) = project_boxes(ahead, make.camera())
    low, high = box.segments.min(axis=(0, 1)), box.segments.max(axis=(0, 1))
    np.testing.assert_allclose(low, [200 - 200 / 9, 100 - 200 / 9])
    np.testing.assert_allclose(high, [200 + 200 / 9, 100 + 200 / 9])
    # The front face looks away from the camera: it is the far one.
    np.testing.assert_allclose(np.ptp(box.front, axis=0), 2 * 200 / 11)
    assert len(box.segments) == 12
    assert box.depth == pytest.approx(10)


def test_a_box_that_comes_towards_the_camera_has_its_front_near(make):
    (box,) = project_boxes(make.boxes([10, 0, 0, 2, 2, 2, np.pi]), make.camera())
    np.testing.assert_allclose(np.ptp(box.front, axis=0), 2 * 200 / 9)


def test_a_box_to_the_left_lies_left_in_the_image(make):
    (box,) = project_boxes(make.boxes([10, 3, 0, 1, 1, 1, 0]), make.camera())
    assert (box.segments[..., 0] < 200).all()


@pytest.mark.parametrize("x", [-10.0, -1.5])
def test_a_box_behind_the_camera_does_not_show(make, x):
    assert project_boxes(make.boxes([x, 0, 0, 2, 2, 2, 0]), make.camera()) == []


def test_a_box_beside_the_field_of_view_does_not_show(make):
    assert project_boxes(make.boxes([3, 12, 0, 2, 2, 2, 0]), make.camera()) == []


def test_a_box_half_behind_the_camera_is_cut_not_mirrored(make):
    # A long truck beside the camera, from 8 m behind to 8 m ahead, 2 m to the left.
    (box,) = project_boxes(make.boxes([0, 2, 0, 16, 1, 1, np.pi]), make.camera())
    assert box.front is None  # turned round: its front lies behind the camera
    assert np.isfinite(box.segments).all()
    assert (box.segments[..., 0] < 200).all(), "nothing of it lies to the right"
    assert (box.segments >= 0).all() and (box.segments <= (400, 200)).all()


def test_boxes_come_far_to_near(make):
    boxes = make.boxes([5, 0, 0, 1, 1, 1, 0], [20, 0, 0, 1, 1, 1, 0], [10, 0, 0, 1, 1, 1, 0])
    assert [box.index for box in project_boxes(boxes, make.camera())] == [1, 2, 0]


def test_no_boxes_are_no_boxes(make):
    assert project_boxes(make.boxes(), make.camera()) == []


@pytest.mark.parametrize(
    ("segment", "expected"),
    [
        ([[10, 10], [20, 30]], [[10, 10], [20, 30]]),  # inside
        ([[-10, 50], [10, 50]], [[0, 50], [10, 50]]),  # enters from the left, level
        ([[50, -50], [50, 250]], [[50, 0], [50, 100]]),  # crosses from top to bottom
        ([[-50, -50], [250, 250]], [[0, 0], [100, 100]]),  # corner to corner
    ],
)
def test_segments_are_cut_at_the_rim(segment, expected):
    cut = clip_to_image(np.array([segment], dtype=float), (100, 100))
    np.testing.assert_allclose(cut, [expected])


@pytest.mark.parametrize(
    "segment",
    [[[-10, 50], [-5, 60]], [[-10, -1], [110, -1]], [[-50, 40], [40, -60]], [[30, 120], [90, 101]]],
)
def test_segments_outside_are_dropped(segment):
    assert len(clip_to_image(np.array([segment], dtype=float), (100, 100))) == 0


def test_points_keep_their_depth_and_only_visible_ones_remain(make):
    points = np.array([[10.0, 0.0, 0.0], [-10.0, 0.0, 0.0], [10.0, 50.0, 0.0], [20.0, 1.0, -2.0]])
    pixels, depth = project_points(points, make.camera())
    np.testing.assert_allclose(depth, [10, 20])
    np.testing.assert_allclose(pixels, [[200, 100], [190, 120]])
