"""From a CenterPoint head's maps to boxes, in numpy. Source: CenterPoint (CVPR 2021).

The same boxes as mmdet3d's CenterHead gives, see tests/deploy/test_decoding.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bevdepth_plus.deploy.results import Boxes, joined

TaskMaps = Mapping[str, np.ndarray]  # part -> [channels, Y, X]


@dataclass(frozen=True)
class Decoding:
    """How maps become boxes.

    Attributes:
        classes: names, in the order of the labels.
        tasks: the classes of each task, in the order of its heatmap's channels.
        lower: x and y of the grid's lower corner, metres.
        cell: size of a cell in x and y, metres.
        centre_limits: x, y, z lower, then upper; boxes with a centre beyond are dropped.
        score_threshold: boxes must score more.
        max_candidates: of a task, before suppression.
        max_boxes: of a task, after it.
        radii: of each task, *squared* metres: a box is dropped if one that scores more is no
            farther on the ground.
        log_sizes: the head gives logarithms of sizes.
    """

    classes: tuple[str, ...]
    tasks: tuple[tuple[str, ...], ...]
    lower: tuple[float, float]
    cell: tuple[float, float]
    centre_limits: tuple[float, ...]
    score_threshold: float
    max_candidates: int
    max_boxes: int
    radii: tuple[float, ...]
    log_sizes: bool = True


def decode(maps: Sequence[TaskMaps], decoding: Decoding) -> Boxes:
    """The boxes of all tasks, task by task, best score first.

    Args:
        maps: of each task: ``heatmap`` (logits), ``reg``, ``height``, ``dim``, ``rot`` (sine,
            cosine) and, if the model has velocities, ``vel``.
        decoding: of the same head.

    Raises:
        ValueError: the number of tasks or of a heatmap's channels is another.
    """
    if len(maps) != len(decoding.tasks):
        raise ValueError(f"expected maps of {len(decoding.tasks)} tasks, got {len(maps)}")
    return joined([_decode_task(part, task, decoding) for task, part in enumerate(maps)])


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


def _decode_task(maps: TaskMaps, task: int, decoding: Decoding) -> Boxes:
    names = decoding.tasks[task]
    heatmap = np.asarray(maps["heatmap"], dtype=np.float32)
    if heatmap.shape[0] != len(names):
        raise ValueError(
            f"task {task} has {len(names)} classes, its heatmap {heatmap.shape[0]} channels"
        )
    # The best cells of all classes that score enough.
    scores = _sigmoid(heatmap).reshape(-1)
    candidates = np.flatnonzero(scores > decoding.score_threshold)
    order = np.argsort(-scores[candidates], kind="stable")[: decoding.max_candidates]
    candidates = candidates[order]
    scores = scores[candidates]
    channel, cell = np.divmod(candidates, heatmap.shape[1] * heatmap.shape[2])
    row, column = np.divmod(cell, heatmap.shape[2])

    def at_cells(part: str) -> np.ndarray:  # [K, channels]
        return np.asarray(maps[part], dtype=np.float32)[:, row, column].T

    # As mmdet3d in float32, so that the same boxes come out.
    offset = at_cells("reg")
    cell_size = np.array(decoding.cell, dtype=np.float32)
    lower = np.array(decoding.lower, dtype=np.float32)
    ground = (np.stack([column, row], axis=1).astype(np.float32) + offset) * cell_size + lower
    centres = np.concatenate([ground, at_cells("height")], axis=1)  # [K, 3], gravity centre
    limits = np.array(decoding.centre_limits, dtype=np.float32)
    within = ((centres >= limits[:3]) & (centres <= limits[3:])).all(axis=1)
    sizes = np.exp(at_cells("dim")) if decoding.log_sizes else at_cells("dim")
    sine, cosine = at_cells("rot").T
    velocities = at_cells("vel") if "vel" in maps else np.full((len(scores), 2), np.nan, "f4")
    labels = np.array([decoding.classes.index(name) for name in names], dtype=np.int64)[channel]
    boxes = Boxes(
        centres, sizes, np.arctan2(sine, cosine), velocities, scores, labels, decoding.classes
    )[within]
    return boxes[circle_suppression(boxes.centres[:, :2], decoding.radii[task], decoding.max_boxes)]


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # exp of a very negative logit: the score is 0
        return 1 / (1 + np.exp(-logits))
