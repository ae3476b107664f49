"""Detections between two languages: boxes in the ego frame, and nuScenes result dicts.

A nuScenes result lives in the global frame: gravity centre, size as (width, length, height), a
quaternion (w, x, y, z), the velocity on the ground plane, and an attribute name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bevdepth_plus.classes import CLASSES, DEFAULT_ATTRIBUTES
from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.poses import rotation_from_quaternion

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
    x, y, z, w = _quaternion_of(rotation)
    halves = [float(angle) / 2 for angle in yaw]
    sines = np.array([math.sin(half) for half in halves])  # libm's, as scipy's
    cosines = np.array([math.cos(half) for half in halves])
    turned = np.stack(
        [x * cosines + y * sines, y * cosines - x * sines, w * sines + z * cosines,
         w * cosines - z * sines],
        axis=1,
    )  # fmt: skip  # the product with (0, 0, sine, cosine); x, y, z, w
    return np.roll(turned / _lengths(turned)[:, None], 1, axis=-1)


def rotation_of_quaternion(quaternion: ArrayLike) -> np.ndarray:
    """Rotation matrix ``[3, 3]`` of a (w, x, y, z) quaternion."""
    w, x, y, z = np.asarray(quaternion, dtype=np.float64).tolist()
    return rotation_from_quaternion(w, x, y, z)


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


def _quaternion_of(rotation: np.ndarray) -> np.ndarray:
    """Quaternion (x, y, z, w) of a rotation ``[3, 3]``, in the steps of scipy's ``from_matrix``.

    A slightly skewed float32 matrix is made a rotation again.
    """
    matrix = np.asarray(rotation, dtype=np.float64)
    if not np.isclose(matrix @ matrix.T, np.eye(3), atol=1e-12).all():
        left, _, right = np.linalg.svd(matrix)
        matrix = left @ right
    trace = matrix[0, 0] + matrix[1, 1] + matrix[2, 2]
    quaternion = np.zeros(4)
    i = int(np.argmax([*np.diagonal(matrix), trace]))
    if i == 3:
        quaternion[0] = matrix[2, 1] - matrix[1, 2]
        quaternion[1] = matrix[0, 2] - matrix[2, 0]
        quaternion[2] = matrix[1, 0] - matrix[0, 1]
        quaternion[3] = 1 + trace
    else:
        j, k = (i + 1) % 3, (i + 2) % 3
        quaternion[i] = 1 - trace + 2 * matrix[i, i]
        quaternion[j] = matrix[j, i] + matrix[i, j]
        quaternion[k] = matrix[k, i] + matrix[i, k]
        quaternion[3] = matrix[k, j] - matrix[j, k]
    return quaternion / _lengths(quaternion[None])[0]


def _lengths(quaternions: np.ndarray) -> np.ndarray:
    """Of ``[M, 4]``, the squares added one after the other."""
    squares = quaternions * quaternions
    return np.sqrt(squares[:, 0] + squares[:, 1] + squares[:, 2] + squares[:, 3])
