"""From a CenterPoint head's maps to boxes, in numpy. Source: CenterPoint (CVPR 2021).

The same boxes as mmdet3d's CenterHead gives, see tests/deploy/test_decoding.py.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bevdepth_plus.deploy.description import Decoding, ModelDescription
from bevdepth_plus.deploy.results import Boxes, joined
from bevdepth_plus.errors import DataError


def decode(maps: Mapping[str, np.ndarray], model: ModelDescription) -> Boxes:
    """The boxes of all tasks, task by task, best score first.

    Args:
        maps: ``task0.heatmap`` (logits), ``task0.reg``, ``.height``, ``.dim``, ``.rot`` (sine,
            cosine) and, if the model has velocities, ``.vel``; ``[C, Y, X]`` each.
        model: that they are from.

    Raises:
        DataError: the model has no box head, or one with another kind of suppression.
        ValueError: a map is missing, or a heatmap has another number of channels than classes.
    """
    if model.decoding is None:
        raise DataError(f"{model.config}: the model has no box head, so there are no boxes")
    if model.decoding.nms_type != "circle":
        raise DataError(
            f"{model.config}: boxes are decoded with nms_type 'circle' alone, the model has "
            f"{model.decoding.nms_type!r}"
        )
    return joined(
        [_decode_task(maps, task, model, model.decoding) for task in range(len(model.tasks))]
    )


def circle_suppression(
    centres: np.ndarray,  # [K, 2], best score first
    radius: float,  # squared metres
    max_boxes: int,
) -> np.ndarray:
    """Indices of the boxes that no better one lies near; at most ``max_boxes``."""
    alive = np.ones(len(centres), dtype=bool)
    kept: list[int] = []
    for index in range(len(centres)):
        if not alive[index]:
            continue
        kept.append(index)
        if len(kept) == max_boxes:
            break
        offset = centres[index + 1 :] - centres[index]
        alive[index + 1 :] &= (offset * offset).sum(axis=1) > radius
    return np.array(kept, dtype=np.int64)


def _decode_task(
    maps: Mapping[str, np.ndarray], task: int, model: ModelDescription, decoding: Decoding
) -> Boxes:
    names = model.tasks[task]
    if f"task{task}.heatmap" not in maps:
        raise ValueError(f"the model has {len(model.tasks)} tasks, task {task} has no maps")
    heatmap = np.asarray(maps[f"task{task}.heatmap"], dtype=np.float32)
    if heatmap.shape[0] != len(names):
        raise ValueError(
            f"task {task} has {len(names)} classes, its heatmap {heatmap.shape[0]} channels"
        )
    # The best cells of all classes that score enough.
    scores = _sigmoid(heatmap).reshape(-1)
    candidates = np.flatnonzero(scores > decoding.score_threshold)
    order = np.argsort(-scores[candidates], kind="stable")[: decoding.num_candidates]
    candidates = candidates[order]
    scores = scores[candidates]
    channel, cell = np.divmod(candidates, heatmap.shape[1] * heatmap.shape[2])
    row, column = np.divmod(cell, heatmap.shape[2])

    def at_cells(part: str) -> np.ndarray:  # [K, channels]
        return np.asarray(maps[f"task{task}.{part}"], dtype=np.float32)[:, row, column].T

    # As mmdet3d in float32, so that the same boxes come out.
    cell_size = np.array(model.grid.cell[:2], dtype=np.float32)
    lower = np.array(model.grid.lower[:2], dtype=np.float32)
    cells = np.stack([column, row], axis=1).astype(np.float32) + at_cells("reg")
    centres = np.concatenate([cells * cell_size + lower, at_cells("height")], axis=1)  # [K, 3]
    limits = np.array(decoding.centre_limits, dtype=np.float32)
    within = ((centres >= limits[:3]) & (centres <= limits[3:])).all(axis=1)
    sizes = np.exp(at_cells("dim")) if decoding.log_sizes else at_cells("dim")
    sine, cosine = at_cells("rot").T
    has_velocity = f"task{task}.vel" in maps
    velocities = at_cells("vel") if has_velocity else np.full((len(scores), 2), np.nan, "f4")
    labels = np.array([model.classes.index(name) for name in names], dtype=np.int64)[channel]
    boxes = Boxes(
        centres, sizes, np.arctan2(sine, cosine), velocities, scores, labels, model.classes
    )[within]
    return boxes[
        circle_suppression(
            boxes.centres[:, :2], decoding.squared_radii[task], decoding.max_per_task
        )
    ]


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # exp of a very negative logit: the score is 0
        return 1 / (1 + np.exp(-logits))
