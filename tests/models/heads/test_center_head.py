from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import LiDARInstance3DBoxes
from mmengine.config import Config
from mmengine.structures import InstanceData

from bevdepth_plus.classes import CLASSES
from bevdepth_plus.errors import DataError
from bevdepth_plus.models.heads.center_maps import undo_mirror

REPO = Path(__file__).resolve().parents[3]
BARRIER = CLASSES.index("barrier")
BARRIER_TASK = 3


def ground_truth(label: int, velocity: float = 0.0) -> InstanceData:
    box = torch.tensor([[10.0, 5.0, 0.0, 4.0, 2.0, 1.5, 0.3, velocity, 0.0]])
    return InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(box, box_dim=9, origin=(0.5, 0.5, 0.5)),
        labels_3d=torch.tensor([label]),
    )


def build_head(small_config):
    torch.manual_seed(0)
    config = small_config()
    head = MODELS.build(config["heads"]["boxes"], default_args=dict(grid=config["grid"]))
    head.init_weights()
    return head


def test_a_class_reaches_its_task_by_name_not_by_number(small_config):
    head = build_head(small_config)
    heatmaps, *_ = head.get_targets([head._in_task_order(ground_truth(BARRIER))])
    peaks = [int(heatmap.eq(1).sum()) for heatmap in heatmaps]
    assert peaks == [0, 0, 0, 1, 0, 0]


def test_an_ignored_label_reaches_no_task(small_config):
    head = build_head(small_config)
    heatmaps, *_, masks = head.get_targets([head._in_task_order(ground_truth(-1))])
    assert not any(heatmap.any() for heatmap in heatmaps)
    assert not any(mask.any() for mask in masks)


def test_predicted_labels_are_the_data_sets_own(small_config):
    head = build_head(small_config).eval()
    outputs = head([torch.randn(1, 32, 32, 32)])
    for output in outputs:
        output[0]["heatmap"].fill_(-9.0)
    outputs[BARRIER_TASK][0]["heatmap"][0, 0, 16, 20] = 9.0
    (result,) = head.predict_by_feat(outputs, [dict(box_type_3d=LiDARInstance3DBoxes)])
    assert result.labels_3d.tolist() == [BARRIER]


def test_an_unknown_velocity_is_left_out_of_the_loss(small_config):
    head = build_head(small_config)
    outputs = head([torch.randn(1, 32, 32, 32)])
    losses = head.loss_by_feat(outputs, [ground_truth(0, velocity=float("nan"))])
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())


def test_the_losses_are_mmdet3ds_own_summed_over_tasks(small_config):
    head = build_head(small_config)
    outputs = head([torch.randn(1, 32, 32, 32)])
    gt = ground_truth(BARRIER)
    ours = head.loss_by_feat(outputs, [gt])
    theirs = super(type(head), head).loss_by_feat(outputs, [head._in_task_order(gt)])
    for part in ("heatmap", "bbox"):
        expected = sum(loss for name, loss in theirs.items() if name.endswith(f"loss_{part}"))
        torch.testing.assert_close(ours[f"loss_{part}"], expected, rtol=2e-4, atol=1e-5)


def test_heatmaps_start_at_low_scores(small_config):
    outputs = build_head(small_config)([torch.zeros(1, 32, 32, 32)])
    scores = torch.cat([output[0]["heatmap"].sigmoid() for output in outputs], dim=1)
    assert scores.mean() < 0.2


def own_head(small_config, grid=None, **changes):
    """A head for the classes and grid of somebody's own data."""
    config = small_config()
    head = copy.deepcopy(config["heads"]["boxes"])
    head["bbox_coder"].pop("post_center_range")
    head["test_cfg"].pop("post_max_size")
    return MODELS.build({**head, **changes}, default_args=dict(grid=grid or config["grid"]))


def test_the_official_grid_gives_the_official_limits():
    config = Config.fromfile(REPO / "configs" / "bevdepth_r50_256x704_24e.py").model
    assert "post_center_range" not in config.heads.boxes.bbox_coder
    head = MODELS.build(config.heads.boxes, default_args=dict(grid=config.grid, in_channels=32))
    coder = head.bbox_coder
    assert coder.post_center_range == [-61.2, -61.2, -10.0, 61.2, 61.2, 10.0]
    assert (coder.pc_range, coder.voxel_size) == ((-51.2, -51.2, -5.0), (0.8, 0.8))
    assert (coder.max_num, coder.score_threshold, coder.code_size) == (500, 0.1, 9)
    assert head.test_cfg["post_max_size"] == 83
    assert head.test_cfg["min_radius"] == [4, 12, 10, 1, 0.85, 0.175]
    assert head.train_cfg["point_cloud_range"] == [-51.2, -51.2, -5.0, 51.2, 51.2, 3.0]
    assert tuple(head.train_cfg["grid_size"][:2]) == (128, 128)


@pytest.mark.parametrize("x", [3.2, 60.0, 98.0])
def test_on_a_wide_grid_what_is_taught_comes_out(small_config, x):
    grid = dict(x=(0.0, 102.4, 3.2), y=(-51.2, 51.2, 3.2), z=(-5.0, 3.0, 8.0))
    head = own_head(small_config, grid).eval()
    box = torch.tensor([[x, 5.0, 0.0, 4.0, 2.0, 1.5, 0.3, 0.0, 0.0]])
    gt = InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(box, box_dim=9, origin=(0.5, 0.5, 0.5)),
        labels_3d=torch.tensor([0]),
    )
    heatmaps, boxes, index, _ = head.get_targets([head._in_task_order(gt)])
    outputs = head([torch.zeros(1, 32, 32, 32)])
    for task, (output,) in enumerate(outputs):
        output["heatmap"].copy_(torch.where(heatmaps[task] == 1, 9.0, -9.0))
        for part, columns in dict(reg=(0, 2), height=(2, 3), dim=(3, 6), rot=(6, 8)).items():
            flat = output[part].flatten(2)
            flat[0, :, index[task][0, 0]] = boxes[task][0, 0, slice(*columns)]
    (found,) = head.predict_by_feat(outputs, [dict(box_type_3d=LiDARInstance3DBoxes)])
    assert found.labels_3d.tolist() == [0]
    torch.testing.assert_close(found.bboxes_3d.gravity_center, box[:, :3], rtol=0, atol=1e-3)


def test_limits_that_cut_the_grid_are_refused(small_config):
    grid = dict(x=(-102.4, 102.4, 6.4), y=(-51.2, 51.2, 3.2), z=(-5.0, 3.0, 8.0))
    coder = dict(post_center_range=[-61.2, -61.2, -10.0, 61.2, 61.2, 10.0], max_num=500)
    with pytest.raises(DataError, match="keeps x from -61.2 to 61.2 m, the BEV grid goes from"):
        own_head(small_config, grid, bbox_coder=coder)


def test_a_map_of_fewer_cells_than_boxes_is_decoded(small_config):
    grid = dict(x=(-8.0, 8.0, 1.0), y=(-8.0, 8.0, 1.0), z=(-5.0, 3.0, 8.0))
    head = own_head(small_config, grid).eval()
    (found,) = head.predict_by_feat(
        head([torch.zeros(1, 32, 16, 16)]), [dict(box_type_3d=LiDARInstance3DBoxes)]
    )
    assert len(found.scores_3d) <= 500


def test_own_classes_get_tasks_and_their_own_labels(small_config):
    head = own_head(small_config, classes=["tram", "cyclist", "car"], tasks=None).eval()
    assert head.class_names == [["tram"], ["cyclist"], ["car"]]
    assert head.test_cfg["min_radius"] == [12.0, 0.85, 4.0]
    assert head.test_cfg["post_max_size"] == 166
    outputs = head([torch.randn(1, 32, 32, 32)])
    for (output,) in outputs:
        output["heatmap"].fill_(-9.0)
    outputs[1][0]["heatmap"][0, 0, 16, 20] = 9.0
    (result,) = head.predict_by_feat(outputs, [dict(box_type_3d=LiDARInstance3DBoxes)])
    assert result.labels_3d.tolist() == [1]


def test_radii_of_other_tasks_are_refused(small_config):
    tasks = [dict(class_names=["car"]), dict(class_names=["van"])]
    with pytest.raises(DataError, match="min_radius has 6 numbers for 2 tasks"):
        own_head(small_config, classes=["car", "van"], tasks=tasks)


def test_a_head_without_velocity_trains_and_predicts_seven_numbers(small_config):
    parts = dict(reg=(2, 2), height=(1, 2), dim=(3, 2), rot=(2, 2))
    head = own_head(small_config, common_heads=parts)
    outputs = head([torch.randn(1, 32, 32, 32)])
    losses = head.loss_by_feat(outputs, [ground_truth(0, velocity=float("nan"))])
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    (found,) = head.eval().predict_by_feat(outputs, [dict(box_type_3d=LiDARInstance3DBoxes)])
    assert found.bboxes_3d.tensor.shape[1] == 7
    mirrored = undo_mirror(outputs[0][0], x=True, y=False)
    assert set(mirrored) == {*parts, "heatmap"}
