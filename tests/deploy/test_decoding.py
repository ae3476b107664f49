"""Boxes from maps, beside mmdet3d's CenterHead."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import LiDARInstance3DBoxes
from mmengine.config import Config

import bevdepth_plus.plugin  # noqa: F401
from bevdepth_plus.deploy.decoding import circle_suppression, decode
from bevdepth_plus.deploy.description import Decoding
from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.grid_axes import GridAxes

GRID = dict(x=(-25.6, 25.6, 0.8), y=(-25.6, 25.6, 0.8), z=(-5.0, 3.0, 8.0))
PARTS = dict(reg=2, height=1, dim=3, rot=2, vel=2)


@pytest.fixture(scope="module")
def head():
    config = Config.fromfile("configs/bevdepth_r50_256x704_24e.py").model.heads.boxes
    return MODELS.build({**config, "in_channels": 8, "grid": GRID})


def model_of(head, classes=None) -> SimpleNamespace:
    """What `decode` reads of a ModelDescription."""
    decoding = Decoding(
        nms_type="circle",
        squared_radii=tuple(head.test_cfg["min_radius"]),
        max_per_task=head.test_cfg["post_max_size"],
        num_candidates=head.bbox_coder.max_num,
        score_threshold=head.bbox_coder.score_threshold,
        centre_limits=tuple(float(x) for x in head.bbox_coder.post_center_range),
        log_sizes=True,
    )
    tasks = tuple(tuple(names) for names in head.class_names)
    names = tuple(name for names in tasks for name in names)
    return SimpleNamespace(
        config="a config",
        classes=classes or names,
        tasks=tasks,
        grid=GridAxes(**GRID),
        decoding=decoding,
    )


def named(maps) -> dict[str, np.ndarray]:
    return {
        f"task{index}.{part}": np.asarray(value).reshape(value.shape[-3:])
        for index, task in enumerate(maps)
        for part, value in task.items()
    }


def random_maps(head, seed: int, spread: float) -> list[dict[str, torch.Tensor]]:
    """Logits with few values above the threshold, or many."""
    generator = torch.Generator().manual_seed(seed)
    maps = []
    for names in head.class_names:
        task = {
            part: torch.randn(1, channels, 64, 64, generator=generator)
            for part, channels in PARTS.items()
        }
        heatmap = torch.randn(1, len(names), 64, 64, generator=generator)
        maps.append(task | {"heatmap": heatmap * spread - 4.0})
    return maps


@pytest.mark.parametrize("spread", [0.2, 1.0, 3.0])
def test_boxes_are_those_of_mmdet3d(head, spread):
    maps = random_maps(head, seed=0, spread=spread)
    expected = MODELS.get("CenterHead").predict_by_feat(
        head, tuple([task] for task in maps), [dict(box_type_3d=LiDARInstance3DBoxes)]
    )[0]
    boxes = decode(named(maps), model_of(head))
    assert (len(boxes) == 0) == (spread == 0.2)
    assert len(boxes) == len(expected.scores_3d)
    assert boxes.labels.tolist() == expected.labels_3d.tolist()
    np.testing.assert_allclose(boxes.scores, expected.scores_3d, atol=1e-7)
    np.testing.assert_allclose(
        boxes.centres, expected.bboxes_3d.gravity_center, atol=2e-6, rtol=1e-6
    )
    np.testing.assert_allclose(boxes.as_array()[:, 3:], expected.bboxes_3d.tensor[:, 3:], rtol=2e-6)


def test_a_label_is_the_place_of_its_class_in_the_list_of_classes(head):
    maps = [
        {
            part: np.full((n, 64, 64), -9.0, "f4")
            for part, n in {**PARTS, "heatmap": len(names)}.items()
        }
        for names in head.class_names
    ]
    maps[2]["heatmap"][1, 5, 7] = 3.0  # trailer
    classes = ("trailer", *(n for names in head.class_names for n in names if n != "trailer"))
    boxes = decode(named(maps), model_of(head, classes))
    assert boxes.names == ["trailer"] and boxes.labels.tolist() == [0]


def test_a_box_within_the_radius_of_a_better_one_is_dropped():
    centres = np.array([[0.0, 0], [1.9, 0], [2.1, 0], [4.0, 0]])
    assert circle_suppression(centres, radius=4.0, max_boxes=9).tolist() == [0, 2]
    assert circle_suppression(centres, radius=4.0, max_boxes=1).tolist() == [0]


def test_a_dropped_box_drops_no_other():
    centres = np.array([[0.0, 0], [1.5, 0], [3.0, 0]])  # the second is near both
    assert circle_suppression(centres, radius=4.0, max_boxes=9).tolist() == [0, 2]


def test_missing_maps_and_another_number_of_classes_are_errors(head):
    maps = named(random_maps(head, 0, 1.0))
    with pytest.raises(ValueError, match="the model has 6 tasks, task 5 has no maps"):
        decode({k: v for k, v in maps.items() if "task5" not in k}, model_of(head))
    with pytest.raises(ValueError, match="task 0 has 1 classes, its heatmap 2 channels"):
        decode({**maps, "task0.heatmap": maps["task1.heatmap"]}, model_of(head))


def test_a_model_without_boxes_or_with_another_suppression_says_so(head):
    model = model_of(head)
    with pytest.raises(DataError, match="a config: the model has no box head"):
        decode({}, SimpleNamespace(**{**vars(model), "decoding": None}))
    rotated = replace(model.decoding, nms_type="rotate")
    with pytest.raises(DataError, match="nms_type 'circle' alone, the model has 'rotate'"):
        decode({}, SimpleNamespace(**{**vars(model), "decoding": rotated}))
