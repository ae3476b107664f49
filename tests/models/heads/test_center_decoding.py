"""Boxes of all samples and tasks at once beside mmdet3d's, task by task: equal bit for bit."""

from __future__ import annotations

import copy

import pytest
import torch
from mmdet3d.models.dense_heads import CenterHead
from mmdet3d.registry import MODELS
from mmdet3d.structures import LiDARInstance3DBoxes

GRID = dict(x=(-12.0, 20.0, 0.8), y=(-20.0, 20.0, 0.8), z=(-5.0, 3.0, 8.0))  # 40 x 50 cells
META = dict(box_type_3d=LiDARInstance3DBoxes)
WITHOUT_VELOCITY = dict(reg=(2, 2), height=(1, 2), dim=(3, 2), rot=(2, 2))


@pytest.fixture
def build_head(small_config):
    def build(**changes):
        head = copy.deepcopy(small_config()["heads"]["boxes"])
        for name, value in changes.items():
            head[name] = {**head[name], **value} if name.endswith(("cfg", "coder")) else value
        torch.manual_seed(0)
        return MODELS.build(head, default_args=dict(grid=GRID)).eval()

    return build


def random_maps(head, batch: int = 3, dtype=torch.float32, level: float = -2.0):
    """Maps of objects at many places, most of them close to others."""
    random = torch.Generator().manual_seed(0)
    sizes = {"reg": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}

    def maps(channels: int) -> torch.Tensor:
        return torch.randn(batch, channels, 50, 40, generator=random)

    tasks = []
    for classes in head.num_classes:
        task = {part: maps(sizes[part]) for part in head.box_parts}
        task["heatmap"] = maps(classes) * 2 + level
        tasks.append([{name: values.to(dtype) for name, values in task.items()}])
    return tuple(tasks)


def assert_like_mmdet3d(head, outputs) -> int:
    metas = [META] * len(outputs[0][0]["heatmap"])
    expected = CenterHead.predict_by_feat(head, outputs, metas)
    found = head.predict_by_feat(outputs, metas)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours.bboxes_3d.tensor, theirs.bboxes_3d.tensor)
        assert torch.equal(ours.scores_3d, theirs.scores_3d)
        assert torch.equal(ours.labels_3d, head.from_task[theirs.labels_3d.long()])
        assert ours.scores_3d.dtype == theirs.scores_3d.dtype
        assert ours.bboxes_3d.box_dim == theirs.bboxes_3d.box_dim
    return sum(len(ours.scores_3d) for ours in found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("level", [-2.0, -6.0])
def test_boxes_scores_and_labels_are_mmdet3ds(build_head, dtype, level):
    """Many scores are equal in bfloat16, so their order counts too."""
    head = build_head()
    assert assert_like_mmdet3d(head, random_maps(head, dtype=dtype, level=level)) > 300


@pytest.mark.parametrize(
    "changes",
    [
        dict(common_heads=WITHOUT_VELOCITY),
        dict(norm_bbox=False),
        dict(bbox_coder=dict(score_threshold=None)),
        dict(bbox_coder=dict(max_num=30)),
        dict(test_cfg=dict(post_max_size=4)),
        dict(test_cfg=dict(min_radius=[1e-6, 0.0, 100.0, 3, 0.85, 1e4])),
    ],
    ids=["no velocity", "plain size", "no threshold", "30 cells", "4 boxes", "other radii"],
)
def test_each_setting_has_mmdet3ds_results(build_head, changes):
    head = build_head(**changes)
    assert assert_like_mmdet3d(head, random_maps(head)) > 0


def test_centres_beyond_the_limits_are_left_out(build_head):
    head = build_head()
    outputs = random_maps(head)
    for (task,) in outputs:
        task["height"] *= 20
    within = assert_like_mmdet3d(head, outputs)
    assert 0 < within < assert_like_mmdet3d(head, random_maps(head))


def test_a_sample_without_boxes_is_empty(build_head):
    head = build_head()
    outputs = random_maps(head)
    for (task,) in outputs:
        task["heatmap"][1] = -9.0
    assert assert_like_mmdet3d(head, outputs) > 0
    for (task,) in outputs:
        task["heatmap"].fill_(-9.0)
    assert assert_like_mmdet3d(head, outputs) == 0


def test_candidates_need_no_value_only_shapes(build_head):
    head = build_head()
    tasks = [{k: v.to("meta") for k, v in task[0].items()} for task in random_maps(head)]
    found = head.decoder.candidates(tasks, head.limits.to("meta"))
    assert found.boxes.shape == (3, 6, 500, 9)
    assert found.kept.device.type == "meta"


def test_the_host_reads_once_for_the_whole_batch(build_head, host_waits, monkeypatch):
    head, reads = build_head(), []
    outputs = random_maps(head)
    to_host = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: reads.append(1) or to_host(self))
    with host_waits() as waits:
        head.predict_by_feat(outputs, [META] * 3)
    assert len(reads) == 1
    assert waits.found == ["lift_fresh"]  # the indices of the chosen boxes go to the device
    reads.clear()
    CenterHead.predict_by_feat(head, outputs, [META] * 3)  # so the count can fail
    assert len(reads) == 3 * 6


def test_another_nms_is_left_to_mmdet3d(build_head):
    head = build_head(test_cfg=dict(nms_type="rotate"))
    assert head.decoder is None
