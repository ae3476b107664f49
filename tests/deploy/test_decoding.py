"""Boxes from maps, beside mmdet3d's CenterHead."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import LiDARInstance3DBoxes
from mmengine.config import Config

import bevdepth_plus.plugin  # noqa: F401
from bevdepth_plus.deploy.decoding import Decoding, circle_suppression, decode

GRID = dict(x=(-25.6, 25.6, 0.8), y=(-25.6, 25.6, 0.8), z=(-5.0, 3.0, 8.0))
PARTS = dict(reg=2, height=1, dim=3, rot=2, vel=2)


@pytest.fixture(scope="module")
def head():
    config = Config.fromfile("configs/bevdepth_r50_256x704_24e.py").model.heads.boxes
    return MODELS.build({**config, "in_channels": 8, "grid": GRID})


def decoding_of(head, **changes) -> Decoding:
    settings = dict(
        classes=tuple(name for names in head.class_names for name in names),
        tasks=tuple(tuple(names) for names in head.class_names),
        lower=(-25.6, -25.6),
        cell=(0.8, 0.8),
        centre_limits=tuple(float(x) for x in head.bbox_coder.post_center_range),
        score_threshold=head.bbox_coder.score_threshold,
        max_candidates=head.bbox_coder.max_num,
        max_boxes=head.test_cfg["post_max_size"],
        radii=tuple(head.test_cfg["min_radius"]),
    )
    return Decoding(**{**settings, **changes})


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
    boxes = decode(
        [{part: value[0].numpy() for part, value in task.items()} for task in maps],
        decoding_of(head),
    )
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
    boxes = decode(maps, decoding_of(head, classes=classes))
    assert boxes.names == ["trailer"] and boxes.labels.tolist() == [0]


def test_a_box_within_the_radius_of_a_better_one_is_dropped():
    centres = np.array([[0.0, 0], [1.9, 0], [2.1, 0], [4.0, 0]])
    assert circle_suppression(centres, radius=4.0, max_boxes=9).tolist() == [0, 2]
    assert circle_suppression(centres, radius=4.0, max_boxes=1).tolist() == [0]


def test_a_dropped_box_drops_no_other():
    centres = np.array([[0.0, 0], [1.5, 0], [3.0, 0]])  # the second is near both
    assert circle_suppression(centres, radius=4.0, max_boxes=9).tolist() == [0, 2]


def test_another_number_of_tasks_or_classes_is_an_error(head):
    maps = [{k: v[0].numpy() for k, v in task.items()} for task in random_maps(head, 0, 1.0)]
    with pytest.raises(ValueError, match="expected maps of 6 tasks, got 5"):
        decode(maps[:5], decoding_of(head))
    with pytest.raises(ValueError, match="task 0 has 1 classes, its heatmap 2 channels"):
        decode([maps[1], *maps[1:]], decoding_of(head))
