from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bevdepth_plus.deploy.recordings.outlines import box_corners, class_colours, outlines_in_image
from bevdepth_plus.geometry.boxes import box_corners as corners_of_geometry
from bevdepth_plus.rigs.distortion import project
from bevdepth_plus.rigs.rig import Distortion


def test_corners_are_those_of_the_geometry_package(boxes):
    theirs = corners_of_geometry(torch.from_numpy(boxes.as_array()[:, :7])).numpy()
    ours = box_corners(boxes)
    for mine, other in zip(ours, theirs, strict=True):
        order = np.lexsort(np.round(mine, 6).T), np.lexsort(np.round(other, 6).T)
        np.testing.assert_allclose(mine[order[0]], other[order[1]], atol=1e-9)
    front = ours[:, :4].mean(axis=1) - boxes.centres
    np.testing.assert_allclose(np.arctan2(front[:, 1], front[:, 0]), boxes.yaws, atol=1e-9)


def test_a_box_is_drawn_in_the_camera_that_sees_it_alone(boxes, rig):
    front = [len(lines) for lines in outlines_in_image(boxes, rig["FRONT"])]
    back = [len(lines) for lines in outlines_in_image(boxes, rig["BACK"])]
    assert front == [14, 14, 0]  # twelve edges and the cross on the front
    assert back == [0, 0, 14]


def test_lines_end_at_the_projected_corners(boxes, rig):
    camera = rig["FRONT"]
    corners = np.concatenate([box_corners(boxes)[0], np.ones((8, 1))], axis=1)
    in_camera = corners @ np.linalg.inv(camera.ego_T_cam).T
    pixels = in_camera[:, :3] @ camera.intrinsics.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    ends = outlines_in_image(boxes, camera)[0].reshape(-1, 2)
    away = np.linalg.norm(ends[:, None] - pixels[None], axis=-1)
    assert away.min(axis=1).max() < 1e-6
    assert away.min(axis=0).max() < 1e-6


def test_what_lies_behind_the_camera_or_outside_the_image_is_cut_off(boxes, rig):
    camera = rig["FRONT"]
    beside = replace(boxes, centres=np.array([[2.0, 1.5, 0.8], [1.6, 9, 1], [-3, 0, 1]]))
    beside = replace(beside, sizes=np.tile([8.0, 2.0, 1.6], (3, 1)), yaws=np.zeros(3))
    outlines = outlines_in_image(beside, camera)
    assert 0 < len(outlines[0]) < 14
    assert [len(lines) for lines in outlines[1:]] == [0, 0]
    assert outlines[0].min() >= -1e-9
    assert (outlines[0] <= np.array([640, 360]) + 1e-9).all()


@pytest.mark.parametrize(
    "lens",
    [
        Distortion("plumb_bob", (-0.35, 0.12, 0.001, -0.001, 0.0)),
        Distortion("fisheye", (-0.02, 0.003, 0.0, 0.0)),
    ],
)
def test_edges_are_bent_as_the_lens_bends_them(boxes, rig, lens):
    camera = replace(rig["FRONT"], distortion=lens)
    lines = outlines_in_image(boxes, camera)[0]
    corner = np.linalg.inv(camera.ego_T_cam) @ np.array([*box_corners(boxes)[0, 0], 1.0])
    [pixel] = project(camera, corner[None, :3])
    assert np.linalg.norm(lines.reshape(-1, 2) - pixel, axis=1).min() < 1e-6
    assert len(lines) == 14 * 8


def test_a_lens_model_beyond_its_angle_paints_nothing(boxes, rig):
    """k1 < 0 turns back at 48 degrees: a box at 60 degrees would land inside the image."""
    camera = replace(rig["FRONT"], distortion=Distortion("plumb_bob", (-0.27, 0, 0, 0)))
    beside = replace(boxes[:1], centres=np.array([[3.5, 3.46, 1.6]]), sizes=np.full((1, 3), 0.1))
    corners = box_corners(beside)[0] @ np.linalg.inv(camera.ego_T_cam)[:3, :3].T
    corners += np.linalg.inv(camera.ego_T_cam)[:3, 3]
    folded = project(camera, corners)
    assert ((folded > 0) & (folded < [640, 360])).all()  # else this shows nothing
    assert len(outlines_in_image(beside, camera)[0]) == 0


def test_no_boxes_give_no_lines(boxes, rig):
    assert outlines_in_image(boxes[:0], rig["FRONT"]) == []
    assert class_colours(np.array([0, 10])).tolist() == [[76, 195, 255]] * 2
