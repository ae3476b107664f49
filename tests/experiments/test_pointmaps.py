"""The halves of the scenes, the score of labels, the variants and the tables."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet3d.utils import register_all_modules

import bevdepth_plus.plugin  # noqa: F401
from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.datasets.transforms.dense_depth import depth_picture_path
from bevdepth_plus.geometry.depth_maps import depth_map_points
from bevdepth_plus.geometry.rigid import transform_points
from bevdepth_plus.pointmaps.drives import Drive, Shot
from experiments.pointmaps.halves import HALVES, write_halves
from experiments.pointmaps.labels import label_scores, records_of, write_moving_masks
from experiments.pointmaps.poses import neighbours, pose_errors, pose_of_second
from experiments.pointmaps.run import VARIANTS, network_run, report
from experiments.runner.variants import training_config


def test_the_halves_share_no_scene(synthetic_root, tmp_path):
    from bevdepth_plus.datasets.create_infos import create_info_files

    train, _ = create_info_files(synthetic_root, "v1.0-mini", tmp_path, progress=False)
    content = read_info_file(train)
    whole = content["data_list"]
    for number, info in enumerate(whole):  # the root has one scene for training
        info["scene_token"] = f"scene {number % 3}"
    train.write_bytes(pickle.dumps(content))
    write_halves(tmp_path)
    halves = [read_info_file(tmp_path / name)["data_list"] for name in HALVES]
    first, second = ({info["scene_token"] for info in half} for half in halves)
    assert not first & second
    assert first | second == {info["scene_token"] for info in whole}
    assert sum(map(len, halves)) == len(whole)


@pytest.fixture
def records(synthetic_root, tmp_path, monkeypatch) -> list:
    """The first sample of the validation scenes; labels and masks go to a folder of the test."""
    from bevdepth_plus.datasets.create_infos import create_info_files

    _, val = create_info_files(synthetic_root, "v1.0-mini", tmp_path, progress=False)
    (tmp_path / "samples").symlink_to(synthetic_root / "samples")
    (tmp_path / "depth").symlink_to(synthetic_root / "depth")
    return records_of(tmp_path, val.name)[:1]


def test_labels_that_are_a_tenth_too_far_score_a_tenth(records):
    for record in records:
        for path in record["img_path"]:
            true = cv2.imread(depth_picture_path(path, "depth"), cv2.IMREAD_UNCHANGED)
            label = np.minimum(true * 1.1, 65535).round().astype(np.uint16)
            label[::2] = 0
            place = Path(depth_picture_path(path, "labels"))
            place.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(place), label)
    scores = label_scores(records, "labels")
    assert scores["all"]["abs_rel"] == pytest.approx(0.1, abs=2e-3)
    assert scores["all"]["d1"] == 1
    assert scores["all"]["coverage"] == pytest.approx(0.5, abs=0.05)
    assert scores["stands"]["abs_rel"] == pytest.approx(0.1, abs=2e-3)


def test_masks_leave_out_moving_boxes_alone(records, tmp_path):
    boxes = records[0]["boxes"]
    boxes[:, 7:9] = 0.0
    write_moving_masks(records, tmp_path / "still")
    boxes[:, 7] = 5.0
    write_moving_masks(records, tmp_path / "moving")
    still, moving = (
        [cv2.imread(str(path), 0) for path in sorted((tmp_path / name).rglob("*.png"))]
        for name in ("still", "moving")
    )
    assert len(still) == len(records[0]["img_path"])
    assert all((mask == 255).all() for mask in still)
    assert any((mask == 0).any() for mask in moving)


def test_variants_differ_in_what_teaches_depth():
    register_all_modules()
    configs = {variant.name: training_config(variant, seed=0, steps=5) for variant in VARIANTS}
    datasets = {name: c["train_dataloader"]["dataset"] for name, c in configs.items()}
    assert {dataset["ann_file"] for dataset in datasets.values()} == {HALVES[1]}
    assert datasets["lidar"]["pipeline"]["depth_labels"]["type"] == "LidarDepthMaps"
    labels = datasets["pointmaps"]["pipeline"]["depth_labels"]
    assert labels == dict(type="LoadDenseDepth", folder="pointmap_depth_seed0")
    assert "depth_labels" not in datasets["none"]["pipeline"]
    assert [bool(c["model"]["depth"].get("loss")) for c in configs.values()] == [True, True, False]


def test_the_network_never_sees_the_scenes_of_the_detector(tmp_path):
    config = network_run("data/any", 0, 5, tmp_path).config
    sources = config["train_dataloader"]["dataset"]["sources"]
    assert [source["ann_file"] for source in sources] == [HALVES[0]]


def test_the_report_shows_what_is_measured_and_dashes_for_the_rest():
    scores = dict(all=dict(coverage=0.5, abs_rel=0.2, d1=0.7), moves={}, stands={})
    scores["moves"] = scores["stands"] = dict(coverage=0.0, abs_rel=None, d1=None)
    poses = {"network": [0.5, 0.25], "no motion": [2.0, 1.5], "pairs": 12}
    labels = {"0": {"without masks": scores, "with masks": scores, "poses": poses}}
    text = report({"labels": labels, "summary": {}})
    assert "| without masks, all | 0.500 | 0.200 | 0.700 |" in text
    assert "| without masks, moves | 0.000 | - | - |" in text
    assert "| the network | 0.500 | 0.250 |" in text
    assert "| no motion | 2.000 | 1.500 |" in text
    assert "| LiDAR | - | - | - | - |" in text


def test_exact_points_of_view_2_give_its_pose_though_a_third_is_wrong():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.tensor([[120.0, 0, 64], [0, 120, 32], [0, 0, 1]])
    depth = 4 + 10 * torch.rand(1, 1, 64, 128, generator=generator)
    true = np.eye(4)
    true[:3, :3] = cv2.Rodrigues(np.array([0.02, 0.1, -0.03]))[0]
    true[:3, 3] = (0.3, -0.1, 1.5)
    points = depth_map_points(depth, matrix[None])[0]  # in view 2
    points = transform_points(torch.from_numpy(true).float(), points.flatten(0, 1)).view_as(points)
    wrong = torch.rand(64, 128, generator=generator) < 1 / 3
    points[wrong] += 5 * torch.randn(int(wrong.sum()), 3, generator=generator)
    rotation, position = pose_errors(pose_of_second(points, matrix), true)
    assert rotation < 0.02 and position < 0.02
    assert pose_errors(None, true)[1] == pytest.approx(np.linalg.norm(true[:3, 3]))
    assert pose_errors(None, true)[0] == pytest.approx(np.degrees(np.sqrt(0.0113)), abs=0.01)


def test_pairs_are_of_one_camera_and_leave_out_what_is_missing():
    shots = [
        Shot(Path(f"{moment}{camera}"), np.eye(3), np.eye(4), np.eye(4))
        for moment in range(4)
        for camera in "ab"
    ]
    shots[3] = replace(shots[3], path=None)
    pairs = neighbours(Drive(("a", "b"), tuple(shots)))
    assert [(str(first.path), str(second.path)) for first, second in pairs] == [
        ("0a", "1a"),
        ("2a", "3a"),
        ("2b", "3b"),
    ]
