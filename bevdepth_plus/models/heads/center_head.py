"""CenterPoint's head on a BEV map. Source: CenterPoint (CVPR 2021), CBGS (2019) for the tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, cast

import torch
from mmdet.utils import reduce_mean
from mmdet3d.models.dense_heads import CenterHead
from mmdet3d.models.task_modules.coders import CenterPointBBoxCoder
from mmdet3d.registry import MODELS
from mmdet3d.structures import BaseInstance3DBoxes, Det3DDataSample
from mmengine.structures import InstanceData
from torch import Tensor, nn

from bevdepth_plus.classes import CLASSES
from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.bev_grid import BEVGrid
from bevdepth_plus.losses.box_regression import box_regression_loss
from bevdepth_plus.models.heads.center_decoding import CenterDecoder
from bevdepth_plus.models.heads.center_maps import TaskMaps, mean_maps, undo_mirror
from bevdepth_plus.models.heads.center_targets import CenterTargets, center_targets
from bevdepth_plus.models.heads.head import BEVHead
from bevdepth_plus.models.heads.head_tasks import check_tasks, head_tasks
from bevdepth_plus.models.heads.separate_heads import joinable_branches, run_together

HeadOutputs = tuple[list[TaskMaps], ...]  # of mmdet3d's CenterHead: a list of one for each task

_BOX_PARTS = ("reg", "height", "dim", "rot", "vel")
_MAX_BOXES = 500  # of a sample, nuScenes detection challenge


@MODELS.register_module()
class BEVCenterHead(CenterHead, BEVHead):
    """mmdet3d's CenterHead with labels by class name and losses that do not depend on the batch.

    mmdet3d numbers classes in the order of the tasks; data sets have their own order. This head
    translates by name, on the way in and on the way out. Losses are computed in float32 and
    normalised by the mean count over processes, so that two processes train as one does.

    Args:
        grid: the :class:`BEVGrid`'s x, y, z; the heatmaps have its cells.
        train_cfg, test_cfg, bbox_coder: as in CenterHead, without what follows from the grid.
            Where they are absent, ``bbox_coder.post_center_range`` follows from the grid and
            ``test_cfg.post_max_size`` from the number of tasks.
        classes: the data set's class names, in the order of its labels.
        tasks: as in CenterHead. None: made from ``classes`` by :func:`head_tasks`, with
            ``test_cfg.min_radius``.
        nms_radius: metres by class name, for ``tasks=None``, see :func:`head_tasks`.
        common_heads: as in CenterHead; without ``vel`` the boxes have no velocity.
    """

    task_heads: Sequence[Any]  # mmdet3d's SeparateHead has one attribute for each branch
    train_cfg: dict
    test_cfg: dict
    to_task: Tensor  # [classes], the data set's label -> that of the tasks
    from_task: Tensor  # [classes], the inverse
    code_weights: Tensor  # [8 or 10], of the box's numbers in the loss
    limits: Tensor  # [6], of the centres of decoded boxes, metres, lower then upper

    def __init__(
        self,
        *args,
        grid: dict,
        train_cfg: dict,
        test_cfg: dict,
        bbox_coder: dict,
        common_heads: dict,
        classes: Sequence[str] = CLASSES,
        tasks: Sequence[dict] | None = None,
        nms_radius: Mapping[str, float] | None = None,
        **kwargs,
    ) -> None:
        bev = BEVGrid(**grid)
        cells = dict(voxel_size=bev.cell[:2], out_size_factor=1)
        lower_upper = [*bev.lower, *(axis[1] for axis in bev.axes)]
        if tasks is None:
            tasks, radii = head_tasks(classes, nms_radius)
            test_cfg = {**test_cfg, "min_radius": radii}
        check_tasks(tasks, classes)
        _check_radii(test_cfg, tasks)
        self.bev_grid = bev
        self.box_parts = tuple(part for part in _BOX_PARTS if part in common_heads)
        super().__init__(
            *args,
            tasks=list(tasks),
            common_heads=common_heads,
            train_cfg=dict(
                grid_size=bev.size, point_cloud_range=lower_upper, dense_reg=1, **cells, **train_cfg
            ),
            test_cfg={**cells, "post_max_size": _MAX_BOXES // len(tasks), **test_cfg},
            bbox_coder={
                "type": "CenterPointBBoxCoder",
                "pc_range": bev.lower,
                "code_size": 9 if "vel" in common_heads else 7,
                "post_center_range": centre_limits(bev),
                **cells,
                **_checked_coder(bbox_coder, bev),
            },
            **kwargs,
        )
        in_tasks = [name for names in self.class_names for name in names]
        to_task = [in_tasks.index(name) for name in classes]
        from_task = [list(classes).index(name) for name in in_tasks]
        self.register_buffer("to_task", torch.tensor(to_task), persistent=False)
        self.register_buffer("from_task", torch.tensor(from_task), persistent=False)
        code_weights = torch.tensor(train_cfg["code_weights"], dtype=torch.float32)
        self.register_buffer("code_weights", code_weights, persistent=False)
        self.decoder = self._decoder()
        limits = torch.tensor(self.bbox_coder.post_center_range, dtype=torch.float32)
        self.register_buffer("limits", limits, persistent=False)

    def init_weights(self) -> None:
        """Start the heatmaps at low scores; mmdet3d's own call does not reach them."""
        super().init_weights()
        for task_head in self.task_heads:
            nn.init.constant_(task_head.heatmap[-1].bias, task_head.init_bias)

    def outputs(self, bev: Tensor) -> HeadOutputs:
        """Heatmap and box maps of each task, ``[B, C, Y, X]`` each."""
        return self([bev])

    def forward_single(  # pyright: ignore[reportIncompatibleMethodOverride]: mmdet3d says dict
        self,
        x: Tensor,  # [B, C, Y, X]
    ) -> list[TaskMaps]:
        """Outputs of each task."""
        return self.task_maps(self.shared_conv(x))

    def task_maps(
        self,
        shared: Tensor,  # [B, C', Y, X]
    ) -> list[TaskMaps]:
        """Maps of each task; all branches together where their normalisation is fixed."""
        # Runtimes of exported graphs know plain convolutions best.
        exporting = torch.compiler.is_exporting()
        branches = [] if exporting else joinable_branches(self.task_heads)
        if branches:
            together = run_together(branches, shared)
            return [
                {name: maps[name] for name in task.heads}  # in the order of its branches
                for task, maps in zip(self.task_heads, together, strict=True)
            ]
        return [task(shared) for task in self.task_heads]

    def losses(self, outputs: HeadOutputs, samples: Sequence[Det3DDataSample]) -> dict[str, Tensor]:
        """Heatmap and box losses, each summed over tasks."""
        return self.loss_by_feat(outputs, [sample.gt_instances_3d for sample in samples])

    def add_predictions(self, outputs: HeadOutputs, samples: Sequence[Det3DDataSample]) -> None:
        """Write boxes in the ego frame into ``pred_instances_3d``."""
        boxes = self.predict_by_feat(outputs, [sample.metainfo for sample in samples])
        for sample, instances in zip(samples, boxes, strict=True):
            sample.pred_instances_3d = instances

    def undo_mirror(self, outputs: HeadOutputs, x: bool, y: bool) -> HeadOutputs:
        return tuple([undo_mirror(maps, x, y) for maps in task] for task in outputs)

    def mean(self, variants: Sequence[HeadOutputs]) -> HeadOutputs:
        return tuple(
            [mean_maps(maps) for maps in zip(*task, strict=True)]
            for task in zip(*variants, strict=True)
        )

    def loss_by_feat(
        self,
        preds_dicts: HeadOutputs,
        batch_gt_instances_3d: list[InstanceData],
        *args,
        **kwargs,
    ) -> dict[str, Tensor]:
        """Heatmap and box losses, each summed over tasks."""
        targets = self.get_targets([self._in_task_order(gt) for gt in batch_gt_instances_3d])
        per_task = [
            self._task_loss(predicted[0], *target)
            for predicted, *target in zip(preds_dicts, *targets, strict=True)
        ]
        heatmap_losses, box_losses = zip(*per_task, strict=True)
        return dict(
            loss_heatmap=reduce(torch.add, heatmap_losses), loss_bbox=reduce(torch.add, box_losses)
        )

    def get_targets(  # pyright: ignore[reportIncompatibleMethodOverride]: mmdet3d says tuple
        self, batch_gt_instances_3d: Sequence[InstanceData]
    ) -> CenterTargets:
        """mmdet3d's targets, for the whole batch at once and without waiting for the device."""
        truths = [boxes_and_labels(gt) for gt in batch_gt_instances_3d]
        return center_targets(
            [torch.cat([boxes.gravity_center, boxes.tensor[:, 3:]], dim=1) for boxes, _ in truths],
            [labels for _, labels in truths],
            [len(names) for names in self.class_names],
            self.bev_grid,
            max_objects=self.train_cfg["max_objs"],
            min_radius=self.train_cfg["min_radius"],
            min_overlap=self.train_cfg["gaussian_overlap"],
            log_size=self.norm_bbox,
        )

    def predict_by_feat(
        self,
        preds_dicts: HeadOutputs,
        batch_input_metas: list[dict],
        *args,
        **kwargs,
    ) -> list[InstanceData]:
        """Boxes with the data set's labels; the host waits for a GPU once."""
        if self.decoder is None:
            results = super().predict_by_feat(
                cast(Any, preds_dicts), batch_input_metas, *args, **kwargs
            )
            for instances in results:
                instances.labels_3d = self.from_task[instances.get("labels_3d").long()]
            return results
        boxes, scores, labels, counts = self.decoder([task[0] for task in preds_dicts], self.limits)
        boxes[:, 2] -= boxes[:, 5] * 0.5  # mmdet3d's boxes have the centre of their bottom
        parts = (values.split(counts) for values in (boxes, scores, self.from_task[labels]))
        return [
            InstanceData(
                bboxes_3d=meta["box_type_3d"](boxes, self.bbox_coder.code_size),
                scores_3d=scores,
                labels_3d=labels,
            )
            for meta, boxes, scores, labels in zip(batch_input_metas, *parts, strict=True)
        ]

    def _decoder(self) -> CenterDecoder | None:
        """None: only mmdet3d can decode with this box coder or NMS."""
        if (
            type(self.bbox_coder) is not CenterPointBBoxCoder
            or self.test_cfg["nms_type"] != "circle"
        ):
            return None
        return CenterDecoder(
            self.bbox_coder,
            self.num_classes,
            log_size=self.norm_bbox,
            nms_radii=self.test_cfg["min_radius"],
            max_boxes=self.test_cfg["post_max_size"],
        )

    def _in_task_order(self, gt: InstanceData) -> InstanceData:
        boxes, labels = boxes_and_labels(gt)
        in_tasks = self.to_task[labels.clamp(min=0)].masked_fill(labels < 0, -1)
        return InstanceData(bboxes_3d=boxes, labels_3d=in_tasks)

    def _task_loss(
        self,
        predicted: dict[str, Tensor],
        heatmap: Tensor,  # [B, K, Y, X]
        boxes: Tensor,  # [B, M, 10]
        index: Tensor,  # [B, M], y * X + x
        mask: Tensor,  # [B, M]
    ) -> tuple[Tensor, Tensor]:
        """Heatmap and box loss of one task."""
        num_centres = reduce_mean(heatmap.eq(1).sum().float()).clamp(min=1)
        # mmdet3d's clip_sigmoid works in place and would leave the logits changed.
        scores = predicted["heatmap"].float().sigmoid().clamp(1e-4, 1 - 1e-4)
        heatmap_loss = self.loss_cls(scores, heatmap, avg_factor=num_centres)
        # The box maps [B, 8 or 10, Y, X], read at the cells of the objects.
        box_map = torch.cat([predicted[part] for part in self.box_parts], dim=1).float()
        boxes = boxes[..., : box_map.shape[1]]  # velocity comes last
        at_centres = self._gather_feat(box_map.flatten(2).transpose(1, 2), index)  # [B, M, 8 or 10]
        code_weights = self.code_weights[: boxes.shape[-1]]
        num_boxes = reduce_mean(mask.sum().float()).clamp(min=1e-4)
        box_loss = box_regression_loss(
            at_centres, boxes, mask, code_weights, self.loss_bbox, num_boxes
        )
        return heatmap_loss, box_loss


def boxes_and_labels(gt: InstanceData) -> tuple[BaseInstance3DBoxes, Tensor]:
    """Boxes and labels ``[M]`` of one sample's ground truth."""
    return gt.get("bboxes_3d"), gt.get("labels_3d")


def centre_limits(grid: BEVGrid) -> list[float]:
    """Where the centres of decoded boxes may lie: ``[x, y, z, x, y, z]``, lower then upper, metres.

    10 m beyond the grid on the ground, and as far up as down, 5 m beyond its farther end: the
    limits of the public BEVDepth for its grid.
    """
    height = max(abs(grid.z[0]), abs(grid.z[1])) + 5.0
    lower = [grid.x[0] - 10.0, grid.y[0] - 10.0, -height]
    return [*lower, grid.x[1] + 10.0, grid.y[1] + 10.0, height]


def _checked_coder(bbox_coder: Mapping, grid: BEVGrid) -> dict:
    """The box coder's own settings; its limits must hold the grid, its top-k fit into the map."""
    limits = bbox_coder.get("post_center_range")
    for index, name in enumerate("xy"):
        lower, upper, _ = getattr(grid, name)
        if limits is not None and not (limits[index] <= lower and upper <= limits[index + 3]):
            raise DataError(
                f"bbox_coder.post_center_range keeps {name} from {limits[index]} to "
                f"{limits[index + 3]} m, the BEV grid goes from {lower} to {upper} m: boxes beyond "
                "would be trained on and never be predicted; leave post_center_range out"
            )
    most = min(bbox_coder.get("max_num", _MAX_BOXES), grid.size[0] * grid.size[1])
    return {**bbox_coder, "max_num": most}


def _check_radii(test_cfg: Mapping, tasks: Sequence[Mapping]) -> None:
    radii = test_cfg.get("min_radius", ())
    if test_cfg.get("nms_type") == "circle" and len(radii) != len(tasks):
        raise DataError(
            f"test_cfg.min_radius has {len(radii)} numbers for {len(tasks)} tasks; give one a "
            "task, squared metres, or set model.heads.boxes.tasks=None to have both made"
        )
