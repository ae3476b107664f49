"""What a camera and the LiDAR see."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from bevdepth_plus.synthetic.lidar import scan
from bevdepth_plus.synthetic.mesh import Mesh, MeshBuilder, merged
from bevdepth_plus.synthetic.render import CameraView, exact_depth, find_visible
from bevdepth_plus.synthetic.rig import nuscenes_rig
from bevdepth_plus.synthetic.scene import build_scene
from bevdepth_plus.synthetic.studio import ego_matrix

# looks along world x from 1.5 m above the ground; 100 px focal length
POSE = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
VIEW = CameraView(np.array([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]]), 100, 80, POSE)


def _wall(x: float, half: float = 1.0, owner: int = 0) -> Mesh:
    """A square wall across x, centred on the camera's axis."""
    b = MeshBuilder()
    b.face(
        [
            (x, -half, 1.5 - half),
            (x, half, 1.5 - half),
            (x, half, 1.5 + half),
            (x, -half, 1.5 + half),
        ],
        (1, 1, 1),
    )
    return b.build().placed(0, 0, 0, owner)


def test_a_wall_covers_exactly_the_pixels_whose_centres_it_hides() -> None:
    visibility = find_visible(_wall(10.0), VIEW, objects=1, samples=1)
    expected = np.zeros((80, 100), bool)
    expected[30:50, 40:60] = True  # 2 m at 10 m and 100 px is 20 px
    np.testing.assert_array_equal(visibility.faces == 0, expected)
    np.testing.assert_allclose(visibility.inverse_depth[expected], 0.1)


def test_the_nearer_wall_hides_the_farther_one_in_either_order() -> None:
    for order in (1, -1):
        walls = [_wall(10.0, 1.0, 0), _wall(20.0, 4.0, 1)][::order]
        visibility = find_visible(merged(walls), VIEW, objects=2)
        assert visibility.unoccluded.tolist() == [4 * 400, 4 * 1600]
        assert visibility.visible.tolist() == [4 * 400, 4 * 1200]


def test_depth_is_measured_along_the_optical_axis() -> None:
    depth = exact_depth(_wall(10.0), VIEW)
    np.testing.assert_allclose(depth[30:50, 40:60], 10.0)
    row = np.arange(70, 80) + 0.5
    np.testing.assert_allclose(depth[70:, 3], 1.5 * 100 / (row - 40))  # the ground
    assert (depth[:20] == 0).all()  # sky


def test_a_wall_that_reaches_behind_the_camera_is_cut_not_mirrored() -> None:
    b = MeshBuilder()
    b.face([(-20, 2, 0), (20, 2, 0), (20, 2, 3), (-20, 2, 3)], (1, 1, 1))
    depth = exact_depth(b.build(), VIEW)
    visible = find_visible(b.build(), VIEW, objects=0, samples=1).faces == 0
    columns = np.flatnonzero(visible.any(axis=0))
    assert columns.max() == 39  # 2 m left at 20 m
    np.testing.assert_allclose(depth[40, :39], 2 * 100 / (50 - np.arange(39) - 0.5))


def test_pixels_of_an_object_lie_inside_its_projected_box() -> None:
    scene = build_scene("scene-0061", 0, 3)
    pose = ego_matrix(scene, 0.5)
    mesh = scene.mesh_at(0.5, pose[:3, 3], 130.0)
    checked = 0
    for camera in nuscenes_rig((400, 225)).cameras:
        view = CameraView(camera.intrinsics, 400, 225, pose @ camera.ego_T_cam)
        visibility = find_visible(mesh, view, len(scene.objects), samples=1)
        owners = np.append(mesh.owners, -1)[visibility.faces]
        for number in np.unique(owners[owners >= 0]):
            item = scene.objects[number]
            x, y, yaw = item.pose(scene.road, 0.5)
            signs = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (0, 2)])
            local = signs * np.array(item.size) / 2
            c, s = np.cos(yaw), np.sin(yaw)
            world = local @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + [x, y, 0]
            seen = (world - view.world_T_cam[:3, 3]) @ view.world_T_cam[:3, :3]
            if seen[:, 2].min() < 0.2:
                continue
            pixels = (seen @ camera.intrinsics.T)[:, :2] / seen[:, 2:]
            hull = cv2.convexHull(pixels.astype(np.float32))
            rows, columns = np.nonzero(owners == number)
            outside = [
                cv2.pointPolygonTest(hull, (float(u) + 0.5, float(v) + 0.5), True)
                for u, v in zip(columns, rows, strict=True)
            ]
            assert min(outside) > -0.01
            checked += 1
    assert checked > 20


def test_lidar_ranges_match_the_geometry() -> None:
    pose = np.eye(4)
    pose[2, 3] = 1.8
    cloud = scan(_wall(10.0, 3.0), pose, np.random.default_rng(0))
    wall = (np.abs(cloud[:, 0] - 10) < 0.1) & (np.abs(cloud[:, 1]) < 2.9) & (cloud[:, 2] > -1.7)
    assert wall.sum() > 100
    # a beam gains range noise along itself, so x keeps within five sigma of the wall
    assert np.abs(cloud[wall, 0] - 10).max() < 0.05
    ground = ~wall & (cloud[:, 0] < 0)
    np.testing.assert_allclose(cloud[ground, 2], -1.8, atol=0.05)


def test_lidar_sees_through_no_wall() -> None:
    pose = np.eye(4)
    pose[2, 3] = 1.8
    cloud = scan(merged([_wall(10.0, 3.0), _wall(20.0, 5.0)]), pose, np.random.default_rng(0))
    direct = (np.abs(cloud[:, 1] / cloud[:, 0]) < 0.25) & (cloud[:, 0] > 0)
    level = direct & (np.abs(cloud[:, 2] / cloud[:, 0]) < 0.1)
    assert level.sum() > 50
    assert cloud[level, 0].max() < 10.1


def test_rings_run_from_the_lowest_beam_to_the_highest() -> None:
    pose = np.eye(4)
    pose[2, 3] = 1.8
    cloud = scan(_wall(5.0, 2.0), pose, np.random.default_rng(0))
    elevation = np.arctan2(cloud[:, 2], np.hypot(cloud[:, 0], cloud[:, 1]))
    means = [np.degrees(elevation[cloud[:, 4] == r].mean()) for r in (0, 10, 20)]
    assert means == pytest.approx([-30.67, -17.33, -4.0], abs=0.1)
