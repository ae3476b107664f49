from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest

from bevdepth_plus.classes import CLASSES
from bevdepth_plus.evaluation.coverage import count_uncovered
from bevdepth_plus.evaluation.metric import NuScenesBEVMetric

# Looks along +x of the LiDAR frame.
LIDAR2CAM = [[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
AHEAD, BEHIND, LEFT, RIM = [10.0, 0, 0], [-10.0, 0, 0], [0.0, 10, 0], [10.0, 8.1, 0]


def camera(**changes) -> dict:
    cam2img = [[100.0, 0, 80], [0, 100, 45], [0, 0, 1]]
    return dict(lidar2cam=LIDAR2CAM, cam2img=cam2img, width=160, height=90) | changes


def info_of(*centres: list[float], **changes) -> dict:
    back = (np.array(LIDAR2CAM) @ np.diag([-1.0, -1.0, 1.0, 1.0])).tolist()
    return {
        "token": "a",
        "images": {"FRONT": camera(**changes), "BACK": camera(lidar2cam=back)},
        "instances": [
            {"bbox_3d": [*centre, 4, 2, 1.5, 0], "bbox_label_3d": 0, "num_lidar_pts": 1}
            for centre in centres
        ],
    }


def test_boxes_are_counted_where_no_camera_has_their_centre():
    info = info_of(AHEAD, BEHIND, LEFT, RIM)
    assert count_uncovered(info, ["FRONT"]) == (3, 4)
    assert count_uncovered(info, ["FRONT", "BACK"]) == (2, 4)


def test_boxes_that_are_not_scored_do_not_count():
    info = info_of(AHEAD, BEHIND, BEHIND)
    info["instances"][1]["bbox_label_3d"] = -1
    info["instances"][2]["num_lidar_pts"] = 0
    assert count_uncovered(info, ["FRONT"]) == (0, 1)


def test_a_camera_of_unknown_size_sees_everything():
    info = info_of(BEHIND)
    del info["images"]["FRONT"]["width"]
    assert count_uncovered(info, ["FRONT"]) == (0, 1)


@pytest.mark.parametrize(
    ("mask", "noted"), [([[True, True]], False), ([[True, False]], True), (None, False)]
)
def test_the_report_says_when_many_boxes_are_out_of_sight(tiny_dataset, tmp_path, mask, noted):
    import torch
    from mmdet3d.structures import LiDARInstance3DBoxes

    seen = info_of(AHEAD, BEHIND, AHEAD)
    infos = [{**copy.deepcopy(tiny_dataset.infos[0]), "images": seen["images"]}]
    for instance, (x, y, z) in zip(infos[0]["instances"], [AHEAD, BEHIND] * 50, strict=False):
        instance["bbox_3d"][:3] = [x, y, z]
    categories = {name: label for label, name in enumerate(CLASSES)}
    metainfo = {"info_version": "1.1", "version": "v1.0-mini", "categories": categories}
    path = tmp_path / "infos.pkl"
    path.write_bytes(pickle.dumps({"metainfo": metainfo, "data_list": infos}))
    found = dict(
        bboxes_3d=LiDARInstance3DBoxes(torch.zeros(0, 9), box_dim=9),
        scores_3d=torch.zeros(0),
        labels_3d=torch.zeros(0, dtype=torch.long),
    )
    sample = {
        "token": infos[0]["token"],
        "pred_instances_3d": found,
        "cam_names": ["FRONT", "BACK"],
    }
    if mask is not None:
        sample["camera_mask"] = np.array(mask)
    metric = NuScenesBEVMetric(path, out_dir=tmp_path)
    metric.process(None, [sample])
    metric.evaluate(1)
    notes = json.loads((tmp_path / "metrics.json").read_text())["notes"]
    assert any("centre in no camera's image" in note for note in notes) == noted
