"""Detections between two languages: boxes in the ego frame, and nuScenes result dicts.

A nuScenes result lives in the global frame: gravity centre, size as (width, length, height), a
quaternion (w, x, y, z), the velocity on the ground plane, and an attribute name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from bevdepth_plus.classes import CLASSES, DEFAULT_ATTRIBUTES
from bevdepth_plus.errors import DataError

MAX_BOXES_PER_SAMPLE = 500  # nuScenes detection challenge, submission rules
MOVING_SPEED = 0.2  # m/s; above it a box counts as moving (the rule of mmdet3d's NuScenesMetric)

_MOVING_ATTRIBUTES = {
    **dict.fromkeys(("car", "truck", "trailer", "bus", "construction_vehicle"), "vehicle.moving"),
    **dict.fromkeys(("bicycle", "motorcycle"), "cycle.with_rider"),
}
_RESTING_ATTRIBUTES = {"pedestrian": "pedestrian.standing", "bus": "vehicle.stopped"}


def results_from_boxes(
    boxes: ArrayLike,  # [M, 7 or 9], ego frame: gravity centre, l, w, h, yaw[, vx, vy]
    scores: ArrayLike,  # [M]
    labels: ArrayLike,  # [M], indices into `classes`
    *,
    token: str,
    ego2global: ArrayLike,  # [4, 4]
    classes: Sequence[str] = CLASSES,
    attributes: Mapping[str, Mapping[str, str]] | None = None,
    max_boxes: int = MAX_BOXES_PER_SAMPLE,
) -> list[dict[str, Any]]:
    """Turn one sample's boxes into nuScenes result dicts, best score first.

    Boxes beyond the ``max_boxes`` best scores are left out. Boxes without velocity rest.
    ``attributes`` are those of own classes, see :func:`attribute_of`.

    Raises:
        ValueError: shapes disagree, or a label has no class.
        DataError: a number is not finite or a size is not positive.
    """
    boxes, scores, labels = _as_arrays(boxes, scores, labels, token, len(classes))
    order = np.argsort(-scores, kind="stable")[:max_boxes]
    boxes, scores, labels = boxes[order], scores[order], labels[order]

    global_T_ego = np.asarray(ego2global, dtype=np.float64)
    rotation = global_T_ego[:3, :3]
    centres = boxes[:, :3] @ rotation.T + global_T_ego[:3, 3]
    velocities = boxes[:, 7:9] @ rotation[:2, :2].T
    quaternions = global_quaternions(boxes[:, 6], rotation)

    results = []
    for index, label in enumerate(labels):
        name = classes[label]
        results.append(
            {
                "sample_token": token,
                "translation": centres[index].tolist(),
                "size": boxes[index, [4, 3, 5]].tolist(),
                "rotation": quaternions[index].tolist(),
                "velocity": velocities[index].tolist(),
                "detection_name": name,
                "detection_score": float(scores[index]),
                "attribute_name": attribute_of(
                    name, float(np.hypot(*boxes[index, 7:9])), attributes
                ),
            }
        )
    return results


def boxes_from_results(
    results: Sequence[dict[str, Any]],
    *,
    ego2global: ArrayLike,  # [4, 4]
    classes: Sequence[str] = CLASSES,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bring one sample's result dicts back into the ego frame.

    Returns:
        ``boxes [M, 9]`` (gravity centre, l, w, h, yaw, vx, vy), ``scores [M]``, ``labels [M]``.
    """
    global_T_ego = np.asarray(ego2global, dtype=np.float64)
    rotation = global_T_ego[:3, :3]
    boxes = np.zeros((len(results), 9))
    for index, result in enumerate(results):
        width, length, height = result["size"]
        heading = rotation.T @ rotation_of_quaternion(result["rotation"])[:, 0]
        velocity = rotation.T @ np.array([*result["velocity"], 0.0])
        boxes[index, :3] = rotation.T @ (np.asarray(result["translation"]) - global_T_ego[:3, 3])
        boxes[index, 3:6] = length, width, height
        boxes[index, 6] = np.arctan2(heading[1], heading[0])
        boxes[index, 7:] = velocity[:2]
    scores = np.array([result["detection_score"] for result in results], dtype=np.float64)
    labels = np.array([classes.index(r["detection_name"]) for r in results], dtype=np.int64)
    return boxes, scores, labels


def global_quaternions(
    yaw: np.ndarray,  # [M], radians, in a frame rotated by `rotation`
    rotation: np.ndarray,  # [3, 3], that frame -> global
) -> np.ndarray:
    """Quaternions ``[M, 4]`` (w, x, y, z) of upright boxes seen from the global frame."""
    if len(yaw) == 0:
        return np.zeros((0, 4))
    # scipy returns (x, y, z, w) and makes a slightly skewed float32 matrix a rotation again.
    turned = Rotation.from_matrix(rotation) * Rotation.from_euler("z", yaw[:, None])
    return np.roll(turned.as_quat(), 1, axis=-1)


def rotation_of_quaternion(quaternion: ArrayLike) -> np.ndarray:
    """Rotation matrix ``[3, 3]`` of a (w, x, y, z) quaternion."""
    return Rotation.from_quat(np.roll(np.asarray(quaternion, dtype=np.float64), -1)).as_matrix()


def attribute_of(
    name: str, speed: float, own: Mapping[str, Mapping[str, str]] | None = None
) -> str:
    """The attribute a class most likely has at this speed (m/s); '' for classes without one.

    ``own``: ``{class: {"moving": name, "resting": name}}`` for classes that nuScenes does not
    have, or that have other attributes there.
    """
    moves = speed > MOVING_SPEED
    if own and name in own:
        return own[name]["moving" if moves else "resting"]
    by_motion = _MOVING_ATTRIBUTES if moves else _RESTING_ATTRIBUTES
    return by_motion.get(name, DEFAULT_ATTRIBUTES.get(name, ""))


def _as_arrays(
    boxes: ArrayLike, scores: ArrayLike, labels: ArrayLike, token: str, num_classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    boxes = np.asarray(boxes, dtype=np.float64)
    scores = np.asarray(scores, dtype=np.float64)
    labels = np.asarray(labels, dtype=np.int64)
    if boxes.ndim != 2 or boxes.shape[1] not in (7, 9):
        raise ValueError(f"boxes must be [M, 7] or [M, 9], got {boxes.shape} (sample {token})")
    if scores.shape != (len(boxes),) or labels.shape != (len(boxes),):
        raise ValueError(
            f"scores and labels must be [{len(boxes)}] like the boxes, "
            f"got {scores.shape} and {labels.shape} (sample {token})"
        )
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise DataError(
            f"sample {token}: a predicted box or score is not finite; "
            "check that the checkpoint's training did not diverge"
        )
    if (boxes[:, 3:6] <= 0).any():
        raise DataError(f"sample {token}: a predicted box has a size of 0 m or less")
    if len(labels) and not (labels.min() >= 0 and labels.max() < num_classes):
        raise ValueError(
            f"sample {token}: labels must lie in [0, {num_classes}), "
            f"got {labels.min()} to {labels.max()}"
        )
    if boxes.shape[1] == 7:
        boxes = np.concatenate([boxes, np.zeros((len(boxes), 2))], axis=1)
    return boxes, scores, labels
