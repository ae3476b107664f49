"""Somebody's own classes through the whole loop: training, validation, tables, pictures."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import cv2
import pytest

CLASSES = ["cyclist", "van", "tram", "pedestrian"]
CATEGORIES = {"van": 3, "cyclist": 1, "pedestrian": 8, "tram": 5, "animal": -1}  # gaps, any order

OWN = """
_base_ = ["{base}"]
classes = {classes}
data_root = "{root}"
own = dict(metainfo=dict(classes=classes), data_root=data_root)
model = dict(
    depth=dict(depth_net=dict(use_dcn=False)), heads=dict(boxes=dict(tasks=None))
)
train_dataloader = dict(dataset=own)
val_dataloader = dict(dataset=own)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + "/bevdepth_plus_infos_val.pkl")
test_evaluator = val_evaluator
train_cfg = dict(max_iters=2, val_interval=2)
"""


@pytest.fixture(scope="module")
def own_config(tiny_config, tmp_path_factory) -> Path:
    """The tiny data set with other class names and labels, without attributes; no tram in it."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "samples").symlink_to(tiny_config.parent / "samples")
    labels = [CATEGORIES[name] for name in ("van", "cyclist", "pedestrian")]
    for split in ("train", "val"):
        name = f"bevdepth_plus_infos_{split}.pkl"
        content = pickle.loads((tiny_config.parent / name).read_bytes())
        content["metainfo"]["categories"] = CATEGORIES
        for info in content["data_list"]:
            for index, instance in enumerate(info["instances"]):
                instance["bbox_label_3d"] = instance["bbox_label"] = labels[index % 3]
                instance["attribute"] = ""
        (folder / name).write_bytes(pickle.dumps(content))
    config = folder / "own.py"
    config.write_text(OWN.format(base=tiny_config, root=folder, classes=CLASSES))
    return config


@pytest.fixture(scope="module")
def work_dir(own_config, run_tool, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    result = run_tool("train.py", own_config, "--work-dir", folder)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "no object to train on of class tram" in result.stdout + result.stderr
    assert "AP/van" in result.stdout + result.stderr
    return folder


def test_own_classes_are_trained_and_scored_by_name(own_config, work_dir, run_tool, tmp_path):
    result = run_tool("test.py", own_config, work_dir / "iter_2.pth", "--work-dir", tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert list(report["per_class"]) == CLASSES
    assert report["per_class"]["van"]["range"] == 51.2  # half of the grid
    assert report["per_class"]["tram"]["num_ground_truth"] == 0
    assert any("no ground truth of tram" in note for note in report["notes"])
    assert any("attr_err is undefined" in note for note in report["notes"])


def test_pictures_name_own_classes(own_config, work_dir, run_tool, tmp_path):
    result = run_tool(
        "visualize.py", own_config, work_dir / "iter_2.pth", "--out", tmp_path, "--samples", "1",
        "--score-thr", "0",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    (picture,) = tmp_path.glob("*.png")
    assert cv2.imread(str(picture)).shape[1] == 1920


def refused(run_tool, config: Path, tmp_path: Path, *options: str) -> str:
    result = run_tool("train.py", config, "--work-dir", tmp_path, "--cfg-options", *options)
    assert result.returncode == 2, result.stderr[-3000:]
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("*.pth")), "it was refused after training"
    return result.stderr.strip().splitlines()[-1]


def test_a_class_without_an_evaluation_range_is_refused_before_training(
    own_config, run_tool, tmp_path
):
    line = refused(run_tool, own_config, tmp_path, "val_evaluator.class_range.cyclists=40.0")
    assert "names 'cyclists', which is not scored; did you mean 'cyclist'?" in line


def test_ground_truth_that_cannot_be_scored_is_refused_before_training(
    own_config, run_tool, tmp_path
):
    content = pickle.loads((own_config.parent / "bevdepth_plus_infos_val.pkl").read_bytes())
    content["data_list"][1]["instances"][0]["global_box"]["size"] = [0, 0, 0]
    bad = tmp_path / "bad.pkl"
    bad.write_bytes(pickle.dumps(content))
    line = refused(run_tool, own_config, tmp_path, f"val_evaluator.ann_file={bad}")
    assert "instances[0]" in line and "size must be above 0 m" in line
