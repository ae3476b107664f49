"""What a picture shows: the cameras' images, the LiDAR points and boxes, all in the ego frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from bevdepth_plus.geometry.boxes import points_in_boxes
from bevdepth_plus.mmdet3d_boxes import from_mmdet3d


@dataclass(frozen=True)
class Camera:
    """One image and how it was taken.

    Attributes:
        image: RGB uint8 ``[H, W, 3]``.
        intrinsics: pinhole matrix of this image, pixels, ``[3, 3]``.
        ego_T_cam: camera (x right, y down, z forward) -> ego, ``[4, 4]``.
    """

    name: str
    image: np.ndarray
    intrinsics: np.ndarray
    ego_T_cam: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.image.shape[0], self.image.shape[1]


@dataclass(frozen=True)
class Boxes:
    """Boxes in the ego frame.

    Attributes:
        numbers: ``[M, >=7]``: gravity centre, length, width, height, yaw (metres, radians).
        names: class of each box.
        scores: ``[M]``, or None for ground truth.
    """

    numbers: np.ndarray
    names: tuple[str, ...]
    scores: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.numbers.ndim != 2 or self.numbers.shape[1] < 7:
            raise ValueError(f"boxes must be [M, >=7], got {self.numbers.shape}")
        if len(self.names) != len(self.numbers):
            raise ValueError(f"{len(self.names)} class names for {len(self.numbers)} boxes")

    def __len__(self) -> int:
        return len(self.numbers)

    def select(self, keep: np.ndarray) -> Boxes:
        """The boxes at ``keep``, a mask or indices."""
        indices = np.flatnonzero(keep) if keep.dtype == bool else keep
        scores = None if self.scores is None else self.scores[indices]
        names = tuple(self.names[index] for index in indices)
        return replace(self, numbers=self.numbers[indices], names=names, scores=scores)


@dataclass(frozen=True)
class MapLayers:
    """The road from above, as predicted or true.

    Attributes:
        names: of L layers.
        values: probabilities, or 0 and 1; anything above 1 is unknown, ``[L, Y, X]``.
        x, y: ends of the grid, metres.
    """

    names: tuple[str, ...]
    values: np.ndarray
    x: tuple[float, float]
    y: tuple[float, float]


@dataclass(frozen=True)
class Scene:
    """One moment: what the cameras and the LiDAR saw.

    Attributes:
        points: LiDAR points in the ego frame, metres, ``[P, 3]``; empty without a LiDAR.
        facts: lines for the caption, such as the sample token.
    """

    cameras: tuple[Camera, ...]
    points: np.ndarray
    facts: tuple[str, ...] = ()


def boxes_of(instances: Mapping[str, Any], classes: tuple[str, ...]) -> Boxes:
    """Boxes of mmdet3d instances (``gt_instances_3d`` or ``pred_instances_3d``), ego frame."""
    numbers = from_mmdet3d(instances["bboxes_3d"])
    scores = _array(instances["scores_3d"]) if "scores_3d" in instances else None
    names = tuple(classes[label] for label in _array(instances["labels_3d"]))
    return Boxes(_array(numbers.double()), names, scores)


def hit_by_points(boxes: Boxes, points: np.ndarray) -> np.ndarray:
    """Which boxes hold at least one LiDAR point, bool ``[M]``."""
    if len(boxes) == 0 or len(points) == 0:
        return np.zeros(len(boxes), dtype=bool)
    numbers, points = torch.from_numpy(boxes.numbers), torch.from_numpy(points)
    return points_in_boxes(points.to(numbers), numbers).any(dim=1).numpy()


def _array(tensor: Any) -> np.ndarray:
    return np.asarray(tensor.detach().cpu() if isinstance(tensor, torch.Tensor) else tensor)
