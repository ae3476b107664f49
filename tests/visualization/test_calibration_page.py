from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PathCollection

from bevdepth_plus.datasets.create_infos import create_info_files
from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.datasets.nuscenes_dataset import NuScenesBEVDataset
from bevdepth_plus.visualization.calibration_page import draw_calibration, scene_of_info
from bevdepth_plus.visualization.from_config import scene_and_ground_truth
from bevdepth_plus.visualization.projection import project_points


@pytest.fixture(scope="module")
def infos(synthetic_root: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("infos")
    return create_info_files(synthetic_root, "v1.0-mini", folder, progress=False)[0]


@pytest.fixture(scope="module")
def drawn(infos: Path, synthetic_root: Path):
    content = read_info_file(infos)
    info = content["data_list"][0]
    folders = {name: str(synthetic_root / "samples" / name) for name in info["images"]}
    lidar_folder = str(synthetic_root / "samples" / "LIDAR_TOP")
    return scene_of_info(info, content["metainfo"]["categories"], folders, lidar_folder)


def test_it_is_the_scene_that_training_sees(drawn, infos, synthetic_root):
    scene, ground_truth = drawn
    dataset = NuScenesBEVDataset(str(infos), data_root=str(synthetic_root))
    expected, boxes = scene_and_ground_truth(dataset, 0, "")
    assert [camera.name for camera in scene.cameras] == [c.name for c in expected.cameras]
    for camera, other in zip(scene.cameras, expected.cameras, strict=True):
        np.testing.assert_array_equal(camera.image, other.image)
        np.testing.assert_allclose(camera.ego_T_cam, other.ego_T_cam)
    np.testing.assert_array_equal(scene.points, expected.points)
    assert ground_truth.names == boxes.names and len(ground_truth) > 0
    np.testing.assert_allclose(ground_truth.numbers[:, :6], boxes.numbers[:, :6], atol=1e-5)


def test_every_camera_shows_its_lidar_points_coloured_by_depth(drawn):
    scene, ground_truth = drawn
    page = draw_calibration(scene, ground_truth)
    panels = {axes.get_label(): axes for axes in page.figure.axes}
    for camera in scene.cameras:
        (points,) = [c for c in panels[camera.name].collections if isinstance(c, PathCollection)]
        pixels, depth = project_points(scene.points, camera)
        order = np.argsort(-depth, kind="stable")
        np.testing.assert_allclose(points.get_offsets(), pixels[order])
        np.testing.assert_allclose(points.get_array(), depth[order])
