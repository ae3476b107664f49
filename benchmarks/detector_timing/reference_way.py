"""The same detector and weights, run as the public code does: what ours is timed against.

Pooling writes out every frustum point's feature; the head runs task by task; targets are made
object by object and boxes decoded sample by sample, by mmdet3d's own methods. They are called by
their class, so that what the project's head replaces does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import reduce
from typing import Any

import torch
from mmdet3d.models.dense_heads import CenterHead
from mmdet3d.structures import Det3DDataSample
from mmengine.structures import InstanceData
from torch import Tensor, nn

from bevdepth_plus.geometry.cameras import Cameras
from bevdepth_plus_ops import bev_pool_reference

from .parts import replaced


@contextmanager
def reference_way(model: nn.Module) -> Iterator[None]:
    """The detector runs the reference way inside the block."""
    view_transform, head = model.view_transform, model.heads["boxes"]

    def splat(depth: Tensor, context: Tensor, cameras: Cameras) -> Tensor:
        cells = view_transform.frustum.cells(cameras)
        return bev_pool_reference(depth, context, cells, view_transform.bev_size)

    def outputs(bev: Tensor) -> tuple[list[dict], ...]:
        return tuple([maps] for maps in CenterHead.forward_single(head, bev))

    def losses(maps: Any, samples: Sequence[Det3DDataSample]) -> dict[str, Tensor]:
        # mmdet3d's losses write into the maps.
        maps = tuple([dict(task[0])] for task in maps)
        parts = CenterHead.loss_by_feat(head, maps, [in_task_order(head, s) for s in samples])
        return {
            name: reduce(torch.add, [part for key, part in parts.items() if key.endswith(name)])
            for name in ("loss_heatmap", "loss_bbox")
        }

    def targets(instances: list[InstanceData]) -> Any:
        return CenterHead.get_targets(head, instances)

    def targets_single(instances: InstanceData) -> Any:
        return CenterHead.get_targets_single(head, instances)

    def add_predictions(maps: Any, samples: Sequence[Det3DDataSample]) -> None:
        boxes = CenterHead.predict_by_feat(head, maps, [sample.metainfo for sample in samples])
        for sample, instances in zip(samples, boxes, strict=True):
            instances.labels_3d = head.from_task[instances.labels_3d.long()]
            sample.pred_instances_3d = instances

    ways = {
        (view_transform, "forward"): splat,
        (head, "outputs"): outputs,
        (head, "losses"): losses,
        (head, "get_targets"): targets,
        (head, "get_targets_single"): targets_single,
        (head, "add_predictions"): add_predictions,
    }
    with ExitStack() as stack:
        for (owner, method), way in ways.items():
            stack.enter_context(replaced(owner, method, way))
        yield


def in_task_order(head: nn.Module, sample: Det3DDataSample) -> InstanceData:
    """Ground truth with mmdet3d's labels: classes are numbered in the order of the tasks."""
    gt = sample.gt_instances_3d
    return InstanceData(bboxes_3d=gt.bboxes_3d, labels_3d=head.to_task[gt.labels_3d])
