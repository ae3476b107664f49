"""The targets of a whole batch beside mmdet3d's, object by object: equal bit for bit."""

from __future__ import annotations

import pytest
import torch
from mmdet3d.models.dense_heads import CenterHead
from mmdet3d.registry import MODELS
from mmdet3d.structures import LiDARInstance3DBoxes
from mmengine.structures import InstanceData

from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.bev_grid import BEVGrid
from bevdepth_plus.models.heads import center_targets as drawing
from bevdepth_plus.models.heads.center_targets import center_targets

GRID = dict(x=(-12.0, 20.0, 0.8), y=(-20.0, 20.0, 0.8), z=(-5.0, 3.0, 8.0))  # 40 x 50 cells
CAR, TRUCK, CONSTRUCTION_VEHICLE = 0, 1, 2  # in the order of the tasks
SETTINGS = dict(max_objects=5, min_radius=2, min_overlap=0.1)


@pytest.fixture
def build_head(small_config):
    def build(grid=GRID, **train_cfg):
        head = small_config()["heads"]["boxes"]
        head["train_cfg"] = {**head["train_cfg"], **train_cfg}
        torch.manual_seed(0)
        return MODELS.build(head, default_args=dict(grid=grid))

    return build


def ground_truth(boxes: torch.Tensor, labels) -> InstanceData:
    return InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(boxes, box_dim=boxes.shape[1], origin=(0.5, 0.5, 0.5)),
        labels_3d=torch.as_tensor(labels, dtype=torch.long),
    )


def random_truth(objects: int, seed: int, reach: float = 24.0) -> InstanceData:
    """Boxes of all classes and sizes, some beyond the grid, some of unknown velocity."""
    random = torch.Generator().manual_seed(seed)
    boxes = torch.randn(objects, 9, generator=random)
    boxes[:, :2] = (torch.rand(objects, 2, generator=random) * 2 - 1) * reach
    boxes[:, 3:6] = torch.rand(objects, 3, generator=random) * torch.tensor([14.0, 4.0, 3.0])
    boxes[::3, 7:] = float("nan")
    return ground_truth(boxes, torch.randint(10, (objects,), generator=random))


def assert_like_mmdet3d(head, truths):
    expected = CenterHead.get_targets(head, truths)
    for name, ours, theirs in zip(
        ("heatmaps", "boxes", "index", "mask"), head.get_targets(truths), expected, strict=True
    ):
        assert len(ours) == len(theirs) == 6
        for task, (our, their) in enumerate(zip(ours, theirs, strict=True)):
            torch.testing.assert_close(
                our,
                their,
                rtol=0,
                atol=0,
                equal_nan=True,
                msg=lambda message, name=name, task=task: f"{name} of task {task}: {message}",
            )
            assert our.is_contiguous()
    return expected


@pytest.mark.parametrize("seed", range(4))
def test_random_batches_have_mmdet3ds_targets(build_head, seed):
    truths = [random_truth(objects, 10 * seed + objects) for objects in (40, 0, 7, 90)]
    _, _, _, masks = assert_like_mmdet3d(build_head(max_objs=500), truths)
    assert sum(int(mask.sum()) for mask in masks) > 50


def test_a_batch_of_empty_samples_has_empty_targets(build_head):
    heatmaps, *_ = assert_like_mmdet3d(build_head(), [random_truth(0, 0), random_truth(0, 0)])
    assert not any(heatmap.any() for heatmap in heatmaps)


def test_more_objects_than_slots_leave_the_same_ones_out(build_head):
    truths = [random_truth(120, 0, reach=10.0), random_truth(3, 1)]
    _, _, _, masks = assert_like_mmdet3d(build_head(max_objs=4), truths)
    assert int(masks[1][0].sum()) == 4


def test_centres_at_and_beyond_the_grids_border_fall_as_in_mmdet3d(build_head):
    edges = torch.tensor([-13.0, -12.81, -12.8, -12.79, -12.4, -12.0, 19.99, 20.0, 20.01, 21.0])
    boxes = torch.tensor([0.0, 0.0, 0.0, 4.0, 2.0, 1.5, 0.3, 1.0, 0.0]).repeat(20, 1)
    boxes[:10, 0] = edges
    boxes[10:, 1] = edges.where(edges > 0, edges - 8)
    _, _, _, masks = assert_like_mmdet3d(build_head(max_objs=30), [ground_truth(boxes, [CAR] * 20)])
    assert 0 < int(masks[0].sum()) < 20


def test_two_objects_of_one_class_in_one_cell_share_it(build_head):
    boxes = torch.tensor([[5.0, 5.0, 0.0, 4.0, 2.0, 1.5, 0.3, 1.0, 0.0]]).repeat(2, 1)
    boxes[1, :6] = torch.tensor([5.1, 5.1, 0.5, 12.0, 12.0, 3.0])
    _, _, (index, *_), _ = assert_like_mmdet3d(build_head(), [ground_truth(boxes, [CAR, CAR])])
    assert index[0, 0] == index[0, 1] > 0


def test_classes_of_a_task_fill_its_slots_one_after_the_other(build_head):
    boxes = random_truth(6, 0, reach=10.0).bboxes_3d.tensor
    boxes[:, 2] = torch.arange(6)
    order = [CONSTRUCTION_VEHICLE, TRUCK, CAR, CONSTRUCTION_VEHICLE, TRUCK, CAR]
    _, numbers, _, _ = assert_like_mmdet3d(build_head(), [ground_truth(boxes, order)])
    heights = numbers[1][0, :4, 2] - boxes[[1, 4, 0, 3], 5] / 2
    assert heights.round().tolist() != sorted(heights.round().tolist())


def test_a_box_larger_than_the_map_and_one_without_area_fare_as_in_mmdet3d(build_head):
    boxes = torch.tensor([[5.0, 5.0, 0.0, 4.0, 2.0, 1.5, 0.3, 1.0, 0.0]]).repeat(4, 1)
    boxes[:, 3:5] = torch.tensor([[200.0, 150.0], [0.0, 2.0], [4.0, -1.0], [30.0, 30.0]])
    boxes[3, 0] = -8.0
    _, _, _, masks = assert_like_mmdet3d(build_head(), [ground_truth(boxes, [CAR] * 4)])
    assert masks[0][0, :4].tolist() == [1, 0, 0, 1]


def test_labels_of_no_task_are_left_out(build_head):
    truth = random_truth(12, 0, reach=10.0)
    truth.labels_3d[::2] = torch.tensor([-1, 10, 99, -1, 11, 10])
    _, _, _, masks = assert_like_mmdet3d(build_head(), [truth])
    assert sum(int(mask.sum()) for mask in masks) == 6


def test_boxes_without_velocity_have_an_unknown_one(build_head):
    head, truth = build_head(), random_truth(12, 0)
    truth.bboxes_3d.tensor[:, 7:] = float("nan")
    boxes = torch.cat([truth.bboxes_3d.gravity_center, truth.bboxes_3d.tensor[:, 3:7]], dim=1)
    without = ground_truth(boxes, truth.labels_3d)
    expected = CenterHead.get_targets(head, [truth, random_truth(5, 1)])
    found = head.get_targets([without, random_truth(5, 1)])
    torch.testing.assert_close(list(found), list(expected), rtol=0, atol=0, equal_nan=True)


def test_drawing_in_small_steps_gives_the_same_maps(build_head, monkeypatch):
    head, truths = build_head(), [random_truth(40, 0), random_truth(7, 1)]
    at_once = head.get_targets(truths).heatmaps
    monkeypatch.setattr(drawing, "_MOST_VALUES", 3 * 40 * 50)
    assert all(map(torch.equal, head.get_targets(truths).heatmaps, at_once))


def test_inputs_stay_as_they_were(build_head):
    truth = random_truth(12, 0)
    before = truth.bboxes_3d.tensor.clone(), truth.labels_3d.clone()
    build_head().get_targets([truth])
    torch.testing.assert_close((truth.bboxes_3d.tensor, truth.labels_3d), before, equal_nan=True)


def test_targets_need_no_value_only_shapes():
    boxes = [torch.empty(count, 9, device="meta") for count in (3, 0)]
    labels = [torch.empty(count, dtype=torch.long, device="meta") for count in (3, 0)]
    found = center_targets(boxes, labels, [1, 2], BEVGrid(**GRID), **SETTINGS)
    assert [tuple(maps.shape) for maps in found.heatmaps] == [(2, 1, 50, 40), (2, 2, 50, 40)]
    assert all(boxes.device.type == "meta" for boxes in found.boxes)


def test_the_losses_read_no_value_back_to_the_host(build_head, host_waits):
    head = build_head()
    outputs = head([torch.randn(2, 32, 50, 40)])
    truths = [random_truth(20, 0), random_truth(0, 1)]
    with host_waits() as waits:
        head.loss_by_feat(outputs, truths)
    assert waits.found == []
    with host_waits() as waits:  # the reference does, so the count can fail
        CenterHead.get_targets(head, truths)
    assert "_local_scalar_dense" in waits.found


@pytest.mark.parametrize("columns", [8, 6])
def test_boxes_of_another_width_are_refused(columns):
    boxes = [torch.zeros(1, 9), torch.zeros(2, columns)]
    labels = [torch.zeros(len(sample), dtype=torch.long) for sample in boxes]
    with pytest.raises(DataError, match=rf"sample 1 .* shape \[2, {columns}\], expected \[M, 7\]"):
        center_targets(boxes, labels, [1], BEVGrid(**GRID), **SETTINGS)


def test_another_number_of_labels_is_refused():
    with pytest.raises(DataError, match=r"sample 0 .* 2 boxes and labels of the shape \[1\]"):
        center_targets(
            [torch.zeros(2, 9)], [torch.zeros(1).long()], [1], BEVGrid(**GRID), **SETTINGS
        )
