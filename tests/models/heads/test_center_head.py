from __future__ import annotations

import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import LiDARInstance3DBoxes
from mmengine.structures import InstanceData

from bevdepth_plus.datasets.classes import CLASSES

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
