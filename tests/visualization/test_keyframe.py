"""The real key frame: what is drawn must agree with what mmdet3d computed for it."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from bevdepth_plus.classes import CLASSES
from bevdepth_plus.visualization.projection import project_boxes
from bevdepth_plus.visualization.scene import Boxes, Scene, hit_by_points

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def info_file(shared_dir) -> Path:
    return next((shared_dir / "nuscenes_keyframe").glob("*.pkl"))


@pytest.fixture(scope="module")
def keyframe(info_file) -> tuple[Scene, Boxes]:
    from bevdepth_plus.datasets.nuscenes_dataset import NuScenesBEVDataset
    from bevdepth_plus.visualization.from_config import scene_and_ground_truth

    dataset = NuScenesBEVDataset(
        ann_file=info_file.name,
        data_root=str(info_file.parent),
        data_prefix={"pts": "", "img": ""},
        test_mode=True,
    )
    return scene_and_ground_truth(dataset, 0, "key frame")


def test_projected_boxes_lie_in_the_image_rectangles_of_mmdet3d(keyframe, info_file):
    scene, ground_truth = keyframe
    recorded = pickle.loads(info_file.read_bytes())["data_list"][0]["cam_instances"]
    compared = 0
    for camera in scene.cameras:
        shown = [box for box in project_boxes(ground_truth, camera) if box.front is not None]
        rectangles = np.array(
            [[*b.segments.min(axis=(0, 1)), *b.segments.max(axis=(0, 1))] for b in shown]
        )
        for instance in recorded[camera.name]:
            if instance["depth"] < 5:
                continue  # cut by the image's rim in another way than there
            names = [ground_truth.names[box.index] for box in shown]
            same = np.array([name == CLASSES[instance["bbox_label_3d"]] for name in names])
            distance = np.abs(rectangles - instance["bbox"]).max(axis=1)
            # There the box stands upright in the world, here in the car, which leans 0.02 rad.
            left, top, right, bottom = instance["bbox"]
            allowed = 2 + 0.03 * max(right - left, bottom - top)
            assert distance[same].min() < allowed, (camera.name, instance["bbox"])
            compared += 1
    assert compared > 60


def test_most_boxes_hold_lidar_points(keyframe):
    scene, ground_truth = keyframe
    assert hit_by_points(ground_truth, scene.points).sum() >= 60


@pytest.mark.slow
def test_the_tool_draws_the_key_frame(shared_dir, info_file, tmp_path):
    run = subprocess.run(
        [
            *(sys.executable, str(ROOT / "tools" / "visualize.py")),
            *(str(ROOT / "configs" / "keyframe.py"), "--out", str(tmp_path), "--depth"),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "BEVDEPTH_PLUS_SHARED": str(shared_dir)},
        check=False,
    )
    assert run.returncode == 0, run.stderr
    token = "ca9a282c9e77460f8360f564131a8af5"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{token}.png",
        f"{token}_depth.png",
    ]
    assert cv2.imread(str(tmp_path / f"{token}.png")).shape[1] == 1920
