"""What exists in a scene."""

from __future__ import annotations

import numpy as np
import pytest

from bevdepth_plus.classes import CATEGORY_TO_CLASS, CLASSES
from bevdepth_plus.synthetic.looks import object_mesh
from bevdepth_plus.synthetic.palette import HEAD_LAMP, TAIL_LAMP
from bevdepth_plus.synthetic.planner import EGO_CENTRE, EGO_SIZE
from bevdepth_plus.synthetic.scene import Scene, build_scene
from bevdepth_plus.synthetic.taxonomy import ATTRIBUTES, CATEGORIES, CLASS_CATEGORY, CLASS_SIZE


@pytest.fixture(scope="module")
def scene() -> Scene:
    return build_scene("scene-0061", seed=0, keyframes=8)


@pytest.mark.parametrize("class_name", CLASSES)
@pytest.mark.parametrize("active", [True, False])
def test_a_mesh_fills_its_box_exactly(class_name: str, active: bool) -> None:
    size = CLASS_SIZE[class_name]
    low, high = object_mesh(class_name, size, active, np.random.default_rng(1)).extent()
    np.testing.assert_allclose(high - low, size, atol=1e-9)
    np.testing.assert_allclose((high + low)[:2], 0, atol=1e-9)
    assert low[2] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("class_name", CLASSES)
def test_faces_are_flat_and_convex(class_name: str) -> None:
    for seed in range(4):
        mesh = object_mesh(class_name, CLASS_SIZE[class_name], True, np.random.default_rng(seed))
        for points, count in zip(mesh.vertices, mesh.counts, strict=True):
            edges = np.roll(points[:count], -1, axis=0) - points[:count]
            turns = np.cross(edges, np.roll(edges, -1, axis=0))
            normal = turns.sum(axis=0)
            assert np.linalg.norm(normal) > 0
            assert (turns @ normal >= -1e-9).all()
            distance = (points[:count] - points[0]) @ normal / np.linalg.norm(normal)
            np.testing.assert_allclose(distance, 0, atol=1e-9)


def test_a_cars_head_lamps_are_in_front_and_its_tail_lamps_behind() -> None:
    for class_name in ("car", "truck", "bus", "bicycle", "motorcycle"):
        size = CLASS_SIZE[class_name]
        mesh = object_mesh(class_name, size, False, np.random.default_rng(0))
        x = mesh.vertices[:, 0, 0]
        assert (x[(mesh.colours == HEAD_LAMP).all(axis=1)] > size[0] / 4).all()
        assert (x[(mesh.colours == TAIL_LAMP).all(axis=1)] < -size[0] / 4).all()


def test_every_class_occurs(scene: Scene) -> None:
    assert {item.class_name for item in scene.objects} == set(CLASSES)


def test_our_categories_and_attributes_are_nuscenes_own(scene: Scene) -> None:
    assert len(CATEGORIES) == 23 and len(ATTRIBUTES) == 8
    for class_name, category in CLASS_CATEGORY.items():
        assert category in CATEGORIES
        assert CATEGORY_TO_CLASS[category] == class_name
    for item in scene.objects:
        assert item.attribute(1.0) in (*ATTRIBUTES, "")


def _corners(
    x: float, y: float, yaw: float, size: tuple[float, float], ahead: float = 0.0
) -> np.ndarray:
    local = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * np.array(size) / 2 + [ahead, 0]
    turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
    return local @ turn.T + [x, y]


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    for box in (a, b):
        for edge in (box[1] - box[0], box[2] - box[1]):
            pa, pb = a @ edge, b @ edge
            if pa.max() <= pb.min() or pb.max() <= pa.min():
                return False
    return True


def test_nothing_ever_overlaps_anything_nor_the_ego_vehicle(scene: Scene) -> None:
    for t in np.arange(0, 3.51, 0.1):
        (x, y, _), (yaw, _, _) = scene.ego_pose(t)
        boxes = [_corners(x, y, yaw, EGO_SIZE, EGO_CENTRE)]
        boxes += [_corners(*item.pose(scene.road, t), item.size[:2]) for item in scene.objects]
        centres = np.array([b.mean(axis=0) for b in boxes])
        for i in range(len(boxes)):
            for j in range(i + 1, len(boxes)):
                if np.abs(centres[i] - centres[j]).max() < 16:
                    assert not _overlap(boxes[i], boxes[j]), (t, i, j)


def test_vehicles_face_where_they_drive(scene: Scene) -> None:
    moving = 0
    for item in scene.objects:
        if item.flow.speed(1.0) < 0.5:
            continue
        before, after = (np.array(item.pose(scene.road, t)) for t in (0.99, 1.01))
        heading = np.arctan2(*(after - before)[1::-1])
        yaw = item.pose(scene.road, 1.0)[2]
        assert abs((heading - yaw + np.pi) % (2 * np.pi) - np.pi) < 0.05
        moving += 1
    assert moving > 20


def test_the_ego_path_turns() -> None:
    turned = []
    for name in ("scene-0061", "scene-0103", "scene-0553"):
        scene = build_scene(name, 0, 20)
        turned.append(abs(scene.ego_pose(9.5)[1][0] - scene.ego_pose(0.0)[1][0]))
    assert max(turned) > 0.2


def test_two_seeds_give_different_scenes() -> None:
    sizes = [build_scene("scene-0061", seed, 2).objects[0].size for seed in (0, 0, 1)]
    assert sizes[0] == sizes[1] != sizes[2]
