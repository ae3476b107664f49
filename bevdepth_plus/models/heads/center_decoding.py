"""Boxes from CenterPoint's maps (CVPR 2021), for all samples and tasks at once.

The results are those of mmdet3d's ``CenterPointBBoxCoder`` and circle NMS, bit for bit on a CPU.
Their number is only known once the NMS has run, so the host reads one table, once for the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple, cast

import numpy as np
import torch
from mmdet3d.models.layers import circle_nms
from torch import Tensor

from bevdepth_plus.models.heads.center_maps import TaskMaps


class Candidates(NamedTuple):
    """The ``max_num`` = K best cells of each task, best first."""

    boxes: Tensor  # [B, T, K, 7 or 9]: gravity centre, size, yaw, velocity; metres
    scores: Tensor  # [B, T, K]
    labels: Tensor  # [B, T, K], numbered task by task
    kept: Tensor  # [B, T, K], bool: within the limits and above the least score


class Decoded(NamedTuple):
    """Boxes of all samples one after the other, those of a sample task by task, best first."""

    boxes: Tensor  # [M, 7 or 9]
    scores: Tensor  # [M]
    labels: Tensor  # [M], int64
    counts: list[int]  # of each sample


class CenterDecoder:
    """Maps of all tasks -> boxes, scores and labels.

    Args:
        coder: mmdet3d's ``CenterPointBBoxCoder``, for its numbers.
        class_counts: of each task.
        log_size: the maps hold the logarithm of the size.
        nms_radii: of each task, squared metres.
        max_boxes: of a sample and task.
    """

    def __init__(
        self,
        coder,
        class_counts: Sequence[int],
        *,
        log_size: bool,
        nms_radii: Sequence[float],
        max_boxes: int,
    ) -> None:
        self.coder = coder
        self.class_counts = tuple(class_counts)
        self.log_size = log_size
        self.nms_radii = tuple(nms_radii)
        self.max_boxes = max_boxes

    def __call__(
        self,
        tasks: Sequence[TaskMaps],
        limits: Tensor,  # [6], of the centres, metres, lower then upper
    ) -> Decoded:
        """What circle NMS leaves of the :meth:`candidates`."""
        found = self.candidates(tasks, limits)
        # The one wait for the device.
        centres = torch.cat([found.boxes[..., :2], found.scores[..., None]], dim=-1)
        table = torch.cat([centres, found.kept[..., None]], dim=-1)
        table = table.detach().cpu().numpy()  # [B, T, K, 4]
        chosen = [self._chosen(sample) for sample in table]
        per_sample = len(self.class_counts) * table.shape[2]
        index = np.concatenate([rows + b * per_sample for b, rows in enumerate(chosen)])
        index = torch.from_numpy(index).to(limits.device, non_blocking=True)
        return Decoded(
            found.boxes.flatten(0, 2)[index],
            found.scores.flatten()[index],
            found.labels.flatten()[index],
            [len(rows) for rows in chosen],
        )

    def candidates(self, tasks: Sequence[TaskMaps], limits: Tensor) -> Candidates:
        """The best cells of each task and the boxes at them; all shapes are known beforehand."""
        scores, labels, cells = self._best_cells(tasks)  # [B, T, K] each
        boxes = self._boxes(tasks, cells)  # [B, T, K, 7 or 9]
        centres = boxes[..., :3]
        kept = (centres >= limits[:3]).all(-1) & (centres <= limits[3:]).all(-1)
        if self.coder.score_threshold:
            kept = kept & (scores > self.coder.score_threshold)
        return Candidates(boxes, scores, labels, kept)

    def _best_cells(self, tasks: Sequence[TaskMaps]) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, labels and cells ``y * X + x``, ``[B, T, K]`` each."""
        most = self.coder.max_num
        logits = torch.cat([maps["heatmap"] for maps in tasks], dim=1)  # [B, all classes, Y, X]
        of_class, cells = logits.sigmoid().flatten(2).topk(most)  # [B, all classes, K]
        begins = list(accumulate(self.class_counts, initial=0))
        per_task = [values.split(self.class_counts, dim=1) for values in (of_class, cells)]
        found = dict[int, tuple[Tensor, Tensor, Tensor]]()
        # Tasks of equally many classes take one top-k together.
        for count in set(self.class_counts):
            kind = [t for t, classes in enumerate(self.class_counts) if classes == count]
            # [B, tasks of this kind, count * K]
            scores, at = (torch.stack([of[t] for t in kind], 1).flatten(2) for of in per_task)
            scores, position = scores.topk(most)  # [B, tasks of this kind, K]
            at, label = at.gather(2, position), position // most  # of the task's labels
            for i, t in enumerate(kind):
                found[t] = scores[:, i], label[:, i] + begins[t], at[:, i]
        scores, labels, cells = (
            torch.stack([found[t][i] for t in range(len(found))], dim=1) for i in range(3)
        )
        return scores, labels, cells

    def _boxes(
        self,
        tasks: Sequence[TaskMaps],
        cells: Tensor,  # [B, T, K]
    ) -> Tensor:
        """Boxes at the cells, ``[B, T, K, 7 or 9]``."""

        def at_cells(part: str) -> Tensor:  # [B, T, K, C]
            maps = torch.stack([task[part] for task in tasks], dim=1).flatten(3)  # [B, T, C, YX]
            index = cells[:, :, None].expand(-1, -1, maps.shape[2], -1)
            return maps.gather(3, index).transpose(2, 3)

        width = tasks[0]["heatmap"].shape[-1]
        cell = torch.stack([cells % width, cells // width], dim=-1).float()
        x, y = (
            coordinate * self.coder.out_size_factor * self.coder.voxel_size[axis]
            + self.coder.pc_range[axis]
            for axis, coordinate in enumerate((cell + at_cells("reg")).split(1, dim=-1))
        )
        size = at_cells("dim")
        # Task by task: a CPU rounds the first and the last numbers of an array in two ways.
        sine, cosine = at_cells("rot").permute(3, 1, 0, 2).contiguous()  # [T, B, K] each
        yaw = torch.stack([torch.atan2(*task) for task in zip(sine, cosine, strict=True)], dim=1)
        parts = [x, y, at_cells("height"), size.exp() if self.log_size else size]
        parts.append(yaw[..., None])
        if "vel" in tasks[0]:
            parts.append(at_cells("vel"))
        return torch.cat(parts, dim=-1)

    def _chosen(
        self,
        table: np.ndarray,  # [T, K, 4]: x, y, score, whether kept
    ) -> np.ndarray:
        """Positions ``t * K + k`` of one sample's boxes that circle NMS leaves, int64."""
        chosen = []
        for task, (rows, radius) in enumerate(zip(table, self.nms_radii, strict=True)):
            kept = rows[:, 3].nonzero()[0]
            if len(kept):
                left = cast(Callable[..., list[int]], circle_nms)(
                    np.ascontiguousarray(rows[kept, :3]), radius, post_max_size=self.max_boxes
                )
                chosen.append(kept[np.asarray(left, dtype=np.int64)] + task * len(rows))
        return np.concatenate([*chosen, np.zeros(0, dtype=np.int64)])
